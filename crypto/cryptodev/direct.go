package cryptodev

/*
#cgo LDFLAGS: -lIPSec_MB
#include <stdlib.h>
#include "direct.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"sallyport/crypto"
)

// directName is what stands in the place of a device's name for sessions without one:
// the driver that DPDK builds on the same library is called ipsec_mb as well.
const directName = "ipsec_mb"

// directDriver is the device whose AES-GCM sessions go to the library directly. An
// operator who does not name such a device does not get the library either.
const directDriver = "crypto_aesni_gcm"

// gcm is what libIPSec_MB offers on this machine: functions, or why there are none.
var gcm = sync.OnceValue(func() (g struct {
	functions C.struct_spcrypto_gcm
	missing   string
}) {
	if why := C.spcrypto_gcm_choose(&g.functions); why != nil {
		g.missing = C.GoString(why)
	}
	return g
})

// direct makes sessions of AES-GCM keys that libIPSec_MB has expanded. A worker calls the
// library's function with the key, once a packet.
type direct struct {
	keys *C.struct_rte_mempool
	live int
}

// openDirect gives the first device that may have it the library, and memory for as many
// keys as there can be sessions.
func (p *Pool) openDirect(socket int) error {
	i := slices.IndexFunc(p.devices, func(d *device) bool { return d.driver == directDriver })
	if i < 0 {
		return nil
	}
	if why := gcm().missing; why != "" {
		p.missing = append(p.missing, DeviceInfo{Name: directName, Direct: true, Missing: why})
		return nil
	}
	name := C.CString(fmt.Sprintf("crypto_keys_%d", poolNumber.Add(1)))
	defer C.free(unsafe.Pointer(name))
	var ret C.int
	keys := C.spcrypto_gcm_keys(name, C.uint32_t(p.capacity), C.int(socket), &ret)
	if keys == nil {
		return fmt.Errorf("memory for the keys of %d sessions: %w; give DPDK more memory or lower the number of SAs", p.capacity, errno(ret))
	}
	p.devices[i].direct = &direct{keys: keys}
	return nil
}

func (d *direct) createSession(s *Session, keymat []byte) error {
	functions := gcm().functions
	size := s.Suite.KeyLen()/8 - 2
	key := C.spcrypto_gcm_key_create(&functions, C.uint(size), (*C.uint8_t)(&keymat[0]), d.keys)
	if key == nil {
		return ErrSessions
	}
	function := functions.decrypt[size]
	if s.Encrypt {
		function = functions.encrypt[size]
	}
	s.Handle, s.GCM, s.Direct, s.direct = unsafe.Pointer(key), *(*unsafe.Pointer)(unsafe.Pointer(&function)), true, d
	d.live++
	return nil
}

func (d *direct) free(s *Session) {
	C.spcrypto_gcm_key_free((*C.struct_gcm_key_data)(s.Handle))
	d.live--
}

func (d *direct) close() { C.rte_mempool_free(d.keys) }

// describe says what the library does: AES-GCM of every size.
func (d *direct) describe() DeviceInfo {
	info := DeviceInfo{Name: directName, Driver: "libIPSec_MB", Direct: true, Sessions: d.live}
	for _, s := range crypto.IKESuites() {
		if s.AEAD() {
			info.Suites = append(info.Suites, s)
		} else {
			info.Refused = append(info.Refused, Refusal{s, "does AES-GCM only"})
		}
	}
	return info
}
