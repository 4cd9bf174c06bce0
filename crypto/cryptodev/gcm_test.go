package cryptodev

import (
	"syscall"
	"testing"
)

// What takes the place of the library's AES-GCM makes the same octets of texts of any length, and reads none behind them.
func TestVectorsAgreeWithTheLibrary(t *testing.T) {
	library := ipsecMB()
	if library.missing != "" || library.gcmMissing != "" {
		t.Fatalf("no AES-GCM by libIPSec_MB here: %s %s", library.missing, library.gcmMissing)
	}
	if !library.vectors { // a processor without AVX-512, VAES or VPCLMULQDQ: sessions have the library's functions
		return
	}
	const room = 3 << 12
	memory, err := syscall.Mmap(-1, 0, room+1<<12, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(memory)
	if err := syscall.Mprotect(memory[room:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for length := range 1600 {
		lengths = append(lengths, length)
	}
	for length := 1600; length <= 9300; length += 37 {
		lengths = append(lengths, length)
	}
	lengths = append(lengths, 4031, 4032, 4033, 4047, 4048, 4096)
	for _, length := range lengths {
		for _, aad := range []int{8, 12} {
			for _, tag := range []int{8, 12, 16} {
				if !vectorsAgree(library.manager, memory[:room], length, aad, tag) {
					t.Fatalf("text of %d octets, AAD of %d, tag of %d: expected what libIPSec_MB makes of it", length, aad, tag)
				}
			}
		}
	}
}
