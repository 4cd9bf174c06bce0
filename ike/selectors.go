package ike

import (
	"slices"
	"strings"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// maxSelectors bounds the selectors of one Child SA, configured or narrowed.
const maxSelectors = 128

// The protocols whose ports are types and codes (RFC 7296 3.13.1).
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// endpoint is one side of a selector, as a TS payload carries it.
type endpoint struct {
	addresses policy.AddrRange
	protocol  uint8
	ports     policy.PortRange
}

func localEnd(s policy.Selector) endpoint  { return endpoint{s.Local, s.Protocol, s.LocalPort} }
func remoteEnd(s policy.Selector) endpoint { return endpoint{s.Remote, s.Protocol, s.RemotePort} }

func (e endpoint) wire() wire.TrafficSelector {
	kind := wire.TSIPv6Range
	if e.addresses.Is4() {
		kind = wire.TSIPv4Range
	}
	return wire.TrafficSelector{Type: kind, Protocol: e.protocol, StartPort: e.ports.First, EndPort: e.ports.Last,
		Start: e.addresses.First, End: e.addresses.Last}
}

// endpoints reads a TS payload. Selectors of unknown type describe traffic that no policy of ours can name, and OPAQUE ports (65535 to 0) of a protocol
// that has ports mean fragments without any, which never are on their own here: they are left out, which narrows (RFC 7296 2.9). Of ICMP ports are type
// and code, and OPAQUE is a side that sends none (RFC 4301 4.4.1.1).
func endpoints(ts *wire.TS) []endpoint {
	var list []endpoint
	for _, s := range ts.Selectors {
		icmp := s.Protocol == protocolICMP || s.Protocol == protocolICMPv6
		if s.Type != wire.TSIPv4Range && s.Type != wire.TSIPv6Range || s.StartPort > s.EndPort && !icmp {
			continue
		}
		list = append(list, endpoint{policy.AddrRange{First: s.Start, Last: s.End}, s.Protocol, policy.PortRange{First: s.StartPort, Last: s.EndPort}})
	}
	return list
}

// pairOf is the traffic between two ends; one of them may leave the protocol open.
func pairOf(local, remote endpoint) policy.Selector {
	return policy.Selector{Local: local.addresses, Remote: remote.addresses, Protocol: max(local.protocol, remote.protocol),
		LocalPort: local.ports, RemotePort: remote.ports}
}

// payload lists one side of the selectors as TSi or TSr, without repetition.
func payload(initiator bool, selectors []policy.Selector, end func(policy.Selector) endpoint) *wire.TS {
	ts := &wire.TS{Initiator: initiator}
	var seen []endpoint
	for _, s := range selectors {
		if e := end(s); !slices.Contains(seen, e) {
			seen = append(seen, e)
			ts.Selectors = append(ts.Selectors, e.wire())
		}
	}
	return ts
}

// trafficSelectors is the TSi and TSr that describe the selectors when we began the exchange (ours) or answer (not ours).
func trafficSelectors(ours bool, selectors []policy.Selector) (tsi, tsr *wire.TS) {
	if ours {
		return payload(true, selectors, localEnd), payload(false, selectors, remoteEnd)
	}
	return payload(true, selectors, remoteEnd), payload(false, selectors, localEnd)
}

// withPacket puts the packet that waits for the Child SA in front as a selector of its own, so that a responder who narrows keeps it
// (RFC 7296 2.9).
func withPacket(selectors []policy.Selector, p *policy.Packet) []policy.Selector {
	if p == nil || !slices.ContainsFunc(selectors, func(s policy.Selector) bool { return s.Matches(*p, true) }) {
		return selectors
	}
	specific := policy.Selector{Local: policy.HostRange(p.Source), Remote: policy.HostRange(p.Destination), Protocol: p.Protocol,
		LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	if p.HasPorts {
		specific.LocalPort = policy.PortRange{First: p.SourcePort, Last: p.SourcePort}
		specific.RemotePort = policy.PortRange{First: p.DestinationPort, Last: p.DestinationPort}
	}
	return append([]policy.Selector{specific}, selectors...)
}

// maxPairs bounds the pairs of a local and a remote entry that one offer has us look at, in about 20 ms. A payload holds 255 entries, and each pair of
// them may have something in common with each of our selectors.
const maxPairs = 1 << 16

// narrow is the traffic that both the configuration and the two TS payloads allow (RFC 7296 2.9). The payloads mean every pair of a local and a
// remote entry; the configuration may allow only some of those pairs.
func narrow(configured []policy.Selector, local, remote []endpoint) []policy.Selector {
	left := maxPairs
	return narrowWithin(configured, local, remote, &left)
}

// narrowWithin looks at so many pairs at most: what is behind them counts as not allowed.
func narrowWithin(configured []policy.Selector, local, remote []endpoint, left *int) []policy.Selector {
	var narrowed []policy.Selector
	for _, c := range configured {
		locals, remotes := meeting(localEnd(c), local), meeting(remoteEnd(c), remote)
		for _, l := range locals {
			within, _ := c.Intersect(policy.Selector{Local: l.addresses, Remote: c.Remote, Protocol: l.protocol, LocalPort: l.ports, RemotePort: c.RemotePort})
			for _, r := range remotes {
				if *left--; *left < 0 {
					return narrowed
				}
				both, ok := within.Intersect(policy.Selector{Local: within.Local, Remote: r.addresses, Protocol: r.protocol, LocalPort: within.LocalPort, RemotePort: r.ports})
				if ok {
					narrowed = insert(narrowed, both)
				}
			}
			if len(narrowed) > maxSelectors {
				return narrowed[:maxSelectors]
			}
		}
	}
	return narrowed
}

// meeting are the entries that have something in common with one side of a selector of ours.
func meeting(ours endpoint, entries []endpoint) (list []endpoint) {
	for _, e := range entries {
		_, addresses := ours.addresses.Intersect(e.addresses)
		_, ports := ours.ports.Intersect(e.ports)
		if addresses && ports && (ours.protocol == 0 || e.protocol == 0 || ours.protocol == e.protocol) {
			list = append(list, e)
		}
	}
	return list
}

// insert keeps the list free of selectors that lie within others.
func insert(list []policy.Selector, s policy.Selector) []policy.Selector {
	if slices.ContainsFunc(list, func(other policy.Selector) bool { return other.Contains(s) }) {
		return list
	}
	list = slices.DeleteFunc(list, func(other policy.Selector) bool { return s.Contains(other) })
	return append(list, s)
}

// covers reports whether every selector of inner lies within one of outer.
func covers(outer, inner []policy.Selector) bool {
	for _, s := range inner {
		if !slices.ContainsFunc(outer, func(o policy.Selector) bool { return o.Contains(s) }) {
			return false
		}
	}
	return true
}

func describeSelectors(selectors []policy.Selector) string {
	var list []string
	for _, s := range selectors[:min(len(selectors), maxDescribed)] {
		list = append(list, s.String())
	}
	return strings.Join(list, ", ")
}

func describeEndpoints(list []endpoint) string {
	var names []string
	for _, e := range list[:min(len(list), maxDescribed)] {
		name := e.addresses.String()
		if e.ports != policy.AnyPort {
			name += "[" + e.ports.String() + "]"
		}
		if e.protocol != 0 {
			name += " " + policy.ProtocolName(e.protocol)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
