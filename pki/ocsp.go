package pki

import (
	"bytes"
	std "crypto"
	"crypto/sha1" //nolint:gosec // names an issuer (RFC 6960 4.1.1); the answer is signed by better
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// freshAnswer is how old an answer may be that does not say until when it holds (RFC 6960 4.2.2.1).
const freshAnswer = time.Hour

// answer is what a responder says of one certificate.
type answer struct {
	refusal error // nil: good
	until   time.Time
}

// ocspRequest asks about a certificate. The issuer is named by SHA-1, which every responder knows.
func ocspRequest(certificate, issuer *x509.Certificate) ([]byte, error) {
	request, err := ocsp.CreateRequest(certificate, issuer, &ocsp.RequestOptions{Hash: std.SHA1})
	if err != nil {
		return nil, refuse(OCSPAnswer, "a question about %s cannot be made: %v", Subject(certificate), err)
	}
	return request, nil
}

// parseAnswer holds an answer against the issuer: itself, or somebody whom it has charged with that, must have signed it. The error is a
// *Refusal when nothing can be told from it; an answer that says revoked is one.
func parseAnswer(raw []byte, certificate, issuer *x509.Certificate, now time.Time) (answer, error) {
	r, err := ocsp.ParseResponseForCert(raw, certificate, issuer)
	if err != nil {
		return answer{}, refuse(OCSPAnswer, "%v", err)
	}
	if err := checkResponder(r, issuer, now); err != nil {
		return answer{}, err
	}
	if !isAbout(r, certificate, issuer) {
		return answer{}, refuse(OCSPAnswer, "the answer is about a certificate of another issuer than %s", Subject(issuer))
	}
	until := r.NextUpdate
	if until.IsZero() {
		until = r.ThisUpdate.Add(freshAnswer)
	}
	switch {
	case now.Add(clockSkew).Before(r.ThisUpdate):
		return answer{}, refuse(OCSPAnswer, "the answer is of %s, and this gateway's clock says %s", day(r.ThisUpdate), day(now))
	case now.After(until):
		return answer{}, refuse(OCSPAnswer, "the answer held until %s, and this gateway's clock says %s", day(until), day(now))
	}
	switch r.Status {
	case ocsp.Good:
		return answer{until: until}, nil
	case ocsp.Revoked:
		return answer{refusal: revocationOf(certificate, r.RevokedAt, uint8(r.RevocationReason)), until: until}, nil
	}
	return answer{}, refuse(OCSPAnswer, "the responder does not know the certificate of %s", Subject(certificate))
}

// checkResponder lets the issuer answer, and whom its certificate says so (RFC 6960 4.2.2.2). Such a certificate is not asked about in turn.
func checkResponder(r *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if isWeak(r.SignatureAlgorithm) {
		return refuse(OCSPAnswer, "the answer is signed by %v, expected SHA-256 or better", r.SignatureAlgorithm)
	}
	c := r.Certificate
	if c == nil || c.Equal(issuer) {
		return nil
	}
	switch {
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return refuse(OCSPAnswer, "the answer is signed by %s, whose certificate does not let it answer for %s (OCSPSigning)", Subject(c), Subject(issuer))
	case isWeak(c.SignatureAlgorithm) || !bytes.Equal(c.RawIssuer, issuer.RawSubject):
		return refuse(OCSPAnswer, "the answer is signed by %s, whose certificate %s has not signed in a way that protects", Subject(c), Subject(issuer))
	case now.Before(c.NotBefore) || now.After(c.NotAfter):
		return refuse(OCSPAnswer, "the answer is signed by %s, whose certificate is valid from %s to %s only", Subject(c), day(c.NotBefore), day(c.NotAfter))
	}
	return checkKey(c)
}

// isAbout compares the issuer that an answer names: responders serve several, whose serial numbers may be equal. Package ocsp compares the
// serial number only. Fields after those read are left (RFC 6960 4.2.1).
func isAbout(r *ocsp.Response, certificate, issuer *x509.Certificate) bool {
	var data struct {
		Version   int           `asn1:"optional,default:0,explicit,tag:0"`
		Responder asn1.RawValue // by name or by key
		Produced  time.Time     `asn1:"generalized"`
		Answers   []struct{ About certID }
	}
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(r.TBSResponseData, &data); err != nil || !decode(issuer.RawSubjectPublicKeyInfo, &key) {
		return false
	}
	nameHash, keyHash := sha1.Sum(issuer.RawSubject), sha1.Sum(key.Bits.RightAlign()) //nolint:gosec // as above
	for _, one := range data.Answers {
		if about := one.About; bytes.Equal(about.Serial.Bytes, serialOctets(certificate)) { // the one that package ocsp has taken
			return bytes.Equal(about.NameHash, nameHash[:]) && bytes.Equal(about.KeyHash, keyHash[:])
		}
	}
	return false
}

// certID names a certificate in OCSP (RFC 6960 4.1.1).
type certID struct {
	Algorithm pkix.AlgorithmIdentifier
	NameHash  []byte
	KeyHash   []byte
	Serial    asn1.RawValue
}

// serialOctets is the content of the INTEGER in DER.
func serialOctets(c *x509.Certificate) []byte {
	var value asn1.RawValue
	if der, err := asn1.Marshal(c.SerialNumber); err == nil && decode(der, &value) {
		return value.Bytes
	}
	return nil
}
