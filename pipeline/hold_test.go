package pipeline

import (
	"net/netip"
	"testing"
	"time"
)

// selectorOf is a selector without fallback: a filter of a cell.
func selectorOf(cell CellID, entry uint32) selector { return selector{cell: cell, entry: entry} }

// silentSelector is one of many hosts that a filter with fallback leads to.
func silentSelector(cell CellID, host int) selector {
	return selector{cell: cell, entry: 9, local: lanHost, remote: netip.AddrFrom4([4]byte{10, 9, byte(host >> 8), byte(host)})}
}

// Each selector has its bound and all together have one; whole cells come back in order of arrival (S-054, S-090).
func TestHoldQueueOrderAndBounds(t *testing.T) {
	q := newHoldQueue[int](holdLimits{perSelector: 3, total: 5, fallback: 3, lifetime: 30 * time.Second, renew: 5 * time.Second})
	for i := range 5 {
		kept, ask := q.push(epoch, selectorOf(1, 1), i)
		if kept != (i < 3) || ask != (i == 0) {
			t.Fatalf("packet %d: kept %v, ask %v", i, kept, ask)
		}
	}
	if kept, ask := q.push(epoch, selectorOf(2, 2), 10); !kept || !ask {
		t.Fatalf("another cell: kept %v, ask %v", kept, ask)
	}
	if kept, ask := q.push(epoch, selectorOf(1, 3), 3); !kept || !ask {
		t.Fatalf("another filter of the cell: kept %v, ask %v", kept, ask)
	}
	if kept, ask := q.push(epoch, selectorOf(2, 2), 11); kept || ask {
		t.Fatalf("the total is bounded: kept %v, ask %v", kept, ask)
	}
	same(t, "the earliest packets of the cell, in order", q.take(1), []int{0, 1, 2, 3})
	same(t, "taken once", q.take(1), []int(nil))
	if kept, _ := q.push(epoch, selectorOf(2, 2), 12); !kept {
		t.Fatal("no room after take")
	}
}

func TestHoldQueueAsksAgainAndExpires(t *testing.T) {
	q := newHoldQueue[int](holdLimits{perSelector: 8, total: 8, fallback: 6, lifetime: 30 * time.Second, renew: 5 * time.Second})
	q.push(epoch, selectorOf(1, 1), 1)
	if _, ask := q.push(epoch.Add(4*time.Second), selectorOf(1, 1), 2); ask {
		t.Fatal("asked again too early")
	}
	if _, ask := q.push(epoch.Add(5*time.Second), selectorOf(1, 1), 3); !ask {
		t.Fatal("did not ask again")
	}
	same(t, "too early", q.expire(epoch.Add(29*time.Second)), []int(nil))
	same(t, "the oldest", q.expire(epoch.Add(30*time.Second)), []int{1})
	same(t, "the rest", q.expire(epoch.Add(35*time.Second)), []int{2, 3})
	if q.count != 0 || len(q.selectors) != 0 {
		t.Fatalf("left: %d packets, %d selectors", q.count, len(q.selectors))
	}
}

// A scan of silent hosts behind one peer fills half of what is there for such hosts, and many fill all of that and no more: the number of selectors is bounded too.
// Another peer's hosts are still asked for, and so is a tunnel without fallback (S-090).
func TestHoldQueueLeavesRoomToTunnels(t *testing.T) {
	config := Config{HoldPerSelector: 4, HoldTotal: 16}
	q := newHoldQueue[int](config.holdLimits())
	asked := 0
	for host := range 10000 {
		if _, ask := q.push(epoch, silentSelector(1, host), host); ask {
			asked++
		}
	}
	if asked != 6 || len(q.selectors) != 6 || q.count != 6 {
		t.Fatalf("asked for %d hosts, %d selectors, %d packets, want 6 of each", asked, len(q.selectors), q.count)
	}
	for cell := range CellID(10) { // scans behind other peers
		for host := range 10000 {
			if _, ask := q.push(epoch, silentSelector(3+cell, host), host); ask {
				asked++
			}
		}
	}
	if asked != 12 || len(q.selectors) != 12 || q.count != 12 {
		t.Fatalf("asked for %d hosts, %d selectors, %d packets, want 12 of each", asked, len(q.selectors), q.count)
	}
	for i := range 4 {
		if kept, ask := q.push(epoch, selectorOf(2, 1), i); !kept || ask != (i == 0) {
			t.Fatalf("a tunnel's packet %d: kept %v, ask %v", i, kept, ask)
		}
	}
	only := silentSelector(1, 5)
	same(t, "one selector's", q.takeWhere(func(s selector) bool { return s == only }), []int{5})
	if kept, ask := q.push(epoch, silentSelector(20, 20000), 20000); !kept || !ask {
		t.Fatalf("in its place: kept %v, ask %v", kept, ask)
	}
	if n := len(q.takeAll()); n != 16 || q.count != 0 || q.silent != (holdCount{}) || len(q.tunnels) != 0 {
		t.Fatalf("%d packets, then %d, %+v, %v", n, q.count, q.silent, q.tunnels)
	}
}

// A packet that waits, for a neighbour or for an SA, is counted at its filter once: when it goes on, or when it is given up.
func TestHeldPacketsCountOnce(t *testing.T) {
	unknown := netip.MustParseAddr("10.1.0.99")
	r := newRig(t, rigOptions{perSelector: 3, rules: []rule{siteRule, {name: "in", source: "203.0.113.0/24", destination: "10.1.0.0/24"}}})
	r.setCell("site", CellHold)
	size := uint64(len(tcp(lanHost, farHost)))
	hits := func(name string) (h FilterHits) {
		for _, f := range r.d.Counters().Filters {
			if f.Entry.Rule == name {
				h = h.plus(f.FilterHits)
			}
		}
		return h
	}
	for range 5 { // two find no room
		r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
		r.enqueue(0, wan, fromPeer(tcp(netip.MustParseAddr("203.0.113.9"), unknown)))
		r.settle()
		r.serveAll()
	}
	same(t, "waiting for an SA", hits("to-site"), FilterHits{2, 2 * size})
	same(t, "waiting for a neighbour", hits("in"), FilterHits{})
	r.outbound(r.child("site", "aes128gcm16", false))
	r.settle()
	same(t, "gone on", hits("to-site"), FilterHits{5, 5 * size})
	for range 5 {
		r.now = r.now.Add(time.Second)
		r.serveAll()
		r.settle()
	}
	c := r.d.Counters()
	same(t, "given up", hits("in"), FilterHits{5, 5 * size})
	if c.Ports[wan].Drops["neighbour_silent"] != 5 || c.Ports[lan].Drops["hold_full"] != 2 {
		t.Errorf("%v, %v", c.Ports[wan].Drops, c.Ports[lan].Drops)
	}
	for _, f := range c.Filters {
		dropped := uint64(0)
		for _, n := range f.Drops {
			dropped += n
		}
		if dropped > f.Packets {
			t.Errorf("%s %s has dropped %d packets and decided %d", f.Name, f.Entry.Rule, dropped, f.Packets)
		}
	}
	r.sent(lan)
	r.sent(wan)
}
