package ike

import (
	"crypto/sha256"
	"net/netip"

	"sallyport/ike/internal/admission"
	"sallyport/ike/wire"
)

// digest identifies a request by its octets, to tell a retransmission, which is identical, from another request (RFC 7296 2.1). Where it came from
// is left out: a NAT may change that between the two.
type digest [sha256.Size]byte

func digestOf(d Datagram) digest { return sha256.Sum256(d.Payload) }

// RefuseHalfOpen says which limit keeps a new IKE SA from being negotiated with an address, or "". It is for the engines: established says that
// there is one with it already.
func (l Limits) RefuseHalfOpen(h *admission.HalfOpen, from netip.AddrPort, established bool) Reason {
	switch {
	case h.Total() >= l.HalfOpen:
		return RefuseHalfOpen
	case established && (h.OfPort(from) >= l.HalfOpenEstablished || h.OfAddress(from.Addr()) >= l.HalfOpenPerAddress):
		return RefuseEstablished // an address has more ports than there are places in all
	case !established && h.OfAddress(from.Addr()) >= l.HalfOpenPerAddress:
		return RefuseNew
	}
	return ""
}

// trusts reports whether a request may cost a Diffie-Hellman computation and a half-open IKE SA without proof of its address. It may not when
// there are many of them, when they come fast (one with a bad public value costs the computation and leaves nothing to count), or when half of what
// an address with an established IKE SA is granted is taken: the rest is for the peer itself, whoever sends in its name (S-088).
func (e *Engine) trusts(from netip.AddrPort, established bool) bool {
	switch h := &e.halfOpen; {
	case h.Total() >= e.limits.CookieThreshold:
		return false
	case established && h.OfPort(from) >= e.limits.HalfOpenEstablished/2:
		return false
	}
	return e.unproven.Take(e.now)
}

// affords reports whether an address that has proved to be the sender's may cost another Diffie-Hellman computation. What it begins and lets fail at once
// leaves nothing that half-open limits would count, and two lines in the log.
func (e *Engine) affords(d Datagram, spi uint64, peers []*peer, stranger bool) bool {
	if stranger && e.strangers.Afford(e.now, d.Remote.Addr()) || !stranger && peers[0].proven.Take(e.now) {
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
	if p == nil || m.Exchange == wire.ExchangeInformational && len(m.Payloads) == 0 || p.requests.Take(sa.engine.now) {
		return false
	}
	f := sa.fact(Refused)
	f.Reason, f.Message = RefuseRequests, m.MessageID
	sa.engine.fact(f)
	return true
}
