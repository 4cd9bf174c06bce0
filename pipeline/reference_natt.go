package pipeline

import (
	"encoding/binary"
	"net/netip"
)

// takesUDP reports whether ESP in UDP is the gateway's although no IKE is exempt that shares its port.
func (r *reference) takesUDP(j *journey, to target) bool {
	if to != ownAddress || j.tuple.Protocol != protocolUDP || j.tuple.DestinationPort != portIKENATT || r.withoutIKE[j.port] {
		return false
	}
	for _, sa := range r.inbound {
		if sa.child.UDPEncap {
			return true
		}
	}
	return false
}

// behindNAT gives a packet in transport mode that came across a NAT the source that was agreed on, and what it carries a checksum
// that is right with it (RFC 3948 section 3.1.2, procedure b).
func behindNAT(ip []byte, source netip.Addr) {
	at, headers := 12, int(ip[0]&15)*4
	if isIPv6(ip) {
		at, headers = 8, headersOf(ip)
	}
	copy(ip[at:], source.AsSlice())
	protocol, addresses := ip[9], ip[12:20]
	if isIPv6(ip) {
		protocol, _ = ipv6(ip).upper()
		addresses = ip[8:40]
	} else {
		setHeaderChecksum(ip)
	}
	upper := ip[headers:]
	field, least := 16, 20 // TCP
	switch protocol {
	case protocolTCP:
	case protocolUDP:
		if field, least = 6, udpHeaderLen; len(upper) < least || binary.BigEndian.Uint16(upper[6:]) == 0 {
			return
		}
		length := int(binary.BigEndian.Uint16(upper[4:]))
		if length < udpHeaderLen || length > len(upper) {
			return
		}
		upper = upper[:length]
	case protocolICMPv6:
		field, least = 2, icmpHeaderLen
		if !isIPv6(ip) {
			return
		}
	default:
		return
	}
	if len(upper) < least {
		return
	}
	binary.BigEndian.PutUint16(upper[field:], 0)
	right := fold(sum(sum(uint32(protocol)+uint32(len(upper)), addresses), upper))
	if right == 0 && protocol == protocolUDP {
		right = 0xffff
	}
	binary.BigEndian.PutUint16(upper[field:], right)
}
