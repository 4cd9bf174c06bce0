package cryptodev

/*
#include "job.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"sallyport/crypto"
)

// jobCipher is what the library calls a cipher, and the hash that a combined mode brings along.
type jobCipher struct {
	mode C.IMB_CIPHER_MODE
	hash C.IMB_HASH_ALG
}

var jobCiphers = map[crypto.EncrID]jobCipher{
	crypto.EncrAESCBC:           {mode: C.IMB_CIPHER_CBC},
	crypto.EncrAESCTR:           {mode: C.IMB_CIPHER_CNTR},
	crypto.Encr3DES:             {mode: C.IMB_CIPHER_DES3},
	crypto.EncrDES:              {mode: C.IMB_CIPHER_DES},
	crypto.EncrNull:             {mode: C.IMB_CIPHER_NULL},
	crypto.EncrAESCCM8:          {C.IMB_CIPHER_CCM, C.IMB_AUTH_AES_CCM},
	crypto.EncrAESCCM12:         {C.IMB_CIPHER_CCM, C.IMB_AUTH_AES_CCM},
	crypto.EncrAESCCM16:         {C.IMB_CIPHER_CCM, C.IMB_AUTH_AES_CCM},
	crypto.EncrChaCha20Poly1305: {C.IMB_CIPHER_CHACHA20_POLY1305, C.IMB_AUTH_CHACHA20_POLY1305},
}

var jobHashes = map[crypto.IntegID]C.IMB_HASH_ALG{
	crypto.IntegHMACMD5:    C.IMB_AUTH_MD5,
	crypto.IntegHMACSHA1:   C.IMB_AUTH_HMAC_SHA_1,
	crypto.IntegHMACSHA256: C.IMB_AUTH_HMAC_SHA_256,
	crypto.IntegHMACSHA384: C.IMB_AUTH_HMAC_SHA_384,
	crypto.IntegHMACSHA512: C.IMB_AUTH_HMAC_SHA_512,
	crypto.IntegAESXCBC:    C.IMB_AUTH_AES_XCBC,
	crypto.IntegAESCMAC:    C.IMB_AUTH_AES_CMAC,
}

// jobGMAC is the hash for a GMAC key of so many octets.
var jobGMAC = map[int]C.IMB_HASH_ALG{16: C.IMB_AUTH_AES_GMAC_128, 24: C.IMB_AUTH_AES_GMAC_192, 32: C.IMB_AUTH_AES_GMAC_256}

// jobConfig describes a valid suite to the library, or says why it has none.
func jobConfig(s crypto.Suite, esn, encrypt bool) (config C.struct_spcrypto_job_config, reason string) {
	config = C.struct_spcrypto_job_config{
		cipher:           C.IMB_CIPHER_NULL,
		hash:             jobHashes[s.Integ],
		key_length:       C.uint8_t(s.KeyLen()),
		integ_key_length: C.uint8_t(s.IntegKeyLen()),
		iv_length:        C.uint8_t(s.SaltLen() + s.IVLen()),
		icv_length:       C.uint8_t(s.ICVLen()),
		aad_length:       aadLength(esn),
		encrypt:          C.uint8_t(truth(encrypt)),
	}
	if key := gmacKeyLen(s); key > 0 {
		config.hash = jobGMAC[key]
		return config, ""
	}
	if !s.AH() {
		cipher, ok := jobCiphers[s.Encr]
		if !ok {
			return config, fmt.Sprintf("has no %s", s.Encr)
		}
		if cipher.mode == C.IMB_CIPHER_CCM && s.KeyBits == 192 {
			return config, fmt.Sprintf("has no %s with a key of 192 bits", s.Encr)
		}
		config.cipher = cipher.mode
		if s.AEAD() {
			config.hash = cipher.hash
		}
	}
	if config.hash == 0 {
		return config, fmt.Sprintf("has no %s", s.Integ)
	}
	return config, ""
}

// gmacKeyLen is the length of a GMAC key without its salt, 0 if the suite is not GMAC.
func gmacKeyLen(s crypto.Suite) int {
	switch {
	case s.Encr == crypto.EncrNullAESGMAC:
		return s.KeyLen()
	case s.Integ == crypto.IntegAESGMAC128:
		return 16
	case s.Integ == crypto.IntegAESGMAC192:
		return 24
	case s.Integ == crypto.IntegAESGMAC256:
		return 32
	}
	return 0
}

func (l *library) createJob(s *Session, keymat []byte) error {
	config, reason := jobConfig(s.Suite, s.ESN, s.Encrypt)
	if reason != "" {
		return fmt.Errorf("libIPSec_MB %s", reason)
	}
	// The C side reads the keys where they are, so that there is no copy to wipe.
	key, integKey := (*C.uint8_t)(&keymat[0]), (*C.uint8_t)(&keymat[0])
	if gmacKeyLen(s.Suite) == 0 && !s.Suite.AH() && !s.Suite.AEAD() {
		integKey = (*C.uint8_t)(&keymat[s.Suite.KeyLen()+s.Suite.SaltLen()])
	}
	job := C.spcrypto_job_create(ipsecMB().manager, &config, key, integKey, l.sessions)
	if job == nil {
		return ErrSessions
	}
	s.Handle, s.Job, s.library = unsafe.Pointer(job), true, l
	l.live.Add(1)
	return nil
}
