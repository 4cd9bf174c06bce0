package pipeline

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

func address4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// The prefixes of a range are in order, adjoin, begin and end where the range does, and are the fewest: no two adjoining
// ones could be one.
func TestPrefixesCoverTheRange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ranges := [][2]uint32{{0, 0xffffffff}, {0, 0}, {0xffffffff, 0xffffffff}, {1, 0xfffffffe}, {0x0a000000, 0x0affffff}, {0x0a000001, 0x0a000006}}
	for range 20000 {
		a, b := random.Uint32()>>random.UintN(32), random.Uint32()>>random.UintN(32)
		ranges = append(ranges, [2]uint32{min(a, b), max(a, b)})
	}
	for _, r := range ranges {
		list := prefixes(policy.AddrRange{First: address4(r[0]), Last: address4(r[1])})
		next := uint64(r[0])
		for i, p := range list {
			size := uint64(1) << (32 - p.bits)
			if uint64(p.address) != next || next%size != 0 {
				t.Fatalf("%08x-%08x: prefix %d is %08x/%d, want one that starts at %08x", r[0], r[1], i, p.address, p.bits, next)
			}
			if i > 0 && list[i-1].bits == p.bits && list[i-1].address%uint32(min(2*size, 1<<31)) == 0 && size < 1<<31 {
				t.Fatalf("%08x-%08x: prefixes %d and %d could be one", r[0], r[1], i-1, i)
			}
			next += size
		}
		if next != uint64(r[1])+1 || len(list) > 62 {
			t.Fatalf("%08x-%08x: %d prefixes end at %08x", r[0], r[1], len(list), next)
		}
	}
}
