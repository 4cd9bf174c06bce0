package crypto

import (
	"crypto/cipher"
	"crypto/subtle"
)

const (
	gcmNonceLen = 12
	gcmTagLen   = 16
)

// gcm is AES-GCM whose tag is cut to its leading 8, 12 or 16 octets (RFC 4106 section 6).
// The package crypto/cipher does not check tags below 12 octets, hence this one.
type gcm struct {
	whole cipher.AEAD
	block cipher.Block
	tag   int
}

func newGCM(block cipher.Block, tag int) (*gcm, error) {
	whole, err := cipher.NewGCM(block)
	return &gcm{whole, block, tag}, err
}

func (g *gcm) NonceSize() int { return gcmNonceLen }
func (g *gcm) Overhead() int  { return g.tag }

func (g *gcm) Seal(dst, nonce, plaintext, data []byte) []byte {
	dst = g.whole.Seal(dst, nonce, plaintext, data)
	return dst[:len(dst)-gcmTagLen+g.tag]
}

// Open recovers the plaintext by counter mode and seals it again. Nothing is returned
// before the tag was found right.
func (g *gcm) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	plaintext := make([]byte, len(sealed)-g.tag)
	// The first counter block is kept for the tag: SP 800-38D section 7.1, step 3.
	counter := append(nonce[:gcmNonceLen:gcmNonceLen], 0, 0, 0, 2)
	cipher.NewCTR(g.block, counter).XORKeyStream(plaintext, sealed[:len(plaintext)])
	if subtle.ConstantTimeCompare(g.Seal(nil, nonce, plaintext, data), sealed) != 1 {
		Wipe(plaintext)
		return nil, ErrICV
	}
	return append(dst, plaintext...), nil
}
