package ikev1

import (
	"encoding/binary"
	"errors"
	"slices"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// newMessageID draws the ID of an exchange. It is never zero, and never one that was there before under this ISAKMP SA: the IV comes of it.
func (sa *isakmpSA) newMessageID() uint32 {
	for {
		if id := binary.BigEndian.Uint32(sa.engine.random(4)); id != 0 && !sa.used[id] {
			return id
		}
	}
}

// use remembers the ID of an exchange. With half of those that can be remembered another ISAKMP SA takes the place of this one: a peer that asks often whether
// we live must not find us silent.
func (sa *isakmpSA) use(id uint32) {
	if len(sa.used) < maxMessageIDs { // beyond are messages of ours alone: nothing of the peer's is taken any more
		sa.used[id] = true
	}
	if len(sa.used) >= maxMessageIDs/2 && sa.state == stateEstablished && !sa.due {
		sa.due = true
		sa.peer.touch()
	}
}

// inform sends an informational exchange: one message, encrypted, that nobody answers (RFC 2409 5.7). It returns the message, nil when there is none.
func (sa *isakmpSA) inform(payloads ...isakmp.Payload) []byte {
	if sa.state == stateClosed {
		return nil
	}
	id := sa.newMessageID()
	sa.use(id)
	iv := sa.phase2IV(id)
	h := isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeInformational, MessageID: id}
	b, err := sa.seal(h, &iv, payloads, func(rest []byte) []byte { return sa.keys.hash1(id, rest) })
	if err != nil {
		f := sa.fact(ike.Failed)
		f.Reason, f.Detail = ike.FailInternal, err.Error()
		sa.engine.fact(f)
		return nil
	}
	sa.transmit(sa.local, sa.remote, b)
	return b
}

// phase2IV is the IV of the first message under an ID: of a main mode that fails at its end from what there is of it.
func (sa *isakmpSA) phase2IV(id uint32) []byte {
	if sa.last == nil {
		return sa.keys.phase2IV(sa.main.iv, id)
	}
	return sa.keys.phase2IV(sa.last, id)
}

// rejected takes what a responder says in place of message 6. It has our keys, so nobody else can say so; who it is does not matter for a no.
func (sa *isakmpSA) rejected(d ike.Datagram, h isakmp.Header) {
	m, err := sa.openPhase2(d, h)
	if err != nil {
		sa.main.doubt = err                    // a responder with another pre-shared key has other keys
		sa.engine.drop(d, h, ike.DropExchange) // nothing of phase 2 before phase 1 is done
		return
	}
	sa.use(h.MessageID)
	if n := isakmp.FindError(m.Payloads); n != nil {
		refusal := failureOf(n)
		if n.Type == isakmp.NotifyInvalidIDInformation {
			refusal.reason = ike.FailAuthentication // of main mode it is about who we are, not about traffic
		}
		sa.fail(refusal)
	}
}

// informed takes an informational exchange of the peer's.
func (sa *isakmpSA) informed(d ike.Datagram, h isakmp.Header) {
	m, err := sa.openInformational(d, h)
	var anybody *unauthenticated
	if errors.As(err, &anybody) {
		sa.engine.drop(d, h, anybody.reason)
		return
	}
	sa.use(h.MessageID)
	sa.heard(m)
	sa.observe(&m.Message, false, m.local, m.remote)
	named := sa.peer.byPeerSPIs(m.Payloads)
	if sa.strays(m.Payloads, named) && !sa.peer.deletes.Take(sa.engine.now) {
		f := sa.fact(ike.Refused)
		f.Reason, f.Message = ike.RefuseRequests, h.MessageID
		sa.engine.fact(f)
		return
	}
	var ends []*isakmp.Delete // of ISAKMP SAs, which come last wherever they stand: this one may be among them
	for _, p := range m.Payloads {
		if sa.state == stateClosed {
			return // by what came before
		}
		switch p := p.(type) {
		case *isakmp.Delete:
			if p.Protocol == isakmp.ProtocolISAKMP {
				ends = append(ends, p)
			} else {
				sa.deleted(p, named)
			}
		case *isakmp.Notify:
			sa.notified(p)
		}
	}
	for _, d := range ends {
		sa.deleted(d, named)
	}
}

// deleted takes the peer's word that SAs of its own have ended. Of a pair the other half goes too, for nothing comes by it any more, and of a bundle the
// other protocol.
func (sa *isakmpSA) deleted(d *isakmp.Delete, named map[peerSPI]*childSA) {
	for _, spi := range d.SPIs {
		if c := named[peerSPI{d.Protocol, spi}]; c != nil && c.state != childGone {
			reason := ike.DeletedByPeer
			if c.state == childReplaced {
				reason = ike.DeletedRekeyed
			}
			c.remove(reason, sa.engine.limits.RekeyGrace)
			if reason == ike.DeletedByPeer && c.slot.live() == nil {
				c.slot.ended(c.established)
			}
		}
	}
	for _, cookies := range d.Cookies {
		if other := sa.sibling(cookies); other != nil {
			other.ended()
		}
	}
	sa.peer.comeBack()
}

// sibling is an ISAKMP SA with the same peer, or nil.
func (sa *isakmpSA) sibling(cookies isakmp.Cookies) *isakmpSA {
	if other := sa.engine.sas[cookies]; other != nil && other.peer == sa.peer {
		return other
	}
	return nil
}

// peerSPI is how the peer calls one of the SAs by which we send.
type peerSPI struct {
	protocol isakmp.ProtocolID
	spi      uint32
}

// byPeerSPIs are all pairs of the peer by the names that a message with deletes may have for them: it has room for thousands. Of other messages it is nil.
func (p *peer) byPeerSPIs(payloads []isakmp.Payload) map[peerSPI]*childSA {
	if isakmp.Find[*isakmp.Delete](payloads) == nil {
		return nil
	}
	named := map[peerSPI]*childSA{}
	for _, c := range p.children() {
		for _, l := range c.layers() {
			named[peerSPI{isakmp.ProtocolID(l.protocol), l.spiOut}] = c
		}
	}
	return named
}

// strays reports whether deletes name an SA that is not here. Some do: both ends may end the same. A peer that never stops is held back, for nothing else holds
// it: of deletes of what there is it can send no more than it may make.
func (sa *isakmpSA) strays(payloads []isakmp.Payload, named map[peerSPI]*childSA) bool {
	for _, d := range isakmp.FindAll[*isakmp.Delete](payloads) {
		if slices.ContainsFunc(d.SPIs, func(spi uint32) bool { return named[peerSPI{d.Protocol, spi}] == nil }) ||
			slices.ContainsFunc(d.Cookies, func(c isakmp.Cookies) bool { return sa.sibling(c) == nil }) {
			return true
		}
	}
	return false
}

// ended closes an ISAKMP SA that the peer has ended. If there is none then, the next one waits, as that of a pair does.
func (sa *isakmpSA) ended() {
	p, established := sa.peer, sa.established
	sa.close(ike.DeletedByPeer)
	if p.carrier() == nil && !p.retry.Pending() {
		p.brief = p.endedAfter(established, p.brief)
		p.wait(&p.retry, p.brief)
	}
}

// notified takes a notification of the peer's.
func (sa *isakmpSA) notified(n *isakmp.Notify) {
	switch {
	case n.Type == isakmp.NotifyRUThere:
		if sequence, err := n.Sequence(); err == nil {
			sa.inform(isakmp.RUThereAck(sa.cookies, sequence))
		}
	case n.Type == isakmp.NotifyRUThereAck:
		// heard has taken note
	case n.Type == isakmp.NotifyConnected:
		if t := sa.said(n); t != nil {
			t.finish()
		}
	case n.Type == isakmp.NotifyInitialContact:
		sa.peer.startsOver(sa)
	case n.Type.IsError():
		if t := sa.meant(n); t != nil {
			t.fail(failureOf(n))
		}
	}
}

// meant is the quick mode of ours that an error is about: that of the SPI in it, and without one the only one that waits for an answer.
func (sa *isakmpSA) meant(n *isakmp.Notify) *quickInitiator {
	var waiting []*quickInitiator
	for _, x := range sa.exchanges() {
		if t, ok := x.task.(*quickInitiator); ok && x.asks {
			waiting = append(waiting, t)
		}
	}
	if _, spi, err := n.SASPI(); err == nil && spi != 0 {
		for _, t := range waiting {
			if t.spis.esp == spi || t.spis.ah == spi {
				return t
			}
		}
		return nil
	}
	if len(waiting) == 1 {
		return waiting[0]
	}
	return nil
}

// hint takes what a message in clear says for a hint, for anybody may have sent it: about a negotiation it is told when that fails, and where it says that the
// peer has lost an SA the peer is asked, so many times a second.
func (sa *isakmpSA) hint(d ike.Datagram) {
	m, err := parse(d, digestOf(d))
	if err != nil || m.kind != isakmp.KindInformationalClear {
		return
	}
	n := isakmp.FindError(m.Payloads)
	if n == nil {
		return
	}
	sa.word = n.Type.String()
	lost := n.Type == isakmp.NotifyInvalidCookie || n.Type == isakmp.NotifyInvalidSPI
	if lost && sa.state == stateEstablished && sa.can.dpd && sa.probe.tries == 0 && sa.engine.mayReply(d) {
		sa.ask()
	}
}

// refuse tells the peer why a main mode has failed whose message 5 or 6 was read: an initiator's peer takes it for done.
func (sa *isakmpSA) refuse(err error) {
	answer := asFailure(err).answer()
	if answer == 0 || sa.state != stateProving && sa.state != stateKeyed {
		return
	}
	if sa.inform(isakmp.NewNotify(answer, sa.cookies, nil)) != nil {
		sa.no = answer.String()
	}
	if sa.role == ike.RoleInitiator {
		sa.inform(isakmp.DeleteISAKMP(sa.cookies))
	}
}

// turnAway answers a message 1 that leads to nothing. The answer is in clear, and so limited in its rate.
func (sa *isakmpSA) turnAway(m *message, err error) {
	f := asFailure(err)
	e, d := sa.engine, ike.Datagram{Local: m.local, Remote: m.remote}
	answers := e.mayReply(d)
	if answers {
		sa.no = f.answer().String()
	}
	sa.noteAmong(f.reason, f.detail, sa.main.attempt())
	if !answers {
		return
	}
	fact := sa.fact(ike.Failed)
	fact.Reason, fact.Detail = f.reason, f.detail
	e.fact(fact)
	n := &isakmp.Notify{DOI: isakmp.DOIIPsec, Protocol: isakmp.ProtocolISAKMP, Type: f.answer()}
	answer := isakmp.Message{Header: isakmp.Header{Cookies: m.Cookies, Exchange: isakmp.ExchangeInformational}, Payloads: []isakmp.Payload{n}}
	if b, err := answer.Marshal(); err == nil { // a header that was parsed can be written
		e.send(d.Local, d.Remote, b)
	}
}
