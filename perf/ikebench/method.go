package ikebench

import (
	"context"
	std "crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pki"
)

// method is how the two ends of every peer prove themselves.
type method struct {
	name       string
	prove      func(*ike.Peer) error // fills in one end
	check      func(ike.CheckCertificates) ike.CertificatesChecked
	arithmetic func() (microseconds float64, err error) // of public keys, that one end cannot do without
}

// epoch is when the engines' clock begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// psk is authentication by one preshared key for all peers; two would cost the same.
func psk() method {
	prove := func(p *ike.Peer) error {
		p.PSK = crypto.NewSecret([]byte("a key for measurements only"))
		return nil
	}
	return method{name: "PSK", prove: prove, arithmetic: x25519Alone}
}

// authority issues certificates for addresses.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, serial: 1}
	a.certificate, err = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Benchmark CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, &key.PublicKey)
	return a, err
}

func (a *authority) sign(template, parent *x509.Certificate, public std.PublicKey) (*x509.Certificate, error) {
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(a.serial), epoch.AddDate(-1, 0, 0), epoch.AddDate(9, 0, 0)
	a.serial++
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// credential is a certificate for an address, and its key.
func (a *authority) credential(of netip.Addr) (*ike.Credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: of.String()}, IPAddresses: []net.IP{of.AsSlice()}, KeyUsage: x509.KeyUsageDigitalSignature}, a.certificate, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &ike.Credential{Certificates: [][]byte{certificate.Raw}, Key: key}, nil
}

// ecdsaCertificates is authentication by certificates of P-256 that one CA has issued, each checked in full; whether one is revoked is
// not asked, because that is a matter of the network.
func ecdsaCertificates() (method, error) {
	ca, err := newAuthority()
	if err != nil {
		return method{}, err
	}
	trust := &pki.Trust{Authorities: pki.NewAuthorities(ca.certificate)}
	settings := pki.DefaultSettings()
	settings.Mode = pki.CRLOff
	checker := pki.NewChecker("", settings, func() time.Time { return epoch }, slog.New(slog.DiscardHandler))
	ours, err := ca.credential(hub)
	if err != nil {
		return method{}, err
	}
	prove := func(p *ike.Peer) (err error) {
		p.LocalAuth, p.RemoteAuth, p.Authorities = ike.AuthSignature, ike.AuthSignature, trust.Authorities.KeyIDs()
		if p.Credential = ours; p.Local != hub {
			p.Credential, err = ca.credential(p.Local)
		}
		return err
	}
	check := func(e ike.CheckCertificates) ike.CertificatesChecked {
		key, err := checker.Check(context.Background(), trust, e.Identity, e.Certificates)
		answer := ike.CertificatesChecked{Ticket: e.Ticket, Key: key}
		var refused *pki.Refusal
		if errors.As(err, &refused) {
			answer.Reason, answer.Detail = refused.Reason, fmt.Sprint(refused)
		}
		return answer
	}
	return method{name: "ECDSA P-256", prove: prove, check: check, arithmetic: func() (float64, error) { return signedAlone(ca.key) }}, nil
}

// x25519Alone is one key exchange.
func x25519Alone() (float64, error) {
	other, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	return alone(func() error {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err == nil {
			_, err = key.ECDH(other.PublicKey())
		}
		return err
	})
}

// signedAlone is one key exchange, one signature made and one verified. That of the CA is in the check of certificates.
func signedAlone(key *ecdsa.PrivateKey) (float64, error) {
	exchange, err := x25519Alone()
	if err != nil {
		return 0, err
	}
	digest := sha256.Sum256(nil)
	signatures, err := alone(func() error {
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		if err == nil && !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			err = errors.New("ikebench: a signature does not hold")
		}
		return err
	})
	return exchange + signatures, err
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
