package ikev1

import (
	"errors"
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// mainResponder is our side of a main mode that a peer begins: messages 2, 4 and 6 of those that mainInitiator shows. Each of ours is sent again when the
// peer's comes again, and by no clock of ours.
type mainResponder struct {
	sa     *isakmpSA
	seen   transcript
	ni, nr []byte

	opening []byte // message 1: what it takes in parts is many times as much
}

// newResponder answers message 1, or refuses it and keeps nothing.
func newResponder(e *Engine, m *message, opening []byte, among []*peer, stranger bool) {
	t, err := consider(e, m, opening, among, stranger)
	if err != nil {
		t.sa.turnAway(m, err)
		return
	}
	t.begin(m, e.newCookie())
	if err := t.answer(); err != nil {
		t.sa.fail(err)
	}
}

// consider finds out what would come of message 1. Nothing of it is kept.
func consider(e *Engine, m *message, opening []byte, among []*peer, stranger bool) (*mainResponder, error) {
	sa := newSA(e, ike.RoleResponder, m.local, m.remote)
	sa.place = placeAmong(among, m.remote)
	sa.among, sa.stranger, sa.state, sa.cookies = among, stranger, stateHalfOpen, m.Cookies
	t := &mainResponder{sa: sa, opening: opening}
	sa.main.task = t
	offered := isakmp.Find[*isakmp.SA](m.Payloads)
	choice, likely, err := chooseAmong(among, offered)
	if err != nil {
		return t, failf(ike.FailProposal, "%v", err)
	}
	if t.seen.sai, err = isakmp.Body(offered); err != nil {
		return t, err
	}
	sa.chosen, sa.among = choice, likely
	sa.meet(likely[0], m)
	return t, nil
}

// begin makes a half-open ISAKMP SA of what message 1 asks for.
func (t *mainResponder) begin(m *message, cookie uint64) {
	sa, e := t.sa, t.sa.engine
	sa.cookies.Responder, sa.asker = cookie, asker{m.Initiator, m.remote.Addr()}
	e.asked[sa.asker], e.sas[sa.cookies] = sa, sa
	sa.countHalfOpen(1)
	e.unanswered = append(e.unanswered, sa)
	t.await()
	e.fact(sa.fact(ike.NegotiationStarted))
	sa.main.accept(m)
}

// await gives the initiator its time for the message that comes next, 3 or 5: each may get lost, and comes again.
func (t *mainResponder) await() {
	e := t.sa.engine
	e.timers.Set(&t.sa.watch, e.now.Add(e.limits.HalfOpenTimeout), t.expired)
}

// answer sends message 2.
func (t *mainResponder) answer() error {
	sa := t.sa
	return sa.main.send(false, nil, agreement(sa.chosen, sa.can)...)
}

// agreement is what message 2 says.
func agreement(choice phase1Choice, can capabilities) []isakmp.Payload {
	return append([]isakmp.Payload{choice.answer()}, can.agreed()...)
}

// chooseAmong makes the choice of the first peer that takes something of the offer, and says which others it suits as well. Peers with equal
// proposals are looked at once: thousands of them on one path must not cost more than a look each.
func chooseAmong(among []*peer, offered *isakmp.SA) (choice phase1Choice, likely []*peer, _ error) {
	tried, err := map[string]bool{}, errors.New("there is no peer to choose for")
	for _, p := range among {
		if tried[p.accepts] {
			continue
		}
		tried[p.accepts] = true
		methods, wrong := authMethods(&p.cfg)
		if err = wrong; err == nil {
			choice, err = choosePhase1(spread(p.cfg.IKEProposals, methods, p.phase1Life()), offered)
		}
		if err != nil {
			continue
		}
		for _, other := range among {
			if other.accepts == p.accepts {
				likely = append(likely, other)
			}
		}
		return choice, likely, nil
	}
	return choice, nil, err
}

func (t *mainResponder) take(m *message) error {
	switch {
	case t.sa.state == stateHalfOpen && m.kind == isakmp.KindMainKE:
		return t.keyed(m)
	case t.sa.state == stateKeyed && m.kind == isakmp.KindMainAuth:
		return t.proved(m)
	}
	return &unauthenticated{ike.DropMessageID, errors.New("a message whose turn it is not")}
}

// keyed takes message 3. It came from where message 2 went, for it has our cookie: now Diffie-Hellman may be computed, so many times a second.
func (t *mainResponder) keyed(m *message) error {
	sa, e := t.sa, t.sa.engine
	if reason := sa.affords(); reason != "" {
		f := sa.fact(ike.Refused)
		f.Reason = reason
		e.fact(f)
		return nil // as if it had been lost
	}
	gxi := isakmp.Find[*isakmp.KE](m.Payloads).Data
	gxr, shared, err := crypto.Respond(sa.chosen.dh, gxi, e.cfg.Random)
	if err != nil {
		return &unauthenticated{ike.DropMalformed, err}
	}
	defer shared.Wipe()
	t.ni, t.nr = isakmp.Find[*isakmp.Nonce](m.Payloads).Data, e.random(nonceLen)
	t.seen.cookies, t.seen.gxi, t.seen.gxr = sa.cookies, gxi, gxr
	if err := sa.deriveKeys(sa.among, t.ni, t.nr, shared, t.seen); err != nil {
		return &unauthenticated{ike.DropMalformed, err}
	}
	sa.main.accept(m)
	t.await()
	sa.nat.detect(&m.Message, sa.chosen.prf, m.local, m.remote)
	sa.state, e.unanswered = stateKeyed, forget(e.unanswered, sa)
	payloads := append([]isakmp.Payload{&isakmp.KE{Data: gxr}, &isakmp.Nonce{Data: t.nr}}, certificateRequest(sa.chosen.Auth)...)
	err = sa.main.send(false, nil, append(payloads, sa.nat.natDetection(sa.chosen.prf, sa.cookies, sa.local, sa.remote)...)...)
	sa.main.iv = sa.keys.phase1IV(t.seen)
	return err
}

// proved takes message 5, and answers it.
func (t *mainResponder) proved(m *message) error {
	return t.sa.verify(m, t.seen, t.sa.among, t.verified)
}

// verified goes on when message 5 has shown who the peer is.
func (t *mainResponder) verified(m *message) error {
	sa := t.sa
	sa.main.accept(m)
	cfg, err := identify(configurations(sa.among), sa.chosen.Auth, isakmp.Find[*isakmp.ID](m.Payloads))
	if err != nil {
		return err
	}
	p := sa.among[slices.IndexFunc(sa.among, func(p *peer) bool { return &p.cfg == cfg })]
	if p.isTemplate() {
		if p, err = p.meet(sa, identityOf(isakmp.Find[*isakmp.ID](m.Payloads))); err != nil {
			return err
		}
	}
	sa.peer = p
	if p.carried { // since message 1
		f := sa.fact(ike.Refused)
		f.Reason = ike.RefuseCarried
		sa.engine.fact(f)
		return failf(ike.FailTemporary, "there is IKEv2 with this peer")
	}
	if err := p.full(sa, m); err != nil {
		return err
	}
	if err := sa.prove(t.seen); err != nil {
		return err
	}
	sa.establish()
	sa.engine.getToKnow(sa, t.opening)
	sa.greeted(m)
	return nil
}

// unanswered is not called: nothing of ours asks.
func (t *mainResponder) unanswered(*exchange) {}

func (t *mainResponder) fail(err error) {
	t.sa.refuse(err)
	t.sa.fail(err)
}

// expired gives up an initiator that has come no further. While its certificates are being checked it waits for us, and that has an end of its own.
func (t *mainResponder) expired() {
	if t.sa.question != nil {
		t.await()
		return
	}
	f := failf(ike.FailTimeout, "the initiator has come no further within %v", t.sa.engine.limits.HalfOpenTimeout)
	if t.sa.state == stateKeyed && t.sa.main.doubt != nil {
		f = t.sa.unproven(5)
	}
	t.sa.fail(f)
}
