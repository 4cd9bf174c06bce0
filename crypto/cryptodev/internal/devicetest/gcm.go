package devicetest

/*
#include <stdint.h>

#include <intel-ipsec-mb.h>

static void gcm(void *function, const void *key, uint8_t *out, const uint8_t *in, uint64_t length, const uint8_t *nonce, const uint8_t *aad, uint64_t aad_length, uint8_t *tag,
		uint64_t tag_length)
{
	struct gcm_context_data context;

	((aes_gcm_enc_dec_t)function)(key, &context, out, in, length, nonce, aad, aad_length, tag, tag_length);
}
*/
import "C"

import (
	"unsafe"

	"sallyport/crypto/cryptodev"
)

// GCMKeyLen is how many octets an expanded key has.
const GCMKeyLen = C.sizeof_struct_gcm_key_data

// GCM calls a session's function of AES-GCM as a worker does, with the session's key, which may be a copy of it: it makes out of in, and a tag of
// as many octets as tag has.
func GCM(s *cryptodev.Session, key unsafe.Pointer, out, in, nonce, aad, tag []byte) {
	C.gcm(s.GCM, key, first(out), first(in), C.uint64_t(len(in)), first(nonce), first(aad), C.uint64_t(len(aad)), first(tag), C.uint64_t(len(tag)))
}

func first(b []byte) *C.uint8_t { return (*C.uint8_t)(unsafe.SliceData(b)) }

// Managers are libIPSec_MB as it would be on processors of less and less: each lays out its keys in its own way, though all tell what this processor has.
func Managers() map[string]unsafe.Pointer {
	managers := make(map[string]unsafe.Pointer)
	for name, prepare := range map[string]func(*C.IMB_MGR){
		"SSE":  func(m *C.IMB_MGR) { C.init_mb_mgr_sse(m) },
		"AVX":  func(m *C.IMB_MGR) { C.init_mb_mgr_avx(m) },
		"AVX2": func(m *C.IMB_MGR) { C.init_mb_mgr_avx2(m) },
	} {
		m := C.alloc_mb_mgr(0)
		prepare(m)
		managers[name] = unsafe.Pointer(m)
	}
	return managers
}

// FreeManager gives one of them back.
func FreeManager(manager unsafe.Pointer) { C.free_mb_mgr((*C.IMB_MGR)(manager)) }
