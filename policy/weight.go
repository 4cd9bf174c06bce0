package policy

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// Weight layout, most significant first (S-015: address, then protocol, then ports). Each part can only grow when a
// filter is made narrower, so a strict subset never weighs less, whichever parts differ:
//
//	9 bits  address bits that are fixed, source and destination together: 0 to 64 for IPv4, 0 to 256 for IPv6
//	1 bit   the protocol is fixed
//	6 bits  port bits that are fixed, source and destination together: 0 to 32
//	15 bits step among filters equal in all the above, for ranges that are no prefix: 0 unless there are such ranges
//	1 bit   the rule is limited to the ports of one role
//
// The first three round to powers of two. The step makes the order exact: it counts the distinct exact sizes.
const (
	weightGroupBits   = 1
	weightStepBits    = 15
	weightStepShift   = weightGroupBits
	weightPortsShift  = weightStepShift + weightStepBits
	weightProtoShift  = weightPortsShift + 6
	weightAddrShift   = weightProtoShift + 1
	maxWeightStep     = 1<<weightStepBits - 1
	weightPortsMask   = 1<<6 - 1
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
	if step := weight >> weightStepShift & maxWeightStep; step != 0 {
		text += fmt.Sprintf(", step %d", step)
	}
	if weight&1 != 0 {
		text += ", one port group"
	}
	return text
}

// fixedBits is the part of the weight above the step.
func (d *draft) fixedBits() uint32 {
	width := d.Source.First.BitLen()
	addressBits := 2*width - d.Source.spanBits() - d.Destination.spanBits()
	portBits := 32 - portSpanBits(d.SourcePort) - portSpanBits(d.DestinationPort)
	weight := uint32(addressBits)<<weightAddrShift | uint32(portBits)<<weightPortsShift
	if d.Protocol != 0 {
		weight |= 1 << weightProtoShift
	}
	return weight
}

// portSpanBits is the base-2 logarithm of the number of ports, rounded up.
func portSpanBits(r PortRange) int { return bits.Len16(r.Last - r.First) }

// compareSize orders two drafts by the exact sizes of their ranges, the larger one first. The smaller range of a pair is
// compared before the larger, which makes the order the same for a filter and its mirror image; a strict subset is
// smaller in one of the two and larger in neither.
func compareSize(a, b *draft) int {
	aSmall, aLarge := sorted(a.Source.span(), a.Destination.span())
	bSmall, bLarge := sorted(b.Source.span(), b.Destination.span())
	aPortSmall, aPortLarge := sortedPorts(a.SourcePort, a.DestinationPort)
	bPortSmall, bPortLarge := sortedPorts(b.SourcePort, b.DestinationPort)
	return cmp.Or(
		compareSpan(bSmall, aSmall), compareSpan(bLarge, aLarge),
		cmp.Compare(bPortSmall, aPortSmall), cmp.Compare(bPortLarge, aPortLarge),
	)
}

func sorted(a, b uint128) (small, large uint128) {
	if b.less(a) {
		return b, a
	}
	return a, b
}

func sortedPorts(a, b PortRange) (small, large uint16) {
	aSpan, bSpan := a.Last-a.First, b.Last-b.First
	return min(aSpan, bSpan), max(aSpan, bSpan)
}

func compareSpan(a, b uint128) int {
	return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low))
}

// weigh gives every draft its weight and puts them in descending order of rank.
func weigh(drafts []*draft) error {
	slices.SortFunc(drafts, func(a, b *draft) int {
		return cmp.Or(cmp.Compare(a.fixedBits(), b.fixedBits()), compareSize(a, b))
	})
	step := uint32(0)
	for i, d := range drafts {
		fixed := d.fixedBits()
		switch {
		case i == 0 || drafts[i-1].fixedBits() != fixed:
			step = 0
		case compareSize(drafts[i-1], d) != 0:
			step++
		}
		if step > maxWeightStep {
			return fmt.Errorf("more than %d filters with ranges of different sizes between the same two powers of two: write the ranges as prefixes", maxWeightStep)
		}
		d.Weight = fixed | step<<weightStepShift
		if d.declared != PortsAll {
			d.Weight |= 1
		}
	}
	slices.SortFunc(drafts, compareRank)
	for i, d := range drafts {
		d.Rank = uint32(len(drafts) - i)
	}
	return nil
}

// compareRank orders the heavier draft first. Among equal weights the more restrictive verdict goes first (Verdict is
// declared in that order); what then remains is told apart by its text, in the direction in which the filter was
// written so that a filter and its mirror image stand alike, never by its place in a file (S-007).
func compareRank(a, b *draft) int {
	return cmp.Or(
		cmp.Compare(b.Weight, a.Weight),
		cmp.Compare(a.Verdict, b.Verdict),
		compareBox(a.forward, b.forward),
		cmp.Compare(a.declared, b.declared),
		cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.FilterList, b.FilterList),
		cmp.Compare(a.FilterName, b.FilterName),
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
func compareBox(a, b box) int {
	return cmp.Or(
		a.Source.First.Compare(b.Source.First), a.Source.Last.Compare(b.Source.Last),
		a.Destination.First.Compare(b.Destination.First), a.Destination.Last.Compare(b.Destination.Last),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.SourcePort.First, b.SourcePort.First), cmp.Compare(a.SourcePort.Last, b.SourcePort.Last),
		cmp.Compare(a.DestinationPort.First, b.DestinationPort.First), cmp.Compare(a.DestinationPort.Last, b.DestinationPort.Last),
	)
}
