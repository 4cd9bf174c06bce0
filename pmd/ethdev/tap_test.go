package ethdev

import (
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestTap has DPDK make the interface, so that the kernel is the peer.
func TestTap(t *testing.T) {
	enterNamespace(t)
	pool := newPool(t, 1400)
	dev, err := Open(PortConfig{Name: "tap", Device: "net_tap,iface=tap7", Pool: pool, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	if got := linkMTU(t, "tap7"); got != 1400 {
		t.Errorf("MTU of the interface %d, want 1400", got)
	}
	kernel, err := netlink.LinkByName("tap7")
	if err != nil {
		t.Fatal(err)
	}
	waitLink(t, dev, true)
	exchange(t, dev, openHost(t, kernel), pool)
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	if _, err := netlink.LinkByName("tap7"); err == nil {
		t.Error("the interface outlived the port")
	}
}

func TestTapHasNoJumboFrames(t *testing.T) {
	enterNamespace(t)
	_, err := Open(PortConfig{Name: "tap", Device: "net_tap,iface=tap7", Pool: newPool(t, 9000), MTU: 9000})
	if err == nil || !strings.Contains(err.Error(), "(net_tap) takes at most 1504") {
		t.Errorf("got %v", err)
	}
}
