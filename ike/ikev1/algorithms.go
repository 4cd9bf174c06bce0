package ikev1

import (
	"slices"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// The registries of IKEv1 beside those of IKEv2, after which package crypto numbers algorithms. What has no row cannot be negotiated by IKEv1.

// encryptions are the ciphers of an ISAKMP SA: CBC only.
var encryptions = []struct {
	ours crypto.EncrID
	wire isakmp.Encryption
}{{crypto.EncrAESCBC, isakmp.EncryptionAES}, {crypto.Encr3DES, isakmp.Encryption3DES}, {crypto.EncrDES, isakmp.EncryptionDES}}

// hashes are what the PRF of an ISAKMP SA is the HMAC of, with the integrity algorithm of the same hash, whose word the configuration has for both.
var hashes = []hashRow{
	{crypto.PRFHMACSHA256, crypto.IntegHMACSHA256, isakmp.HashSHA256}, {crypto.PRFHMACSHA384, crypto.IntegHMACSHA384, isakmp.HashSHA384},
	{crypto.PRFHMACSHA512, crypto.IntegHMACSHA512, isakmp.HashSHA512}, {crypto.PRFHMACSHA1, crypto.IntegHMACSHA1, isakmp.HashSHA1},
	{crypto.PRFHMACMD5, crypto.IntegHMACMD5, isakmp.HashMD5},
}

type hashRow struct {
	ours  crypto.PRFID
	integ crypto.IntegID
	wire  isakmp.HashAlgorithm
}

// combined reports whether a proposal wants more key exchanges than one (RFC 9370). IKEv1 has one: whoever asks for more gets nothing weaker.
func combined(p crypto.Proposal) bool {
	for _, methods := range p.AdditionalKE {
		if len(methods) > 0 && !slices.Contains(methods, crypto.DHNone) {
			return true
		}
	}
	return false
}

// dhGroups are those of RFC 2409 section 6, RFC 3526 and RFC 5903, whose numbers are those of IKEv2.
var dhGroups = []crypto.DHID{
	crypto.DHMODP768, crypto.DHMODP1024, crypto.DHMODP1536, crypto.DHMODP2048, crypto.DHMODP3072, crypto.DHMODP4096, crypto.DHMODP6144, crypto.DHMODP8192,
	crypto.DHECP256, crypto.DHECP384, crypto.DHECP521,
}

// espTransforms are the ciphers of ESP.
var espTransforms = []struct {
	ours crypto.EncrID
	wire isakmp.ESPTransform
}{
	{crypto.EncrAESGCM16, isakmp.ESPAESGCM16}, {crypto.EncrAESGCM12, isakmp.ESPAESGCM12}, {crypto.EncrAESGCM8, isakmp.ESPAESGCM8},
	{crypto.EncrAESCCM16, isakmp.ESPAESCCM16}, {crypto.EncrAESCCM12, isakmp.ESPAESCCM12}, {crypto.EncrAESCCM8, isakmp.ESPAESCCM8},
	{crypto.EncrAESCBC, isakmp.ESPAES}, {crypto.EncrAESCTR, isakmp.ESPAESCTR}, {crypto.EncrNullAESGMAC, isakmp.ESPNullAESGMAC},
	{crypto.Encr3DES, isakmp.ESP3DES}, {crypto.EncrDES, isakmp.ESPDES}, {crypto.EncrNull, isakmp.ESPNull},
}

// authAlgorithms are the integrity algorithms of ESP and AH. AH names each once more, as its transform.
var authAlgorithms = []struct {
	ours crypto.IntegID
	wire isakmp.AuthAlgorithm
	ah   isakmp.AHTransform
}{
	{crypto.IntegHMACSHA256, isakmp.AuthHMACSHA256, isakmp.AHSHA256}, {crypto.IntegHMACSHA384, isakmp.AuthHMACSHA384, isakmp.AHSHA384},
	{crypto.IntegHMACSHA512, isakmp.AuthHMACSHA512, isakmp.AHSHA512}, {crypto.IntegHMACSHA1, isakmp.AuthHMACSHA1, isakmp.AHSHA1},
	{crypto.IntegHMACMD5, isakmp.AuthHMACMD5, isakmp.AHMD5}, {crypto.IntegAESXCBC, isakmp.AuthAESXCBC, isakmp.AHAESXCBC},
	{crypto.IntegAESGMAC128, isakmp.AuthAESGMAC128, isakmp.AHAESGMAC128}, {crypto.IntegAESGMAC192, isakmp.AuthAESGMAC192, isakmp.AHAESGMAC192},
	{crypto.IntegAESGMAC256, isakmp.AuthAESGMAC256, isakmp.AHAESGMAC256},
}

// encryptionOf is a cipher of an ISAKMP SA on the wire.
func encryptionOf(id crypto.EncrID) (isakmp.Encryption, bool) {
	for _, row := range encryptions {
		if row.ours == id {
			return row.wire, true
		}
	}
	return 0, false
}

func encrOf(e isakmp.Encryption) (crypto.EncrID, bool) {
	for _, row := range encryptions {
		if row.wire == e {
			return row.ours, true
		}
	}
	return 0, false
}

// hashOf is the hash of an HMAC on the wire.
func hashOf(id crypto.PRFID) (isakmp.HashAlgorithm, bool) {
	for _, row := range hashes {
		if row.ours == id {
			return row.wire, true
		}
	}
	return 0, false
}

func prfOf(h isakmp.HashAlgorithm) (crypto.PRFID, bool) {
	for _, row := range hashes {
		if row.wire == h {
			return row.ours, true
		}
	}
	return 0, false
}

func groupOf(id crypto.DHID) (isakmp.Group, bool) {
	return isakmp.Group(id), slices.Contains(dhGroups, id)
}

func espTransformOf(id crypto.EncrID) (isakmp.ESPTransform, bool) {
	for _, row := range espTransforms {
		if row.ours == id {
			return row.wire, true
		}
	}
	return 0, false
}

func espEncrOf(t isakmp.ESPTransform) (crypto.EncrID, bool) {
	for _, row := range espTransforms {
		if row.wire == t {
			return row.ours, true
		}
	}
	return 0, false
}

// authOf is an integrity algorithm of ESP on the wire, with the transform that it is in AH.
func authOf(id crypto.IntegID) (isakmp.AuthAlgorithm, isakmp.AHTransform, bool) {
	for _, row := range authAlgorithms {
		if row.ours == id {
			return row.wire, row.ah, true
		}
	}
	return 0, 0, false
}

func integOf(a isakmp.AuthAlgorithm) (crypto.IntegID, bool) {
	for _, row := range authAlgorithms {
		if row.wire == a {
			return row.ours, true
		}
	}
	return crypto.IntegNone, false
}
