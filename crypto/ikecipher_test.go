package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
)

func newTestIKECipher(t *testing.T, s Suite) *IKECipher {
	t.Helper()
	keymat := testKeymat(s).Bytes()
	split := s.KeyLen() + s.SaltLen()
	c, err := NewIKECipher(s, NewSecret(keymat[:split]), NewSecret(keymat[split:]))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIKECipherSealOpen(t *testing.T) {
	aad := []byte("IKE header and the generic header of the Encrypted payload")
	for _, s := range IKESuites() {
		seal, open := newTestIKECipher(t, s), newTestIKECipher(t, s)
		for size := range 70 {
			plaintext := bytes.Repeat([]byte{byte(size)}, size)
			message, err := seal.Seal(bytes.Clone(aad), aad, plaintext, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			body := message[len(aad):]
			if !bytes.HasPrefix(message, aad) || len(body) != size+seal.Overhead(size) {
				t.Fatalf("%s: body of %d octets for %d, Overhead is %d", s, len(body), size, seal.Overhead(size))
			}
			opened, err := open.Open(aad, body)
			if err != nil || !bytes.Equal(opened, plaintext) {
				t.Fatalf("%s: %x, error %v", s, opened, err)
			}
		}
	}
}

// TestIKECipherLayout opens by hand what AES-CBC sealed: RFC 7296 section 3.14 has the ICV
// over everything before it, header included.
func TestIKECipherLayout(t *testing.T) {
	s := Suite{Encr: EncrAESCBC, KeyBits: 128, Integ: IntegHMACSHA256}
	aad, iv := []byte("header"), bytes.Repeat([]byte{7}, 16)
	body, err := newTestIKECipher(t, s).Seal(nil, aad, []byte("payloads"), bytes.NewReader(iv))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "IV", body[:16], iv)
	covered := append(bytes.Clone(aad), body[:len(body)-16]...)
	same(t, "ICV", body[len(body)-16:], PRF(PRFHMACSHA256, testKeymat(s).Bytes()[16:], covered)[:16])
}

func TestIKECipherTamper(t *testing.T) {
	aad := []byte("header")
	for _, s := range IKESuites() {
		c := newTestIKECipher(t, s)
		body, err := c.Seal(nil, aad, []byte("plaintext"), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		whole := append(bytes.Clone(aad), body...)
		for bit := range len(whole) * 8 {
			changed := bytes.Clone(whole)
			changed[bit/8] ^= 1 << (bit % 8)
			if plaintext, err := c.Open(changed[:len(aad)], changed[len(aad):]); !errors.Is(err, ErrICV) || plaintext != nil {
				t.Fatalf("%s bit %d: %x, error %v", s, bit, plaintext, err)
			}
		}
		for length := range body {
			if _, err := c.Open(aad, body[:length]); !errors.Is(err, ErrEncryptedPayload) && !errors.Is(err, ErrICV) {
				t.Fatalf("%s: %d of %d octets: error %v", s, length, len(body), err)
			}
		}
	}
}

// TestIKECipherPadding takes padding of any content and length and refuses only what is
// beyond the plaintext.
func TestIKECipherPadding(t *testing.T) {
	cases := []struct {
		padded string
		want   string
		err    error
	}{
		{"payload\x99\x98\x97\x96\x95\x94\x93\x92\x08", "payload", nil},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x0f", "", nil},
		{"123456789012345\x00", "123456789012345", nil},
		{"123456789012345\x10", "", ErrEncryptedPayload},
		{"123456789012345\xff", "", ErrEncryptedPayload},
	}
	for _, s := range IKESuites() {
		c := newTestIKECipher(t, s)
		for _, v := range cases {
			body := c.protection.seal(nil, nil, make([]byte, s.IVLen()), []byte(v.padded), nil)
			opened, err := c.Open(nil, body)
			if !errors.Is(err, v.err) || string(opened) != v.want {
				t.Errorf("%s: padded %q: %q, error %v", s, v.padded, opened, err)
			}
		}
	}
}

func TestIKECipherIVsDiffer(t *testing.T) {
	for _, s := range IKESuites() {
		c := newTestIKECipher(t, s)
		seen := map[string]bool{}
		for range 100 {
			body, err := c.Seal(nil, nil, nil, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if iv := string(body[:s.IVLen()]); seen[iv] {
				t.Fatalf("%s: IV %x twice", s, iv)
			} else {
				seen[iv] = true
			}
		}
	}
}

func TestIKECipherErrors(t *testing.T) {
	cbc := Suite{Encr: EncrAESCBC, KeyBits: 256, Integ: IntegHMACSHA384}
	if _, err := newTestIKECipher(t, cbc).Seal(nil, nil, nil, bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("no random octets: error %v", err)
	}
	gcm := Suite{Encr: EncrAESGCM16, KeyBits: 128}
	key := NewSecret(make([]byte, 20))
	if _, err := NewIKECipher(gcm, key, NewSecret(make([]byte, 32))); err == nil {
		t.Error("AES-GCM took an integrity key")
	}
	if _, err := NewIKECipher(gcm, NewSecret(make([]byte, 16)), Secret{}); err == nil {
		t.Error("AES-GCM took a key without salt")
	}
	if _, err := NewIKECipher(Suite{}, Secret{}, Secret{}); err == nil {
		t.Error("the zero Suite was taken")
	}
}
