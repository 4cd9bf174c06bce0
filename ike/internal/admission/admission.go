// Package admission counts what strangers, and peers, may make an engine begin.
package admission

import (
	"cmp"
	"maps"
	"net/netip"
	"time"
)

// Gauge is how many of something there are, and the most that there ever were.
type Gauge struct{ Now, Most int }

// Add counts some in, or out.
func (g *Gauge) Add(by int) {
	g.Now += by
	g.Most = max(g.Most, g.Now)
}

// Place is where a half-open IKE SA was begun from. What comes from where an IKE SA is established has places of its own (C-18).
type Place struct {
	From        netip.AddrPort
	Established bool
}

// HalfOpen counts the IKE SAs that a peer began and has not authenticated.
type HalfOpen struct {
	total       Gauge
	byAddress   map[netip.Addr]int     // begun where no IKE SA is established
	byPort      map[netip.AddrPort]int // begun where one is
	mostAddress int
	mostPort    int
}

// NewHalfOpen has counted none.
func NewHalfOpen() HalfOpen {
	return HalfOpen{byAddress: map[netip.Addr]int{}, byPort: map[netip.AddrPort]int{}}
}

// Add counts an IKE SA in (by 1) or out (by -1). An address without any has no entry, so the maps are no larger than the total.
func (h *HalfOpen) Add(p Place, by int) {
	h.total.Add(by)
	if p.Established {
		Count(h.byPort, p.From, by)
		h.mostPort = max(h.mostPort, h.byPort[p.From])
		return
	}
	Count(h.byAddress, p.From.Addr(), by)
	h.mostAddress = max(h.mostAddress, h.byAddress[p.From.Addr()])
}

// Total is how many there are.
func (h *HalfOpen) Total() int { return h.total.Now }

// OfAddress is how many of an address there are, those apart that come from where an IKE SA is established.
func (h *HalfOpen) OfAddress(a netip.Addr) int { return h.byAddress[a] }

// OfPort is how many there are of an address and port where an IKE SA is established.
func (h *HalfOpen) OfPort(a netip.AddrPort) int { return h.byPort[a] }

// Entries is how many addresses and ports are remembered.
func (h *HalfOpen) Entries() int { return len(h.byAddress) + len(h.byPort) }

// Gauges are how many there are in all, and at the address and at the port that has the most.
func (h *HalfOpen) Gauges() (total, address, port Gauge) {
	address, port = Gauge{Most: h.mostAddress}, Gauge{Most: h.mostPort}
	for _, n := range h.byAddress {
		address.Now = max(address.Now, n)
	}
	for _, n := range h.byPort {
		port.Now = max(port.Now, n)
	}
	return h.total, address, port
}

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

	second int64 // of the last one, and how many there were in it
	inIt   int
	most   int // in any second
}

// Take reports whether one more may happen, and counts it.
func (b *Bucket) Take(now time.Time) bool {
	b.left, b.filled = b.available(now), now
	if b.left < 1 {
		return false
	}
	b.left--
	if second := now.Unix(); second != b.second {
		b.second, b.inIt = second, 0
	}
	b.inIt++
	b.most = max(b.most, b.inIt)
	return true
}

// Gauge is how many there were within the present second, and the most in any.
func (b *Bucket) Gauge(now time.Time) Gauge {
	if b.second != now.Unix() {
		return Gauge{Most: b.most}
	}
	return Gauge{Now: b.inIt, Most: b.most}
}

// Limit gives a bucket another rate. What is left in it stays, as far as it has room.
func (b *Bucket) Limit(perSecond, burst int) { b.PerSecond, b.Burst = perSecond, burst }

// Has reports whether one more may happen, and does not count it.
func (b *Bucket) Has(now time.Time) bool { return b.available(now) >= 1 }

func (b *Bucket) available(now time.Time) float64 {
	return min(float64(max(b.PerSecond, b.Burst)), b.left+now.Sub(b.filled).Seconds()*float64(b.PerSecond))
}

// full reports whether nothing is missing from the burst.
func (b *Bucket) full(now time.Time) bool {
	return b.left+now.Sub(b.filled).Seconds()*float64(b.PerSecond) >= float64(max(b.PerSecond, b.Burst))
}

// Networks has a bucket for each network. Without lengths it is one that a host can have to itself: an IPv4 address, 64 bits of an IPv6 one.
type Networks struct {
	Each       Bucket // what each begins with
	Most       int    // of them that are kept: those that have rested make room
	IPv4, IPv6 int    // lengths of their prefixes; 0: 32 and 64

	taken map[netip.Prefix]*Bucket
	most  int // of one within a second
}

// Take takes from the bucket of an address's network, of which there may be no more.
func (n *Networks) Take(now time.Time, a netip.Addr) bool {
	bits := cmp.Or(n.IPv4, 32)
	if a.Is6() {
		bits = cmp.Or(n.IPv6, 64)
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
	taken := b.Take(now)
	n.most = max(n.most, b.most)
	return taken
}

// Gauge is how much the busiest network had within the present second, and the most that any ever had.
func (n *Networks) Gauge(now time.Time) Gauge {
	g := Gauge{Most: n.most}
	for _, b := range n.taken {
		g.Now = max(g.Now, b.Gauge(now).Now)
	}
	return g
}

// Limit gives all networks another rate.
func (n *Networks) Limit(perSecond, burst int) {
	n.Each.Limit(perSecond, burst)
	for _, b := range n.taken {
		b.Limit(perSecond, burst)
	}
}

// Kept is how many networks are kept account of.
func (n *Networks) Kept() int { return len(n.taken) }
