package policy

import (
	"fmt"
	"net/netip"
)

// PortRange is an inclusive range of TCP or UDP port numbers. Its zero value is port 0 alone; any port is AnyPort.
type PortRange struct{ First, Last uint16 }

// AnyPort is every port number, and also stands for "has no ports" where a packet carries none.
var AnyPort = PortRange{First: 0, Last: 65535}

// Contains reports whether the port lies in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// ContainsRange reports whether every port of other lies in the range.
func (r PortRange) ContainsRange(other PortRange) bool {
	return r == AnyPort || r == other || other != OpaquePort && r.First <= other.First && other.Last <= r.Last
}

// Intersect is the range of the ports in both.
func (r PortRange) Intersect(other PortRange) (PortRange, bool) {
	switch {
	case r == AnyPort:
		return other, true
	case other == AnyPort || r == other:
		return r, true
	}
	both := PortRange{First: max(r.First, other.First), Last: min(r.Last, other.Last)}
	return both, both.First <= both.Last
}

// String is "any", one number, or "first-last".
func (r PortRange) String() string {
	switch {
	case r == AnyPort:
		return "any"
	case r == OpaquePort:
		return "opaque"
	case r.First == r.Last:
		return fmt.Sprint(r.First)
	default:
		return fmt.Sprintf("%d-%d", r.First, r.Last)
	}
}

// matches holds a packet's port against the range. A packet without ports (another protocol, or a fragment beyond the
// first) is in AnyPort only: RFC 4301, section 4.4.1.1 calls its ports OPAQUE.
func (r PortRange) matches(port uint16, hasPorts bool) bool {
	return r == AnyPort || hasPorts && r.Contains(port)
}

// OpaquePort is no port that could be seen (RFC 4301, section 4.4.1.1), as a TS payload writes it. With ICMP it says that a side sends none.
var OpaquePort = PortRange{First: 65535, Last: 0}

// Selector describes the traffic of one Child SA from the gateway's own side (RFC 4301, section 4.4.1.1).
type Selector struct {
	Local, Remote         AddrRange
	Protocol              uint8 // IANA protocol number, 0 is any
	LocalPort, RemotePort PortRange
}

// typed reports whether the selector limits what ICMP messages each side may send: of ICMP a port is type and code, the type in its high octet, and
// the sender's side counts (RFC 4301, section 4.4.1.1).
func (s Selector) typed() bool {
	return (s.Protocol == protocolICMP || s.Protocol == protocolICMPv6) && (s.LocalPort != AnyPort || s.RemotePort != AnyPort)
}

// Sends is the range of types and codes of the ICMP messages that a side may send, and false where nothing of ICMP limits the selector. OpaquePort is none.
func (s Selector) Sends(local bool) (PortRange, bool) {
	if local {
		return s.LocalPort, s.typed()
	}
	return s.RemotePort, s.typed()
}

const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// Packet is the 5-tuple of a packet. HasPorts is false where the packet carries no readable ports.
type Packet struct {
	Source, Destination         netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16
	HasPorts                    bool

	TypeCode uint16 // of an ICMP message, the type in the high octet
	HasType  bool
}

// Contains reports whether all traffic of other is traffic of the selector.
func (s Selector) Contains(other Selector) bool {
	return s.Local.ContainsRange(other.Local) && s.Remote.ContainsRange(other.Remote) &&
		(s.Protocol == 0 || s.Protocol == other.Protocol) &&
		s.LocalPort.ContainsRange(other.LocalPort) && s.RemotePort.ContainsRange(other.RemotePort)
}

// Intersect is the traffic in both selectors, as a responder narrows it (RFC 7296, section 2.9).
func (s Selector) Intersect(other Selector) (Selector, bool) {
	local, localOK := s.Local.Intersect(other.Local)
	remote, remoteOK := s.Remote.Intersect(other.Remote)
	localPort, localPortOK := s.LocalPort.Intersect(other.LocalPort)
	remotePort, remotePortOK := s.RemotePort.Intersect(other.RemotePort)
	protocolOK := s.Protocol == 0 || other.Protocol == 0 || s.Protocol == other.Protocol
	if !localOK || !remoteOK || !localPortOK || !remotePortOK || !protocolOK {
		return Selector{}, false
	}
	return Selector{Local: local, Remote: remote, Protocol: max(s.Protocol, other.Protocol), LocalPort: localPort, RemotePort: remotePort}, true
}

// Matches reports whether the packet belongs to the selector: outbound packets have their source on the local side,
// inbound ones their destination.
func (s Selector) Matches(p Packet, outbound bool) bool {
	if !outbound {
		p.Source, p.Destination = p.Destination, p.Source
		p.SourcePort, p.DestinationPort = p.DestinationPort, p.SourcePort
	}
	if !s.Local.Contains(p.Source) || !s.Remote.Contains(p.Destination) || s.Protocol != 0 && s.Protocol != p.Protocol {
		return false
	}
	if sends, typed := s.Sends(outbound); typed {
		return sends == AnyPort || p.HasType && sends.Contains(p.TypeCode)
	}
	return s.LocalPort.matches(p.SourcePort, p.HasPorts) && s.RemotePort.matches(p.DestinationPort, p.HasPorts)
}

// String is "local === remote" with protocol and ports where they are not any.
func (s Selector) String() string {
	text := side(s.Local, s.LocalPort) + " === " + side(s.Remote, s.RemotePort)
	if s.Protocol != 0 {
		text += " " + ProtocolName(s.Protocol)
	}
	return text
}

// side is an address range, with its ports in brackets where they are limited.
func side(r AddrRange, ports PortRange) string {
	if ports == AnyPort {
		return r.String()
	}
	return fmt.Sprintf("%s[%s]", r, ports)
}
