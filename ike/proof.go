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
	if initiator {
		return sa.signedRequest(sa.initRequest, id)
	}
	_, skPR := sa.skP()
	return sa.signedMessage(skPR, sa.initResponse, sa.ni, id)
}

// signedRequest is the same of an initiator that has sent this request.
func (sa *ikeSA) signedRequest(request []byte, id *wire.ID) []byte {
	skPI, _ := sa.skP()
	return sa.signedMessage(skPI, request, sa.nr, id)
}

func (sa *ikeSA) signedMessage(skP crypto.Secret, message, nonce []byte, id *wire.ID) []byte {
	return append(signedOctets(sa.keys.prf, skP, message, nonce, id.SignedOctets()), sa.intermediate.intAuth()...)
}

// signed has what the peer may have signed tried until something passes. The error is that of what came.
func (sa *ikeSA) signed(id *wire.ID, try func(octets []byte) error) error {
	err := try(sa.signedOctets(id.Initiator, id))
	if err == nil || !id.Initiator {
		return err
	}
	for _, request := range sa.asked() {
		if try(sa.signedRequest(request, id)) == nil {
			return nil
		}
	}
	return err
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
	return m.sa.signed(id, func(octets []byte) error { return s.verify(answer.Key, octets, signature) })
}

func verifyKey(sa *ikeSA, p *peer, id *wire.ID, auth *wire.Auth) error {
	if auth.Method != wire.AuthSharedKeyMIC {
		return failf(AuthOtherMethod, "peer %v proves itself by %v, expected the pre-shared key", p.cfg.RemoteID, auth.Method)
	}
	return sa.signed(id, func(octets []byte) error {
		if subtle.ConstantTimeCompare(auth.Data, sharedKeyMIC(sa.keys.prf, p.cfg.PSK, octets)) != 1 {
			return failf(AuthKey, "peer %v does not hold our pre-shared key", p.cfg.RemoteID)
		}
		return nil
	})
}

// abandon ends the wait for an answer.
func (t *proof) abandon(e *Engine) {
	if t.check != nil {
		e.forget(t.check)
	}
}
