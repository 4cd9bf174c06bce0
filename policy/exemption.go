package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Exemption is traffic that passes whatever the filters say: one row of what is shown, counted like any filter (S-032).
type Exemption struct {
	ID      uint32 // counter, never 0, stable over recompiles and levels
	Name    string
	Kind    ExemptionKind
	Inbound bool           // toward the gateway; the row of IPv6 has both directions, see Direction
	Filters []ExemptFilter // one for each own address, and of each pair of ports

	shown Row // with the gateway's addresses in words, without its number
}

// ExemptFilter is one specific filter of an exemption, in packet terms.
type ExemptFilter struct {
	Source, Destination         AddrRange
	Protocol                    uint8 // 0 is any
	SourcePort, DestinationPort PortRange
}

// Matches reports whether the packet is the filter's.
func (f ExemptFilter) Matches(p Packet) bool {
	return f.Source.Contains(p.Source) && f.Destination.Contains(p.Destination) && (f.Protocol == 0 || f.Protocol == p.Protocol) &&
		f.SourcePort.matches(p.SourcePort, p.HasPorts) && f.DestinationPort.matches(p.DestinationPort, p.HasPorts)
}

// String is "source > destination" with ports in brackets, and the protocol.
func (f ExemptFilter) String() string { return box(f).String() }

// Matches reports whether the packet is the exemption's.
func (x *Exemption) Matches(p Packet) bool {
	return slices.ContainsFunc(x.Filters, func(f ExemptFilter) bool { return f.Matches(p) })
}

// Row is the exemption as one line, with the gateway's addresses in words.
func (x *Exemption) Row() Row {
	row := x.shown
	row.ID = x.ID
	return row
}

// Direction is "in", "out" or "both", seen from the gateway.
func (x *Exemption) Direction() string {
	switch {
	case x.Kind == ExemptIPv6:
		return "both"
	case x.Inbound:
		return "in"
	default:
		return "out"
	}
}

// The ports of what is exempt: RFC 7296, section 2, and RFC 3948 for the port that passes NAT; RFC 4120, section 7.2.
const (
	protocolTCP  = 6
	protocolUDP  = 17
	protocolRSVP = 46 // RFC 2205
	portKerberos = 88
	portIKE      = 500
	portIKENATT  = 4500
)

// exemptionRow is a row before the gateway's addresses are known. It names the gateway's own addresses on one side, so
// transit traffic is filtered like any other at every level (S-033).
type exemptionRow struct {
	name     string
	kind     ExemptionKind
	inbound  bool
	protocol uint8
	ports    []portPair
}

// portPair is the port at the gateway and the one at the other end.
type portPair struct{ mine, theirs PortRange }

var (
	kerberosPort = PortRange{First: portKerberos, Last: portKerberos}
	anyPorts     = []portPair{{AnyPort, AnyPort}}
	askKerberos  = []portPair{{AnyPort, kerberosPort}} // the gateway is the client
	giveKerberos = []portPair{{kerberosPort, AnyPort}} // the gateway is the server
	// Toward 4500 the peer's port is free, because a NAT between the two changes it (C-07). Toward 500 it is not (S-034): what comes there from another port is filtered, and
	// tells nonetheless that a peer is not silent (pipeline.Handler.Heard).
	ikePorts = []portPair{{PortRange{portIKE, portIKE}, PortRange{portIKE, portIKE}}, {PortRange{portIKENATT, portIKENATT}, AnyPort}}
)

// exemptionRows are the 17 filters of level 0 (S-032), in the order in which they are shown and met. IKE comes first: a NAT
// may give a peer any port, Kerberos' too. What the gateway sends to a group comes before what anybody sends to it, so that
// each is counted in its own row.
var exemptionRows = []exemptionRow{
	{"ike-outbound", ExemptIKE, false, protocolUDP, ikePorts},
	{"ike-inbound", ExemptIKE, true, protocolUDP, ikePorts},
	{"kerberos-udp-request-outbound", ExemptKerberos, false, protocolUDP, askKerberos},
	{"kerberos-udp-reply-inbound", ExemptKerberos, true, protocolUDP, askKerberos},
	{"kerberos-udp-request-inbound", ExemptKerberos, true, protocolUDP, giveKerberos},
	{"kerberos-udp-reply-outbound", ExemptKerberos, false, protocolUDP, giveKerberos},
	{"kerberos-tcp-request-outbound", ExemptKerberos, false, protocolTCP, askKerberos},
	{"kerberos-tcp-reply-inbound", ExemptKerberos, true, protocolTCP, askKerberos},
	{"kerberos-tcp-request-inbound", ExemptKerberos, true, protocolTCP, giveKerberos},
	{"kerberos-tcp-reply-outbound", ExemptKerberos, false, protocolTCP, giveKerberos},
	{"rsvp-outbound", ExemptRSVP, false, protocolRSVP, anyPorts},
	{"rsvp-inbound", ExemptRSVP, true, protocolRSVP, anyPorts},
	{"multicast-outbound", ExemptMulticast, false, 0, anyPorts},
	{"multicast-inbound", ExemptMulticast, true, 0, anyPorts},
	{"broadcast-outbound", ExemptBroadcast, false, 0, anyPorts},
	{"broadcast-inbound", ExemptBroadcast, true, 0, anyPorts},
	{"ipv6", ExemptIPv6, false, 0, anyPorts},
}

// exemptions is every row for the gateway's addresses, whatever the level.
func exemptions(env Environment) []Exemption {
	rows := make([]Exemption, 0, len(exemptionRows))
	for _, row := range exemptionRows {
		rows = append(rows, row.expand(env))
	}
	return rows
}

// expand is the row's filters for the gateway's addresses.
func (row *exemptionRow) expand(env Environment) Exemption {
	x := Exemption{Name: row.name, Kind: row.kind, Inbound: row.inbound}
	mine, theirs := hosts(env.addresses()), []AddrRange{AnyIPv4(), AnyIPv6()}
	switch row.kind {
	case ExemptMulticast, ExemptBroadcast:
		x.shown = row.show("my", row.kind.String())
		theirs = multicast
		if row.kind == ExemptBroadcast {
			theirs = hosts(env.broadcasts())
		}
		if row.inbound { // the group stands for the gateway, and the source is anybody
			x.shown = row.show("any", row.kind.String())
			mine = []AddrRange{AnyIPv4(), AnyIPv6()}
		}
		x.Filters = row.pair(mine, theirs, false)
	case ExemptIPv6:
		x.shown = row.show("my IPv6", "any IPv6")
		mine = slices.DeleteFunc(mine, AddrRange.Is4)
		x.Filters = append(row.pair(mine, theirs, false), row.pair(mine, theirs, true)...)
	default:
		x.shown = row.show("my", "any")
		if row.inbound {
			x.shown = x.shown.reversed()
		}
		x.Filters = row.pair(mine, theirs, row.inbound)
	}
	return x
}

// show is the row in words, seen from the gateway. Where it has several pairs of ports, a pair stands at the same place
// of both lists.
func (row *exemptionRow) show(source, destination string) Row {
	var mine, theirs []string
	for _, ports := range row.ports {
		mine, theirs = append(mine, ports.mine.String()), append(theirs, ports.theirs.String())
	}
	return Row{
		Specificity: "before all filters", Rule: exemptRule, Filter: row.name, Source: source, Destination: destination, Protocol: ProtocolName(row.protocol),
		SourcePort: strings.Join(mine, "|"), DestinationPort: strings.Join(theirs, "|"), Ports: PortsAll.String(), Verdict: VerdictPermit.String(),
	}
}

// pair is a filter for each pair of ranges of the same IP version and each pair of ports, reversed if wanted.
func (row *exemptionRow) pair(mine, theirs []AddrRange, reversed bool) []ExemptFilter {
	var filters []ExemptFilter
	for _, own := range mine {
		for _, other := range theirs {
			if own.Is4() != other.Is4() {
				continue
			}
			for _, ports := range row.ports {
				b := box{Source: own, Destination: other, Protocol: row.protocol, SourcePort: ports.mine, DestinationPort: ports.theirs}
				if reversed {
					b = b.reversed()
				}
				filters = append(filters, ExemptFilter(b))
			}
		}
	}
	return filters
}

// ExemptionState is an exemption and whether it is in force, with the reason.
type ExemptionState struct {
	Exemption Exemption
	InForce   bool
	Why       string
}

// ExemptionsAt is the rows of a level, as they would be with it, those included that the policy has no need of; all of
// what is exempt anywhere is at Level0.
func (s *SPD) ExemptionsAt(level ExemptionLevel) []ExemptionState {
	var states []ExemptionState
	for _, x := range s.exemptions {
		if level.exempts(x.Kind) {
			states = append(states, s.stateAt(x, level))
		}
	}
	return states
}

// stateAt says whether an exemption is in force at a level, and why.
func (s *SPD) stateAt(x Exemption, level ExemptionLevel) ExemptionState {
	state := ExemptionState{Exemption: x}
	switch {
	case !level.exempts(x.Kind):
		state.Why = fmt.Sprintf("level %s does not exempt %s, only %s", level, x.Kind, plural("level", levelsOf(x.Kind)))
	case x.Kind == ExemptIKE && s.ikeDisabled:
		state.Why = "IKE is disabled"
	case x.Kind == ExemptIKE && !s.NeedsIKE:
		state.Why = "the active policy has nothing to negotiate" // S-034
	default:
		state.InForce, state.Why = true, fmt.Sprintf("exempt at %s", plural("level", levelsOf(x.Kind)))
	}
	return state
}

// plural is the noun, with an s where the list after it has more than one item.
func plural(noun, items string) string {
	if strings.Contains(items, ", ") {
		noun += "s"
	}
	return noun + " " + items
}

// Exempt is the exemption in force that lets the packet pass, if there is one.
func (s *SPD) Exempt(p Packet) (*Exemption, bool) {
	for i := range s.Exemptions {
		if s.Exemptions[i].Matches(p) {
			return &s.Exemptions[i], true
		}
	}
	return nil, false
}

// IsGroup reports whether the address is multicast or a broadcast address of an attached subnet (S-104).
func (s *SPD) IsGroup(a netip.Addr) bool { return isGroup(HostRange(a), s.broadcasts) }
