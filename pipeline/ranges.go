package pipeline

import (
	"math/bits"

	"sallyport/policy"
)

// prefix4 is an IPv4 prefix in host byte order.
type prefix4 struct {
	address uint32
	bits    uint8
}

// prefixes covers an address range with the fewest prefixes: the classifier knows prefixes only. At most 62 are needed.
func prefixes(r policy.AddrRange) []prefix4 {
	first, last := uint64(number4(r.First.As4())), uint64(number4(r.Last.As4()))
	var covered []prefix4
	for first <= last {
		// The largest block that starts at first and ends at or before last.
		host := 32
		if first != 0 {
			host = bits.TrailingZeros64(first)
		}
		host = min(host, bits.Len64(last-first+1)-1)
		covered = append(covered, prefix4{uint32(first), uint8(32 - host)})
		first += 1 << host
	}
	return covered
}

func number4(b [4]byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
