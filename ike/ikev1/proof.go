package ikev1

import (
	"slices"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// deriveKeys makes the keys of an ISAKMP SA, with a pre-shared key by that of those who may be at the peer's address.
func (sa *isakmpSA) deriveKeys(among []*peer, ni, nr []byte, shared crypto.Secret, seen transcript) error {
	var skeyid crypto.Secret
	if bySignature(sa.chosen.Auth) {
		skeyid = skeyidSignature(sa.chosen.prf, ni, nr, shared)
	} else {
		key, err := keyAt(configurations(among))
		if err != nil {
			return err
		}
		skeyid = skeyidPreShared(sa.chosen.prf, key, ni, nr)
	}
	var err error
	if sa.keys, err = deriveKeys(sa.chosen.prf, sa.chosen.cipher, skeyid, shared, seen.cookies, sa.engine.cfg.KeyLog); err != nil {
		return failf(ike.FailKE, "%v", err)
	}
	return nil
}

// prove sends message 5 or 6: who we are, and what shows it. The proof covers its own payload and the ID, and comes last: the IV chain goes on from the
// octets that end it, and whoever changed those on their way would put it out of step.
func (sa *isakmpSA) prove(seen transcript) error {
	p, initiator := sa.peer, sa.role == ike.RoleInitiator
	id := identityPayload(p.cfg.LocalID)
	body, err := isakmp.Body(id)
	if err != nil {
		return err
	}
	shown, err := prove(&p.cfg, sa.chosen.Auth, sa.keys.proof(sa.chosen.Auth, initiator, seen, body), sa.engine.cfg.Random)
	if err != nil {
		return err
	}
	payloads := append([]isakmp.Payload{id}, certificates(&p.cfg)...)
	if p.fresh(sa) {
		payloads = append(payloads, isakmp.InitialContact(sa.cookies))
	}
	return sa.main.send(initiator, nil, append(payloads, shown)...)
}

// verify checks the proof in message 5 or 6 of one of those that the peer may be, and goes on with it: at once with a pre-shared key, and where the peer
// signs when its certificates have been checked. With another pre-shared key the message does not even decrypt to payloads.
func (sa *isakmpSA) verify(m *message, seen transcript, among []*peer, then func(*message) error) error {
	if sa.question != nil {
		return nil // the same once more, while its certificates are being checked
	}
	id := isakmp.Find[*isakmp.ID](m.Payloads)
	body, err := isakmp.Body(id)
	if err != nil {
		return &unauthenticated{ike.DropIntegrity, err}
	}
	hash := sa.keys.proof(sa.chosen.Auth, sa.role == ike.RoleResponder, seen, body)
	if !bySignature(sa.chosen.Auth) {
		if err := verifyHash(m.Payloads, id, hash); err != nil {
			return &unauthenticated{ike.DropIntegrity, err}
		}
		sa.shown = m.Payloads
		return then(m)
	}
	sa.shown = m.Payloads
	expected := configurations(among)
	p, err := identify(expected, sa.chosen.Auth, id)
	if err != nil {
		// Whoever asks does not learn which identities we know: one that nobody has here is found out when its owner has proved to be it.
		i := slices.IndexFunc(expected, func(p *ike.Peer) bool { return proves(p, sa.chosen.Auth) })
		if i < 0 {
			return err
		}
		p = expected[i]
	}
	signature, err := signatureOf(m.Payloads, sa.chosen.Auth)
	if err == nil {
		sa.checkCertificates(&question{peer: p, message: m, hash: hash, signature: signature, then: then})
	}
	return err
}

// unproven is the failure of a main mode in which the peer's last message came and did not show who it is.
func (sa *isakmpSA) unproven(message int) error {
	what := "it holds another pre-shared key"
	if bySignature(sa.chosen.Auth) {
		what = "it does not hold its key"
	}
	return failf(ike.AuthKey, "message %d of main mode does not prove who the peer is: %s, or somebody else sent it (%v)", message, what, sa.main.doubt)
}

// configurations are those of peers. A dynamic one may have gone since a main mode began that was to be with it.
func configurations(peers []*peer) (list []*ike.Peer) {
	for _, p := range peers {
		if !p.retired {
			list = append(list, &p.cfg)
		}
	}
	return list
}

// greeted reads what a peer says beside its proof in message 5 or 6.
func (sa *isakmpSA) greeted(m *message) {
	if isakmp.FindNotify(m.Payloads, isakmp.NotifyInitialContact) != nil {
		sa.peer.startsOver(sa)
	}
}

// meet notes what the peer's vendor IDs say that both speak.
func (sa *isakmpSA) meet(p *peer, m *message) {
	sa.can = readVendors(&p.cfg, m.Payloads)
	sa.nat.version = sa.can.nat
}
