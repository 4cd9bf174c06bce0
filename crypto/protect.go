package crypto

import (
	"crypto/subtle"
	"errors"
	"fmt"
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
func newProtection(s Suite, keymat Secret) (protection, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.AH() {
		return nil, fmt.Errorf("%s without a cipher is for AH", s.Integ)
	}
	if err := s.CheckKeymat(keymat); err != nil {
		return nil, err
	}
	key, rest := keymat.Bytes()[:s.KeyLen()], keymat.Bytes()[s.KeyLen():]
	salt, integKey := rest[:s.SaltLen()], rest[s.SaltLen():]
	switch {
	case s.Encr == EncrNullAESGMAC:
		return &gmacProtection{newGMAC(key, salt)}, nil
	case s.AEAD():
		return newAEADProtection(s, key, salt)
	}
	text, err := newTextCipher(s.Encr, key, salt)
	if err != nil {
		return nil, err
	}
	return &cipherMAC{
		cipher: conceal(text), integ: s.Integ, key: copySecret(integKey),
		ivLen: s.IVLen(), icvLen: s.ICVLen(),
	}, nil
}

// cipherMAC encrypts with one algorithm and then authenticates with another (RFC 4303
// section 3.3.2.1).
type cipherMAC struct {
	cipher        func() textCipher
	integ         IntegID
	key           Secret
	ivLen, icvLen int
}

func (c *cipherMAC) seal(dst, header, iv, plaintext, trailer []byte) []byte {
	start := len(dst)
	dst = append(append(dst, iv...), plaintext...)
	c.cipher().encrypt(iv, dst[start+len(iv):])
	return append(dst, c.icv(header, dst[start:], trailer)...)
}

func (c *cipherMAC) open(header, sealed, trailer []byte) ([]byte, error) {
	body, icv := sealed[:len(sealed)-c.icvLen], sealed[len(sealed)-c.icvLen:]
	if subtle.ConstantTimeCompare(icv, c.icv(header, body, trailer)) != 1 {
		return nil, ErrICV
	}
	plaintext := append([]byte(nil), body[c.ivLen:]...)
	c.cipher().decrypt(body[:c.ivLen], plaintext)
	return plaintext, nil
}

func (c *cipherMAC) icv(parts ...[]byte) []byte {
	row, _ := integByID(c.integ)
	return row.authenticate(c.key.Bytes(), parts)
}

func (c *cipherMAC) deriveIV(number uint64) []byte { return c.cipher().deriveIV(number) }

func (c *cipherMAC) wipe() {
	c.key.Wipe()
	c.cipher().wipe()
	c.cipher = nil
}
