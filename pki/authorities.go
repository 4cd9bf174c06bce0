package pki

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 7296 3.7 names CAs so; nothing rests on it
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Bounds of what is read of one file.
const (
	maxFileCertificates = 1000
	maxCertificate      = 32 << 10 // bytes of one certificate
)

// Authorities are the root CAs that a policy lists for a peer: a certificate that chains to one of them passes (S-070).
type Authorities struct {
	certificates []*x509.Certificate
	pool         *x509.CertPool
}

// NewAuthorities takes CAs as ParseAuthorities has read them; the same one twice counts once.
func NewAuthorities(certificates ...*x509.Certificate) *Authorities {
	a := &Authorities{pool: x509.NewCertPool()}
	for _, c := range certificates {
		if !slices.ContainsFunc(a.certificates, c.Equal) {
			a.certificates = append(a.certificates, c)
			a.pool.AddCert(c)
		}
	}
	return a
}

// ParseAuthorities reads the CAs of a file, in PEM or DER.
func ParseAuthorities(file []byte) ([]*x509.Certificate, error) {
	certificates, err := ParseCertificates(file)
	if err != nil {
		return nil, err
	}
	for _, c := range certificates {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("expected certificates of CAs, found %s, which is none: list the CA that issued it, and every certificate of that CA passes", Subject(c))
		}
		if err := checkKey(c); err != nil {
			return nil, err
		}
	}
	return certificates, nil
}

// Certificates are those of the CAs.
func (a *Authorities) Certificates() []*x509.Certificate { return slices.Clone(a.certificates) }

// KeyIDs names the CAs as IKE asks for certificates: SHA-1 of each public key (RFC 7296 3.7).
func (a *Authorities) KeyIDs() [][]byte {
	var ids [][]byte
	for _, c := range a.certificates {
		id := sha1.Sum(c.RawSubjectPublicKeyInfo) //nolint:gosec // as above
		ids = append(ids, id[:])
	}
	return ids
}

// ParseCertificates reads all certificates of a file, in PEM or DER.
func ParseCertificates(file []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(file, []byte("-----BEGIN ")) {
		certificates, err := x509.ParseCertificates(file)
		if err != nil || len(certificates) == 0 {
			return nil, errors.New("expected certificates in PEM or DER, found neither")
		}
		return certificates, nil
	}
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the file: %w", len(certificates)+1, err)
		}
		if certificates = append(certificates, c); len(certificates) > maxFileCertificates {
			return nil, fmt.Errorf("expected at most %d certificates in a file, found more", maxFileCertificates)
		}
	}
	switch {
	case len(certificates) == 0 && bytes.Contains(file, []byte("-----BEGIN CERTIFICATE-----")):
		return nil, errors.New("expected a certificate, found a damaged one: what is between its BEGIN and END is no base64, or its END is missing")
	case len(certificates) == 0:
		return nil, errors.New("expected a certificate (-----BEGIN CERTIFICATE-----), found none in the file")
	}
	return certificates, nil
}
