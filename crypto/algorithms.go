package crypto

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// The transform identifiers of IKEv2 (RFC 7296 section 3.3.2, numbers from the
// IANA registry "IKEv2 Parameters"). They are distinct types so that a group is
// never passed for a PRF.
type (
	EncrID  uint16 // transform type 1, ENCR_*
	PRFID   uint16 // transform type 2, PRF_*
	IntegID uint16 // transform type 3, AUTH_*
	DHID    uint16 // transform type 4, key exchange groups
	ESNID   uint16 // transform type 5, extended sequence numbers
)

// Encryption algorithms.
const (
	EncrAESCBC   EncrID = 12 // RFC 3602
	EncrAESGCM8  EncrID = 18 // RFC 4106, RFC 5282
	EncrAESGCM12 EncrID = 19
	EncrAESGCM16 EncrID = 20
)

// Pseudo-random functions.
const (
	PRFHMACSHA1   PRFID = 2 // RFC 2104
	PRFHMACSHA256 PRFID = 5 // RFC 4868
	PRFHMACSHA384 PRFID = 6
	PRFHMACSHA512 PRFID = 7
)

// Integrity algorithms. IntegNone goes with a combined-mode cipher (AEAD).
const (
	IntegNone       IntegID = 0
	IntegHMACSHA1   IntegID = 2  // AUTH_HMAC_SHA1_96, RFC 2404
	IntegHMACSHA256 IntegID = 12 // AUTH_HMAC_SHA2_256_128, RFC 4868
	IntegHMACSHA384 IntegID = 13 // AUTH_HMAC_SHA2_384_192
	IntegHMACSHA512 IntegID = 14 // AUTH_HMAC_SHA2_512_256
)

// Diffie-Hellman groups.
const (
	DHMODP2048   DHID = 14 // RFC 3526
	DHECP256     DHID = 19 // RFC 5903
	DHECP384     DHID = 20
	DHCurve25519 DHID = 31 // RFC 8031
)

// Extended sequence numbers.
const (
	ESNNo  ESNID = 0
	ESNYes ESNID = 1
)

// encrRow describes a cipher. A combined-mode cipher has an ICV of its own.
type encrRow struct {
	id      EncrID
	name    string // IANA
	keyBits []int
	salt    int // implicit part of the nonce, taken from the key material
	iv      int // explicit IV in the packet
	block   int // ESP pads to a multiple of this
	icv     int // 0: needs an integrity algorithm
}

// RFC 4303 section 2.4 wants the trailer to end on a multiple of 4 octets even
// when the cipher has no blocks, hence block 4 for AES-GCM.
var encrTable = []encrRow{
	{EncrAESCBC, "ENCR_AES_CBC", []int{128, 192, 256}, 0, 16, 16, 0},
	{EncrAESGCM8, "ENCR_AES_GCM_8", []int{128, 192, 256}, 4, 8, 4, 8},
	{EncrAESGCM12, "ENCR_AES_GCM_12", []int{128, 192, 256}, 4, 8, 4, 12},
	{EncrAESGCM16, "ENCR_AES_GCM_16", []int{128, 192, 256}, 4, 8, 4, 16},
}

// integRow describes a truncated HMAC: RFC 2404 and RFC 4868 section 2.1.1 fix
// the key to the size of the hash and the ICV to half of it (96 bits for SHA-1).
type integRow struct {
	id   IntegID
	name string
	hash func() hash.Hash
	key  int
	icv  int
	prf  PRFID // of the same hash
}

var integTable = []integRow{
	{IntegHMACSHA1, "AUTH_HMAC_SHA1_96", sha1.New, 20, 12, PRFHMACSHA1},
	{IntegHMACSHA256, "AUTH_HMAC_SHA2_256_128", sha256.New, 32, 16, PRFHMACSHA256},
	{IntegHMACSHA384, "AUTH_HMAC_SHA2_384_192", sha512.New384, 48, 24, PRFHMACSHA384},
	{IntegHMACSHA512, "AUTH_HMAC_SHA2_512_256", sha512.New, 64, 32, PRFHMACSHA512},
}

// prfRow describes an HMAC as PRF. Its preferred key is as long as its output
// (RFC 7296 section 2.13).
type prfRow struct {
	id   PRFID
	name string
	hash func() hash.Hash
	size int
}

var prfTable = []prfRow{
	{PRFHMACSHA1, "PRF_HMAC_SHA1", sha1.New, 20},
	{PRFHMACSHA256, "PRF_HMAC_SHA2_256", sha256.New, 32},
	{PRFHMACSHA384, "PRF_HMAC_SHA2_384", sha512.New384, 48},
	{PRFHMACSHA512, "PRF_HMAC_SHA2_512", sha512.New, 64},
}

func encrByID(id EncrID) (encrRow, bool) {
	for _, row := range encrTable {
		if row.id == id {
			return row, true
		}
	}
	return encrRow{}, false
}

func integByID(id IntegID) (integRow, bool) {
	for _, row := range integTable {
		if row.id == id {
			return row, true
		}
	}
	return integRow{}, false
}

func prfByID(id PRFID) (prfRow, bool) {
	for _, row := range prfTable {
		if row.id == id {
			return row, true
		}
	}
	return prfRow{}, false
}

// AEAD reports whether the cipher protects integrity by itself.
func (id EncrID) AEAD() bool {
	row, ok := encrByID(id)
	return ok && row.icv > 0
}

// String returns the IANA name.
func (id EncrID) String() string {
	if row, ok := encrByID(id); ok {
		return row.name
	}
	return fmt.Sprintf("ENCR_%d", uint16(id))
}

// String returns the IANA name.
func (id IntegID) String() string {
	if id == IntegNone {
		return "AUTH_NONE"
	}
	if row, ok := integByID(id); ok {
		return row.name
	}
	return fmt.Sprintf("AUTH_%d", uint16(id))
}

// String returns the IANA name.
func (id PRFID) String() string {
	if row, ok := prfByID(id); ok {
		return row.name
	}
	return fmt.Sprintf("PRF_%d", uint16(id))
}

// String returns the name of the group in the IANA registry.
func (id DHID) String() string {
	if row, ok := dhByID(id); ok {
		return row.name
	}
	return fmt.Sprintf("DH_%d", uint16(id))
}

// String returns the IANA name.
func (id ESNID) String() string {
	switch id {
	case ESNNo:
		return "NO_ESN"
	case ESNYes:
		return "ESN"
	}
	return fmt.Sprintf("ESN_%d", uint16(id))
}
