package policy

import (
	"fmt"
	"net/netip"
)

// fault is what is wrong with a field of a filter.
type fault struct{ field, text string }

// Error is the text.
func (f fault) Error() string { return f.text }

// checkFilter finds what is wrong with a filter, whatever is done to its traffic.
func checkFilter(f *Filter) (faults []fault) {
	found := func(field, format string, args ...any) {
		faults = append(faults, fault{field, fmt.Sprintf(format, args...)})
	}
	for _, side := range []struct {
		field string
		spec  AddressSpec
	}{{"Source", f.Source}, {"Destination", f.Destination}} {
		if err := side.spec.validate(); err != nil {
			found(side.field, "%s", err)
		}
	}
	if f.Source.kind == addressRange && f.Destination.kind == addressRange && f.Source.span.Is4() != f.Destination.span.Is4() {
		found("Destination", "expected the IP version of the source %s, found %s", f.Source, f.Destination)
	}
	for _, side := range []struct {
		field string
		ports PortRange
	}{{"SourcePort", f.sourcePort()}, {"DestinationPort", f.destinationPort()}} {
		if side.ports.Last < side.ports.First {
			found(side.field, "expected the lower port first, found %s", side.ports)
		}
		if side.ports != AnyPort && !protocolHasPorts(f.Protocol) {
			found(side.field, "expected a protocol that has ports (tcp, udp, sctp, udplite) with port %s, found protocol %s", side.ports, ProtocolName(f.Protocol))
		}
	}
	return faults
}

// checkNegotiable finds what keeps a filter's traffic from being negotiated.
func checkNegotiable(f *Filter, broadcasts []netip.Addr) (faults []fault) {
	if f.Protocol == protocolRSVP { // S-037
		faults = append(faults, fault{"", "protocol 46 (rsvp) can only be permitted or blocked"})
	}
	for _, spec := range []AddressSpec{f.Source, f.Destination} { // S-105
		for _, r := range spec.literals() {
			if isGroup(r, broadcasts) {
				faults = append(faults, fault{"", fmt.Sprintf("multicast and broadcast (%s) can only be permitted or blocked", r)})
			}
		}
	}
	return faults
}
