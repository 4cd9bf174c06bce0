package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"encoding/binary"
	"fmt"
)

// textCipher hides a text in place and protects no integrity. The IV is as long as the
// suite says, the text whole blocks.
type textCipher interface {
	encrypt(iv, text []byte)
	decrypt(iv, text []byte)
	// deriveIV makes an IV from a number that never repeats under one key.
	deriveIV(number uint64) []byte
	wipe()
}

// newTextCipher makes the cipher of a suite that has an integrity algorithm beside it.
func newTextCipher(id EncrID, key, salt []byte) (textCipher, error) {
	var block cipher.Block
	var err error
	switch id {
	case EncrAESCTR:
		return &ctrCipher{mustAES(key), copySecret(salt)}, nil
	case EncrNull:
		return nullCipher{}, nil
	case EncrAESCBC:
		block, err = aes.NewCipher(key)
	case Encr3DES:
		block, err = des.NewTripleDESCipher(key)
	case EncrDES:
		block, err = des.NewCipher(key)
	default:
		err = fmt.Errorf("%s is not a cipher without integrity", id)
	}
	return cbcCipher{block}, err
}

// cbcCipher is cipher block chaining: AES (RFC 3602), 3DES (RFC 2451), DES (RFC 2405).
type cbcCipher struct{ block cipher.Block }

func (c cbcCipher) encrypt(iv, text []byte) {
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(text, text)
}

func (c cbcCipher) decrypt(iv, text []byte) {
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(text, text)
}

// deriveIV encrypts the number under the packet key: unpredictable to who does
// not have the key and never the same (NIST SP 800-38A appendix C).
func (c cbcCipher) deriveIV(number uint64) []byte {
	iv := counterBlock(number, c.block.BlockSize())
	c.block.Encrypt(iv, iv)
	return iv
}

func (cbcCipher) wipe() {}

// ctrCipher is AES in counter mode: the counter block is the salt of the key material,
// the IV of the packet and a block counter from 1 (RFC 3686 section 4).
type ctrCipher struct {
	block cipher.Block
	salt  Secret
}

const ctrIVLen = 8

func (c *ctrCipher) encrypt(iv, text []byte) {
	counter := binary.BigEndian.AppendUint32(join(c.salt.Bytes(), iv), 1)
	cipher.NewCTR(c.block, counter).XORKeyStream(text, text)
}

func (c *ctrCipher) decrypt(iv, text []byte) { c.encrypt(iv, text) }

// deriveIV is the number itself: counter blocks must not repeat, no more (RFC 3686
// section 4).
func (c *ctrCipher) deriveIV(number uint64) []byte { return counterBlock(number, ctrIVLen) }

func (c *ctrCipher) wipe() { c.salt.Wipe() }

// nullCipher keeps nothing secret and has no IV (RFC 2410).
type nullCipher struct{}

func (nullCipher) encrypt(_, _ []byte)    {}
func (nullCipher) decrypt(_, _ []byte)    {}
func (nullCipher) deriveIV(uint64) []byte { return []byte{} }
func (nullCipher) wipe()                  {}

// counterBlock is a block that starts with the number in network order.
func counterBlock(number uint64, size int) []byte {
	block := make([]byte, size)
	binary.BigEndian.PutUint64(block, number)
	return block
}
