package ike

import (
	"errors"
	"net/netip"
	"slices"

	"sallyport/ike/internal/admission"
	"sallyport/ike/wire"
)

// The ports of IKE (RFC 7296 section 2).
const (
	portIKE  = 500
	portNATT = 4500 // with ESP in UDP beside it, once a NAT was found
)

// receive finds the IKE SA of a datagram. What has none, and anything wrong before the ICV was checked, is dropped and counted; some of it
// gets an unprotected answer at a limited rate (RFC 7296 2.21).
func (e *Engine) receive(d Datagram) {
	d.Local, d.Remote = unmap(d.Local), unmap(d.Remote)
	e.calls.Heard(d.Remote.Addr(), e.now)
	h, err := wire.ParseHeader(d.Payload)
	var version *wire.VersionError
	switch {
	case errors.Is(err, wire.ErrTooShort):
		e.drop(d, h, DropShort)
	case errors.As(err, &version):
		e.otherVersion(d, h, version)
	case err != nil:
		e.drop(d, h, DropMalformed)
	case h.Exchange == wire.ExchangeIKESAInit && !h.Response():
		e.initRequest(d, h)
	default:
		e.forSA(d, h)
	}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

func (e *Engine) forSA(d Datagram, h wire.Header) {
	if sa := e.claimant(h); sa != nil {
		sa.another(d, h)
		return
	}
	sa := e.lookup(h)
	switch {
	case sa == nil:
		e.strange(d, h)
	case h.Response():
		sa.tasks.response(d, h)
	default:
		sa.tasks.request(d, h)
	}
}

// lookup finds an IKE SA by the SPI that is ours: the initiator's, unless the message comes from the original initiator.
func (e *Engine) lookup(h wire.Header) *ikeSA {
	local, remote, role := h.InitiatorSPI, h.ResponderSPI, RoleInitiator
	if h.FromInitiator() {
		local, remote, role = h.ResponderSPI, h.InitiatorSPI, RoleResponder
	}
	sa := e.sas[local]
	if sa == nil || sa.role != role || sa.remoteSPI != 0 && sa.remoteSPI != remote {
		return nil
	}
	return sa
}

// strange handles a datagram for no IKE SA of ours. A request from where a peer may be is told so, which lets a peer that has missed our
// restart check on us soon (RFC 7296 2.21.4).
func (e *Engine) strange(d Datagram, h wire.Header) {
	if last, known := e.departed.find(d); known {
		if d.Remote == last.remote || e.mayReply(d) {
			for _, b := range last.response {
				e.send(d.Local, d.Remote, b)
			}
		}
		return
	}
	peers := e.candidates(d)
	if len(peers) == 0 {
		e.drop(d, h, DropNoPolicy)
		return
	}
	e.drop(d, h, DropUnknownSPI)
	if h.Response() {
		return
	}
	m, err := wire.Parse(d.Payload)
	if err == nil && !wire.Protected(m.Payloads) {
		for _, p := range peers {
			p.hint(m)
		}
		return
	}
	if err == nil {
		if f := wire.Find[*wire.Fragment](m.Payloads); f != nil && f.Number > 1 {
			return // number 1 gets the answer
		}
	}
	e.answerUnprotected(d, h, wire.NewNotify(wire.NotifyInvalidIKESPI, nil))
}

// otherVersion answers a request of a higher major version with ours (RFC 7296 2.5). IKEv1 gets silence.
func (e *Engine) otherVersion(d Datagram, h wire.Header, version *wire.VersionError) {
	if len(e.candidates(d)) == 0 {
		e.drop(d, h, DropNoPolicy)
		return
	}
	e.drop(d, h, DropVersion)
	if version.Major > wire.Major && !h.Response() && h.InitiatorSPI != 0 {
		e.answerUnprotected(d, h, wire.InvalidMajorVersion())
	}
}

func (e *Engine) answerUnprotected(d Datagram, h wire.Header, n *wire.Notify) {
	if e.mayReply(d) {
		e.answerClear(d, h, n)
	}
}

// mayReply limits the errors that strangers are told, and with them what they can write into the log.
func (e *Engine) mayReply(d Datagram) bool {
	if e.replies.Take(e.now) {
		return true
	}
	e.fact(Fact{Kind: Refused, Reason: RefuseRate, Local: d.Local, Remote: d.Remote})
	return false
}

func (e *Engine) answerClear(d Datagram, h wire.Header, n *wire.Notify) {
	m := wire.Message{Header: answerTo(h), Payloads: []wire.Payload{n}}
	if b, err := m.Marshal(); err == nil { // a header that was parsed can be written
		e.send(d.Local, d.Remote, b)
	}
}

func (e *Engine) drop(d Datagram, h wire.Header, reason Reason) {
	f := Fact{Kind: Dropped, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.InitiatorSPI, SPIr: h.ResponderSPI, Message: h.MessageID}
	if sa := e.lookup(h); sa != nil {
		f.Peer = sa.peerName()
	}
	e.fact(f)
}

// initRequest admits a new IKE SA or does not, in the order of what each check costs us: address, retransmission, limits, syntax, cookie, and
// only then state and a Diffie-Hellman computation.
func (e *Engine) initRequest(d Datagram, h wire.Header) {
	peers, stranger := e.candidates(d), e.stranger(d)
	if stranger {
		peers = slices.Concat(peers, e.strangers.templates)
	}
	if len(peers) == 0 {
		e.drop(d, h, DropNoPolicy)
		return
	}
	e.request = wire.WithoutCookie(e.request[:0], d.Payload)
	id := digestOf(Datagram{Payload: e.request})
	if sa := e.inits[id]; sa != nil {
		sa.tasks.repeatInit(d, h)
		return
	}
	if stranger && e.strangers.Elsewhere(d.Remote.Addr()) {
		e.fact(Fact{Kind: Refused, Reason: RefuseCarried, Local: d.Local, Remote: d.Remote, SPIi: h.InitiatorSPI})
		return
	}
	place, known := placeAmong(peers, d.Remote), anyKnown(peers)
	reason := e.limits.RefuseHalfOpen(&e.halfOpen, place, known)
	switch {
	case stranger && !known && e.strangers.Crowded():
		reason = RefuseHalfOpen
	case reason == "" && e.ledger.FullOfIKESAs() && !anyEstablished(peers): // who has one may say that it is gone
		reason = RefuseAllIKESAs
	}
	if reason != "" {
		e.fact(Fact{Kind: Refused, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.InitiatorSPI})
		return
	}
	if (stranger || e.wary(place)) && e.turnAway(d, h) {
		return
	}
	sa := newResponder(e, d, h, peers)
	sa.stranger, sa.place = stranger, place
	m, err := sa.open(d)
	if err != nil {
		e.drop(d, h, err.(*unauthenticated).reason)
		if n := wire.NotifyFor(err); n != nil && n.Type == wire.NotifyUnsupportedCriticalPayload && !stranger {
			e.answerUnprotected(d, h, n)
		}
		return
	}
	if (stranger || !e.trusts(place)) && (e.demandCookie(d, m) || !e.affords(d, m.InitiatorSPI, peers, stranger)) {
		return
	}
	sa.initDigest, sa.initFrom = id, d.Remote
	sa.tasks.handle(m)
}

// turnAway demands a cookie of a request that has to prove its address, before anything is made of the request. What it cannot judge is left to demandCookie.
func (e *Engine) turnAway(d Datagram, h wire.Header) bool {
	s, err := wire.SkimInit(d.Payload)
	return err == nil && e.demand(d, h, s)
}

// demandCookie does the same with a request that has been parsed.
func (e *Engine) demandCookie(d Datagram, m *message) bool {
	s := wire.Skim{Nonce: wire.Find[*wire.Nonce](m.Payloads).Data}
	if n, ok := m.Payloads[0].(*wire.Notify); ok && n.Type == wire.NotifyCookie {
		s.Cookie = n.Data
	}
	return e.demand(d, m.Header, s)
}

// demand answers with COOKIE what has not returned one (RFC 7296 2.6).
func (e *Engine) demand(d Datagram, h wire.Header, s wire.Skim) bool {
	e.cookies.rotate(e)
	if s.Cookie != nil && e.cookies.valid(s.Cookie, d, h.InitiatorSPI, s.Nonce) {
		return false
	}
	e.fact(Fact{Kind: Refused, Reason: RefuseCookie, Local: d.Local, Remote: d.Remote, SPIi: h.InitiatorSPI})
	e.answerClear(d, h, wire.Cookie(e.cookies.make(d, h.InitiatorSPI, s.Nonce)))
	return true
}

// placeAmong is where a first message from somewhere begins a negotiation with one of the peers.
func placeAmong(peers []*peer, from netip.AddrPort) admission.Place {
	for _, p := range peers {
		if sa := p.carrier(); sa != nil {
			if place := PlaceAt(from, sa.remote); place.Established {
				return place
			}
		}
	}
	return PlaceAt(from, netip.AddrPort{})
}

// anyKnown reports whether one of the peers has authenticated before.
func anyKnown(peers []*peer) bool {
	return slices.ContainsFunc(peers, func(p *peer) bool { return p.known })
}

func anyEstablished(peers []*peer) bool {
	for _, p := range peers {
		if p.carrier() != nil {
			return true
		}
	}
	return false
}
