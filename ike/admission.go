package ike

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"sallyport/ike/wire"
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
	case established && (h.byPort[from] >= e.limits.HalfOpenEstablished || h.byAddress[from.Addr()] >= e.limits.HalfOpenPerAddress):
		return RefuseEstablished // an address has more ports than there are places in all
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

// affords reports whether an address that has proved to be the sender's may cost another Diffie-Hellman computation. What it begins and lets fail at once
// leaves nothing that half-open limits would count, and two lines in the log.
func (e *Engine) affords(d Datagram, spi uint64, peers []*peer) bool {
	if peers[0].proven.take(e.now) {
		return true
	}
	e.fact(Fact{Kind: Refused, Reason: RefuseProven, Local: d.Local, Remote: d.Remote, SPIi: spi})
	return false
}

// requestBurst is how many requests an authenticated peer may make before Limits.Requests holds it back: all Child SAs of an IKE SA made and rekeyed at
// once, with their deletes, several times over.
const requestBurst = 1024

// overruns takes a request of an authenticated peer into account, if it is one to make, renew or end SAs. Above the rate it counts as lost, for the others'
// sake: there is one engine, and each such request costs it as much as an IKE_AUTH, and the log a line or two.
func (sa *ikeSA) overruns(m *message) bool {
	p := sa.peer
	if p == nil || m.Exchange == wire.ExchangeInformational && len(m.Payloads) == 0 || p.requests.take(sa.engine.now) {
		return false
	}
	f := sa.fact(Refused)
	f.Reason, f.Message = RefuseRequests, m.MessageID
	sa.engine.fact(f)
	return true
}

// bucket lets a number of things happen each second and no more, save a burst of them after a rest.
type bucket struct {
	perSecond int
	burst     int // 0: perSecond
	left      float64
	filled    time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.left = min(float64(max(b.perSecond, b.burst)), b.left+now.Sub(b.filled).Seconds()*float64(b.perSecond))
	b.filled = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
