package policy

import (
	"cmp"
	"encoding/binary"
	"math/bits"
)

// Sizes of address ranges are counted less one: 128 bits then hold that of any range, and 256 bits that of any pair.

type uint128 struct{ high, low uint64 }

// span is the number of addresses in the range less one.
func (r AddrRange) span() uint128 {
	first, last := r.First.As16(), r.Last.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(first[:8]), borrow)
	return uint128{high: high, low: low}
}

// spanBits is the base-2 logarithm of the number of addresses, rounded up: the host bits of a prefix.
func (r AddrRange) spanBits() int {
	span := r.span()
	if span.high != 0 {
		return 64 + bits.Len64(span.high)
	}
	return bits.Len64(span.low)
}

// uint256 is four words, the most significant first.
type uint256 [4]uint64

// lastOf is the number of pairs less one of two ranges with these spans: (a+1)(b+1)-1 = ab + a + b, at most 2^256 - 1.
func lastOf(a, b uint128) uint256 {
	var n uint256
	n.add(3, a.low)
	n.add(2, a.high)
	n.add(3, b.low)
	n.add(2, b.high)
	for _, part := range [...]struct {
		a, b uint64
		word int // of the product's low half
	}{{a.low, b.low, 3}, {a.low, b.high, 2}, {a.high, b.low, 2}, {a.high, b.high, 1}} {
		high, low := bits.Mul64(part.a, part.b)
		n.add(part.word, low)
		n.add(part.word-1, high)
	}
	return n
}

// add adds a value to a word and carries into those above it.
func (n *uint256) add(word int, value uint64) {
	carry := uint64(0)
	n[word], carry = bits.Add64(n[word], value, 0)
	for word--; word >= 0 && carry != 0; word-- {
		n[word], carry = bits.Add64(n[word], 0, carry)
	}
}

// scaled is the last of as many pairs times 2^shift: one more is shifted, so ones come in from below.
func (n uint256) scaled(shift uint) uint256 {
	for ; shift >= 64; shift -= 64 {
		n = uint256{n[1], n[2], n[3], ^uint64(0)}
	}
	if shift == 0 {
		return n
	}
	below := ^uint64(0)
	for word := len(n) - 1; word >= 0; word-- {
		n[word], below = n[word]<<shift|below>>(64-shift), n[word]
	}
	return n
}

func (n uint256) compare(other uint256) int {
	for word := range n {
		if order := cmp.Compare(n[word], other[word]); order != 0 {
			return order
		}
	}
	return 0
}
