package ethdev

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"sallyport/pmd/mbuf"
	"sallyport/pmd/ring"
)

func TestNull(t *testing.T) {
	pool := newPool(t, 1500)
	first := openPort(t, PortConfig{Name: "a", Device: "net_null,size=128,copy=1", Pool: pool})
	second := openPort(t, PortConfig{Name: "b", Device: "net_null", Pool: pool, RxQueues: 2, TxQueues: 2})
	checkNumbered(t, first, second)
	if frames := receive(t, first, 32, anyFrame); len(frames[0]) != 128 {
		t.Errorf("a frame of %d bytes, want 128", len(frames[0]))
	}
	send(t, first, pool, testFrame(60, 1), testFrame(60, 2))
	stats, err := first.Port.Stats()
	if err != nil || stats.RxPackets != 32 || stats.TxPackets != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
	if !second.RSS || first.RSS {
		t.Errorf("RSS with two queues: %v, with one: %v", second.RSS, first.RSS)
	}
	if first.Offloads != (Offloads{}) {
		t.Errorf("net_null does no checks, got %+v", first.Offloads)
	}
	if err := first.Port.ResetStats(); err != nil {
		t.Error(err)
	}
	if stats, err = first.Port.Stats(); err != nil || stats != (Stats{}) {
		t.Errorf("after the reset %+v, %v", stats, err)
	}
	if link, err := first.Link(); err != nil || !link.Up {
		t.Errorf("link %+v, %v", link, err)
	}
}

// checkNumbered has two devices of one driver, opened without numbers, get different ones.
func checkNumbered(t *testing.T, one, two *Device) {
	t.Helper()
	for _, dev := range []*Device{one, two} {
		if number, found := strings.CutPrefix(dev.Name, dev.Driver); !found || number == "" {
			t.Errorf("name %s of driver %s has no number", dev.Name, dev.Driver)
		}
	}
	if one.Name == two.Name || one.Port == two.Port {
		t.Errorf("two devices share the name %s or the port %d", one.Name, one.Port)
	}
}

func TestNameIsFreeAfterClose(t *testing.T) {
	pool := newPool(t, 1500)
	for range 3 {
		dev, err := Open(PortConfig{Name: "a", Device: "net_null5", Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(PortConfig{Name: "b", Device: "net_null5", Pool: pool}); err == nil ||
			!strings.Contains(err.Error(), "has this name already") {
			t.Errorf("the same device twice: %v", err)
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
		if _, found := PortByName("net_null5"); found {
			t.Fatal("the port is still there")
		}
	}
}

func TestXstats(t *testing.T) {
	pool := newPool(t, 1500)
	dev := openPort(t, PortConfig{Name: "a", Device: "net_null", Pool: pool})
	receive(t, dev, 32, anyFrame)
	xstats, err := dev.Port.Xstats()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]uint64{}
	for _, x := range xstats {
		names[x.Name] = x.Value
	}
	if len(names) != len(xstats) || len(xstats) < 10 || xstats[0].Name != "rx_good_packets" || names["rx_good_packets"] != 32 ||
		names["rx_q0_packets"] != 32 {
		t.Errorf("%v", xstats)
	}
}

// newRing makes a ring of 64 slots and empties it at the end of the test.
func newRing(t *testing.T, name string) *ring.Ring {
	t.Helper()
	r, err := ring.Create(name, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var left [64]unsafe.Pointer
		mbuf.FreeBulk(left[:r.DequeueBurst(left[:])])
		r.Free()
	})
	return r
}

func TestFromRings(t *testing.T) {
	pool := newPool(t, 9000)
	rx := []*ring.Ring{newRing(t, "rx0"), newRing(t, "rx1")}
	tx := []*ring.Ring{newRing(t, "tx0")}
	port, err := FromRings("twin", rx, tx)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := Setup(port, PortConfig{Name: "twin", Pool: pool, RxQueues: 2, MTU: 9000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	want := [][]byte{testFrame(60, 1), testFrame(9014, 2)}
	mbufs, err := mbuf.FromFrames(pool, want)
	if err != nil {
		t.Fatal(err)
	}
	if rx[0].EnqueueBurst(mbufs[:1]) != 1 || rx[1].EnqueueBurst(mbufs[1:]) != 1 {
		t.Fatal("the rings took nothing")
	}
	compare(t, receive(t, dev, 2, anyFrame), want)

	send(t, dev, pool, want...)
	var sent [4]unsafe.Pointer
	got := sent[:tx[0].DequeueBurst(sent[:])]
	compare(t, mbuf.Frames(got), want)
	mbuf.FreeBulk(got)
	if dev.MTU != 9000 || len(dev.MAC) != 6 {
		t.Errorf("%+v", dev)
	}
	if _, err := FromRings("none", nil, tx); err == nil {
		t.Error("a port without receive rings was made")
	}
}

func TestNetRing(t *testing.T) {
	pool := newPool(t, 1500)
	dev := openPort(t, PortConfig{Name: "loop", Device: "net_ring", Pool: pool})
	want := [][]byte{testFrame(60, 1), testFrame(1514, 2)}
	send(t, dev, pool, want...)
	compare(t, receive(t, dev, 2, anyFrame), want)
}

func TestOpenRefuses(t *testing.T) {
	pool, small := newPool(t, 9000), newPool(t, 1500)
	for _, c := range []struct {
		cfg  PortConfig
		says []string
	}{
		{PortConfig{Device: "net_null"}, []string{"port x: ", "no pool"}},
		{PortConfig{Device: "net_null", Pool: pool, RxQueues: -1, MTU: 20, TxDescriptors: 70000},
			[]string{"-1 Rx queues, expected 1 to 1024", "20 bytes of MTU, expected 68 to 9728", "70000 Tx descriptors"}},
		{PortConfig{Device: "net_null", Pool: small, MTU: 9000}, []string{"buffers of 2176 bytes", "at least 9344 for an MTU of 9000"}},
		{PortConfig{Device: "eth0", Pool: pool}, []string{"port x: ", "no known kind"}},
		{PortConfig{Device: "net_ring", Pool: pool, RxQueues: 200}, []string{"200 Rx and 1 Tx queues, but net_ring0 (net_ring) has at most"}},
		{PortConfig{Device: "net_null,size=2049", Pool: small}, []string{"size 2049, expected 1 to 2048 bytes"}},
		{PortConfig{Device: "net_null,size=-1", Pool: small}, []string{"size -1, expected 1 to 2048 bytes"}},
		{PortConfig{Device: "net_af_xdp,iface=lo", Pool: small}, []string{"its queues keep 2048 buffers, expected more than that in pool"}},
		{PortConfig{Device: "net_null,sze=1", Pool: pool}, []string{"port x: device net_null", "DPDK says: "}},
		{PortConfig{Device: "net_pcap,rx_pcap=/nonexistent.pcap", Pool: pool}, []string{"DPDK says: ", "nonexistent"}},
		{PortConfig{Device: "0000:ff:1f.7", Pool: pool}, []string{"0000:ff:1f.7"}},
		{PortConfig{Device: fmt.Sprintf("net_memif,role=client,socket=sallyport-refused-%d", os.Getpid()), Pool: pool, MTU: 9000},
			[]string{"(net_memif) takes at most 1500"}},
	} {
		c.cfg.Name = "x"
		dev, err := Open(c.cfg)
		if err == nil {
			t.Errorf("%s opened", c.cfg.Device)
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q in it", c.cfg.Device, err, part)
			}
		}
	}
	if ports := Ports(); len(ports) != 0 {
		t.Errorf("refused ports stayed: %v", ports)
	}
}

func TestPcap(t *testing.T) {
	pool := newPool(t, 1500)
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap")
	want := [][]byte{testFrame(60, 1), testFrame(1514, 2), testFrame(1000, 3)}
	if err := os.WriteFile(in, pcapFile(want), 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := Open(PortConfig{Name: "file", Device: "net_pcap,rx_pcap=" + in + ",tx_pcap=" + out, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, receive(t, dev, len(want), anyFrame), want)
	send(t, dev, pool, want...)
	if err := dev.Close(); err != nil { // writes the file's end
		t.Fatal(err)
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, pcapFrames(t, written), want)
}
