package ike

import (
	"crypto/subtle"

	"sallyport/crypto"
	"sallyport/ike/internal/signing"
	"sallyport/ike/wire"
)

// signedOctets is what the AUTH payload of one end covers: its first message, the other end's nonce, and prf(SK_p, its ID) (RFC 7296 2.15), and
// then all that came between IKE_SA_INIT and IKE_AUTH (RFC 9242 3.3.1). The first three differ between the ends, so what one end has signed is
// never what the other has to.
func (sa *ikeSA) signedOctets(initiator bool, id *wire.ID) []byte {
	octets := func(skP crypto.Secret, firstMessage, nonce []byte) []byte {
		return append(signedOctets(sa.keys.prf, skP, firstMessage, nonce, id.SignedOctets()), sa.intermediate.intAuth()...)
	}
	skPI, skPR := sa.skP()
	if initiator {
		return octets(skPI, sa.initRequest, sa.nr)
	}
	return octets(skPR, sa.initResponse, sa.ni)
}

// prove makes the AUTH payload of ours.
func (sa *ikeSA) prove(p *peer, id *wire.ID) (*wire.Auth, error) {
	octets := sa.signedOctets(id.Initiator, id)
	if p.cfg.LocalAuth == AuthPSK {
		return &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: sharedKeyMIC(sa.keys.prf, p.cfg.PSK, octets)}, nil
	}
	s, err := chooseScheme(p.cfg.Credential.Key.Public(), sa.peerHashes, p.cfg.Legacy)
	if err != nil {
		return nil, err
	}
	return s.sign(p.cfg.Credential.Key, sa.engine.cfg.Random, octets)
}

// proof is the check of the peer's AUTH payload, in one go or around a check of its certificates.
type proof struct{ check *check }

// verify finds out whether the peer is who its ID payload says. While its certificates are being checked that is errWait: then it is called
// again with the same message.
func (t *proof) verify(m *message, p *peer, id *wire.ID) error {
	auth := wire.Find[*wire.Auth](m.Payloads)
	if p.cfg.RemoteAuth == AuthPSK {
		return verifyKey(m.sa, p, id, auth)
	}
	s, signature, err := readSignature(auth, p.cfg.Legacy)
	if err != nil {
		return err
	}
	if t.check == nil {
		certificates, err := certificatesOf(m)
		if err == nil {
			t.check, err = m.sa.engine.ask(m.sa, p, identityOf(id), certificates)
		}
		return err
	}
	answer := t.check.answer
	if answer.Reason != "" {
		return failf(answer.Reason, "%s", answer.Detail)
	}
	if err := signing.CheckKey(answer.Key, p.cfg.Legacy); err != nil {
		return failf(CertKeyType, "the certificate of %v has %v", p.cfg.RemoteID, err) // the check should have found it
	}
	return s.verify(answer.Key, m.sa.signedOctets(id.Initiator, id), signature)
}

func verifyKey(sa *ikeSA, p *peer, id *wire.ID, auth *wire.Auth) error {
	if auth.Method != wire.AuthSharedKeyMIC {
		return failf(AuthOtherMethod, "peer %v proves itself by %v, expected the pre-shared key", p.cfg.RemoteID, auth.Method)
	}
	if subtle.ConstantTimeCompare(auth.Data, sharedKeyMIC(sa.keys.prf, p.cfg.PSK, sa.signedOctets(id.Initiator, id))) != 1 {
		return failf(AuthKey, "peer %v does not hold our pre-shared key", p.cfg.RemoteID)
	}
	return nil
}

// abandon ends the wait for an answer.
func (t *proof) abandon(e *Engine) {
	if t.check != nil {
		e.forget(t.check)
	}
}
