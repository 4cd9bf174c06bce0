package peers

import (
	"fmt"
	"slices"

	"sallyport/crypto"
)

// How the kernel's XFRM calls the algorithms (net/xfrm/xfrm_algo.c).
var (
	kernelAEAD = map[crypto.EncrID]string{
		crypto.EncrAESGCM8:          "rfc4106(gcm(aes))",
		crypto.EncrAESGCM12:         "rfc4106(gcm(aes))",
		crypto.EncrAESGCM16:         "rfc4106(gcm(aes))",
		crypto.EncrAESCCM8:          "rfc4309(ccm(aes))",
		crypto.EncrAESCCM12:         "rfc4309(ccm(aes))",
		crypto.EncrAESCCM16:         "rfc4309(ccm(aes))",
		crypto.EncrNullAESGMAC:      "rfc4543(gcm(aes))",
		crypto.EncrChaCha20Poly1305: "rfc7539esp(chacha20,poly1305)",
	}
	kernelCipher = map[crypto.EncrID]string{
		crypto.EncrDES:    "cbc(des)",
		crypto.Encr3DES:   "cbc(des3_ede)",
		crypto.EncrNull:   "ecb(cipher_null)",
		crypto.EncrAESCBC: "cbc(aes)",
		crypto.EncrAESCTR: "rfc3686(ctr(aes))",
	}
	kernelDigest = map[crypto.IntegID]string{
		crypto.IntegHMACMD5:    "hmac(md5)",
		crypto.IntegHMACSHA1:   "hmac(sha1)",
		crypto.IntegAESXCBC:    "xcbc(aes)",
		crypto.IntegAESCMAC:    "cmac(aes)",
		crypto.IntegHMACSHA256: "hmac(sha256)",
		crypto.IntegHMACSHA384: "hmac(sha384)",
		crypto.IntegHMACSHA512: "hmac(sha512)",
	}
)

// KernelHas tells whether the guest's kernel can do a suite. Its AH knows no AES-GMAC.
func KernelHas(s crypto.Suite) bool {
	_, err := algorithmWords(s, make([]byte, s.KeymatLen()))
	return err == nil
}

// algorithmWords are ip-xfrm's words for a suite with its keys, which stand in the order of RFC 7296 section 2.17. The
// kernel takes a salt as the end of the cipher's key.
func algorithmWords(s crypto.Suite, keymat []byte) ([]string, error) {
	if len(keymat) != s.KeymatLen() {
		return nil, fmt.Errorf("peers: expected %d octets of key material for %s, found %d", s.KeymatLen(), s, len(keymat))
	}
	bits := fmt.Sprint(s.ICVLen() * 8)
	cipherKey, digestKey := keymat[:s.KeyLen()+s.SaltLen()], keymat[s.KeyLen()+s.SaltLen():]
	if s.AEAD() {
		return words(kernelAEAD, s.Encr, "aead", cipherKey, bits)
	}
	digest, err := words(kernelDigest, s.Integ, "auth-trunc", digestKey, bits)
	if err != nil || s.AH() {
		return digest, err
	}
	cipher, err := words(kernelCipher, s.Encr, "enc", cipherKey)
	return slices.Concat(cipher, digest), err
}

// words are those for one algorithm: its kind, the kernel's name, the key and what follows.
func words[ID interface {
	comparable
	fmt.Stringer
}](names map[ID]string, id ID, kind string, key []byte, more ...string) ([]string, error) {
	name, known := names[id]
	if !known {
		return nil, fmt.Errorf("peers: expected an algorithm that the kernel has, found %s", id)
	}
	text := `""` // the NULL cipher's
	if len(key) > 0 {
		text = fmt.Sprintf("%#x", key)
	}
	return append([]string{kind, name, text}, more...), nil
}
