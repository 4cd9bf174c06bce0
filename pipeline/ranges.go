package pipeline

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"sallyport/policy"
)

// prefix is an address prefix in words of 32 bits, the most significant first: one for IPv4, four for IPv6.
type prefix struct {
	address [4]uint32
	bits    int
}

// prefixes covers an address range with the fewest prefixes: the classifier knows prefixes only. At most 62 are needed for
// IPv4 and 254 for IPv6.
func prefixes(r policy.AddrRange) []prefix {
	first, last := numberOf(r.First), numberOf(r.Last)
	width := r.First.BitLen()
	var covered []prefix
	for {
		// The largest block that starts at first and ends at or before last.
		host := min(first.trailingZeros(), width)
		end := first.withLow(host)
		for last.less(end) {
			host--
			end = first.withLow(host)
		}
		covered = append(covered, prefix{first.words(width), width - host})
		if end == last {
			return covered
		}
		first = end.next()
	}
}

// number is an address as an integer of 128 bits.
type number struct{ high, low uint64 }

func numberOf(a netip.Addr) number {
	if a.Is4() {
		return number{low: uint64(number4(a.As4()))}
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n number) trailingZeros() int {
	if n.low != 0 {
		return bits.TrailingZeros64(n.low)
	}
	return 64 + bits.TrailingZeros64(n.high)
}

// withLow is n with its lowest bits set.
func (n number) withLow(host int) number {
	if host < 64 {
		return number{n.high, n.low | (1<<host - 1)}
	}
	return number{n.high | (1<<(host-64) - 1), ^uint64(0)}
}

func (n number) less(m number) bool {
	return n.high < m.high || n.high == m.high && n.low < m.low
}

func (n number) next() number {
	low, carry := bits.Add64(n.low, 1, 0)
	return number{n.high + carry, low}
}

func (n number) words(width int) [4]uint32 {
	if width == 32 {
		return [4]uint32{uint32(n.low)}
	}
	return [4]uint32{uint32(n.high >> 32), uint32(n.high), uint32(n.low >> 32), uint32(n.low)}
}

func number4(b [4]byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}
