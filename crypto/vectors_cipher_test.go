package crypto

import (
	"slices"
	"testing"

	"sallyport/crypto/vectors"
)

// suiteOf reads the word of a published case: of a cipher, for which any integrity algorithm will do, or of an integrity algorithm.
func suiteOf(t *testing.T, word string) Suite {
	t.Helper()
	for _, parse := range []func() (Suite, error){
		func() (Suite, error) { return ParseSuite(word) },
		func() (Suite, error) { return ParseSuite(word + "-sha1") },
		func() (Suite, error) { return ParseAHSuite(word) },
	} {
		if s, err := parse(); err == nil {
			return s
		}
	}
	t.Fatalf("no algorithm is called %s", word)
	return Suite{}
}

// S-100: the published cases of the ciphers of ESP pass in both directions.
func TestCipherVectors(t *testing.T) {
	for _, v := range vectors.Ciphers {
		key, iv, plain, want := unhex(t, v.Key), unhex(t, v.IV), unhex(t, v.Plain), unhex(t, v.Ciphertext)
		s := suiteOf(t, v.Algorithm)
		if s.AEAD() {
			p, err := newAEADProtection(s, key[:s.KeyLen()], key[s.KeyLen():])
			if err != nil {
				t.Fatal(err)
			}
			sealed := p.seal(nil, unhex(t, v.AAD), iv, plain, nil)
			same(t, v.Source, sealed[len(iv):], want)
			opened, err := p.open(unhex(t, v.AAD), sealed, nil)
			if err != nil {
				t.Errorf("%s: %v", v.Source, err)
			}
			same(t, v.Source+" opened", opened, plain)
			continue
		}
		c, err := newTextCipher(s.Encr, key[:s.KeyLen()], key[s.KeyLen():])
		if err != nil {
			t.Fatal(err)
		}
		text := slices.Clone(plain)
		c.encrypt(iv, text)
		same(t, v.Source, text, want)
		c.decrypt(iv, text)
		same(t, v.Source+" decrypted", text, plain)
	}
}

// TestCCMVectors are the cases with nonces of other lengths than ESP's: packet vector 1 of RFC 3610
// section 8 and example 3 of SP 800-38C appendix C.
func TestCCMVectors(t *testing.T) {
	for name, v := range map[string]struct{ key, nonce, aad, plain, sealed string }{
		"RFC 3610 packet vector 1": {"c0c1c2c3c4c5c6c7c8c9cacbcccdcecf", "00000003020100a0a1a2a3a4a5", "0001020304050607",
			"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e", "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"},
		"SP 800-38C example 3": {"404142434445464748494a4b4c4d4e4f", "101112131415161718191a1b", "000102030405060708090a0b0c0d0e0f10111213",
			"202122232425262728292a2b2c2d2e2f3031323334353637", "e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5484392fbc1b09951"},
	} {
		nonce := unhex(t, v.nonce)
		c := &ccm{mustAES(unhex(t, v.key)), len(nonce), 8}
		same(t, name, c.Seal(nil, nonce, unhex(t, v.plain), unhex(t, v.aad)), unhex(t, v.sealed))
	}
}

// S-100: the published cases of the integrity algorithms pass, however the message is cut
// into parts.
func TestMACVectors(t *testing.T) {
	for _, v := range vectors.MACs {
		row, _ := integByID(suiteOf(t, v.Algorithm).Integ)
		data, want := unhex(t, v.Data), unhex(t, v.Want)
		same(t, v.Source, sum(row.mac(unhex(t, v.Key)), len(want), data), want)
		for cut := range data {
			same(t, v.Source+" in parts", sum(row.mac(unhex(t, v.Key)), len(want), data[:cut], nil, data[cut:]), want)
		}
	}
}

// S-100: no algorithm of the registry is without a published case: those of AES-GCM are
// in TestGCMVectors, those of AES-GMAC in TestESPVectors and TestWycheproofMAC.
func TestEveryAlgorithmHasAVector(t *testing.T) {
	encrs := map[EncrID]bool{EncrAESGCM8: true, EncrAESGCM12: true, EncrAESGCM16: true, EncrNullAESGMAC: true}
	for _, v := range vectors.Ciphers {
		encrs[suiteOf(t, v.Algorithm).Encr] = true
	}
	for _, row := range encrTable {
		if !encrs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
	integs := map[IntegID]bool{IntegAESGMAC128: true, IntegAESGMAC192: true, IntegAESGMAC256: true}
	for _, v := range vectors.MACs {
		integs[suiteOf(t, v.Algorithm).Integ] = true
	}
	for _, row := range integTable {
		if !integs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
	prfs := map[PRFID]bool{}
	for _, v := range prfVectors {
		prfs[v.id] = true
	}
	for _, row := range prfTable {
		if !prfs[row.id] {
			t.Errorf("%s has no vector", row.name)
		}
	}
}
