package crypto

import (
	"crypto/cipher"
	"crypto/subtle"
	"slices"
)

// gmac is AES-GMAC: the tag of AES-GCM over data that stays readable (RFC 4543 section
// 2). The nonce is the salt of the key material followed by the IV in the packet.
type gmac struct {
	aead func() cipher.AEAD
	salt Secret
}

func newGMAC(key, salt []byte) *gmac {
	aead, err := cipher.NewGCM(mustAES(key))
	if err != nil {
		panic("crypto: " + err.Error()) // not with AES
	}
	return &gmac{conceal(aead), copySecret(salt)}
}

func (g *gmac) tag(iv []byte, parts ...[]byte) []byte {
	return g.aead().Seal(nil, join(g.salt.Bytes(), iv), nil, slices.Concat(parts...))
}

func (g *gmac) wipe() {
	g.salt.Wipe()
	g.aead = nil
}

// gmacProtection is ENCR_NULL_AUTH_AES_GMAC: the ICV covers the IV as well (RFC 4543
// section 3.3).
type gmacProtection struct{ *gmac }

func (g *gmacProtection) seal(dst, header, iv, plaintext, trailer []byte) []byte {
	return slices.Concat(dst, iv, plaintext, g.tag(iv, header, iv, plaintext, trailer))
}

func (g *gmacProtection) open(header, sealed, trailer []byte) ([]byte, error) {
	body, icv := sealed[:len(sealed)-gcmTagLen], sealed[len(sealed)-gcmTagLen:]
	if subtle.ConstantTimeCompare(icv, g.tag(body[:aeadIVLen], header, body, trailer)) != 1 {
		return nil, ErrICV
	}
	return append([]byte(nil), body[aeadIVLen:]...), nil
}

// deriveIV is the number itself (RFC 4543 section 3.1).
func (g *gmacProtection) deriveIV(number uint64) []byte { return counterBlock(number, aeadIVLen) }
