package pki

import (
	"bytes"
	std "crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sallyport/pki/pkitest"
)

func keyBlockOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// openssl runs the program on a key and returns what it writes.
func openssl(t *testing.T, input []byte, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", args...)
	command.Stdin = bytes.NewReader(input)
	var failed strings.Builder
	command.Stderr = &failed
	out, err := command.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, &failed)
	}
	return out
}

// Private keys come in the forms that people have: PKCS #8, PKCS #1 and SEC 1, PEM and DER, of every type.
func TestKeyForms(t *testing.T) {
	root, rsaKey, ecKey := pkitest.NewRoot(t, "root"), newRSA(t), pkitest.NewKey(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 1, 42}})
	pkcs8, _ := pem.Decode(pkitest.KeyPEM(t, ecKey))
	for name, test := range map[string]struct {
		key  std.Signer
		file []byte
	}{
		"PKCS #8 RSA":                {rsaKey, pkitest.KeyPEM(t, rsaKey)},
		"PKCS #8 ECDSA":              {ecKey, pkitest.KeyPEM(t, ecKey)},
		"PKCS #8 Ed25519":            {edKey, pkitest.KeyPEM(t, edKey)},
		"PKCS #8 in DER":             {ecKey, pkcs8.Bytes},
		"PKCS #1":                    {rsaKey, keyBlockOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)},
		"PKCS #1 in DER":             {rsaKey, x509.MarshalPKCS1PrivateKey(rsaKey)},
		"SEC 1":                      {ecKey, keyBlockOf(t, "EC PRIVATE KEY", sec1, err)},
		"SEC 1 in DER":               {ecKey, sec1},
		"SEC 1 after its parameters": {ecKey, append(parameters, keyBlockOf(t, "EC PRIVATE KEY", sec1, err)...)},
	} {
		leaf := root.IssueFor(test.key, "gw-a.example")
		for form, chain := range map[string][]byte{"PEM": pkitest.PEM(leaf.Certificate), "DER": leaf.Certificate.Raw} {
			c, err := ParseCredential(chain, bytes.Clone(test.file), nil)
			if err != nil {
				t.Errorf("%s, certificate in %s: %v", name, form, err)
				continue
			}
			checkSigns(t, name, c.Key, test.key)
		}
	}
}

// checkSigns wants a key to sign as another one does.
func checkSigns(t *testing.T, name string, key, as std.Signer) {
	t.Helper()
	digest, hash := sha256.Sum256([]byte("octets")), std.SHA256
	if _, isEd := as.(ed25519.PrivateKey); isEd {
		hash = 0
	}
	signature, err := key.Sign(rand.Reader, digest[:], hash)
	valid := false
	switch public := as.Public().(type) {
	case *rsa.PublicKey:
		valid = rsa.VerifyPKCS1v15(public, hash, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(public, digest[:], signature)
	case ed25519.PublicKey:
		valid = ed25519.Verify(public, digest[:], signature)
	}
	if err != nil || !valid {
		t.Errorf("%s: signature %x, %v", name, signature, err)
	}
}

// A locked key is unlocked by its passphrase at load, and without one fails there, not at the first negotiation.
// S-072
func TestLockedKeys(t *testing.T) {
	root, key := pkitest.NewRoot(t, "root"), newRSA(t)
	leaf := root.IssueFor(key, "gw-a.example")
	plain := pkitest.KeyPEM(t, key)
	const passphrase = "correct horse battery staple"
	lock := func(args ...string) []byte {
		return openssl(t, plain, append([]string{"pkcs8", "-topk8", "-passout", "pass:" + passphrase}, args...)...)
	}
	for name, file := range map[string][]byte{
		"openssl's default": lock(),
		"AES-128, SHA-1":    lock("-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"),
		"AES-192, SHA-384":  lock("-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA384"),
		"AES-256, SHA-512":  lock("-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512", "-iter", "10000"),
		"openssl's, in DER": lock("-outform", "DER"),
	} {
		c, err := ParseCredential(pkitest.PEM(leaf.Certificate), bytes.Clone(file), []byte(passphrase))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkSigns(t, name, c.Key, key)
		_, err = ParseCredential(pkitest.PEM(leaf.Certificate), bytes.Clone(file), nil)
		reasonIs(t, name+" without a passphrase", err, KeyLocked)
		_, err = ParseCredential(pkitest.PEM(leaf.Certificate), bytes.Clone(file), []byte("wrong"))
		reasonIs(t, name+" with a wrong passphrase", err, KeyPassphrase)
	}
	for name, test := range map[string]struct {
		file       []byte
		passphrase string
		want       Reason
	}{
		"the old way of openssl":         {openssl(t, plain, "rsa", "-traditional", "-aes128", "-passout", "pass:"+passphrase), "", KeyLocked},
		"the old way and its passphrase": {openssl(t, plain, "rsa", "-traditional", "-aes128", "-passout", "pass:"+passphrase), passphrase, KeyMalformed},
		"another cipher":                 {lock("-v2", "des3"), passphrase, KeyMalformed},
		"another derivation":             {lock("-scrypt"), passphrase, KeyMalformed},
		"not locked at all":              {plain, passphrase, KeyPassphrase},
	} {
		_, err := ParseCredential(pkitest.PEM(leaf.Certificate), bytes.Clone(test.file), []byte(test.passphrase))
		reasonIs(t, name, err, test.want)
		if err != nil && test.want == KeyMalformed && !strings.Contains(err.Error(), "openssl pkcs8 -topk8") {
			t.Errorf("%s: %v, want the command that helps", name, err)
		}
	}
}

// A locked key that is cut off or changed anywhere is an error, not a panic.
func TestBrokenLockedKeys(t *testing.T) {
	leaf := pkitest.NewRoot(t, "root").Issue("gw-a.example")
	der := openssl(t, pkitest.KeyPEM(t, leaf.Key), "pkcs8", "-topk8", "-passout", "pass:secret", "-iter", "1", "-outform", "DER")
	for i := range der {
		for name, broken := range map[string][]byte{"cut": der[:i], "changed": append(append(bytes.Clone(der[:i]), der[i]^0x10), der[i+1:]...)} {
			if bytes.Contains(broken, []byte{2, 2}) || name == "cut" || i > 80 { // not the number of iterations, which may become large
				c, err := ParseCredential(pkitest.PEM(leaf.Certificate), broken, []byte("secret"))
				if err == nil && !c.Key.Public().(*ecdsa.PublicKey).Equal(leaf.Key.Public()) {
					t.Errorf("%s at %d: another key", name, i)
				}
			}
		}
	}
}

// What is not a credential says what it is.
// S-071: keyless.
func TestCredentials(t *testing.T) {
	root := pkitest.NewRoot(t, "root")
	middle := root.Authority("middle")
	leaf, other := middle.Issue("gw-a.example"), root.Issue("gw-b.example")
	key := pkitest.KeyPEM(t, leaf.Key)
	chain := pkitest.PEM(leaf.Certificate, middle.Certificate)
	for name, test := range map[string]struct {
		chain, key []byte
		want       Reason
	}{
		"alone":               {pkitest.PEM(leaf.Certificate), key, ""},
		"with its CA":         {chain, key, ""},
		"with its root":       {pkitest.PEM(leaf.Certificate, middle.Certificate, root.Certificate), key, ""},
		"keyless":             {chain, nil, KeyMissing},
		"certificate as key":  {chain, chain, KeyMissing},
		"another key":         {chain, pkitest.KeyPEM(t, other.Key), KeyMismatch},
		"key of another type": {chain, pkitest.KeyPEM(t, newRSA(t)), KeyMismatch},
		"garbage as key":      {chain, []byte("key"), KeyMalformed},
		"empty key":           {chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}), KeyMalformed},
		"key as certificate":  {key, key, CertMalformed},
		"garbage":             {[]byte("certificate"), key, CertMalformed},
		"in the wrong order":  {pkitest.PEM(leaf.Certificate, root.Certificate, middle.Certificate), key, CertConstraints},
		"the CA's first":      {pkitest.PEM(middle.Certificate, leaf.Certificate), key, CertIsCA},
		"with a stranger":     {pkitest.PEM(leaf.Certificate, other.Certificate), key, CertConstraints},
		"of 512 bits":         {pkitest.PEM(root.Certify(publicRSA(t, 512), "gw-a.example")), key, CertKeyInsecure},
		"without a key usage": {pkitest.PEM(root.Certify(leaf.Key.Public(), "gw-a.example", func(c *x509.Certificate) { c.KeyUsage = 0 })), key, CertUsage},
	} {
		c, err := ParseCredential(test.chain, bytes.Clone(test.key), nil)
		reasonIs(t, name, err, test.want)
		if err == nil && (!bytes.Equal(c.DER()[0], leaf.Certificate.Raw) || len(c.DER()) > 2) {
			t.Errorf("%s: %d certificates are sent, want our own first and no root", name, len(c.DER()))
		}
	}
}

// The end of a certificate is told a month before.
func TestExpiry(t *testing.T) {
	certificate := issueHost(pkitest.NewRoot(t, "root"))
	for left, want := range map[time.Duration]string{
		60 * 24 * time.Hour: "", 29*24*time.Hour + time.Minute: "ends in 29 days", time.Hour: "ends in 0 days", -time.Hour: "was valid until",
	} {
		err := Expiry(certificate, certificate.NotAfter.Add(-left))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v before its end: %v, want %q", left, err, want)
		}
	}
	reasonIs(t, "too early", Expiry(certificate, certificate.NotBefore.Add(-time.Hour)), CertNotYet)
}

// However a credential is printed, its key does not show.
// S-069
func TestPrivateKeysNeverPrint(t *testing.T) {
	root, rsaKey, ecKey := pkitest.NewRoot(t, "root"), newRSA(t), pkitest.NewKey(t)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := ecKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		key    std.Signer
		secret []byte
	}{{rsaKey, rsaKey.D.Bytes()}, {ecKey, scalar}, {edKey, edKey.Seed()}} {
		leaf := root.IssueFor(test.key, "gw-a.example")
		c, err := ParseCredential(pkitest.PEM(leaf.Certificate), pkitest.KeyPEM(t, test.key), nil)
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := json.Marshal(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		var logged strings.Builder
		slog.New(slog.NewTextHandler(&logged, nil)).Info("credential", "key", c.Key, "in", struct{ Key std.Signer }{c.Key})
		all := logged.String() + string(asJSON)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			all += fmt.Sprintf(verb+verb+verb, c.Key, c, struct{ key Key }{c.Key})
		}
		for _, form := range []string{hex.EncodeToString(test.secret), fmt.Sprint(test.secret[:8])[1:], string(test.secret[:8])} {
			if strings.Contains(all, strings.TrimSuffix(form, "]")) {
				t.Errorf("the %s key shows", KeyText(test.key.Public()))
			}
		}
	}
	// Neither does it in an error, wherever it stands by mistake.
	leaf := root.IssueFor(ecKey, "gw-a.example")
	text := strings.ReplaceAll(string(pkitest.KeyPEM(t, ecKey)), "PRIVATE KEY", "CERTIFICATE")
	for _, files := range [][2][]byte{{[]byte(text), []byte(text)}, {pkitest.PEM(leaf.Certificate), []byte(text)}, {pkitest.PEM(leaf.Certificate), []byte(strings.ReplaceAll(text, "-", "="))}} {
		_, err := ParseCredential(files[0], files[1], nil)
		if refusal := (*Refusal)(nil); !errors.As(err, &refusal) || strings.Contains(err.Error(), text[40:60]) || strings.Contains(err.Error(), hex.EncodeToString(scalar)[:16]) {
			t.Errorf("error %v", err)
		}
	}
}
