// Package wholedev is a crypto device that does all of ESP (rte_security, lookaside protocol), for tests alone. A device of any driver
// becomes one: a definition of the function that says what rte_security a device has comes before DPDK's in a binary that has this
// package, and operations of such sessions are taken on their way to the driver. Package crypto does the work.
//
// Sessions are for tunnels. In rte_security_ipsec_xform the SPI and the UDP ports are in host order, addresses in network order, and the
// salt as it stands in the keys. IVs are those of crypto.ESP.DeriveIV, so that bytes can be compared.
package wholedev

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <stdlib.h>
#include "wholedev.h"
*/
import "C"

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Options say what a device lacks. The zero value has AES-GCM-16 and AES-CBC with HMAC-SHA1-96 and HMAC-SHA-256-128, with keys of 128 and
// of 256 bits, in both directions.
type Options struct {
	NoESN, NoUDP, NoECN, NoCopyDSCP, NoCopyDF bool

	NoInbound, NoOutbound bool
	NoChain               bool // AES-GCM alone
	NoKey256              bool
	Window                int // packets of a replay window at most, 0: 1024
}

// Device is a crypto device by its name.
type Device struct{ name string }

// Offer lets a device that will be opened under a name have a security context.
func Offer(name string, o Options) (*Device, error) {
	options := C.struct_wholedev_options{
		no_esn: flag(o.NoESN), no_udp: flag(o.NoUDP), no_ecn: flag(o.NoECN), no_copy_dscp: flag(o.NoCopyDSCP), no_copy_df: flag(o.NoCopyDF),
		no_inbound: flag(o.NoInbound), no_outbound: flag(o.NoOutbound), no_chain: flag(o.NoChain), no_key_256: flag(o.NoKey256), window: C.uint32_t(o.Window),
	}
	d := &Device{name}
	return d, d.call(func(name *C.char) C.int { return C.wholedev_offer(name, &options) })
}

// Attach puts the work of ESP in front of the device's driver. The device is open; closing it ends that.
func (d *Device) Attach(queuePairs int) error {
	return d.call(func(name *C.char) C.int { return C.wholedev_attach(name, C.uint16_t(queuePairs)) })
}

// Withdraw takes the context away, when the device is closed, and ends its lies.
func (d *Device) Withdraw() {
	lies.Store(uint32(Honest))
	_ = d.call(func(name *C.char) C.int { C.wholedev_withdraw(name); return 0 })
}

// FailSessions lets each nth session fail from now on, 0: none. Late: the driver has written the keys by then, and does not wipe them.
func (d *Device) FailSessions(nth int, late bool) {
	_ = d.call(func(name *C.char) C.int { C.wholedev_fail_sessions(name, C.uint32_t(nth), C.int(flag(late))); return 0 })
}

// KeepSessions lets it take no session back.
func (d *Device) KeepSessions(keep bool) {
	_ = d.call(func(name *C.char) C.int { C.wholedev_keep_sessions(name, C.int(flag(keep))); return 0 })
}

// Lie is what a device says it has done, and has not.
type Lie uint32

// The lies, of all packets.
const (
	Honest    Lie = iota
	Untouched     // it leaves the packet as it was
	OtherSPI      // it is that of another SA
	Longer        // the header tells of more octets than there are
	Turned        // the outer addresses are the wrong way around
)

// Lie lets it, and all others of the process, lie from now on.
func (d *Device) Lie(lie Lie) { lies.Store(uint32(lie)) }

var lies atomic.Uint32

// Sessions is how many it has.
func (d *Device) Sessions() (n int) {
	_ = d.call(func(name *C.char) C.int { n = int(C.wholedev_sessions(name)); return 0 })
	return n
}

func (d *Device) call(with func(name *C.char) C.int) error {
	name := C.CString(d.name)
	defer C.free(unsafe.Pointer(name))
	if rc := with(name); rc != 0 {
		return fmt.Errorf("device %s that does all of ESP: %w", d.name, syscall.Errno(-rc))
	}
	return nil
}

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}
