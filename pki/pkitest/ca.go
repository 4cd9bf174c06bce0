// Package pkitest makes CAs, certificates, CRLs and OCSP answers for tests.
package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Leaf is a certificate with its private key.
type Leaf struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// CA is a CA, root or not.
type CA struct {
	Leaf
	t testing.TB
}

// serials gives each certificate of a test run a number of its own.
var serials atomic.Int64

// Valid is how long certificates are valid, before and after the time of the test.
const Valid = 365 * 24 * time.Hour

// NewKey makes a key on P-256.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// NewRoot makes a root CA, whose template may be changed.
func NewRoot(t testing.TB, name string, changes ...func(*x509.Certificate)) *CA {
	t.Helper()
	key := NewKey(t)
	template := authority(name)
	for _, change := range changes {
		change(template)
	}
	return &CA{Leaf{create(t, template, template, key.Public(), key), key}, t}
}

// Authority makes a CA below this one.
func (ca *CA) Authority(name string, changes ...func(*x509.Certificate)) *CA {
	ca.t.Helper()
	return ca.AuthorityFor(NewKey(ca.t), name, changes...)
}

// AuthorityFor makes a CA with a key of its own below this one.
func (ca *CA) AuthorityFor(key crypto.Signer, name string, changes ...func(*x509.Certificate)) *CA {
	ca.t.Helper()
	template := authority(name)
	for _, change := range changes {
		change(template)
	}
	return &CA{Leaf{create(ca.t, template, ca.Certificate, key.Public(), ca.Key), key}, ca.t}
}

func authority(name string) *x509.Certificate {
	template := base(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return template
}

func base(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(1000 + serials.Add(1)), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}},
		NotBefore: now.Add(-Valid), NotAfter: now.Add(Valid),
	}
}

// Issue makes a machine's certificate for a host name, with a key on P-256.
func (ca *CA) Issue(name string, changes ...func(*x509.Certificate)) Leaf {
	ca.t.Helper()
	return ca.IssueFor(NewKey(ca.t), name, changes...)
}

// IssueFor makes a machine's certificate for a key.
func (ca *CA) IssueFor(key crypto.Signer, name string, changes ...func(*x509.Certificate)) Leaf {
	ca.t.Helper()
	return Leaf{ca.Certify(key.Public(), name, changes...), key}
}

// Certify makes a machine's certificate for a public key.
func (ca *CA) Certify(public crypto.PublicKey, name string, changes ...func(*x509.Certificate)) *x509.Certificate {
	ca.t.Helper()
	template := base(name)
	template.DNSNames, template.KeyUsage = []string{name}, x509.KeyUsageDigitalSignature
	for _, change := range changes {
		change(template)
	}
	return create(ca.t, template, ca.Certificate, public, ca.Key)
}

func create(t testing.TB, template, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// CRL makes a CRL in DER that holds for an hour, with certificates in it.
func (ca *CA) CRL(revoked []*x509.Certificate, changes ...func(*x509.RevocationList)) []byte {
	ca.t.Helper()
	now := time.Now()
	template := &x509.RevocationList{Number: big.NewInt(serials.Add(1)), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now.Add(-time.Minute), ReasonCode: 1})
	}
	for _, change := range changes {
		change(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.Certificate, ca.Key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return der
}

// OCSP makes an answer about a certificate that this CA signs itself.
func (ca *CA) OCSP(about *x509.Certificate, status int, changes ...func(*ocsp.Response)) []byte {
	ca.t.Helper()
	return ca.OCSPBy(Leaf{ca.Certificate, ca.Key}, about, status, changes...)
}

// OCSPBy makes an answer that somebody else signs.
func (ca *CA) OCSPBy(responder Leaf, about *x509.Certificate, status int, changes ...func(*ocsp.Response)) []byte {
	ca.t.Helper()
	now := time.Now()
	template := ocsp.Response{Status: status, SerialNumber: about.SerialNumber, ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour), RevokedAt: now.Add(-time.Minute)}
	if !responder.Certificate.Equal(ca.Certificate) {
		template.Certificate = responder.Certificate
	}
	for _, change := range changes {
		change(&template)
	}
	raw, err := ocsp.CreateResponse(ca.Certificate, responder.Certificate, template, responder.Key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return raw
}

// PEM is certificates as a file has them.
func PEM(certificates ...*x509.Certificate) []byte {
	var text []byte
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text
}

// KeyPEM is a private key in PKCS #8.
func KeyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Write puts a file for its owner only into a folder, and returns its path.
func Write(t testing.TB, folder, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
