package crypto

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"
)

// ErrISAKMPCiphertext means the encrypted part of an IKEv1 message that cannot be one: empty or not in whole blocks.
var ErrISAKMPCiphertext = errors.New("malformed ISAKMP ciphertext")

// ISAKMPCipher encrypts the messages of an IKEv1 ISAKMP SA, both directions with one key: CBC without integrity, which the HASH payloads inside
// give (RFC 2409 appendix B). It keeps no IV: the last block of each message is the IV of the next one of the same exchange, in whichever
// direction, and only the caller knows whether a message counts. It is not safe for concurrent use.
type ISAKMPCipher struct {
	block func() cipher.Block // concealed from fmt
	size  int
}

// NewISAKMPCipher takes a key from [ISAKMPKey]: of AES-CBC, 3DES or DES. It refuses weak keys (RFC 2409 appendix B) with an error that wraps [ErrWeakKey].
// It keeps nothing of the key but the schedule.
func NewISAKMPCipher(id EncrID, key Secret) (*ISAKMPCipher, error) {
	row, ok := encrByID(id)
	if !ok || !row.chained {
		return nil, fmt.Errorf("ISAKMP cipher %s: not a cipher of IKEv1, expected AES-CBC, 3DES or DES", id)
	}
	if lengths := row.keyLengths(); !slices.Contains(lengths, key.Len()) {
		return nil, fmt.Errorf("ISAKMP cipher %s: key of %d octets, expected one of %v", id, key.Len(), lengths)
	}
	if id != EncrAESCBC {
		if err := checkDESKeys(key); err != nil {
			return nil, fmt.Errorf("ISAKMP cipher %s: %w", id, err)
		}
	}
	text, err := newTextCipher(id, key.Bytes(), nil)
	if err != nil {
		return nil, fmt.Errorf("ISAKMP cipher %s: %w", id, err)
	}
	return &ISAKMPCipher{block: conceal(text.(cbcCipher).block), size: row.block}, nil
}

// keyLengths are the octets that a key may have.
func (r encrRow) keyLengths() []int {
	if r.fixedKey != 0 {
		return []int{r.fixedKey}
	}
	lengths := make([]int, len(r.keyBits))
	for i, bits := range r.keyBits {
		lengths[i] = bits / 8
	}
	return lengths
}

// BlockSize is the length of IVs and of what ciphertext is made of.
func (c *ISAKMPCipher) BlockSize() int { return c.size }

// Encrypt fills a plaintext up to whole blocks with zeros (RFC 2409 appendix B) and encrypts it; a message has at least one octet. next is
// the last block, a copy: the IV of the next message.
func (c *ISAKMPCipher) Encrypt(iv, plaintext []byte) (ciphertext, next []byte) {
	padded := (len(plaintext) + c.size - 1) / c.size * c.size
	ciphertext = make([]byte, padded)
	copy(ciphertext, plaintext)
	cbcCipher{c.block()}.encrypt(iv, ciphertext)
	return ciphertext, c.last(ciphertext)
}

// Decrypt gives the plaintext with its padding. next is the last block of the ciphertext, a copy: the next IV, once the plaintext has been
// found to be genuine, which nothing here tells.
func (c *ISAKMPCipher) Decrypt(iv, ciphertext []byte) (plaintext, next []byte, err error) {
	if len(ciphertext) == 0 || len(ciphertext)%c.size != 0 {
		return nil, nil, fmt.Errorf("%w: %d octets, expected whole blocks of %d", ErrISAKMPCiphertext, len(ciphertext), c.size)
	}
	plaintext = slices.Clone(ciphertext)
	cbcCipher{c.block()}.decrypt(iv, plaintext)
	return plaintext, c.last(ciphertext), nil
}

func (c *ISAKMPCipher) last(ciphertext []byte) []byte {
	return slices.Clone(ciphertext[len(ciphertext)-c.size:])
}

// Wipe drops the cipher, whose key schedule is out of reach. The ISAKMPCipher is unusable afterwards.
func (c *ISAKMPCipher) Wipe() { c.block = nil }

// ISAKMPKey is the key that encrypts the messages of an ISAKMP SA, of length octets (RFC 2409 appendix B): the first octets of SKEYID_e, and when that is
// too short those of Ka = K1 | K2 | ..., K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1).
func ISAKMPKey(id PRFID, skeyidE Secret, length int) Secret {
	if length <= skeyidE.Len() {
		return NewSecret(slices.Clone(skeyidE.Bytes()[:length]))
	}
	ka := make([]byte, 0, length+PRFKeyLen(id))
	block := []byte{0}
	for len(ka) < length {
		next := PRF(id, skeyidE.Bytes(), block)
		Wipe(block)
		block = next
		ka = append(ka, block...)
	}
	Wipe(block)
	Wipe(ka[length:])
	return NewSecret(ka[:length:length])
}
