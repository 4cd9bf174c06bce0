package ethdev

import (
	"fmt"
	"os"
	"testing"
	"unsafe"
)

// TestMemif joins two ports through shared memory. The socket between them is abstract and leaves no file; its name is new each
// time because the driver of DPDK 22.11 keeps listening after the port is closed.
func TestMemif(t *testing.T) {
	pool := newPool(t, 1500)
	socket := fmt.Sprintf("socket=sallyport-test-%d-%d", os.Getpid(), poolNumber.Load())
	server := openPort(t, PortConfig{Name: "server", Device: "net_memif,role=server," + socket, Pool: pool})
	client := openPort(t, PortConfig{Name: "client", Device: "net_memif,role=client," + socket, Pool: pool})
	waitLink(t, server, true)
	waitLink(t, client, true)
	want := [][]byte{testFrame(60, 1), testFrame(1514, 2)}
	send(t, client, pool, want...)
	compare(t, receive(t, server, 2, anyFrame), want)

	var none [1]unsafe.Pointer
	if n := client.Port.RxBurst(0, none[:]); n != 0 { // the first poll offers the client's buffers to the server
		t.Fatal("a frame that nobody sent")
	}
	send(t, server, pool, want...)
	compare(t, receive(t, client, 2, anyFrame), want)
}
