package crypto

import (
	"crypto/des"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrWeakKey means a key under which DES is its own inverse or that of another key, or under which 3DES is no more than DES.
var ErrWeakKey = errors.New("weak key")

// weakDESKeys are the weak and semi-weak keys of RFC 2409 appendix A, with the parity bits it gives them.
var weakDESKeys = [...]uint64{
	0x0101010101010101, 0x1f1f1f1f0e0e0e0e, 0xe0e0e0e0f1f1f1f1, 0xfefefefefefefefe,

	0x01fe01fe01fe01fe, 0x1fe01fe00ef10ef1, 0x01e001e001f101f1, 0x1ffe1ffe0efe0efe, 0x011f011f010e010e, 0xe0fee0fef1fef1fe,
	0xfe01fe01fe01fe01, 0xe01fe01ff10ef10e, 0xe001e001f101f101, 0xfe1ffe1ffe0efe0e, 0x1f011f010e010e01, 0xfee0fee0fef1fef1,
}

// desParity is the bit of each octet that DES ignores.
const desParity = 0x0101010101010101

// checkDESKeys refuses a key of DES, or of 3DES, with a weak one in it, and one of 3DES whose neighbours are equal, so that two of the three
// encryptions undo each other (RFC 2451 2.3). There is no way around: the chance is below one in 2^50.
func checkDESKeys(key Secret) error {
	var previous uint64
	for i := 0; i < key.Len(); i += des.BlockSize {
		single := binary.BigEndian.Uint64(key.Bytes()[i:]) &^ desParity
		weak := 0
		for _, w := range weakDESKeys {
			weak |= equal64(single, w&^desParity)
		}
		if weak == 1 {
			return fmt.Errorf("%w: DES has no strength with the key at octet %d; negotiate anew", ErrWeakKey, i)
		}
		if i > 0 && equal64(single, previous) == 1 {
			return fmt.Errorf("%w: the keys of 3DES at octets %d and %d are equal; negotiate anew", ErrWeakKey, i-des.BlockSize, i)
		}
		previous = single
	}
	return nil
}

// equal64 is 1 for equal numbers, in time that they do not change.
func equal64(a, b uint64) int {
	return subtle.ConstantTimeEq(int32(a>>32), int32(b>>32)) & subtle.ConstantTimeEq(int32(a), int32(b))
}
