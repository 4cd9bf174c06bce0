package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withKey parses the base configuration with the given key in site-b.psk.
func withKey(t *testing.T, key, text string) (*Config, error) {
	t.Helper()
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", key)
	return Parse(filepath.Join(folder, "gw.yaml"), []byte(text), twoCores())
}

// Keys that are short or not random are refused, unless the file says that they are wanted.
// S-067
func TestWeakKeys(t *testing.T) {
	allowed := strings.Replace(base, "psk_file: site-b.psk", "psk_file: site-b.psk, allow_weak_psk: true", 1)
	for key, want := range map[string]string{
		goodKey[:24]:                    "expected 25 or more random characters, found 24",
		strings.Repeat("a", 25):         "pattern",
		strings.Repeat("abc", 9):        "pattern",
		"1234567890123456789012345":     "pattern",
		"abcdefghijklmnopqrstuvwxyz":    "pattern",
		"zyxwvutsrqponmlkjihgfedcba":    "pattern",
		"aaaaaaaaaaaaaaaaaaaaaaabcdefg": "pattern",
		"0101001011010010100101101001":  "pattern",
	} {
		_, err := withKey(t, key, base)
		if err == nil || !strings.Contains(err.Error(), "peers[0].auth.psk_file: ") || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "allow_weak_psk") {
			t.Errorf("key %q: error %v, want %q", key, err, want)
		}
		c, err := withKey(t, key, allowed)
		if err != nil || len(c.Warnings) != 2 || !strings.Contains(c.Warnings[0], "weak") || strings.Contains(c.Warnings[0], key) {
			t.Errorf("key %q allowed: %v, %v", key, c, err)
		}
	}
}

// A lab with thousands of peers has a line each for the first ones, and a number for the others.
// S-067, S-068
func TestKeysOfManyPeers(t *testing.T) {
	const peers = 20
	folder, text := t.TempDir(), base
	writeKey(t, folder, "site-b.psk", goodKey)
	text = strings.Replace(text, "psk_file: site-b.psk", "psk_file: site-b.psk, allow_weak_psk: true", 1)
	for i := 1; i < peers; i++ {
		name := fmt.Sprintf("p%d", i)
		text = strings.Replace(text, "filter_lists:\n", fmt.Sprintf("  - {name: %s, local: 192.0.2.1, remote: 198.18.0.%d, auth: {psk_file: site-b.psk, allow_weak_psk: true}}\nfilter_lists:\n", name, i), 1)
		text = strings.Replace(text, "filter_actions:\n", fmt.Sprintf("  - {name: %s, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.3.%d.0/24}]}\nfilter_actions:\n", name, i), 1)
		text = strings.Replace(text, "active_policy:", fmt.Sprintf("      - {name: %s, filter_list: %s, filter_action: protect, peer: %s}\nactive_policy:", name, name, name), 1)
	}
	parse := func(text string) *Config {
		c, err := Parse(filepath.Join(folder, "gw.yaml"), []byte(text), twoCores())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := parse(text); len(c.Warnings) != 2*peers-1 || !warns(c, `peer "p19" of p19`) || warns(c, "beside these") {
		t.Errorf("no lab: warnings %q", c.Warnings)
	}
	if c := parse("lab: true\n" + text); len(c.Warnings) != 2*(warnedInLab+1) || !warns(c, `peer "p4" has a weak`) || warns(c, `peer "p5" has a weak`) || !warns(c, `peer "p3" of p3`) || warns(c, `peer "p4" of p4`) ||
		!warns(c, "lets pass, beside these: 15") || !warns(c, "by preshared key, beside these: 16") {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// Random keys of 25 characters pass, whatever their alphabet.
// S-067
func TestRandomKeysPass(t *testing.T) {
	r := rand.New(rand.NewPCG(67, 1))
	for _, alphabet := range []string{"0123456789", "0123456789abcdef", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"} {
		refused := 0
		const tries = 2000
		for range tries {
			key := make([]byte, 25)
			for i := range key {
				key[i] = alphabet[r.IntN(len(alphabet))]
			}
			if pskWeakness(key) != "" {
				refused++
			}
		}
		if limit := map[int]int{10: tries / 50}[len(alphabet)]; refused > limit {
			t.Errorf("%d of %d random keys of %q refused, want at most %d", refused, tries, alphabet, limit)
		}
	}
}

// A key belongs to one pair of peers.
// S-067
func TestSharedKey(t *testing.T) {
	second := "psk_file: site-b.psk}}\n  - {name: site-c, local: 192.0.2.1, remote: 192.0.2.3, auth: {psk_file: site-b.psk}}"
	text := strings.Replace(base, "psk_file: site-b.psk}}", second, 1)
	_, err := withKey(t, goodKey, text)
	if err == nil || !strings.Contains(err.Error(), `gw.yaml:10: peers[1].auth.psk_file: expected a preshared key of its own, found that of peer "site-b"`) {
		t.Errorf("error %v", err)
	}
}

// A key file is for its owner only, and one line of text.
// S-069
func TestKeyFiles(t *testing.T) {
	folder := t.TempDir()
	for _, test := range []struct {
		name string
		make func(path string) error
		want string // of the error; empty if the key is read
	}{
		{"good", func(p string) error { return os.WriteFile(p, []byte(goodKey), 0o600) }, ""},
		{"newline", func(p string) error { return os.WriteFile(p, []byte(goodKey+"\n"), 0o400) }, ""},
		{"windows", func(p string) error { return os.WriteFile(p, []byte(goodKey+"\r\n"), 0o600) }, ""},
		{"missing", func(string) error { return nil }, "no such file"},
		{"group", func(p string) error { return os.WriteFile(p, []byte(goodKey), 0o640) }, "found mode 0640: chmod 600 it"},
		{"others", func(p string) error { return os.WriteFile(p, []byte(goodKey), 0o604) }, "found mode 0604"},
		{"stranger", func(p string) error {
			return firstError(os.WriteFile(p, []byte(goodKey), 0o600), os.Chown(p, 12345, 0))
		}, "found user 12345"},
		{"folder", func(p string) error { return os.Mkdir(p, 0o700) }, "expected a regular file"},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }, "expected a regular file"},
		{"empty", func(p string) error { return os.WriteFile(p, []byte("\n"), 0o600) }, "found an empty file"},
		{"lines", func(p string) error { return os.WriteFile(p, []byte(goodKey+"\n\n"), 0o600) }, "expected one line"},
		{"nul", func(p string) error { return os.WriteFile(p, []byte(goodKey+"\x00"), 0o600) }, "expected one line"},
		{"large", func(p string) error { return os.WriteFile(p, []byte(strings.Repeat(goodKey, 200)), 0o600) }, "at most 4096 bytes"},
	} {
		if err := test.make(filepath.Join(folder, test.name)); err != nil {
			t.Fatal(err)
		}
		key, err := readPSK(filepath.Join(folder, "gw.yaml"), test.name, os.Geteuid())
		switch {
		case test.want == "" && (err != nil || string(key.Bytes()) != goodKey):
			t.Errorf("%s: %q, %v, want the key", test.name, key.Bytes(), err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		case err != nil && strings.Contains(err.Error(), goodKey):
			t.Errorf("%s: the error shows the key", test.name)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A configuration never shows a key, however it is printed, and an error never shows one that was written where it does
// not belong.
// S-069
func TestKeysNeverPrint(t *testing.T) {
	c := mustParse(t, base)
	asJSON, err := json.Marshal(c.Peers[0].PSK)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("configuration", "config", c, "peer", c.Peers[0])
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %v", c, c, c, c.Peers), string(asJSON), logged.String(), fmt.Sprint(c.Warnings)} {
		if strings.Contains(text, goodKey) || strings.Contains(text, fmt.Sprintf("%x", goodKey)) {
			t.Errorf("the key is in %s", text)
		}
	}
	for _, auth := range []string{"{psk: " + goodKey + "}", goodKey, "[" + goodKey + "]", "{psk_file: site-b.psk, allow_weak_psk: " + goodKey + "}"} {
		_, err := parseBase(t, replaced(t, "{psk_file: site-b.psk}", auth))
		if err == nil || strings.Contains(err.Error(), goodKey) {
			t.Errorf("auth: %s: error %v, want one without the key", auth, err)
		}
	}
}
