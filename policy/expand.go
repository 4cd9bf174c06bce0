package policy

import "errors"

// box is the traffic of one specific filter in packet terms.
type box struct {
	Source, Destination         AddrRange
	Protocol                    uint8
	SourcePort, DestinationPort PortRange
}

// reversed is the box of the packets that go the other way.
func (b box) reversed() box {
	return box{Source: b.Destination, Destination: b.Source, Protocol: b.Protocol, SourcePort: b.DestinationPort, DestinationPort: b.SourcePort}
}

// String is the traffic for a message.
func (b box) String() string {
	text := side(b.Source, b.SourcePort) + " to " + side(b.Destination, b.DestinationPort)
	if b.Protocol != 0 {
		text += " " + ProtocolName(b.Protocol)
	}
	return text
}

// draft is an entry on its way into the SPD.
type draft struct {
	Entry
	kind        ActionKind
	authMethods []string    // of the rule, where it negotiates
	manual      bool        // of the rule: its tunnel needs no IKE
	dynamic     bool        // of the default response rule
	forward     box         // the filter as written, also for its mirror image
	specific    specificity // set by weigh
}

// expandRules turns the generic filters of the policy's rules into drafts.
func (c *compiler) expandRules() []*draft {
	var drafts []*draft
	for i := range c.active.Rules {
		rule := &c.active.Rules[i]
		list, action := c.known.lists[rule.FilterList], c.known.actions[rule.FilterAction]
		c.warnRule(rule, list, action)
		for j := range list.Filters {
			f := &list.Filters[j]
			like := prototype(rule, list, f, action)
			like.Fallback = like.Fallback && !c.set.SoftDenied
			expanded := c.expandFilter(f, like)
			if len(expanded) == 0 {
				c.warn([]string{rule.Name}, "rule %s: filter %s of list %q matches nothing: the gateway has no address of its own of the IP version needed",
					quoted(rule.Name, rule.Origin), quoted(f.label(), f.Origin), list.Name)
			}
			drafts = append(drafts, expanded...)
		}
	}
	return drafts
}

// prototype is the outbound form of an entry without its traffic.
func prototype(rule *Rule, list *FilterList, f *Filter, action *FilterAction) draft {
	d := draft{kind: action.Kind}
	d.Rule, d.FilterList, d.FilterName, d.Ports = rule.Name, list.Name, f.label(), rule.ports()
	d.Origin, d.RuleOrigin = f.Origin, rule.Origin
	d.SourceName, d.DestinationName = f.Source.name, f.Destination.name
	switch action.Kind {
	case ActionNegotiate:
		d.Verdict, d.Tunnel, d.authMethods, d.manual = VerdictProtect, rule.Tunnel, rule.AuthMethods, rule.Manual
		d.Fallback, d.Passthrough = action.FallbackClear, action.InboundPassthrough
	case ActionPermit:
		d.Verdict = VerdictPermit
	default:
		d.Verdict = VerdictBlock
	}
	return d
}

// place is one range that a side of a filter stands for.
type place struct {
	span  AddrRange
	stale bool // an own address no longer: its filters only hold the place (S-011)
}

// places is the ranges of a side, those of vanished own addresses included.
func (c *compiler) places(a AddressSpec) []place {
	var all []place
	for _, r := range a.expand(c.env) {
		all = append(all, place{span: r})
	}
	if a.kind == addressMine {
		for _, r := range hosts(c.env.vanished()) {
			all = append(all, place{span: r, stale: true})
		}
	}
	return all
}

// expandFilter is the specific filters of one generic filter: one per pair of addresses of the same IP version, and
// one more for the reverse direction where that is wanted.
func (c *compiler) expandFilter(f *Filter, like draft) []*draft {
	var drafts []*draft
	for _, source := range c.places(f.Source) {
		for _, destination := range c.places(f.Destination) {
			if source.span.Is4() != destination.span.Is4() {
				continue
			}
			d := like
			d.forward = box{Source: source.span, Destination: destination.span, Protocol: f.Protocol, SourcePort: f.sourcePort(), DestinationPort: f.destinationPort()}
			if (source.stale || destination.stale) && d.kind != ActionBlock {
				d.Verdict, d.Tunnel, d.Passthrough, d.Fallback = VerdictStale, "", false, false
			}
			drafts = append(drafts, d.directions(f.Mirrored)...)
		}
	}
	return drafts
}

// directions is the draft, and its mirror image if it is wanted or the draft negotiates.
func (d *draft) directions(mirrored bool) []*draft {
	outbound := *d
	outbound.setTraffic(d.forward)
	outbound.Passthrough = false
	drafts := []*draft{&outbound}
	if mirrored && d.forward.reversed() != d.forward || d.kind == ActionNegotiate {
		inbound := *d
		inbound.Mirror = true
		inbound.setTraffic(d.forward.reversed())
		if inbound.Verdict == VerdictProtect {
			inbound.Verdict = VerdictRequire
		}
		drafts = append(drafts, &inbound)
	}
	return drafts
}

func (d *draft) setTraffic(b box) {
	d.Source, d.Destination, d.Protocol, d.SourcePort, d.DestinationPort = b.Source, b.Destination, b.Protocol, b.SourcePort, b.DestinationPort
	if d.Mirror {
		d.SourceName, d.DestinationName = d.DestinationName, d.SourceName
	}
}

func (d *draft) traffic() box {
	return box{Source: d.Source, Destination: d.Destination, Protocol: d.Protocol, SourcePort: d.SourcePort, DestinationPort: d.DestinationPort}
}

// expandDynamic turns what peers proposed to the default response rule into drafts.
func (c *compiler) expandDynamic() []*draft {
	response := &c.active.DefaultResponse
	if !response.Enabled {
		return nil
	}
	var drafts []*draft
	seen := map[DynamicFilter]bool{}
	for _, f := range c.env.Dynamic {
		if err := c.usable(f); err != nil {
			c.warn([]string{DefaultResponseRule}, "rule %q: what the peer of tunnel %q proposed cannot be a filter (%s): %s", DefaultResponseRule, f.Tunnel, f.Selector, err)
			continue
		}
		if seen[f] {
			continue
		}
		seen[f] = true
		d := draft{kind: ActionNegotiate, dynamic: true, authMethods: response.AuthMethods}
		d.Rule, d.FilterList, d.FilterName, d.Ports = DefaultResponseRule, DynamicList, f.Selector.String(), PortsAll
		d.Verdict, d.Tunnel = VerdictProtect, f.Tunnel
		s := f.Selector
		d.forward = box{Source: s.Local, Destination: s.Remote, Protocol: s.Protocol, SourcePort: s.LocalPort, DestinationPort: s.RemotePort}
		drafts = append(drafts, d.directions(true)...)
	}
	return drafts
}

// usable says why a peer's proposal cannot become a filter, or nil. A peer's mistake must not make the policy invalid.
func (c *compiler) usable(f DynamicFilter) error {
	s := f.Selector
	filter := Filter{Source: Range(s.Local), Destination: Range(s.Remote), Protocol: s.Protocol, SourcePort: s.LocalPort, DestinationPort: s.RemotePort}
	faults := append(checkFilter(&filter), checkNegotiable(&filter, c.env.broadcasts())...)
	switch {
	case len(faults) > 0:
		return faults[0]
	case f.Tunnel == "":
		return errors.New("it has no tunnel")
	}
	return nil
}
