package crypto

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"slices"
)

const (
	gcmNonceLen = 12
	gcmTagLen   = 16
	gcmIVLen    = 8
)

// gcmProtection is AES-GCM as RFC 4106 and RFC 5282 use it: the nonce is the salt
// of the key material followed by the IV in the packet, the ICV the leading 8, 12
// or 16 octets of the tag.
type gcmProtection struct {
	aead   func() cipher.AEAD
	block  func() cipher.Block
	salt   Secret
	icvLen int
}

func newGCMProtection(block cipher.Block, salt []byte, icvLen int) (*gcmProtection, error) {
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &gcmProtection{
		aead:   conceal(aead),
		block:  conceal(block),
		salt:   NewSecret(append([]byte(nil), salt...)),
		icvLen: icvLen,
	}, nil
}

func (g *gcmProtection) nonce(iv []byte) []byte {
	nonce := make([]byte, 0, gcmNonceLen)
	return append(append(nonce, g.salt.Bytes()...), iv...)
}

func (g *gcmProtection) seal(dst, header, iv, plaintext, trailer []byte) []byte {
	dst = append(dst, iv...)
	dst = g.aead().Seal(dst, g.nonce(iv), plaintext, join(header, trailer))
	return dst[:len(dst)-gcmTagLen+g.icvLen]
}

// open recovers the plaintext by counter mode and seals it again, because
// crypto/cipher does not check tags below 12 octets. Nothing is returned before
// the tag was found right.
func (g *gcmProtection) open(header, sealed, trailer []byte) ([]byte, error) {
	iv, text := sealed[:gcmIVLen], sealed[gcmIVLen:len(sealed)-g.icvLen]
	nonce := g.nonce(iv)
	plaintext := make([]byte, len(text))
	// The first counter block is kept for the tag: SP 800-38D section 7.1, step 3.
	counter := append(nonce[:gcmNonceLen:gcmNonceLen], 0, 0, 0, 2)
	cipher.NewCTR(g.block(), counter).XORKeyStream(plaintext, text)

	resealed := g.seal(nil, header, iv, plaintext, trailer)
	if subtle.ConstantTimeCompare(resealed, sealed) != 1 {
		Wipe(plaintext)
		return nil, ErrICV
	}
	return plaintext, nil
}

// deriveIV is the number itself: the nonce of GCM has to be unique, not
// unpredictable (RFC 4106 section 3.1).
func (g *gcmProtection) deriveIV(number uint64) []byte { return counterBlock(number, gcmIVLen) }

func (g *gcmProtection) wipe() {
	g.salt.Wipe()
	g.aead, g.block = nil, nil
}

// counterBlock is a block that starts with the number in network order.
func counterBlock(number uint64, size int) []byte {
	block := make([]byte, size)
	binary.BigEndian.PutUint64(block, number)
	return block
}

// join makes one copy and no other: a may be a key.
func join(a, b []byte) []byte { return slices.Concat(a, b) }
