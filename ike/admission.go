package ike

import (
	"crypto/sha256"
	"net/netip"
	"time"
)

// digest identifies a request by its octets, to tell a retransmission, which is identical, from another request (RFC 7296 2.1). Where it came from
// is left out: a NAT may change that between the two.
type digest [sha256.Size]byte

func digestOf(d Datagram) digest { return sha256.Sum256(d.Payload) }

// halfOpen counts the IKE SAs that a peer began and has not authenticated.
type halfOpen struct {
	total     int
	byAddress map[netip.Addr]int
	byPort    map[netip.AddrPort]int
}

func newHalfOpen() halfOpen {
	return halfOpen{byAddress: map[netip.Addr]int{}, byPort: map[netip.AddrPort]int{}}
}

// add counts an IKE SA in (by 1) or out (by -1). An address without any has no entry, so the maps are no larger than the total.
func (h *halfOpen) add(from netip.AddrPort, by int) {
	h.total += by
	count(h.byAddress, from.Addr(), by)
	count(h.byPort, from, by)
}

func count[K comparable](m map[K]int, key K, by int) {
	if m[key] += by; m[key] == 0 {
		delete(m, key)
	}
}

// refuse says which limit keeps a new IKE SA from being negotiated with that address, or "".
func (e *Engine) refuse(from netip.AddrPort, established bool) Reason {
	switch h := &e.halfOpen; {
	case h.total >= e.limits.HalfOpen:
		return RefuseHalfOpen
	case established && h.byPort[from] >= e.limits.HalfOpenEstablished:
		return RefuseEstablished
	case !established && h.byAddress[from.Addr()] >= e.limits.HalfOpenPerAddress:
		return RefuseNew
	}
	return ""
}

// trusts reports whether a request may cost a Diffie-Hellman computation and a half-open IKE SA without proof of its address. It may not when
// there are many of them, when they come fast (one with a bad public value costs the computation and leaves nothing to count), or when half of what
// an address with an established IKE SA is granted is taken: the rest is for the peer itself, whoever sends in its name (S-088).
func (e *Engine) trusts(from netip.AddrPort, established bool) bool {
	switch h := &e.halfOpen; {
	case h.total >= e.limits.CookieThreshold:
		return false
	case established && h.byPort[from] >= e.limits.HalfOpenEstablished/2:
		return false
	}
	return e.unproven.take(e.now)
}

// bucket lets a number of things happen each second and no more.
type bucket struct {
	perSecond int
	left      float64
	filled    time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.left = min(float64(b.perSecond), b.left+now.Sub(b.filled).Seconds()*float64(b.perSecond))
	b.filled = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
