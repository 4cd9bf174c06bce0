package ikebench

import (
	"context"
	std "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
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

// Authority is a CA that issues certificates of ECDSA P-256 for addresses, and checks them as a gateway does that trusts it and no other. Whether one
// is revoked is not asked, because that is a matter of the network.
type Authority struct {
	Certificate *x509.Certificate

	key     *ecdsa.PrivateKey
	serial  int64
	trust   *pki.Trust
	checker *pki.Checker
}

// NewAuthority makes one with a key of its own.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &Authority{key: key, serial: 1}
	a.Certificate, err = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "Benchmark CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, &key.PublicKey)
	if err != nil {
		return nil, err
	}
	a.trust = &pki.Trust{Authorities: pki.NewAuthorities(a.Certificate)}
	settings := pki.DefaultSettings()
	settings.Mode = pki.CRLOff
	a.checker = pki.NewChecker("", settings, func() time.Time { return epoch }, slog.New(slog.DiscardHandler))
	return a, nil
}

func (a *Authority) sign(template, parent *x509.Certificate, public std.PublicKey) (*x509.Certificate, error) {
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

// Credential is a certificate for an address, and its key.
func (a *Authority) Credential(of netip.Addr) (*ike.Credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, err := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: of.String()}, IPAddresses: []net.IP{of.AsSlice()}, KeyUsage: x509.KeyUsageDigitalSignature}, a.Certificate, &key.PublicKey)
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
