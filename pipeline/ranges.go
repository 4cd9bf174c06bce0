package pipeline

import (
	"encoding/binary"
	"math"
	"slices"

	"sallyport/policy"
)

// address is an IP address in words of 32 bits, the most significant first: one word for IPv4, four for IPv6.
type address [4]uint32

// box is what the classifier can compare in one rule: a range of values for each word of an address.
type box struct{ first, last address }

// boxes covers an address range with the fewest boxes: one for IPv4 and for any prefix, at most seven for IPv6.
func boxes(r policy.AddrRange) []box {
	words := r.First.BitLen() / 32
	return appendBoxes(nil, addressOf(r.First.AsSlice()), addressOf(r.Last.AsSlice()), words, 0)
}

// appendBoxes adds the boxes of a range whose words before `at` are the same in its first and last address.
func appendBoxes(list []box, first, last address, words, at int) []box {
	for at < words-1 && first[at] == last[at] {
		at++
	}
	lower := at + 1
	fromStart := !slices.ContainsFunc(first[lower:words], func(word uint32) bool { return word != 0 })
	toEnd := !slices.ContainsFunc(last[lower:words], func(word uint32) bool { return word != math.MaxUint32 })
	middle := box{first, last}
	if !fromStart {
		end := first
		fill(end[lower:words], math.MaxUint32)
		list = appendBoxes(list, first, end, words, lower)
		middle.first[at]++
		fill(middle.first[lower:words], 0)
	}
	if !toEnd {
		start := last
		fill(start[lower:words], 0)
		list = appendBoxes(list, start, last, words, lower)
		middle.last[at]--
		fill(middle.last[lower:words], math.MaxUint32)
	}
	if middle.first[at] <= middle.last[at] {
		list = append(list, middle)
	}
	return list
}

func fill(words []uint32, with uint32) {
	for i := range words {
		words[i] = with
	}
}

func addressOf(b []byte) (a address) {
	for i := 0; i < len(b); i += 4 {
		a[i/4] = binary.BigEndian.Uint32(b[i:])
	}
	return a
}
