package importer

import (
	"net/netip"
)

// tunnelPair is the two rules that Windows needs for a tunnel: one for what leaves, whose endpoint is the other gateway,
// and one for what comes, whose endpoint is the machine itself (S-005). Here one rule has both ends.
type tunnelPair struct{ out, in *negotiation }

// pairTunnels finds the rules whose filters are each other's reverse. The second result is the rules that are left.
func pairTunnels(all []*negotiation) (pairs []*tunnelPair, rest []*negotiation) {
	waiting := map[string]*negotiation{}
	paired := map[*negotiation]bool{}
	for _, g := range all {
		if !g.tunnel.IsValid() || len(g.filters) == 0 {
			continue
		}
		back := make([]filter, len(g.filters))
		for i, f := range g.filters {
			back[i] = f.reversed()
		}
		first := waiting[textOf(back)]
		if first == nil || first.tunnel == g.tunnel {
			waiting[textOf(g.filters)] = g
			continue
		}
		pairs = append(pairs, &tunnelPair{out: first, in: g})
		paired[first], paired[g] = true, true
		delete(waiting, textOf(back))
	}
	for _, g := range all {
		if !paired[g] {
			rest = append(rest, g)
		}
	}
	return pairs, rest
}

// orient finds out which rule of a pair is for what leaves. The two look alike: what tells them apart is "me" in a
// filter, an endpoint that several tunnels share, and else the order, as every instruction has the outbound rule first.
// uses says how many tunnels have each endpoint.
func (n *netshDraft) orient(p *tunnelPair, uses map[netip.Addr]int) {
	switch {
	case p.in.isInbound():
	case p.out.isInbound():
		p.out, p.in = p.in, p.out
	case uses[p.in.tunnel] > uses[p.out.tunnel]:
	case uses[p.out.tunnel] > uses[p.in.tunnel]:
		p.out, p.in = p.in, p.out
	default:
		n.changed(p.out.line, "rules %s and %s are the two ways of one tunnel; the first is taken for the one that leaves, so %s is the gateway's own address: if it is the other way round, exchange local and remote of the peer, and source and destination of the filters",
			quote(p.out.name), quote(p.in.name), p.in.tunnel)
	}
}

// joinPair makes one rule of the two.
func (n *netshDraft) joinPair(policy *rulebook, p *tunnelPair) {
	n.info(p.in.line, "rule %s is the way back of rule %s (line %d) and is part of it: a rule that negotiates holds for both directions", quote(p.in.name), quote(p.out.name), p.out.line)
	if p.in.action != p.out.action {
		n.changed(p.in.line, "the action %s of the way back is left out: %s holds for both", quote(p.in.action.name), quote(p.out.action.name))
	}
	n.replaced[p.in.list] = true
	if p.out.key.text == "" {
		p.out.key = p.in.key
	} else if p.in.key.text != "" && p.in.key.text != p.out.key.text {
		n.lost(p.in.key.line, "the preshared key of this line is not that of line %d, the other way of the tunnel: that one stays", p.out.key.line)
	}
	n.addNegotiated(policy, p.out, "", p.out.filters, endpoints{local: p.in.tunnel, remote: p.out.tunnel})
}
