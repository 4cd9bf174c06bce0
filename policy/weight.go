package policy

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// Weight layout, most significant first (S-015: address, then protocol, then ports). Each part can only grow when a
// filter is made narrower, so a strict subset never weighs less, whichever parts differ:
//
//	9 bits  address bits that are fixed, source and destination together: 0 to 64 for IPv4, 0 to 256 for IPv6
//	1 bit   the protocol is fixed
//	6 bits  port bits that are fixed, source and destination together: 0 to 32
//	16 bits step among filters equal in all the above
//
// The first three count whole bits, as a prefix has them. The step makes the order exact where ranges are no prefixes:
// it counts the distinct exact sizes, so it is 0 throughout a policy of prefixes and single ports.
const (
	weightStepBits    = 16
	weightPortsShift  = weightStepBits
	weightProtoShift  = weightPortsShift + 6
	weightAddrShift   = weightProtoShift + 1
	maxWeightStep     = 1<<weightStepBits - 1
	weightPortsMask   = 1<<6 - 1
	maxAddressBits    = 2 * 128
	maxPortBits       = 2 * 16
	addressBitsUnused = 9 + weightAddrShift - 32 // a compile-time check that the layout fills 32 bits
)

var _ [0]struct{} = [addressBitsUnused]struct{}{}

// DescribeWeight spells a weight out, for example "48 address bits, protocol, 16 port bits".
func DescribeWeight(weight uint32) string {
	text := fmt.Sprintf("%d address bits", weight>>weightAddrShift)
	if weight>>weightProtoShift&1 != 0 {
		text += ", protocol"
	}
	if ports := weight >> weightPortsShift & weightPortsMask; ports != 0 {
		text += fmt.Sprintf(", %d port bits", ports)
	}
	if step := weight & maxWeightStep; step != 0 {
		text += fmt.Sprintf(", step %d", step)
	}
	return text
}

// specificity is what the weight of a box is made of.
type specificity struct {
	fixed     uint32  // the weight without its step
	addresses uint256 // number of address pairs less one, as a fraction of the power of two above it, in units of 2^-256
	ports     uint64  // number of port pairs, as a fraction of the power of two above it, in units of 2^-32
}

// specificity of the box. A box inside another of the same fixed weight has fewer address pairs, or as many and fewer
// port pairs: with the same powers of two, the fractions order as the numbers do. They are the same for a box and its
// mirror image.
func (b box) specificity() specificity {
	freeAddressBits := b.Source.spanBits() + b.Destination.spanBits()
	freePortBits := portSpanBits(b.SourcePort) + portSpanBits(b.DestinationPort)
	fixed := b.addressWeight() | uint32(maxPortBits-freePortBits)<<weightPortsShift
	if b.Protocol != 0 {
		fixed |= 1 << weightProtoShift
	}
	return specificity{
		fixed:     fixed,
		addresses: lastOf(b.Source.span(), b.Destination.span()).scaled(uint(maxAddressBits - freeAddressBits)),
		ports:     b.SourcePort.size() * b.DestinationPort.size() << (maxPortBits - freePortBits),
	}
}

// addressWeight is the part of the weight that the addresses give.
func (b box) addressWeight() uint32 {
	return uint32(2*b.Source.First.BitLen()-b.Source.spanBits()-b.Destination.spanBits()) << weightAddrShift
}

// size is the number of ports in the range, at most 2^16.
func (r PortRange) size() uint64 { return uint64(r.Last-r.First) + 1 }

// portSpanBits is the base-2 logarithm of the number of ports, rounded up.
func portSpanBits(r PortRange) int { return bits.Len16(r.Last - r.First) }

// compareSize orders specificities of the same fixed weight, the larger traffic first.
func compareSize(a, b *specificity) int {
	if order := b.addresses.compare(a.addresses); order != 0 {
		return order
	}
	return cmp.Compare(b.ports, a.ports)
}

// weigh gives every draft its weight and puts the heaviest first.
func weigh(drafts []*draft) error {
	for _, d := range drafts {
		d.specific = d.traffic().specificity()
	}
	slices.SortFunc(drafts, func(a, b *draft) int {
		if order := cmp.Compare(a.specific.fixed, b.specific.fixed); order != 0 {
			return order
		}
		return compareSize(&a.specific, &b.specific)
	})
	step := uint32(0)
	for i, d := range drafts {
		switch {
		case i == 0 || drafts[i-1].specific.fixed != d.specific.fixed:
			step = 0
		case compareSize(&drafts[i-1].specific, &d.specific) != 0:
			step++
		}
		if step > maxWeightStep {
			return fmt.Errorf("more than %d filters whose ranges differ in size by less than a factor of 2: write the ranges as prefixes", maxWeightStep)
		}
		d.Weight = d.specific.fixed | step
	}
	slices.SortFunc(drafts, compareRank)
	return nil
}

// compareRank orders the heavier draft first. Among equal weights the more restrictive verdict goes first (Verdict is
// declared in that order), then what makes fewer exceptions; what then remains is told apart by its text, in the direction in which the filter was
// written so that a filter and its mirror image stand alike, never by its place in a file (S-007).
func compareRank(a, b *draft) int {
	if order := cmp.Compare(b.Weight, a.Weight); order != 0 {
		return order
	}
	if order := cmp.Compare(a.Verdict, b.Verdict); order != 0 {
		return order
	}
	if order := cmp.Or(compareBool(a.Passthrough, b.Passthrough), compareBool(a.Fallback, b.Fallback)); order != 0 {
		return order
	}
	if order := compareBox(&a.forward, &b.forward); order != 0 {
		return order
	}
	return cmp.Or(
		cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.FilterList, b.FilterList),
		cmp.Compare(a.FilterName, b.FilterName),
		cmp.Compare(a.Tunnel, b.Tunnel),
		compareBool(a.Mirror, b.Mirror),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// compareBox is any total order on boxes.
func compareBox(a, b *box) int {
	for _, pair := range [...][2]netip.Addr{
		{a.Source.First, b.Source.First}, {a.Source.Last, b.Source.Last},
		{a.Destination.First, b.Destination.First}, {a.Destination.Last, b.Destination.Last},
	} {
		if order := pair[0].Compare(pair[1]); order != 0 {
			return order
		}
	}
	return cmp.Or(
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.SourcePort.First, b.SourcePort.First), cmp.Compare(a.SourcePort.Last, b.SourcePort.Last),
		cmp.Compare(a.DestinationPort.First, b.DestinationPort.First), cmp.Compare(a.DestinationPort.Last, b.DestinationPort.Last),
	)
}
