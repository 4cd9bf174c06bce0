package bench

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O3 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API
#cgo LDFLAGS: -lIPSec_MB
#include "floor.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
)

// measured is what one window counted.
type measured struct {
	packets, cycles uint64
}

func (m measured) perPacket() float64 { return float64(m.cycles) / float64(m.packets) }

// source takes packets from the port and frees them, for at least cycles and in whole passes.
func source(port ethdev.Port, pass int, cycles uint64) (measured, error) {
	var packets, spent C.uint64_t
	if rc := C.bench_source(C.uint16_t(port), C.uint64_t(pass), C.uint64_t(cycles), &packets, &spent); rc != 0 {
		return measured{}, fmt.Errorf("bench: source on port %d: %w", port, syscall.Errno(-rc))
	}
	return measured{uint64(packets), uint64(spent)}, nil
}

// cryptoFloor is a burst of a load's packets that a crypto session works on, alone.
type cryptoFloor struct {
	c *C.struct_bench_crypto
}

// floorQueue is the queue pair of the floor: worker 0 has the first.
const floorQueue = 1

// newCryptoFloor needs a session in the direction of the load. The packets have the shape and place in their buffers that
// the gateway gives them.
func newCryptoFloor(pool *mempool.Mempool, s *cryptodev.Session, l load, spi uint32, keymat crypto.Secret) (*cryptoFloor, error) {
	config := C.struct_bench_session{
		handle: s.Handle, device: C.uint8_t(s.Device), queue_pair: floorQueue, iv_offset: cryptodev.IVOffset,
		cpu: flag(s.CPU), job: flag(s.Job), ah: flag(l.suite.AH()), aead: flag(l.suite.AEAD()), encrypt: flag(l.direction == Outbound),
		iv_length: C.uint8_t(l.suite.IVLen()), icv_length: C.uint8_t(l.suite.ICVLen()),
	}
	key := l.suite.KeyLen()
	if l.suite.AH() {
		key = l.suite.IntegKeyLen()
	}
	for i, octet := range keymat.Bytes()[key:][:l.suite.SaltLen()] {
		config.salt[i] = C.uint8_t(octet)
	}
	offset := mempool.Headroom + etherLen + ipv4Len // ESP where it was received
	if l.direction == Outbound {
		offset = mempool.Headroom + etherLen - espHeaderLen - l.suite.IVLen() // in front of the inner packet
	}
	l.tunnels = 1
	var packets []byte
	peer, err := newSealer(l, []uint32{spi}, keymat)
	if err != nil {
		return nil, err
	}
	for i := range burst {
		packet, err := peer.esp(i)
		if l.direction == Outbound {
			packet = l.clearESP(spi, uint64(i+1), i)
		}
		if err != nil {
			return nil, err
		}
		packets = append(packets, packet...)
	}
	var rc C.int
	c := C.bench_crypto_create((*C.struct_rte_mempool)(pool.Pointer()), &config, (*C.uint8_t)(&packets[0]),
		C.uint32_t(len(packets)/burst), C.uint32_t(offset), &rc)
	if c == nil {
		return nil, fmt.Errorf("bench: crypto floor of %s on %s: %w", l, s.DeviceName(), syscall.Errno(-rc))
	}
	return &cryptoFloor{c}, nil
}

// clearESP is an outbound packet as it stands before encryption: the IV field has what the IV is made from, the ICV is room.
func (l load) clearESP(spi uint32, sequence uint64, i int) []byte {
	b := binary.BigEndian.AppendUint32(nil, spi)
	b = binary.BigEndian.AppendUint32(b, uint32(sequence))
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = append(b, make([]byte, l.suite.IVLen()-8)...)
	text := len(b)
	b = append(b, l.innerPacket(i)...)
	pad := byte(0)
	for (len(b)-text+2)%l.suite.BlockSize() != 0 {
		pad++
		b = append(b, pad)
	}
	b = append(b, pad, nextIPv4)
	return append(b, make([]byte, l.suite.ICVLen())...)
}

func (f *cryptoFloor) run(cycles uint64) measured {
	var packets, spent C.uint64_t
	C.bench_crypto_run(f.c, C.uint64_t(cycles), &packets, &spent)
	return measured{uint64(packets), uint64(spent)}
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
