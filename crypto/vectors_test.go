package crypto

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"sallyport/crypto/vectors"
)

// unhex decodes the hexadecimal form of a published vector, blanks allowed.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, what string, found, want []byte) {
	t.Helper()
	if !bytes.Equal(found, want) {
		t.Errorf("%s:\n%x\nexpected:\n%x", what, found, want)
	}
}

type prfVector struct {
	id        PRFID
	key, data string
	want      string
}

// prfVectors are the cases of RFC 4434 section 3 and RFC 4615 section 4, and those of HMAC.
var prfVectors = append([]prfVector{
	{PRFAESXCBC, "000102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f10111213", "47f51b4564966215b8985c63055ed308"},
	{PRFAESXCBC, "00010203040506070809", "000102030405060708090a0b0c0d0e0f10111213", "0fa087af7d866e7653434e602fdde835"},
	{PRFAESXCBC, "000102030405060708090a0b0c0d0e0f" + "edcb", "000102030405060708090a0b0c0d0e0f10111213", "8cd3c93ae598a9803006ffb67c40e9e4"},
	{PRFAESCMAC, "000102030405060708090a0b0c0d0e0f" + "edcb", "000102030405060708090a0b0c0d0e0f10111213", "84a348a4a45d235babfffc0d2b4da09a"},
	{PRFAESCMAC, "000102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f10111213", "980ae87b5f4c9c5214f5b6a8455e4c2d"},
	{PRFAESCMAC, "00010203040506070809", "000102030405060708090a0b0c0d0e0f10111213", "290d9e112edb09ee141fcf64c0b72f3d"},
}, hmacVectors()...)

// hmacVectors are the cases of HMAC that do not truncate: a PRF gives the whole of it.
func hmacVectors() (all []prfVector) {
	for word, id := range map[string]PRFID{"md5": PRFHMACMD5, "sha1": PRFHMACSHA1, "sha256": PRFHMACSHA256, "sha384": PRFHMACSHA384, "sha512": PRFHMACSHA512} {
		for _, v := range vectors.MACs {
			if v.Algorithm == word && len(v.Want) == 2*PRFKeyLen(id) {
				all = append(all, prfVector{id, v.Key, v.Data, v.Want})
			}
		}
	}
	return all
}

func rep(octet string, n int) string { return strings.Repeat(octet, n) }

func TestPRFVectors(t *testing.T) {
	for _, v := range prfVectors {
		data := unhex(t, v.data)
		same(t, v.id.String(), PRF(v.id, unhex(t, v.key), data), unhex(t, v.want))
		same(t, v.id.String()+" in parts", PRF(v.id, unhex(t, v.key), data[:3], nil, data[3:]), unhex(t, v.want))
		if PRFKeyLen(v.id) != len(v.want)/2 {
			t.Errorf("%s: key length %d, expected that of the output, %d", v.id, PRFKeyLen(v.id), len(v.want)/2)
		}
	}
}

// TestPRFPlusVector is the first case of NIST's CAVS file for the key derivation of
// IKEv2 (SP 800-135) with SHA-1: SKEYSEED, then 132 octets of keys.
func TestPRFPlusVector(t *testing.T) {
	ni, nr := unhex(t, "32b50d5f4a3763f3"), unhex(t, "9206a04b26564cb1")
	spis := unhex(t, "34c9e7c188868785 3ff77d760d2b2199")
	gir := unhex(t, "4b2c1f971981a8ad8d0abeafabf38cf75fc8349c148142465ed9c8b516b8be52")
	skeyseed := PRF(PRFHMACSHA1, append(bytes.Clone(ni), nr...), gir)
	same(t, "SKEYSEED", skeyseed, unhex(t, "a9a7b222b59f8f48645f28a1db5b5f5d7479cba7"))
	seed := bytes.Join([][]byte{ni, nr, spis}, nil)
	same(t, "DKM", PRFPlus(PRFHMACSHA1, skeyseed, seed, 132), unhex(t, `
		a14293677cc80ff8f9cc0eee30d895da9d8f405666e30ef0dfcb63c634a46002a2a63080e514a062768b76606f9fa5e992204fc5a670bde3
		f10d6b027113936a5c55b648a194ae587b0088d52204b702c979fa280870d2ed41efa9c549fd11198af1670b143d384bd275c5f594cf266b
		05ebadca855e4249520a441a81157435a7a56cc4`))
}

// TestPRFNonceKey has the nonces whole for an HMAC and 64 bits of each for the PRFs of AES
// (RFC 7296 section 2.14).
func TestPRFNonceKey(t *testing.T) {
	ni, nr := unhex(t, rep("a1", 16)), unhex(t, rep("b2", 32))
	for _, row := range prfTable {
		want := rep("a1", 16) + rep("b2", 32)
		if row.id == PRFAESXCBC || row.id == PRFAESCMAC {
			want = rep("a1", 8) + rep("b2", 8)
		}
		same(t, row.name, PRFNonceKey(row.id, ni, nr), unhex(t, want))
	}
	same(t, "nonces", append(ni, nr...), unhex(t, rep("a1", 16)+rep("b2", 32)))
}

// TestPRFPlusChain builds T1 | T2 | ... by the definition, to the last counter value.
func TestPRFPlusChain(t *testing.T) {
	key, seed := []byte("key"), []byte("seed")
	for _, row := range prfTable {
		var chain, last []byte
		for counter := 1; counter <= 255; counter++ {
			last = PRF(row.id, key, last, seed, []byte{byte(counter)})
			chain = append(chain, last...)
		}
		for _, n := range []int{0, 1, row.size, row.size + 1, 3 * row.size, 255 * row.size} {
			same(t, row.name, PRFPlus(row.id, key, seed, n), chain[:n])
		}
	}
}

func TestPRFPanicsOnMisuse(t *testing.T) {
	for name, misuse := range map[string]func(){
		"unknown PRF":   func() { PRF(99, nil) },
		"prf+ too long": func() { PRFPlus(PRFHMACSHA256, nil, nil, 255*32+1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

// TestGCMVectors are cases 4, 10 and 16 of McGrew and Viega, "The Galois/Counter Mode of
// Operation". Shorter ICVs are the same tag cut off (SP 800-38D section 5.2.1.2).
func TestGCMVectors(t *testing.T) {
	key := unhex(t, "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
	salt, iv := unhex(t, "cafebabe"), unhex(t, "facedbaddecaf888")
	aad := unhex(t, "feedfacedeadbeeffeedfacedeadbeefabaddad2")
	plaintext := unhex(t, `d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525
		b16aedf5aa0de657ba637b39`)
	cases := []struct {
		bits            int
		ciphertext, tag string
	}{
		{128, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091", "5bc94fbc3221a5db94fae95ae7121a47"},
		{192, "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710", "2519498e80f1478f37ba55bd6d27618c"},
		{256, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662", "76fc6ece0f4e1768cddf8853bb2d551b"},
	}
	for _, c := range cases {
		for _, encr := range []EncrID{EncrAESGCM8, EncrAESGCM12, EncrAESGCM16} {
			s := Suite{Encr: encr, KeyBits: c.bits}
			p, err := newProtection(s, NewSecret(join(key[:s.KeyLen()], salt)))
			if err != nil {
				t.Fatal(err)
			}
			want := join(iv, join(unhex(t, c.ciphertext), unhex(t, c.tag)[:s.ICVLen()]))
			// How the associated data is split does not matter.
			same(t, s.String(), p.seal(nil, aad[:8], iv, plaintext, aad[8:]), want)
			opened, err := p.open(aad, want, nil)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			same(t, s.String()+" opened", opened, plaintext)
		}
	}
}
