// Package devicetest runs ESP packets through the sessions of package cryptodev in the
// way and with the layout that the fast path has. It is for tests, which may not use
// cgo themselves.
package devicetest

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O2 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API

#include <stdlib.h>
#include "run.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
)

// MaxPacket is the longest packet a Runner takes, in octets, ESN included.
const MaxPacket = C.DT_MAX_PACKET - 4

// Burst is how many packets go to a device at once.
const Burst = C.DT_BURST

// Runner has the memory for operations and packets.
type Runner struct {
	pools C.struct_dt_pools
}

// NewRunner allocates it from DPDK, where it stays until the EAL ends.
func NewRunner() (*Runner, error) {
	mbufs, operations := C.CString("devicetest_mbufs"), C.CString("devicetest_ops")
	defer C.free(unsafe.Pointer(mbufs))
	defer C.free(unsafe.Pointer(operations))
	r := new(Runner)
	if ret := C.dt_pools_create(&r.pools, mbufs, operations, cryptodev.IVRoom); ret < 0 {
		return nil, fmt.Errorf("pools for the device test: %w", syscall.Errno(-ret))
	}
	return r, nil
}

// Packet is an ESP packet from SPI to ICV and the upper half of its sequence number.
type Packet struct {
	Octets  []byte
	SeqHigh uint32
	OK      bool // result: the device reported success
}

// Layout is the clear packet that the fast path hands to an encrypting session: header, IV
// field, payload, trailer, room for the ICV. The IV field holds what the IV is made from.
func Layout(s crypto.Suite, spi uint32, seq uint64, payload []byte, nextHeader uint8) []byte {
	packet := binary.BigEndian.AppendUint32(nil, spi)
	packet = binary.BigEndian.AppendUint32(packet, uint32(seq))
	packet = binary.BigEndian.AppendUint64(packet, seq)
	packet = append(packet, make([]byte, s.IVLen()-8)...)
	text := len(packet)
	packet = append(packet, payload...)
	pad := byte(0)
	for (len(packet)-text+2)%s.BlockSize() != 0 {
		pad++
		packet = append(packet, pad)
	}
	packet = append(packet, pad, nextHeader)
	return append(packet, make([]byte, s.ICVLen())...)
}

// Run encrypts or decrypts the packets in place, as the session says. The salt is that of
// the SA, empty for a chain.
func (r *Runner) Run(s *cryptodev.Session, queuePair int, salt []byte, packets []*Packet) error {
	session := C.struct_dt_session{
		handle: s.Handle, gcm: s.GCM, device: C.uint8_t(s.Device), queue_pair: C.uint16_t(queuePair),
		cpu: flag(s.CPU), aead: flag(s.Suite.AEAD()), encrypt: flag(s.Encrypt), esn: flag(s.ESN),
		iv_offset: cryptodev.IVOffset, iv_length: C.uint16_t(s.Suite.IVLen()), icv_length: C.uint16_t(s.Suite.ICVLen()),
	}
	for i, octet := range salt {
		session.salt[i] = C.uint8_t(octet)
	}
	for len(packets) > 0 {
		burst := packets[:min(len(packets), Burst)]
		packets = packets[len(burst):]
		if err := r.runBurst(&session, burst); err != nil {
			return fmt.Errorf("%s on %s: %w", s.Suite, s.DeviceName(), err)
		}
	}
	return nil
}

func (r *Runner) runBurst(session *C.struct_dt_session, burst []*Packet) error {
	var buffer []byte
	var index [Burst]C.struct_dt_packet
	for i, p := range burst {
		if len(p.Octets) > MaxPacket {
			return fmt.Errorf("packet of %d octets, %d are the most", len(p.Octets), MaxPacket)
		}
		index[i] = C.struct_dt_packet{
			offset: C.uint32_t(len(buffer)), length: C.uint32_t(len(p.Octets)), seq_high: C.uint32_t(p.SeqHigh),
		}
		buffer = append(buffer, p.Octets...)
	}
	ret := C.dt_run(&r.pools, session, (*C.uint8_t)(&buffer[0]), &index[0], C.uint32_t(len(burst)))
	if ret < 0 {
		return syscall.Errno(-ret)
	}
	for i, p := range burst {
		copy(p.Octets, buffer[index[i].offset:])
		p.OK = index[i].ok != 0
	}
	return nil
}

// SessionMemory is the memory of the session, for a look at what is in it. It stays
// readable after the session is freed, until its pool is closed.
func SessionMemory(s *cryptodev.Session) []byte {
	pool := C.rte_mempool_from_obj(s.Handle)
	return unsafe.Slice((*byte)(s.Handle), pool.elt_size)
}

func flag(set bool) C.uint8_t {
	if set {
		return 1
	}
	return 0
}
