// Package admission counts what strangers, and peers, may make an engine begin.
package admission

import (
	"maps"
	"net/netip"
	"time"
)

// HalfOpen counts the IKE SAs that a peer began and has not authenticated.
type HalfOpen struct {
	total     int
	byAddress map[netip.Addr]int
	byPort    map[netip.AddrPort]int
}

// NewHalfOpen has counted none.
func NewHalfOpen() HalfOpen {
	return HalfOpen{byAddress: map[netip.Addr]int{}, byPort: map[netip.AddrPort]int{}}
}

// Add counts an IKE SA in (by 1) or out (by -1). An address without any has no entry, so the maps are no larger than the total.
func (h *HalfOpen) Add(from netip.AddrPort, by int) {
	h.total += by
	Count(h.byAddress, from.Addr(), by)
	Count(h.byPort, from, by)
}

// Total is how many there are.
func (h *HalfOpen) Total() int { return h.total }

// OfAddress is how many of an address there are.
func (h *HalfOpen) OfAddress(a netip.Addr) int { return h.byAddress[a] }

// OfPort is how many of an address and port there are.
func (h *HalfOpen) OfPort(a netip.AddrPort) int { return h.byPort[a] }

// Entries is how many addresses and ports are remembered.
func (h *HalfOpen) Entries() int { return len(h.byAddress) + len(h.byPort) }

// Count adds to a number kept by a key. There is no entry for a number of 0.
func Count[K comparable](m map[K]int, key K, by int) {
	if m[key] += by; m[key] == 0 {
		delete(m, key)
	}
}

// Bucket lets a number of things happen each second and no more, save a burst of them after a rest.
type Bucket struct {
	PerSecond int
	Burst     int // 0: PerSecond

	left   float64
	filled time.Time
}

// Take reports whether one more may happen, and counts it.
func (b *Bucket) Take(now time.Time) bool {
	b.left = min(float64(max(b.PerSecond, b.Burst)), b.left+now.Sub(b.filled).Seconds()*float64(b.PerSecond))
	b.filled = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// full reports whether nothing is missing from the burst.
func (b *Bucket) full(now time.Time) bool {
	return b.left+now.Sub(b.filled).Seconds()*float64(b.PerSecond) >= float64(max(b.PerSecond, b.Burst))
}

// Networks has a bucket for each network that a host can have to itself: an IPv4 address, 64 bits of an IPv6 one.
type Networks struct {
	Each Bucket // what each begins with
	Most int    // of them that are kept: those that have rested make room

	taken map[netip.Prefix]*Bucket
}

// Take takes from the bucket of an address's network, of which there may be no more.
func (n *Networks) Take(now time.Time, a netip.Addr) bool {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	network, _ := a.Prefix(bits)
	b := n.taken[network]
	if b == nil {
		if len(n.taken) >= n.Most {
			maps.DeleteFunc(n.taken, func(_ netip.Prefix, b *Bucket) bool { return b.full(now) })
		}
		if len(n.taken) >= n.Most {
			return false
		}
		if n.taken == nil {
			n.taken = map[netip.Prefix]*Bucket{}
		}
		fresh := n.Each
		b = &fresh
		n.taken[network] = b
	}
	return b.Take(now)
}

// Kept is how many networks are kept account of.
func (n *Networks) Kept() int { return len(n.taken) }
