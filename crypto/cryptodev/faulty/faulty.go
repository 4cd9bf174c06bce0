// Package faulty lets crypto devices misbehave, for tests alone: by DPDK's own callbacks between a driver and its user, and by
// definitions of the functions that make sessions and say what a device has, which in a binary that has this package come before DPDK's.
package faulty

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <stdlib.h>
#include <rte_cryptodev.h>
#include "faulty.h"
*/
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// Fault is what a device does wrong with operations.
type Fault uint32

// The faults. What Mute, Keep and Shuffle have kept comes back with None.
const (
	None    Fault = C.FAULTY_NONE
	Mute    Fault = C.FAULTY_MUTE    // takes operations and gives none back
	Keep    Fault = C.FAULTY_KEEP    // keeps the first operation, and gives back those after it
	Shuffle Fault = C.FAULTY_SHUFFLE // gives back in another order
	Error   Fault = C.FAULTY_ERROR   // says of each second operation that it failed
	Broken  Fault = C.FAULTY_BROKEN  // says of all operations that they failed
	Repeat  Fault = C.FAULTY_REPEAT  // gives back twice
	Refuse  Fault = C.FAULTY_REFUSE  // takes nothing
	Few     Fault = C.FAULTY_FEW     // takes one of a burst
)

// Device is a crypto device that can be told to misbehave.
type Device struct{ id C.uint8_t }

// Attach makes a device, which is open and at rest, one that does as it is told.
func Attach(name string, queuePairs int) (*Device, error) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	id := C.rte_cryptodev_get_dev_id(cName)
	if id < 0 {
		return nil, fmt.Errorf("faulty device: %s is not there", name)
	}
	if rc := C.faulty_attach(C.uint8_t(id), C.uint16_t(queuePairs)); rc != 0 {
		return nil, fmt.Errorf("faulty device %s: %w", name, syscall.Errno(-rc))
	}
	return &Device{C.uint8_t(id)}, nil
}

// Detach makes it sound again. Operations that it has kept never come back.
func (d *Device) Detach() error {
	if rc := C.faulty_detach(d.id); rc != 0 {
		return fmt.Errorf("faulty device %d: %w", d.id, syscall.Errno(-rc))
	}
	return nil
}

// Set lets it begin with a fault, or end it.
func (d *Device) Set(f Fault) { C.faulty_set(d.id, uint32(f)) }

// FailSessions lets each nth session fail from now on; 0: none.
func (d *Device) FailSessions(nth int) { C.faulty_sessions(d.id, C.uint32_t(nth), 0) }

// FailSessionsLate lets them fail when the driver has written the keys, which it does not wipe.
func (d *Device) FailSessionsLate(nth int) { C.faulty_sessions(d.id, C.uint32_t(nth), 1) }

// HasRoomFor lets the device say that it can have so many sessions; 0: what its driver says.
func (d *Device) HasRoomFor(sessions int) { C.faulty_most_sessions(d.id, C.uint32_t(sessions)) }

// NeedsRoom lets the device say that it needs so many bytes free in front of a packet and behind it; 0: what its driver says.
func (d *Device) NeedsRoom(front, behind int) {
	C.faulty_room(d.id, C.uint16_t(front), C.uint16_t(behind))
}

// StopsSlowly lets the device take its time when it is to stop: until this is off.
func (d *Device) StopsSlowly(on bool) {
	slowly := C.int(0)
	if on {
		slowly = 1
	}
	C.faulty_stops_slowly(d.id, slowly)
}

// Stopping reports whether it is taking its time.
func (d *Device) Stopping() bool { return C.faulty_is_stopping(d.id) != 0 }

// Traces is how often octets stand in DPDK's memory.
func Traces(octets []byte) int {
	return int(C.faulty_traces((*C.uint8_t)(&octets[0]), C.uint32_t(len(octets))))
}
