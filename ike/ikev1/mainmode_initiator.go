package ikev1

import (
	"errors"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// nonceLen is the length of our nonces, in octets: that of the longest hash (RFC 2409 section 5 has 8 to 256).
const nonceLen = 32

// mainInitiator is our side of a main mode that we begin (RFC 2409 5.1 and 5.4).
//
//	1  SA, V...            ─>
//	                       <─  2  SA, V...
//	3  KE, NONCE, NAT-D... ─>
//	                       <─  4  KE, NONCE, NAT-D...
//	5  ID, HASH*           ─>
//	                       <─  6  ID, HASH*
//
// Nobody has signed messages 2 and 4: what is wrong with one does not end the main mode, it is waited for a better one until the next sending.
type mainInitiator struct {
	sa      *isakmpSA
	offered []isakmp.Phase1
	key     crypto.KeyExchange
	seen    transcript
	ni, nr  []byte
}

func (t *mainInitiator) propose() error {
	sa := t.sa
	methods, err := authMethods(&sa.peer.cfg)
	if err != nil {
		return failf(ike.AuthOtherMethod, "%v", err)
	}
	t.offered = spread(sa.peer.cfg.IKEProposals, methods, sa.peer.phase1Life())
	if len(t.offered) == 0 {
		return failf(ike.FailProposal, "no proposal is left that IKEv1 can say, of %s", describeProposals(sa.peer.cfg.IKEProposals))
	}
	offer := offerPhase1(t.offered)
	if t.seen.sai, err = isakmp.Body(offer); err != nil {
		return err
	}
	return sa.main.send(true, nil, append([]isakmp.Payload{offer}, vendors(&sa.peer.cfg)...)...)
}

func (t *mainInitiator) take(m *message) error {
	switch {
	case t.sa.state == stateProposing && m.kind == isakmp.KindMainSA:
		return t.chosen(m)
	case t.sa.state == stateKeying && m.kind == isakmp.KindMainKE:
		return t.keyed(m)
	case t.sa.state == stateProving && m.kind == isakmp.KindMainAuth:
		return t.proved(m)
	}
	return &unauthenticated{ike.DropMessageID, errors.New("a message whose turn it is not")}
}

// chosen takes message 2.
func (t *mainInitiator) chosen(m *message) error {
	sa, e := t.sa, t.sa.engine
	if m.Responder == 0 {
		return &unauthenticated{ike.DropExchange, errors.New("message 1 of main mode, expected message 2")} // our own, sent back to us
	}
	choice, err := confirmPhase1(t.offered, isakmp.Find[*isakmp.SA](m.Payloads))
	if err != nil {
		return failf(ike.FailProposal, "%v", err)
	}
	if t.key, err = crypto.GenerateKey(choice.dh, e.cfg.Random); err != nil {
		return err
	}
	sa.main.accept(m)
	sa.chosen, sa.cookies, sa.state = choice, m.Cookies, stateKeying
	delete(e.begun, sa.cookies.Initiator)
	e.sas[sa.cookies] = sa
	sa.meet(sa.peer, m)
	t.ni, t.seen.cookies, t.seen.gxi = e.random(nonceLen), sa.cookies, t.key.Public()
	payloads := append([]isakmp.Payload{&isakmp.KE{Data: t.seen.gxi}, &isakmp.Nonce{Data: t.ni}}, certificateRequest(choice.Auth)...)
	return sa.main.send(true, nil, append(payloads, sa.nat.natDetection(choice.prf, sa.cookies, sa.local, sa.remote)...)...)
}

// keyed takes message 4.
func (t *mainInitiator) keyed(m *message) error {
	sa := t.sa
	gxr := isakmp.Find[*isakmp.KE](m.Payloads).Data
	shared, err := t.key.Shared(gxr)
	if err != nil {
		return failf(ike.FailKE, "%v", err)
	}
	defer shared.Wipe()
	t.seen.gxr, t.nr = gxr, isakmp.Find[*isakmp.Nonce](m.Payloads).Data
	if err := sa.deriveKeys([]*peer{sa.peer}, t.ni, t.nr, shared, t.seen); err != nil {
		return err
	}
	sa.main.accept(m)
	t.wipe()
	sa.nat.detect(&m.Message, sa.chosen.prf, m.local, m.remote)
	if sa.local.Port() == portIKE {
		sa.local, sa.remote = sa.nat.float(sa.local, sa.remote)
	}
	sa.main.iv, sa.state = sa.keys.phase1IV(t.seen), stateProving
	return sa.prove(t.seen)
}

// proved takes message 6.
func (t *mainInitiator) proved(m *message) error {
	return t.sa.verify(m, t.seen, []*peer{t.sa.peer}, t.verified)
}

// verified goes on when message 6 has shown who the peer is.
func (t *mainInitiator) verified(m *message) error {
	sa := t.sa
	sa.main.accept(m)
	if _, err := identify(configurations([]*peer{sa.peer}), sa.chosen.Auth, isakmp.Find[*isakmp.ID](m.Payloads)); err != nil {
		return err
	}
	sa.establish()
	sa.greeted(m)
	return nil
}

func (t *mainInitiator) unanswered(x *exchange) {
	if t.sa.state == stateProving && x.doubt != nil {
		t.sa.fail(t.sa.unproven(6))
		return
	}
	number := map[saState]int{stateProposing: 1, stateKeying: 3, stateProving: 5}[t.sa.state]
	t.sa.fail(failf(t.sa.unansweredFor(), "no answer to message %d of main mode after %d sendings", number, x.tries))
}

func (t *mainInitiator) fail(err error) {
	t.sa.refuse(err)
	t.sa.fail(err)
}

// wipe ends the private value.
func (t *mainInitiator) wipe() {
	if t.key != nil {
		t.key.Wipe()
	}
}
