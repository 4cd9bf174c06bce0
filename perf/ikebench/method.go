package ikebench

import (
	std "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
)

// method is how the two ends of every peer negotiate, and how they prove themselves.
type method struct {
	version    ike.Version
	proposal   string // of IKE
	name       string
	prove      func(*ike.Peer) error // fills in one end
	check      func(ike.CheckCertificates) ike.CertificatesChecked
	curve      ecdh.Curve
	signatures std.Signer // one signature is made and one verified; nil: none is
}

// epoch is when the engines' clock begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// psk is authentication by one preshared key for all peers; two would cost the same.
func psk() method {
	prove := func(p *ike.Peer) error {
		p.PSK = crypto.NewSecret([]byte("a key for measurements only"))
		return nil
	}
	return method{proposal: curve25519, curve: ecdh.X25519(), name: "PSK", prove: prove}
}

// What IKE is protected by. IKEv1 has neither AES-GCM nor Curve25519.
const (
	curve25519 = "aes128gcm16-prfsha256-curve25519"
	nistP256   = "aes128-sha256-ecp256"
)

// byV1 is a method for IKEv1, with the best of its groups in the place of Curve25519.
func (m method) byV1() method {
	m.version, m.proposal, m.curve = ike.V1, nistP256, ecdh.P256()
	return m
}

// certificates is authentication by certificates that one CA has issued, each checked in full.
func certificates(kind Keys) (method, error) {
	ca, err := NewAuthority(kind)
	if err != nil {
		return method{}, err
	}
	ours, err := ca.Credential(hub)
	if err != nil {
		return method{}, err
	}
	prove := func(p *ike.Peer) (err error) {
		p.LocalAuth, p.RemoteAuth, p.Authorities = ike.AuthSignature, ike.AuthSignature, ca.KeyIDs()
		if p.Credential = ours; p.Local != hub {
			p.Credential, err = ca.Credential(p.Local)
		}
		return err
	}
	return method{proposal: curve25519, curve: ecdh.X25519(), name: kind.String(), prove: prove, check: ca.Check, signatures: ca.key}, nil
}

// arithmetic is the CPU time, in microseconds, of public keys that one end cannot do without: one key exchange, one signature made and one verified. That
// of the CA is in the check of certificates.
func (m method) arithmetic() (float64, error) {
	exchange, err := exchangeAlone(m.curve)
	if err != nil || m.signatures == nil {
		return exchange, err
	}
	digest := sha256.Sum256(nil)
	signatures, err := alone(func() error {
		signature, err := m.signatures.Sign(rand.Reader, digest[:], std.SHA256)
		if err != nil {
			return err
		}
		switch key := m.signatures.Public().(type) {
		case *rsa.PublicKey:
			return rsa.VerifyPKCS1v15(key, std.SHA256, digest[:], signature)
		case *ecdsa.PublicKey:
			if ecdsa.VerifyASN1(key, digest[:], signature) {
				return nil
			}
		}
		return errors.New("ikebench: a signature does not hold")
	})
	return exchange + signatures, err
}

// exchangeAlone is one key exchange.
func exchangeAlone(curve ecdh.Curve) (float64, error) {
	other, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	return alone(func() error {
		key, err := curve.GenerateKey(rand.Reader)
		if err == nil {
			_, err = key.ECDH(other.PublicKey())
		}
		return err
	})
}

// alone is the CPU time of one call in microseconds.
func alone(do func() error) (float64, error) {
	const times = 500
	before, err := processTime()
	if err != nil {
		return 0, err
	}
	for range times {
		if err := do(); err != nil {
			return 0, err
		}
	}
	after, err := processTime()
	return (after - before).Seconds() / times * 1e6, err
}
