package crypto

import (
	"crypto/cipher"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
)

const aeadIVLen = 8 // of every combined-mode cipher in ESP

// aeadProtection is a combined-mode cipher as RFC 4106, RFC 4309, RFC 5282 and RFC 7634
// use it: the nonce is the salt of the key material followed by the IV in the packet.
type aeadProtection struct {
	aead func() cipher.AEAD
	salt Secret
}

func newAEADProtection(s Suite, key, salt []byte) (*aeadProtection, error) {
	var aead cipher.AEAD
	var err error
	switch s.Encr {
	case EncrAESGCM8, EncrAESGCM12, EncrAESGCM16:
		aead, err = newGCM(mustAES(key), s.ICVLen())
	case EncrAESCCM8, EncrAESCCM12, EncrAESCCM16:
		aead = newCCM(mustAES(key), s.ICVLen())
	case EncrChaCha20Poly1305:
		aead, err = chacha20poly1305.New(key)
	default:
		err = fmt.Errorf("%s is not a combined-mode cipher", s.Encr)
	}
	if err != nil {
		return nil, err
	}
	return &aeadProtection{conceal(aead), copySecret(salt)}, nil
}

func (p *aeadProtection) nonce(iv []byte) []byte { return join(p.salt.Bytes(), iv) }

func (p *aeadProtection) seal(dst, header, iv, plaintext, trailer []byte) []byte {
	return p.aead().Seal(append(dst, iv...), p.nonce(iv), plaintext, join(header, trailer))
}

func (p *aeadProtection) open(header, sealed, trailer []byte) ([]byte, error) {
	plaintext, err := p.aead().Open(nil, p.nonce(sealed[:aeadIVLen]), sealed[aeadIVLen:], join(header, trailer))
	if err != nil {
		return nil, ErrICV
	}
	return plaintext, nil
}

// deriveIV is the number itself: the nonce has to be unique, not unpredictable (RFC 4106
// section 3.1, RFC 4309 section 3.1, RFC 7634 section 2).
func (p *aeadProtection) deriveIV(number uint64) []byte { return counterBlock(number, aeadIVLen) }

func (p *aeadProtection) wipe() {
	p.salt.Wipe()
	p.aead = nil
}

// join makes one copy and no other: a may be a key.
func join(a, b []byte) []byte { return slices.Concat(a, b) }

// copySecret makes a Secret of octets that stay the caller's.
func copySecret(b []byte) Secret { return NewSecret(append([]byte(nil), b...)) }
