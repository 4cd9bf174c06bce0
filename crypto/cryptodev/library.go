package cryptodev

/*
#cgo LDFLAGS: -lIPSec_MB
#include <stdlib.h>
#include "gcm.h"
#include "library.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"sallyport/crypto"
)

// libraryName is what stands in the place of a device's name for sessions without one:
// the driver that DPDK builds on the same library is called ipsec_mb as well.
const libraryName = "ipsec_mb"

// The devices whose sessions go to the library instead: AES-GCM and GMAC of the first, all
// else of the second. An operator who names neither does not get the library for ESP either.
const (
	gcmDriver = "crypto_aesni_gcm"
	jobDriver = "crypto_aesni_mb"
)

// RoomSize is the length of Session.Room in octets.
const RoomSize = C.SPCRYPTO_ROOM

// libIPSecMB is the library on this machine, or why it cannot be used: at all, or for AES-GCM.
type libIPSecMB struct {
	manager             *C.IMB_MGR
	missing, gcmMissing string
	vectors             bool   // AES-GCM is done by gcm.c with the library's keys
	wrong               string // why it is not, though the processor could; else ""
}

var ipsecMB = sync.OnceValue(func() libIPSecMB { return findIPSecMB(selfTest) })

// findIPSecMB looks for the library; agrees is asked before gcm.c takes the place of its AES-GCM.
func findIPSecMB(agrees func(*C.IMB_MGR) bool) (l libIPSecMB) {
	var why *C.char
	if l.manager = C.spcrypto_library(&why); l.manager == nil {
		l.missing = C.GoString(why)
	} else if why = C.spcrypto_gcm_missing(l.manager); why != nil {
		l.gcmMissing = C.GoString(why)
	} else if C.spcrypto_gcm_vectors(l.manager) != 0 {
		if l.vectors = agrees(l.manager); !l.vectors {
			l.wrong = fmt.Sprintf("the program's own AES-GCM makes other octets than libIPSec_MB %s: the library does all of it, which takes longer", C.GoString(C.imb_get_version_str()))
		}
	}
	return l
}

// vectorsAgree reports whether gcm.c makes what the library makes with keys of any length, of a text that ends where room does.
func vectorsAgree(library *C.IMB_MGR, room []byte, length, aad, tag int) bool {
	text := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(room[len(room)-length:])))
	for _, key := range []C.uint{16, 24, 32} {
		if C.spcrypto_gcm_agrees(library, key, text, C.uint32_t(length), C.uint32_t(aad), C.uint32_t(tag)) == 0 {
			return false
		}
	}
	return true
}

// selfTest has vectorsAgree tell of texts of a block and less, of vectors, of so many blocks that all powers of the hash key are used, and that counters carry.
func selfTest(library *C.IMB_MGR) bool {
	room := make([]byte, 4100)
	for i, length := range []int{1, 15, 16, 64, 68, 516, 736, 750, 1404, 1440, len(room)} {
		if !vectorsAgree(library, room, length, 8+i%2*4, 8+i%3*4) {
			return false
		}
	}
	return true
}

// library makes sessions of keys that libIPSec_MB has expanded, which workers use without a
// device: AES-GCM by a call for each packet, the rest as jobs.
type library struct {
	sessions *C.struct_rte_mempool
	live     atomic.Int64
	mu       sync.Mutex // while a session is made
}

// openLibrary gives the library memory for as many sessions as there can be. Without a usable
// library there is none, and Describe says why.
func (p *Pool) openLibrary(socket int) error {
	if why := ipsecMB().missing; why != "" {
		p.missing = append(p.missing, DeviceInfo{Name: libraryName, Direct: true, Missing: why})
		return nil
	}
	name := C.CString(fmt.Sprintf("crypto_keys_%d", poolNumber.Add(1)))
	defer C.free(unsafe.Pointer(name))
	var ret C.int
	sessions := C.spcrypto_library_sessions(name, C.uint32_t(p.capacity), C.int(socket), &ret)
	if sessions == nil {
		return fmt.Errorf("memory for the keys of %d sessions: %w; give DPDK more memory or lower the number of SAs", p.capacity, errno(ret))
	}
	p.library = &library{sessions: sessions}
	return nil
}

// libraryInstead reports whether the library takes the device's sessions of a suite.
func (p *Pool) libraryInstead(dev *device, s crypto.Suite) bool {
	if p.library == nil || p.library.refuses(s) != "" {
		return false
	}
	return dev.driver == gcmDriver && (isGCM(s) || gmacKeyLen(s) > 0) || dev.driver == jobDriver && !isGCM(s)
}

func isGCM(s crypto.Suite) bool {
	return slices.Contains([]crypto.EncrID{crypto.EncrAESGCM8, crypto.EncrAESGCM12, crypto.EncrAESGCM16}, s.Encr)
}

// refuses says why the library cannot do the suite, or nothing if it can.
func (l *library) refuses(s crypto.Suite) string {
	if isGCM(s) {
		return ipsecMB().gcmMissing
	}
	_, reason := jobConfig(s, false, false)
	return reason
}

// create makes a session.
func (l *library) create(s *Session, keymat []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.createSession(s, keymat)
}

func (l *library) createSession(s *Session, keymat []byte) error {
	if !isGCM(s.Suite) {
		return l.createJob(s, keymat)
	}
	var function C.aes_gcm_enc_dec_t
	key := C.spcrypto_gcm_create(ipsecMB().manager, (*C.uint8_t)(&keymat[0]), C.uint(s.Suite.KeyLen()), truth(s.Encrypt), truth(ipsecMB().vectors), l.sessions, &function)
	if key == nil {
		return ErrSessions
	}
	s.Handle, s.GCM, s.Direct, s.library = unsafe.Pointer(&key.key), *(*unsafe.Pointer)(unsafe.Pointer(&function)), true, l
	s.Room = unsafe.Pointer(&key.room)
	l.live.Add(1)
	return nil
}

func (l *library) free(s *Session) {
	C.spcrypto_library_free(s.Handle)
	l.live.Add(-1)
}

func (l *library) close() { C.rte_mempool_free(l.sessions) }

// describeLibrary says which suites the library does in place of the pool's devices.
func (p *Pool) describeLibrary() DeviceInfo {
	info := DeviceInfo{Name: libraryName, Driver: "libIPSec_MB", Direct: true, Sessions: int(p.library.live.Load()), Wrong: ipsecMB().wrong}
	for _, s := range crypto.Suites() {
		switch reason := p.library.refuses(s); {
		case reason != "":
			info.Refused = append(info.Refused, Refusal{s, reason})
		case slices.ContainsFunc(p.devices, func(d *device) bool { return p.libraryInstead(d, s) }):
			info.Suites = append(info.Suites, s)
		default:
			info.Refused = append(info.Refused, Refusal{s, "left to the devices that the configuration names"})
		}
	}
	return info
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
