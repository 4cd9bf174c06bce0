package cryptodev_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/internal/devicetest"
	"sallyport/crypto/vectors"
)

// The function of AES-GCM that workers call, by itself, against published cases and against Go's: where the processor has the
// instructions that of gcm.c, else the library's.

// gcmSessions are sessions of one key in both directions. The length of the tag is each call's.
type gcmSessions struct{ seal, open *cryptodev.Session }

// withGCM has use work with sessions of a key.
func withGCM(t testing.TB, pool *cryptodev.Pool, key []byte, use func(gcmSessions)) {
	t.Helper()
	s := crypto.Suite{Encr: crypto.EncrAESGCM16, KeyBits: 8 * len(key)}
	keymat := crypto.NewSecret(append(bytes.Clone(key), make([]byte, s.SaltLen())...))
	var made [2]*cryptodev.Session
	for i := range made {
		var err error
		if made[i], err = pool.NewSession(s, keymat, i == 0); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := pool.Free(made[i]); err != nil {
				t.Error(err)
			}
		}()
		if !made[i].Direct {
			t.Fatalf("%s is on %s, expected it by libIPSec_MB's call or what stands in for it", s, made[i].DeviceName())
		}
	}
	use(gcmSessions{made[0], made[1]})
}

// gcmCase is one of a document.
type gcmCase struct {
	name                                string
	key, nonce, aad, plain, sealed, tag []byte
	forged                              bool
}

func (c gcmCase) hold(t *testing.T, keys gcmSessions) {
	t.Helper()
	text, tag := make([]byte, len(c.sealed)), make([]byte, len(c.tag))
	devicetest.GCM(keys.open, keys.open.Handle, text, c.sealed, c.nonce, c.aad, tag)
	if bytes.Equal(tag, c.tag) == c.forged {
		t.Errorf("%s: opened, its tag would be %x, found %x in a case that is forged: %t", c.name, tag, c.tag, c.forged)
	}
	if c.forged {
		return
	}
	if !bytes.Equal(text, c.plain) {
		t.Errorf("%s: opened %x, expected %x", c.name, text, c.plain)
	}
	devicetest.GCM(keys.seal, keys.seal.Handle, text, text, c.nonce, c.aad, tag)
	if !bytes.Equal(text, c.sealed) || !bytes.Equal(tag, c.tag) {
		t.Errorf("%s: sealed %x with tag %x, expected %x with %x", c.name, text, tag, c.sealed, c.tag)
	}
}

// S-100: what NIST validates implementations with, as far as packets of ESP have such lengths.
func TestGCMOfNIST(t *testing.T) {
	content, err := os.ReadFile("testdata/cavp_gcm.txt")
	if err != nil {
		t.Fatal(err)
	}
	pool, cases := open(t, cryptodev.DefaultDevices()...), 0
	for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var field [6][]byte
		for j, word := range strings.Fields(line) {
			if word != "-" && word != "FAIL" {
				field[j] = unhex(t, word)
			}
		}
		c := gcmCase{name: fmt.Sprintf("line %d", i+1), key: field[0], nonce: field[1], aad: field[2], plain: field[3], sealed: field[4], tag: field[5],
			forged: strings.Contains(line, "FAIL")}
		withGCM(t, pool, c.key, func(keys gcmSessions) { c.hold(t, keys) })
		cases++
	}
	if cases != 180 {
		t.Errorf("%d cases, expected 180", cases)
	}
}

// S-100: the cases of Wycheproof with a nonce and with associated data as ESP may have them, which are of texts of any length too.
func TestGCMOfWycheproof(t *testing.T) {
	groups, err := vectors.Wycheproof("aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	pool, cases := open(t, cryptodev.DefaultDevices()...), 0
	for _, g := range groups {
		for _, v := range g.Tests {
			aad := unhex(t, v.AAD)
			if g.IVSize != 96 || len(aad)%4 != 0 || len(aad) > 16 {
				continue
			}
			c := gcmCase{name: fmt.Sprintf("case %d (%s)", v.ID, v.Comment), key: unhex(t, v.Key), nonce: unhex(t, v.IV), aad: aad, plain: unhex(t, v.Msg), sealed: unhex(t, v.CT),
				tag: unhex(t, v.Tag), forged: v.Result != "valid"}
			withGCM(t, pool, c.key, func(keys gcmSessions) { c.hold(t, keys) })
			cases++
		}
	}
	if cases < 150 {
		t.Errorf("%d cases, expected 150 at least", cases)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
