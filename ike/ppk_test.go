package ike

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
)

// havingPPK gives an end a PPK; an empty identity none.
func havingPPK(id, key string, required bool) func(*Config) {
	return func(c *Config) {
		if id != "" {
			c.Peers[0].PPK = &PPK{ID: id, Key: crypto.NewSecret([]byte(key)), Required: required}
		}
	}
}

// Who has which PPK and requires it decides whether it is used, whether the two go on without, or nothing comes of it (RFC 8784 3).
func TestPPK(t *testing.T) {
	const k, other = "a postquantum preshared key of 256 bits", "another one that is as long as that is"
	type side struct {
		id, key  string
		required bool
	}
	none, may, must := side{}, side{"site", k, false}, side{"site", k, true}
	for _, c := range []struct {
		a, b   side
		used   bool
		reason Reason // of the failure, empty: none
	}{
		{none, none, false, ""},
		{may, may, true, ""},
		{must, must, true, ""},
		{may, must, true, ""},
		{must, may, true, ""},
		{may, none, false, ""},
		{none, may, false, ""},
		{must, none, false, AuthPPK},
		{none, must, false, AuthPPK},
		{may, side{"other", k, false}, false, ""},
		{must, side{"other", k, false}, false, AuthPPK},
		{may, side{"other", k, true}, false, AuthPPK},
		{may, side{"site", other, false}, false, AuthKey},
		{must, side{"site", other, true}, false, AuthKey},
	} {
		for _, proposal := range []string{"aes128gcm16-prfsha256-curve25519", hybrid, "aes128-aesxcbc-curve25519"} {
			name := fmt.Sprintf("%+v and %+v with %s", c.a, c.b, proposal)
			change := func(s side) func(*Config) {
				return func(cfg *Config) {
					offering(t, proposal)(cfg)
					havingPPK(s.id, s.key, s.required)(cfg)
				}
			}
			l := join(t, change(c.a), change(c.b))
			l.begin()
			l.advance(3 * time.Second)
			if c.reason != "" {
				if l.a.count(Failed, c.reason)+l.b.count(Failed, c.reason) == 0 || l.a.count(IKEEstablished, "")+l.b.count(IKEEstablished, "") != 0 {
					t.Errorf("%s: no failure for %s\na:\n%sb:\n%s", name, c.reason, l.a.story(), l.b.story())
				}
				continue
			}
			l.established("net")
			a, b := oneIKE(l.a), oneIKE(l.b)
			if !a.keys.d.Equal(b.keys.d) || a.ppk.mixed != nil || b.ppk.mixed != nil {
				t.Errorf("%s: the two have other keys, or keep what they are made of", name)
			}
			steadyUnder(t, l, name, c.used, change)
		}
	}
}

// steadyUnder rekeys both SAs and compares SK_d with what the same random octets give without a PPK.
func steadyUnder[S any](t *testing.T, l *link, name string, used bool, change func(S) func(*Config)) {
	t.Helper()
	var none S
	without := up(t, change(none), change(none))
	if same := oneIKE(l.a).keys.d.Equal(oneIKE(without.a).keys.d); same && used {
		t.Errorf("%s: SK_d is that without a PPK", name)
	}
	l.a.rekey(rekeyIKE)
	l.run()
	l.b.rekey(rekeyChild)
	l.advance(10 * time.Second)
	l.established("net")
}

// S-069: a PPK never prints.
func TestPPKNeverPrints(t *testing.T) {
	const key = "a postquantum preshared key"
	p := &PPK{ID: "site", Key: crypto.NewSecret([]byte(key))}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(verb, *p) + fmt.Sprintf(verb, p); strings.Contains(text, "postquantum") || strings.Contains(text, "706f7374") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// mixed keys are prf+ (PPK, SK) of the PRF, one by one (RFC 8784 3).
func TestMixedKeys(t *testing.T) {
	secret := func(octet byte) crypto.Secret {
		return crypto.NewSecret([]byte(strings.Repeat(string(rune(octet)), 32)))
	}
	k := &ikeKeys{prf: crypto.PRFHMACSHA256, d: secret('d'), pi: secret('i'), pr: secret('r')}
	m := k.mix(secret('p'))
	for _, c := range []struct{ got, from crypto.Secret }{{m.d, k.d}, {m.pi, k.pi}, {m.pr, k.pr}} {
		want := crypto.NewSecret(crypto.PRF(crypto.PRFHMACSHA256, secret('p').Bytes(), c.from.Bytes(), []byte{1}))
		if !c.got.Equal(want) {
			t.Error("a mixed key is not prf(PPK, SK | 0x01)")
		}
	}
}

func TestValidatePPK(t *testing.T) {
	for _, ppk := range []*PPK{{ID: "", Key: crypto.NewSecret([]byte("k"))}, {ID: "site"}, {ID: strings.Repeat("x", 256), Key: crypto.NewSecret([]byte("k"))}} {
		cfg := sideA(t)
		cfg.Peers[0].PPK = ppk
		if err := ValidatePeers(cfg.Peers); err == nil || !strings.Contains(err.Error(), "PPK") {
			t.Errorf("identity of %d octets: error %v", len(ppk.ID), err)
		}
	}
}
