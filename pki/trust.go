package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"sallyport/ike"
)

// Bounds of what a peer may send. It is not authenticated yet.
const (
	maxChain = 8        // certificates, its own among them; as many as package ike lets through
	maxSent  = 64 << 10 // bytes of all of them
)

// Trust is what a peer's certificate has to meet.
type Trust struct {
	Authorities *Authorities
	// Named is what the certificate must name. Zero: what the peer calls itself, which cannot be a key id then, because no
	// certificate holds one.
	Named ike.Identity
	// AnyPurpose lets certificates pass whose extendedKeyUsage is for something else (RFC 4945 5.1.3.12).
	AnyPurpose bool
}

// path is the certificates from a peer's to a listed CA's, each issued by the next.
type path []*x509.Certificate

// validate finds a path from the first of the certificates, which are as the peer sent them, to a listed CA. Its error is a *Refusal.
func (t *Trust) validate(sent [][]byte, identity ike.Identity, now time.Time) (path, error) {
	certificates, err := parseSent(sent)
	if err != nil {
		return nil, err
	}
	leaf := certificates[0]
	if err := checkMachine(leaf, t.AnyPurpose); err != nil {
		return nil, err
	}
	if err := checkTime(leaf, now); err != nil {
		return nil, err
	}
	p, err := t.build(certificates, now)
	if err != nil {
		return nil, err
	}
	if !t.Named.IsZero() {
		identity = t.Named
	}
	return p, MatchIdentity(leaf, identity)
}

// parseSent reads what a peer sent, its own certificate first.
func parseSent(sent [][]byte) ([]*x509.Certificate, error) {
	if len(sent) == 0 {
		return nil, refuse(CertMissing, "the peer sent no certificate")
	}
	if len(sent) > maxChain {
		return nil, refuse(CertTooMany, "the peer sent %d certificates, expected at most %d", len(sent), maxChain)
	}
	size := 0
	var certificates []*x509.Certificate
	for i, der := range sent {
		if size += len(der); len(der) > maxCertificate || size > maxSent {
			return nil, refuse(CertTooMany, "the peer's certificates are larger than %d bytes, or one is than %d", maxSent, maxCertificate)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, refuse(CertMalformed, "certificate %d of the peer: %v", i+1, err)
		}
		if err := checkCost(c); err != nil { // crypto/x509 checks signatures by it before anybody knows whose it is: seconds for the largest
			return nil, err
		}
		certificates = append(certificates, c)
	}
	return certificates, nil
}

// build has crypto/x509 find paths, name constraints included, and takes the first whose keys and signatures protect.
func (t *Trust) build(certificates []*x509.Certificate, now time.Time) (path, error) {
	intermediates := x509.NewCertPool()
	for _, c := range certificates[1:] {
		intermediates.AddCert(c)
	}
	found, err := certificates[0].Verify(x509.VerifyOptions{
		Roots: t.Authorities.pool, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // checkMachine knows what IKE needs
	})
	if err != nil {
		return nil, t.explain(certificates, err, now)
	}
	for _, p := range found {
		if err = checkIssuers(p); err == nil {
			return p, nil
		}
	}
	return nil, err
}

// checkIssuers holds the CAs of a path to the floor for keys. That of the root's own signature matters to nobody.
func checkIssuers(p path) error {
	for _, c := range p[1:] {
		if err := checkKey(c); err != nil {
			return err
		}
	}
	return nil
}

// explain turns the error of crypto/x509 into a reason.
func (t *Trust) explain(certificates []*x509.Certificate, err error, now time.Time) error {
	leaf := Subject(certificates[0])
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if late := checkTime(invalid.Cert, now); late != nil {
			return late
		}
		return refuse(CertExpired, "%v", err)
	case errors.As(err, &invalid):
		return refuse(CertConstraints, "%s: %v", leaf, err)
	case errors.As(err, new(x509.ConstraintViolationError)):
		return refuse(CertConstraints, "%s: %v", leaf, err)
	case errors.As(err, new(x509.UnhandledCriticalExtension)):
		return refuse(CertCritical, "%s, or a CA above it, has a critical extension that is not known", leaf)
	}
	if i := slices.IndexFunc(certificates, func(c *x509.Certificate) bool { return isWeak(c.SignatureAlgorithm) && !selfIssued(c) }); i >= 0 {
		return refuse(CertSignature, "%s is signed by %v, expected SHA-256 or better", Subject(certificates[i]), certificates[i].SignatureAlgorithm)
	}
	return refuse(CertUntrusted, "%s, issued by %s, has no path to a CA that is listed for the peer (%s)", leaf, certificates[0].Issuer.String(), t.Authorities.text())
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// text names the CAs, a few of them.
func (a *Authorities) text() string {
	const most = 3
	text := ""
	for i, c := range a.certificates {
		if i == most {
			return text + ", ..."
		}
		if i > 0 {
			text += ", "
		}
		text += Subject(c)
	}
	return text
}
