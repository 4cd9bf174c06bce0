package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/pki/pkitest"
)

// host is the identity of most tests' peers.
var host = ike.Identity{Type: wire.IDFQDN, Data: "gw-b.example"}

// issueHost makes the certificate of most tests' peers.
func issueHost(ca *pkitest.CA, changes ...func(*x509.Certificate)) *x509.Certificate {
	return ca.Issue(host.Data, changes...).Certificate
}

func trusting(roots ...*pkitest.CA) *Trust {
	var certificates []*x509.Certificate
	for _, ca := range roots {
		certificates = append(certificates, ca.Certificate)
	}
	return &Trust{Authorities: NewAuthorities(certificates...)}
}

// reasonIs wants a refusal for a reason, or with an empty one none.
func reasonIs(t *testing.T, what string, err error, want Reason) {
	t.Helper()
	refusal := (*Refusal)(nil)
	switch {
	case want == "" && err == nil:
	case errors.As(err, &refusal) && refusal.Reason == want && refusal.Detail != "":
	default:
		t.Errorf("%s: %v, want reason %q", what, err, want)
	}
}

func raw(certificates ...*x509.Certificate) [][]byte {
	var list [][]byte
	for _, c := range certificates {
		list = append(list, c.Raw)
	}
	return list
}

// publicRSA is a public key of so many bits; nobody has the private one.
func publicRSA(t *testing.T, bits int) *rsa.PublicKey {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	return &rsa.PublicKey{N: n, E: 65537}
}

// Each certificate that is not fit for a machine is refused, each fault with a reason of its own.
// S-071: 512-bit, 1024-bit, no key usage, expired, not yet valid, untrusted. That without its key is in TestCredentials.
func TestMachineRules(t *testing.T) {
	root, stranger := pkitest.NewRoot(t, "root"), pkitest.NewRoot(t, "stranger")
	now := time.Now()
	purposes := func(known []x509.ExtKeyUsage, others ...asn1.ObjectIdentifier) *x509.Certificate {
		return issueHost(root, func(c *x509.Certificate) { c.ExtKeyUsage, c.UnknownExtKeyUsage = known, others })
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificate *x509.Certificate
		want        Reason
	}{
		"512-bit":         {root.Certify(publicRSA(t, 512), host.Data), CertKeyInsecure},
		"1024-bit":        {root.Certify(publicRSA(t, 1024), host.Data), CertKeyShort},
		"2047-bit":        {root.Certify(publicRSA(t, 2047), host.Data), CertKeyShort},
		"2048-bit":        {root.Certify(publicRSA(t, 2048), host.Data), ""},
		"4096-bit":        {root.Certify(publicRSA(t, 4096), host.Data), ""},
		"16384-bit":       {root.Certify(publicRSA(t, 16384), host.Data), CertKeyType},
		"P-224":           {root.Certify(p224.Public(), host.Data), CertKeyType},
		"no key usage":    {issueHost(root, func(c *x509.Certificate) { c.KeyUsage = 0 }), CertUsage},
		"other key usage": {issueHost(root, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), CertUsage},
		"more key usages": {issueHost(root, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }), ""},
		"expired":         {issueHost(root, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }), CertExpired},
		"not yet valid":   {issueHost(root, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }), CertNotYet},
		"untrusted":       {issueHost(stranger), CertUntrusted},
		"a CA's": {issueHost(root, func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}), CertIsCA},
		"critical extension": {issueHost(root, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), CertCritical},

		// RFC 4945 section 5.1.3.12
		"any purpose":          {purposes([]x509.ExtKeyUsage{x509.ExtKeyUsageAny}), ""},
		"for IKE":              {purposes(nil, oidIPsecIKE), ""},
		"for IKE, Microsoft's": {purposes(nil, oidIKEIntermediate), ""},
		"for IKE and TLS":      {purposes([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, oidIPsecIKE), ""},
		"for TLS":              {purposes([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}), CertPurpose},
		"for something":        {purposes(nil, asn1.ObjectIdentifier{1, 2, 3, 4}), CertPurpose},
	} {
		_, err := trusting(root).validate(raw(test.certificate), host, now)
		reasonIs(t, name, err, test.want)
	}
	lenient := trusting(root)
	lenient.AnyPurpose = true
	_, err = lenient.validate(raw(purposes([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth})), host, now)
	reasonIs(t, "for TLS, with any_key_purpose", err, "")
}

// Every type of key that IKE signs with passes.
func TestKeyTypes(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []any{ed.Public()}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key.Public())
	}
	for _, key := range keys {
		_, err := trusting(root).validate(raw(root.Certify(key, host.Data)), host, time.Now())
		reasonIs(t, KeyText(key), err, "")
	}
}

// A policy lists roots, not certificates: every certificate below a listed root passes, directly or by CAs that the peer sends,
// and none of another root does.
// S-070
func TestListedRoots(t *testing.T) {
	listed, unlisted := pkitest.NewRoot(t, "listed"), pkitest.NewRoot(t, "unlisted")
	middle := listed.Authority("middle")
	deep := middle.Authority("deep")
	trust := trusting(listed, pkitest.NewRoot(t, "another"))
	for name, test := range map[string]struct {
		sent []*x509.Certificate
		want Reason
	}{
		"one leaf":                       {[]*x509.Certificate{issueHost(listed)}, ""},
		"another leaf":                   {[]*x509.Certificate{issueHost(listed)}, ""},
		"below two CAs":                  {[]*x509.Certificate{issueHost(deep), middle.Certificate, deep.Certificate}, ""},
		"with the root":                  {[]*x509.Certificate{issueHost(middle), middle.Certificate, listed.Certificate}, ""},
		"with something that is no use":  {[]*x509.Certificate{issueHost(listed), unlisted.Certificate}, ""},
		"without a CA on the path":       {[]*x509.Certificate{issueHost(deep), deep.Certificate}, CertUntrusted},
		"of an unlisted root":            {[]*x509.Certificate{issueHost(unlisted)}, CertUntrusted},
		"of an unlisted root, which too": {[]*x509.Certificate{issueHost(unlisted), unlisted.Certificate}, CertUntrusted},
		"of a name that is listed":       {[]*x509.Certificate{issueHost(pkitest.NewRoot(t, "listed"))}, CertUntrusted},
		"the root itself":                {[]*x509.Certificate{listed.Certificate}, CertIsCA},
		"nothing":                        {nil, CertMissing},
		"too many":                       {slices.Repeat([]*x509.Certificate{issueHost(listed)}, maxChain+1), CertTooMany},
	} {
		_, err := trust.validate(raw(test.sent...), host, time.Now())
		reasonIs(t, name, err, test.want)
	}
	_, err := trust.validate([][]byte{make([]byte, maxCertificate+1)}, host, time.Now())
	reasonIs(t, "large", err, CertTooMany)
	_, err = trust.validate([][]byte{[]byte("certificate")}, host, time.Now())
	reasonIs(t, "garbage", err, CertMalformed)
}

// What a CA may not do is not done by it, or by a machine that has a CA's ambitions.
func TestAuthoritiesAreBound(t *testing.T) {
	now := time.Now()
	root := pkitest.NewRoot(t, "root")
	leaf := root.Issue("machine.example")
	machine := *root
	machine.Leaf = leaf
	constrained := root.Authority("constrained", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"elsewhere.example"}, true
	})
	short := root.Authority("short", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := short.Authority("below")
	expired := root.Authority("expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) })
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := root.AuthorityFor(small, "weak")
	for name, test := range map[string]struct {
		sent []*x509.Certificate
		want Reason
	}{
		"signed by a machine":    {[]*x509.Certificate{issueHost(&machine), leaf.Certificate}, CertUntrusted},
		"beyond its names":       {[]*x509.Certificate{issueHost(constrained), constrained.Certificate}, CertConstraints},
		"beyond its path length": {[]*x509.Certificate{issueHost(below), below.Certificate, short.Certificate}, CertConstraints},
		"by an expired CA":       {[]*x509.Certificate{issueHost(expired), expired.Certificate}, CertExpired},
		"by a CA with 1024 bits": {[]*x509.Certificate{issueHost(weak), weak.Certificate}, CertKeyShort},
	} {
		_, err := trusting(root).validate(raw(test.sent...), host, now)
		reasonIs(t, name, err, test.want)
	}
	_, err = ParseAuthorities(pkitest.PEM(leaf.Certificate))
	if err == nil || !strings.Contains(err.Error(), "found CN=machine.example") {
		t.Errorf("a machine's certificate as a CA: %v", err)
	}
}

// A signature by SHA-1 or MD5 is none.
func TestWeakSignatures(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	for _, algorithm := range []x509.SignatureAlgorithm{x509.SHA1WithRSA, x509.MD5WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA256, x509.UnknownSignatureAlgorithm} {
		certificate := *issueHost(root)
		certificate.SignatureAlgorithm = algorithm
		reasonIs(t, algorithm.String(), checkMachine(&certificate, false), CertSignature)
	}
}

// The certificate names whom the peer says it is (RFC 4945 section 3.1), by the same type of name.
func TestIdentities(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	certificate := issueHost(root, func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.2"), net.ParseIP("2001:db8::2")}
		c.EmailAddresses = []string{"Admin@gw-b.example"}
		c.DNSNames = append(c.DNSNames, "*.wild.example")
	})
	subject := func(name pkix.Name) string {
		der, err := asn1.Marshal(name.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		return string(der)
	}
	own := pkix.Name{CommonName: host.Data, Organization: []string{"Example"}}
	shouted := pkix.Name{CommonName: "GW-B.Example ", Organization: []string{"EXAMPLE"}}
	for name, test := range map[string]struct {
		id   ike.Identity
		want Reason
	}{
		"IPv4":                  {ike.Identity{Type: wire.IDIPv4Address, Data: "\xc0\x00\x02\x02"}, ""},
		"another IPv4":          {ike.Identity{Type: wire.IDIPv4Address, Data: "\xc0\x00\x02\x03"}, CertIdentity},
		"half an IPv4":          {ike.Identity{Type: wire.IDIPv4Address, Data: "\xc0\x00"}, CertIdentity},
		"IPv6":                  {ike.Identity{Type: wire.IDIPv6Address, Data: string(net.ParseIP("2001:db8::2"))}, ""},
		"host":                  {host, ""},
		"host in another case":  {ike.Identity{Type: wire.IDFQDN, Data: "GW-B.example"}, ""},
		"another host":          {ike.Identity{Type: wire.IDFQDN, Data: "gw-c.example"}, CertIdentity},
		"host of a wildcard":    {ike.Identity{Type: wire.IDFQDN, Data: "gw.wild.example"}, CertIdentity},
		"host with NUL":         {ike.Identity{Type: wire.IDFQDN, Data: "gw-b.example\x00"}, CertIdentity},
		"no host":               {ike.Identity{Type: wire.IDFQDN}, CertIdentity},
		"mail":                  {ike.Identity{Type: wire.IDRFC822Address, Data: "Admin@GW-B.example"}, ""},
		"another mailbox":       {ike.Identity{Type: wire.IDRFC822Address, Data: "admin@gw-b.example"}, CertIdentity},
		"host as mail":          {ike.Identity{Type: wire.IDRFC822Address, Data: "gw-b.example"}, CertIdentity},
		"subject":               {ike.Identity{Type: wire.IDDERASN1DN, Data: string(certificate.RawSubject)}, ""},
		"subject made again":    {ike.Identity{Type: wire.IDDERASN1DN, Data: subject(own)}, ""},
		"subject in capitals":   {ike.Identity{Type: wire.IDDERASN1DN, Data: subject(shouted)}, ""},
		"part of the subject":   {ike.Identity{Type: wire.IDDERASN1DN, Data: subject(pkix.Name{CommonName: host.Data})}, CertIdentity},
		"empty subject":         {ike.Identity{Type: wire.IDDERASN1DN, Data: subject(pkix.Name{})}, CertIdentity},
		"subject with garbage":  {ike.Identity{Type: wire.IDDERASN1DN, Data: string(certificate.RawSubject) + "x"}, CertIdentity},
		"key id":                {ike.Identity{Type: wire.IDKeyID, Data: host.Data}, CertIdentity},
		"a type without a name": {ike.Identity{Type: wire.IDNull}, CertIdentity},
	} {
		_, err := trusting(root).validate(raw(certificate), test.id, time.Now())
		reasonIs(t, name, err, test.want)
	}
	nameless := issueHost(root, func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, nil })
	_, err := trusting(root).validate(raw(nameless), ike.Identity{Type: wire.IDDERASN1DN, Data: subject(pkix.Name{})}, time.Now())
	reasonIs(t, "nobody", err, CertIdentity)

	// An explicit allowance says what the certificate of a peer with a key id names.
	allowed := trusting(root)
	allowed.Named = host
	_, err = allowed.validate(raw(certificate), ike.Identity{Type: wire.IDKeyID, Data: "branch 7"}, time.Now())
	reasonIs(t, "key id with certificate_id", err, "")
	allowed.Named.Data = "gw-c.example"
	_, err = allowed.validate(raw(certificate), host, time.Now())
	reasonIs(t, "certificate_id in place of the identity", err, CertIdentity)
}

// What a peer writes into its certificate cannot control a terminal or fill a log.
func TestDetailsAreSafe(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	hostile := issueHost(root, func(c *x509.Certificate) {
		c.Subject.CommonName = "\x1b[2J\n" + strings.Repeat("long ", 500)
		c.KeyUsage = 0
	})
	_, err := trusting(root).validate(raw(hostile), host, time.Now())
	refusal := (*Refusal)(nil)
	if !errors.As(err, &refusal) || strings.ContainsAny(refusal.Detail, "\x1b\n") || len(refusal.Detail) > 4*maxDetail {
		t.Errorf("%q", err)
	}
}
