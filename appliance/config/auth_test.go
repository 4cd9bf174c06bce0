package config

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/ike"
	"sallyport/pki"
	"sallyport/pki/pkitest"
)

// authFolder is a folder with the files of a gateway that may authenticate either way: ca.pem, own.pem, own.key and the two preshared keys.
func authFolder(t *testing.T) (folder string, root *pkitest.CA) {
	t.Helper()
	folder, root = t.TempDir(), pkitest.NewRoot(t, "root")
	own := root.Issue("gw-a.example", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1")} })
	pkitest.Write(t, folder, "ca.pem", pkitest.PEM(root.Certificate))
	pkitest.Write(t, folder, "own.pem", pkitest.PEM(own.Certificate))
	pkitest.Write(t, folder, "own.key", pkitest.KeyPEM(t, own.Key))
	writeKey(t, folder, "site-b.psk", goodKey)
	writeKey(t, folder, "site-c.psk", strings.ToUpper(goodKey))
	return folder, root
}

// byCertificate is what a peer has to authenticate by certificate.
const byCertificate = "certificate_file: own.pem, private_key_file: own.key, ca_files: [ca.pem]"

// withAuth is the base configuration with other keys in the peer's auth, and lines at the top.
func withAuth(t *testing.T, auth, top string) string {
	t.Helper()
	return replaced(t, "{psk_file: site-b.psk}", "{"+auth+"}") + top
}

func parseIn(folder, text string) (*Config, error) {
	return Parse(filepath.Join(folder, "gw.yaml"), []byte(text), twoCores())
}

// A peer authenticates by what it has files for, a certificate before a preshared key, unless its own keys or its rules say otherwise.
// S-004: the order of a rule's list decides.
func TestAuthMethods(t *testing.T) {
	folder, root := authFolder(t)
	const both = byCertificate + ", psk_file: site-b.psk"
	for name, test := range map[string]struct {
		auth, rule    string
		local, remote ike.AuthMethod
		methods       string
	}{
		"psk":                           {"psk_file: site-b.psk", "", ike.AuthPSK, ike.AuthPSK, "psk"},
		"certificate":                   {byCertificate, "", ike.AuthSignature, ike.AuthSignature, "certificate"},
		"both":                          {both, "", ike.AuthSignature, ike.AuthSignature, "certificate"},
		"both, psk in the rule":         {both, "[psk]", ike.AuthPSK, ike.AuthPSK, "psk"},
		"both, psk before":              {both, "[psk, certificate]", ike.AuthPSK, ike.AuthPSK, "psk certificate"},
		"both, certificate before":      {both, "[certificate, psk]", ike.AuthSignature, ike.AuthSignature, "certificate psk"},
		"both, by the peer's keys":      {both + ", local: psk, remote: psk", "", ike.AuthPSK, ike.AuthPSK, "psk"},
		"one each":                      {both + ", local: certificate, remote: psk", "", ike.AuthSignature, ike.AuthPSK, "certificate psk"},
		"one each, the other way":       {"psk_file: site-b.psk, ca_files: [ca.pem], local: psk, remote: certificate", "", ike.AuthPSK, ike.AuthSignature, "psk certificate"},
		"psk, and CAs of no use":        {"psk_file: site-b.psk, ca_files: [ca.pem]", "", ike.AuthPSK, ike.AuthPSK, "psk"},
		"the second of the rule's list": {"psk_file: site-b.psk", "[certificate, psk]", ike.AuthPSK, ike.AuthPSK, "certificate psk"},
	} {
		text := withAuth(t, test.auth, "")
		if test.rule != "" {
			text = strings.Replace(text, "peer: site-b}", "peer: site-b, auth_methods: "+test.rule+"}", 1)
		}
		c, err := parseIn(folder, text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p := c.Peers[0]
		if got := strings.Join(c.Policy.Policies[0].Rules[0].AuthMethods, " "); p.LocalAuth != test.local || p.RemoteAuth != test.remote || got != test.methods {
			t.Errorf("%s: %v and %v, methods %s, want %v and %v, %s", name, p.LocalAuth, p.RemoteAuth, got, test.local, test.remote, test.methods)
		}
		if p.RemoteAuth == ike.AuthSignature && (c.Auth.Trust["site-b"] == nil || len(p.Authorities) != 1) {
			t.Errorf("%s: trust %+v, authorities %v", name, c.Auth.Trust, p.Authorities)
		}
	}
	// CAs for all peers, and what a peer's certificate has to name.
	c, err := parseIn(folder, withAuth(t, "certificate_file: own.pem, private_key_file: own.key, certificate_id: gw-b.example", "auth: {ca_files: [ca.pem]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	trust := c.Auth.Trust["site-b"]
	if trust == nil || !trust.Authorities.Certificates()[0].Equal(root.Certificate) || trust.Named.String() != "gw-b.example" {
		t.Errorf("trust %+v", trust)
	}
	var uses []string
	for _, u := range c.Auth.Certificates {
		uses = append(uses, u.Use+" "+u.File+" "+strings.Join(u.Peers, ","))
	}
	if want := []string{"ca ca.pem ", "own own.pem site-b"}; !slices.Equal(uses, want) {
		t.Errorf("certificates %q, want %q", uses, want)
	}
}

// What is missing or wrong around certificates is said at its key, at load.
// S-066: no method in common. S-071: keyless. S-072: a locked key without an unlock source.
func TestAuthErrors(t *testing.T) {
	folder, root := authFolder(t)
	other := root.Issue("other.example")
	pkitest.Write(t, folder, "other.key", pkitest.KeyPEM(t, other.Key))
	pkitest.Write(t, folder, "locked.key", []byte(lockedKey))
	pkitest.Write(t, folder, "pass", []byte("secret\n"))
	pkitest.Write(t, folder, "empty", nil)
	pkitest.Write(t, folder, "open.key", pkitest.KeyPEM(t, other.Key))
	if err := os.Chmod(filepath.Join(folder, "open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ auth, rule, top, want string }{
		{"certificate_file: own.pem, ca_files: [ca.pem]", "", "", "peers[0].auth.certificate_file: expected private_key_file beside it"},
		{"private_key_file: own.key, ca_files: [ca.pem]", "", "", "peers[0].auth: expected certificate_file"},
		{"certificate_file: own.pem, private_key_file: own.key", "", "", "peers[0].auth: expected ca_files"},
		{"ca_files: [ca.pem]", "", "", "peers[0].auth: expected what this end proves itself with"},
		{byCertificate + ", local: psk", "", "", "peers[0].auth: expected what this end proves itself with (psk)"},
		{"psk_file: site-b.psk, remote: certificate", "", "", "peers[0].auth: expected ca_files"},
		{"allow_weak_psk: false", "", "", "peers[0].auth: expected how both ends prove who they are"},
		{"certificate_file: own.pem, private_key_file: missing.key, ca_files: [ca.pem]", "", "", "peers[0].auth.private_key_file: expected the name of a file with the private key: no such file"},
		{"certificate_file: missing.pem, private_key_file: own.key, ca_files: [ca.pem]", "", "", "peers[0].auth.certificate_file: expected a file with our certificate"},
		{"certificate_file: own.pem, private_key_file: own.key, ca_files: [missing.pem]", "", "", "peers[0].auth.ca_files[0]: expected a file with the certificates of CAs"},
		{"certificate_file: own.pem, private_key_file: own.key, ca_files: [own.pem]", "", "", "peers[0].auth.ca_files[0]: own.pem: expected certificates of CAs, found CN=gw-a.example"},
		{"certificate_file: own.pem, private_key_file: own.key, ca_files: []", "", "", "peers[0].auth.ca_files: expected 1 to 32 CAs"},
		{"certificate_file: own.pem, private_key_file: other.key, ca_files: [ca.pem]", "", "", "peers[0].auth.private_key_file: key_mismatch: expected the private key of CN=gw-a.example"},
		{"certificate_file: own.pem, private_key_file: open.key, ca_files: [ca.pem]", "", "", "found mode 0644: chmod 600 it"},
		{"certificate_file: own.pem, private_key_file: own.pem, ca_files: [ca.pem]", "", "", "peers[0].auth.private_key_file: key_missing"},
		{"certificate_file: own.pem, private_key_file: locked.key, ca_files: [ca.pem]", "", "", "peers[0].auth.private_key_file: key_locked: expected a private key that can be used when nobody is there"},
		{"certificate_file: own.pem, private_key_file: locked.key, passphrase_file: empty, ca_files: [ca.pem]", "", "", "peers[0].auth.passphrase_file: empty"},
		{"certificate_file: own.pem, private_key_file: own.key, passphrase_file: pass, ca_files: [ca.pem]", "", "", "peers[0].auth.passphrase_file: key_passphrase: expected a locked private key"},
		{byCertificate, "[psk]", "", `policies[0].rules[0].auth_methods: expected a method for which peer "site-b" has the files, for both ends, found psk: its auth has certificate for this end and certificate for the peer`},
		{byCertificate + ", certificate_id: \"keyid:x\"", "", "", "peers[0].auth.certificate_id: expected an address, a host name, a mail address or a distinguished name, found a key id"},
		{"certificate_file: own.pem, private_key_file: own.key, ca_files: ['']", "", "", "peers[0].auth.ca_files[0]: expected the name of a file with the certificates of CAs, found nothing"},
		{"certificate_file: own.pem, private_key_file: /dev/null, ca_files: [ca.pem]", "", "", "peers[0].auth.private_key_file: /dev/null: expected a regular file, found a device"},
		{byCertificate, "", "auth: {crl_mode: 3}\n", "auth.crl_mode: expected 0 to 2"},
		{byCertificate, "", "auth: {crl_mode: strict}\n", "auth.crl_mode: expected a whole number"},
		{byCertificate, "", "auth: {crl_files: [missing.crl]}\n", "auth.crl_files[0]: expected a file with a CRL"},
		{byCertificate, "", "auth: {crl_files: [ca.pem]}\n", "auth.crl_files[0]: ca.pem: expected a CRL"},
		{byCertificate, "", "auth: {ocsp: maybe}\n", "auth.ocsp: expected on or off"},
		{byCertificate, "", "auth: {fetch_timeout: 1m}\n", "auth.fetch_timeout: expected a time from 500ms to 10s"},
		{byCertificate, "", "auth: {fetch_networks: []}\n", "auth.fetch_networks: expected 1 to 64 networks"},
		{byCertificate, "", "auth: {fetch_networks: [10.0.0.1/8]}\n", "auth.fetch_networks[0]: expected a prefix without host bits"},
		{byCertificate, "", "auth: {crl_max_mb: 20}\n", "auth.crl_cache_mb: expected 20 to 1024 MiB"},
		{byCertificate, "", "auth: {crl_max_mb: 65}\n", "auth.crl_max_mb: expected 1 to 64 MiB"},
	} {
		text := withAuth(t, test.auth, test.top)
		if test.rule != "" {
			text = strings.Replace(text, "peer: site-b}", "peer: site-b, auth_methods: "+test.rule+"}", 1)
		}
		_, err := parseIn(folder, text)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("auth %s, %s%s: error %v, want %q", test.auth, test.rule, test.top, err, test.want)
		}
	}
	// Two rules of one peer cannot want two methods: one IKE SA serves both.
	const second = "peer: site-b, auth_methods: [certificate]}\n      - {name: other, filter_list: other, filter_action: protect, peer: site-b, auth_methods: [psk]}"
	text := strings.Replace(withAuth(t, byCertificate+", psk_file: site-b.psk", ""), "peer: site-b}", second, 1)
	text = strings.Replace(text, "filter_actions:", "  - {name: other, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.3.0.0/24}]}\nfilter_actions:", 1)
	if _, err := parseIn(folder, text); err == nil || !strings.Contains(err.Error(), `expected the method of rule "to-site-b"`) {
		t.Errorf("two methods: %v", err)
	}
}

// lockedKey is a private key that "openssl pkcs8 -topk8" has locked.
const lockedKey = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGaMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAjc2WdR1vYURwIBCjAM
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQ8B7JEWHj1qkg3pqKH2J+LARAvjTE
UVL8GaT8r5ktuZsHVgxw5xYj++7/oseRDcSmaaL91LIv+Gi5hWaHKJn/3xFcNfdd
+z3adUECZt0HxPJt9Q==
-----END ENCRYPTED PRIVATE KEY-----
`

// What an operator should know of certificates is said at every start.
// S-068: a preshared key's rule is named, with the alternative. S-073: crl_mode 0 warns. S-074: the key absent gives 2.
func TestAuthWarnings(t *testing.T) {
	folder, root := authFolder(t)
	unnamed := root.Issue("elsewhere.example")
	critical := root.Issue("gw-a.example", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.ParseIP("192.0.2.1")}
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})
	signer := root.Issue("gw-a.example", func(c *x509.Certificate) {
		c.IPAddresses, c.ExtKeyUsage = []net.IP{net.ParseIP("192.0.2.1")}, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	})
	for name, leaf := range map[string]pkitest.Leaf{"critical": critical, "signer": signer} {
		pkitest.Write(t, folder, name+".pem", pkitest.PEM(leaf.Certificate))
		pkitest.Write(t, folder, name+".key", pkitest.KeyPEM(t, leaf.Key))
	}
	pkitest.Write(t, folder, "unnamed.pem", pkitest.PEM(unnamed.Certificate))
	pkitest.Write(t, folder, "unnamed.key", pkitest.KeyPEM(t, unnamed.Key))
	for _, test := range []struct{ auth, top, want string }{
		{byCertificate, "", ""},
		{"psk_file: site-b.psk", "", `peer "site-b" of to-site-b authenticates by preshared key: a certificate is the stronger method`},
		{byCertificate + ", psk_file: site-b.psk, remote: psk", "", `peer "site-b" of to-site-b authenticates by preshared key`},
		{byCertificate, "auth: {crl_mode: 0}\n", "auth.crl_mode is 0"},
		{byCertificate, "auth: {crl_mode: 1}\n", ""},
		{"certificate_file: critical.pem, private_key_file: critical.key, ca_files: [ca.pem]", "", "has the critical extension 1.2.3.4"},
		{"certificate_file: signer.pem, private_key_file: signer.key, ca_files: [ca.pem]", "", "is for other purposes than IKE"},
		{"certificate_file: unnamed.pem, private_key_file: unnamed.key, ca_files: [ca.pem]", "", "our certificate does not name what we call ourselves"},
	} {
		c, err := parseIn(folder, withAuth(t, test.auth, test.top))
		if err != nil {
			t.Errorf("%s%s: %v", test.auth, test.top, err)
			continue
		}
		if said := strings.Join(c.Warnings, "\n"); test.want == "" && said != "" || !strings.Contains(said, test.want) {
			t.Errorf("%s%s: warnings %q, want %q", test.auth, test.top, said, test.want)
		}
		if test.top == "" && c.Auth.Checks.Mode != pki.CRLStrict {
			t.Errorf("mode %d without the key", c.Auth.Checks.Mode)
		}
	}
}

// CRLs come from files and folders.
func TestCRLFiles(t *testing.T) {
	folder, root := authFolder(t)
	if err := os.Mkdir(filepath.Join(folder, "crls"), 0o700); err != nil {
		t.Fatal(err)
	}
	pkitest.Write(t, folder, "one.crl", root.CRL(nil))
	for name, content := range map[string][]byte{"a.crl": root.CRL(nil), "b.crl": root.CRL(nil), "README": []byte("not a CRL")} {
		pkitest.Write(t, filepath.Join(folder, "crls"), name, content)
	}
	c, err := parseIn(folder, withAuth(t, byCertificate, "auth: {crl_files: [one.crl, crls]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, list := range c.Auth.Checks.Lists {
		files = append(files, list.File)
	}
	if want := []string{"one.crl", "crls/a.crl", "crls/b.crl"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	// A folder whose files all end otherwise is most likely not what was meant.
	if err := os.Mkdir(filepath.Join(folder, "der"), 0o700); err != nil {
		t.Fatal(err)
	}
	pkitest.Write(t, filepath.Join(folder, "der"), "a.der", root.CRL(nil))
	if c, err = parseIn(folder, withAuth(t, byCertificate, "auth: {crl_files: [der]}\n")); err != nil || !warns(c, `auth.crl_files[0]: folder "der" has no file that ends in .crl or .pem`) {
		t.Errorf("%v, %v", c, err)
	}
}

// However a configuration with a certificate is printed, the private key does not show.
// S-069
func TestPrivateKeyNeverPrints(t *testing.T) {
	folder, _ := authFolder(t)
	c, err := parseIn(folder, withAuth(t, byCertificate, ""))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(folder, "own.key"))
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("configuration", "config", c, "peer", c.Peers[0], "credential", c.Peers[0].Credential)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("configuration", "credential", c.Peers[0].Credential)
	text := fmt.Sprintf("%v %+v %#v %v %x", c, c, c, c.Peers, c.Peers[0].Credential) + logged.String()
	if body := strings.Split(string(file), "\n")[1]; strings.Contains(text, body) || strings.Contains(text, "PrivateKey{") || !strings.Contains(text, "ECDSA P-256") {
		t.Error("the private key is in what is printed, or nothing is printed of the credential")
	}
}
