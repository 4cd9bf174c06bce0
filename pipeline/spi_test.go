package pipeline

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSPIAllocatorSlots(t *testing.T) {
	a, err := newSPIAllocator(16, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]bool{}
	first, last := uint32(0), uint32(0)
	for i := range 16 {
		spi, err := a.allocate()
		if err != nil {
			t.Fatal(err)
		}
		if spi <= 255 || seen[spi&15] {
			t.Fatalf("SPI %#x: reserved, or its slot is taken", spi)
		}
		seen[spi&15] = true
		if i == 0 {
			first = spi
		}
		last = spi
	}
	if _, err := a.allocate(); err == nil || !strings.Contains(err.Error(), "16") {
		t.Fatalf("17th of 16: %v", err)
	}
	a.release(last)
	a.release(first)
	a.release(first) // twice must not make two slots of one
	spi, _ := a.allocate()
	if spi&15 != last&15 {
		t.Errorf("got slot %d, want %d, the longest unused", spi&15, last&15)
	}
	if _, err := a.allocate(); err != nil {
		t.Error(err)
	}
	if _, err := a.allocate(); err == nil {
		t.Error("an SPI released twice was handed out twice")
	}
}

// RFC 4303 section 2.1: 0 means no SA and 1 to 255 are reserved.
func TestSPIAllocatorReserved(t *testing.T) {
	random := io.MultiReader(bytes.NewReader(make([]byte, 12)), bytes.NewReader([]byte{0, 0, 0, 200}))
	a, err := newSPIAllocator(2, random)
	if err != nil {
		t.Fatal(err)
	}
	if spi, err := a.allocate(); err != nil || spi != 400 {
		t.Fatalf("got %d, %v; want 400", spi, err)
	}
	if _, err := a.allocate(); err == nil {
		t.Fatal("no error when random bits run out")
	}
	for _, slots := range []int{0, 1, 3, 1000, 1 << 25} {
		if _, err := newSPIAllocator(slots, random); err == nil {
			t.Errorf("%d slots accepted", slots)
		}
	}
}

// A manual SA has the SPI that its file says, if no other has its slot; that slot is then handed out to nobody else.
func TestSPIAllocatorReserve(t *testing.T) {
	a, err := newSPIAllocator(4, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.reserve(0x1002); err != nil {
		t.Fatal(err)
	}
	for _, spi := range []uint32{0x1002, 0x2002} {
		if err := a.reserve(spi); !errors.Is(err, ErrSPITaken) {
			t.Errorf("SPI %#x: %v, want %v", spi, err, ErrSPITaken)
		}
	}
	if err := a.reserve(255); err == nil {
		t.Error("a reserved SPI was taken")
	}
	for range 3 {
		if spi, err := a.allocate(); err != nil || spi&3 == 2 {
			t.Errorf("SPI %#x, %v: want one of another slot", spi, err)
		}
	}
	a.release(0x1002)
	if err := a.reserve(0x2002); err != nil {
		t.Error(err)
	}
}
