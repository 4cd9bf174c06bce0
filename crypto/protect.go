package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
)

// ErrICV means that the integrity check value is not the one the key gives: the
// packet was changed on its way, or another key made it.
var ErrICV = errors.New("integrity check failed")

// protection encrypts and authenticates one run of octets laid out as
// IV | ciphertext | ICV, which ESP (RFC 4303 section 2) and the Encrypted payload
// of IKEv2 (RFC 7296 section 3.14) have in common.
//
// Header is authenticated in front of that run and trailer behind it; neither is
// in the result. A combined-mode cipher takes both as its associated data. The
// plaintext must already have the length that the cipher can take.
type protection interface {
	seal(dst, header, iv, plaintext, trailer []byte) []byte
	open(header, sealed, trailer []byte) ([]byte, error)
	// deriveIV makes an IV from a number that never repeats under one key.
	deriveIV(number uint64) []byte
	wipe()
}

// newProtection splits keymat into cipher key, salt and integrity key (RFC 7296
// section 2.17). It keeps copies; keymat stays the caller's.
func newProtection(s Suite, keymat []byte) (protection, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if len(keymat) != s.KeymatLen() {
		return nil, fmt.Errorf("%s takes %d octets of key material (key %d, salt %d, integrity %d), found %d",
			s, s.KeymatLen(), s.KeyLen(), s.SaltLen(), s.IntegKeyLen(), len(keymat))
	}
	block, err := aes.NewCipher(keymat[:s.KeyLen()])
	if err != nil {
		return nil, err
	}
	rest := keymat[s.KeyLen():]
	if s.AEAD() {
		return newGCMProtection(block, rest, s.ICVLen())
	}
	key := NewSecret(append([]byte(nil), rest...))
	return &cbcHMAC{block: conceal(block), hash: s.integ().hash, key: key, icvLen: s.ICVLen()}, nil
}

// cbcHMAC encrypts with AES-CBC (RFC 3602) and then authenticates with a
// truncated HMAC (RFC 2404, RFC 4868).
type cbcHMAC struct {
	block  func() cipher.Block
	hash   func() hash.Hash
	key    Secret
	icvLen int
}

func (c *cbcHMAC) seal(dst, header, iv, plaintext, trailer []byte) []byte {
	start := len(dst)
	dst = append(append(dst, iv...), plaintext...)
	text := dst[start+len(iv):]
	cipher.NewCBCEncrypter(c.block(), iv).CryptBlocks(text, text)
	return append(dst, c.icv(header, dst[start:], trailer)...)
}

func (c *cbcHMAC) open(header, sealed, trailer []byte) ([]byte, error) {
	body, icv := sealed[:len(sealed)-c.icvLen], sealed[len(sealed)-c.icvLen:]
	if subtle.ConstantTimeCompare(icv, c.icv(header, body, trailer)) != 1 {
		return nil, ErrICV
	}
	iv, text := body[:aes.BlockSize], body[aes.BlockSize:]
	plaintext := make([]byte, len(text))
	cipher.NewCBCDecrypter(c.block(), iv).CryptBlocks(plaintext, text)
	return plaintext, nil
}

func (c *cbcHMAC) icv(header, body, trailer []byte) []byte {
	mac := hmac.New(c.hash, c.key.Bytes())
	mac.Write(header)
	mac.Write(body)
	mac.Write(trailer)
	return mac.Sum(nil)[:c.icvLen]
}

// deriveIV encrypts the number under the packet key: unpredictable to who does
// not have the key and never the same (NIST SP 800-38A appendix C).
func (c *cbcHMAC) deriveIV(number uint64) []byte {
	iv := counterBlock(number, aes.BlockSize)
	c.block().Encrypt(iv, iv)
	return iv
}

func (c *cbcHMAC) wipe() {
	c.key.Wipe()
	c.block = nil
}
