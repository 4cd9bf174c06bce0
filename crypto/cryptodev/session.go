package cryptodev

/*
#include <rte_cryptodev.h>
#include "session.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"sallyport/crypto"
)

// IVOffset is where an operation of an enqueued session has its IV, in octets from
// the start of the rte_crypto_op. Operation pools need IVRoom private octets there.
const (
	IVOffset = C.SPCRYPTO_IV_OFFSET
	IVRoom   = 16
)

// aadLen is the associated data of AES-GCM in ESP: SPI and sequence number (RFC 4106
// section 5), which is 64 bits long with ESN.
const (
	aadLen    = 8
	aadLenESN = 12
)

// Session is one direction of one SA on one device, or with libIPSec_MB itself.
type Session struct {
	Device  uint8          // rte_cryptodev id, of no account if Direct
	Handle  unsafe.Pointer // the session for cpu-crypto or for operations; Direct: struct gcm_key_data
	GCM     unsafe.Pointer // Direct: aes_gcm_enc_dec_t of the key's length, in the direction of the session
	Direct  bool           // true: GCM is called with the key; Suite is AES-GCM
	CPU     bool           // true: cpu-crypto; false, unless Direct: queue pair of the worker's index
	Suite   crypto.Suite
	ESN     bool
	Encrypt bool

	viaDevice bool
	device    *device
	direct    *direct
}

// DeviceName is the name of the device in the configuration, or ipsec_mb for the library.
func (s *Session) DeviceName() string {
	if s.Direct {
		return directName
	}
	return s.device.name
}

// SessionOption changes what NewSession asks for.
type SessionOption func(*Session)

// WithESN makes the session authenticate 64-bit sequence numbers when on is true. Only
// AEAD sessions differ: their associated data is 12 octets instead of 8.
func WithESN(on bool) SessionOption { return func(s *Session) { s.ESN = on } }

// ViaDevice keeps the session on a crypto device where NewSession would prefer to have
// libIPSec_MB called directly.
func ViaDevice() SessionOption { return func(s *Session) { s.viaDevice = true } }

// ErrNoDevice means that no device can do the suite. The SA must not carry traffic.
var ErrNoDevice = errors.New("no crypto device can do it")

// NewSession makes a session on the first device that can do the suite. Keymat is laid
// out as crypto.NewESP takes it; it is read and not kept, and the salt, which is part
// of the IV, is not used. A device that refuses is passed over; if all do, the error
// wraps ErrNoDevice and says why for each.
func (p *Pool) NewSession(s crypto.Suite, keymat crypto.Secret, encrypt bool, options ...SessionOption) (*Session, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("crypto session: %w", err)
	}
	if keymat.Len() != s.KeymatLen() {
		return nil, fmt.Errorf("crypto session: %s takes %d octets of key material, found %d", s, s.KeymatLen(), keymat.Len())
	}
	session := &Session{Suite: s, Encrypt: encrypt}
	for _, option := range options {
		option(session)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == p.capacity {
		return nil, fmt.Errorf("%w: all %d are in use, configure more SAs", ErrSessions, p.capacity)
	}
	var refusals []string
	for _, dev := range p.devices {
		reason := dev.refuses(s, session.ESN)
		if reason == "" {
			err := dev.newSession(session, keymat.Bytes(), p.sessions)
			if err == nil {
				p.live++
				return session, nil
			}
			reason = err.Error()
		}
		refusals = append(refusals, dev.name+": "+reason)
	}
	return nil, fmt.Errorf("crypto session for %s: %w; asked %s", s, ErrNoDevice, strings.Join(refusals, "; "))
}

// Free returns the session to its device, which clears the keys. No worker may use it
// any more.
func (p *Pool) Free(s *Session) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Handle == nil {
		return errors.New("crypto session: freed already or never made")
	}
	if s.Direct {
		s.direct.free(s)
	} else if err := s.device.freeSession(s); err != nil {
		return err
	}
	s.Handle = nil
	p.live--
	return nil
}

func (d *device) freeSession(s *Session) error {
	if ret := C.rte_cryptodev_sym_session_free(C.uint8_t(s.Device), s.Handle); ret < 0 {
		return fmt.Errorf("crypto session on %s: free: %w", d.name, errno(ret))
	}
	d.live--
	return nil
}

func (d *device) newSession(s *Session, keymat []byte, pool *C.struct_rte_mempool) error {
	if d.direct != nil && s.Suite.AEAD() && !s.viaDevice {
		return d.direct.createSession(s, keymat)
	}
	return d.createSession(s, keymat, pool)
}

func (d *device) createSession(s *Session, keymat []byte, pool *C.struct_rte_mempool) error {
	t := transformOf(s.Suite, s.ESN)
	// The C side reads the keys where they are, so that there is no copy to wipe.
	var integKey *C.uint8_t
	if !s.Suite.AEAD() {
		integKey = (*C.uint8_t)(&keymat[s.Suite.KeyLen()])
	}
	encrypt := C.int(0)
	if s.Encrypt {
		encrypt = 1
	}
	var ret C.int
	handle := C.spcrypto_session_create(C.uint8_t(d.id), &t, (*C.uint8_t)(&keymat[0]), integKey, encrypt, pool, &ret)
	if handle == nil {
		return fmt.Errorf("session refused: %w", syscall.Errno(-ret))
	}
	s.Device, s.Handle, s.CPU, s.device = d.id, handle, d.cpu && s.Suite.AEAD(), d
	d.live++
	return nil
}

// authAlgorithms maps the integrity algorithms to what DPDK calls them.
var authAlgorithms = map[crypto.IntegID]uint32{
	crypto.IntegHMACSHA1:   C.RTE_CRYPTO_AUTH_SHA1_HMAC,
	crypto.IntegHMACSHA256: C.RTE_CRYPTO_AUTH_SHA256_HMAC,
	crypto.IntegHMACSHA384: C.RTE_CRYPTO_AUTH_SHA384_HMAC,
	crypto.IntegHMACSHA512: C.RTE_CRYPTO_AUTH_SHA512_HMAC,
}

// transformOf describes a valid suite to DPDK.
func transformOf(s crypto.Suite, esn bool) C.struct_spcrypto_transform {
	t := C.struct_spcrypto_transform{
		key_length:       C.uint16_t(s.KeyLen()),
		integ_key_length: C.uint16_t(s.IntegKeyLen()),
		iv_length:        C.uint16_t(s.SaltLen() + s.IVLen()),
		icv_length:       C.uint16_t(s.ICVLen()),
	}
	if !s.AEAD() {
		t.cipher = C.RTE_CRYPTO_CIPHER_AES_CBC
		t.auth = authAlgorithms[s.Integ]
		return t
	}
	t.is_aead = 1
	t.aead = C.RTE_CRYPTO_AEAD_AES_GCM
	t.aad_length = aadLen
	if esn {
		t.aad_length = aadLenESN
	}
	return t
}

// refuses says why the device cannot do the suite, or nothing if it can.
func (d *device) refuses(s crypto.Suite, esn bool) string {
	if !slices.Contains(crypto.IKESuites(), s) {
		return fmt.Sprintf("has no %s", s)
	}
	t := transformOf(s, esn)
	if !s.AEAD() && !d.chaining {
		return "does not chain cipher and integrity"
	}
	switch C.spcrypto_check(C.uint8_t(d.id), &t) {
	case C.SPCRYPTO_NO_AEAD, C.SPCRYPTO_NO_CIPHER:
		return fmt.Sprintf("has no %s", s.Encr)
	case C.SPCRYPTO_NO_AEAD_SIZE:
		return fmt.Sprintf("has no %s with key %d, IV %d, associated data %d, ICV %d",
			s.Encr, t.key_length, t.iv_length, t.aad_length, t.icv_length)
	case C.SPCRYPTO_NO_CIPHER_SIZE:
		return fmt.Sprintf("has no %s with key %d, IV %d", s.Encr, t.key_length, t.iv_length)
	case C.SPCRYPTO_NO_AUTH:
		return fmt.Sprintf("has no %s", s.Integ)
	case C.SPCRYPTO_NO_AUTH_SIZE:
		return fmt.Sprintf("has no %s with key %d, ICV %d", s.Integ, t.integ_key_length, t.icv_length)
	}
	return ""
}
