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

// aadLength is the length of a combined mode's associated data in ESP: SPI and sequence
// number, which is 64 bits long with ESN (RFC 4106 section 5, RFC 4309 section 5, RFC 7634
// section 2.1).
func aadLength(esn bool) C.uint8_t {
	if esn {
		return 12
	}
	return 8
}

// Session is one direction of one SA on one device, or with libIPSec_MB itself.
type Session struct {
	Device  uint8          // rte_cryptodev id, of no account if Direct or Job
	Handle  unsafe.Pointer // the session for cpu-crypto or for operations; Direct: struct gcm_key_data; Job: IMB_JOB
	GCM     unsafe.Pointer // Direct: aes_gcm_enc_dec_t of the key's length, in the direction of the session
	Room    unsafe.Pointer // Direct: RoomSize octets in the cache lines behind the key, for what its user reads together with it until Free; otherwise nil
	Direct  bool           // true: GCM is called with the key; Suite is AES-GCM
	Job     bool           // true: a copy of the job goes to the worker's own manager
	CPU     bool           // true: cpu-crypto; if none of the three is: queue pair of the worker's index
	Whole   bool           // true: the device does all of ESP, and Handle is of rte_security
	Suite   crypto.Suite
	ESN     bool
	Encrypt bool

	Class      Class
	PassedOver []PassedOver // what would have been preferred, in that order

	viaDevice bool
	esp       *ESP                               // nil: all that is known of the SA is said above
	only      func(class Class, whole bool) bool // the ways that it may come about by; nil: any
	why       string
	device    *device
	library   *library
}

// DeviceName is the name of the device in the configuration, or ipsec_mb for the library.
func (s *Session) DeviceName() string {
	if s.library != nil {
		return libraryName
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

// Of tells what the session is for, so that a device may do more of it than the crypto: all of ESP. Suite, ESN and direction
// are those that NewSession is given.
func Of(sa ESP) SessionOption { return func(s *Session) { s.esp = &sa } }

// asked is what the session is asked for.
func (s *Session) asked() *ESP {
	var sa ESP
	if s.esp != nil {
		sa = *s.esp
	}
	sa.Suite, sa.ESN, sa.Outbound = s.Suite, s.ESN, s.Encrypt
	return &sa
}

// Only keeps the session to some ways: by their class, and by whether the device does all of ESP. Why is the reason against the others in PassedOver.
func Only(why string, may func(class Class, whole bool) bool) SessionOption {
	return func(s *Session) { s.only, s.why = may, why }
}

// ErrNoDevice means that no device can do the suite. The SA must not carry traffic.
var ErrNoDevice = errors.New("no crypto device can do it")

// ErrNoneMay is ErrNoDevice where Only leaves none to be asked.
var ErrNoneMay = fmt.Errorf("%w; the configuration has none that may", ErrNoDevice)

// NewSession makes a session in the first way that can do the suite: of the order of classes, or of devices. Keymat is laid
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
	if !p.claim() {
		return nil, fmt.Errorf("%w: all %d are in use, configure more SAs", ErrSessions, p.capacity)
	}
	if err := p.place(session, keymat); err != nil {
		p.unclaim()
		return nil, fmt.Errorf("crypto session for %s: %w", s, err)
	}
	return session, nil
}

// claim counts a session that is to be made. While there is one the pool keeps its devices.
func (p *Pool) claim() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == p.capacity {
		return false
	}
	p.live++
	return true
}

func (p *Pool) unclaim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live--
}

// place makes the session in the first way that can do its suite.
func (p *Pool) place(s *Session, keymat crypto.Secret) error {
	if s.Suite.AH() {
		return p.placeAH(s, keymat.Bytes())
	}
	asked := s.asked()
	for _, w := range p.ways(asked, s.viaDevice) {
		reason := s.excludes(w.class, w.whole)
		if reason == "" {
			reason = p.take(w, s, asked, keymat)
		}
		if reason == "" {
			s.Class, s.esp, s.only = w.class, nil, nil
			return nil
		}
		s.PassedOver = append(s.PassedOver, PassedOver{Device: w.name(), Class: w.class, Whole: w.whole, Reason: reason})
	}
	if len(s.PassedOver) == 0 {
		names := make([]string, 0, len(p.devices))
		for _, d := range p.devices {
			names = append(names, d.name)
		}
		return fmt.Errorf("%w; of %s none is of a class that may (%v)", ErrNoDevice, strings.Join(names, ", "), p.classes)
	}
	var refusals []string
	for _, passed := range s.PassedOver {
		if s.excludes(passed.Class, passed.Whole) == "" {
			refusals = append(refusals, passed.Device+": "+passed.Reason)
		}
	}
	if len(refusals) == 0 {
		return fmt.Errorf("%w: %s", ErrNoneMay, s.why)
	}
	return fmt.Errorf("%w; asked %s", ErrNoDevice, strings.Join(refusals, "; "))
}

// excludes says why a session may not come about by a way, nothing if it may.
func (s *Session) excludes(class Class, whole bool) string {
	if s.only == nil || s.only(class, whole) {
		return ""
	}
	return s.why
}

// placeAH makes a session of AH, which no device knows.
func (p *Pool) placeAH(s *Session, keymat []byte) error {
	if reason := p.refusesAH(); reason != "" {
		return fmt.Errorf("%w: %s", ErrNoDevice, reason)
	}
	s.Class = ClassCPU
	return p.library.create(s, keymat)
}

// refusesAH says why there is no AH, or nothing if there is.
func (p *Pool) refusesAH() string {
	switch {
	case p.classes != nil && !slices.Contains(p.classes, ClassCPU):
		return fmt.Sprintf("AH is done by the CPU alone, which is not of a class that may (%v)", p.classes)
	case p.library == nil:
		return "AH is done by libIPSec_MB alone, which is missing: " + ipsecMB().missing
	}
	return ""
}

// take makes the session in one way, or says why that cannot be.
func (p *Pool) take(w way, s *Session, asked *ESP, keymat crypto.Secret) string {
	if w.library {
		return textOf(p.library.create(s, keymat.Bytes()))
	}
	if reason := p.refusal(w, asked); reason != "" { // one that is lost may be busy for long
		return reason
	}
	w.dev.busy.Lock()
	defer w.dev.busy.Unlock()
	if reason := p.refusal(w, asked); reason != "" {
		return reason
	}
	return textOf(w.dev.sessionBy(w, s, asked, keymat, &p.memory))
}

func textOf(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

func (p *Pool) refusal(w way, asked *ESP) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return w.refuses(asked)
}

func (d *device) sessionBy(w way, s *Session, asked *ESP, keymat crypto.Secret, from *memory) error {
	if w.whole {
		return d.createWhole(s, asked, keymat)
	}
	return d.createSession(s, keymat.Bytes(), w.class == ClassCPU, from)
}

// Free returns the session to its device, which clears the keys. No worker may use it
// any more.
func (p *Pool) Free(s *Session) error {
	switch {
	case s.Handle == nil:
		return errors.New("crypto session: freed already or never made")
	case s.library != nil:
		s.library.free(s)
	case p.keeps(s):
		s.Handle = nil
		return nil
	default:
		if err := s.device.free(s, &p.memory); err != nil {
			return err
		}
	}
	s.Handle = nil
	p.unclaim()
	return nil
}

func (d *device) free(s *Session, to *memory) error {
	d.busy.Lock()
	defer d.busy.Unlock()
	return d.freeSession(s, to)
}

func (d *device) freeSession(s *Session, to *memory) error {
	if s.Whole {
		return d.freeWhole(s)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if ret := C.rte_cryptodev_sym_session_free(C.uint8_t(s.Device), s.Handle); ret < 0 {
		return fmt.Errorf("crypto session on %s: free: %w", d.name, errno(ret))
	}
	d.live.Add(-1)
	return nil
}

func (d *device) createSession(s *Session, keymat []byte, cpu bool, from *memory) error {
	from.mu.Lock()
	defer from.mu.Unlock()
	t := transformOf(s.Suite, s.ESN)
	key, integKey := keysIn(keymat, s.Suite)
	var ret C.int
	handle := C.spcrypto_session_create(C.uint8_t(d.id), &t, key, integKey, truth(s.Encrypt), from.sessions, &ret)
	if handle == nil {
		return fmt.Errorf("session refused: %w", syscall.Errno(-ret))
	}
	s.Device, s.Handle, s.CPU, s.device = d.id, handle, cpu, d
	d.live.Add(1)
	return nil
}

// keysIn is where the keys of cipher and integrity stand in key material. The C side reads them there, so that there is no
// copy to wipe.
func keysIn(keymat []byte, s crypto.Suite) (key, integKey *C.uint8_t) {
	key, integKey = (*C.uint8_t)(&keymat[0]), (*C.uint8_t)(&keymat[0])
	if !s.AEAD() {
		integKey = (*C.uint8_t)(&keymat[s.KeyLen()+s.SaltLen()])
	}
	return key, integKey
}

// What DPDK calls the algorithms. Those of AEAD stand in for a cipher.
var (
	aeadAlgorithms = map[crypto.EncrID]uint32{
		crypto.EncrAESGCM8:          C.RTE_CRYPTO_AEAD_AES_GCM,
		crypto.EncrAESGCM12:         C.RTE_CRYPTO_AEAD_AES_GCM,
		crypto.EncrAESGCM16:         C.RTE_CRYPTO_AEAD_AES_GCM,
		crypto.EncrAESCCM8:          C.RTE_CRYPTO_AEAD_AES_CCM,
		crypto.EncrAESCCM12:         C.RTE_CRYPTO_AEAD_AES_CCM,
		crypto.EncrAESCCM16:         C.RTE_CRYPTO_AEAD_AES_CCM,
		crypto.EncrChaCha20Poly1305: C.RTE_CRYPTO_AEAD_CHACHA20_POLY1305,
	}
	cipherAlgorithms = map[crypto.EncrID]uint32{
		crypto.EncrAESCBC: C.RTE_CRYPTO_CIPHER_AES_CBC,
		crypto.EncrAESCTR: C.RTE_CRYPTO_CIPHER_AES_CTR,
		crypto.Encr3DES:   C.RTE_CRYPTO_CIPHER_3DES_CBC,
		crypto.EncrDES:    C.RTE_CRYPTO_CIPHER_DES_CBC,
	}
	authAlgorithms = map[crypto.IntegID]uint32{
		crypto.IntegHMACMD5:    C.RTE_CRYPTO_AUTH_MD5_HMAC,
		crypto.IntegHMACSHA1:   C.RTE_CRYPTO_AUTH_SHA1_HMAC,
		crypto.IntegHMACSHA256: C.RTE_CRYPTO_AUTH_SHA256_HMAC,
		crypto.IntegHMACSHA384: C.RTE_CRYPTO_AUTH_SHA384_HMAC,
		crypto.IntegHMACSHA512: C.RTE_CRYPTO_AUTH_SHA512_HMAC,
		crypto.IntegAESXCBC:    C.RTE_CRYPTO_AUTH_AES_XCBC_MAC,
		crypto.IntegAESCMAC:    C.RTE_CRYPTO_AUTH_AES_CMAC,
	}
)

// counterBlock is the IV that devices take for AES-CTR: nonce, IV and block counter (RFC 3686
// section 4).
const counterBlock = 16

// transformOf describes a valid suite of ESP to DPDK. Without a cipher there is nothing but
// integrity to do.
func transformOf(s crypto.Suite, esn bool) C.struct_spcrypto_transform {
	t := C.struct_spcrypto_transform{
		shape:            C.SPCRYPTO_CHAIN,
		auth:             authAlgorithms[s.Integ],
		key_length:       C.uint16_t(s.KeyLen()),
		integ_key_length: C.uint16_t(s.IntegKeyLen()),
		iv_length:        C.uint16_t(s.SaltLen() + s.IVLen()),
		icv_length:       C.uint16_t(s.ICVLen()),
	}
	switch s.Encr {
	case crypto.EncrNull:
		t.shape = C.SPCRYPTO_AUTH
	case crypto.EncrNullAESGMAC:
		t.shape, t.auth = C.SPCRYPTO_AUTH, C.RTE_CRYPTO_AUTH_AES_GMAC
		t.integ_key_length, t.key_length = t.key_length, 0
		t.auth_iv_length, t.iv_length = t.iv_length, 0
	case crypto.EncrAESCTR:
		t.iv_length = counterBlock
		t.cipher = cipherAlgorithms[s.Encr]
	default:
		if t.cipher = cipherAlgorithms[s.Encr]; t.cipher == 0 {
			t.shape, t.aead = C.SPCRYPTO_AEAD, aeadAlgorithms[s.Encr]
			t.aad_length = C.uint16_t(aadLength(esn))
		}
	}
	return t
}

// full says that the device has no room for another session, or nothing if it has.
func (d *device) full() string {
	if most, live := uint(C.spcrypto_most_sessions(C.uint8_t(d.id))), d.live.Load(); most > 0 && uint(live) >= most {
		return fmt.Sprintf("no room for another session: %d of %d are used", live, most)
	}
	return ""
}

// lacks says why the device cannot do the crypto of a suite, or nothing if it can.
func (d *device) lacks(s crypto.Suite, esn bool) string {
	if d.lost.declared {
		return d.lost.why
	}
	t := transformOf(s, esn)
	if t.shape == C.SPCRYPTO_CHAIN && !d.chaining {
		return "does not chain cipher and integrity"
	}
	return refusalOf(C.spcrypto_check(C.uint8_t(d.id), &t), s, &t)
}

// refusalOf says what a check of capabilities has found missing, nothing if all is there.
func refusalOf(found uint32, s crypto.Suite, t *C.struct_spcrypto_transform) string {
	switch found {
	case C.SPCRYPTO_NO_AEAD, C.SPCRYPTO_NO_CIPHER:
		return fmt.Sprintf("has no %s", s.Encr)
	case C.SPCRYPTO_NO_AEAD_SIZE:
		return fmt.Sprintf("has no %s with key %d, IV %d, associated data %d, ICV %d",
			s.Encr, t.key_length, t.iv_length, t.aad_length, t.icv_length)
	case C.SPCRYPTO_NO_CIPHER_SIZE:
		return fmt.Sprintf("has no %s with key %d, IV %d", s.Encr, t.key_length, t.iv_length)
	case C.SPCRYPTO_NO_AUTH:
		return fmt.Sprintf("has no %s", integrity(s))
	case C.SPCRYPTO_NO_AUTH_SIZE:
		return fmt.Sprintf("has no %s with key %d, IV %d, ICV %d", integrity(s), t.integ_key_length, t.auth_iv_length, t.icv_length)
	}
	return ""
}

// integrity names the algorithm that makes the ICV of a suite whose cipher is NULL or apart.
func integrity(s crypto.Suite) string {
	if s.Integ == crypto.IntegNone {
		return s.Encr.String()
	}
	return s.Integ.String()
}
