package crypto

import (
	"bytes"
	"errors"
	"testing"

	"sallyport/crypto/vectors"
)

// S-100: the published cases of CBC pass with the cipher of IKEv1, in one message and in several, each with the last block of the one before as its IV.
func TestISAKMPCipherVectors(t *testing.T) {
	tried := 0
	for _, v := range vectors.Ciphers {
		encr := suiteOf(t, v.Algorithm).Encr
		row, _ := encrByID(encr)
		if !row.chained {
			continue
		}
		tried++
		iv, plain, want := unhex(t, v.IV), unhex(t, v.Plain), unhex(t, v.Ciphertext)
		c, err := NewISAKMPCipher(encr, NewSecret(unhex(t, v.Key)))
		if err != nil {
			t.Fatalf("%s: %v", v.Source, err)
		}
		if c.BlockSize() != len(iv) {
			t.Errorf("%s: blocks of %d octets, expected %d", v.Source, c.BlockSize(), len(iv))
		}
		for size := c.BlockSize(); size <= len(plain); size += c.BlockSize() {
			var encrypted, decrypted []byte
			sealIV, openIV := iv, iv
			for rest := plain; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				ciphertext, next := c.Encrypt(sealIV, rest[:min(size, len(rest))])
				plaintext, nextOpen, err := c.Decrypt(openIV, ciphertext)
				if err != nil {
					t.Fatalf("%s: %v", v.Source, err)
				}
				sealIV, openIV = next, nextOpen
				encrypted, decrypted = append(encrypted, ciphertext...), append(decrypted, plaintext...)
			}
			same(t, v.Source, encrypted, want)
			same(t, v.Source+" decrypted", decrypted, plain)
		}
		same(t, v.Source+": IV afterwards", iv, unhex(t, v.IV))
	}
	if tried < 6 {
		t.Errorf("%d vectors of CBC, expected those of DES, 3DES and AES with three key lengths", tried)
	}
}

// RFC 2409 appendix B: a message is filled up with zeros, and not at all when it is whole blocks.
func TestISAKMPCipherPadding(t *testing.T) {
	c, err := NewISAKMPCipher(EncrAESCBC, NewSecret(bytes.Repeat([]byte{7}, 16)))
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, c.BlockSize())
	for length := 1; length < 50; length++ {
		plain := bytes.Repeat([]byte{0xee}, length)
		ciphertext, next := c.Encrypt(iv, plain)
		if want := (length + 15) / 16 * 16; len(ciphertext) != want {
			t.Errorf("%d octets become %d, expected %d", length, len(ciphertext), want)
		}
		same(t, "next IV", next, ciphertext[len(ciphertext)-16:])
		plaintext, _, err := c.Decrypt(iv, ciphertext)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "plaintext with padding", plaintext, append(plain, make([]byte, len(ciphertext)-length)...))
	}
	for _, length := range []int{0, 1, 15, 17} {
		if _, _, err := c.Decrypt(iv, make([]byte, length)); !errors.Is(err, ErrISAKMPCiphertext) {
			t.Errorf("ciphertext of %d octets: error %v", length, err)
		}
	}
}

func TestISAKMPCipherRefusals(t *testing.T) {
	for _, c := range []struct {
		id     EncrID
		length int
	}{
		{EncrAESGCM16, 16}, {EncrAESCTR, 16}, {EncrNull, 0}, {99, 16}, {EncrAESCBC, 20}, {EncrAESCBC, 0}, {Encr3DES, 16}, {Encr3DES, 8}, {EncrDES, 7}, {EncrDES, 24},
	} {
		if _, err := NewISAKMPCipher(c.id, NewSecret(bytes.Repeat([]byte{0x5b}, c.length))); err == nil {
			t.Errorf("%s with a key of %d octets is no cipher of IKEv1, but it was made", c.id, c.length)
		}
	}
	c, err := NewISAKMPCipher(EncrDES, NewSecret(unhex(t, "0123456789abcdef")))
	if err != nil {
		t.Fatal(err)
	}
	c.Wipe()
	wantPanic(t, "a wiped cipher encrypted", func() { c.Encrypt(make([]byte, 8), []byte("text")) })
}

// Whatever parity bits they have, the weak and semi-weak keys of RFC 2409 appendix A are refused, at any place in a key of 3DES.
func TestWeakKeys(t *testing.T) {
	strong := unhex(t, "0123456789abcdef 23456789abcdef01 456789abcdef0123")
	weak := func(id EncrID, key []byte) bool {
		_, err := NewISAKMPCipher(id, NewSecret(bytes.Clone(key)))
		if err != nil && !errors.Is(err, ErrWeakKey) {
			t.Fatal(err)
		}
		return err != nil
	}
	for _, text := range []string{
		"0101010101010101", "1f1f1f1f0e0e0e0e", "e0e0e0e0f1f1f1f1", "fefefefefefefefe", "01fe01fe01fe01fe", "1fe01fe00ef10ef1", "01e001e001f101f1", "1ffe1ffe0efe0efe",
		"011f011f010e010e", "e0fee0fef1fef1fe", "fe01fe01fe01fe01", "e01fe01ff10ef10e", "e001e001f101f101", "fe1ffe1ffe0efe0e", "1f011f010e010e01", "fee0fee0fef1fef1",
	} {
		for _, parity := range []byte{0x00, 0x01} {
			key := unhex(t, text)
			for i := range key {
				key[i] ^= parity
			}
			if !weak(EncrDES, key) {
				t.Errorf("DES takes the weak key %x", key)
			}
			for i := 0; i < 24; i += 8 {
				triple := bytes.Clone(strong)
				copy(triple[i:], key)
				if !weak(Encr3DES, triple) {
					t.Errorf("3DES takes the weak key %x at octet %d", key, i)
				}
			}
		}
	}
	if weak(EncrDES, strong[:8]) || weak(Encr3DES, strong) {
		t.Error("a strong key is refused")
	}
	equal := bytes.Clone(strong)
	copy(equal[8:], strong[:8])
	equal[8] ^= 1 // parity
	if !weak(Encr3DES, equal) {
		t.Error("3DES takes a key whose first two are equal")
	}
	copy(equal[8:], strong[16:])
	if !weak(Encr3DES, equal) {
		t.Error("3DES takes a key whose last two are equal")
	}
	copy(equal, strong)
	copy(equal[16:], strong)
	if weak(Encr3DES, equal) {
		t.Error("3DES with two keys is refused")
	}
}

// TestISAKMPKey has what strongSwan 5.9.8 derived of SKEYID_e with HMAC-MD5 for 3DES, and what Python's hmac gives for the definition
// elsewhere (RFC 2409 appendix B has no numbers).
func TestISAKMPKey(t *testing.T) {
	md5E, sha1E := "4c93a4fba6b20c54cba46b3929bbd336", "cd74b0c048219db81384d3fda8f6cda51e398a2b"
	for _, c := range []struct {
		prf     PRFID
		skeyidE string
		want    string
	}{
		{PRFHMACMD5, md5E, "7aeb855b28664a4ab65af2b1c0ecd605e2be663bc21c5825"}, // strongSwan
		{PRFHMACMD5, md5E, "7aeb855b28664a4ab65af2b1c0ecd605e2be663bc21c58254fec7712b6a758c4"},
		{PRFHMACMD5, md5E, md5E},
		{PRFHMACSHA1, sha1E, "9ce3201d5c6cf897a6cba863e68c634d8d63805d1f20e30b"},
		{PRFHMACSHA1, sha1E, "9ce3201d5c6cf897a6cba863e68c634d8d63805d1f20e30bf6884e2a4ee9fc8a"},
		{PRFHMACSHA1, sha1E, sha1E[:16]},
		{PRFHMACSHA1, sha1E, sha1E[:32]},
	} {
		skeyidE := NewSecret(unhex(t, c.skeyidE))
		key := ISAKMPKey(c.prf, skeyidE, len(c.want)/2)
		same(t, "key", key.Bytes(), unhex(t, c.want))
		key.Wipe()
		same(t, "SKEYID_e afterwards", skeyidE.Bytes(), unhex(t, c.skeyidE))
	}
}

// TestHash has the hash of "abc" of RFC 1321 appendix A.5 and of FIPS 180-4's examples.
func TestHash(t *testing.T) {
	for id, want := range map[PRFID]string{
		PRFHMACMD5:    "900150983cd24fb0d6963f7d28e17f72",
		PRFHMACSHA1:   "a9993e364706816aba3e25717850c26c9cd0d89d",
		PRFHMACSHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		PRFHMACSHA384: "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		PRFHMACSHA512: "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	} {
		same(t, id.String(), Hash(id, []byte("abc")), unhex(t, want))
		same(t, id.String()+" in parts", Hash(id, []byte("a"), nil, []byte("bc")), unhex(t, want))
	}
	for _, id := range []PRFID{PRFAESXCBC, PRFAESCMAC, 99} {
		wantPanic(t, id.String()+" has a hash", func() { Hash(id) })
	}
}
