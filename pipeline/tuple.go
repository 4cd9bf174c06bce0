package pipeline

import (
	"encoding/binary"

	"sallyport/policy"
)

// hasPorts reports the protocols whose header starts with two 16-bit ports: DCCP, SCTP and UDP-Lite as well as TCP and UDP.
func hasPorts(protocol uint8) bool {
	switch protocol {
	case protocolTCP, protocolUDP, 33, 132, 136:
		return true
	}
	return false
}

// packetOf is the 5-tuple that filters see. Ports are there if the packet carries them in full.
func packetOf(p ipv4) policy.Packet {
	t := policy.Packet{Source: p.source(), Destination: p.destination(), Protocol: p.protocol()}
	if body := p[p.headerLen():]; hasPorts(t.Protocol) && !p.later() && len(body) >= 4 {
		t.SourcePort, t.DestinationPort, t.HasPorts = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), true
	} else if t.Protocol == protocolICMP && !p.later() && len(body) >= 2 {
		t.TypeCode, t.HasType = binary.BigEndian.Uint16(body), true
	}
	return t
}
