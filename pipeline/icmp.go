package pipeline

import (
	"encoding/binary"
	"net/netip"

	"sallyport/policy"
)

// ICMP types and codes that the gateway sends or must recognise (RFC 792).
const (
	icmpEchoReply     = 0
	icmpUnreachable   = 3
	icmpSourceQuench  = 4
	icmpRedirect      = 5
	icmpEcho          = 8
	icmpTimeExceeded  = 11
	icmpParameter     = 12
	codeFragmentation = 4 // RFC 792: fragmentation needed and DF set

	// RFC 1812 section 4.3.2.3: quote as much as fits into 576 bytes.
	icmpErrorLimit = 576
	// RFC 1812 section 4.3.2.5: errors carry precedence 6, internetwork control.
	icmpErrorTOS = 0xc0
	icmpTTL      = 64

	// RFC 1812 section 4.3.2.8: errors are rate limited. For each port, because ports do not share a victim.
	icmpErrorsPerSecond = 100
	icmpErrorBurst      = 50
	icmpEchoPerSecond   = 1000
	icmpEchoBurst       = 200
)

// echoReply answers an ICMP echo request addressed to the gateway, with source and destination exchanged (RFC 1122
// section 3.2.2.6). It reports false when the packet is not a sound, whole echo request.
func echoReply(request ipv4) ([]byte, bool) {
	if request.protocol() != protocolICMP || request.fragmented() {
		return nil, false
	}
	body := request.payload()
	if len(body) < icmpHeaderLen || body[0] != icmpEcho || body[1] != 0 || checksum(body) != 0 {
		return nil, false
	}
	reply := make([]byte, ipv4HeaderLen+len(body))
	copy(reply[ipv4HeaderLen:], body)
	putIPv4(reply, request[1], icmpTTL, protocolICMP, 0, request.destination(), request.source())
	putICMP(reply[ipv4HeaderLen:], icmpEchoReply, 0)
	return reply, true
}

// timeExceeded builds the error for a packet whose TTL ran out here; source is the address of the port it came in by.
func timeExceeded(original ipv4, source netip.Addr) ([]byte, bool) {
	return icmpError(original, source, icmpTimeExceeded, 0, 0)
}

// fragmentationNeeded builds the error for a packet with DF that is longer than mtu (RFC 1191 section 4).
func fragmentationNeeded(original ipv4, source netip.Addr, mtu int) ([]byte, bool) {
	return icmpError(original, source, icmpUnreachable, codeFragmentation, uint32(min(mtu, 0xffff)))
}

func icmpError(original ipv4, source netip.Addr, typ, code uint8, rest uint32) ([]byte, bool) {
	if !mayAnswerWithError(original) {
		return nil, false
	}
	quote := original[:min(original.totalLen(), len(original), icmpErrorLimit-ipv4HeaderLen-icmpHeaderLen)]
	b := make([]byte, ipv4HeaderLen+icmpHeaderLen+len(quote))
	copy(b[ipv4HeaderLen+icmpHeaderLen:], quote)
	putIPv4(b, icmpErrorTOS, icmpTTL, protocolICMP, 0, source, original.source())
	binary.BigEndian.PutUint32(b[ipv4HeaderLen+4:], rest)
	putICMP(b[ipv4HeaderLen:], typ, code)
	return b, true
}

func putICMP(b []byte, typ, code uint8) {
	b[0], b[1], b[2], b[3] = typ, code, 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
}

// mayAnswerWithError applies RFC 1812 section 4.3.2.7: no error about an ICMP error, a packet to a group or to all, a
// later fragment, or a source that does not name one host. A link-layer broadcast never gets this far: parse drops it.
func mayAnswerWithError(p ipv4) bool {
	source, destination := p.source(), p.destination()
	switch {
	case p.later(),
		!singleHost(source), source.IsLoopback(),
		!singleHost(destination):
		return false
	case p.protocol() != protocolICMP:
		return true
	}
	body := p[p.headerLen():]
	return len(body) > 0 && !tellsOfError(body[0])
}

// tellsOfError reports whether messages of a type are about another packet (RFC 1122 section 3.2.2).
func tellsOfError(icmpType uint8) bool {
	switch icmpType {
	case icmpUnreachable, icmpSourceQuench, icmpRedirect, icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

// isICMPError reports whether a packet is about another one, or too short to say.
func isICMPError(p policy.Packet) bool {
	switch p.Protocol {
	case protocolICMP:
		return !p.HasType || tellsOfError(uint8(p.TypeCode>>8))
	case protocolICMPv6:
		return !p.HasType || tellsOfError6(uint8(p.TypeCode>>8))
	}
	return false
}

// singleHost reports whether a can be one host's address: not 0/8, not a group, not class E with the limited broadcast.
func singleHost(a netip.Addr) bool {
	b := a.As4()
	return b[0] != 0 && b[0] < 224
}
