package importer

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"sallyport/policy"
)

// protocolRaw is what netsh calls RAW: protocol 255 of the IANA list.
const protocolRaw = 255

// serverTypes are addresses that Windows looks up in its own settings.
var serverTypes = map[string]string{"dns": "DNS servers", "wins": "WINS servers", "dhcp": "DHCP server", "gateway": "default gateway"}

// filter reads a filter; false after a problem.
func (s *netshScript) filter(o *object) (filter, bool) {
	before := len(s.problems) + s.more
	f := filter{line: o.line, about: o.text("description"), mirrored: s.yes(o, "mirrored", true)}
	f.source = s.address(o, "srcaddr", "srcmask")
	f.destination = s.address(o, "dstaddr", "dstmask")
	f.protocol = s.protocol(o)
	f.sourcePort = s.port(o, "srcport", f.protocol)
	f.destinationPort = s.port(o, "dstport", f.protocol)
	return f, len(s.problems)+s.more == before
}

// yes reads a tag that takes yes or no.
func (s *netshScript) yes(o *object, tag string, standard bool) bool {
	if !o.has(tag) {
		return standard
	}
	yes, ok := parseYes(o.text(tag))
	if !ok {
		s.problem(o.at(tag), "%s: expected yes or no, found %s", tag, quote(o.text(tag)))
	}
	return yes
}

// address reads one side of a filter.
func (s *netshScript) address(o *object, tag, maskTag string) address {
	text, mask := o.text(tag), o.text(maskTag)
	if text == "" {
		s.problem(o.line, "expected %s=, found a filter without it", tag)
		return unknown
	}
	line := o.at(tag)
	first, last, isRange := strings.Cut(text, "-")
	single, err := netip.ParseAddr(text)
	_, errFirst := netip.ParseAddr(strings.TrimSpace(first))
	_, errLast := netip.ParseAddr(strings.TrimSpace(last))
	what, isServer := serverTypes[strings.ToLower(text)]
	lower := strings.ToLower(text)
	if mask != "" && (err != nil || isRange) && !strings.Contains(text, "/") {
		s.info(o.at(maskTag), "%s: a mask has a meaning with an address only: left out", maskTag)
	}
	switch {
	case lower == "me":
		return ownAddress
	case lower == "any":
		return anyAddress
	case isServer:
		s.lost(line, "%s=%s: which are the %s the settings of that machine say, not this file: REPLACE the address of the filter", tag, lower, what)
		return unknown
	case err == nil:
		return s.masked(o, single, mask, tag, maskTag)
	case isRange && errFirst == nil && errLast == nil, strings.Contains(text, "/"):
		span, err := policy.ParseAddrRange(text)
		if err != nil {
			s.problem(line, "%s: %s", tag, err)
			return unknown
		}
		return address(span.String())
	case isDNSName(text):
		s.info(line, "%s: the gateway resolves %s when it loads the configuration, and shows the addresses", tag, quote(text))
		return dnsNamePart + address(strings.ToLower(text))
	}
	s.problem(line, "%s: expected me, any, an address, a range, a DNS name, dns, wins, dhcp or gateway, found %s", tag, quote(text))
	return unknown
}

// isDNSName reports whether a text is a host name, as the gateway reads one.
func isDNSName(text string) bool {
	_, err := policy.ParseAddressSpec(dnsNamePart + text)
	return err == nil && strings.ContainsFunc(text, unicode.IsLetter) // 10.0.0.0_ is a mistake
}

// masked is the addresses that an address and its mask stand for. Without a mask it is the address alone.
func (s *netshScript) masked(o *object, a netip.Addr, mask, tag, maskTag string) address {
	if a.Zone() != "" || a.Is4In6() {
		s.problem(o.at(tag), "%s: expected an address without a zone, and IPv4 as IPv4, found %s", tag, a)
		return unknown
	}
	if mask == "" {
		if a.IsUnspecified() {
			s.problem(o.at(tag), "%s: expected any, or a mask with %s: without a mask it is one address, and none of a machine", tag, a)
			return unknown
		}
		return hostAddress(a)
	}
	length, err := maskLength(mask, a)
	if err != nil {
		s.problem(o.at(maskTag), "%s: %s", maskTag, err)
		return unknown
	}
	prefix, _ := a.Prefix(length)
	if length == a.BitLen() {
		return hostAddress(a)
	}
	return address(prefix.String())
}

// maskLength reads a mask: a prefix length, or dotted as 255.255.255.0.
func maskLength(text string, a netip.Addr) (int, error) {
	if length, err := strconv.Atoi(text); err == nil {
		if length < 0 || length > a.BitLen() {
			return 0, fmt.Errorf("expected a prefix length from 0 to %d, found %s", a.BitLen(), quote(text))
		}
		return length, nil
	}
	mask, err := netip.ParseAddr(text)
	if err != nil || !mask.Is4() || !a.Is4() {
		return 0, fmt.Errorf("expected a mask (255.255.255.0) or a prefix length (24), found %s", quote(text))
	}
	octets := mask.As4()
	number := uint32(octets[0])<<24 | uint32(octets[1])<<16 | uint32(octets[2])<<8 | uint32(octets[3])
	length := bits.LeadingZeros32(^number)
	if number<<length != 0 {
		return 0, fmt.Errorf("expected a mask whose ones are all on the left, found %s: write one filter for each prefix", quote(text))
	}
	return length, nil
}

// protocol reads the protocol; any is 0.
func (s *netshScript) protocol(o *object) uint8 {
	text := strings.ToLower(o.text("protocol"))
	switch text {
	case "", "any":
		return 0
	case "raw":
		return protocolRaw
	case "tcp", "udp", "icmp":
		number, _ := policy.ParseProtocol(text)
		return number
	}
	number, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		s.problem(o.at("protocol"), "protocol: expected any, icmp, tcp, udp, raw or a number 0 to 255, found %s", quote(text))
	}
	return uint8(number)
}

// port reads a port; 0 is any.
func (s *netshScript) port(o *object, tag string, protocol uint8) policy.PortRange {
	text := o.text(tag)
	if text == "" || text == "0" {
		return policy.AnyPort
	}
	ports, err := policy.ParsePortRange(text)
	if err != nil {
		s.problem(o.at(tag), "%s: %s", tag, err)
		return policy.AnyPort
	}
	if name := policy.ProtocolName(protocol); ports != policy.AnyPort && name != "tcp" && name != "udp" {
		s.problem(o.at(tag), "%s: expected protocol=tcp or protocol=udp with a port, found protocol %s", tag, name)
	}
	return ports
}
