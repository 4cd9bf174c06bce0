package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"hash"
)

// mac takes a message in parts and gives its whole authentication value, which the suite
// cuts to the length of its ICV.
type mac interface {
	Write(part []byte) (int, error)
	Sum(prefix []byte) []byte
}

func hmacOf(newHash func() hash.Hash) func(key []byte) mac {
	return func(key []byte) mac { return hmac.New(newHash, key) }
}

// cbcMAC is what AES-XCBC-MAC (RFC 3566) and AES-CMAC (RFC 4493) share: CBC-MAC with a
// mask on the last block, one for a whole block and another for a block that was filled
// up with a one bit and zeros.
type cbcMAC struct {
	block   cipher.Block
	whole   [aes.BlockSize]byte
	filled  [aes.BlockSize]byte
	state   [aes.BlockSize]byte
	pending []byte // of the message, 0 to 16 octets: the last block must wait for its mask
}

// newXCBC makes AES-XCBC-MAC: key and masks are three encryptions of constants (RFC 3566
// section 4).
func newXCBC(key []byte) mac {
	outer := mustAES(key)
	var k1 [aes.BlockSize]byte
	m := &cbcMAC{}
	for i, k := range []*[aes.BlockSize]byte{&k1, &m.whole, &m.filled} {
		for j := range k {
			k[j] = byte(i + 1)
		}
		outer.Encrypt(k[:], k[:])
	}
	m.block = mustAES(k1[:])
	Wipe(k1[:])
	return m
}

// newCMAC makes AES-CMAC: the masks are the encryption of zeros, doubled once and twice in
// GF(2^128) (RFC 4493 section 2.3).
func newCMAC(key []byte) mac {
	m := &cbcMAC{block: mustAES(key)}
	var l [aes.BlockSize]byte
	m.block.Encrypt(l[:], l[:])
	m.whole = double(l)
	m.filled = double(m.whole)
	return m
}

// double multiplies by x in GF(2^128), in time that the value does not change.
func double(b [aes.BlockSize]byte) [aes.BlockSize]byte {
	carry := byte(0)
	for i := len(b) - 1; i >= 0; i-- {
		b[i], carry = b[i]<<1|carry, b[i]>>7
	}
	b[len(b)-1] ^= 0x87 & -carry
	return b
}

// mustAES makes AES from a key whose length the suite has checked.
func mustAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("crypto: " + err.Error())
	}
	return block
}

func (m *cbcMAC) Write(part []byte) (int, error) {
	m.pending = append(m.pending, part...)
	for len(m.pending) > aes.BlockSize {
		m.absorb(m.pending[:aes.BlockSize])
		m.pending = m.pending[aes.BlockSize:]
	}
	return len(part), nil
}

func (m *cbcMAC) absorb(block []byte) {
	subtle.XORBytes(m.state[:], m.state[:], block)
	m.block.Encrypt(m.state[:], m.state[:])
}

// Sum ends the message: there is no Write after it.
func (m *cbcMAC) Sum(prefix []byte) []byte {
	last, mask := [aes.BlockSize]byte{}, m.whole
	if n := copy(last[:], m.pending); n < aes.BlockSize {
		last[n], mask = 0x80, m.filled
	}
	subtle.XORBytes(last[:], last[:], mask[:])
	m.absorb(last[:])
	return append(prefix, m.state[:]...)
}

// sum gives the leading octets of the value over a message in parts.
func sum(m mac, length int, parts ...[]byte) []byte {
	for _, part := range parts {
		_, _ = m.Write(part) // of a hash: never an error
	}
	return m.Sum(nil)[:length]
}
