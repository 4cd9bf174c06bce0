package crypto

import (
	"bytes"
	"crypto/cipher"
	"slices"
	"testing"

	"sallyport/crypto/vectors"
)

type (
	wycheproofGroup  = vectors.WycheproofGroup
	wycheproofVector = vectors.WycheproofVector
)

// eachWycheproof runs a check on the vectors of a file whose group fits, and wants at least
// so many of them.
func eachWycheproof(t *testing.T, file string, least int, fits func(wycheproofGroup) bool, check func(t *testing.T, g wycheproofGroup, v wycheproofVector)) {
	t.Helper()
	groups, err := vectors.Wycheproof(file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range groups {
		if !fits(g) {
			continue
		}
		for _, v := range g.Tests {
			check(t, g, v)
			n++
		}
	}
	if n < least {
		t.Errorf("%s: %d vectors fit, expected %d at least", file, n, least)
	}
}

// TestWycheproofAEAD holds the combined-mode ciphers against all vectors with a nonce and a
// tag of lengths that they have: valid ones seal and open, invalid ones do not open.
func TestWycheproofAEAD(t *testing.T) {
	ipsecTag := func(g wycheproofGroup) bool { return slices.Contains([]int{64, 96, 128}, g.TagSize) }
	cases := []struct {
		file  string
		least int
		fits  func(wycheproofGroup) bool
		aead  func(key []byte, g wycheproofGroup) (cipher.AEAD, error)
	}{
		{"aes_gcm_test.json", 190, func(g wycheproofGroup) bool { return g.IVSize == 96 },
			func(key []byte, g wycheproofGroup) (cipher.AEAD, error) { return newGCM(mustAES(key), g.TagSize/8) }},
		{"aes_ccm_test.json", 380, func(g wycheproofGroup) bool { return g.IVSize >= 56 && g.IVSize <= 104 && ipsecTag(g) },
			func(key []byte, g wycheproofGroup) (cipher.AEAD, error) {
				return &ccm{mustAES(key), g.IVSize / 8, g.TagSize / 8}, nil
			}},
		{"chacha20_poly1305_test.json", 300, func(g wycheproofGroup) bool { return g.IVSize == 96 },
			func(key []byte, _ wycheproofGroup) (cipher.AEAD, error) {
				p, err := newAEADProtection(Suite{Encr: EncrChaCha20Poly1305}, key, make([]byte, 4))
				if err != nil {
					return nil, err
				}
				return p.aead(), nil
			}},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			eachWycheproof(t, c.file, c.least, c.fits, func(t *testing.T, g wycheproofGroup, v wycheproofVector) {
				aead, err := c.aead(unhex(t, v.Key), g)
				if err != nil {
					t.Fatal(err)
				}
				checkAEAD(t, aead, v)
			})
		})
	}
}

func checkAEAD(t *testing.T, aead cipher.AEAD, v wycheproofVector) {
	t.Helper()
	nonce, data, plaintext, sealed := unhex(t, v.IV), unhex(t, v.AAD), unhex(t, v.Msg), unhex(t, v.CT+v.Tag)
	opened, err := aead.Open(nil, nonce, sealed, data)
	if v.Result != "valid" {
		if err == nil || len(opened) > 0 {
			t.Errorf("vector %d (%s): %x was opened", v.ID, v.Comment, sealed)
		}
		return
	}
	if err != nil || !bytes.Equal(opened, plaintext) {
		t.Errorf("vector %d (%s): opened %x, error %v, expected %x", v.ID, v.Comment, opened, err, plaintext)
	}
	if found := aead.Seal(nil, nonce, plaintext, data); !bytes.Equal(found, sealed) {
		t.Errorf("vector %d (%s): sealed %x, expected %x", v.ID, v.Comment, found, sealed)
	}
}

// TestWycheproofMAC wants the valid tags and no invalid one from AES-CMAC, AES-GMAC and the
// HMACs of ESP, AH and the PRFs.
func TestWycheproofMAC(t *testing.T) {
	keyOf := func(bits int) func(g wycheproofGroup) bool {
		return func(g wycheproofGroup) bool { return bits == 0 || g.KeySize == bits }
	}
	prf := func(id PRFID) func(v wycheproofVector) []byte {
		return func(v wycheproofVector) []byte { return PRF(id, unhex(t, v.Key), unhex(t, v.Msg)) }
	}
	cases := []struct {
		file  string
		least int
		fits  func(wycheproofGroup) bool
		mac   func(wycheproofVector) []byte
	}{
		{"aes_cmac_test.json", 100, keyOf(128), func(v wycheproofVector) []byte { return sum(newCMAC(unhex(t, v.Key)), 16, unhex(t, v.Msg)) }},
		{"aes_gmac_test.json", 200, func(g wycheproofGroup) bool { return g.IVSize == 96 }, func(v wycheproofVector) []byte {
			nonce := unhex(t, v.IV)
			return newGMAC(unhex(t, v.Key), nonce[:4]).tag(nonce[4:], unhex(t, v.Msg))
		}},
		{"hmac_sha1_test.json", 160, keyOf(0), prf(PRFHMACSHA1)},
		{"hmac_sha256_test.json", 160, keyOf(0), prf(PRFHMACSHA256)},
		{"hmac_sha384_test.json", 160, keyOf(0), prf(PRFHMACSHA384)},
		{"hmac_sha512_test.json", 160, keyOf(0), prf(PRFHMACSHA512)},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			eachWycheproof(t, c.file, c.least, c.fits, func(t *testing.T, g wycheproofGroup, v wycheproofVector) {
				found := c.mac(v)[:g.TagSize/8]
				if same := bytes.Equal(found, unhex(t, v.Tag)); same != (v.Result == "valid") {
					t.Errorf("vector %d (%s, %s): tag %x, in the file %s", v.ID, v.Comment, v.Result, found, v.Tag)
				}
			})
		})
	}
}

// TestWycheproofCBC takes the valid vectors of AES-CBC with PKCS #5 padding, which is added
// here: ESP has its own.
func TestWycheproofCBC(t *testing.T) {
	all := func(wycheproofGroup) bool { return true }
	eachWycheproof(t, "aes_cbc_pkcs5_test.json", 200, all, func(t *testing.T, _ wycheproofGroup, v wycheproofVector) {
		if v.Result != "valid" {
			return
		}
		c, err := newTextCipher(EncrAESCBC, unhex(t, v.Key), nil)
		if err != nil {
			t.Fatal(err)
		}
		text := unhex(t, v.Msg)
		fill := 16 - len(text)%16
		text = append(text, bytes.Repeat([]byte{byte(fill)}, fill)...)
		c.encrypt(unhex(t, v.IV), text)
		same(t, v.Comment, text, unhex(t, v.CT))
		c.decrypt(unhex(t, v.IV), text)
		same(t, v.Comment+" decrypted", text[:len(text)-fill], unhex(t, v.Msg))
	})
}
