package ike

import (
	"bytes"
	"errors"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// dhInitiator is the KE payload of a CREATE_CHILD_SA of ours: the group that we guess the peer will choose, and another if it asks for that
// (RFC 7296 1.3). Without groups in the proposals there is none.
type dhInitiator struct {
	group crypto.DHID
	key   crypto.KeyExchange
	tried map[crypto.DHID]bool
	more  *following // the additional key exchanges; nil: none, or not yet
}

func (x *dhInitiator) add(m *message, proposals []crypto.Proposal) error {
	if x.group == 0 {
		list := groups(proposals)
		if len(list) == 0 {
			return nil
		}
		x.group = list[0]
	}
	key, err := crypto.GenerateKey(x.group, m.sa.engine.cfg.Random)
	if err != nil {
		return err
	}
	if x.tried == nil {
		x.tried = map[crypto.DHID]bool{}
	}
	x.wipe()
	x.key, x.tried[x.group] = key, true
	m.add(&wire.KE{Group: uint16(x.group), Data: key.Public()})
	return nil
}

// asked reads an INVALID_KE_PAYLOAD and reports whether another try makes sense.
func (x *dhInitiator) asked(n *wire.Notify, proposals []crypto.Proposal) bool {
	group, err := n.Group()
	if err != nil || x.tried[crypto.DHID(group)] {
		return false
	}
	for _, g := range groups(proposals) {
		if g == crypto.DHID(group) {
			x.group = g
			return true
		}
	}
	return false
}

// shared completes the exchange with the peer's answer; it is empty when none was chosen.
func (x *dhInitiator) shared(c chosen, ke *wire.KE) (secrets, error) {
	switch {
	case x.more != nil:
		return x.more.secrets, nil
	case c.dh == 0 && ke == nil:
		return secrets{}, nil
	case c.dh == 0 || ke == nil || x.key == nil || c.dh != x.group || ke.Group != uint16(c.dh):
		return secrets{}, failf(FailKE, "KE payload does not fit %v, which was chosen", c.dh)
	}
	defer x.key.Wipe()
	secret, err := complete(x.key, ke)
	return secrets{first: secret}, err
}

// complete takes the responder's value. A peer whose value is none is broken, and there is no IKE SA with it any longer (draft-ietf-ipsecme-ikev2-mlkem 2.2).
func complete(key crypto.KeyExchange, ke *wire.KE) (crypto.Secret, error) {
	shared, err := key.Shared(ke.Data)
	if err != nil {
		return crypto.Secret{}, &failure{reason: FailKE, detail: err.Error(), ends: true}
	}
	return shared, nil
}

// endsAll reports whether an error with a Child SA is one with its IKE SA.
func endsAll(err error) bool {
	f, ok := errors.AsType[*failure](err)
	return ok && f.ends
}

// wipe ends the private value: found later, it would open all that its exchange has protected (RFC 7296 2.12).
func (x *dhInitiator) wipe() {
	if x.key != nil {
		x.key.Wipe()
	}
	if x.more != nil {
		x.more.secrets.wipe()
		x.more = nil
	}
}

// answerDH makes our half of the exchange that the choice asks for: our KE payload, nil when none, and the shared secret.
func answerDH(e *Engine, c chosen, ke *wire.KE) (*wire.KE, crypto.Secret, error) {
	if c.dh == 0 {
		return nil, crypto.Secret{}, nil
	}
	if ke == nil {
		return nil, crypto.Secret{}, askForGroup(c, 0)
	}
	if ke.Group != uint16(c.dh) {
		return nil, crypto.Secret{}, askForGroup(c, ke.Group)
	}
	value, secret, err := crypto.Respond(c.dh, ke.Data, e.cfg.Random)
	if errors.Is(err, crypto.ErrPeerValue) {
		return nil, crypto.Secret{}, refuse(wire.NotifyInvalidSyntax, FailKE, "%v", err)
	}
	return &wire.KE{Group: ke.Group, Data: value}, secret, err
}

// keGroup is the group of a KE payload, 0 without one.
func keGroup(ke *wire.KE) crypto.DHID {
	if ke == nil {
		return 0
	}
	return crypto.DHID(ke.Group)
}

// loses applies the rule of RFC 7296 2.8.1 to what two exchanges made: that with the lowest nonce, octet by octet, is redundant.
func loses(lowestNonce, of []byte) bool { return bytes.Compare(lowestNonce, of) < 0 }

func lowest(ni, nr []byte) []byte {
	if bytes.Compare(ni, nr) < 0 {
		return ni
	}
	return nr
}

func (sa *ikeSA) lowestNonce() []byte { return lowest(sa.ni, sa.nr) }
