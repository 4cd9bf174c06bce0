package cryptodev

/*
#cgo CFLAGS: -D_GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <rte_security.h>
#include "security.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"sallyport/crypto"
)

// Security is the security context of a port or of a crypto device (rte_security): what it can do with ESP, and memory for its sessions. Whoever has it calls
// one method at a time.
type Security struct {
	context      unsafe.Pointer // struct rte_security_ctx, the driver's
	capabilities []Capability
	sessions     *C.struct_rte_mempool
	count        int
}

// ESP is one direction of an SA of ESP, as somebody has to know it who does more of it than the crypto.
type ESP struct {
	Outbound, Transport, UDPEncap, ESN bool

	SPI           uint32
	Suite         crypto.Suite
	Local, Remote netip.AddrPort // outer addresses; the ports count only with UDPEncap
	Window        int            // inbound, packets
	Sequence      uint64         // outbound: the first number of a device that numbers packets
	Next          uint64         // outbound: the first number of packets that come with one to a port, for their crypto
	Userdata      uint64         // comes back with each packet of inline protocol
	Outer         Outer
	NotWhole      string // why nobody else than the CPU makes whole packets of it, "" if others may
}

// Outer is what stands in the outer header of a tunnel.
type Outer struct {
	ECN      bool // carried over in both directions (RFC 6040)
	CopyDSCP bool // of the inner header, else DSCP
	CopyDF   bool // likewise, else DF
	DF       bool
	DSCP     uint8
	TTL      uint8
}

// securityNumber keeps the names of pools apart within the process.
var securityNumber atomic.Uint32

// NewSecurity reads what a driver's context (struct rte_security_ctx) offers.
func NewSecurity(context unsafe.Pointer) *Security {
	s := &Security{context: context}
	for place := 0; ; place++ {
		var c C.struct_spcrypto_capability
		switch C.spcrypto_capability(context, C.uint32_t(place), &c) {
		case -C.ENOENT:
			return s
		case 0:
			s.capabilities = append(s.capabilities, Capability{
				Action: Action(c.action), outbound: c.outbound != 0, transport: c.transport != 0, esn: c.esn != 0, udp: c.udp != 0,
				copyDSCP: c.copy_dscp != 0, copyDF: c.copy_df != 0, ecn: c.ecn != 0, window: int(c.window), Metadata: c.metadata != 0,
				suites: unsafe.Pointer(c.suites),
			})
		}
	}
}

// securityOf is the context of a crypto device, nil if it makes no whole packets of ESP.
func securityOf(device uint8) *Security {
	context := C.spcrypto_security_of(C.uint8_t(device))
	if context == nil {
		return nil
	}
	if s := NewSecurity(context); s.Offers(LookasideProtocol) {
		return s
	}
	return nil
}

// Context is the driver's.
func (s *Security) Context() unsafe.Pointer { return s.context }

// Reserve takes memory for so many sessions.
func (s *Security) Reserve(sessions, socket int) error {
	name := C.CString(fmt.Sprintf("security_%d", securityNumber.Add(1)))
	defer C.free(unsafe.Pointer(name))
	var ret C.int
	if s.sessions = C.spcrypto_security_sessions(s.context, name, C.uint32_t(sessions), C.int(socket), &ret); s.sessions == nil {
		return fmt.Errorf("no memory for %d sessions: %w", sessions, errno(ret))
	}
	s.count = sessions
	return nil
}

// Create makes a session by an entry that does not refuse the SA, or says why there is none. Keymat is laid out as crypto.NewESP takes it; it is read and not
// kept.
func (s *Security) Create(c *Capability, sa *ESP, keymat crypto.Secret) (unsafe.Pointer, error) {
	config := sa.toC(c)
	for i, octet := range keymat.Bytes()[sa.Suite.KeyLen():][:sa.Suite.SaltLen()] {
		config.salt[i] = C.uint8_t(octet)
	}
	defer func() { config.salt = [4]C.uint8_t{} }()
	var session unsafe.Pointer
	WithTransform(sa.Suite, keymat, sa.ESN, sa.Outbound, func(xform unsafe.Pointer) {
		session = C.spcrypto_security_create(s.context, s.sessions, &config, (*C.struct_rte_crypto_sym_xform)(xform))
	})
	switch {
	case session != nil:
		return session, nil
	case C.rte_mempool_avail_count(s.sessions) == 0:
		return nil, fmt.Errorf("no room for another session: all %d are used", s.count)
	}
	return nil, errors.New("the driver refused the session though it says that it can")
}

// toC is what the C side has to know, but for the salt.
func (sa *ESP) toC(c *Capability) C.struct_spcrypto_esp {
	source, destination := sa.Local, sa.Remote
	if !sa.Outbound {
		source, destination = destination, source
	}
	config := C.struct_spcrypto_esp{
		action: C.uint32_t(c.Action), outbound: flag(sa.Outbound), transport: flag(sa.Transport), udp: flag(sa.UDPEncap), esn: flag(sa.ESN),
		ipv6: flag(sa.Local.Addr().Is6()), spi: C.uint32_t(sa.SPI), source: octets(source.Addr()), destination: octets(destination.Addr()),
		source_port: C.uint16_t(source.Port()), destination_port: C.uint16_t(destination.Port()), userdata: C.uint64_t(sa.Userdata),
	}
	if sa.Outbound {
		config.sequence = C.uint64_t(max(sa.Sequence, 1))
	}
	if !c.Action.whole() {
		if sa.Outbound { // drivers that take the high half of ESN from here would be wrong with one far ahead
			config.sequence = C.uint64_t(max(sa.Next, 1))
		}
		return config
	}
	outer := &sa.Outer
	config.ecn = flag(outer.ECN && !sa.Transport)
	if !sa.Outbound {
		config.window = C.uint32_t(sa.Window)
		return config
	}
	config.ttl, config.df, config.copy_df = C.uint8_t(outer.TTL), flag(outer.DF), flag(outer.CopyDF)
	config.dscp, config.copy_dscp = C.uint8_t(outer.DSCP), flag(outer.CopyDSCP)
	return config
}

// octets are those of an address in a packet's header.
func octets(a netip.Addr) (out [16]C.uint8_t) {
	for i, octet := range a.AsSlice() {
		out[i] = C.uint8_t(octet)
	}
	return out
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}

// Destroy takes a session away, and the keys with it, unless the driver refuses.
func (s *Security) Destroy(session unsafe.Pointer) error {
	if ret := C.spcrypto_security_destroy(s.context, session); ret < 0 {
		return fmt.Errorf("taking a session away: %w", errno(ret))
	}
	return nil
}

// Forget clears a session that its driver never took back. Its memory is nobody else's: the driver may still know the place.
func (s *Security) Forget(session unsafe.Pointer) { C.spcrypto_security_forget(s.context, session) }

// Close gives the memory of sessions back, which are all destroyed.
func (s *Security) Close() {
	if s.sessions != nil {
		C.rte_mempool_free(s.sessions)
		s.sessions = nil
	}
}
