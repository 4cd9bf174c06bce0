package crypto

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
)

// The transform identifiers of IKEv2 (RFC 7296 section 3.3.2, numbers from the
// IANA registry "IKEv2 Parameters"). They are distinct types so that a group is
// never passed for a PRF.
type (
	EncrID  uint16 // transform type 1, ENCR_*
	PRFID   uint16 // transform type 2, PRF_*
	IntegID uint16 // transform type 3, AUTH_*
	DHID    uint16 // transform types 4 and 6 to 12, key exchange methods (RFC 9370)
	ESNID   uint16 // transform type 5, extended sequence numbers
)

// Encryption algorithms.
const (
	EncrDES              EncrID = 2  // RFC 2405
	Encr3DES             EncrID = 3  // RFC 2451
	EncrNull             EncrID = 11 // RFC 2410
	EncrAESCBC           EncrID = 12 // RFC 3602
	EncrAESCTR           EncrID = 13 // RFC 3686
	EncrAESCCM8          EncrID = 14 // RFC 4309
	EncrAESCCM12         EncrID = 15
	EncrAESCCM16         EncrID = 16
	EncrAESGCM8          EncrID = 18 // RFC 4106, RFC 5282
	EncrAESGCM12         EncrID = 19
	EncrAESGCM16         EncrID = 20
	EncrNullAESGMAC      EncrID = 21 // RFC 4543: integrity only
	EncrChaCha20Poly1305 EncrID = 28 // RFC 7634
)

// Pseudo-random functions.
const (
	PRFHMACMD5    PRFID = 1 // RFC 2104
	PRFHMACSHA1   PRFID = 2
	PRFAESXCBC    PRFID = 4 // RFC 4434
	PRFHMACSHA256 PRFID = 5 // RFC 4868
	PRFHMACSHA384 PRFID = 6
	PRFHMACSHA512 PRFID = 7
	PRFAESCMAC    PRFID = 8 // RFC 4615
)

// Integrity algorithms. IntegNone goes with a combined-mode cipher (AEAD).
const (
	IntegNone       IntegID = 0
	IntegHMACMD5    IntegID = 1 // AUTH_HMAC_MD5_96, RFC 2403
	IntegHMACSHA1   IntegID = 2 // AUTH_HMAC_SHA1_96, RFC 2404
	IntegAESXCBC    IntegID = 5 // AUTH_AES_XCBC_96, RFC 3566
	IntegAESCMAC    IntegID = 8 // AUTH_AES_CMAC_96, RFC 4494
	IntegAESGMAC128 IntegID = 9 // AUTH_AES_128_GMAC, RFC 4543, in AH only
	IntegAESGMAC192 IntegID = 10
	IntegAESGMAC256 IntegID = 11
	IntegHMACSHA256 IntegID = 12 // AUTH_HMAC_SHA2_256_128, RFC 4868
	IntegHMACSHA384 IntegID = 13 // AUTH_HMAC_SHA2_384_192
	IntegHMACSHA512 IntegID = 14 // AUTH_HMAC_SHA2_512_256
)

// Key exchange methods: Diffie-Hellman groups, and key encapsulations.
const (
	DHNone         DHID = 0 // no additional key exchange, where it is one of the alternatives (RFC 9370)
	DHMODP768      DHID = 1 // RFC 7296 appendix B
	DHMODP1024     DHID = 2
	DHMODP1536     DHID = 5 // RFC 3526
	DHMODP2048     DHID = 14
	DHMODP3072     DHID = 15
	DHMODP4096     DHID = 16
	DHMODP6144     DHID = 17
	DHMODP8192     DHID = 18
	DHECP256       DHID = 19 // RFC 5903
	DHECP384       DHID = 20
	DHECP521       DHID = 21
	DHECP192       DHID = 25 // RFC 5114
	DHECP224       DHID = 26
	DHBrainpool224 DHID = 27 // RFC 6932
	DHBrainpool256 DHID = 28
	DHBrainpool384 DHID = 29
	DHBrainpool512 DHID = 30
	DHCurve25519   DHID = 31 // RFC 8031
	DHCurve448     DHID = 32
	DHMLKEM512     DHID = 35 // FIPS 203, draft-ietf-ipsecme-ikev2-mlkem
	DHMLKEM768     DHID = 36
	DHMLKEM1024    DHID = 37
)

// Extended sequence numbers.
const (
	ESNNo  ESNID = 0
	ESNYes ESNID = 1
)

// encrRow describes a cipher. A combined-mode cipher has an ICV of its own. Key
// lengths are those of the Key Length attribute; a cipher of one key size has no such
// attribute, 0 in its place, and its size in fixedKey.
type encrRow struct {
	id       EncrID
	name     string // IANA
	keyBits  []int
	fixedKey int  // octets, where keyBits is 0
	salt     int  // implicit part of the nonce, taken from the key material
	iv       int  // explicit IV in the packet
	block    int  // ESP pads to a multiple of this
	chained  bool // of such blocks: CBC
	icv      int  // 0: needs an integrity algorithm
	use      use
}

// use says where an algorithm may serve, beyond ESP's suites.
type use uint8

const (
	useIKE    use = 1 << iota // the Encrypted payload of IKE SAs
	useAHOnly                 // an integrity algorithm that ESP has in another form
	useLegacy                 // broken or without secrecy, for old peers and for tests only
)

var (
	aesKeys = []int{128, 192, 256}
	oneKey  = []int{0}
)

// RFC 4303 section 2.4 wants the trailer to end on a multiple of 4 octets even
// when the cipher has no blocks, hence blocks of 4.
var encrTable = []encrRow{
	{EncrAESCBC, "ENCR_AES_CBC", aesKeys, 0, 0, 16, 16, true, 0, useIKE},
	{EncrAESGCM8, "ENCR_AES_GCM_8", aesKeys, 0, 4, 8, 4, false, 8, useIKE},
	{EncrAESGCM12, "ENCR_AES_GCM_12", aesKeys, 0, 4, 8, 4, false, 12, useIKE},
	{EncrAESGCM16, "ENCR_AES_GCM_16", aesKeys, 0, 4, 8, 4, false, 16, useIKE},
	{EncrChaCha20Poly1305, "ENCR_CHACHA20_POLY1305", oneKey, 32, 4, 8, 4, false, 16, useIKE},
	{EncrAESCCM8, "ENCR_AES_CCM_8", aesKeys, 0, 3, 8, 4, false, 8, useIKE},
	{EncrAESCCM12, "ENCR_AES_CCM_12", aesKeys, 0, 3, 8, 4, false, 12, useIKE},
	{EncrAESCCM16, "ENCR_AES_CCM_16", aesKeys, 0, 3, 8, 4, false, 16, useIKE},
	{EncrAESCTR, "ENCR_AES_CTR", aesKeys, 0, 4, 8, 4, false, 0, useIKE},
	{EncrNullAESGMAC, "ENCR_NULL_AUTH_AES_GMAC", aesKeys, 0, 4, 8, 4, false, 16, 0},
	{Encr3DES, "ENCR_3DES", oneKey, 24, 0, 8, 8, true, 0, useIKE | useLegacy},
	{EncrDES, "ENCR_DES", oneKey, 8, 0, 8, 8, true, 0, useIKE | useLegacy},
	{EncrNull, "ENCR_NULL", oneKey, 0, 0, 0, 4, false, 0, useLegacy},
}

// integRow describes an integrity algorithm. RFC 2403, RFC 2404 and RFC 4868 section
// 2.1.1 fix the key of an HMAC to the size of the hash; the ICV is half of it, or 96
// bits for the older ones. AES-GMAC has a nonce: the salt ends its key and the IV
// stands in front of its ICV (RFC 4543 section 4).
type integRow struct {
	id   IntegID
	name string
	mac  func(key []byte) mac // nil: AES-GMAC
	key  int
	salt int
	iv   int
	icv  int
	prf  PRFID // of the same function, 0: none
	use  use
}

var integTable = []integRow{
	{IntegHMACSHA1, "AUTH_HMAC_SHA1_96", hmacOf(sha1.New), 20, 0, 0, 12, PRFHMACSHA1, useIKE},
	{IntegHMACSHA256, "AUTH_HMAC_SHA2_256_128", hmacOf(sha256.New), 32, 0, 0, 16, PRFHMACSHA256, useIKE},
	{IntegHMACSHA384, "AUTH_HMAC_SHA2_384_192", hmacOf(sha512.New384), 48, 0, 0, 24, PRFHMACSHA384, useIKE},
	{IntegHMACSHA512, "AUTH_HMAC_SHA2_512_256", hmacOf(sha512.New), 64, 0, 0, 32, PRFHMACSHA512, useIKE},
	{IntegAESXCBC, "AUTH_AES_XCBC_96", newXCBC, 16, 0, 0, 12, PRFAESXCBC, useIKE},
	{IntegAESCMAC, "AUTH_AES_CMAC_96", newCMAC, 16, 0, 0, 12, PRFAESCMAC, useIKE},
	{IntegHMACMD5, "AUTH_HMAC_MD5_96", hmacOf(md5.New), 16, 0, 0, 12, PRFHMACMD5, useIKE | useLegacy},
	{IntegAESGMAC128, "AUTH_AES_128_GMAC", nil, 16, 4, 8, 16, 0, useAHOnly},
	{IntegAESGMAC192, "AUTH_AES_192_GMAC", nil, 24, 4, 8, 16, 0, useAHOnly},
	{IntegAESGMAC256, "AUTH_AES_256_GMAC", nil, 32, 4, 8, 16, 0, useAHOnly},
}

// prfRow describes a PRF. Its preferred key is as long as its output (RFC 7296 section
// 2.13).
type prfRow struct {
	id         PRFID
	name       string
	mac        func(key []byte) mac // for keys of any length
	hashes     *hashes              // of an HMAC; nil for the others
	size       int
	halfNonces bool // see PRFNonceKey
	use        use
}

var prfTable = []prfRow{
	{PRFHMACSHA1, "PRF_HMAC_SHA1", hmacOf(sha1.New), hashesOf(sha1.New), 20, false, useIKE},
	{PRFHMACSHA256, "PRF_HMAC_SHA2_256", hmacOf(sha256.New), hashesOf(sha256.New), 32, false, useIKE},
	{PRFHMACSHA384, "PRF_HMAC_SHA2_384", hmacOf(sha512.New384), hashesOf(sha512.New384), 48, false, useIKE},
	{PRFHMACSHA512, "PRF_HMAC_SHA2_512", hmacOf(sha512.New), hashesOf(sha512.New), 64, false, useIKE},
	{PRFAESXCBC, "PRF_AES128_XCBC", newXCBCPRF, nil, 16, true, useIKE},
	{PRFAESCMAC, "PRF_AES128_CMAC", newCMACPRF, nil, 16, true, useIKE},
	{PRFHMACMD5, "PRF_HMAC_MD5", hmacOf(md5.New), hashesOf(md5.New), 16, false, useIKE | useLegacy},
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

// authenticate is the ICV over the parts in a row.
func (r integRow) authenticate(key []byte, parts [][]byte) []byte {
	if prf, ok := prfByID(r.prf); ok && prf.hashes != nil {
		return prf.hashes.hmac(key, parts)[:r.icv]
	}
	return sum(r.mac(key), r.icv, parts...)
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

// String returns the name of the method in the IANA registry.
func (id DHID) String() string {
	if id == DHNone {
		return "NONE"
	}
	if row, ok := exchangeByID(id); ok {
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
