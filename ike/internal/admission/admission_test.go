package admission

import (
	"net/netip"
	"testing"
	"time"
)

var (
	start  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	first  = netip.MustParseAddrPort("192.0.2.1:500")
	second = netip.MustParseAddrPort("192.0.2.1:4500")
)

// What is counted in is counted out again, and leaves nothing behind.
func TestHalfOpen(t *testing.T) {
	h := NewHalfOpen()
	elsewhere, here := Place{From: first}, Place{From: second, Established: true}
	h.Add(elsewhere, 1)
	h.Add(elsewhere, 1)
	h.Add(here, 1)
	if h.Total() != 3 || h.OfAddress(first.Addr()) != 2 || h.OfPort(first) != 0 || h.OfPort(second) != 1 || h.Entries() != 2 {
		t.Errorf("%d in all, %d of the address, %d and %d of its ports", h.Total(), h.OfAddress(first.Addr()), h.OfPort(first), h.OfPort(second))
	}
	h.Add(elsewhere, -2)
	h.Add(here, -1)
	if h.Total() != 0 || h.Entries() != 0 {
		t.Errorf("%d are left, with %d entries", h.Total(), h.Entries())
	}
	total, address, port := h.Gauges()
	if (total != Gauge{Most: 3}) || (address != Gauge{Most: 2}) || (port != Gauge{Most: 1}) {
		t.Errorf("in all %v, of an address %v, of a port %v", total, address, port)
	}
}

// A bucket gives its burst after a rest, and then its rate.
func TestBucket(t *testing.T) {
	for _, c := range []struct {
		bucket             Bucket
		atOnce, afterwards int // how many there are after a rest, and a second later
	}{
		{Bucket{PerSecond: 5}, 5, 5},
		{Bucket{PerSecond: 5, Burst: 20}, 20, 5},
		{Bucket{PerSecond: 5, Burst: 2}, 5, 5},
	} {
		taken := func(now time.Time) (n int) {
			for c.bucket.Take(now) {
				n++
			}
			return n
		}
		if n := taken(start); n != c.atOnce {
			t.Errorf("%d after a rest, expected %d", n, c.atOnce)
		}
		if n := taken(start.Add(time.Second)); n != c.afterwards {
			t.Errorf("%d a second later, expected %d", n, c.afterwards)
		}
	}
}

// Each network has its own bucket; there are no more of them than fit, until some have rested.
func TestNetworks(t *testing.T) {
	n := Networks{Each: Bucket{PerSecond: 1, Burst: 2}, Most: 2}
	now, address := start, netip.MustParseAddr
	for i, c := range []struct {
		from  string
		after time.Duration
		taken bool
	}{
		{"192.0.2.1", 0, true}, {"192.0.2.1", 0, true}, {"192.0.2.1", 0, false}, {"2001:db8::1", 0, true}, {"2001:db8::2", 0, true}, {"2001:db8::3", 0, false},
		{"192.0.2.2", time.Second, false}, {"192.0.2.1", 0, true}, {"192.0.2.2", 2 * time.Second, true}, {"192.0.2.3", 0, true},
	} {
		now = now.Add(c.after)
		if taken := n.Take(now, address(c.from)); taken != c.taken || n.Kept() > 2 {
			t.Errorf("request %d, of %s: taken %t, expected %t; %d networks kept", i, c.from, taken, c.taken, n.Kept())
		}
	}
}
