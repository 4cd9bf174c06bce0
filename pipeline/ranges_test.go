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

// randomAddress often has long runs of equal bits, where ranges fall into few and into many prefixes.
func randomAddress(random *rand.Rand, size int) netip.Addr {
	b := make([]byte, size)
	for i := range b {
		b[i] = []byte{0, 255, 128, 1, byte(random.Uint32())}[random.IntN(5)]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// asPrefix is what the classifier gets, as the library's type.
func asPrefix(p prefix, size int) netip.Prefix {
	b := make([]byte, 0, 16)
	for _, word := range p.address {
		b = append(b, byte(word>>24), byte(word>>16), byte(word>>8), byte(word))
	}
	a, _ := netip.AddrFromSlice(b[:size])
	return netip.PrefixFrom(a, p.bits)
}

// The prefixes of a range are in order, adjoin, begin and end where the range does, and are the fewest: no two adjoining
// ones could be one.
func TestPrefixesCoverTheRange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	ranges := []policy.AddrRange{policy.AnyIPv4(), policy.AnyIPv6()}
	for _, r := range [][2]string{
		{"0.0.0.0", "0.0.0.0"}, {"255.255.255.255", "255.255.255.255"}, {"0.0.0.1", "255.255.255.254"}, {"10.0.0.0", "10.255.255.255"},
		{"10.0.0.1", "10.0.0.6"}, {"::", "::"}, {"::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"}, {"2001:db8::", "2001:db8::1:0:0:0"},
	} {
		ranges = append(ranges, policy.AddrRange{First: netip.MustParseAddr(r[0]), Last: netip.MustParseAddr(r[1])})
	}
	for i := range 20000 {
		size := []int{4, 16}[i%2]
		a, b := randomAddress(random, size), randomAddress(random, size)
		if b.Less(a) {
			a, b = b, a
		}
		ranges = append(ranges, policy.AddrRange{First: a, Last: b})
	}
	for _, r := range ranges {
		size := r.First.BitLen() / 8
		list := prefixes(r)
		next := r.First
		for i, p := range list {
			found := asPrefix(p, size)
			if found.Addr() != next || found.Masked() != found {
				t.Fatalf("%s: prefix %d is %s, want one that starts at %s", r, i, found, next)
			}
			if i > 0 && list[i-1].bits == p.bits && p.bits > 0 {
				if before := asPrefix(list[i-1], size); netip.PrefixFrom(before.Addr(), p.bits-1).Masked().Contains(found.Addr()) {
					t.Fatalf("%s: prefixes %s and %s could be one", r, before, found)
				}
			}
			next = policy.RangeOf(found).Last.Next()
		}
		if next != r.Last.Next() || len(list) > 2*r.First.BitLen()-2 && r.First != r.Last {
			t.Fatalf("%s: %d prefixes end before %s", r, len(list), next)
		}
	}
}
