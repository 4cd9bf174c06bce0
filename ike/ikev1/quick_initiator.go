package ikev1

import (
	"errors"
	"fmt"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// quickInitiator is our side of a quick mode that we begin (RFC 2409 5.5).
//
//	1  HASH(1), SA, NONCE [, KE], ID, ID* ─>
//	                                      <─  2  HASH(2), SA, NONCE [, KE], ID, ID*
//	3  HASH(3)*                           ─>
//	                                      <─  4  HASH, N(CONNECTED)*, when message 2 had the commit bit
type quickInitiator struct {
	sa   *isakmpSA
	x    *exchange
	slot *slot

	terms     quickTerms
	transport bool // as offered: a dynamic peer may ask for the other mode meanwhile
	group     crypto.DHID
	key       crypto.KeyExchange
	selector  policy.Selector
	spis      childSPIs // ours, reserved; zero when not
	ni        []byte
	began     time.Time
	begunIn   uint64

	made   *childSA // installed; with the commit bit it waits for CONNECTED
	linger deadline.Timer
}

// lingering is how long message 3 is kept for a responder that asks again by message 2, and the IV chain of an exchange that is over with it.
const lingering = 2 * time.Minute

// newQuickInitiator begins a quick mode for a slot.
func newQuickInitiator(sa *isakmpSA, s *slot) {
	e := sa.engine
	t := &quickInitiator{sa: sa, slot: s, began: e.now, begunIn: e.steps}
	s.negotiating = t
	t.x = sa.begin(ike.RoleInitiator, sa.newMessageID(), t)
	if err := t.propose(); err != nil {
		t.fail(err)
	}
}

// begin makes a quick mode known.
func (sa *isakmpSA) begin(role ike.Role, id uint32, t task) *exchange {
	x := &exchange{sa: sa, kind: isakmp.ExchangeQuick, id: id, role: role, iv: sa.phase2IV(id), task: t}
	sa.quick[id] = x
	sa.use(id)
	sa.made++
	sa.engine.most.quickModes = max(sa.engine.most.quickModes, sa.made)
	return x
}

// termsFor is what we want of the SAs of a slot on this ISAKMP SA.
func (sa *isakmpSA) termsFor(s *slot) quickTerms {
	terms := childTerms(s.cfg)
	terms.encapsulation, terms.lifetime = sa.nat.encapsulation(s.cfg.Transport), s.life()
	return sa.nat.passable(terms)
}

func (t *quickInitiator) propose() error {
	sa, e := t.sa, t.sa.engine
	t.terms, t.transport = sa.termsFor(t.slot), t.slot.cfg.Transport
	groups := quickGroups(t.terms.proposals)
	if len(groups) == 0 {
		return failf(ike.FailProposal, "%s", ike.NoAHAcrossNAT)
	}
	t.group = groups[t.slot.groups%len(groups)]
	var ok bool
	if t.selector, ok = t.slot.selector(); !ok {
		return failf(ike.FailSelectors, "none of %s can be said by two IDs", describeSelectors(t.slot.cfg.Selectors))
	}
	var err error
	if t.spis, err = t.slot.reserveSPIs(); err != nil {
		return err
	}
	t.ni = e.random(nonceLen)
	payloads := []isakmp.Payload{offerPhase2(t.terms, t.group, t.spis), &isakmp.Nonce{Data: t.ni}}
	if t.group != crypto.DHNone {
		if t.key, err = crypto.GenerateKey(t.group, e.cfg.Random); err != nil {
			return err
		}
		payloads = append(payloads, &isakmp.KE{Data: t.key.Public()})
	}
	local, remote := identities(t.selector)
	payloads = append(payloads, local, remote)
	payloads = append(payloads, sa.nat.originals(t.transport, true, sa.local.Addr(), sa.remote.Addr())...)
	return t.x.send(true, func(rest []byte) []byte { return sa.keys.hash1(t.x.id, rest) }, payloads...)
}

func (t *quickInitiator) take(m *message) error {
	switch {
	case t.made == nil && m.kind == isakmp.KindQuickSA:
		return t.answered(m)
	case t.awaits() && m.kind == isakmp.KindQuickConnected:
		return t.connected(m)
	}
	return &unauthenticated{ike.DropMessageID, errors.New("a message whose turn it is not")}
}

// answered takes message 2, and sends message 3.
func (t *quickInitiator) answered(m *message) error {
	sa := t.sa
	if err := m.carries(sa.keys.hash2(t.x.id, t.ni, m.chain.Rest())); err != nil {
		return err
	}
	t.x.accept(m)
	c, err := t.agree(m)
	if err != nil {
		return err
	}
	t.made, t.spis = c, childSPIs{}
	c.saidSince = sa.engine.now
	c.install()
	t.x.late = func() { c.saidSince = sa.engine.now }
	nr := isakmp.Find[*isakmp.Nonce](m.Payloads).Data
	commit := m.Flags.Has(isakmp.FlagCommit)
	c.awaited = commit
	if err := t.x.send(commit, func([]byte) []byte { return sa.keys.hash3(t.x.id, t.ni, nr) }); err != nil {
		return err
	}
	if commit {
		t.awaitConnected()
	} else {
		t.finish()
	}
	return nil
}

// agree checks the peer's answer and makes the pair from it.
func (t *quickInitiator) agree(m *message) (*childSA, error) {
	sa, s := t.sa, t.slot
	if s.retired || s.down {
		return nil, failf(ike.FailTemporary, "child %s is wanted no longer", s.cfg.Name)
	}
	choice, err := confirmPhase2(t.terms, t.group, isakmp.Find[*isakmp.SA](m.Payloads))
	if err != nil {
		return nil, failf(ike.FailProposal, "%v", err)
	}
	selector, err := sa.traffic(m, true, t.transport)
	if err == nil {
		err = confirmTraffic(t.selector, selector)
	}
	if err != nil {
		return nil, failf(ike.FailSelectors, "%v", err)
	}
	shared, err := t.shared(isakmp.Find[*isakmp.KE](m.Payloads))
	if err != nil {
		return nil, failf(ike.FailKE, "%v", err)
	}
	defer shared.Wipe()
	if err := s.peer.unused(choice); err != nil {
		return nil, failf(ike.FailSyntax, "%v", err)
	}
	c := sa.newChild(s, ike.RoleInitiator, choice, t.spis)
	c.transport, c.selector, c.nonce, c.began, c.begunIn = t.transport, t.selector, t.ni, t.began, t.begunIn
	c.agreed, _ = agreeLifetime(t.terms.lifetime, bearable(choice.lifetime))
	if n := isakmp.FindNotify(m.Payloads, isakmp.NotifyResponderLifetime); n != nil {
		if theirs, err := n.Lifetime(); err == nil {
			c.agreed, _ = agreeLifetime(c.agreed, bearable(theirs))
		}
	}
	q := quickTranscript{shared: shared, ni: t.ni, nr: isakmp.Find[*isakmp.Nonce](m.Payloads).Data}
	c.deriveKeys(sa.keys, q)
	return c, nil
}

// shared completes the exchange of perfect forward secrecy; it is empty without.
func (t *quickInitiator) shared(ke *isakmp.KE) (crypto.Secret, error) {
	switch {
	case t.key == nil && ke == nil:
		return crypto.Secret{}, nil
	case t.key == nil || ke == nil:
		return crypto.Secret{}, fmt.Errorf("a KE payload in one message of quick mode and none in the other")
	}
	return t.key.Shared(ke.Data)
}

// finish sends by the new pair. Message 3 is kept for as long as the peer may ask for it.
func (t *quickInitiator) finish() {
	t.done()
	t.x.rest()
	t.sa.vain = 0
	if t.made.state == childPending {
		t.made.activate()
	} else {
		t.slot.wanted = false // it was there, and the peer has deleted it
	}
	t.sa.engine.timers.Set(&t.linger, t.sa.engine.now.Add(lingering), func() { delete(t.sa.quick, t.x.id) })
}

// done makes way for another negotiation.
func (t *quickInitiator) done() {
	if t.key != nil {
		t.key.Wipe()
	}
	if t.slot.negotiating == t {
		t.slot.negotiating = nil
		t.slot.peer.touch()
	}
}

// unanswered: the peer does not know the ISAKMP SA any more, or is gone. Another main mode finds out which. Of one that has begun by a message 3 with
// which nothing was heard of, what was made goes.
func (t *quickInitiator) unanswered(x *exchange) {
	t.fail(failf(ike.FailTimeout, "no answer to quick mode after %d sendings", x.tries))
	if t.made == nil && t.sa.state == stateEstablished {
		t.sa.close(ike.DeletedDead)
	}
}

func (t *quickInitiator) fail(err error) {
	if t.slot.negotiating != t {
		delete(t.sa.quick, t.x.id) // it has done its work
		t.sa.engine.timers.Stop(&t.linger)
		return
	}
	t.x.stop()
	t.sa.engine.timers.Stop(&t.linger)
	delete(t.sa.quick, t.x.id)
	spi := t.spis.esp
	switch {
	case t.made != nil:
		t.made.delete(ike.DeletedFailed)
	case spi != 0:
		t.sa.engine.release(t.spis)
		t.spis = childSPIs{}
	}
	t.done()
	f := asFailure(err)
	if answer := f.answer(); answer != 0 && t.x.answered != (digest{}) {
		t.sa.inform(isakmp.NewSANotify(answer, isakmp.ProtocolESP, spi, nil))
	}
	t.report(f)
}

// report says that the negotiation failed, and when the next begins. One that another of our groups may heal begins at once, and one that ended with
// its ISAKMP SA on the next.
func (t *quickInitiator) report(f *failure) {
	s := t.slot
	if f.reason == ike.FailTemporary {
		return
	}
	if f.reason == ike.FailProposal && s.groups+1 < len(quickGroups(t.terms.proposals)) {
		s.groups++
		return
	}
	s.groups = 0
	attempt := t.x.attempt()
	if attempt.Answer = f.word; !f.told {
		attempt.Sent = t.x.tries
	}
	s.failed(f.reason, f.detail, attempt)
	fact := t.sa.fact(ike.Failed)
	fact.Role, fact.Child, fact.Reason, fact.Detail, fact.NextAttempt = ike.RoleInitiator, s.cfg.Name, f.reason, f.detail, s.nextAttempt()
	t.sa.engine.fact(fact)
	if t.sa.vain++; t.sa.vain >= maxVain && f.told {
		t.sa.delete(ike.DeletedFailed)
	}
}

// maxVain is how many quick modes in a row a peer may refuse on one ISAKMP SA before another takes its place: messages 3 and 4 of main mode say whether
// there is a NAT, nobody has signed them, and two ends that disagree about it agree on nothing else.
const maxVain = 3
