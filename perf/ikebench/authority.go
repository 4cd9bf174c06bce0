package ikebench

import (
	"context"
	std "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"time"

	"sallyport/ike"
	"sallyport/pki"
)

// Keys is the kind of an authority's keys: its own and those that it certifies.
type Keys int

// The kinds that are measured.
const (
	P256    Keys = iota // ECDSA
	RSA2048             // of which gateways use no shorter ones
)

// String is what a table calls them.
func (k Keys) String() string {
	if k == RSA2048 {
		return "RSA 2048"
	}
	return "ECDSA P-256"
}

// new makes a key.
func (k Keys) new() (std.Signer, error) {
	if k == RSA2048 {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Authority is a CA that issues certificates for addresses, and checks them as a gateway does that trusts it and no other. Whether one is revoked is not asked,
// because that is a matter of the network.
type Authority struct {
	Certificate *x509.Certificate

	kind    Keys
	key     std.Signer
	shared  std.Signer // of all that it certifies, where making one takes long
	serial  *big.Int   // of the next
	from    time.Time  // what it certifies is good from then on
	until   time.Time
	trust   *pki.Trust
	checker *pki.Checker
}

// NewAuthority makes one with a key of its own.
func NewAuthority(kind Keys) (*Authority, error) {
	key, err := kind.new()
	if err != nil {
		return nil, err
	}
	a := &Authority{kind: kind, key: key, serial: big.NewInt(1), from: epoch.AddDate(-1, 0, 0), until: epoch.AddDate(9, 0, 0)}
	a.Certificate, err = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Benchmark CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key.Public())
	if err != nil {
		return nil, err
	}
	a.check(func() time.Time { return epoch })
	return a, nil
}

// lifetime is how long what a LoadAuthority certifies is good: a measurement takes less.
const lifetime = 7 * 24 * time.Hour

// LoadAuthority makes one of a CA that there is, by its certificate and key in PEM. The keys that it certifies are of a kind of their own. Serial numbers begin at random,
// since others have certificates of that CA too.
func LoadAuthority(kind Keys, certificate, key []byte, now func() time.Time) (*Authority, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("ikebench: CA: %w", err)
	}
	a := &Authority{Certificate: pair.Leaf, kind: kind}
	signer, signs := pair.PrivateKey.(std.Signer)
	if !a.Certificate.IsCA || !signs {
		return nil, fmt.Errorf("ikebench: expected the certificate of a CA, found that of %s", a.Certificate.Subject)
	}
	a.key = signer
	const serialBits = 127 // positive in the 16 octets that many make room for
	if a.serial, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits)); err != nil {
		return nil, err
	}
	a.from, a.until = now().Add(-time.Hour), now().Add(lifetime)
	a.check(now)
	return a, nil
}

// PEM is the CA's certificate and its key, as a LoadAuthority reads them.
func (a *Authority) PEM() (certificate, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// check has it trusted, and no other.
func (a *Authority) check(now func() time.Time) {
	a.trust = &pki.Trust{Authorities: pki.NewAuthorities(a.Certificate)}
	settings := pki.DefaultSettings()
	settings.Mode = pki.CRLOff
	a.checker = pki.NewChecker("", settings, now, slog.New(slog.DiscardHandler))
}

func (a *Authority) sign(template, parent *x509.Certificate, public std.PublicKey) (*x509.Certificate, error) {
	template.SerialNumber, template.NotBefore, template.NotAfter = new(big.Int).Set(a.serial), a.from, a.until
	a.serial.Add(a.serial, big.NewInt(1))
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newKey is one to certify. Those of RSA are one and the same: thousands of others would take minutes to make, and cost as much to use.
func (a *Authority) newKey() (key std.Signer, err error) {
	if a.shared != nil {
		return a.shared, nil
	}
	if key, err = a.kind.new(); a.kind == RSA2048 {
		a.shared = key
	}
	return key, err
}

// Credential is a certificate for an address, and its key.
func (a *Authority) Credential(of netip.Addr) (*ike.Credential, error) {
	key, err := a.newKey()
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: of.String()}, IPAddresses: []net.IP{of.AsSlice()}, KeyUsage: x509.KeyUsageDigitalSignature}, a.Certificate, key.Public())
	if err != nil {
		return nil, err
	}
	return &ike.Credential{Certificates: [][]byte{certificate.Raw}, Key: key}, nil
}

// KeyIDs name the CA in an ike.Peer that trusts it.
func (a *Authority) KeyIDs() [][]byte { return a.trust.Authorities.KeyIDs() }

// Check answers an engine's question about certificates.
func (a *Authority) Check(e ike.CheckCertificates) ike.CertificatesChecked {
	key, err := a.checker.Check(context.Background(), a.trust, e.Identity, e.Certificates)
	answer := ike.CertificatesChecked{Ticket: e.Ticket, Key: key}
	var refused *pki.Refusal
	if errors.As(err, &refused) {
		answer.Reason, answer.Detail = refused.Reason, fmt.Sprint(refused)
	}
	return answer
}
