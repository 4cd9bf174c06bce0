package crypto

import "fmt"

// Hash is the hash that the HMAC of a PRF is made with, over the parts in a row: what IKEv1 negotiates, and takes IVs and NAT-D payloads
// from (RFC 2409 appendix B, RFC 3947 3.2). The id must come from a validated proposal: it panics on one without a hash.
func Hash(id PRFID, parts ...[]byte) []byte {
	row := mustPRF(id)
	if row.hashes == nil {
		panic(fmt.Sprintf("crypto: %s has no hash; IKEv1 has PRFs of HMAC only", row.name))
	}
	return row.hashes.sum(parts)
}
