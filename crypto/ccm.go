package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// ccm is AES in counter mode with CBC-MAC (RFC 3610) with the parameters of RFC 4309: a
// nonce of 11 octets, so a length field of 4, and a tag of 8, 12 or 16 octets.
type ccm struct {
	block cipher.Block
	tag   int
}

const (
	ccmNonceLen  = 11
	ccmLengthLen = aes.BlockSize - 1 - ccmNonceLen // L of RFC 3610
)

func (c *ccm) NonceSize() int { return ccmNonceLen }
func (c *ccm) Overhead() int  { return c.tag }

func (c *ccm) Seal(dst, nonce, plaintext, data []byte) []byte {
	tag := c.authenticate(nonce, plaintext, data)
	start := len(dst)
	dst = append(dst, plaintext...)
	c.crypt(nonce, tag, dst[start:])
	return append(dst, tag...)
}

// Open gives the plaintext only after its tag was found right.
func (c *ccm) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	text := append([]byte(nil), sealed[:len(sealed)-c.tag]...)
	tag := append([]byte(nil), sealed[len(text):]...)
	c.crypt(nonce, tag, text)
	if subtle.ConstantTimeCompare(tag, c.authenticate(nonce, text, data)) != 1 {
		Wipe(text)
		return nil, ErrICV
	}
	return append(dst, text...), nil
}

// authenticate gives the CBC-MAC over the length and nonce block B_0, the associated data
// (of less than 65280 octets) behind their length, and the text, each filled up with
// zeros to a block (RFC 3610 section 2.2).
func (c *ccm) authenticate(nonce, text, data []byte) []byte {
	const flagData = 1 << 6
	state := []byte{byte(c.tag-2)/2<<3 | (ccmLengthLen - 1)}
	if len(data) > 0 {
		state[0] |= flagData
	}
	state = append(state, nonce...)
	state = binary.BigEndian.AppendUint32(state, uint32(len(text)))
	c.block.Encrypt(state, state)
	if len(data) > 0 {
		c.absorb(state, binary.BigEndian.AppendUint16(nil, uint16(len(data))), data)
	}
	c.absorb(state, text)
	return state[:c.tag]
}

// absorb takes the parts as one message, filled up with zeros.
func (c *ccm) absorb(state []byte, parts ...[]byte) {
	at := 0
	for _, part := range parts {
		for _, octet := range part {
			if at == aes.BlockSize {
				c.block.Encrypt(state, state)
				at = 0
			}
			state[at] ^= octet
			at++
		}
	}
	if at > 0 {
		c.block.Encrypt(state, state)
	}
}

// crypt hides or reveals the tag with counter block 0 and the text with those from 1 (RFC
// 3610 section 2.3).
func (c *ccm) crypt(nonce, tag, text []byte) {
	counter := append([]byte{ccmLengthLen - 1}, nonce...)
	stream := cipher.NewCTR(c.block, append(counter, make([]byte, ccmLengthLen)...))
	var first [aes.BlockSize]byte
	stream.XORKeyStream(first[:], first[:])
	subtle.XORBytes(tag, tag, first[:])
	stream.XORKeyStream(text, text)
}
