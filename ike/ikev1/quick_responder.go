package ikev1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// quickResponder is our side of a quick mode that the peer begins: message 2 of those that quickInitiator shows. It asks again by message 2 until message
// 3 has come.
type quickResponder struct {
	sa     *isakmpSA
	x      *exchange
	ni, nr []byte
	made   *childSA
	over   bool // message 3 has come
	began  time.Time
	linger deadline.Timer

	offered *isakmp.SA // of message 1; by its first proposal a refusal names what it refuses
	traffic policy.Selector
}

// quickRequest takes message 1 of a quick mode. Nothing is kept of what does not prove to be the peer's.
func (sa *isakmpSA) quickRequest(d ike.Datagram, h isakmp.Header) {
	e := sa.engine
	m, err := sa.openPhase2(d, h)
	if err == nil && m.kind != isakmp.KindQuickSA {
		err = &unauthenticated{ike.DropExchange, errors.New("not message 1 of quick mode")}
	}
	if err != nil {
		e.drop(d, h, err.(*unauthenticated).reason)
		return
	}
	if p := sa.peer; isakmp.Find[*isakmp.KE](m.Payloads) != nil && !p.exchanges.Take(e.now) || !p.requests.Take(e.now) {
		f := sa.fact(ike.Refused)
		f.Reason, f.Message = ike.RefuseRequests, h.MessageID
		e.fact(f)
		return
	}
	if sa.spent() {
		sa.turnOver(h)
		return
	}
	t := &quickResponder{sa: sa, began: e.now, offered: isakmp.Find[*isakmp.SA](m.Payloads)}
	t.x = sa.begin(ike.RoleResponder, h.MessageID, t)
	t.x.flags = m.Flags & isakmp.FlagCommit // as RFC 2408 3.1 has it in all messages of an exchange
	t.x.accept(m)
	if err := t.answer(m); err != nil {
		t.fail(err)
	}
}

// turnOver refuses a quick mode on an ISAKMP SA that may make no more (S-077), and sees to another: to a peer that goes on with this one when there is
// another it is deleted.
func (sa *isakmpSA) turnOver(h isakmp.Header) {
	f := sa.fact(ike.Refused)
	f.Reason, f.Message = ike.RefuseSpent, h.MessageID
	sa.engine.fact(f)
	if sa.state == stateReplaced {
		sa.delete(ike.DeletedRekeyed)
		return
	}
	sa.peer.renew()
}

// openPhase2 reads the first message under a message ID, down to its HASH(1): it is the peer's.
func (sa *isakmpSA) openPhase2(d ike.Datagram, h isakmp.Header) (*message, error) {
	switch {
	case sa.used[h.MessageID]:
		return nil, &unauthenticated{ike.DropMessageID, errors.New("the message ID was there before")}
	case len(sa.used) >= maxMessageIDs:
		return nil, &unauthenticated{ike.DropMessageID, errors.New("the ISAKMP SA has seen all message IDs that it can remember")}
	}
	return sa.openWith(d, h, sa.phase2IV(h.MessageID))
}

// openWith reads a message that begins with HASH(1).
func (sa *isakmpSA) openWith(d ike.Datagram, h isakmp.Header, iv []byte) (*message, error) {
	m, err := parse(d, digestOf(d))
	if err == nil {
		err = m.decrypt(sa.keys, iv)
	}
	if err == nil {
		err = m.carries(sa.keys.hash1(h.MessageID, m.chain.Rest()))
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// answer makes the pair that message 1 asks for, and sends message 2.
func (t *quickResponder) answer(m *message) error {
	sa := t.sa
	s, choice, selector, err := sa.chooseSlot(m)
	t.traffic = selector
	if err != nil {
		return err
	}
	if limit, n := s.full(); limit != "" {
		f := sa.fact(ike.Refused)
		f.Child, f.Reason = s.cfg.Name, limit
		sa.engine.fact(f)
		return failf(ike.FailNoAdditionalSAs, "%d pairs of SAs %s, that is the limit", n, ike.OfChildren(limit, s.cfg.Name))
	}
	t.ni, t.nr = isakmp.Find[*isakmp.Nonce](m.Payloads).Data, sa.engine.random(nonceLen)
	public, shared, err := t.shared(choice, isakmp.Find[*isakmp.KE](m.Payloads))
	if err != nil {
		return err
	}
	defer shared.Wipe()
	spis, err := s.reserveSPIs()
	if err != nil {
		return err
	}
	c := sa.newChild(s, ike.RoleResponder, choice, spis)
	c.selector, c.nonce, c.began, c.begunIn = selector, t.ni, sa.engine.now, sa.engine.steps
	asked := bearable(choice.lifetime)
	var ours bool
	c.agreed, ours = agreeLifetime(s.life(), asked)
	ours = ours || asked != choice.lifetime
	c.deriveKeys(sa.keys, quickTranscript{shared: shared, ni: t.ni, nr: t.nr})
	t.made = c
	c.install()
	payloads := []isakmp.Payload{choice.answer(spis), &isakmp.Nonce{Data: t.nr}}
	if public != nil {
		payloads = append(payloads, &isakmp.KE{Data: public})
	}
	for _, id := range isakmp.FindAll[*isakmp.ID](m.Payloads) {
		payloads = append(payloads, id) // as they came
	}
	payloads = append(payloads, sa.nat.originals(s.cfg.Transport, false, sa.local.Addr(), sa.remote.Addr())...)
	if ours {
		n, err := isakmp.ResponderLifetime(isakmp.ProtocolID(c.protocol), c.spiIn, c.agreed)
		if err != nil {
			return err
		}
		payloads = append(payloads, n)
	}
	return t.x.send(true, func(rest []byte) []byte { return sa.keys.hash2(t.x.id, t.ni, rest) }, payloads...)
}

// traffic reads the IDs of a message of quick mode, seen from us.
func (sa *isakmpSA) traffic(m *message, weBegan, transport bool) (policy.Selector, error) {
	var local, remote *isakmp.ID
	if ids := isakmp.FindAll[*isakmp.ID](m.Payloads); len(ids) == 2 {
		if remote, local = ids[0], ids[1]; weBegan {
			local, remote = remote, local
		}
	}
	s, err := traffic(local, remote, sa.local.Addr(), sa.remote.Addr())
	return sa.nat.ownView(s, transport, sa.local.Addr(), sa.remote.Addr()), err
}

// chooseSlot finds the child whose traffic and algorithms the peer means: best one with exactly the traffic.
func (sa *isakmpSA) chooseSlot(m *message) (s *slot, choice phase2Choice, selector policy.Selector, err error) {
	var configured []policy.Selector
	no := error(nil)
	sa.peer.adapt(isakmp.Find[*isakmp.SA](m.Payloads))
	for _, want := range []fit{fitExact, fitWithin} {
		for _, s := range sa.peer.slots {
			offered, err := sa.traffic(m, false, s.cfg.Transport)
			if err != nil {
				return nil, choice, offered, failf(ike.FailSelectors, "%v", err)
			}
			if selector = offered; fits(s.cfg.Selectors, offered) != want {
				continue
			}
			choice, err := sa.choose(s, m)
			if err == nil {
				return s, choice, offered, nil
			}
			no = errors.Join(no, fmt.Errorf("child %s: %w", s.cfg.Name, err))
		}
	}
	if no != nil {
		return nil, choice, selector, failf(ike.FailProposal, "%v", no)
	}
	for _, s := range sa.peer.slots {
		configured = append(configured, s.cfg.Selectors...)
	}
	return nil, choice, selector, failf(ike.FailSelectors, "%v", refuseTraffic(configured, selector))
}

// choose picks how the SAs of a slot are made from what a message offers.
func (sa *isakmpSA) choose(s *slot, m *message) (phase2Choice, error) {
	ke := 0
	if p := isakmp.Find[*isakmp.KE](m.Payloads); p != nil {
		ke = len(p.Data)
	}
	terms, offered := sa.termsFor(s), isakmp.Find[*isakmp.SA](m.Payloads)
	choice, err := choosePhase2(terms, offered, ke)
	if err != nil {
		return choice, fmt.Errorf("%w%s", err, sa.nat.whyNot(terms, offered))
	}
	return choice, sa.peer.unused(choice)
}

// shared makes our half of perfect forward secrecy: nothing without.
func (t *quickResponder) shared(choice phase2Choice, ke *isakmp.KE) (public []byte, shared crypto.Secret, err error) {
	if choice.dh == crypto.DHNone {
		return nil, crypto.Secret{}, nil
	}
	if public, shared, err = crypto.Respond(choice.dh, ke.Data, t.sa.engine.cfg.Random); err != nil {
		err = failf(ike.FailKE, "%v", err)
	}
	return public, shared, err
}

// take takes message 3: the peer has its half of the pair, so packets may leave by it.
func (t *quickResponder) take(m *message) error {
	if t.made == nil || t.over || m.kind != isakmp.KindQuickHash {
		return &unauthenticated{ike.DropMessageID, errors.New("a message whose turn it is not")}
	}
	if err := m.carries(t.sa.keys.hash3(t.x.id, t.ni, t.nr)); err != nil {
		return err
	}
	t.x.accept(m)
	t.over = true
	if t.made.state == childPending {
		t.made.activate()
	}
	if t.x.flags |= m.Flags & isakmp.FlagCommit; t.x.flags.Has(isakmp.FlagCommit) {
		return t.confirm()
	}
	t.close()
	return nil
}

// close forgets the exchange.
func (t *quickResponder) close() {
	t.x.stop()
	t.sa.engine.timers.Stop(&t.linger)
	delete(t.sa.quick, t.x.id)
}

// unanswered gives up: the initiator may have the pair and send by it, so it is told that there is none.
func (t *quickResponder) unanswered(x *exchange) {
	t.fail(failf(ike.FailTimeout, "no message 3 of quick mode after %d sendings of message 2", x.tries))
}

func (t *quickResponder) fail(err error) {
	sa, f := t.sa, asFailure(err)
	t.close()
	if t.over {
		return // it has done its work
	}
	if t.made != nil {
		t.made.delete(ike.DeletedFailed)
	}
	attempt := t.x.attempt()
	if answer := f.answer(); answer != 0 {
		first := &t.offered.Proposals[0]
		sa.inform(isakmp.NewSANotify(answer, first.Protocol, binary.BigEndian.Uint32(first.SPI), nil))
		attempt.Answer = answer.String()
	}
	if f.reason == ike.FailTemporary {
		return
	}
	sa.peer.noteFailure(ike.RoleResponder, f.reason, f.detail, attempt)
	fact := sa.fact(ike.Failed)
	fact.Role, fact.Reason, fact.Detail = ike.RoleResponder, f.reason, f.detail
	sa.engine.fact(fact)
}

// newChild makes a pair that is agreed on and not yet installed.
func (sa *isakmpSA) newChild(s *slot, role ike.Role, choice phase2Choice, spis childSPIs) *childSA {
	c := &childSA{slot: s, role: role, group: choice.dh, transport: s.cfg.Transport, local: sa.local, remote: sa.remote, udp: sa.nat.across(), behindNAT: sa.nat.local}
	c.layer, c.around = choice.layers(spis)
	return c
}
