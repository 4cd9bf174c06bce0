package ike

import (
	"bytes"
	"errors"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
)

// Additional key exchanges of a rekey, or of a further Child SA, follow its CREATE_CHILD_SA in one IKE_FOLLOWUP_KE each (RFC 9370 2.2.4). The SA is
// made when the last is done. Until then nothing has been decided: what came of a crossing with an exchange of the other side is settled at the end,
// as if CREATE_CHILD_SA had taken that long.
//
//	CREATE_CHILD_SA   SA Ni KE TS        ─>   <─  SA Nr KE TS N(ADDITIONAL_KEY_EXCHANGE link 1)
//	IKE_FOLLOWUP_KE   KE1 N(link 1)      ─>   <─  KE1 N(ADDITIONAL_KEY_EXCHANGE link 2)
//	IKE_FOLLOWUP_KE   KE2 N(link 2)      ─>   <─  KE2

// secrets are what the key exchanges of an SA have given: SK(0), and SK(1) | SK(2) | ... of the additional ones.
type secrets struct{ first, further crypto.Secret }

func (s secrets) wipe() {
	s.first.Wipe()
	s.further.Wipe()
}

// add takes SK(n).
func (s *secrets) add(shared crypto.Secret) {
	longer := crypto.NewSecret(slices.Concat(s.further.Bytes(), shared.Bytes()))
	s.further.Wipe()
	shared.Wipe()
	s.further = longer
}

// errFollowup asks for the tasks' next message in an IKE_FOLLOWUP_KE.
var errFollowup = errors.New("follow up")

// following is where the initiator stands.
type following struct {
	created *message // the response to CREATE_CHILD_SA
	methods []crypto.DHID
	link    []byte
	secrets secrets
}

// follow reads a response. When another exchange has to follow it is errFollowup; when none has, or none can, the message is the response to
// CREATE_CHILD_SA or the peer's no.
func (x *dhInitiator) follow(m *message, proposals []crypto.Proposal) (*message, error) {
	if x.more == nil {
		return m, x.startFollowing(m, proposals)
	}
	if wire.Find[*wire.KE](m.Payloads) == nil {
		return m, nil
	}
	shared, err := further(x.key, x.more.methods[0], m)
	x.key.Wipe()
	if err != nil {
		return nil, err
	}
	x.more.secrets.add(shared)
	if x.more.methods = x.more.methods[1:]; len(x.more.methods) == 0 {
		return x.more.created, nil
	}
	return nil, x.more.linked(m)
}

func (x *dhInitiator) startFollowing(m *message, proposals []crypto.Proposal) error {
	answer := wire.Find[*wire.SA](m.Payloads)
	if answer == nil {
		return nil
	}
	choice, err := confirm(proposals, answer, x.group)
	methods := choice.further()
	if err != nil || len(methods) == 0 {
		return nil // whoever reads the answer will say it
	}
	first, err := x.shared(choice, wire.Find[*wire.KE](m.Payloads))
	if err != nil {
		return err
	}
	x.more = &following{created: m, methods: methods, secrets: first}
	return x.more.linked(m)
}

// linked takes the link to the exchange that comes next.
func (f *following) linked(m *message) error {
	n := m.notify(wire.NotifyAdditionalKeyExchange)
	if n == nil {
		return failf(FailKE, "no ADDITIONAL_KEY_EXCHANGE in the answer, expected one: %v is still to come", f.methods[0])
	}
	f.link = n.Data
	return errFollowup
}

// addFollowing builds an IKE_FOLLOWUP_KE, if that is what is due.
func (x *dhInitiator) addFollowing(m *message) (bool, error) {
	if x.more == nil {
		return false, nil
	}
	if m.sa.state != stateEstablished {
		return true, errNothingToDo
	}
	var err error
	if x.key, err = crypto.GenerateKey(x.more.methods[0], m.sa.engine.cfg.Random); err != nil {
		return true, err
	}
	m.add(&wire.KE{Group: uint16(x.more.methods[0]), Data: x.key.Public()}, wire.NewNotify(wire.NotifyAdditionalKeyExchange, x.more.link))
	return true, nil
}

// unfinished is the SA that a peer's CREATE_CHILD_SA will have made when its additional key exchanges are done. An IKE SA has one at most, for
// RekeyGuard: another CREATE_CHILD_SA takes its place.
type unfinished struct {
	maker   maker
	methods []crypto.DHID
	link    []byte
	secrets secrets
	expiry  deadline.Timer
}

// maker is the task that began it.
type maker interface {
	finish(sa *ikeSA, s secrets) error // decides, as process does
	complete(m *message)               // makes it, as build does
	drop(sa *ikeSA)
}

const linkLen = 8

// followLater keeps the maker until its exchanges are done, and says so in its response.
func (sa *ikeSA) followLater(m *message, by maker, methods []crypto.DHID, first secrets) {
	e := sa.engine
	sa.forgetUnfinished()
	sa.unfinished = &unfinished{maker: by, methods: methods, secrets: first, link: e.random(linkLen)}
	m.add(wire.NewNotify(wire.NotifyAdditionalKeyExchange, sa.unfinished.link))
	e.timers.Set(&sa.unfinished.expiry, e.now.Add(e.limits.RekeyGuard), sa.forgetUnfinished)
}

func (sa *ikeSA) forgetUnfinished() {
	if u := sa.unfinished; u != nil {
		sa.unfinished = nil
		sa.engine.timers.Stop(&u.expiry)
		u.secrets.wipe()
		u.maker.drop(sa)
	}
}

// followupResponder answers an IKE_FOLLOWUP_KE.
type followupResponder struct {
	answer *wire.KE
	link   []byte // to the next one
	maker  maker  // with the last
}

func (t *followupResponder) process(m *message) error {
	sa, link := m.sa, m.notify(wire.NotifyAdditionalKeyExchange)
	u := sa.unfinished
	if u == nil || link == nil || !bytes.Equal(link.Data, u.link) {
		r := refuse(wire.NotifyStateNotFound, FailNotFound, "no CREATE_CHILD_SA that this IKE_FOLLOWUP_KE would follow")
		r.goesOn = true
		return r
	}
	answer, shared, err := answerFurther(m, u.methods[0])
	if err != nil {
		return err
	}
	t.answer = answer
	u.secrets.add(shared)
	if u.methods = u.methods[1:]; len(u.methods) > 0 {
		u.link = sa.engine.random(linkLen)
		t.link = u.link
		return nil
	}
	t.maker = u.maker
	sa.unfinished = nil
	sa.engine.timers.Stop(&u.expiry)
	defer u.secrets.wipe()
	if err := t.maker.finish(sa, u.secrets); err != nil {
		t.maker.drop(sa)
		if r, ok := errors.AsType[*refusal](err); ok && r.notify.Type != wire.NotifyInvalidSyntax {
			r.goesOn = true
		}
		return err
	}
	return nil
}

func (t *followupResponder) build(m *message) error {
	m.add(t.answer)
	if t.maker != nil {
		t.maker.complete(m)
	} else {
		m.add(wire.NewNotify(wire.NotifyAdditionalKeyExchange, t.link))
	}
	return nil
}

func (t *followupResponder) abandon() {}
