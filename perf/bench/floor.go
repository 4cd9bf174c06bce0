package bench

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O3 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API
#cgo LDFLAGS: -lIPSec_MB
#include "floor.h"
*/
import "C"

import (
	"fmt"
	"runtime"
	"syscall"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
)

// measured is what one window counted.
type measured struct {
	packets uint64
	cycles  float64
}

func (m measured) perPacket() float64 { return m.cycles / float64(m.packets) }

func (m measured) since(before measured) measured {
	return measured{m.packets - before.packets, m.cycles - before.cycles}
}

// source takes packets from a queue of the port and frees them, for at least cycles and in whole passes.
func source(port ethdev.Port, queue, pass int, cycles uint64) (measured, error) {
	var packets, spent C.uint64_t
	if rc := C.bench_source(C.uint16_t(port), C.uint16_t(queue), C.uint64_t(pass), C.uint64_t(cycles), &packets, &spent); rc != 0 {
		return measured{}, fmt.Errorf("bench: source on port %d, queue %d: %w", port, queue, syscall.Errno(-rc))
	}
	return measured{uint64(packets), float64(spent)}, nil
}

// cryptoFloor is some bursts of a load's packets that a crypto session works on, alone.
type cryptoFloor struct {
	c   *C.struct_bench_crypto
	who string
}

// newCryptoFloor needs a session in the direction of the load. The packets are those of a worker, and have the shape and place
// in their buffers that the gateway gives them.
func newCryptoFloor(pool *mempool.Mempool, s *cryptodev.Session, l load, worker int, keymat crypto.Secret) (*cryptoFloor, error) {
	config, who := sessionConfig(s, l, worker, keymat)
	l.tunnels = 1
	side, err := newSealer(l, worker, []uint32{floorSPI}, keymat)
	if err != nil {
		return nil, err
	}
	var octets, icvs []byte
	var lengths []C.uint32_t
	front := 0 // bytes before the inner packet
	for i := range l.period() {
		p, err := side.cryptPacket(i)
		if err != nil {
			return nil, err
		}
		octets, icvs, lengths = append(octets, p.octets...), append(icvs, p.icv...), append(lengths, C.uint32_t(len(p.octets)))
		front = p.front
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&octets[0])
	pin.Pin(&icvs[0])
	pin.Pin(&lengths[0])
	packets := C.struct_bench_packets{
		octets: (*C.uint8_t)(&octets[0]), icvs: (*C.uint8_t)(&icvs[0]), lengths: &lengths[0], n: C.uint32_t(len(lengths)),
		offset: C.uint32_t(l.cryptOffset(front)),
	}
	var rc C.int
	c := C.bench_crypto_create((*C.struct_rte_mempool)(pool.Pointer()), &config, &packets, &rc)
	if c == nil {
		return nil, fmt.Errorf("bench: crypto floor of %s by %s: %w", l, who, syscall.Errno(-rc))
	}
	return &cryptoFloor{c, who}, nil
}

// floorSPI is nobody's: no gateway sees the packets.
const floorSPI = 0x1000

// sessionConfig describes a session to C, and says in words who does its crypto.
func sessionConfig(s *cryptodev.Session, l load, worker int, keymat crypto.Secret) (config C.struct_bench_session, who string) {
	// The workers have the first queue pairs.
	config = C.struct_bench_session{
		handle: s.Handle, gcm: s.GCM, device: C.uint8_t(s.Device), queue_pair: C.uint16_t(l.workers + worker), iv_offset: cryptodev.IVOffset,
		aead: flag(l.suite.AEAD()), ah: flag(l.suite.AH()), encrypt: flag(l.direction == Outbound),
		iv_length: C.uint8_t(l.suite.IVLen()), icv_length: C.uint8_t(l.suite.ICVLen()),
	}
	key := l.suite.KeyLen()
	for i, octet := range keymat.Bytes()[key:][:l.suite.SaltLen()] {
		config.salt[i] = C.uint8_t(octet)
	}
	switch {
	case s.Direct:
		config.kind, who = C.BENCH_DIRECT, "libIPSec_MB, direct"
	case s.Job:
		config.kind, who = C.BENCH_JOBS, "libIPSec_MB, jobs"
	case s.CPU:
		config.kind, who = C.BENCH_CPU, s.DeviceName()+", cpu-crypto"
	default:
		config.kind, who = C.BENCH_QUEUED, s.DeviceName()+", enqueue and dequeue"
	}
	return config, who
}

// cryptOffset is where the first authenticated byte of a packet stands behind the start of the headroom: outbound so far in
// front of the inner packet as it has headers, inbound where it was received.
func (l load) cryptOffset(front int) int {
	frame := mempool.Headroom + etherLen
	switch {
	case l.direction == Outbound:
		return frame - front
	case l.suite.AH():
		return frame
	}
	return frame + l.inFront()
}

func (f *cryptoFloor) run(cycles uint64) (measured, error) {
	var packets, spent C.uint64_t
	if rc := C.bench_crypto_run(f.c, C.uint64_t(cycles), &packets, &spent); rc != 0 {
		return measured{}, fmt.Errorf("bench: crypto floor by %s: %w: of a burst of packets the device has not given back all for seconds", f.who, syscall.Errno(-rc))
	}
	return measured{uint64(packets), float64(spent)}, nil
}

func (f *cryptoFloor) free() { C.bench_crypto_free(f.c) }

// heapBytes is what DPDK's heaps have given out, their own overhead included.
func heapBytes() uint64 { return uint64(C.bench_heap_bytes()) }

func flag(on bool) C.uint8_t {
	if on {
		return 1
	}
	return 0
}
