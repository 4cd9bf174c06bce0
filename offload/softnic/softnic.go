package softnic

/*
#cgo pkg-config: libdpdk
#cgo LDFLAGS: -lIPSec_MB
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API -D_GNU_SOURCE
#include "nic.h"
*/
import "C"

import (
	"fmt"
	"syscall"

	"sallyport/crypto"
)

// Options say what a NIC offers.
type Options struct {
	// InlineCrypto and InlineProtocol are for both directions, tunnel and transport mode.
	InlineCrypto, InlineProtocol bool
	// NoVLAN: its rules match no VLAN, and who asks for that is refused.
	NoVLAN bool
	// Suites that it offers, nil: AES-GCM-16 and AES-CBC with HMAC-SHA1-96 and with
	// HMAC-SHA-256-128, with keys of 128 and of 256 bits.
	Suites []crypto.Suite
	// Sessions is how many it has room for, 0: 65,536.
	Sessions int
}

const defaultSessions = 65536

// NIC is the software NIC of one port.
type NIC struct{ port C.uint16_t }

// suites are those that the NIC can do, and what C calls them.
var suites = map[crypto.Suite]uint{
	{Encr: crypto.EncrAESGCM16, KeyBits: 128}:                              C.SP_NIC_GCM_128,
	{Encr: crypto.EncrAESGCM16, KeyBits: 192}:                              C.SP_NIC_GCM_192,
	{Encr: crypto.EncrAESGCM16, KeyBits: 256}:                              C.SP_NIC_GCM_256,
	{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA1}:   C.SP_NIC_CBC_128_SHA1,
	{Encr: crypto.EncrAESCBC, KeyBits: 192, Integ: crypto.IntegHMACSHA1}:   C.SP_NIC_CBC_192_SHA1,
	{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA1}:   C.SP_NIC_CBC_256_SHA1,
	{Encr: crypto.EncrAESCBC, KeyBits: 128, Integ: crypto.IntegHMACSHA256}: C.SP_NIC_CBC_128_SHA256,
	{Encr: crypto.EncrAESCBC, KeyBits: 192, Integ: crypto.IntegHMACSHA256}: C.SP_NIC_CBC_192_SHA256,
	{Encr: crypto.EncrAESCBC, KeyBits: 256, Integ: crypto.IntegHMACSHA256}: C.SP_NIC_CBC_256_SHA256,
}

// bits is the set of suites as C has it.
func bits(list []crypto.Suite) (C.uint32_t, error) {
	set := C.uint32_t(0)
	for _, suite := range list {
		bit, known := suites[suite]
		if !known {
			return 0, fmt.Errorf("the software NIC has no %s", suite)
		}
		set |= 1 << bit
	}
	return set, nil
}

// all are the suites of a NIC that names none.
func all() []crypto.Suite {
	var list []crypto.Suite
	for suite := range suites {
		if suite.KeyBits != 192 {
			list = append(list, suite)
		}
	}
	return list
}

// Attach gives a port a NIC. The port is configured, with as many queues of either direction, and not started.
// Any driver will do.
func Attach(port uint16, queues int, o Options) (*NIC, error) {
	if o.Suites == nil {
		o.Suites = all()
	}
	if o.Sessions == 0 {
		o.Sessions = defaultSessions
	}
	set, err := bits(o.Suites)
	if err != nil {
		return nil, err
	}
	if queues < 1 || queues > C.SP_NIC_QUEUES_MAX || o.Sessions < 0 {
		return nil, fmt.Errorf("software NIC of port %d: %d queues and %d sessions, expected 1 to %d queues", port, queues, o.Sessions, C.SP_NIC_QUEUES_MAX)
	}
	options := C.struct_sp_nic_options{crypto: flag(o.InlineCrypto), protocol: flag(o.InlineProtocol), no_vlan: flag(o.NoVLAN), suites: set, sessions: C.uint32_t(o.Sessions)}
	if result := C.sp_nic_attach(C.uint16_t(port), C.uint16_t(queues), &options); result != 0 {
		return nil, fmt.Errorf("software NIC of port %d: %w", port, syscall.Errno(-result))
	}
	return &NIC{C.uint16_t(port)}, nil
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}

// Detach takes the NIC away. The port is stopped and not closed yet, and has no sessions.
func (n *NIC) Detach() error {
	if result := C.sp_nic_detach(n.port); result != 0 {
		return fmt.Errorf("software NIC of port %d, %d sessions: %w", n.port, n.Counters().SessionsLive, syscall.Errno(-result))
	}
	return nil
}

// Counters are what the NIC has done since it was attached.
type Counters struct {
	TxSecured uint64 // packets encrypted
	TxFailed  uint64 // times that a packet asked for a session and did not get out; a second attempt counts again
	RxSecured uint64 // packets decrypted
	RxPassed  uint64 // ESP that it left to the program: without a session, or not for one
	RxFailed  uint64 // wrong ICV, or by inline protocol wrong inside; Replayed are among them
	Replayed  uint64
	Dummies   uint64 // packets without content (RFC 4303 section 2.6), thrown away by inline protocol

	SessionsLive    int
	SessionsMade    uint64
	SessionsRefused uint64
	FlowsLive       int

	// Cycles of the TSC that the callbacks took of the program's time: a card takes none.
	Cycles uint64
}

// Counters reads them. Those of packets may lag behind a burst.
func (n *NIC) Counters() Counters {
	var r C.struct_sp_nic_report
	C.sp_nic_report(n.port, &r)
	return Counters{
		TxSecured: uint64(r.packets.tx_secured), TxFailed: uint64(r.packets.tx_failed),
		RxSecured: uint64(r.packets.rx_secured), RxPassed: uint64(r.packets.rx_passed), RxFailed: uint64(r.packets.rx_failed),
		Replayed: uint64(r.packets.replayed), Dummies: uint64(r.packets.dummies),
		SessionsLive: int(r.live), SessionsMade: uint64(r.made), SessionsRefused: uint64(r.refused), FlowsLive: int(r.flows),
		Cycles: uint64(r.packets.cycles),
	}
}

// Fault is what is wrong with a NIC. Its zero value is a NIC that works.
type Fault struct {
	Lack         []crypto.Suite // reported, and refused when a session asks for it
	FailSessions int            // every nth session is refused, 0: none
	Full         bool           // there is no room for another session
	// Mangle damages every nth packet: outbound after it was encrypted, inbound before it is
	// decrypted, so that a good packet is reported as a bad one.
	Mangle      int
	Undecrypted int // every nth packet of a session is left as it came
	// Vanished: nothing is encrypted, what asks for it does not leave, nothing is decrypted, and all
	// calls fail. A session that is destroyed meanwhile has its keys wiped; its memory is
	// given back when that is repeated later. The others are there again afterwards.
	Vanished bool
}

// Inject makes the NIC have the fault, and no other, from the next burst and call on.
func (n *NIC) Inject(f Fault) error {
	lack, err := bits(f.Lack)
	if err != nil {
		return err
	}
	fault := C.struct_sp_nic_fault{lack: lack, fail_sessions: C.uint32_t(f.FailSessions), full: flag(f.Full), mangle: C.uint32_t(f.Mangle),
		undecrypted: C.uint32_t(f.Undecrypted), vanished: flag(f.Vanished)}
	C.sp_nic_inject(n.port, &fault)
	return nil
}
