package pipeline

import (
	"encoding/binary"
	"net/netip"

	"sallyport/policy"
)

// Constants of IPv6 (RFC 8200). Lengths are in bytes.
const (
	ipv6HeaderLen = 40
	ipv6MinMTU    = 1280 // RFC 8200 section 5

	protocolIPv6   = 41
	protocolICMPv6 = 58

	nextHopByHop    = 0
	nextRouting     = 43
	nextFragment    = 44
	nextDestination = 60

	fragmentHeaderLen = 8

	maxExtensions = 8 // headers in a chain
)

// ipv6 is an IPv6 packet, fixed header first. Accessors assume that parseIPv6 accepted it, here or in the fast path.
type ipv6 []byte

func (p ipv6) trafficClass() uint8     { return p[0]<<4 | p[1]>>4 }
func (p ipv6) totalLen() int           { return ipv6HeaderLen + int(binary.BigEndian.Uint16(p[4:])) }
func (p ipv6) hopLimit() uint8         { return p[7] }
func (p ipv6) source() netip.Addr      { return netip.AddrFrom16([16]byte(p[8:24])) }
func (p ipv6) destination() netip.Addr { return netip.AddrFrom16([16]byte(p[24:40])) }

// upper is the protocol behind the extension headers and what it carries.
func (p ipv6) upper() (protocol uint8, payload []byte) {
	next, at := p[6], ipv6HeaderLen
	for isExtension(next) || next == nextFragment {
		n := fragmentHeaderLen
		if next != nextFragment {
			n = 8 + 8*int(p[at+1])
		}
		next, at = p[at], at+n
	}
	return next, p[at:p.totalLen()]
}

// isExtension reports a header that says its own length, and what follows it.
func isExtension(next uint8) bool {
	return next == nextHopByHop || next == nextRouting || next == nextDestination
}

// fragmentHeader is where the fragment header begins, or what the extension headers lead to if there is none.
func (p ipv6) fragmentHeader() int {
	next, at := p[6], ipv6HeaderLen
	for isExtension(next) {
		next, at = p[at], at+8+8*int(p[at+1])
	}
	return at
}

// nextAt is which byte says what follows the headers that end at `end`.
func (p ipv6) nextAt(end int) int {
	field, next := 6, ipv6HeaderLen
	for next < end {
		n := fragmentHeaderLen
		if p[field] != nextFragment {
			n = 8 + 8*int(p[next+1])
		}
		field, next = next, next+n
	}
	return field
}

// isIPv6 tells apart the packets that the fast path has parsed.
func isIPv6(ip []byte) bool { return len(ip) > 0 && ip[0]>>4 == 6 }

// ipLength is how many bytes a packet of either version says that it has, 0 for what is none.
func ipLength(ip []byte) int {
	switch {
	case len(ip) < ipv4HeaderLen:
		return 0
	case isIPv6(ip):
		return ipv6(ip).totalLen()
	default:
		return ipv4(ip).totalLen()
	}
}

// tupleOf is the 5-tuple that filters see, of a packet of either version.
func tupleOf(ip []byte) policy.Packet {
	if !isIPv6(ip) {
		return packetOf(ip)
	}
	p := ipv6(ip)
	protocol, payload := p.upper()
	t := policy.Packet{Source: p.source(), Destination: p.destination(), Protocol: protocol}
	if hasPorts(protocol) && len(payload) >= 4 {
		t.SourcePort, t.DestinationPort, t.HasPorts = binary.BigEndian.Uint16(payload), binary.BigEndian.Uint16(payload[2:]), true
	} else if protocol == protocolICMPv6 && len(payload) >= 2 {
		t.TypeCode, t.HasType = binary.BigEndian.Uint16(payload), true
	}
	return t
}

// etherTypeOf is the EtherType of a packet of either version.
func etherTypeOf(ip []byte) uint16 {
	if isIPv6(ip) {
		return etherTypeIPv6
	}
	return etherTypeIPv4
}

// putIPv6 writes a fixed header at the start of b, whose length is that of the whole packet.
func putIPv6(b []byte, protocol, hopLimit uint8, source, destination netip.Addr) {
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6HeaderLen))
	b[6], b[7] = protocol, hopLimit
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
}

// checksum6 is the checksum of an upper-layer payload with its pseudo-header (RFC 8200 section 8.1); zero over one that
// includes a right checksum.
func checksum6(p ipv6, protocol uint8, payload []byte) uint16 {
	return fold(sum(sum(uint32(protocol)+uint32(len(payload)), p[8:40]), payload))
}
