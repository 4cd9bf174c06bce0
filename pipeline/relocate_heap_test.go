package pipeline

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// heapTraces is how often octets stand in Go's memory. They are given turned over, or the search would find itself.
func heapTraces(t *testing.T, hidden []byte) (found int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := memory.Close(); err != nil {
			t.Error(err)
		}
	}()
	inside := uintptr(unsafe.Pointer(unsafe.SliceData(maps))) // Go's, and so is what the kernel has beside it
	const arena = 64 << 20
	buffer := make([]byte, 1<<20)
	own := uintptr(unsafe.Pointer(unsafe.SliceData(buffer)))
	for line := range strings.Lines(string(maps)) {
		var first, last uintptr
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &first, &last, &rights); err != nil || rights != "rw-p" || first/arena > inside/arena || last <= inside/arena*arena {
			continue
		}
		for at := first; at < last; at += uintptr(len(buffer) - len(hidden)) {
			n, _ := memory.ReadAt(buffer[:min(uintptr(len(buffer)), last-at)], int64(at))
			for i := range buffer[:n] {
				buffer[i] = ^buffer[i]
			}
			for rest, from := buffer[:n], at; ; {
				i := bytes.Index(rest, hidden)
				if i < 0 {
					break
				}
				if where := from + uintptr(i); where < own || where >= own+uintptr(len(buffer)) {
					found++
				}
				rest, from = rest[i+1:], from+uintptr(i)+1
			}
		}
	}
	return found
}

// The copies of an SA's key that Go has for moves are gone with the SA, in all of Go's memory: what is no more reachable would still be there to be found (S-102).
func TestNoKeyStaysInTheHeap(t *testing.T) {
	for _, outbound := range []bool{true, false} {
		t.Run(fmt.Sprint("outbound ", outbound), func(t *testing.T) {
			r, device := everywhere(t, rigOptions{})
			child := r.child("site", "aes128-sha256", !outbound)
			hidden := keyOf(child)
			for i := range hidden {
				hidden[i] = ^hidden[i]
			}
			keymat := child.Keymat
			install := r.d.InstallInbound
			if outbound {
				install = r.d.InstallOutbound
			}
			if err := install(child); err != nil {
				t.Fatal(err)
			}
			keymat.Wipe() // as whoever has negotiated it does
			if heapTraces(t, hidden) == 0 {
				t.Fatal("an SA that may move has its key nowhere: this test looks in the wrong place")
			}
			for _, place := range []Place{PlaceLookasideCrypto, PlaceCPU, PlaceLookasideCrypto} {
				r.goTo(outbound, place)
				r.rest()
			}
			device.FailSessions(1)
			if m := r.relocate("site", outbound, PlaceLookasideProtocol); m.From != PlaceLookasideCrypto {
				t.Errorf("%+v", m)
			}
			device.FailSessions(0)
			r.rest()
			r.d.mu.Lock()
			r.d.removeAllSAs()
			r.d.mu.Unlock()
			r.rest()
			if n := heapTraces(t, hidden); n != 0 {
				t.Errorf("the key is in Go's memory %d times after its SA is gone", n)
			}
		})
	}
}
