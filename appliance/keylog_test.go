package appliance

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sallyport/appliance/api"
	"sallyport/crypto"
	"sallyport/ike"
)

func counting(n int) crypto.Secret {
	key := make([]byte, n)
	for i := range key {
		key[i] = byte(i)
	}
	return crypto.NewSecret(key)
}

// The lines are those of Wireshark's tables, with its names of algorithms; tshark 4.0 reads them so. What it cannot decrypt is a comment.
func TestKeyLogLines(t *testing.T) {
	gcm := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}
	cbc := crypto.Suite{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA256}
	chacha := crypto.Suite{Encr: crypto.EncrChaCha20Poly1305}
	child := func(suite crypto.Suite) ike.ChildSA {
		return ike.ChildSA{SPI: 0x1234, Protocol: crypto.ProtocolESP, Suite: suite, Keymat: counting(suite.KeymatLen()),
			Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500")}
	}
	withGCM, withCBC, withChaCha := child(gcm), child(cbc), child(chacha)
	sha, gmac := crypto.Suite{Integ: crypto.IntegHMACSHA1}, crypto.Suite{Integ: crypto.IntegAESGMAC128}
	ahAlone, bundle := child(gmac), child(gcm)
	ahAlone.Protocol, bundle.AH = crypto.ProtocolAH, &ike.AHLayer{SPI: 0x1235, Suite: sha, Keymat: counting(20)}
	for _, c := range []struct{ line, want string }{
		{ikeLine(ike.KeyLog{Suite: gcm, SPIi: 1, SPIr: 2, EI: counting(20), ER: counting(20)}),
			`0000000000000001,0000000000000002,000102030405060708090a0b0c0d0e0f10111213,000102030405060708090a0b0c0d0e0f10111213,"AES-GCM-128 with 16 octet ICV [RFC5282]",,,"NONE [RFC4306]"`},
		{ikeLine(ike.KeyLog{Suite: cbc, SPIi: 1, SPIr: 2, EI: counting(2), ER: counting(2), AI: counting(1), AR: counting(1)}),
			`0000000000000001,0000000000000002,0001,0001,"AES-CBC-256 [RFC3602]",00,00,"HMAC_SHA2_256_128 [RFC4868]"`},
		{ikeLine(ike.KeyLog{Suite: chacha, SPIi: 1, SPIr: 2}), `# 0000000000000001,0000000000000002: Wireshark does not decrypt chacha20poly1305`},
		{ikev1Line(ike.KeyLog{Version: ike.V1, SPIi: 1, SPIr: 2, EI: counting(16), ER: counting(16)}), `0000000000000001,000102030405060708090a0b0c0d0e0f`},
		{childLines(ike.KeyLog{Child: &withGCM, Inbound: true}),
			`"IPv4","192.0.2.2","192.0.2.1","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x000102030405060708090a0b0c0d0e0f10111213","NULL",""`},
		{childLines(ike.KeyLog{Child: &withCBC}),
			`"IPv4","192.0.2.1","192.0.2.2","0x00001234","AES-CBC [RFC3602]","0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","HMAC-SHA-256-128 [RFC4868]","0x202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"`},
		{childLines(ike.KeyLog{Child: &withChaCha}), `# 192.0.2.1 > 192.0.2.2 0x00001234: Wireshark does not decrypt chacha20poly1305 of ESP`},
		{childLines(ike.KeyLog{Child: &ahAlone}), `# AH: "IPv4","192.0.2.1","192.0.2.2","0x00001234","NULL","","aes128gmac","0x000102030405060708090a0b0c0d0e0f10111213"`},
		{childLines(ike.KeyLog{Child: &bundle, Inbound: true}),
			`# AH: "IPv4","192.0.2.2","192.0.2.1","0x00001235","NULL","","HMAC-SHA-1-96 [RFC2404]","0x000102030405060708090a0b0c0d0e0f10111213"` + "\n" +
				`"IPv4","192.0.2.2","192.0.2.1","0x00001234","AES-GCM with 16 octet ICV [RFC4106]","0x000102030405060708090a0b0c0d0e0f10111213","NULL",""`},
	} {
		if c.line != c.want {
			t.Errorf("found    %s\nexpected %s", c.line, c.want)
		}
	}
}

// Between two gateways: the files are private and hold the keys of all SAs and of rekeys; the log and the API hold none, but warn.
func TestKeyLogOfAGateway(t *testing.T) {
	r := newRig(t, passive(siteA())+"# keylog\n", siteB())
	g := r.gateways[0]
	path := g.loaded.KeyLog
	for _, step := range []struct{ path, name string }{{api.PathUp, "far"}, {api.PathRekey, "nets"}, {api.PathRekey, "far"}} {
		if _, err := g.api.Act(t.Context(), step.path, api.Action{Name: step.name, Wait: 20}); err != nil {
			t.Fatal(err)
		}
	}
	var warnings []string
	g.api.Warn = func(text string) { warnings = append(warnings, text) }
	get[[]api.IKE](r, g, api.PathIKE)
	if len(warnings) != 1 || !strings.Contains(warnings[0], path) || !strings.Contains(g.logs.String(), "level=WARN msg=\"all keys are written") {
		t.Errorf("the API warns %q", warnings)
	}
	for name, want := range map[string]int{path: 2, path + espTable: 4} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, info.Mode(), err)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		keys := regexp.MustCompile(`[0-9a-f]{40}`).FindAllString(string(text), -1)
		if lines := strings.Count(string(text), "AES-GCM"); lines != want || len(keys) < want {
			t.Errorf("%s has %d lines, expected %d:\n%s", name, lines, want, text)
		}
		for _, key := range keys {
			if strings.Contains(g.logs.String(), key[:16]) {
				t.Error("the log holds a key")
			}
		}
	}
}

// What is there is appended to and made private; what cannot be written is said once; a symbolic link is not followed, and what somebody else has laid there
// is not taken.
func TestKeyLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte("# before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	k, err := openKeyLog(path, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	k.write(ike.KeyLog{Suite: crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 128}})
	if err := k.close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if text, _ := os.ReadFile(path); err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(string(text), "# before\n0") {
		t.Errorf("%v, %v: %s", info.Mode(), err, text)
	}
	k.write(ike.KeyLog{})
	k.write(ike.KeyLog{})
	if strings.Count(said.String(), "keys are missing") != 1 {
		t.Errorf("said %s", said.String())
	}
	for name, spoil := range map[string]func(path string) error{
		"of somebody else": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, 65534))
		},
		"under two names":     func(path string) error { return os.Link(path[:len(path)-len(".two")], path) },
		"that is not a file":  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"that is a directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		spoiled := path + ".two"
		if err := spoil(spoiled); err != nil {
			t.Fatal(err)
		}
		if _, err := openKeyLog(spoiled, slog.Default()); err == nil {
			t.Errorf("keys would go to a file %s", name)
		}
		if err := os.Remove(spoiled); err != nil {
			t.Fatal(err)
		}
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyLog(link, slog.Default()); err == nil {
		t.Error("a symbolic link was followed")
	}
}
