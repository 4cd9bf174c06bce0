package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// ErrSPITaken is the error of ReserveSPI where another SPI has the slot, or where the SA that had it was removed a moment
// ago and a worker may still be using it: then a later try succeeds.
var ErrSPITaken = errors.New("pipeline: the inbound SPI is not free")

// spiAllocator hands out inbound SPIs. The low bits are the slot in the inbound SAD, so that the fast path finds an SA
// with one load and one comparison; the high bits are random, so that a packet of a removed SA, or a guess, does not
// meet the next SA of the slot.
type spiAllocator struct {
	random io.Reader
	bits   int      // low bits that are the slot
	free   []uint32 // slots, the longest unused first
	used   map[uint32]bool
}

// newSPIAllocator covers slots slots, a power of two from 2 to 2^24.
func newSPIAllocator(slots int, random io.Reader) (*spiAllocator, error) {
	if slots < 2 || slots > 1<<24 || slots&(slots-1) != 0 {
		return nil, fmt.Errorf("pipeline: %d inbound SAs: want a power of two from 2 to %d", slots, 1<<24)
	}
	a := &spiAllocator{random: random, bits: bits.Len(uint(slots)) - 1, used: map[uint32]bool{}}
	for slot := range slots {
		a.free = append(a.free, uint32(slot))
	}
	return a, nil
}

// allocate returns an SPI above 255: RFC 4303 section 2.1 reserves 0 to 255.
func (a *spiAllocator) allocate() (uint32, error) {
	if len(a.free) == 0 {
		return 0, fmt.Errorf("pipeline: all %d inbound SA slots are in use: raise max_sas", len(a.used))
	}
	slot := a.free[0]
	for {
		var b [4]byte
		if _, err := io.ReadFull(a.random, b[:]); err != nil {
			return 0, fmt.Errorf("pipeline: random bits of an SPI: %w", err)
		}
		spi := binary.BigEndian.Uint32(b[:])<<a.bits | slot
		if spi > 255 {
			a.free = a.free[1:]
			a.used[spi] = true
			return spi, nil
		}
	}
}

// reserve takes an SPI of somebody else's choice, with its slot.
func (a *spiAllocator) reserve(spi uint32) error {
	slot := spi & (1<<a.bits - 1)
	i := slices.Index(a.free, slot)
	switch {
	case spi <= 255:
		return fmt.Errorf("pipeline: inbound SPI %#08x: RFC 4303 section 2.1 reserves 0 to 255", spi)
	case i < 0:
		return fmt.Errorf("%w: %#08x shares its low %d bits, %#x, with another", ErrSPITaken, spi, a.bits, slot)
	}
	a.free = slices.Delete(a.free, i, i+1)
	a.used[spi] = true
	return nil
}

// release gives an SPI back. Its slot goes to the end of the line.
func (a *spiAllocator) release(spi uint32) {
	if a.used[spi] {
		delete(a.used, spi)
		a.free = append(a.free, spi&(1<<a.bits-1))
	}
}
