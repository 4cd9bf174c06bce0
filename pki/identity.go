package pki

import (
	"crypto/x509"
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
	named := func(name string) bool { return ike.Identity{Type: id.Type, Data: name}.Equal(id) }
	switch id.Type {
	case wire.IDIPv4Address, wire.IDIPv6Address:
		matches = slices.ContainsFunc(c.IPAddresses, func(a net.IP) bool { return a.Equal(net.IP(id.Data)) })
	case wire.IDFQDN:
		matches = slices.ContainsFunc(c.DNSNames, named)
	case wire.IDRFC822Address:
		matches = slices.ContainsFunc(c.EmailAddresses, named)
	case wire.IDDERASN1DN:
		matches = len(c.Subject.Names) > 0 && named(string(c.RawSubject)) // an empty name is nobody's
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
