package policy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// protocolNames are the keywords of the IANA protocol numbers that operators filter by.
var protocolNames = map[string]uint8{
	"any": 0, "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "ipv6": 41, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51,
	"icmpv6": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132, "udplite": 136,
}

const knownProtocols = "any, tcp, udp, icmp, icmpv6, sctp, udplite, igmp, ipv6, rsvp, gre, esp, ah, ospf, pim, vrrp or a number 0 to 255"

// protocolWords is what ProtocolName says of each number.
var protocolWords = func() (words [256]string) {
	for number := range words {
		words[number] = strconv.Itoa(number)
	}
	for name, number := range protocolNames {
		words[number] = name
	}
	return words
}()

// ProtocolName is the keyword of an IP protocol number, or the number.
func ProtocolName(protocol uint8) string { return protocolWords[protocol] }

// ParseProtocol reads a keyword or a number; "any" and "" are 0.
func ParseProtocol(text string) (uint8, error) {
	if text == "" {
		return 0, nil
	}
	if number, known := protocolNames[strings.ToLower(text)]; known {
		return number, nil
	}
	number, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("expected a protocol (%s), found %q", knownProtocols, text)
	}
	return uint8(number), nil
}

// protocolHasPorts reports whether packets of the protocol start with a source and a destination port.
func protocolHasPorts(protocol uint8) bool {
	switch protocol {
	case protocolNames["tcp"], protocolNames["udp"], protocolNames["sctp"], protocolNames["udplite"]:
		return true
	}
	return false
}

// ParsePortRange reads "any", one port number, or "first-last"; "" is any.
func ParsePortRange(text string) (PortRange, error) {
	if text == "" || strings.EqualFold(text, "any") {
		return AnyPort, nil
	}
	firstText, lastText, isRange := strings.Cut(text, "-")
	if !isRange {
		lastText = firstText
	}
	first, errFirst := strconv.ParseUint(strings.TrimSpace(firstText), 10, 16)
	last, errLast := strconv.ParseUint(strings.TrimSpace(lastText), 10, 16)
	switch {
	case errFirst != nil || errLast != nil || last == 0:
		return PortRange{}, fmt.Errorf("expected a port 1 to 65535, a range such as 1024-65535, or any, found %q", text)
	case last < first:
		return PortRange{}, fmt.Errorf("expected the lower port first, found %q", text)
	}
	return PortRange{First: uint16(first), Last: uint16(last)}, nil
}

// ParsePortGroup reads "lan", "wan" or "all"; "" is all.
func ParsePortGroup(text string) (PortGroup, error) {
	for _, group := range []PortGroup{PortsAll, PortsLAN, PortsWAN} {
		if text == group.String() {
			return group, nil
		}
	}
	if text == "" {
		return PortsAll, nil
	}
	return 0, fmt.Errorf("expected lan, wan or all, found %q", text)
}

// ParseActionKind reads "permit", "block" or "negotiate".
func ParseActionKind(text string) (ActionKind, error) {
	for _, kind := range []ActionKind{ActionPermit, ActionBlock, ActionNegotiate} {
		if text == kind.String() {
			return kind, nil
		}
	}
	return ActionBlock, fmt.Errorf("expected permit, block or negotiate, found %q", text)
}

// ParseAddressSpec reads "any", "my" (the gateway's own addresses), an address, a prefix, "first-last", or a DNS name
// after "dns:".
func ParseAddressSpec(text string) (AddressSpec, error) {
	switch strings.ToLower(text) {
	case "any":
		return Any(), nil
	case "my":
		return MyAddresses(), nil
	}
	if len(text) > len(namePrefix) && strings.EqualFold(text[:len(namePrefix)], namePrefix) {
		return parseName(text[len(namePrefix):])
	}
	r, err := ParseAddrRange(text)
	if err != nil {
		return AddressSpec{}, err
	}
	return Range(r), nil
}

const addressForms = "an address (10.1.0.7), a prefix (10.1.0.0/16), a range (10.1.0.10-10.1.0.20), dns:NAME, my or any"

// ParseAddrRange reads an address, a prefix without host bits, or "first-last".
func ParseAddrRange(text string) (AddrRange, error) {
	if first, last, isRange := strings.Cut(text, "-"); isRange {
		firstAddr, errFirst := netip.ParseAddr(strings.TrimSpace(first))
		lastAddr, errLast := netip.ParseAddr(strings.TrimSpace(last))
		if errFirst != nil || errLast != nil {
			return AddrRange{}, fmt.Errorf("expected %s, found %q", addressForms, text)
		}
		r := AddrRange{First: firstAddr, Last: lastAddr}
		return r, r.Validate()
	}
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return AddrRange{}, fmt.Errorf("expected %s, found %q", addressForms, text)
		}
		if masked := prefix.Masked(); masked != prefix {
			return AddrRange{}, fmt.Errorf("prefix %s has bits set beyond its length: write %s for the network or %s for the host",
				text, masked, prefix.Addr())
		}
		r := RangeOf(prefix)
		return r, r.Validate()
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return AddrRange{}, fmt.Errorf("expected %s, found %q", addressForms, text)
	}
	r := HostRange(address)
	return r, r.Validate()
}
