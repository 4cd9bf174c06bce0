package ike

import (
	"encoding/binary"

	"sallyport/ike/wire"
)

// rekeyInitiator makes the IKE SA that takes over from the present one (RFC 7296 1.3.2 and 2.18).
type rekeyInitiator struct {
	next *ikeSA
	dh   dhInitiator

	// rival is what an exchange of the peer's, begun at the same time, has made for the same purpose.
	rival *ikeSA
}

func isRekeyIKE(t task) bool {
	_, ok := t.(*rekeyInitiator)
	return ok
}

func (t *rekeyInitiator) build(m *message) error {
	if due, err := t.dh.addFollowing(m); due {
		return err
	}
	sa := m.sa
	if sa.state != stateEstablished {
		return errNothingToDo
	}
	ours := sa.peer.cfg.IKEProposals
	if t.next == nil {
		t.next = sa.successor(RoleInitiator)
	}
	t.next.ni = sa.engine.random(nonceLen)
	m.add(offer(ours, spi8(t.next.localSPI)), &wire.Nonce{Data: t.next.ni})
	return t.dh.add(m, ours)
}

// successor prepares the next IKE SA: same peer, same path, keys to come.
func (sa *ikeSA) successor(role Role) *ikeSA {
	next := newIKESA(sa.engine, role, sa.local, sa.remote)
	next.peer, next.natLocal, next.natRemote, next.origin = sa.peer, sa.natLocal, sa.natRemote, sa.origin
	next.fragmentation, next.path = sa.fragmentation, sa.path
	next.authentication, next.given = sa.authentication, sa.given
	next.mobike = mobike{on: sa.mobike.on, others: sa.mobike.others, home: sa.mobike.home, proven: sa.mobike.proven}
	next.localSPI = sa.engine.newSPI()
	return next
}

func (t *rekeyInitiator) process(m *message) error {
	sa := m.sa
	m, err := t.dh.follow(m, sa.peer.cfg.IKEProposals)
	if err != nil {
		return err
	}
	answer := wire.Find[*wire.SA](m.Payloads)
	if answer == nil {
		return t.refused(sa, wire.FindError(m.Payloads))
	}
	if err := t.agree(sa, m, answer); err != nil {
		return err // a peer that has made an IKE SA which we cannot use is beyond repair by delete
	}
	t.next.register()
	t.next.establish()
	t.settle(sa)
	return nil
}

// settle hands over to the new IKE SA or to a rival, whichever has not the lowest nonce (RFC 7296 2.8.2). The loser is deleted by the side that
// began it, the old IKE SA by the side that began the winner.
func (t *rekeyInitiator) settle(sa *ikeSA) {
	ending, next := sa.state == stateDeleting, t.next
	if t.rival != nil && loses(next.lowestNonce(), t.rival.lowestNonce()) {
		if t.rivalLives() {
			sa.handOver(t.rival)
			next.terminate(DeletedRedundant)
			next = t.rival
		} else {
			sa.handOver(next) // for the peer all that went with the rival
			next.terminate(DeletedRedundant)
		}
		if !ending {
			sa.standby(DeletedRekeyed, (*ikeSA).terminate)
		}
	} else {
		sa.handOver(next)
		if t.rivalLives() {
			t.rival.standby(DeletedRedundant, (*ikeSA).close)
		}
		sa.terminate(DeletedRekeyed)
	}
	if ending {
		next.terminate(sa.endedFor) // what was asked for while the rekey was on its way
	}
}

func (t *rekeyInitiator) agree(sa *ikeSA, m *message, answer *wire.SA) error {
	choice, err := confirm(sa.peer.cfg.IKEProposals, answer, t.dh.group)
	if err != nil || answer.Proposals[0].Protocol != wire.ProtocolIKE {
		return failf(FailProposal, "rekey of the IKE SA: %v", err)
	}
	shared, err := t.dh.shared(choice, wire.Find[*wire.KE](m.Payloads))
	if err != nil {
		return err
	}
	defer shared.wipe()
	return t.next.inherit(sa, choice, shared, wire.Find[*wire.Nonce](m.Payloads).Data, binary.BigEndian.Uint64(answer.Proposals[0].SPI))
}

// inherit derives the keys of a successor from those of the old IKE SA. The nonce and the SPI are the other side's.
func (sa *ikeSA) inherit(old *ikeSA, c chosen, shared secrets, nonce []byte, spi uint64) error {
	if spi == 0 {
		return refuse(wire.NotifyInvalidSyntax, FailSyntax, "the peer's SPI for the new IKE SA is zero, expected a number that names it") // RFC 7296 3.1
	}
	sa.chosen, sa.remoteSPI = c, spi
	if sa.role == RoleInitiator {
		sa.nr = nonce
	} else {
		sa.ni = nonce
	}
	spiI, spiR := sa.spis()
	var err error
	sa.keys, err = deriveKeys(c, seedRekey(old.keys, sa.ni, sa.nr, shared), sa.ni, sa.nr, spiI, spiR, sa.role, sa.engine.cfg.KeyLog)
	return err
}

// refused handles the peer's no: the old IKE SA stays in use until its end, and the rekey is tried again.
func (t *rekeyInitiator) refused(sa *ikeSA, n *wire.Notify) error {
	if n.Type == wire.NotifyInvalidKEPayload && t.dh.asked(n, sa.peer.cfg.IKEProposals) {
		return errRepeat
	}
	t.dh.wipe()
	if t.rivalLives() {
		sa.handOver(t.rival)
		sa.standby(DeletedRekeyed, (*ikeSA).terminate)
		return nil
	}
	sa.rekeyFailures++
	e := sa.engine
	delay := min(e.limits.RetryMin<<min(sa.rekeyFailures-1, 16), e.limits.RetryMax)
	e.timers.Set(&sa.again, e.now.Add(e.jitter(delay, retryJitter)), sa.rekey)
	if f := failureOf(n); f.reason != FailTemporary {
		fact := sa.fact(Failed)
		fact.Role, fact.Reason, fact.Detail, fact.NextAttempt = RoleInitiator, f.reason, "rekey of the IKE SA: "+f.detail, sa.again.When()
		sa.engine.fact(fact)
		sa.peer.noteFailure(sa, RoleInitiator, f.reason, fact.Detail)
		sa.startOver(f.reason, sa.rekeyFailures)
	}
	return nil
}

// rivalLives reports whether there is a rival that neither side has deleted in the meantime.
func (t *rekeyInitiator) rivalLives() bool { return t.rival != nil && t.rival.state != stateClosed }

// abandon lets go of a rival too: it was never more than half of a pair.
func (t *rekeyInitiator) abandon() {
	t.dh.wipe()
	if t.rival != nil && t.rival.state == stateReplaced && t.rival.replacedFor == "" {
		t.rival.close(DeletedRedundant)
	}
}

// handOver moves the children and the waiting exchanges to the IKE SA that takes over (RFC 7296 2.18: it inherits all Child SAs).
func (sa *ikeSA) handOver(next *ikeSA) {
	if next.state == stateReplaced { // a rival, until now; one that is being deleted takes the children with it
		next.state = stateEstablished
	}
	next.predecessor = nil
	for _, c := range sa.children {
		c.ike = next
	}
	next.children = append(next.children, sa.children...)
	sa.children = nil
	queue := sa.tasks.queue
	sa.tasks.queue = nil
	for _, x := range queue {
		switch x.tasks[0].(type) {
		case *rekeyInitiator:
			x.abandon()
		case *deleteIKE:
			sa.tasks.queue = append(sa.tasks.queue, x)
		default:
			next.tasks.queue = append(next.tasks.queue, x)
		}
	}
	f := next.fact(IKERekeyed)
	f.Suite = sa.engine.describe(next.chosen)
	sa.engine.fact(f)
	sa.passOn(next)
	next.forgetSuspects()
	next.peer.settle()
	next.tasks.start()
	for _, s := range sa.peer.slots {
		s.elect()
	}
}

// standby leaves an IKE SA to the peer's delete, for RekeyGuard; then end ends it.
func (sa *ikeSA) standby(reason Reason, end func(*ikeSA, Reason)) {
	if sa.state == stateDeleting {
		return // it is on its way out already
	}
	e := sa.engine
	sa.state, sa.replacedFor, sa.predecessor = stateReplaced, reason, nil
	sa.tasks.flush()
	e.timers.Stop(&sa.life)
	e.timers.Stop(&sa.again)
	e.timers.Set(&sa.watch, e.now.Add(e.limits.RekeyGuard), func() { end(sa, reason) })
}

// rekeyResponder answers a peer that wants to rekey the IKE SA.
type rekeyResponder struct {
	next    *ikeSA
	offered wire.Proposal
	ke      *wire.KE
	secrets secrets
	nonce   []byte // the peer's
	rivalOf *rekeyInitiator
}

func (t *rekeyResponder) process(m *message) error {
	sa := m.sa
	if err := t.admit(sa); err != nil {
		return err
	}
	ours, offered := sa.peer.cfg.IKEProposals, wire.Find[*wire.SA](m.Payloads).Proposals
	ke := wire.Find[*wire.KE](m.Payloads)
	choice, proposal, ok := choose(ours, offered, keGroup(ke))
	if !ok {
		r := refuse(wire.NotifyNoProposalChosen, FailProposal, "rekey of the IKE SA: peer offered %s, we accept %s", describe(offered), describeOurs(ours))
		r.goesOn = true
		return r
	}
	answer, shared, err := answerDH(sa.engine, choice, ke)
	if err != nil {
		return err
	}
	t.offered, t.ke, t.secrets, t.nonce = proposal, answer, secrets{first: shared}, wire.Find[*wire.Nonce](m.Payloads).Data
	t.next = sa.successor(RoleResponder)
	t.next.unseen = true
	t.next.chosen, t.next.nr = choice, sa.engine.random(nonceLen)
	if len(choice.further()) > 0 {
		return nil
	}
	return t.inherit(sa)
}

// admit refuses what the state of the IKE SA forbids (RFC 7296 2.25.2).
func (t *rekeyResponder) admit(sa *ikeSA) error {
	busy := sa.state != stateEstablished || sa.tasks.inFlight(isChildWork)
	sa.tasks.inFlight(func(other task) bool {
		t.rivalOf, _ = other.(*rekeyInitiator)
		return t.rivalOf != nil
	})
	if busy || t.rivalOf != nil && t.rivalOf.rival != nil {
		r := refuse(wire.NotifyTemporaryFailure, FailTemporary, "the IKE SA or a Child SA is busy")
		r.goesOn = true
		return r
	}
	if no := sa.peer.full(sa, true); no != nil {
		no.goesOn = true
		return no
	}
	return nil
}

func (t *rekeyResponder) inherit(sa *ikeSA) error {
	defer t.secrets.wipe()
	return t.next.inherit(sa, t.next.chosen, t.secrets, t.nonce, binary.BigEndian.Uint64(t.offered.SPI))
}

func (t *rekeyResponder) build(m *message) error {
	m.add(t.next.chosen.accept(t.offered, spi8(t.next.localSPI)), &wire.Nonce{Data: t.next.nr}, t.ke)
	if methods := t.next.chosen.further(); len(methods) > 0 {
		m.sa.followLater(m, t, methods, t.secrets)
	} else {
		t.complete(m)
	}
	return nil
}

// finish decides anew, now that the additional key exchanges are done (see task_followup.go).
func (t *rekeyResponder) finish(sa *ikeSA, s secrets) error {
	t.rivalOf, t.secrets = nil, s
	if err := t.admit(sa); err != nil {
		return err
	}
	return t.inherit(sa)
}

func (t *rekeyResponder) complete(m *message) {
	t.next.register()
	m.then(func() { t.settle(m.sa) })
}

func (t *rekeyResponder) drop(*ikeSA) {}

// settle hands over at once, unless our own rekey is on its way: then its response will tell which of the two stays.
func (t *rekeyResponder) settle(sa *ikeSA) {
	t.next.establish()
	if t.rivalOf != nil {
		t.rivalOf.rival = t.next
		t.next.state, t.next.predecessor = stateReplaced, sa
		return
	}
	sa.handOver(t.next)
	sa.standby(DeletedRekeyed, (*ikeSA).terminate)
}

func (t *rekeyResponder) abandon() {}
