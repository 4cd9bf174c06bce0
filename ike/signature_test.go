package ike

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"slices"
	"strings"
	"testing"

	"sallyport/ike/wire"
)

// The AlgorithmIdentifiers of RFC 7427 appendix A and RFC 8420 appendix A, octet for octet. For RSASSA-PSS the RFC shows the trailer field at its
// default too, which DER leaves out, as libreswan and OpenIKED do; either is read.
func TestAlgorithmIdentifiers(t *testing.T) {
	const sha256, sha384, sha512 = "300d06096086480165030402010500", "300d06096086480165030402020500", "300d06096086480165030402030500"
	pss := func(hash, salt string) string {
		return "304106092a864886f70d01010a3034a00f" + hash + "a11c301a06092a864886f70d010108" + hash + "a2030201" + salt
	}
	for name, identifier := range map[string]string{
		"RSA PKCS#1 v1.5 with SHA-1":   "300d06092a864886f70d0101050500",
		"RSA PKCS#1 v1.5 with SHA-256": "300d06092a864886f70d01010b0500",
		"RSA PKCS#1 v1.5 with SHA-384": "300d06092a864886f70d01010c0500",
		"RSA PKCS#1 v1.5 with SHA-512": "300d06092a864886f70d01010d0500",
		"ECDSA with SHA-1":             "300906072a8648ce3d0401",
		"ECDSA with SHA-256":           "300a06082a8648ce3d040302",
		"ECDSA with SHA-384":           "300a06082a8648ce3d040303",
		"ECDSA with SHA-512":           "300a06082a8648ce3d040304",
		"RSASSA-PSS with SHA-256":      pss(sha256, "20"),
		"RSASSA-PSS with SHA-384":      pss(sha384, "30"),
		"RSASSA-PSS with SHA-512":      pss(sha512, "40"),
		"Ed25519":                      "300506032b6570",
	} {
		s := schemes[slices.IndexFunc(schemes, func(s scheme) bool { return s.name == name })]
		der := unhex(t, identifier)
		prefix := append([]byte{byte(len(der))}, der...)
		if got := s.prefix(); !bytes.Equal(got, prefix) {
			t.Errorf("%s: prefix %x, expected %x", name, got, prefix)
		}
		read, rest, err := readPrefix(append(prefix, "signature"...))
		if err != nil || read != s || string(rest) != "signature" {
			t.Errorf("%s: read as %s and %q, %v", name, read.name, rest, err)
		}
	}
	trailer := "304606092a864886f70d01010a3039a00f" + sha256 + "a11c301a06092a864886f70d010108" + sha256 + "a203020120a303020101"
	if s, _, err := readPrefix(append([]byte{0x48}, unhex(t, trailer)...)); err != nil || s.name != "RSASSA-PSS with SHA-256" {
		t.Errorf("with a trailer field: %s, %v", s.name, err)
	}
	for name, identifier := range map[string]string{
		"PSS with default parameters (SHA-1)": "300d06092a864886f70d01010a3000",
		"PSS without parameters":              "300b06092a864886f70d01010a",
		"PSS with two hashes":                 "304106092a864886f70d01010a3034a00f" + sha256 + "a11c301a06092a864886f70d010108" + sha384 + "a203020120",
		"PSS without salt":                    pss(sha256, "00"),
		"PSS with a salt that is too long":    pss(sha256, "41"),
		"PSS with another trailer":            strings.Replace(trailer, "a303020101", "a303020102", 1),
		"ECDSA with parameters":               "300c06082a8648ce3d0403020500",
		"DSA":                                 "300b0609608648016503040302",
		"no identifier":                       "3000",
		"no SEQUENCE":                         "0500",
	} {
		der := unhex(t, identifier)
		if s, _, err := readPrefix(append([]byte{byte(len(der))}, der...)); err == nil {
			t.Errorf("%s: read as %s", name, s.name)
		}
	}
	for _, data := range [][]byte{{}, {9}, {200, 0x30}, {0}} {
		if s, _, err := readPrefix(data); err == nil {
			t.Errorf("%x: read as %s", data, s.name)
		}
	}
}

// RFC 4754 section 8: signatures of "abc" as methods 9 to 11 carry them.
func TestECDSAVectors(t *testing.T) {
	for _, v := range []struct {
		method     wire.AuthMethod
		curve      elliptic.Curve
		x, y, r, s string
	}{
		{wire.AuthECDSASHA256P256, elliptic.P256(),
			"2442A5CC0ECD015FA3CA31DC8E2BBC70BF42D60CBCA20085E0822CB04235E970", "6FC98BD7E50211A4A27102FA3549DF79EBCB4BF246B80945CDDFE7D509BBFD7D",
			"CB28E0999B9C7715FD0A80D8E47A77079716CBBF917DD72E97566EA1C066957C", "86FA3BB4E26CAD5BF90B7F81899256CE7594BB1EA0C89212748BFF3B3D5B0315"},
		{wire.AuthECDSASHA384P384, elliptic.P384(),
			"96281BF8DD5E0525CA049C048D345D3082968D10FEDF5C5ACA0C64E6465A97EA5CE10C9DFEC21797415710721F437922",
			"447688BA94708EB6E2E4D59F6AB6D7EDFF9301D249FE49C33096655F5D502FAD3D383B91C5E7EDAA2B714CC99D5743CA",
			"FB017B914E29149432D8BAC29A514640B46F53DDAB2C69948084E2930F1C8F7E08E07C9C63F2D21A07DCB56A6AF56EB3",
			"B263A1305E057F984D38726A1B46874109F417BCA112674C528262A40A629AF1CBB9F516CE0FA7D2FF630863A00E8B9F"},
		{wire.AuthECDSASHA512P521, elliptic.P521(),
			"0151518F1AF0F563517EDD5485190DF95A4BF57B5CBA4CF2A9A3F6474725A35F7AFE0A6DDEB8BEDBCD6A197E592D40188901CECD650699C9B5E456AEA5ADD19052A8",
			"006F3B142EA1BFFF7E2837AD44C9E4FF6D2D34C73184BBAD90026DD5E6E85317D9DF45CAD7803C6C20035B2F3FF63AFF4E1BA64D1C077577DA3F4286C58F0AEAE643",
			"0154FD3836AF92D0DCA57DD5341D3053988534FDE8318FC6AAAAB68E2E6F4339B19F2F281A7E0B22C269D93CF8794A9278880ED7DBB8D9362CAEACEE544320552251",
			"017705A7030290D1CEB605A9A1BB03FF9CDD521E87A696EC926C8C10C8362DF4975367101F67D1CF9BCCBF2F3D239534FA509E70AAC851AE01AAC68D62F866472660"},
	} {
		key, err := ecdsa.ParseUncompressedPublicKey(v.curve, unhex(t, "04"+v.x+v.y))
		if err != nil {
			t.Fatal(err)
		}
		s, signature, err := readSignature(&wire.Auth{Method: v.method, Data: unhex(t, v.r+v.s)}, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.verify(key, []byte("abc"), signature); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if s.verify(key, []byte("abd"), signature) == nil || s.verify(key, []byte("abc"), append(signature, 0)) == nil || s.verify(key, []byte("abc"), nil) == nil {
			t.Errorf("%s: verifies what was not signed", s.name)
		}
	}
}

// RFC 8032 7.1, test 3, as RFC 8420 carries it.
func TestEd25519Vector(t *testing.T) {
	key := ed25519.PublicKey(unhex(t, "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"))
	auth := &wire.Auth{Method: wire.AuthDigitalSignature, Data: unhex(t, "07300506032b6570"+
		"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")}
	s, signature, err := readSignature(auth, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.verify(key, []byte{0xaf, 0x82}, signature); err != nil {
		t.Error(err)
	}
}

// The strongest that both ends have.
func TestChooseScheme(t *testing.T) {
	all := acceptedHashes(false)
	for _, c := range []struct {
		key    string
		hashes []hashID
		legacy bool
		want   string
	}{
		{"rsa2048", all, false, "RSASSA-PSS with SHA-512"},
		{"rsa2048", []hashID{hashSHA256, hashSHA1}, false, "RSASSA-PSS with SHA-256"},
		{"rsa1024", all, true, "RSASSA-PSS with SHA-384"}, // with SHA-512 it does not fit
		{"rsa2048", []hashID{hashSHA1}, false, ""},
		{"rsa2048", []hashID{hashSHA1}, true, "RSA PKCS#1 v1.5 with SHA-1"},
		{"rsa2048", nil, false, ""},
		{"rsa2048", nil, true, "RSA PKCS#1 v1.5 with SHA-1, method 1"},
		{"p256", all, false, "ECDSA with SHA-256"},
		{"p384", all, false, "ECDSA with SHA-384"},
		{"p521", all, false, "ECDSA with SHA-512"},
		{"p384", []hashID{hashSHA256}, false, "ECDSA with SHA-384 on P-384"},
		{"p256", []hashID{hashSHA512}, false, "ECDSA with SHA-256 on P-256"},
		{"p256", nil, false, "ECDSA with SHA-256 on P-256"},
		{"p384", nil, true, "ECDSA with SHA-384 on P-384"},
		{"p521", nil, false, "ECDSA with SHA-512 on P-521"},
		{"ed25519", all, false, "Ed25519"},
		{"ed25519", []hashID{hashSHA512}, true, ""},
	} {
		s, err := chooseScheme(keysOf()[c.key].Public(), c.hashes, c.legacy)
		if s.name != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s with %v: %q, %v, expected %q", c.key, c.hashes, s.name, err, c.want)
		}
	}
}

// Every scheme signs what it verifies, and nothing else; the same again where the key leaves no choice.
func TestSignAndVerify(t *testing.T) {
	for _, s := range schemes {
		for name, key := range keysOf() {
			if !s.suits(key.Public()) {
				continue
			}
			auth, err := s.sign(key, seeded(7), []byte("octets"))
			again, _ := s.sign(key, seeded(7), []byte("octets"))
			if err != nil || auth.Method != s.method || !bytes.Equal(auth.Data, again.Data) {
				t.Errorf("%s by %s: method %v, %v, the same twice: %t", s.name, name, auth.Method, err, bytes.Equal(auth.Data, again.Data))
				continue
			}
			read, signature, err := readSignature(auth, true)
			if err != nil || read.name != s.name {
				t.Fatalf("%s reads as %s, %v", s.name, read.name, err)
			}
			if err := read.verify(key.Public(), []byte("octets"), signature); err != nil {
				t.Errorf("%s by %s: %v", s.name, name, err)
			}
			for i := 0; i < len(signature); i += 11 {
				bad := slices.Clone(signature)
				bad[i] ^= 1
				if read.verify(key.Public(), []byte("octets"), bad) == nil {
					t.Errorf("%s by %s verifies with octet %d changed", s.name, name, i)
				}
			}
			if _, _, err := readSignature(auth, false); (err != nil) != s.legacy {
				t.Errorf("%s without legacy algorithms: %v", s.name, err)
			}
			other := crypto.PublicKey(keysOf()["ed25519"].Public())
			if name == "ed25519" {
				other = keysOf()["rsa2048"].Public()
			}
			var f *failure
			if err := read.verify(other, []byte("octets"), signature); !errors.As(err, &f) || f.reason != AuthAlgorithm {
				t.Errorf("%s with a key of another kind: %v", s.name, err)
			}
		}
	}
}

func TestReadHashes(t *testing.T) {
	if got := readHashes(nil); got != nil {
		t.Errorf("without the notification %v", got)
	}
	n := wire.NewNotify(wire.NotifySignatureHashAlgorithms, []byte{0, 2, 0, 99, 0, 2, 0, 5, 7})
	if got := readHashes(n); !slices.Equal(got, []hashID{hashSHA256, hashIdentity}) {
		t.Errorf("%v, expected SHA-256 and Identity", got)
	}
	if got := readHashes(wire.NewNotify(wire.NotifySignatureHashAlgorithms, nil)); got == nil || len(got) != 0 {
		t.Errorf("%v of an empty notification, expected an empty list", got)
	}
}
