package ike

import (
	"crypto/subtle"
	"fmt"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// PPK is a key that both ends hold beside what they authenticate with. Mixed into the keys it protects what is recorded today from whoever can break
// the key exchange one day (RFC 8784).
type PPK struct {
	ID       string // names it to the peer
	Key      crypto.Secret
	Required bool // no IKE SA without it
}

// Equal reports whether the two are the same, without telling where keys differ.
func (p *PPK) Equal(other *PPK) bool {
	if p == nil || other == nil {
		return p == other
	}
	return p.ID == other.ID && p.Required == other.Required && p.Key.Equal(other.Key)
}

// MaxPPKID is the longest identity of a PPK, in octets.
const MaxPPKID = 255

func (p *Peer) validatePPK() error {
	if k := p.PPK; k != nil && (k.ID == "" || len(k.ID) > MaxPPKID || k.Key.Len() == 0) {
		return fmt.Errorf("peer %q: PPK with an identity of %d octets and a key of %d, expected 1 to %d and at least 1", p.Name, len(k.ID), k.Key.Len(), MaxPPKID)
	}
	return nil
}

// ppkIDFixed says that the identity names a key that does not change (RFC 8784 5.1).
const ppkIDFixed = 2

func (p *PPK) identity() []byte { return append([]byte{ppkIDFixed}, p.ID...) }

// ppkUse is where an IKE SA stands with the PPK. Both ends say in IKE_SA_INIT that they have one; which it is, and whether it is used, IKE_AUTH settles.
type ppkUse struct {
	agreed bool
	mixed  *mixedKeys // until both AUTHs are made and checked; nil: not in use
	used   bool       // the keys are those with the PPK
}

// mixedKeys are the keys that a PPK goes into: prf+ (PPK, SK) each (RFC 8784 3).
type mixedKeys struct{ d, pi, pr crypto.Secret }

func (k *ikeKeys) mix(ppk crypto.Secret) *mixedKeys {
	with := func(s crypto.Secret) crypto.Secret {
		return crypto.NewSecret(crypto.PRFPlus(k.prf, ppk.Bytes(), s.Bytes(), s.Len()))
	}
	return &mixedKeys{d: with(k.d), pi: with(k.pi), pr: with(k.pr)}
}

// drop goes on without the PPK.
func (u *ppkUse) drop() {
	if m := u.mixed; m != nil {
		for _, s := range []crypto.Secret{m.d, m.pi, m.pr} {
			s.Wipe()
		}
		u.mixed = nil
	}
}

// settle makes SK_d that with the PPK, once both ends are known to use it: before the first Child SA gets its keys.
func (u *ppkUse) settle(k *ikeKeys) {
	if u.mixed != nil {
		k.d.Wipe()
		k.d, u.used = u.mixed.d.Clone(), true
	}
	u.drop()
}

// skP are the keys that AUTH is made with.
func (sa *ikeSA) skP() (initiator, responder crypto.Secret) {
	if m := sa.ppk.mixed; m != nil {
		return m.pi, m.pr
	}
	return sa.keys.pi, sa.keys.pr
}

// hasPPK reports whether a PPK may be used with one of the peers.
func hasPPK(peers ...*peer) bool {
	return slices.ContainsFunc(peers, func(p *peer) bool { return p.cfg.PPK != nil })
}

// offerPPK goes over to the PPK for our AUTH in IKE_AUTH, and says which it is. If we may do without, AUTH as it would be then goes along.
func (sa *ikeSA) offerPPK(m *message, id *wire.ID) error {
	ppk := sa.peer.cfg.PPK
	if ppk == nil || !sa.ppk.agreed {
		return nil
	}
	if !ppk.Required {
		without, err := sa.prove(sa.peer, id)
		if err != nil {
			return err
		}
		m.add(wire.NewNotify(wire.NotifyNoPPKAuth, without.Data))
	}
	sa.ppk.mixed = sa.keys.mix(ppk.Key)
	m.add(wire.NewNotify(wire.NotifyPPKIdentity, ppk.identity()))
	return nil
}

// answeredPPK reads from the response whether the peer uses the PPK too.
func (sa *ikeSA) answeredPPK(m *message) error {
	if sa.ppk.mixed == nil || m.notify(wire.NotifyPPKIdentity) != nil {
		return nil
	}
	sa.ppk.drop()
	if sa.peer.cfg.PPK.Required {
		return failf(AuthPPK, "peer %v does not have the postquantum preshared key %q, which is required", sa.peer.cfg.RemoteID, sa.peer.cfg.PPK.ID)
	}
	return nil
}

// choosePPK finds out whether the initiator's AUTH is made with the PPK, and takes it or that without.
func (sa *ikeSA) choosePPK(m *message, p *peer) error {
	named, without, ppk := m.notify(wire.NotifyPPKIdentity), m.notify(wire.NotifyNoPPKAuth), p.cfg.PPK
	if !sa.ppk.agreed {
		named = nil
	}
	if named != nil && ppk != nil && subtle.ConstantTimeCompare(named.Data, ppk.identity()) == 1 {
		if sa.ppk.mixed == nil { // not again after a check of certificates
			sa.ppk.mixed = sa.keys.mix(ppk.Key)
		}
		return nil
	}
	switch {
	case ppk != nil && ppk.Required:
		return failf(AuthPPK, "peer %v does not use the postquantum preshared key %q, which is required", p.cfg.RemoteID, ppk.ID)
	case named == nil:
	case without == nil:
		return failf(AuthPPK, "peer %v requires a postquantum preshared key that we do not have", p.cfg.RemoteID)
	default:
		wire.Find[*wire.Auth](m.Payloads).Data = without.Data
	}
	return nil
}

// acceptPPK tells the initiator that we use it.
func (sa *ikeSA) acceptPPK(m *message) {
	if sa.ppk.used {
		m.add(wire.NewNotify(wire.NotifyPPKIdentity, nil))
	}
}
