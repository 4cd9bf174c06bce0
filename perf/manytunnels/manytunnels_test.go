package manytunnels

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/appliance/config"
	"sallyport/crypto"
)

func load(t *testing.T, file string) *config.Config {
	t.Helper()
	machine := config.ThisMachine()
	machine.Cores, machine.MemoryMB = []int{0, 1}, 0
	c, err := config.LoadWith(file, config.Options{Machine: machine, Lab: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A gateway takes what is written, with peers and with keys, and nobody else can read it.
func TestWrite(t *testing.T) {
	for _, o := range []Options{{}, {Tunnels: 300, Updated: "2026-11-23"}, {Tunnels: 300, Version: "v1", Algorithm: "aes128-sha256"}, {Tunnels: 300, Manual: true, Algorithm: "aes256-sha256-esn"}} {
		o.File = filepath.Join(t.TempDir(), "gw.yaml")
		if err := Write(o); err != nil {
			t.Fatal(err)
		}
		c, tunnels := load(t, o.File), max(o.Tunnels, 1)
		want := map[bool]int{true: len(c.Manual), false: len(c.Peers)}
		if want[o.Manual] != tunnels || len(c.Manual)+len(c.Peers) != tunnels {
			t.Errorf("%+v: %d peers, %d SAs", o, len(c.Peers), len(c.Manual))
		}
		if o.Updated != "" && len(c.Warnings) > 10 {
			t.Errorf("%d warnings: %q", len(c.Warnings), c.Warnings)
		}
		if o.Manual && !c.Manual[0].SA.ESN {
			t.Error("without extended sequence numbers")
		}
		files, err := os.ReadDir(filepath.Dir(o.File))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, mode %v", f.Name(), err, info.Mode())
			}
		}
		if err := Write(o); err == nil || !strings.Contains(err.Error(), "expected a name that is free") {
			t.Errorf("over a file that is there: %v", err)
		}
	}
}

// Keys are HKDF's of the seed (RFC 5869), made here anew, and no two are alike.
func TestKeys(t *testing.T) {
	seed := []byte("0123456789abcdef")
	file := filepath.Join(t.TempDir(), "gw.yaml")
	if err := Write(Options{File: file, Tunnels: 3, Manual: true, Seed: seed}); err != nil {
		t.Fatal(err)
	}
	mac := func(key []byte, of ...string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(strings.Join(of, "")))
		return h.Sum(nil)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for number, tunnel := range load(t, file).Manual {
		for direction, key := range map[string]crypto.Secret{"key_in": tunnel.SA.KeyIn, "key_out": tunnel.SA.KeyOut} {
			extracted := mac(make([]byte, sha256.Size), string(seed))
			want := hex.EncodeToString(mac(extracted, "sallyport lab gateway, tunnel ", string(rune('1'+number)), ", ", direction, "\x01")[:suite.KeymatLen()])
			if got := hex.EncodeToString(key.Bytes()); got != want || seen[got] || !strings.Contains(string(written), direction+`: "`+want) {
				t.Errorf("tunnel %d, %s is not what HKDF makes of the seed", number+1, direction)
			}
			seen[want] = true
		}
	}
}

// What makes no sense is refused before anything is written.
func TestRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gw.yaml")
	for says, o := range map[string]Options{
		"60001 tunnels, expected 1 to 60000": {Tunnels: Most + 1},
		"-1 tunnels":                         {Tunnels: -1},
		`IKE "v3", expected v1 or v2`:        {Version: "v3"},
		"a seed of 3 octets, expected":       {Manual: true, Seed: []byte("abc")},
		"expected one without quotes":        {Protected: `a"b`},
		`device "bogus" is of no known kind`: {Protected: "bogus"},
		"expected the argument iface":        {Unprotected: "net_af_packet1"},
		"net_memif0 for both ports":          {Protected: "net_memif0,role=server,id=0", Unprotected: "net_memif0,role=server,id=1"},
		`suite "rot13"`:                      {Manual: true, Algorithm: "rot13"},
		`ESP proposal "rot13"`:               {Algorithm: "rot13"},
	} {
		o.File = file
		if err := Write(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

// What cannot be written whole leaves nothing behind, nor what has been written beside it.
func TestNothingIsLeftOfAFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gw.yaml")
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(Options{File: file}); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v, expected to be told that the name is taken", err)
	}
	full := errors.New("no space")
	if err := create(file+".part", func(io.Writer) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v, expected %v", err, full)
	}
	if left, err := filepath.Glob(filepath.Dir(file) + "/*"); err != nil || len(left) != 1 {
		t.Errorf("%v, %v: expected nothing but what was there", left, err)
	}
}
