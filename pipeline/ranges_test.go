package pipeline

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

func address4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// randomAddress often has long runs of equal bits, where ranges fall into few and into many boxes.
func randomAddress(random *rand.Rand, size int) netip.Addr {
	b := make([]byte, size)
	for i := range b {
		b[i] = []byte{0, 255, 128, 1, byte(random.Uint32())}[random.IntN(5)]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func randomRange(random *rand.Rand, size int) policy.AddrRange {
	a, b := randomAddress(random, size), randomAddress(random, size)
	if b.Less(a) {
		a, b = b, a
	}
	return policy.AddrRange{First: a, Last: b}
}

func (a address) addr(size int) netip.Addr {
	b := make([]byte, 0, 16)
	for _, word := range a {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	addr, _ := netip.AddrFromSlice(b[:size])
	return addr
}

// isRange is whether the addresses of a box have no gaps: after the first word that varies all words have any value.
func (b box) isRange(words int) bool {
	for i := 0; i < words-1; i++ {
		if b.first[i] != b.last[i] {
			return !slices.ContainsFunc(b.first[i+1:words], func(w uint32) bool { return w != 0 }) &&
				!slices.ContainsFunc(b.last[i+1:words], func(w uint32) bool { return w != math.MaxUint32 })
		}
	}
	return true
}

// The boxes of a range adjoin, and begin and end where the range does.
func TestBoxesCoverTheRange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ranges := []policy.AddrRange{policy.AnyIPv4(), policy.AnyIPv6()}
	for _, r := range [][2]string{
		{"0.0.0.0", "0.0.0.0"}, {"0.0.0.1", "255.255.255.254"}, {"::", "::"}, {"::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"},
		{"2001:db8::", "2001:db8::1:0:0:0"}, {"2001:db8::ffff:ffff", "2001:db8::1:0:0"},
	} {
		ranges = append(ranges, policy.AddrRange{First: netip.MustParseAddr(r[0]), Last: netip.MustParseAddr(r[1])})
	}
	for i := range 20000 {
		ranges = append(ranges, randomRange(random, []int{4, 16}[i%2]))
	}
	for _, r := range ranges {
		size := r.First.BitLen() / 8
		list := boxes(r)
		slices.SortFunc(list, func(a, b box) int { return slices.Compare(a.first[:], b.first[:]) })
		next := r.First
		for _, b := range list {
			if b.first.addr(size) != next || !b.isRange(size/4) {
				t.Fatalf("%s: box %x, want one that starts at %s and has no gaps", r, b, next)
			}
			next = b.last.addr(size).Next()
		}
		if most := map[int]int{4: 1, 16: 7}[size]; next != r.Last.Next() || len(list) > most {
			t.Fatalf("%s: %d boxes end before %s, want at most %d", r, len(list), next, most)
		}
	}
}

// A prefix is one box.
func TestPrefixIsOneBox(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		for _, size := range []int{4, 16} {
			p := netip.PrefixFrom(randomAddress(random, size), random.IntN(size*8+1))
			if list := boxes(policy.RangeOf(p)); len(list) != 1 {
				t.Errorf("%s: %d boxes: %x", p, len(list), list)
			}
		}
	}
}
