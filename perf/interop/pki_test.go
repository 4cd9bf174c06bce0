package interop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// keyKind is what the keys of a chain of certificates are.
type keyKind string

// Kinds of keys: the words are those of file names.
const (
	rsa2048 keyKind = "rsa2048"
	rsa4096 keyKind = "rsa4096"
	p256    keyKind = "p256"
	p384    keyKind = "p384"
	p521    keyKind = "p521"
	curve   keyKind = "ed25519"
)

func (k keyKind) generate() (crypto.Signer, error) {
	switch k {
	case rsa2048, rsa4096:
		return rsaKey(strings.TrimPrefix(string(k), "rsa"))
	case p256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case p384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case p521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
}

// rsaKey is a key of openssl's making, which takes a fraction of the time that crypto/rsa does.
func rsaKey(bits string) (crypto.Signer, error) {
	out, err := exec.Command("openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:"+bits).Output()
	if err != nil {
		return nil, fmt.Errorf("openssl genpkey: %w", err)
	}
	block, _ := pem.Decode(out)
	if block == nil {
		return nil, fmt.Errorf("openssl genpkey: expected PEM, found %d octets of something else", len(out))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key.(*rsa.PrivateKey), nil
}

// holder is who has a certificate and its key.
type holder struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func (h *holder) pem() []byte { return pemOf("CERTIFICATE", h.certificate.Raw) }

func (h *holder) keyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(h.key)
	if err != nil {
		panic(err) // of a key of generate
	}
	return pemOf("PRIVATE KEY", der)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// chain is two CAs, one above the other, and the certificates of both gateways from the lower one.
type chain struct {
	kind               keyKind
	root, intermediate *holder
	a, b               *holder
}

// What the gateways are called in their certificates, in each of the ways.
const (
	nameA, nameB = "gw-a.example", "gw-b.example"
	mailA, mailB = "ike@gw-a.example", "ike@gw-b.example"
)

// chains are made once each, by kind.
var chains sync.Map

// chainOf is the chain of a kind.
func chainOf(t *testing.T, b *bed, kind keyKind) *chain {
	t.Helper()
	once, _ := chains.LoadOrStore(kind, sync.OnceValues(func() (*chain, error) { return newChain(b.Sites, kind) }))
	c, err := once.(func() (*chain, error))()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newChain(s *lab.Sites, kind keyKind) (*chain, error) {
	c := &chain{kind: kind}
	var err error
	authority := x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	authority.Subject = pkix.Name{Country: []string{"GB"}, Organization: []string{"Sallyport"}, CommonName: "Root of " + string(kind)}
	if c.root, err = issue(kind, authority, nil); err != nil {
		return nil, err
	}
	authority.Subject.CommonName = "Intermediate of " + string(kind)
	if c.intermediate, err = issue(kind, authority, c.root); err != nil {
		return nil, err
	}
	for _, end := range []struct {
		to         **holder
		name, mail string
		site       *lab.Site
	}{{&c.a, nameA, mailA, s.A}, {&c.b, nameB, mailB, s.B}} {
		*end.to, err = issue(kind, x509.Certificate{
			Subject:  pkix.Name{Country: []string{"GB"}, Organization: []string{"Sallyport"}, CommonName: end.name},
			DNSNames: []string{end.name}, EmailAddresses: []string{end.mail},
			IPAddresses: []net.IP{end.site.WANAddress.AsSlice(), end.site.WANAddress6.AsSlice()},
			KeyUsage:    x509.KeyUsageDigitalSignature,
		}, c.intermediate)
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

// issue makes a key and its certificate, self-signed without an issuer.
func issue(kind keyKind, template x509.Certificate, issuer *holder) (*holder, error) {
	key, err := kind.generate()
	if err != nil {
		return nil, err
	}
	if issuer == nil {
		issuer = &holder{&template, key}
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &holder{certificate, key}, err
}

// crl is the list of a CA with the certificates of its that are revoked, in PEM.
func (h *holder) crl(revoked ...*holder) ([]byte, error) {
	now := time.Now()
	list := x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(24 * time.Hour)}
	for _, other := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: other.certificate.SerialNumber, RevocationTime: now.Add(-time.Minute), ReasonCode: 1})
	}
	der, err := x509.CreateRevocationList(rand.Reader, &list, h.certificate, h.key)
	return pemOf("X509 CRL", der), err
}

// bundlePassword is that of what pkcs12 makes.
const bundlePassword = "lab"

// pkcs12 is a holder's certificate with its key and its CAs, in the older form that NSS of Debian 12 reads.
func (c *chain) pkcs12(h *holder, name string) ([]byte, error) {
	dir, err := os.MkdirTemp(scratch, "pkcs12-")
	if err != nil {
		return nil, err
	}
	for file, content := range map[string][]byte{"certificate": h.pem(), "key": h.keyPEM(), "authorities": append(c.intermediate.pem(), c.root.pem()...)} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return nil, err
		}
	}
	command := exec.Command("openssl", "pkcs12", "-export", "-legacy", "-in", "certificate", "-inkey", "key", "-certfile", "authorities", "-name", name,
		"-passout", "pass:"+bundlePassword, "-out", "bundle")
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("openssl pkcs12: %w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "bundle"))
}

// ours is the gateway's side of a case with certificates: its own, the CA it trusts, and the lists of both CAs, in which the revoked stand.
func (c *chain) ours(revoked ...*holder) ours {
	rootList, err := c.root.crl()
	if err != nil {
		panic(err) // of a key of generate
	}
	list, err := c.intermediate.crl(revoked...)
	if err != nil {
		panic(err)
	}
	return ours{
		peer: fmt.Sprintf("local_id: %s\nremote_id: %s\nauth: {certificate_file: gw-a.pem, private_key_file: gw-a.key, ca_files: [root.pem]}", nameA, nameB),
		top:  "auth: {crl_files: [root.crl, intermediate.crl]}",
		files: map[string][]byte{"gw-a.pem": append(c.a.pem(), c.intermediate.pem()...), "gw-a.key": c.a.keyPEM(), "root.pem": c.root.pem(),
			"root.crl": rootList, "intermediate.crl": list},
	}
}
