package appliance

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"sallyport/appliance/api"
	"sallyport/pipeline"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// question is what an operator wants explained.
type question struct {
	packet policy.Packet
	port   string // that it comes in by, or pipeline.LocalPort
	tunnel string // and through; empty: in clear
}

// ephemeralPort stands for a source port that is not named: the first of the
// dynamic ones (RFC 6335 section 6).
const ephemeralPort = 49152

// explain asks policy and data plane about a packet.
func (g *Gateway) explain(ctx context.Context, ask url.Values) (api.Explanation, error) {
	now := g.running()
	q, err := now.question(ask)
	if err != nil {
		return api.Explanation{}, badRequest{err}
	}
	trace, err := g.plane.Explain(pipeline.Query{Packet: q.packet, Port: q.port, InTunnel: q.tunnel})
	if err != nil {
		return api.Explanation{}, err
	}
	negotiated, err := g.negotiator.snapshot(ctx)
	if err != nil {
		return api.Explanation{}, err
	}
	counters := g.plane.Counters()
	if g.running() != now {
		return g.explain(ctx, ask) // the policy changed in between: the answers would not fit together
	}
	rows := map[uint32]api.Filter{}
	for _, row := range filtersView(now.spd, counters.Filters) {
		rows[row.ID] = row
	}
	view := now.explanation(q, trace, rows)
	view.SA = outboundOf(sasView(counters.SAs, negotiated, g.manualNames(), g.offloadOf), trace)
	if trace.Entry == nil || view.SA != nil {
		return view, nil
	}
	state := g.negotiator.soft.state(now.peerOf(trace.Tunnel))
	switch denied := now.deniedFallback(); {
	case q.tunnel != "": // what came protected passes by no soft SA
	case trace.Entry.Fallback:
		if view.SoftSA = g.negotiator.soft.covering(trace.Entry.ID, q.packet); view.SoftSA == nil {
			view.Fallback = fallbackText(state, trace.CellState == pipeline.CellClosed.String(), time.Now())
		}
	case slices.ContainsFunc(denied, func(r policy.Rule) bool { return r.Name == trace.Entry.Rule }):
		state.Shut = soft.Denied
		view.Fallback = fallbackText(state, false, time.Now())
	}
	return view, nil
}

// question reads what is asked. Where it does not name a port, the packet comes
// in by the one that leads back to its source.
func (now *running) question(ask url.Values) (q question, err error) {
	for name := range ask {
		if !slices.Contains([]string{"src", "dst", "proto", "sport", "dport", "in"}, name) {
			return q, fmt.Errorf("expected src, dst, proto, sport, dport and in, found %q", name)
		}
	}
	p := &q.packet
	if p.Source, err = netip.ParseAddr(ask.Get("src")); err != nil {
		return q, fmt.Errorf("src: expected an address, found %q", ask.Get("src"))
	}
	if p.Destination, err = netip.ParseAddr(ask.Get("dst")); err != nil {
		return q, fmt.Errorf("dst: expected an address, found %q", ask.Get("dst"))
	}
	p.Source, p.Destination = p.Source.Unmap().WithZone(""), p.Destination.Unmap().WithZone("")
	if p.Source.Is4() != p.Destination.Is4() {
		return q, fmt.Errorf("expected two addresses of one IP version, found %s and %s", p.Source, p.Destination)
	}
	if p.Protocol, err = policy.ParseProtocol(ask.Get("proto")); err != nil || p.Protocol == 0 {
		return q, fmt.Errorf("proto: expected tcp, udp, icmp or a number from 1 to 255, found %q", ask.Get("proto"))
	}
	if err := q.ports(ask); err != nil {
		return q, err
	}
	return q, now.arrival(&q, ask.Get("in"))
}

// ports reads the ports of a protocol that has any.
func (q *question) ports(ask url.Values) error {
	p := &q.packet
	if !slices.Contains([]uint8{6, 17, 33, 132, 136}, p.Protocol) { // TCP, UDP, DCCP, SCTP, UDP-Lite
		if ask.Get("sport")+ask.Get("dport") != "" {
			return fmt.Errorf("expected no ports with protocol %s", policy.ProtocolName(p.Protocol))
		}
		return nil
	}
	p.HasPorts = true
	for _, port := range []struct {
		name, missing string
		to            *uint16
	}{{"sport", strconv.Itoa(ephemeralPort), &p.SourcePort}, {"dport", "", &p.DestinationPort}} {
		if cmp.Or(ask.Get(port.name), port.missing) == "" {
			return fmt.Errorf("%s is missing: expected a port, which protocol %s has and filters may ask for", port.name, policy.ProtocolName(p.Protocol))
		}
		n, err := strconv.ParseUint(cmp.Or(ask.Get(port.name), port.missing), 10, 16)
		if err != nil {
			return fmt.Errorf("%s: expected a port from 0 to 65535, found %q", port.name, ask.Get(port.name))
		}
		*port.to = uint16(n)
	}
	return nil
}

// arrival finds the port, or the tunnel, that the packet comes in by.
func (now *running) arrival(q *question, in string) error {
	if in == "" {
		if in = now.towards(q.packet.Source); in == "" {
			return fmt.Errorf("in: no route leads back to %s: name the port that the packet comes in by", q.packet.Source)
		}
	}
	for _, p := range now.peers {
		for _, c := range p.Children {
			if c.Name == in {
				q.port, q.tunnel = portOf(now.addresses, p.Local), in
				return nil
			}
		}
	}
	for i := range now.spd.Entries {
		if e := &now.spd.Entries[i]; e.Tunnel == in && e.FilterList == policy.DynamicList && e.Verdict == policy.VerdictProtect {
			q.port, q.tunnel = portOf(now.addresses, e.Source.First), in
			return nil
		}
	}
	if _, known := now.addresses[in]; !known && in != pipeline.LocalPort {
		return fmt.Errorf("in: %q: expected a port (%s), %s for a packet of the gateway's own, or a tunnel", in, portNames(now.cfg), pipeline.LocalPort)
	}
	q.port = in
	return nil
}

// towards is the port by which packets to an address leave, or pipeline.LocalPort.
func (now *running) towards(address netip.Addr) string {
	if portOf(now.addresses, address) != "" {
		return pipeline.LocalPort
	}
	attached := func(a netip.Addr) string {
		for port, list := range now.addresses {
			if slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) }) {
				return port
			}
		}
		return ""
	}
	if port := attached(address); port != "" {
		return port
	}
	best, port := -1, ""
	for _, r := range now.cfg.Routes {
		if r.To.Contains(address) && r.To.Bits() > best && attached(r.Via) != "" {
			best, port = r.To.Bits(), attached(r.Via)
		}
	}
	return port
}

// role is the port group that filters see for a port.
func (now *running) role(port string) policy.PortGroup {
	for _, p := range now.cfg.Ports {
		if p.Name == port {
			return p.Role
		}
	}
	return policy.PortsLAN // the gateway's own packets come from the protected side (RFC 4301 section 3.1)
}

// explanation puts what policy and data plane say side by side.
func (now *running) explanation(q question, trace pipeline.Trace, rows map[uint32]api.Filter) api.Explanation {
	said := now.spd.Explain(q.packet, now.role(q.port))
	view := api.Explanation{
		Packet: packetText(q.packet), Port: q.port, InTunnel: q.tunnel, Policy: now.spd.Policy,
		Exemptions: []api.ExemptionCheck{}, Matches: []api.Filter{},
		Verdict: said.Decision.Verdict.String(), Why: said.Decision.Why, Action: trace.Action, Reason: trace.Reason, Waits: trace.Waits,
		Disagreement: disagreement(said.Decision, trace),
		Tunnel:       trace.Tunnel, CellState: trace.CellState, OutPort: trace.OutPort, Neighbour: trace.Neighbour, Cached: []api.CachedFlow{},
	}
	if trace.NextHop.IsValid() {
		view.NextHop = trace.NextHop.String()
	}
	for _, x := range said.Exemptions {
		view.Exemptions = append(view.Exemptions, api.ExemptionCheck{Name: x.Exemption.Name, InForce: x.InForce, Matches: x.Matches, Why: x.Why})
	}
	for _, e := range said.Matches {
		view.Matches = append(view.Matches, rows[e.ID])
	}
	switch {
	case said.Decision.Exemption != nil:
		view.Exempted = said.Decision.Exemption.Name
	case said.Decision.Entry != nil && len(view.Matches) > 0:
		view.Winner = &view.Matches[0]
	}
	for _, c := range trace.Cached {
		view.Cached = append(view.Cached, api.CachedFlow{Worker: c.Worker, Action: c.Action, Reason: c.Reason, Current: c.Current})
	}
	return view
}

// disagreement says where the tables of the workers decide otherwise than the
// compiled policy, which must not happen; empty if they do not.
func disagreement(said policy.Decision, trace pipeline.Trace) string {
	switch {
	case trace.Exemption != nil && said.Exemption == nil:
		return fmt.Sprintf("the data plane exempts it by %s, the policy does not", trace.Exemption.Name)
	case trace.Exemption != nil && said.Exemption.ID != trace.Exemption.ID:
		return fmt.Sprintf("the data plane exempts it by %s, the policy by %s", trace.Exemption.Name, said.Exemption.Name)
	case trace.Entry != nil && said.Exemption != nil:
		return fmt.Sprintf("the data plane has filter %q of rule %q decide, the policy exemption %s", trace.Entry.FilterName, trace.Entry.Rule, said.Exemption.Name)
	case trace.Entry != nil && said.Entry == nil:
		return fmt.Sprintf("the data plane has filter %q of rule %q decide, the policy its default action", trace.Entry.FilterName, trace.Entry.Rule)
	case trace.Entry != nil && said.Entry.ID != trace.Entry.ID:
		return fmt.Sprintf("the data plane has filter %q of rule %q decide, the policy filter %q of rule %q",
			trace.Entry.FilterName, trace.Entry.Rule, said.Entry.FilterName, said.Entry.Rule)
	}
	return ""
}

// outboundOf is the SA that the packet would leave by, nil if by none.
func outboundOf(sas []api.SA, trace pipeline.Trace) *api.SA {
	if trace.OutboundSPI == 0 {
		return nil
	}
	i := slices.IndexFunc(sas, func(s api.SA) bool {
		return s.Direction == "outbound" && s.Child == trace.Tunnel && s.SPI == spiText(trace.OutboundSPI)
	})
	if i < 0 {
		return nil
	}
	return &sas[i]
}

func packetText(p policy.Packet) string {
	if !p.HasPorts {
		return fmt.Sprintf("%s > %s %s", p.Source, p.Destination, policy.ProtocolName(p.Protocol))
	}
	return fmt.Sprintf("%s > %s %s", netip.AddrPortFrom(p.Source, p.SourcePort), netip.AddrPortFrom(p.Destination, p.DestinationPort), policy.ProtocolName(p.Protocol))
}
