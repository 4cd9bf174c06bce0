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
	return r.First <= other.First && other.Last <= r.Last
}

// Intersect is the range of the ports in both.
func (r PortRange) Intersect(other PortRange) (PortRange, bool) {
	both := PortRange{First: max(r.First, other.First), Last: min(r.Last, other.Last)}
	return both, both.First <= both.Last
}

// String is "any", one number, or "first-last".
func (r PortRange) String() string {
	switch {
	case r == AnyPort:
		return "any"
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

// Selector describes the traffic of one Child SA from the gateway's own side (RFC 4301, section 4.4.1.1).
type Selector struct {
	Local, Remote         AddrRange
	Protocol              uint8 // IANA protocol number, 0 is any
	LocalPort, RemotePort PortRange
}

// Packet is the 5-tuple of a packet. HasPorts is false where the packet carries no readable ports.
type Packet struct {
	Source, Destination         netip.Addr
	Protocol                    uint8
	SourcePort, DestinationPort uint16
	HasPorts                    bool
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
	return s.Local.Contains(p.Source) && s.Remote.Contains(p.Destination) &&
		(s.Protocol == 0 || s.Protocol == p.Protocol) &&
		s.LocalPort.matches(p.SourcePort, p.HasPorts) && s.RemotePort.matches(p.DestinationPort, p.HasPorts)
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
