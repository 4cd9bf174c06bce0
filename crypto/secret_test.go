package crypto

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// needles are the ways in which four octets of a key can show in a text.
func needles(window []byte) []string {
	spaced := strings.Trim(fmt.Sprint(window), "[]")
	return []string{
		string(window), fmt.Sprintf("%x", window), fmt.Sprintf("%X", window), fmt.Sprintf("% x", window), spaced,
		strings.ReplaceAll(spaced, " ", ","), strings.ReplaceAll(spaced, " ", ", "), strings.Trim(fmt.Sprintf("%#v", window), "[]byte{}"),
		base64.StdEncoding.EncodeToString(window[:3]), fmt.Sprintf("%q", window),
		strings.Trim(fmt.Sprintf("%o", window), "[]"), strings.Trim(fmt.Sprintf("%b", window), "[]"),
	}
}

func checkNoLeak(t *testing.T, where, output string, key []byte) {
	t.Helper()
	for i := 0; i+4 <= len(key); i++ {
		for _, needle := range needles(key[i : i+4]) {
			if strings.Contains(output, needle) {
				t.Fatalf("%s shows octets of the key (%q): %s", where, needle, output)
			}
		}
	}
}

// everyForm renders a value in all the ways the program may come to print it.
func everyForm(t *testing.T, value any) map[string]string {
	t.Helper()
	forms := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "% x", "%#x", "%q", "%d", "%o", "%b", "%c", "%p", "%U", "%t", "%e"} {
		forms[verb] = fmt.Sprintf(verb, value)
	}
	forms["error"] = fmt.Errorf("wrapped: %w", fmt.Errorf("value %v %+v", value, value)).Error()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value, slog.Group("group", "inner", value))
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value, slog.Group("group", "inner", value))
	forms["slog"] = log.String()
	encoded, err := json.Marshal(value)
	var unsupported *json.UnsupportedTypeError
	if err != nil && !errors.As(err, &unsupported) {
		t.Fatal(err)
	}
	forms["json"] = string(encoded)
	return forms
}

// TestNothingPrintsAKey formats every kind of value that holds a key.
func TestNothingPrintsAKey(t *testing.T) {
	// Octets that read alike in no two forms, and like nothing in a struct's text.
	key := unhex(t, `c7e9d3b1f5ad8f97e3c1b5fbd9a7f18bcdebaf9fe5d1b7c3a9f7dbe18d95c5ef d7f3a5b9e7c9abfdc399dd8be9bfa1f5cfd58797e3
		fbb3d9c1adeff78995e5b7c5d3a3fdebdf91cb`)
	held := func(n int) Secret { return NewSecret(bytes.Clone(key[:n])) }
	type private struct {
		Name string
		psk  Secret
	}
	type public struct {
		Name string
		PSK  Secret
	}
	values := map[string]any{
		"Secret":           held(32),
		"pointer":          func() any { s := held(32); return &s }(),
		"exported field":   public{"peer", held(32)},
		"unexported field": private{"peer", held(32)},
		"pointer to field": &private{"peer", held(32)},
		"slice":            []Secret{held(32), held(16)},
		"slice of structs": []private{{"peer", held(32)}},
		"map":              map[string]Secret{"peer": held(32)},
		"map of structs":   map[string]private{"peer": {"peer", held(32)}},
		"interface":        []any{held(32), private{"peer", held(32)}},
		"nested":           struct{ inner struct{ s []Secret } }{struct{ s []Secret }{[]Secret{held(32)}}},
	}
	for _, text := range []string{"chacha20poly1305", "aes128ccm16", "aes128gmac", "aes128ctr-aesxcbc", "3des-aescmac", "null-sha256"} {
		s, err := ParseSuite(text)
		if err != nil {
			t.Fatal(err)
		}
		esp, err := NewESP(s, testSPI, held(s.KeymatLen()))
		if err != nil {
			t.Fatal(err)
		}
		values["ESP "+text], values["ESP value "+text], values["protection "+text] = esp, *esp, esp.protection
	}
	for _, s := range []Suite{{Integ: IntegHMACSHA256}, {Integ: IntegAESGMAC128}} {
		ah, err := NewAH(s, testSPI, held(s.KeymatLen()))
		if err != nil {
			t.Fatal(err)
		}
		values["AH "+s.String()], values["AH value "+s.String()] = ah, *ah
		_, err = NewAH(s, testSPI, held(7))
		values["error of AH "+s.String()] = err
	}
	for _, s := range []Suite{{Encr: EncrAESGCM16, KeyBits: 256}, {Encr: EncrAESCBC, KeyBits: 128, Integ: IntegHMACSHA256}} {
		esp, err := NewESP(s, testSPI, held(s.KeymatLen()))
		if err != nil {
			t.Fatal(err)
		}
		split := s.KeyLen() + s.SaltLen()
		cipher, err := NewIKECipher(s, held(split), NewSecret(bytes.Clone(key[:s.IntegKeyLen()])))
		if err != nil {
			t.Fatal(err)
		}
		values["ESP "+s.String()], values["ESP value "+s.String()] = esp, *esp
		values["IKECipher "+s.String()], values["IKECipher value "+s.String()] = cipher, *cipher
		values["protection "+s.String()] = esp.protection
		_, err = NewESP(s, testSPI, held(7))
		values["error "+s.String()] = err
	}
	for _, id := range []EncrID{EncrAESCBC, Encr3DES} {
		cipher, err := NewISAKMPCipher(id, held(24))
		if err != nil {
			t.Fatal(err)
		}
		values["ISAKMPCipher "+id.String()], values["ISAKMPCipher value "+id.String()] = cipher, *cipher
		_, err = NewISAKMPCipher(id, held(7))
		values["error of ISAKMPCipher "+id.String()] = err
	}
	for _, row := range exchangeTable {
		// The zero makes it a number below the order of every curve.
		exchange := generate(t, row.id, bytes.NewReader(join([]byte{0}, bytes.Repeat(key, 2))))
		values["KeyExchange "+row.name] = exchange
		values["KeyExchange in a struct "+row.name] = struct{ kept KeyExchange }{exchange}
		switch e := exchange.(type) {
		case *modpExchange:
			values["KeyExchange value "+row.name] = *e
		case *ecdhExchange:
			values["KeyExchange value "+row.name] = *e
		case *weierstrassExchange:
			values["KeyExchange value "+row.name] = *e
		case *x448Exchange:
			values["KeyExchange value "+row.name] = *e
		case *mlkemExchange:
			values["KeyExchange value "+row.name] = *e
		}
	}
	for name, value := range values {
		for form, output := range everyForm(t, value) {
			checkNoLeak(t, name+" as "+form, output, key)
		}
	}
}

// TestLeakCheckFindsLeaks proves the search: the same key in a plain slice is found.
func TestLeakCheckFindsLeaks(t *testing.T) {
	key := unhex(t, "c7e9d3b1f5ad8f97")
	for form, output := range everyForm(t, struct{ Key []byte }{key}) {
		found := false
		for i := 0; i+4 <= len(key); i++ {
			for _, needle := range needles(key[i : i+4]) {
				found = found || strings.Contains(output, needle)
			}
		}
		// These verbs are not for octets or do not show them in a form that is searched for.
		if oblivious := strings.Contains("%p %t %e %c %U %q %s %#x % x %#v", form); !found && !oblivious {
			t.Errorf("the search misses the key in %s: %s", form, output)
		}
	}
}

func TestSecret(t *testing.T) {
	octets := []byte{1, 2, 3}
	s := NewSecret(octets)
	clone := s.Clone()
	if !s.Equal(clone) || s.Equal(NewSecret([]byte{1, 2, 4})) || s.Equal(NewSecret([]byte{1, 2})) || s.Equal(Secret{}) {
		t.Error("Equal is wrong")
	}
	copied := s
	s.Wipe()
	if !bytes.Equal(octets, []byte{0, 0, 0}) {
		t.Errorf("after Wipe the octets are %v", octets)
	}
	if copied.Len() != 0 || s.Len() != 0 {
		t.Error("a wiped Secret has a length")
	}
	if !bytes.Equal(clone.Bytes(), []byte{1, 2, 3}) {
		t.Error("Wipe reached a clone")
	}
	s.Wipe()
	Secret{}.Wipe()
	if (Secret{}).Len() != 0 || !(Secret{}).Equal(NewSecret(nil)) {
		t.Error("the zero Secret is not empty")
	}
}

// TestWipe checks that nothing of the keys is left within reach of ESP and IKECipher.
func TestWipe(t *testing.T) {
	for _, s := range Suites() {
		esp := newTestESP(t, s)
		var kept [][]byte
		switch p := esp.protection.(type) {
		case *aeadProtection:
			kept = append(kept, p.salt.Bytes())
		case *gmacProtection:
			kept = append(kept, p.salt.Bytes())
		case *cipherMAC:
			kept = append(kept, p.key.Bytes())
			if counter, ok := p.cipher().(*ctrCipher); ok {
				kept = append(kept, counter.salt.Bytes())
			}
		}
		esp.Wipe()
		for _, key := range kept {
			if !bytes.Equal(key, make([]byte, len(key))) || len(key) == 0 {
				t.Errorf("%s: after Wipe the key is %x", s, key)
			}
		}
		wantPanic(t, s.String()+": a wiped ESP sealed", func() { _, _ = esp.Seal(1, nil, nil, testNextHeader) })
	}
	for _, s := range IKESuites() {
		cipher := newTestIKECipher(t, s)
		cipher.Wipe()
		wantPanic(t, s.String()+": a wiped cipher sealed", func() { _, _ = cipher.Seal(nil, nil, nil, rand.Reader) })
	}
}

func wantPanic(t *testing.T, otherwise string, misuse func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error(otherwise)
		}
	}()
	misuse()
}
