package pipeline

import (
	"encoding/binary"
	"net/netip"
)

// ICMPv6 types that the gateway sends or must recognise (RFC 4443, RFC 4861).
const (
	icmp6TooBig        = 2
	icmp6TimeExceeded  = 3
	icmp6FirstInfo     = 128 // types below are errors (RFC 4443 section 2.1)
	icmp6Echo          = 128
	icmp6EchoReply     = 129
	icmp6Redirect      = 137
	icmp6Solicitation  = 135
	icmp6Advertisement = 136

	icmp6HopLimit = 64
)

// icmp6Message is a packet with one ICMPv6 message; rest is what follows the checksum.
func icmp6Message(source, destination netip.Addr, hopLimit, typ uint8, rest ...[]byte) ipv6 {
	b := make([]byte, ipv6HeaderLen+4)
	b[ipv6HeaderLen] = typ
	for _, r := range rest {
		b = append(b, r...)
	}
	putIPv6(b, protocolICMPv6, hopLimit, source, destination)
	binary.BigEndian.PutUint16(b[ipv6HeaderLen+2:], checksum6(b, protocolICMPv6, b[ipv6HeaderLen:]))
	return b
}

// icmp6Body is the ICMPv6 message of a packet, if it carries a whole and sound one.
func icmp6Body(p ipv6) ([]byte, bool) {
	protocol, body := p.upper()
	return body, protocol == protocolICMPv6 && len(body) >= icmpHeaderLen && checksum6(p, protocol, body) == 0
}

// echoReply6 answers an echo request addressed to the gateway (RFC 4443 section 4.2).
func echoReply6(request ipv6) (ipv6, bool) {
	body, ok := icmp6Body(request)
	if !ok || body[0] != icmp6Echo || body[1] != 0 || !singleHost6(request.source()) || request.destination().IsMulticast() {
		return nil, false
	}
	return icmp6Message(request.destination(), request.source(), icmp6HopLimit, icmp6EchoReply, body[4:]), true
}

// timeExceeded6 builds the error for a packet whose hop limit ran out on the way.
func timeExceeded6(original ipv6, source netip.Addr) (ipv6, bool) {
	return icmp6Error(original, source, icmp6TimeExceeded, 0)
}

// packetTooBig builds the error for a packet that is longer than mtu (RFC 4443 section 3.2).
func packetTooBig(original ipv6, source netip.Addr, mtu int) (ipv6, bool) {
	return icmp6Error(original, source, icmp6TooBig, uint32(mtu))
}

// icmp6Error quotes as much of the packet as fits into the minimum MTU (RFC 4443 section 2.4 c).
func icmp6Error(original ipv6, source netip.Addr, typ uint8, rest uint32) (ipv6, bool) {
	if !mayAnswerWithError6(original) {
		return nil, false
	}
	quote := original[:min(original.totalLen(), len(original), ipv6MinMTU-ipv6HeaderLen-icmpHeaderLen)]
	return icmp6Message(source, original.source(), icmp6HopLimit, typ, binary.BigEndian.AppendUint32(nil, rest), quote), true
}

// mayAnswerWithError6 applies RFC 4443 section 2.4 e: no error about an ICMPv6 error or a redirect, nor a packet to a group
// or from what is not one host. Packet too big might be sent about a group's packet, but the gateway forwards none.
func mayAnswerWithError6(p ipv6) bool {
	if !singleHost6(p.source()) || p.destination().IsMulticast() {
		return false
	}
	protocol, body := p.upper()
	return protocol != protocolICMPv6 || len(body) > 0 && !tellsOfError6(body[0])
}

// tellsOfError6 reports whether messages of a type are about another packet.
func tellsOfError6(icmpType uint8) bool {
	return icmpType < icmp6FirstInfo || icmpType == icmp6Redirect
}

// singleHost6 reports whether a can be one host's address.
func singleHost6(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6()
}
