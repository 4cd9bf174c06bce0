package crypto

import (
	"errors"
	"fmt"
	"io"
)

// ErrEncryptedPayload means an Encrypted payload whose body cannot be one: too
// short, not in whole blocks, or with a pad length beyond its plaintext. It says
// nothing about who sent it unless the ICV was checked before, which the order of
// Open's checks tells.
var ErrEncryptedPayload = errors.New("malformed Encrypted payload")

// IKECipher protects the Encrypted payloads that one side of an IKE SA sends, with
// SK_e and SK_a of that side: CBC with an integrity algorithm by RFC 7296 section 3.14,
// AES-CTR by RFC 5930, combined modes by RFC 5282 and RFC 7634. What it seals and opens is the body of the payload, IV | ciphertext |
// ICV. All forms authenticate aad, the message from the first octet of the IKE
// header to the last of the generic header of the Encrypted payload, with its final
// lengths: ask Overhead first, write the headers, then Seal.
//
// The IV of all but CBC is a counter inside, so there must be only one sealing IKECipher
// for a key, ever. It is not safe for concurrent use.
type IKECipher struct {
	suite      Suite
	protection protection
	sealed     uint64 // messages so far, the IV of the last one but for CBC
}

// NewIKECipher takes SK_e (with the salt at its end for AEAD) and SK_a (empty for
// AEAD). It keeps copies of the keys until Wipe.
func NewIKECipher(s Suite, encrKey, integKey Secret) (*IKECipher, error) {
	if !s.serves(ProtocolIKE) {
		return nil, fmt.Errorf("IKE cipher %s: not for IKE SAs, expected one of %v", s, IKESuites())
	}
	if want := s.KeyLen() + s.SaltLen(); encrKey.Len() != want {
		return nil, fmt.Errorf("IKE cipher %s: SK_e of %d octets, expected %d", s, encrKey.Len(), want)
	}
	keymat := NewSecret(join(encrKey.Bytes(), integKey.Bytes()))
	defer keymat.Wipe()
	protection, err := newProtection(s, keymat)
	if err != nil {
		return nil, fmt.Errorf("IKE cipher %s: %w", s, err)
	}
	return &IKECipher{suite: s, protection: protection}, nil
}

// Suite returns what the cipher was made for.
func (c *IKECipher) Suite() Suite { return c.suite }

// Wipe clears the salt and the integrity key and drops the cipher, whose key
// schedule is out of reach. The IKECipher is unusable afterwards.
func (c *IKECipher) Wipe() { c.protection.wipe() }

// Overhead is how many octets the payload body is longer than a plaintext of the
// given length: IV, padding, pad length, ICV. The Encrypted payload is then 4 (generic
// header) + plaintextLen + Overhead(plaintextLen) octets long.
func (c *IKECipher) Overhead(plaintextLen int) int {
	return c.suite.IVLen() + c.padLen(plaintextLen) + 1 + c.suite.ICVLen()
}

// block is what the ciphertext is made of: blocks in CBC, octets in all else (RFC 5282
// section 3, RFC 5930 section 2.1).
func (c *IKECipher) block() int {
	if c.suite.encr().chained {
		return c.suite.BlockSize()
	}
	return 1
}

// padLen fills up the last block.
func (c *IKECipher) padLen(plaintextLen int) int {
	return (c.block() - (plaintextLen+1)%c.block()) % c.block()
}

// Seal appends the body to dst. Random gives the IV of CBC and is not read otherwise;
// its error is the only one.
func (c *IKECipher) Seal(dst, aad, plaintext []byte, random io.Reader) ([]byte, error) {
	iv, err := c.nextIV(random)
	if err != nil {
		return nil, fmt.Errorf("IV for %s: %w", c.suite, err)
	}
	padLen := c.padLen(len(plaintext))
	padded := make([]byte, len(plaintext)+padLen+1)
	defer Wipe(padded)
	copy(padded, plaintext)
	padded[len(padded)-1] = byte(padLen)
	return c.protection.seal(dst, aad, iv, padded, nil), nil
}

// nextIV draws for CBC, where an IV must not be predictable (RFC 7296 section 3.14), and
// counts for all else, where it must not repeat (RFC 5282 section 3.1, RFC 5930 section 2).
func (c *IKECipher) nextIV(random io.Reader) ([]byte, error) {
	c.sealed++
	if !c.suite.encr().chained {
		return c.protection.deriveIV(c.sealed), nil
	}
	iv := make([]byte, c.suite.IVLen())
	_, err := io.ReadFull(random, iv)
	return iv, err
}

// Open checks the ICV over aad and body and returns the plaintext without padding.
// Padding may have any content and length (RFC 7296 section 3.14). The error wraps
// ErrICV or ErrEncryptedPayload.
func (c *IKECipher) Open(aad, body []byte) ([]byte, error) {
	text := len(body) - c.suite.IVLen() - c.suite.ICVLen()
	if text < 1 {
		return nil, fmt.Errorf("%w: body of %d octets, %s needs %d at least",
			ErrEncryptedPayload, len(body), c.suite, c.suite.IVLen()+1+c.suite.ICVLen())
	}
	if text%c.block() != 0 {
		return nil, fmt.Errorf("%w: ciphertext of %d octets, expected whole blocks of %d", ErrEncryptedPayload, text, c.block())
	}
	padded, err := c.protection.open(aad, body, nil)
	if err != nil {
		return nil, err
	}
	end := len(padded) - 1
	if padLen := int(padded[end]); padLen > end {
		return nil, fmt.Errorf("%w: pad length %d, only %d octets before it", ErrEncryptedPayload, padLen, end)
	}
	return padded[:end-int(padded[end])], nil
}
