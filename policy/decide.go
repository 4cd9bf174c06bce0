package policy

import "fmt"

// Decision is what becomes of a packet. With neither an exemption nor an entry the default action decided.
type Decision struct {
	Verdict   Verdict
	Exemption *Exemption // that lets it pass
	Entry     *Entry     // the heaviest that matches, where no exemption does
	Why       string
}

// protocolIPv6 is IPv6 inside another packet (RFC 4213). A filter that does not say so by its number is not meant for it,
// whatever its addresses are (S-022).
const protocolIPv6 = 41

// Decide is what the policy says of a packet that is received on a port of this role, in the order of the documents:
// exemptions, the heaviest filter that matches, the default action. It is the naive oracle of the data plane, which in
// turn sees alone whether addresses are sane and whether a packet came through the tunnel that Require demands.
func (s *SPD) Decide(p Packet, port PortGroup) Decision {
	if x, ok := s.Exempt(p); ok {
		return Decision{Verdict: VerdictPermit, Exemption: x, Why: fmt.Sprintf("exemption %s passes it before any filter", x.Name)}
	}
	e, ok := s.Match(p, port)
	if !ok {
		return s.decideDefault(p)
	}
	d := Decision{Entry: e}
	switch negotiates := e.Verdict == VerdictProtect || e.Verdict == VerdictRequire; {
	case p.Protocol == protocolIPv6 && e.Protocol != protocolIPv6:
		d.Why = fmt.Sprintf("%s is the most specific that matches, but protocol 41 (IPv6 inside) passes only by a filter that names it: block", e.named())
	case negotiates && s.IsGroup(p.Destination):
		d.Why = fmt.Sprintf("%s is the most specific that matches, but IKE cannot protect multicast or broadcast: block", e.named())
	default:
		d.Verdict = e.Verdict
		d.Why = fmt.Sprintf("%s is the most specific that matches: %s", e.named(), e.says())
	}
	return d
}

// decideDefault is what becomes of a packet that no filter matches. To permit it is a decision about IPv4: IPv6, and IPv6
// inside another packet, pass only where a filter says so (S-022).
func (s *SPD) decideDefault(p Packet) Decision {
	switch {
	case p.Protocol == protocolIPv6:
		return Decision{Why: "no filter matches, and protocol 41 (IPv6 inside) passes only by a filter that names it: block"}
	case s.DefaultAction == ActionPermit && !p.Source.Is4():
		return Decision{Why: "no filter matches, and the default action permits IPv4 only: block"}
	case s.DefaultAction == ActionPermit:
		return Decision{Verdict: VerdictPermit, Why: "no filter matches, and the default action is permit"}
	}
	return Decision{Why: "no filter matches, and the default action is block"}
}

// named is the entry for a message.
func (e *Entry) named() string {
	return fmt.Sprintf("filter %s of rule %s", quoted(e.FilterName, e.Origin), quoted(e.Rule, e.RuleOrigin))
}

// says is the entry's verdict for a message.
func (e *Entry) says() string {
	switch e.Verdict {
	case VerdictProtect:
		return fmt.Sprintf("protect, by tunnel %q", e.Tunnel)
	case VerdictRequire:
		return fmt.Sprintf("require, that it came through tunnel %q", e.Tunnel)
	case VerdictStale:
		return "stale, because an own address that it rests on has vanished"
	}
	return e.Verdict.String()
}

// ExemptionCheck is an exemption held against a packet, whether it is in force or not.
type ExemptionCheck struct {
	ExemptionState
	Matches bool
}

// Explanation is why a packet is treated as it is.
type Explanation struct {
	Exemptions []ExemptionCheck // all that any level has
	Matches    []*Entry         // by descending weight: the first decides, unless an exemption does
	Decision   Decision
}

// Explain says what the policy does with a packet, and all that was considered.
func (s *SPD) Explain(p Packet, port PortGroup) Explanation {
	x := Explanation{Decision: s.Decide(p, port)}
	for _, e := range s.exemptions {
		check := ExemptionCheck{ExemptionState: s.stateAt(e, s.Level), Matches: e.Matches(p)}
		if !check.Matches {
			check.Why += "; " + e.mismatch(p)
		}
		x.Exemptions = append(x.Exemptions, check)
	}
	for i := range s.Entries {
		if s.Entries[i].Matches(p, port) {
			x.Matches = append(x.Matches, &s.Entries[i])
		}
	}
	return x
}

// mismatch is what keeps a packet from being the exemption's.
func (x *Exemption) mismatch(p Packet) string {
	var addresses, protocol bool
	for _, f := range x.Filters {
		here := f.Source.Contains(p.Source) && f.Destination.Contains(p.Destination)
		addresses = addresses || here
		protocol = protocol || here && (f.Protocol == 0 || f.Protocol == p.Protocol)
	}
	row := x.shown
	switch {
	case !addresses:
		return fmt.Sprintf("it is for %s to %s, not for %s to %s", row.Source, row.Destination, p.Source, p.Destination)
	case !protocol:
		return fmt.Sprintf("it is for protocol %s, not for %s", row.Protocol, ProtocolName(p.Protocol))
	case !p.HasPorts:
		return fmt.Sprintf("it is for ports %s to %s, and the packet shows none", row.SourcePort, row.DestinationPort)
	default:
		return fmt.Sprintf("it is for ports %s to %s, not for %d to %d", row.SourcePort, row.DestinationPort, p.SourcePort, p.DestinationPort)
	}
}
