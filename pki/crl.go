package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"time"
)

// clockSkew is how far a server's clock may be ahead of ours.
const clockSkew = 5 * time.Minute

// Extensions of CRLs and of their entries (RFC 5280 5.2 and 5.3).
var (
	oidCRLNumber  = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidDeltaCRL   = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidScope      = asn1.ObjectIdentifier{2, 5, 29, 28} // issuingDistributionPoint
	oidAuthority  = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// crl is a CRL that its issuer has signed, as far as it is needed.
type crl struct {
	issuer     string
	thisUpdate time.Time
	nextUpdate time.Time
	revoked    map[string]revoked // by the octets of the serial number
	scope      scope
	size       int // bytes of the CRL
}

// revoked is one entry.
type revoked struct {
	at     int64 // Unix time
	reason uint8
}

// scope is which certificates of its issuer a CRL is about (RFC 5280 5.2.5).
type scope struct {
	Point          pointName      `asn1:"optional,tag:0"`
	UserOnly       bool           `asn1:"optional,tag:1"`
	CAOnly         bool           `asn1:"optional,tag:2"`
	SomeReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	AttributesOnly bool           `asn1:"optional,tag:5"`
}

// pointName is a DistributionPointName; the name relative to the issuer, which nobody uses, is not read.
type pointName struct {
	Full     []asn1.RawValue `asn1:"optional,tag:0"`
	Relative asn1.RawValue   `asn1:"optional,tag:1"`
}

// revocationReasons are the words of RFC 5280 5.3.1.
var revocationReasons = map[uint8]string{
	1: "keyCompromise", 2: "cACompromise", 3: "affiliationChanged", 4: "superseded", 5: "cessationOfOperation", 6: "certificateHold",
	9: "privilegeWithdrawn", 10: "aACompromise",
}

// issuerID names the key of a CA.
type issuerID [sha256.Size]byte

func issuerOf(c *x509.Certificate) issuerID { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// parseCRL reads a CRL that an issuer must have signed. Whether it is of this time, current says. Its error is a *Refusal.
func parseCRL(raw []byte, issuer *x509.Certificate) (*crl, error) {
	list, err := x509.ParseRevocationList(derOf(raw))
	switch {
	case err != nil:
		return nil, refuse(CRLMalformed, "%v", err)
	case !bytes.Equal(list.RawIssuer, issuer.RawSubject):
		return nil, refuse(CRLSignature, "the CRL is of %s, expected one of %s", list.Issuer.String(), Subject(issuer))
	case isWeak(list.SignatureAlgorithm):
		return nil, refuse(CRLSignature, "the CRL is signed by %v, expected SHA-256 or better", list.SignatureAlgorithm)
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return nil, refuse(CRLSignature, "%v", err)
	}
	c := &crl{issuer: list.Issuer.String(), thisUpdate: list.ThisUpdate, nextUpdate: list.NextUpdate, size: len(raw)}
	if err := c.extensions(list); err != nil {
		return nil, err
	}
	if list.NextUpdate.IsZero() { // RFC 5280 5.1.2.5
		return nil, refuse(CRLMalformed, "the CRL of %s does not say until when it holds", c.issuer)
	}
	return c, c.entries(list)
}

// derOf takes a CRL out of PEM, in which files come, or leaves it as it is.
func derOf(raw []byte) []byte {
	if block, _ := pem.Decode(raw); block != nil {
		return block.Bytes
	}
	return raw
}

// extensions refuses what would make the list say less than it seems to.
func (c *crl) extensions(list *x509.RevocationList) error {
	for _, extension := range list.Extensions {
		switch id := extension.Id; {
		case id.Equal(oidDeltaCRL):
			return refuse(CRLUnsupported, "the CRL of %s is a delta CRL, expected a whole one", c.issuer)
		case id.Equal(oidScope):
			if !decode(extension.Value, &c.scope) {
				return refuse(CRLMalformed, "the CRL of %s: its issuing distribution point cannot be read", c.issuer)
			}
		case id.Equal(oidCRLNumber), id.Equal(oidAuthority):
		case extension.Critical:
			return refuse(CRLUnsupported, "the CRL of %s has a critical extension that is not known: %v", c.issuer, id)
		}
	}
	switch s := &c.scope; {
	case s.Indirect:
		return refuse(CRLUnsupported, "the CRL of %s is an indirect one, which speaks for other CAs too", c.issuer)
	case s.SomeReasons.BitLength > 0:
		return refuse(CRLUnsupported, "the CRL of %s is about some reasons only", c.issuer)
	case s.AttributesOnly:
		return refuse(CRLUnsupported, "the CRL of %s is about attribute certificates only", c.issuer)
	case len(s.Point.Relative.FullBytes) > 0:
		return refuse(CRLUnsupported, "the CRL of %s has a distribution point relative to its issuer", c.issuer)
	}
	return nil
}

// entries keeps what is needed of the entries.
func (c *crl) entries(list *x509.RevocationList) error {
	c.revoked = make(map[string]revoked, len(list.RevokedCertificateEntries))
	for i := range list.RevokedCertificateEntries {
		entry := &list.RevokedCertificateEntries[i]
		for _, extension := range entry.Extensions {
			if extension.Critical && !extension.Id.Equal(oidReasonCode) { // RFC 5280 5.3
				return refuse(CRLUnsupported, "the CRL of %s has an entry with a critical extension that is not known: %v", c.issuer, extension.Id)
			}
		}
		c.revoked[serialKey(entry.SerialNumber)] = revoked{entry.RevocationTime.Unix(), uint8(entry.ReasonCode)}
	}
	return nil
}

// serialKey tells a negative number, which RFC 5280 forbids and some CAs had, from its positive twin.
func serialKey(serial *big.Int) string {
	if serial.Sign() < 0 {
		return "-" + string(serial.Bytes())
	}
	return string(serial.Bytes())
}

// current reports whether a CRL holds at this time.
func (c *crl) current(now time.Time) error {
	switch {
	case now.Add(clockSkew).Before(c.thisUpdate):
		return refuse(CRLNotYet, "the CRL of %s is of %s, and this gateway's clock says %s", c.issuer, day(c.thisUpdate), day(now))
	case now.After(c.nextUpdate):
		return refuse(CRLExpired, "the CRL of %s was due to be replaced on %s, and this gateway's clock says %s", c.issuer, day(c.nextUpdate), day(now))
	}
	return nil
}

// covers reports whether a CRL of the certificate's issuer speaks about it: an issuer may have several lists, and one that is about
// other certificates must not pass for one that finds this one good.
func (c *crl) covers(certificate *x509.Certificate) error {
	switch {
	case c.scope.UserOnly && certificate.IsCA, c.scope.CAOnly && !certificate.IsCA:
		return refuse(CRLScope, "the CRL of %s is not about certificates like that of %s", c.issuer, Subject(certificate))
	case len(c.scope.Point.Full) == 0:
		return nil
	}
	const tagURI = 6 // of GeneralName
	if slices.ContainsFunc(c.scope.Point.Full, func(name asn1.RawValue) bool {
		return name.Class == asn1.ClassContextSpecific && name.Tag == tagURI && slices.Contains(certificate.CRLDistributionPoints, string(name.Bytes))
	}) {
		return nil
	}
	return refuse(CRLScope, "the CRL of %s is of another distribution point than that of the certificate of %s", c.issuer, Subject(certificate))
}

// check says whether the list has revoked a certificate: nil, or a *Refusal.
func (c *crl) check(certificate *x509.Certificate) error {
	entry, found := c.revoked[serialKey(certificate.SerialNumber)]
	if !found {
		return nil
	}
	return revocationOf(certificate, time.Unix(entry.at, 0), entry.reason)
}

func revocationOf(certificate *x509.Certificate, at time.Time, reason uint8) error {
	why := revocationReasons[reason]
	if why == "" {
		why = "unspecified"
	}
	return refuse(CertRevoked, "%s (serial %s) was revoked by %s on %s: %s", Subject(certificate), Serial(certificate), certificate.Issuer.String(), day(at), why)
}
