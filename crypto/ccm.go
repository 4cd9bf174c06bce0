package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// ccm is AES in counter mode with CBC-MAC (RFC 3610). The length field has what the nonce
// leaves of 15 octets: 4 with the nonce of 11 that RFC 4309 section 4 prescribes.
type ccm struct {
	block cipher.Block
	nonce int // length, 7 to 13
	tag   int // length, 4 to 16 and even; RFC 4309 section 3.1 has 8, 12 and 16
}

const ccmNonceLen = 11 // of RFC 4309

func newCCM(block cipher.Block, tag int) *ccm { return &ccm{block, ccmNonceLen, tag} }

func (c *ccm) NonceSize() int { return c.nonce }
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
	state := c.start(nonce, uint64(len(text)))
	state[0] |= byte(c.tag-2) / 2 << 3
	if len(data) > 0 {
		state[0] |= flagData
	}
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
	stream := cipher.NewCTR(c.block, c.start(nonce, 0))
	var first [aes.BlockSize]byte
	stream.XORKeyStream(first[:], first[:])
	subtle.XORBytes(tag, tag, first[:])
	stream.XORKeyStream(text, text)
}

// start is the block that both begin with: the length of the length field less 1, the
// nonce, and a number as long as fits.
func (c *ccm) start(nonce []byte, number uint64) []byte {
	block := binary.BigEndian.AppendUint64(make([]byte, 8, aes.BlockSize), number)
	block[0] = byte(aes.BlockSize - 1 - c.nonce - 1)
	copy(block[1:], nonce)
	return block
}
