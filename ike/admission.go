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

// RefuseHalfOpen says which limit keeps a new IKE SA from being negotiated from a place, or "". It is for the engines: known says that a peer there has
// authenticated before. A quarter of all places is for such peers (S-088).
func (l Limits) RefuseHalfOpen(h *admission.HalfOpen, from admission.Place, known bool) Reason {
	all := l.HalfOpen
	if !known {
		all -= all / 4
	}
	switch {
	case h.Total() >= all:
		return RefuseHalfOpen
	case from.Established && h.OfPort(from.From) >= l.HalfOpenEstablished:
		return RefuseEstablished
	case !from.Established && h.OfAddress(from.From.Addr()) >= l.HalfOpenPerAddress:
		return RefuseNew
	}
	return ""
}

// PlaceAt is where a first message from somewhere begins a negotiation, given where the IKE SA is that is established there. That has left port 500 where there is a
// NAT, or may be one; a peer that begins anew comes by it again.
func PlaceAt(from, established netip.AddrPort) admission.Place {
	if from == established || established.IsValid() && from == netip.AddrPortFrom(established.Addr(), portIKE) {
		return admission.Place{From: established, Established: true}
	}
	return admission.Place{From: from}
}

// trusts reports whether a request may cost a Diffie-Hellman computation and a half-open IKE SA without proof of its address. It may not when
// there are many of them, when they come fast (one with a bad public value costs the computation and leaves nothing to count), or when half of what
// an address with an established IKE SA is granted is taken: the rest is for the peer itself, whoever sends in its name (S-088).
func (e *Engine) trusts(from admission.Place) bool { return !e.wary(from) && e.unproven.Take(e.now) }

// wary reports whether trusts would say no, and counts nothing.
func (e *Engine) wary(from admission.Place) bool {
	h := &e.halfOpen
	return h.Total() >= e.limits.CookieThreshold || from.Established && h.OfPort(from.From) >= e.limits.HalfOpenEstablished/2 || !e.unproven.Has(e.now)
}

// affords reports whether an address that has proved to be the sender's may cost another Diffie-Hellman computation. What it begins and lets fail at once
// leaves nothing that half-open limits would count, and two lines in the log.
func (e *Engine) affords(d Datagram, spi uint64, peers []*peer, stranger bool) bool {
	var reason Reason
	if stranger && !anyKnown(peers) {
		reason = e.strangers.Afford(e.now, d.Remote.Addr(), e.ledger)
	} else {
		reason = e.ledger.Afford(e.now, d.Remote.Addr(), &peers[0].proven, anyKnown(peers))
	}
	if reason != "" {
		e.fact(Fact{Kind: Refused, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: spi})
	}
	return reason == ""
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
