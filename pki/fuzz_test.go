package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/pki/pkitest"
)

// Whatever a peer sends as its certificates is refused for a reason, unless it chains to a listed CA.
func FuzzChain(f *testing.F) {
	root := pkitest.NewRoot(f, "root")
	middle := root.Authority("middle", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} })
	good := [][]byte{issueHost(middle).Raw, middle.Certificate.Raw}
	f.Add(joined(good), uint8(wire.IDFQDN), host.Data)
	f.Add(joined([][]byte{issueHost(pkitest.NewRoot(f, "stranger")).Raw}), uint8(wire.IDDERASN1DN), string(middle.Certificate.RawSubject))
	f.Add(joined([][]byte{root.Certificate.Raw, nil, good[0]}), uint8(wire.IDKeyID), "key")
	trust, now := trusting(root), time.Now()
	f.Fuzz(func(t *testing.T, sent []byte, kind uint8, name string) {
		p, err := trust.validate(split(sent), ike.Identity{Type: wire.IDType(kind), Data: name}, now)
		refusal := (*Refusal)(nil)
		switch {
		case err != nil && (!errors.As(err, &refusal) || refusal.Reason == "" || refusal.Detail == ""):
			t.Errorf("refused without a reason: %v", err)
		case err == nil && !p[len(p)-1].Equal(root.Certificate):
			t.Errorf("a path that ends with %s", Subject(p[len(p)-1]))
		}
	})
}

// joined and split put the certificates of a chain into one input.
func joined(list [][]byte) []byte {
	var all []byte
	for _, one := range list {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(one))), one...)
	}
	return all
}

func split(all []byte) [][]byte {
	var list [][]byte
	for len(all) >= 2 {
		n := min(int(binary.BigEndian.Uint16(all)), len(all)-2)
		list, all = append(list, all[2:2+n]), all[2+n:]
	}
	return list
}

// Whatever a server sends as a CRL is refused for a reason, unless the issuer has signed it.
func FuzzCRL(f *testing.F) {
	root := pkitest.NewRoot(f, "root")
	leaf := issueHost(root)
	f.Add(root.CRL([]*x509.Certificate{leaf}))
	f.Add(pkitest.NewRoot(f, "root").CRL(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseCRL(raw, root.Certificate)
		if err == nil {
			_, _, _ = list.current(time.Now()), list.covers(leaf), list.check(leaf)
		} else {
			reasonOfFuzz(t, err)
		}
		var display List
		display.describe(raw)
		_, _ = ParseLocalLists("file", raw)
		// The extensions of a list that the issuer has signed are as much a parser's work, and no fuzzer signs.
		_ = (&crl{}).extensions(&x509.RevocationList{Extensions: extensionsOf(raw)})
	})
}

// extensionsOf makes the octets the value of each extension that is read.
func extensionsOf(raw []byte) []pkix.Extension {
	return []pkix.Extension{{Id: oidScope, Critical: true, Value: raw}, {Id: oidCRLNumber, Value: raw}}
}

// Whatever a responder sends is refused for a reason, unless it may answer.
func FuzzOCSP(f *testing.F) {
	root := pkitest.NewRoot(f, "root")
	leaf := issueHost(root)
	f.Add(root.OCSP(leaf, ocsp.Good))
	f.Add(root.OCSPBy(root.Issue("responder", delegate), leaf, ocsp.Revoked))
	f.Add(ocsp.TryLaterErrorResponse)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := parseAnswer(raw, leaf, root.Certificate, time.Now()); err != nil {
			reasonOfFuzz(t, err)
		}
		_ = isAbout(&ocsp.Response{TBSResponseData: raw}, leaf, root.Certificate)
	})
}

func reasonOfFuzz(t *testing.T, err error) {
	t.Helper()
	if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || refusal.Reason == "" {
		t.Errorf("refused without a reason: %v", err)
	}
}

// A private key comes from the operator, and still nothing in its file may stop the program.
func FuzzKey(f *testing.F) {
	leaf := pkitest.NewRoot(f, "root").Issue("gw-a.example")
	f.Add(pkitest.KeyPEM(f, leaf.Key), []byte(nil))
	f.Fuzz(func(t *testing.T, file, passphrase []byte) {
		if len(passphrase) > 0 {
			var locked lockedKey
			var scheme pbes2
			var derivation pbkdf2Parameters
			if decode(file, &locked) && decode(locked.Algorithm.Parameters.FullBytes, &scheme) && decode(scheme.Derivation.Parameters.FullBytes, &derivation) && derivation.Iterations > 1000 {
				return // it is allowed to take its time
			}
		}
		if _, err := parseKey(file, passphrase); err != nil {
			reasonOfFuzz(t, err)
		}
	})
}
