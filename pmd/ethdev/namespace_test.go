package ethdev

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// enterNamespace moves the test's goroutine, on a thread of its own, into a new network namespace until the test ends. Nothing has a
// name in the file system, so the kernel removes all of it with the last user.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Set(home); err != nil {
			t.Errorf("back to the first namespace: %v", err) // the thread stays locked and ends with the test
			return
		}
		home.Close()
		runtime.UnlockOSThread()
	})
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespace.Close() })
}

// addVeth makes a pair of interfaces: "gw" for the port, down as a fresh interface is, and "host", up.
func addVeth(t *testing.T, mtu int) (host netlink.Link) {
	t.Helper()
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gw", MTU: mtu}, PeerName: "host", PeerMTU: uint32(mtu)})
	if err != nil {
		t.Fatal(err)
	}
	if host, err = netlink.LinkByName("host"); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(host); err != nil {
		t.Fatal(err)
	}
	return host
}

func linkMTU(t *testing.T, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().MTU
}

// hostSocket sends and receives the test's frames on a kernel interface.
type hostSocket int

func openHost(t *testing.T, link netlink.Link) hostSocket {
	t.Helper()
	const protocol = etherTypeTest>>8 | etherTypeTest&0xff<<8 // in network byte order
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: link.Attrs().Index}); err != nil {
		t.Fatal(err)
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		t.Fatal(err)
	}
	return hostSocket(socket)
}

func (s hostSocket) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	for _, frame := range frames {
		if _, err := unix.Write(int(s), frame); err != nil {
			t.Fatalf("sending %d bytes: %v", len(frame), err)
		}
	}
}

// receive takes n frames that came from outside, which leaves out the host's own.
func (s hostSocket) receive(t *testing.T, n int) [][]byte {
	t.Helper()
	var frames [][]byte
	buffer := make([]byte, 1<<16)
	for len(frames) < n {
		length, from, err := unix.Recvfrom(int(s), buffer, 0)
		if err != nil {
			t.Fatalf("%d of %d frames received: %v", len(frames), n, err)
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype != unix.PACKET_OUTGOING {
			frames = append(frames, append([]byte(nil), buffer[:length]...))
		}
	}
	return frames
}
