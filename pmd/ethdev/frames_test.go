package ethdev

import (
	"strconv"
	"testing"

	"sallyport/pmd/mempool"
)

// TestSlots checks every MTU against what the kernel's packet_set_ring and the driver ask of a ring.
func TestSlots(t *testing.T) {
	for mtu := MinMTU; mtu <= MaxMTU; mtu++ {
		d, err := parseDevice("net_af_packet0,iface=x")
		if err != nil {
			t.Fatal(err)
		}
		d = d.tuned(&PortConfig{MTU: mtu, RxQueues: 1, TxQueues: 1})
		slot, block, count := number(t, d, "framesz"), number(t, d, "blocksz"), number(t, d, "framecnt")
		switch {
		case slot < mtu+frameOverhead+packetRxHeader:
			t.Fatalf("MTU %d: a slot of %d bytes is too small", mtu, slot)
		case slot%16 != 0:
			t.Fatalf("MTU %d: a slot of %d bytes is not aligned to TPACKET_ALIGNMENT", mtu, slot)
		case block%pageSize != 0 || block%slot != 0:
			t.Fatalf("MTU %d: a block of %d bytes is not whole pages and whole slots of %d", mtu, block, slot)
		case count%(block/slot) != 0 || count < slots/2:
			t.Fatalf("MTU %d: %d slots are not whole blocks of %d", mtu, count, block/slot)
		case slot-packetSlotHeader > int(DataRoom(mtu))-mempool.Headroom:
			t.Fatalf("MTU %d: a slot of %d bytes does not fit a buffer with a data room of %d", mtu, slot, DataRoom(mtu))
		}
	}
}

func number(t *testing.T, d device, key string) int {
	t.Helper()
	text, _ := d.argument(key)
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", d, err)
	}
	return n
}

func TestTunedKeepsTheOperatorsWord(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"net_null0", "net_null0"},
		{"0000:00:05.0", "0000:00:05.0"},
		{"net_af_packet0,iface=x", "net_af_packet0,iface=x,qpairs=2,framesz=2048,blocksz=4096,framecnt=1024"},
		{"net_af_packet0,iface=x,framesz=4096,blocksz=8192", "net_af_packet0,iface=x,framesz=4096,blocksz=8192,qpairs=2"},
		{"net_af_packet0,iface=x,qpairs=4", "net_af_packet0,iface=x,qpairs=4,framesz=2048,blocksz=4096,framecnt=1024"},
		{"net_af_packet0,iface=x,framecnt=64", "net_af_packet0,iface=x,framecnt=64,qpairs=2,framesz=2048,blocksz=4096"},
		{"net_af_xdp0,iface=x", "net_af_xdp0,iface=x,queue_count=2"},
	} {
		d, err := parseDevice(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.tuned(&PortConfig{MTU: 1500, RxQueues: 2, TxQueues: 1}).String(); got != c.want {
			t.Errorf("%s became %s, want %s", c.text, got, c.want)
		}
	}
	if room := DataRoom(1500); room != 2048+mempool.Headroom {
		t.Errorf("a data room of %d for Ethernet's usual MTU, want DPDK's default of %d", room, 2048+mempool.Headroom)
	}
}
