package crypto

import (
	"crypto/aes"
	"fmt"
	"slices"
)

// PRF computes prf(key, parts[0] | parts[1] | ...) (RFC 7296 section 2.13). The
// id must come from a validated proposal: it panics on any other, for there is no
// safe key to go on with.
func PRF(id PRFID, key []byte, parts ...[]byte) []byte {
	row := mustPRF(id)
	if row.hashes != nil {
		return row.hashes.hmac(key, parts)
	}
	return sum(row.mac(key), row.size, parts...)
}

// PRFKeyLen is the preferred key length of the PRF and the length of its output.
func PRFKeyLen(id PRFID) int { return mustPRF(id).size }

// PRFNonceKey is the key that the nonces make for SKEYSEED: Ni | Nr, and of each only the
// first half of the key's length where the PRF is one of the two made of AES (RFC 7296
// section 2.14).
func PRFNonceKey(id PRFID, ni, nr []byte) []byte {
	row := mustPRF(id)
	if row.halfNonces {
		ni, nr = ni[:row.size/2], nr[:row.size/2]
	}
	return slices.Concat(ni, nr)
}

// PRFPlus computes the first n octets of prf+(key, seed) (RFC 7296 section 2.13).
// The counter is one octet, so n is at most 255 outputs of the PRF; a larger n is
// a programming error and panics.
func PRFPlus(id PRFID, key, seed []byte, n int) []byte {
	row := mustPRF(id)
	if n > 255*row.size {
		panic(fmt.Sprintf("crypto: prf+ of %s gives at most %d octets, %d asked", row.name, 255*row.size, n))
	}
	out := make([]byte, 0, n+row.size)
	var block []byte
	m := row.mac(key)
	kept, keeps := m.(interface{ Reset() }) // of a hash: what the key makes of it
	for counter := byte(1); len(out) < n; counter++ {
		switch {
		case counter == 1:
		case keeps:
			kept.Reset()
		default:
			m = row.mac(key)
		}
		next := sum(m, row.size, block, seed, []byte{counter})
		Wipe(block)
		block = next
		out = append(out, block...)
	}
	Wipe(block)
	Wipe(out[n:])
	return out[:n:n]
}

func mustPRF(id PRFID) prfRow {
	row, ok := prfByID(id)
	if !ok {
		panic(fmt.Sprintf("crypto: %s is not in the registry; validate proposals before using them", id))
	}
	return row
}

// newXCBCPRF makes AES-XCBC-PRF-128 of a key of any length: a shorter one is filled up with
// zeros, a longer one becomes its own MAC under a key of zeros (RFC 4434 section 2).
func newXCBCPRF(key []byte) mac { return fixedKeyMAC(newXCBC, key, len(key) > aes.BlockSize) }

// newCMACPRF makes AES-CMAC-PRF-128 of a key of any length: one of another length than 128
// bits becomes its own MAC under a key of zeros (RFC 4615 section 3).
func newCMACPRF(key []byte) mac { return fixedKeyMAC(newCMAC, key, len(key) != aes.BlockSize) }

func fixedKeyMAC(newMAC func(key []byte) mac, key []byte, condense bool) mac {
	fixed := make([]byte, aes.BlockSize)
	defer Wipe(fixed)
	if condense {
		key = sum(newMAC(fixed), len(fixed), key)
		defer Wipe(key)
	}
	copy(fixed, key)
	return newMAC(fixed)
}
