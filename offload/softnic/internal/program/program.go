// Package program does what a program does with an inline card, for the tests of the software NIC, which may not use cgo themselves: it knows rte_security
// and rte_flow, and nothing of the NIC.
package program

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API
#include "program.h"
#include <rte_ethdev.h>
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"unsafe"

	"sallyport/crypto"
)

// Offloads that a program configures a port with before it has sessions there.
const (
	RxSecurity uint64 = C.RTE_ETH_RX_OFFLOAD_SECURITY
	TxSecurity uint64 = C.RTE_ETH_TX_OFFLOAD_SECURITY
)

// SA describes a session.
type SA struct {
	Protocol, Outbound, Transport, UDPEncap, ESN bool
	ECN, CopyDSCP, CopyDF, DF                    bool
	DSCP, TTL                                    uint8
	SPI                                          uint32
	Suite                                        crypto.Suite
	Keymat                                       crypto.Secret
	Source, Destination                          netip.AddrPort // of the outer header
	Window                                       int
	VLAN                                         uint16 // of the frames that the rule is for, 0: any
	Sequence, Userdata                           uint64
}

// Sessions is the memory for sessions of one port.
type Sessions struct {
	port C.uint16_t
	pool *C.struct_rte_mempool
}

// Session is one direction of an SA in a card.
type Session struct {
	of     *Sessions
	sa     SA
	handle unsafe.Pointer
}

// Rule leads received packets to a session.
type Rule struct {
	port C.uint16_t
	rule unsafe.Pointer
}

// Offers tells whether the port says that it has inline IPsec.
func Offers(port uint16) bool { return C.sp_program_offers(C.uint16_t(port)) != 0 }

// Algorithms counts what librte_security finds in the port's capabilities for a session of this kind.
func Algorithms(port uint16, protocol, outbound, transport bool) int {
	return int(C.sp_program_capabilities(C.uint16_t(port), truth(protocol), truth(outbound), truth(transport)))
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func octet(b bool) C.uint8_t { return C.uint8_t(truth(b)) }

// NewSessions makes room for count sessions of the port.
func NewSessions(port uint16, count int) (*Sessions, error) {
	name := C.CString(fmt.Sprintf("sessions%d", port))
	defer C.free(unsafe.Pointer(name))
	pool := C.sp_program_pool(C.uint16_t(port), name, C.uint32_t(count))
	if pool == nil {
		return nil, errors.New("no memory for sessions")
	}
	return &Sessions{C.uint16_t(port), pool}, nil
}

// Free gives the memory back; sessions in it are gone.
func (s *Sessions) Free() { C.rte_mempool_free(s.pool) }

// InUse counts the sessions whose memory has not come back.
func (s *Sessions) InUse() int { return int(C.rte_mempool_in_use_count(s.pool)) }

// Open makes a session.
func (s *Sessions) Open(sa SA) (*Session, error) {
	keys := sa.Keymat.Bytes()
	cipherKey, salt, integKey := keys[:sa.Suite.KeyLen()], keys[sa.Suite.KeyLen():sa.Suite.KeyLen()+sa.Suite.SaltLen()], keys[sa.Suite.KeyLen()+sa.Suite.SaltLen():]
	c := C.struct_sp_program_sa{
		protocol: octet(sa.Protocol), outbound: octet(sa.Outbound), transport: octet(sa.Transport), udp: octet(sa.UDPEncap), esn: octet(sa.ESN),
		ecn: octet(sa.ECN), copy_dscp: octet(sa.CopyDSCP), copy_df: octet(sa.CopyDF), df: octet(sa.DF), dscp: C.uint8_t(sa.DSCP), ttl: C.uint8_t(sa.TTL),
		gcm: octet(sa.Suite.AEAD()), sha256: octet(sa.Suite.Integ == crypto.IntegHMACSHA256),
		key_length: C.uint8_t(len(cipherKey)), integ_key_length: C.uint8_t(len(integKey)), icv_length: C.uint8_t(sa.Suite.ICVLen()),
		ipv6: octet(sa.Destination.Addr().Is6()), local_port: C.uint16_t(sa.Source.Port()), remote_port: C.uint16_t(sa.Destination.Port()),
		spi: C.uint32_t(sa.SPI), window: C.uint32_t(sa.Window), sequence: C.uint64_t(sa.Sequence), userdata: C.uint64_t(sa.Userdata),
	}
	setAddress(&c.source, sa.Source.Addr())
	setAddress(&c.destination, sa.Destination.Addr())
	if len(salt) != 0 {
		c.salt = *(*C.uint32_t)(unsafe.Pointer(&salt[0]))
	}
	var pinned runtime.Pinner
	defer pinned.Unpin()
	c.key = pin(&pinned, cipherKey)
	c.integ_key = pin(&pinned, integKey)
	handle := C.sp_program_session(s.port, &c, s.pool)
	if handle == nil {
		return nil, errors.New("the card refused the session")
	}
	return &Session{s, sa, handle}, nil
}

func pin(p *runtime.Pinner, key []byte) *C.uint8_t {
	if len(key) == 0 {
		return nil
	}
	p.Pin(&key[0])
	return (*C.uint8_t)(unsafe.Pointer(&key[0]))
}

func setAddress(to *[16]C.uint8_t, address netip.Addr) {
	for i, octet := range address.AsSlice() {
		to[i] = C.uint8_t(octet)
	}
}

// Close ends the session.
func (s *Session) Close() error {
	if result := C.sp_program_close(s.of.port, s.handle); result != 0 {
		return fmt.Errorf("close session %#x: %w", s.sa.SPI, syscall.Errno(-result))
	}
	return nil
}

// Memory is that of the session. It stays readable when the session is closed, until its pool is freed.
func (s *Session) Memory() []byte {
	return unsafe.Slice((*byte)(s.handle), s.of.pool.elt_size)
}

// Rule leads ESP to the session's destination with its SPI to the session.
func (s *Session) Rule() (*Rule, error) {
	var destination [16]C.uint8_t
	var why *C.char
	setAddress(&destination, s.sa.Destination.Addr())
	rule := C.sp_program_rule(s.of.port, s.handle, truth(s.sa.Destination.Addr().Is6()), &destination[0], C.uint32_t(s.sa.SPI), truth(s.sa.UDPEncap), C.uint16_t(s.sa.VLAN), &why)
	if rule == nil {
		return nil, errors.New(C.GoString(why))
	}
	return &Rule{s.of.port, rule}, nil
}

// Remove takes the rule away.
func (r *Rule) Remove() error {
	if result := C.sp_program_remove(r.port, r.rule); result != 0 {
		return fmt.Errorf("remove rule: %w", syscall.Errno(-result))
	}
	return nil
}

// Mark has packets encrypted by the session when they are sent.
func (s *Session) Mark(mbufs ...unsafe.Pointer) error {
	for _, m := range mbufs {
		if result := C.sp_program_mark(s.of.port, s.handle, (*C.struct_rte_mbuf)(m)); result != 0 {
			return fmt.Errorf("set metadata: %w", syscall.Errno(-result))
		}
	}
	return nil
}

// SetLinkLayer says how long a packet's link layer is, which Mark finds out by itself.
func SetLinkLayer(mbuf unsafe.Pointer, length int) {
	C.sp_program_set_l2((*C.struct_rte_mbuf)(mbuf), C.uint8_t(length))
}

// Flags are what the card says of a received packet.
type Flags struct {
	Secured, Failed bool
	Userdata        uint64 // with Secured
}

// FlagsOf reads them.
func FlagsOf(mbuf unsafe.Pointer) Flags {
	var secured, failed C.int
	var userdata C.uint64_t
	C.sp_program_flags((*C.struct_rte_mbuf)(mbuf), &secured, &failed, &userdata)
	f := Flags{Secured: secured != 0, Failed: failed != 0}
	if f.Secured {
		f.Userdata = uint64(userdata)
	}
	return f
}

// Handle is the session, and Context its port's, as whoever sends and receives by it needs them.
func (s *Session) Handle() unsafe.Pointer { return s.handle }

// Context is what rte_security knows a port by.
func Context(port uint16) unsafe.Pointer { return C.sp_program_context(C.uint16_t(port)) }
