package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"slices"
	"strings"

	"sallyport/ike"
	"sallyport/ike/wire"
)

// MatchIdentity holds what somebody calls itself against its certificate (RFC 4945 3.1): an alternative name of the same type
// or, for a distinguished name, the subject, has to be equal. Wildcards stand for nothing.
func MatchIdentity(c *x509.Certificate, id ike.Identity) error {
	matches := false
	switch id.Type {
	case wire.IDIPv4Address, wire.IDIPv6Address:
		matches = slices.ContainsFunc(c.IPAddresses, func(a net.IP) bool { return a.Equal(net.IP(id.Data)) })
	case wire.IDFQDN:
		matches = slices.ContainsFunc(c.DNSNames, func(name string) bool { return equalHost(name, id.Data) })
	case wire.IDRFC822Address:
		matches = slices.ContainsFunc(c.EmailAddresses, func(mail string) bool { return equalMail(mail, id.Data) })
	case wire.IDDERASN1DN:
		matches = equalNames(c.RawSubject, []byte(id.Data))
	case wire.IDKeyID:
		return refuse(CertIdentity, "%v is a key id, which no certificate names: certificate_id says what the certificate of a peer names instead", id)
	}
	if matches {
		return nil
	}
	return refuse(CertIdentity, "the certificate of %s is not that of %v: expected it among %s", Subject(c), id, namesText(c))
}

// namesText is all that a certificate can be matched by.
func namesText(c *x509.Certificate) string {
	names := Names(c)
	if subject := c.Subject.String(); subject != "" {
		names = append(names, "subject "+printable(subject))
	}
	if len(names) == 0 {
		return "its names, of which it has none"
	}
	return strings.Join(names, ", ")
}

// equalHost compares host names: ASCII, in which case does not count (RFC 4343).
func equalHost(a, b string) bool { return a != "" && strings.EqualFold(a, b) && isASCII(b) }

// equalMail compares mail addresses: the case of a mailbox counts, that of its domain does not (RFC 5280 7.5).
func equalMail(a, b string) bool {
	at, other := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return at > 0 && at == other && a[:at] == b[:at] && equalHost(a[at+1:], b[at+1:])
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r > '~' || r <= ' ' })
}

// equalNames compares distinguished names in DER: octet by octet, or by their text where only its encoding, its case or its
// spaces differ (RFC 5280 7.1). An empty name is nobody's.
func equalNames(a, b []byte) bool {
	var left, right pkix.RDNSequence
	if rest, err := asn1.Unmarshal(a, &left); err != nil || len(rest) > 0 || len(left) == 0 {
		return false
	}
	if bytes.Equal(a, b) {
		return true
	}
	if rest, err := asn1.Unmarshal(b, &right); err != nil || len(rest) > 0 {
		return false
	}
	return slices.EqualFunc(left, right, func(x, y pkix.RelativeDistinguishedNameSET) bool {
		return slices.EqualFunc(x, y, equalAttributes)
	})
}

func equalAttributes(x, y pkix.AttributeTypeAndValue) bool {
	left, isText := x.Value.(string)
	right, isTextToo := y.Value.(string)
	return x.Type.Equal(y.Type) && isText && isTextToo &&
		strings.EqualFold(strings.Join(strings.Fields(left), " "), strings.Join(strings.Fields(right), " "))
}
