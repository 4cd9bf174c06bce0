package importer

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A mistake comes with its line, and all of them come in one run. testdata/broken.* has one of each kind.
func TestOneMistake(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "f: the file is empty",
		"\x00\x01\x02\x03":     "f:1: expected text, found the control character U+0000",
		"add policy p\n\x07":   "f:2: expected text, found the control character U+0007",
		"\xff\xfea":            "f:1: expected text, found the control character U+FFFD",
		"add policy":           "f:1: expected name=",
		"add policy p p2 x=1":  "f:1: add policy: expected one of name, description",
		"add policy p\nexit\n": "", // nothing wrong: a policy without rules blocks
		"add filterlist l":     "f: expected at least one policy",
		"pushd ipsec wrong":    "f:1: expected a context of netsh (ipsec static), found \"wrong\"",
		"netsh ipsec static add policy name = \"a \\'b\\'\" desc = x mmlifetime=five": "f:1: mmlifetime: expected a whole number",
		"ipsec dynamic set config property=ipsecexempt value=7\nadd policy p":         "f:1: expected a level of exemptions",
		strings.Repeat("pushd ipsec\n", 70):                                           "f:65: expected at most 64 contexts",
	} {
		_, err := Netsh("f", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"secrets { }":     "f: expected at least one connection",
		"connections { }": "f: expected at least one connection",
		"connections { a { children { b { mode = drop } } } }":                                                   "",
		"connections { a { children { b { } }":                                                                   "f:1: section \"connections\" has no }",
		"connections\n{\n a {\n children {\n b {\nreplay_window = x } } } }":                                     "f:6: replay_window: expected a number",
		strings.Repeat("a {\n", 100) + strings.Repeat("}\n", 100):                                                "f: expected at least one connection",
		"connections { a { local { id = x } remote { id = x }\nremote_addrs = 192.0.2.1\nchildren { b { } } } }": "f:1: peer \"a\": both ends have the identity",
	} {
		_, err := Swanctl("f", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// secrets are the preshared keys of the tests.
const secretOne, secretTwo = "tOpS3cret-Kx7Qm2Zr9Tw4Lp8Vn3", "h1dden Fw3Ny8Rc6Xk1Bq9Mt4Ze7"

// A preshared key is in Keys and nowhere else, also where the file is wrong around it.
func TestSecretsStayInKeys(t *testing.T) {
	head := "add policy p\nadd filter l me 10.0.0.1\nadd filteraction a action=negotiate\n"
	for i, script := range []string{
		head + `add rule r p l a psk="` + secretOne + `"`,
		head + `add rule r p l a psk=` + secretTwo,
		head + `add rule r p l a kerberos=no psk ` + secretTwo,
		head + `add rule r p l a pskey="` + secretTwo + `"`,
		head + `add rule r p l a psk="` + secretTwo,
		head + "add rule r p l a psk=\"h1dden\nFw3Ny8Rc6Xk1Bq9Mt4Ze7\"",
		head + "add rule r p l a psk=\"h1dden\ntOpS3cret-Kx7Qm2Zr9Tw4Lp8Vn3 x=y\"",
		head + `add rule r p l a psk="` + secretOne + `" psk="` + secretTwo + `"`,
		head + `add rule r p l a psk="` + secretOne + `"` + "\nset rule name=r policy=p psk=\"" + secretTwo + `"`,
		head + "add rule r p l a psk=\n" + secretOne,
		head + "add rule r p l a psk=^\n" + secretOne + "\n" + secretTwo,
		head + `set defaultrule policy=p psk="` + secretOne + `"`,
		head + `add rule r p l x psk="` + secretOne + `"`,
		`netsh -p ` + secretOne + " ipsec static\n" + head,
	} {
		result, err := Netsh("f", []byte(script))
		mustHide(t, fmt.Sprintf("script %d", i), result, err)
	}
	connection := "connections { a { remote_addrs = 192.0.2.1\nlocal { auth = psk }\nchildren { b { } } } }\n"
	for i, file := range []string{
		connection + `secrets { ike { secret = "` + secretOne + `" } }`,
		connection + `secrets { ike { secret = ` + secretTwo + ` } }`,
		connection + `secrets { ike { sekret = ` + secretOne + ` } eap { id = x` + "\n" + `secret = "` + secretTwo + `" } }`,
		connection + `secrets { ike { secret = 0x` + secretOne + ` } }`,
		connection + `secrets { ike { secret = "` + secretOne,
		connection + `secrets { ike { secret "` + secretOne + `" } }`,
		connection + `secrets { ike { secret ` + secretOne + ` } }`,
		connection + "secrets { ike { secret =\n" + secretOne + "\n} }",
		connection + "ike { secret = " + secretOne + " }\nsecret = " + secretOne,
		"connections { secret = " + secretOne + "\na { secret = " + secretTwo + "\nremote { secret = " + secretOne + "}\nchildren { b { secret = " + secretTwo + " } } } }",
	} {
		result, err := Swanctl("f", []byte(file))
		mustHide(t, fmt.Sprintf("file %d", i), result, err)
	}
}

// mustHide looks for a part of a secret in everything that people see.
func mustHide(t *testing.T, what string, result *Result, err error) {
	t.Helper()
	seen := fmt.Sprint(err)
	if result != nil {
		seen += string(result.YAML) + fmt.Sprint(result.Notes) + fmt.Sprintf("%v %+v %#v", result.Keys, result.Keys, result.Keys)
	}
	for _, part := range []string{"tOpS3cret", "Kx7Qm2Zr9Tw4Lp8Vn3", "h1dden", "Fw3Ny8Rc6Xk1Bq9Mt4Ze7"} {
		if strings.Contains(seen, part) {
			t.Errorf("%s shows a part of a secret: %s", what, seen)
		}
	}
}

// The keys are those of the file, octet by octet.
func TestKeys(t *testing.T) {
	result, err := Netsh("f", []byte("add policy p\nadd filter l me 10.0.0.1\nadd filteraction a\nadd rule \"my rule\" p l a psk=\" blanks = kept \""))
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Keys) != 1 || result.Keys[0].Name != "my-rule.psk" || result.Keys[0].Line != 4 || string(result.Keys[0].Secret.Bytes()) != " blanks = kept " {
		t.Errorf("keys %v of %q", result.Keys, result.Keys[0].Secret.Bytes())
	}
	for written, want := range map[string]string{
		`"a b # } c"`: "a b # } c", `a\b`: `a\b`, `"a\"b"`: `a"b`, "0x414243": "ABC", "0sQUJD": "ABC", "plain text # comment": "plain text",
	} {
		result, err := Swanctl("f", []byte("connections { a { remote_addrs = 192.0.2.1\nchildren { b { } } } }\nsecrets { ike { secret = "+written+"\n} }"))
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Keys) != 1 || string(result.Keys[0].Secret.Bytes()) != want {
			t.Errorf("%s: %d keys, want %q", written, len(result.Keys), want)
		}
	}
}

// A large file of the worst kinds takes time and memory in proportion to its size, and its report has a bound.
func TestLargeFiles(t *testing.T) {
	const size = 2 << 20
	fill := func(head, line string) []byte {
		return append([]byte(head), bytes.Repeat([]byte(line), (size-len(head))/len(line))...)
	}
	for name, run := range map[string]func() error{
		"too large":           func() error { _, err := Netsh("f", make([]byte, maxInput+1)); return err },
		"mistakes":            func() error { _, err := Netsh("f", fill("", "frobnicate x\n")); return err },
		"one filter":          func() error { _, err := Netsh("f", fill("add policy p\n", "add filter l me any\n")); return err },
		"one line":            func() error { _, err := Netsh("f", fill("add policy ", "a=b ")); return err },
		"line that goes on":   func() error { _, err := Netsh("f", fill("add policy p^\n", "a=b^\n")); return err },
		"open quotes":         func() error { _, err := Swanctl("f", fill("", "a = \"\n\n")); return err },
		"depth":               func() error { _, err := Swanctl("f", fill("", "a {\n")); return err },
		"sections":            func() error { _, err := Swanctl("f", fill("connections {\n", "a { }\n")); return err },
		"names without equal": func() error { _, err := Swanctl("f", fill("", "a\n")); return err },
		"references": func() error {
			var text strings.Builder
			text.WriteString("a0 { x = 1\n s { y = 2\n } }\n")
			for i := range 5000 {
				fmt.Fprintf(&text, "a%d : a%d { s%d { } }\n", i+1, i, i)
			}
			_, err := Swanctl("f", []byte(text.String()))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := run()
			runtime.ReadMemStats(&after)
			took, allocated := time.Since(start), (after.TotalAlloc-before.TotalAlloc)>>20
			t.Logf("%v, %d MiB allocated, error of %d octets", took.Round(time.Millisecond), allocated, len(fmt.Sprint(err)))
			if took > time.Minute || allocated > 1024 || len(fmt.Sprint(err)) > 1<<20 {
				t.Errorf("%v, %d MiB allocated and an error of %d octets", took, allocated, len(fmt.Sprint(err)))
			}
		})
	}
}
