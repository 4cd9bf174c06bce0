package policy

import (
	"net/netip"
	"slices"
)

// Group addresses are those of many hosts at once: IKE has nobody to negotiate with, so only permit and block apply to
// them (S-105), and the gateway never forwards to them.
var (
	multicast        = []AddrRange{RangeOf(netip.MustParsePrefix("224.0.0.0/4")), RangeOf(netip.MustParsePrefix("ff00::/8"))} // RFC 5771; RFC 4291, section 2.7
	limitedBroadcast = netip.MustParseAddr("255.255.255.255")                                                                 // RFC 919, section 7
)

// DirectedBroadcast is the last address of an attached IPv4 subnet (RFC 919, section 7; S-104). A /31 (RFC 3021) and a
// /32 have none, and IPv6 has none at all.
func DirectedBroadcast(subnet netip.Prefix) (netip.Addr, bool) {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() > 30 {
		return netip.Addr{}, false
	}
	return RangeOf(subnet).Last, true
}

// broadcasts is every broadcast address of the gateway's subnets, in address order.
func (e Environment) broadcasts() []netip.Addr {
	addresses := []netip.Addr{limitedBroadcast}
	for _, subnet := range e.Subnets {
		if last, ok := DirectedBroadcast(subnet); ok {
			addresses = append(addresses, last)
		}
	}
	return ordered(addresses)
}

// isGroup reports whether all of the range is multicast or one of the broadcast addresses.
func isGroup(r AddrRange, broadcasts []netip.Addr) bool {
	isMulticast := slices.ContainsFunc(multicast, func(group AddrRange) bool { return group.ContainsRange(r) })
	return isMulticast || r.First == r.Last && slices.Contains(broadcasts, r.First)
}
