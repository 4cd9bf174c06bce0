package ikev1

import (
	"errors"
	"net/netip"
	"slices"

	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/isakmp"
)

// receive finds the ISAKMP SA of a datagram. What has none, and all that is not known to be the peer's, is dropped and counted.
func (e *Engine) receive(d ike.Datagram) {
	d.Local, d.Remote = unmap(d.Local), unmap(d.Remote)
	e.calls.Heard(d.Remote.Addr(), e.now)
	h, err := isakmp.ParseHeader(d.Payload)
	var version *isakmp.VersionError
	switch {
	case errors.Is(err, isakmp.ErrTooShort):
		e.drop(d, h, ike.DropShort)
		return
	case errors.As(err, &version):
		e.drop(d, h, ike.DropVersion)
		return
	case err != nil:
		e.drop(d, h, ike.DropMalformed)
		return
	}
	sa := e.lookup(d, h)
	switch h.Exchange {
	case isakmp.ExchangeMain, isakmp.ExchangeQuick, isakmp.ExchangeInformational:
	case isakmp.ExchangeAggressive: // which shows the identities, and what a guessed key can be tried on (S-061)
		e.drop(d, h, ike.DropAggressive)
		return
	default:
		e.drop(d, h, ike.DropExchange)
		return
	}
	if sa == nil {
		sa = e.resume(d, h)
	}
	switch {
	case sa != nil:
		sa.receive(d, h)
	case len(e.candidates(d)) == 0 && !e.stranger(d):
		e.drop(d, h, ike.DropNoPolicy)
	case h.Exchange == isakmp.ExchangeMain && h.Responder == 0:
		e.mainRequest(d, h)
	default:
		e.drop(d, h, ike.DropUnknownSPI)
		e.repeatFarewell(d, h)
	}
}

// lookup finds an ISAKMP SA by its cookies: by the initiator's, and where that is, as long as the responder's is not known to both.
func (e *Engine) lookup(d ike.Datagram, h isakmp.Header) *isakmpSA {
	if sa := e.sas[h.Cookies]; sa != nil {
		return sa
	}
	if sa := e.begun[h.Initiator]; sa != nil && d.Remote.Addr() == sa.remote.Addr() {
		return sa
	}
	if h.Responder != 0 {
		return nil
	}
	return e.asked[asker{h.Initiator, d.Remote.Addr()}]
}

func (e *Engine) drop(d ike.Datagram, h isakmp.Header, reason ike.Reason) {
	f := ike.Fact{Kind: ike.Dropped, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator, SPIr: h.Responder, Message: h.MessageID}
	if sa := e.lookup(d, h); sa != nil {
		f.Peer = sa.peerName()
	}
	e.fact(f)
}

// mayReply limits what strangers, and who repeats a peer's datagrams, can have us send.
func (e *Engine) mayReply(d ike.Datagram) bool {
	if e.replies.Take(e.now) {
		return true
	}
	e.fact(ike.Fact{Kind: ike.Refused, Reason: ike.RefuseRate, Local: d.Local, Remote: d.Remote})
	return false
}

// mainRequest admits a new ISAKMP SA or does not, in the order of what each check costs us: limits, syntax, and only then state. Diffie-Hellman waits
// until message 3 shows that the initiator is where it says (RFC 2408 2.5.3).
func (e *Engine) mainRequest(d ike.Datagram, h isakmp.Header) {
	peers, stranger := free(e.candidates(d)), e.stranger(d)
	if stranger {
		peers = append(peers, e.strangers.templates...)
	}
	if len(peers) == 0 || stranger && e.strangers.Elsewhere(d.Remote.Addr()) {
		e.fact(ike.Fact{Kind: ike.Refused, Reason: ike.RefuseCarried, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator})
		return
	}
	refuse := func(reason ike.Reason) {
		e.fact(ike.Fact{Kind: ike.Refused, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator})
	}
	if e.ledger.FullOfIKESAs() && !anyEstablished(peers) { // who has one may say that it is gone
		refuse(ike.RefuseAllIKESAs)
		return
	}
	place := placeAmong(peers, d.Remote)
	if reason := e.refuses(place, peers, stranger); reason != "" && !stranger && e.answerUnkept(d, h, peers) {
		refuse(reason) // a place
		return
	}
	if reason := e.admit(place, peers, stranger, answerTime); reason != "" {
		refuse(reason)
		return
	}
	m, err := parse(d, digestOf(d))
	if err == nil && m.kind != isakmp.KindMainSA {
		err = &unauthenticated{ike.DropExchange, errors.New("not message 1 of main mode")}
	}
	if err != nil {
		e.drop(d, h, err.(*unauthenticated).reason)
		return
	}
	newResponder(e, m, d.Payload, peers, stranger)
}

// placeAmong is where message 1 from somewhere begins a main mode with one of the peers.
func placeAmong(peers []*peer, from netip.AddrPort) admission.Place {
	for _, p := range peers {
		if sa := p.carrier(); sa != nil {
			if place := ike.PlaceAt(from, sa.remote); place.Established {
				return place
			}
		}
	}
	return ike.PlaceAt(from, netip.AddrPort{})
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
