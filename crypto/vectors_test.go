package crypto

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
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

// prfVectors are the cases of RFC 2202, of RFC 4231 section 4 without those that truncate, of
// RFC 4434 section 3 and of RFC 4615 section 4.
var prfVectors = []struct {
	id        PRFID
	key, data string
	want      string
}{
	{PRFHMACMD5, rep("0b", 16), text("Hi There"), "9294727a3638bb1c13f48ef8158bfc9d"},
	{PRFHMACMD5, text("Jefe"), text("what do ya want for nothing?"), "750c783e6ab0b503eaa86e310a5db738"},
	{PRFHMACMD5, rep("aa", 80), text("Test Using Larger Than Block-Size Key - Hash Key First"), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"},

	{PRFAESXCBC, count32[:32], count32[:40], "47f51b4564966215b8985c63055ed308"},
	{PRFAESXCBC, count32[:20], count32[:40], "0fa087af7d866e7653434e602fdde835"},
	{PRFAESXCBC, count32[:32] + "edcb", count32[:40], "8cd3c93ae598a9803006ffb67c40e9e4"},
	{PRFAESCMAC, count32[:32] + "edcb", count32[:40], "84a348a4a45d235babfffc0d2b4da09a"},
	{PRFAESCMAC, count32[:32], count32[:40], "980ae87b5f4c9c5214f5b6a8455e4c2d"},
	{PRFAESCMAC, count32[:20], count32[:40], "290d9e112edb09ee141fcf64c0b72f3d"},

	{PRFHMACSHA1, rep("0b", 20), text("Hi There"), "b617318655057264e28bc0b6fb378c8ef146be00"},
	{PRFHMACSHA1, text("Jefe"), text("what do ya want for nothing?"), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
	{PRFHMACSHA1, rep("aa", 20), rep("dd", 50), "125d7342b9ac11cd91a39af48aa17b4f63f175d3"},
	{PRFHMACSHA1, key25, rep("cd", 50), "4c9007f4026250c6bc8414f9bf50c86c2d7235da"},
	{PRFHMACSHA1, rep("0c", 20), text("Test With Truncation"), "4c1a03424b55e07fe7f27be1d58bb9324a9a5a04"},
	{PRFHMACSHA1, rep("aa", 80), text("Test Using Larger Than Block-Size Key - Hash Key First"), "aa4ae5e15272d00e95705637ce8a3b55ed402112"},
	{PRFHMACSHA1, rep("aa", 80), text("Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data"), "e8e99d0f45237d786d6bbaa7965c7808bbff1a91"},

	{PRFHMACSHA256, rep("0b", 20), text("Hi There"), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
	{PRFHMACSHA256, text("Jefe"), text("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{PRFHMACSHA256, rep("aa", 20), rep("dd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
	{PRFHMACSHA256, key25, rep("cd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
	{PRFHMACSHA256, rep("aa", 131), text(largeKey), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
	{PRFHMACSHA256, rep("aa", 131), text(largeKeyAndData), "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},

	{PRFHMACSHA384, rep("0b", 20), text("Hi There"), "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6"},
	{PRFHMACSHA384, text("Jefe"), text("what do ya want for nothing?"), "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"},
	{PRFHMACSHA384, rep("aa", 20), rep("dd", 50), "88062608d3e6ad8a0aa2ace014c8a86f0aa635d947ac9febe83ef4e55966144b2a5ab39dc13814b94e3ab6e101a34f27"},
	{PRFHMACSHA384, key25, rep("cd", 50), "3e8a69b7783c25851933ab6290af6ca77a9981480850009cc5577c6e1f573b4e6801dd23c4a7d679ccf8a386c674cffb"},
	{PRFHMACSHA384, rep("aa", 131), text(largeKey), "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952"},
	{PRFHMACSHA384, rep("aa", 131), text(largeKeyAndData), "6617178e941f020d351e2f254e8fd32c602420feb0b8fb9adccebb82461e99c5a678cc31e799176d3860e6110c46523e"},

	{PRFHMACSHA512, rep("0b", 20), text("Hi There"), "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854"},
	{PRFHMACSHA512, text("Jefe"), text("what do ya want for nothing?"), "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	{PRFHMACSHA512, rep("aa", 20), rep("dd", 50), "fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb"},
	{PRFHMACSHA512, key25, rep("cd", 50), "b0ba465637458c6990e5a8c5f61d4af7e576d97ff94b872de76f8050361ee3dba91ca5c11aa25eb4d679275cc5788063a5f19741120c4f2de2adebeb10a298dd"},
	{PRFHMACSHA512, rep("aa", 131), text(largeKey), "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598"},
	{PRFHMACSHA512, rep("aa", 131), text(largeKeyAndData), "e37b6a775dc87dbaa4dfa9f96e5e3ffddebd71f8867289865df5a32d20cdc944b6022cac3c4982b10d5eeb55c3e4de15134676fb6de0446065c97440fa8c6a58"},
}

const (
	key25           = "0102030405060708090a0b0c0d0e0f10111213141516171819"
	largeKey        = "Test Using Larger Than Block-Size Key - Hash Key First"
	largeKeyAndData = "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm."
)

func rep(octet string, n int) string { return strings.Repeat(octet, n) }
func text(s string) string           { return hex.EncodeToString([]byte(s)) }

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
