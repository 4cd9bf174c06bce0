package pki

import (
	std "crypto"
	"crypto/x509"
	"time"
)

// Credential is what the gateway authenticates with: its certificate, those of the CAs above it that peers may lack, and the private key.
type Credential struct {
	Certificates []*x509.Certificate // our own first
	Key          Key
}

// ParseCredential reads a chain, in PEM or DER with our own certificate first, and its private key. Certificate and key have to be
// fit for IKE and belong together; only the clock is left out (see Expiry), because time passes at run time too. Its error is a *Refusal.
func ParseCredential(chain, key, passphrase []byte) (*Credential, error) {
	certificates, err := ParseCertificates(chain)
	if err != nil {
		return nil, refuse(CertMalformed, "%v", err)
	}
	leaf, size := certificates[0], 0
	for _, c := range certificates {
		if size += len(c.Raw); len(c.Raw) > maxCertificate || size > maxSent {
			return nil, refuse(CertTooMany, "expected certificates of at most %d bytes, and %d together, because peers take no larger ones, found %s with %d", maxCertificate, maxSent, Subject(c), len(c.Raw))
		}
	}
	if err := checkMachine(leaf, true); err != nil { // what it is for is the peer's to judge
		return nil, err
	}
	if err := checkChain(certificates); err != nil {
		return nil, err
	}
	if len(key) == 0 {
		return nil, refuse(KeyMissing, "expected the private key of %s, found none", Subject(leaf))
	}
	signer, err := parseKey(key, passphrase)
	if err != nil {
		return nil, err
	}
	public, comparable := leaf.PublicKey.(interface{ Equal(std.PublicKey) bool })
	if !comparable || !public.Equal(signer.Public()) {
		return nil, refuse(KeyMismatch, "expected the private key of %s (%s), found another one (%s)", Subject(leaf), KeyText(leaf.PublicKey), KeyText(signer.Public()))
	}
	return &Credential{Certificates: withoutRoot(certificates), Key: signer}, nil
}

// checkChain makes sure that each certificate is issued by the next: a peer need not put them in order.
func checkChain(certificates []*x509.Certificate) error {
	if len(certificates) > maxChain {
		return refuse(CertTooMany, "expected at most %d certificates, our own and those of CAs above it, found %d", maxChain, len(certificates))
	}
	for i, c := range certificates[1:] {
		if err := certificates[i].CheckSignatureFrom(c); err != nil {
			return refuse(CertConstraints, "expected our own certificate and after each that of its issuer, found %s after %s: %v", Subject(c), Subject(certificates[i]), err)
		}
	}
	return nil
}

// withoutRoot leaves out a root CA: a peer that does not have it would not trust it (RFC 7296 3.6).
func withoutRoot(certificates []*x509.Certificate) []*x509.Certificate {
	last := len(certificates) - 1
	if last > 0 && selfIssued(certificates[last]) {
		return certificates[:last]
	}
	return certificates
}

// DER is the certificates as IKE sends them.
func (c *Credential) DER() [][]byte {
	var list [][]byte
	for _, certificate := range c.Certificates {
		list = append(list, certificate.Raw)
	}
	return list
}

// Doubt says why peers may refuse a certificate of ours that is otherwise good; nil if nothing is known.
func Doubt(c *x509.Certificate) error {
	switch {
	case len(c.UnhandledCriticalExtensions) > 0: // RFC 5280 section 4.2
		return refuse(CertCritical, "%s has the critical extension %v, which a peer that does not know it must refuse", Subject(c), c.UnhandledCriticalExtensions[0])
	case !forIKE(c):
		return refuse(CertPurpose, "%s is for other purposes than IKE (extendedKeyUsage), which a peer may refuse", Subject(c))
	}
	return nil
}

// ExpiryNotice is how long before a certificate ends the gateway begins to warn.
const ExpiryNotice = 30 * 24 * time.Hour

// Expiry says what is wrong with the time of a certificate, or will be soon; nil if nothing is.
func Expiry(c *x509.Certificate, now time.Time) error {
	if err := checkTime(c, now); err != nil {
		return err
	}
	if left := c.NotAfter.Sub(now); left < ExpiryNotice {
		return refuse(CertExpired, "%s ends in %d days, on %s: renew it", Subject(c), int(left/(24*time.Hour)), day(c.NotAfter))
	}
	return nil
}
