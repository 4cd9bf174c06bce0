package ethdev

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"sallyport/pmd/mempool"
)

// TestAFPacket passes frames of all sizes up to the MTU between a port and the kernel, both ways.
func TestAFPacket(t *testing.T) {
	for _, mtu := range []int{1280, 1500, 1950, 2000, 9000, MaxMTU} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			enterNamespace(t)
			host := addVeth(t, max(mtu, 1500))
			pool := newPool(t, mtu)
			dev, err := Open(PortConfig{Name: "wan", Device: "net_af_packet,iface=gw", Pool: pool, MTU: mtu})
			if err != nil {
				t.Fatal(err)
			}
			exchange(t, dev, openHost(t, host), pool)
			if got := linkMTU(t, "gw"); got != mtu || dev.MTU != mtu {
				t.Errorf("MTU of the interface %d, of the port %d, want %d", got, dev.MTU, mtu)
			}
			if stats, err := dev.Port.Stats(); err != nil || stats.RxPackets < 3 || stats.TxPackets != 3 {
				t.Errorf("%+v, %v", stats, err)
			}
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
			if _, err := netlink.LinkByName("gw"); err != nil {
				t.Errorf("the kernel's interface did not survive the port: %v", err)
			}
		})
	}
}

// exchange passes a short, a middle and a longest frame in both directions.
func exchange(t *testing.T, dev *Device, host hostSocket, pool *mempool.Mempool) {
	t.Helper()
	want := [][]byte{testFrame(60, 1), testFrame(14+dev.MTU/2, 2), testFrame(14+dev.MTU, 3)}
	host.send(t, want...)
	compare(t, receive(t, dev, len(want), isTestFrame), want)
	send(t, dev, pool, want...)
	compare(t, host.receive(t, len(want)), want)
}

// TestAFPacketTags has frames as long as the MTU with one and two VLAN tags.
func TestAFPacketTags(t *testing.T) {
	enterNamespace(t)
	host := addVeth(t, 9000)
	if err := netlink.LinkSetMTU(host, 9008); err != nil { // the raw socket counts the second tag as payload
		t.Fatal(err)
	}
	pool := newPool(t, 9000)
	dev := openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=gw", Pool: pool, MTU: 9000})
	isTagged := func(frame []byte) bool { return len(frame) > 9000 }
	want := [][]byte{testFrame(14+4+9000, 1)}
	copy(want[0][12:], []byte{0x81, 0x00, 0x00, 0x07, etherTypeTest >> 8, etherTypeTest & 0xff})
	openHost(t, host).send(t, want...)
	compare(t, receive(t, dev, 1, isTagged), want)
}

// TestKernelAddresses: what the kernel has on the interface below a port.
func TestKernelAddresses(t *testing.T) {
	enterNamespace(t)
	addVeth(t, 1500)
	pool := newPool(t, 1500)
	dev := openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=gw", Pool: pool})
	link, err := netlink.LinkByName("gw")
	if err != nil {
		t.Fatal(err)
	}
	want := netip.MustParsePrefix("192.0.2.1/24")
	if found, err := dev.KernelAddresses(); err != nil || slices.Contains(found, want) {
		t.Errorf("addresses %v (%v), %v is not yet there", found, err, want)
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: want.Addr().AsSlice(), Mask: net.CIDRMask(want.Bits(), 32)}}); err != nil {
		t.Fatal(err)
	}
	if found, err := dev.KernelAddresses(); err != nil || !slices.Contains(found, want) {
		t.Errorf("addresses %v (%v), want %v", found, err, want)
	}
}

func TestAFPacketQueues(t *testing.T) {
	enterNamespace(t)
	host := addVeth(t, 1500)
	pool := newPool(t, 1500)
	dev := openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=gw", Pool: pool, RxQueues: 2, TxQueues: 2})
	if dev.RSS {
		t.Error("net_af_packet has no RSS; the kernel spreads")
	}
	var want [][]byte
	for seed := range byte(40) {
		want = append(want, testFrame(100, seed))
	}
	openHost(t, host).send(t, want...)
	if got := receive(t, dev, len(want), isTestFrame); len(got) != len(want) {
		t.Errorf("%d frames, want %d", len(got), len(want))
	}
}

// TestAFPacketTwoPorts opens the two ports of a gateway, neither with a number.
func TestAFPacketTwoPorts(t *testing.T) {
	enterNamespace(t)
	addVeth(t, 1500)
	pool := newPool(t, 1500)
	one := openPort(t, PortConfig{Name: "lan", Device: "net_af_packet,iface=gw", Pool: pool})
	two := openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=host", Pool: pool})
	checkNumbered(t, one, two)
	link, err := netlink.LinkByName("host")
	if err != nil || two.MAC.String() != link.Attrs().HardwareAddr.String() {
		t.Errorf("MAC %v, interface has %v, %v", two.MAC, link.Attrs().HardwareAddr, err)
	}
	want := [][]byte{testFrame(60, 1)}
	send(t, one, pool, want...)
	compare(t, receive(t, two, 1, isTestFrame), want)
}

// TestAFPacketLink follows the carrier of a veth. The driver itself says "up" for as long as the port is started.
func TestAFPacketLink(t *testing.T) {
	enterNamespace(t)
	host := addVeth(t, 1500)
	dev := openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=gw", Pool: newPool(t, 1500)})
	waitLink(t, dev, true)
	if err := netlink.LinkSetDown(host); err != nil {
		t.Fatal(err)
	}
	waitLink(t, dev, false)
	if err := netlink.LinkSetUp(host); err != nil {
		t.Fatal(err)
	}
	waitLink(t, dev, true)
	if err := netlink.LinkDel(host); err != nil { // takes the interface below the port with it
		t.Fatal(err)
	}
	waitLink(t, dev, false)
}

func waitLink(t *testing.T, dev *Device, up bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		link, err := dev.Link()
		if err != nil {
			t.Fatal(err)
		}
		if link.Up == up {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("link up is %v, want %v", link.Up, up)
		}
	}
}

func TestAFPacketPromiscuous(t *testing.T) {
	enterNamespace(t)
	addVeth(t, 1500)
	pool := newPool(t, 1500)
	openPort(t, PortConfig{Name: "lan", Device: "net_af_packet,iface=gw", Pool: pool})
	openPort(t, PortConfig{Name: "wan", Device: "net_af_packet,iface=host", Pool: pool, Promiscuous: true})
	for name, want := range map[string]bool{"gw": false, "host": true} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := link.Attrs().Promisc != 0; got != want {
			t.Errorf("%s is promiscuous: %v, want %v", name, got, want)
		}
	}
}

func TestAFPacketRefuses(t *testing.T) {
	enterNamespace(t)
	addVeth(t, 1500)
	pool := newPool(t, 1500)
	for device, says := range map[string]string{
		"net_af_packet,iface=nonesuch":                       "kernel interface nonesuch: no such device",
		"net_af_packet,iface=gw,framesz=4096,blocksz=4096":   "will not fit in mbuf",
		"net_af_packet,iface=gw,framesz=8192,blocksz=4096":   "frame size exceeds block size",
		"net_af_packet,iface=a-name-that-is-longer-than-15x": "kernel interface a-name-that-is-longer-than-15x: invalid argument",
	} {
		_, err := Open(PortConfig{Name: "wan", Device: device, Pool: pool})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "port wan: ") {
			t.Errorf("%s: %v; want %q in it", device, err, says)
		}
	}
}
