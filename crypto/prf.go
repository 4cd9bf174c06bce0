package crypto

import (
	"crypto/hmac"
	"fmt"
)

// PRF computes prf(key, parts[0] | parts[1] | ...) (RFC 7296 section 2.13). The
// id must come from a validated proposal: it panics on any other, for there is no
// safe key to go on with.
func PRF(id PRFID, key []byte, parts ...[]byte) []byte {
	mac := hmac.New(mustPRF(id).hash, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// PRFKeyLen is the preferred key length of the PRF and the length of its output.
func PRFKeyLen(id PRFID) int { return mustPRF(id).size }

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
	for counter := byte(1); len(out) < n; counter++ {
		next := PRF(id, key, block, seed, []byte{counter})
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
