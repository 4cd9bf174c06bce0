package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/pki/pkitest"
)

// der encodes a value.
func der(t testing.TB, value any) []byte {
	t.Helper()
	text, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pointScope is an issuing distribution point with an address.
func pointScope(address string) []byte {
	name := append([]byte{0x86, byte(len(address))}, address...)
	full := append([]byte{0xa0, byte(len(name))}, name...)
	point := append([]byte{0xa0, byte(len(full))}, full...)
	return append([]byte{0x30, byte(len(point))}, point...)
}

// A CRL that says less than it seems to is refused: delta, indirect, for some reasons, of another distribution point, or with
// something in it that is not known.
func TestCRLScopes(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	leaf := issueHost(root, func(c *x509.Certificate) { c.CRLDistributionPoints = []string{"http://crl.example/1"} })
	middle := root.Authority("middle")
	extension := func(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	scoped := func(value []byte) func(*x509.RevocationList) { return extension(oidScope, true, value) }
	unknown := asn1.ObjectIdentifier{1, 2, 3, 4}
	for name, test := range map[string]struct {
		change func(*x509.RevocationList)
		about  *x509.Certificate
		want   Reason
	}{
		"whole":                      {func(*x509.RevocationList) {}, leaf, ""},
		"delta":                      {extension(oidDeltaCRL, true, []byte{2, 1, 1}), leaf, CRLUnsupported},
		"indirect":                   {scoped([]byte{0x30, 3, 0x84, 1, 0xff}), leaf, CRLUnsupported},
		"some reasons":               {scoped([]byte{0x30, 4, 0x83, 2, 6, 0x40}), leaf, CRLUnsupported},
		"attribute certificates":     {scoped([]byte{0x30, 3, 0x85, 1, 0xff}), leaf, CRLUnsupported},
		"machines, about one":        {scoped([]byte{0x30, 3, 0x81, 1, 0xff}), leaf, ""},
		"machines, about a CA":       {scoped([]byte{0x30, 3, 0x81, 1, 0xff}), middle.Certificate, CRLScope},
		"CAs, about one":             {scoped([]byte{0x30, 3, 0x82, 1, 0xff}), middle.Certificate, ""},
		"CAs, about a machine":       {scoped([]byte{0x30, 3, 0x82, 1, 0xff}), leaf, CRLScope},
		"its distribution point":     {scoped(pointScope("http://crl.example/1")), leaf, ""},
		"another distribution point": {scoped(pointScope("http://crl.example/2")), leaf, CRLScope},
		"a relative point":           {scoped([]byte{0x30, 4, 0xa0, 2, 0xa1, 0}), leaf, CRLUnsupported},
		"a broken point":             {scoped([]byte{0x30, 5, 0xa0, 2, 0xa1, 0}), leaf, CRLMalformed},
		"a critical extension":       {extension(unknown, true, []byte{5, 0}), leaf, CRLUnsupported},
		"an extension":               {extension(unknown, false, []byte{5, 0}), leaf, ""},
		"an entry's critical one": {func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: middle.Certificate.SerialNumber, RevocationTime: time.Now(),
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: der(t, []int{})}}}}
		}, leaf, CRLUnsupported},
	} {
		list, err := parseCRL(root.CRL(nil, test.change), root.Certificate)
		if err == nil {
			err = list.covers(test.about)
		}
		reasonIs(t, name, err, test.want)
	}
	mute := root.Authority("mute", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	may := *mute // the same CA, as one that may
	certificate := *mute.Certificate
	certificate.KeyUsage |= x509.KeyUsageCRLSign
	may.Certificate = &certificate
	_, err := parseCRL(may.CRL(nil), mute.Certificate)
	reasonIs(t, "of a CA that may sign none", err, CRLSignature)
}

// Why a certificate was revoked is told.
func TestRevocationReason(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	leaf := issueHost(root)
	list, err := parseCRL(root.CRL([]*x509.Certificate{leaf}), root.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	err = list.check(leaf)
	reasonIs(t, "revoked", err, CertRevoked)
	if !strings.Contains(err.Error(), "keyCompromise") || !strings.Contains(err.Error(), Serial(leaf)) {
		t.Errorf("%v, want the reason and the serial number", err)
	}
}

// A file of the cache that is cut off, changed, somebody else's or a link is fetched again, and never believed.
func TestBrokenCache(t *testing.T) {
	for name, spoil := range map[string]func(path string, content []byte) error{
		"cut off": func(path string, content []byte) error { return os.WriteFile(path, content[:len(content)/2], 0o600) },
		"empty":   func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
		"changed": func(path string, content []byte) error {
			content[len(content)-5] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
		"a folder": func(path string, _ []byte) error { return firstOf(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a link": func(path string, _ []byte) error {
			return firstOf(os.Rename(path, path+".old"), os.Symlink(path+".old", path))
		},
		"not there": func(path string, _ []byte) error { return os.Remove(path) },
	} {
		r, folder := newRevocable(t), t.TempDir()
		r.publish("/root.crl", r.CRL(nil))
		r.check(t, name+": first", r.checker(folder, strict()), r.leaf, "")
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		content, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := spoil(files[0], content); err != nil {
			t.Fatal(err)
		}
		r.publish("/root.crl", r.CRL([]*x509.Certificate{r.leaf}))
		r.check(t, name, r.checker(folder, strict()), r.leaf, CertRevoked)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A cache that is full makes room, and a folder that cannot be written costs its memory only.
func TestCacheBounds(t *testing.T) {
	r, folder := newRevocable(t), t.TempDir()
	s := strict()
	one := len(r.CRL(nil))
	s.CacheSize = 2*one + one/2
	c := r.checker(folder, s)
	for _, path := range []string{"/1", "/2", "/3"} {
		r.publish(path, r.CRL(nil))
		leaf := issueHost(r.CA, func(x *x509.Certificate) { x.CRLDistributionPoints = []string{r.URL + path} })
		r.check(t, path, c, leaf, "")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if lists := c.Lists(); err != nil || len(lists) != 2 || len(files) != 2 {
		t.Errorf("%d lists and %d files, %v, want 2", len(lists), len(files), err)
	}
	r.publish("/root.crl", r.CRL(nil))
	c = r.checker("/proc/nowhere", strict())
	r.check(t, "without a folder", c, r.leaf, "")
	r.check(t, "without a folder, again", c, r.leaf, "")
	if asked := r.count("/root.crl"); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
