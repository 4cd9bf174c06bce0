package ethdev

import (
	"testing"

	"sallyport/pmd/mempool"
)

// TestAFXDP runs in the driver's copy mode, which any interface can do. Its rings hold 2048 buffers from the setup on, which the
// driver of DPDK 22.11 does not give back when it closes, so the pool is not checked for leaks.
func TestAFXDP(t *testing.T) {
	enterNamespace(t)
	host := addVeth(t, 1500)
	pool, err := mempool.CreateMbufPool("xdp", 8191, DataRoom(1500))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Free)
	dev := openPort(t, PortConfig{Name: "wan", Device: "net_af_xdp,iface=gw", Pool: pool})
	waitLink(t, dev, true)
	exchange(t, dev, openHost(t, host), pool)
}
