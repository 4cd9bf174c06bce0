package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"
)

// Sizes of RSA keys in bits (S-071).
const (
	insecureRSA = 512  // the source's own bound: longer than this
	minRSA      = 2048 // the gateway's floor
	maxRSA      = 8192 // checking a signature by a larger one costs more than an answer is worth
)

// What extendedKeyUsage may allow besides what crypto/x509 knows.
var (
	oidIPsecIKE = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 17} // RFC 4945 5.1.3.12
	// ipsecIKEIntermediate stands in the templates of Microsoft's and Apple's CAs and is for IKE and nothing else.
	oidIKEIntermediate = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 8, 2, 2}
)

// checkMachine holds a certificate against what a machine needs to authenticate with it, whoever issued it (S-071).
func checkMachine(c *x509.Certificate, anyPurpose bool) error {
	if err := checkKey(c); err != nil {
		return err
	}
	switch {
	case isWeak(c.SignatureAlgorithm):
		return refuse(CertSignature, "%s is signed by %v, expected SHA-256 or better", Subject(c), c.SignatureAlgorithm)
	case c.IsCA:
		return refuse(CertIsCA, "%s is the certificate of a CA, expected that of a machine", Subject(c))
	case c.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(CertUsage, "%s has no key usage digitalSignature, which IKE needs", Subject(c))
	case !anyPurpose && !forIKE(c):
		return refuse(CertPurpose, "%s is for other purposes than IKE: expected no extended key usage, anyExtendedKeyUsage or ipsecIKE (RFC 4945 section 5.1.3.12); auth.any_key_purpose lets others pass", Subject(c))
	}
	return nil
}

// checkTime holds the validity of a certificate against the clock, which the message shows: it may be the clock that is wrong.
func checkTime(c *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return refuse(CertNotYet, "%s is valid from %s, and this gateway's clock says %s", Subject(c), day(c.NotBefore), day(now))
	case now.After(c.NotAfter):
		return refuse(CertExpired, "%s was valid until %s, and this gateway's clock says %s", Subject(c), day(c.NotAfter), day(now))
	}
	return nil
}

// checkKey refuses keys that do not protect, or that cost too much.
func checkKey(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits <= insecureRSA:
			return refuse(CertKeyInsecure, "%s has an RSA key of %d bits, which can be broken, expected at least %d", Subject(c), bits, minRSA)
		case bits < minRSA:
			return refuse(CertKeyShort, "%s has an RSA key of %d bits, expected at least %d", Subject(c), bits, minRSA)
		}
		return checkCost(c)
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	}
	return refuse(CertKeyType, "%s has a key of type %s, expected RSA, ECDSA with P-256, P-384 or P-521, or Ed25519", Subject(c), KeyText(c.PublicKey))
}

// checkCost refuses keys by which a signature takes too long to check.
func checkCost(c *x509.Certificate) error {
	if key, isRSA := c.PublicKey.(*rsa.PublicKey); isRSA && key.N.BitLen() > maxRSA {
		return refuse(CertKeyType, "%s has an RSA key of %d bits, expected at most %d", Subject(c), key.N.BitLen(), maxRSA)
	}
	return nil
}

// isWeak reports whether a signature algorithm no longer protects, or is not known at all.
func isWeak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519:
		return false
	}
	return true
}

// forIKE reports whether extendedKeyUsage, if there is one, allows IKE.
func forIKE(c *x509.Certificate) bool {
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) || slices.ContainsFunc(c.UnknownExtKeyUsage, func(id asn1.ObjectIdentifier) bool {
		return id.Equal(oidIPsecIKE) || id.Equal(oidIKEIntermediate)
	})
}
