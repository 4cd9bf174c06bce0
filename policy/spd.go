package policy

import (
	"fmt"
	"net/netip"
)

// Verdict is what happens to a packet that an entry matches. The zero value blocks.
type Verdict int

// The verdicts, the most restrictive first. A filter that negotiates yields Protect in its outbound and Require in its
// inbound direction.
const (
	VerdictBlock   Verdict = iota
	VerdictStale           // dropped: the own address that the filter or its tunnel rests on has vanished (S-011)
	VerdictRequire         // must have come through the tunnel; in clear it is dropped
	VerdictProtect         // must leave through the tunnel; in clear on an unprotected port its source is forged and it is dropped
	VerdictPermit
)

// String is the word that `show filters` prints.
func (v Verdict) String() string {
	switch v {
	case VerdictBlock:
		return "block"
	case VerdictStale:
		return "stale"
	case VerdictProtect:
		return "protect"
	case VerdictRequire:
		return "require"
	case VerdictPermit:
		return "permit"
	default:
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
}

// Entry is one specific filter of a compiled policy.
type Entry struct {
	ID     uint32 // never 0; the same over recompiles for the same rule, filter, direction and expansion, so counters survive
	Weight uint32 // specificity as people read it: heavier means more specific, see weight.go
	Rank   uint32 // strict order for a classifier: 1 is the weakest entry, no two are equal, at most MaxEntries

	Rule, FilterList string
	FilterName       string // the filter's name, or its text where it has none
	Mirror           bool   // the reverse direction of the filter
	Origin           Origin // of the filter
	RuleOrigin       Origin

	Source, Destination         AddrRange
	Protocol                    uint8 // 0 is any
	SourcePort, DestinationPort PortRange
	Ports                       PortGroup // roles of the receiving port
	Verdict                     Verdict
	Tunnel                      string // Child SA, for Protect and Require, and for Stale where it was one of them

	SourceName, DestinationName string // DNS names that the addresses come from (S-020)

	// Passthrough, for Require only: clear packets pass until the tunnel has its SAs (S-026). Fallback, for Protect and
	// Require: a soft SA may take the tunnel's place where the peer knows no IPsec (S-025).
	Passthrough, Fallback bool
}

// Matches reports whether a packet received on a port of this role is the entry's.
func (e *Entry) Matches(p Packet, port PortGroup) bool {
	return e.Ports&port != 0 &&
		e.Source.Contains(p.Source) && e.Destination.Contains(p.Destination) &&
		(e.Protocol == 0 || e.Protocol == p.Protocol) &&
		e.SourcePort.matches(p.SourcePort, p.HasPorts) && e.DestinationPort.matches(p.DestinationPort, p.HasPorts)
}

// Selector is the entry's traffic seen from the gateway's side.
func (e *Entry) Selector() Selector {
	if e.Verdict == VerdictRequire {
		return Selector{Local: e.Destination, Remote: e.Source, Protocol: e.Protocol, LocalPort: e.DestinationPort, RemotePort: e.SourcePort}
	}
	return Selector{Local: e.Source, Remote: e.Destination, Protocol: e.Protocol, LocalPort: e.SourcePort, RemotePort: e.DestinationPort}
}

// SPD is a compiled policy. It is never changed after Compile, so any number of readers may share it.
type SPD struct {
	Policy        string
	Entries       []Entry // descending rank, hence descending weight
	DefaultAction ActionKind
	Exemptions    []Exemption // in force; each comes before any entry
	NeedsIKE      bool        // the policy has something to negotiate, and IKE is enabled
	MainMode      []MainModeFilter
	Level         ExemptionLevel
	StaleTunnels  map[string]netip.Addr // that lost their own outer address, and which it was (S-011)

	exemptions  []Exemption  // all that any level has
	broadcasts  []netip.Addr // of the attached subnets
	ikeDisabled bool
}

// Match is the most specific entry for a packet received on a port of this role: the naive oracle of every classifier
// (S-015). Without one DefaultAction decides.
func (s *SPD) Match(p Packet, port PortGroup) (e *Entry, ok bool) {
	for i := range s.Entries {
		if s.Entries[i].Matches(p, port) {
			return &s.Entries[i], true
		}
	}
	return nil, false
}

// Selectors is the traffic of each tunnel in the order of weight, as IKE proposes it.
func (s *SPD) Selectors() map[string][]Selector {
	selectors := map[string][]Selector{}
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Verdict == VerdictProtect {
			selectors[e.Tunnel] = append(selectors[e.Tunnel], e.Selector())
		}
	}
	return selectors
}
