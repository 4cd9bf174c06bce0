package pki

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"sallyport/pki/pkitest"
)

// signedBy is a certificate with other octets for its signature, which say that an RSA key has made it.
func signedBy(t *testing.T, certificate, signature []byte) []byte {
	t.Helper()
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: c.RawTBSCertificate}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue},
		asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A key that a stranger has made up for a CA, as large as a certificate may be and with the largest exponent, costs nothing: no signature is checked by it.
// With it a request of nobody in particular would keep a core busy for seconds.
func TestHugeKeysOfStrangers(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	huge := publicRSA(t, 8*25_000)
	huge.E = math.MaxInt32
	forger, err := rsa.GenerateKey(rand.Reader, minRSA)
	if err != nil {
		t.Fatal(err)
	}
	between := root.AuthorityFor(forger, "huge").Certificate
	der, err := x509.CreateCertificate(rand.Reader, between, root.Certificate, huge, root.Key)
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 25_000)
	if _, err := rand.Read(signature[1:]); err != nil {
		t.Fatal(err)
	}
	template := issueHost(root)
	template.SignatureAlgorithm = x509.SHA256WithRSA
	leaf, err := x509.CreateCertificate(rand.Reader, template, between, pkitest.NewKey(t).Public(), forger)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = trusting(root).validate([][]byte{signedBy(t, leaf, signature), der}, host, start)
	reasonIs(t, "a CA's key of 200,000 bits", err, CertKeyType)
}

// What peers would refuse for its size is refused when it is read.
func TestOwnCertificatesThatNobodyTakes(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	leaf := root.Issue(host.Data, func(c *x509.Certificate) {
		for i := range 2000 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("gw-%05d.example", i))
		}
	})
	_, err := ParseCredential(leaf.Certificate.Raw, pkitest.KeyPEM(t, leaf.Key), nil)
	reasonIs(t, "a certificate of 40 kB", err, CertTooMany)
}

// Damaged PEM is told from none.
func TestDamagedPEM(t *testing.T) {
	whole := string(pkitest.PEM(pkitest.NewRoot(t, "root").Certificate))
	for text, want := range map[string]string{
		strings.Replace(whole, "M", "!", 1): "damaged", whole[:len(whole)/2]: "damaged", strings.ReplaceAll(whole, " CERTIFICATE", " PUBLIC KEY"): "found none in the file",
	} {
		if _, err := ParseCertificates([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}
