package policy

import (
	"fmt"
	"net/netip"
)

// AddrRange is an inclusive range of addresses of one IP version. Its zero value is not valid and contains nothing.
type AddrRange struct{ First, Last netip.Addr }

// AnyIPv4 is the whole IPv4 address space.
func AnyIPv4() AddrRange { return RangeOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) }

// AnyIPv6 is the whole IPv6 address space.
func AnyIPv6() AddrRange { return RangeOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0)) }

// RangeOf is the range that a prefix covers; bits of the address beyond the prefix length are ignored.
func RangeOf(p netip.Prefix) AddrRange {
	if !p.IsValid() {
		return AddrRange{}
	}
	first := p.Masked().Addr()
	last := first.AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	lastAddr, _ := netip.AddrFromSlice(last)
	return AddrRange{First: first, Last: lastAddr}
}

// HostRange is the range of exactly one address.
func HostRange(a netip.Addr) AddrRange { return AddrRange{First: a, Last: a} }

// Validate says why a range cannot be used, or nil.
func (r AddrRange) Validate() error {
	switch {
	case !r.First.IsValid() || !r.Last.IsValid():
		return fmt.Errorf("address range has no first or no last address")
	case r.First.Zone() != "" || r.Last.Zone() != "":
		return fmt.Errorf("address range %s-%s: an address with a zone cannot be a selector", r.First, r.Last)
	case r.First.Is4In6() || r.Last.Is4In6():
		return fmt.Errorf("address range %s-%s: write IPv4 addresses as IPv4, not mapped into IPv6", r.First, r.Last)
	case r.First.Is4() != r.Last.Is4():
		return fmt.Errorf("address range %s-%s mixes IPv4 and IPv6", r.First, r.Last)
	case r.Last.Less(r.First):
		return fmt.Errorf("address range %s-%s is backwards: expected the lower address first", r.First, r.Last)
	}
	return nil
}

// Is4 reports whether the range holds IPv4 addresses.
func (r AddrRange) Is4() bool { return r.First.Is4() }

// Contains reports whether the address lies in the range. Addresses of the other IP version never do.
func (r AddrRange) Contains(a netip.Addr) bool {
	return a.IsValid() && r.First.IsValid() && a.Is4() == r.First.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

// ContainsRange reports whether every address of other lies in the range.
func (r AddrRange) ContainsRange(other AddrRange) bool {
	return r.Contains(other.First) && r.Contains(other.Last)
}

// Intersect is the range of the addresses in both.
func (r AddrRange) Intersect(other AddrRange) (AddrRange, bool) {
	both := r
	if !r.First.IsValid() || !other.First.IsValid() || r.Is4() != other.Is4() {
		return AddrRange{}, false
	}
	if both.First.Less(other.First) {
		both.First = other.First
	}
	if other.Last.Less(both.Last) {
		both.Last = other.Last
	}
	if both.Last.Less(both.First) {
		return AddrRange{}, false
	}
	return both, true
}

// Prefix is the range as one prefix, if it is one.
func (r AddrRange) Prefix() (netip.Prefix, bool) {
	if r.Validate() != nil {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(r.First, r.First.BitLen()-r.spanBits())
	return p, RangeOf(p) == r
}

// String is the address, the prefix, or "first-last", whichever is shortest and exact.
func (r AddrRange) String() string {
	switch p, isPrefix := r.Prefix(); {
	case isPrefix && p.IsSingleIP():
		return r.First.String()
	case isPrefix:
		return p.String()
	default:
		return r.First.String() + "-" + r.Last.String()
	}
}
