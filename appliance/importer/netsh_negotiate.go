package importer

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// negotiation is a rule that negotiates, with what makes its peer.
type negotiation struct {
	*rule
	source   *object
	filters  []filter // of the list, each from the gateway's side to the other
	group    []filter // those that cannot be protected
	tunnel   netip.Addr
	tunneled bool // the rule has a tunnel endpoint, even where it is of no use
	lifetime time.Duration
	key      value
}

// endpoints tells peers apart.
type endpoints struct {
	local, remote netip.Addr
	rule          *rule // of a peer whose address is not known
}

// variantKey is a part of a list from one side.
type variantKey struct {
	list   *list
	filter string // the text of its filters
}

// negotiation reads what a rule has beside filters and an action.
func (n *netshDraft) negotiation(r *rule, o *object, m methods) *negotiation {
	g := &negotiation{rule: r, source: o, lifetime: m.lifetime}
	if r.ports != policy.PortsAll {
		n.changed(o.at("conntype"), "rule %s negotiates and holds for all ports: what leaves by one side returns by the other", quote(o.name))
		r.ports = policy.PortsAll
	}
	n.authentication(g)
	n.tunnelEndpoint(g)
	seen := map[string]int{}
	for _, f := range r.list.filters {
		if !f.mirrored {
			if !g.tunneled {
				n.changed(f.line, "mirrored=no: rule %s negotiates, which holds for both directions", quote(o.name))
			}
			f.mirrored = true
		}
		if f.destination == ownAddress && f.source != ownAddress && !g.tunneled {
			f = f.reversed()
		}
		switch {
		case isGroup(f):
			n.changed(f.line, "rule %s cannot protect multicast, broadcast and RSVP: this filter blocks", quote(o.name))
			g.group = append(g.group, f)
		case seen[f.text()] == 0:
			seen[f.text()] = f.line
			g.filters = append(g.filters, f)
		}
	}
	return g
}

// isGroup reports whether a filter is for traffic that IKE cannot protect (S-037, S-105).
func isGroup(f filter) bool {
	if policy.ProtocolName(f.protocol) == "rsvp" {
		return true
	}
	for _, side := range []address{f.source, f.destination} {
		span, literal := side.span()
		for _, group := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
			if literal && policy.RangeOf(netip.MustParsePrefix(group)).ContainsRange(span) {
				return true
			}
		}
	}
	return false
}

// authentication takes the preshared key of a rule, and says what becomes of the other methods.
func (n *netshDraft) authentication(g *negotiation) {
	o := g.source
	if n.yes(o, "kerberos", false) {
		n.lost(o.at("kerberos"), "rule %s: Kerberos is not offered: a preshared key takes its place", quote(o.name))
	}
	if o.has("rootca") {
		n.lost(o.at("rootca"), "rule %s: the source does not hold the certificates: a preshared key takes their place until the peer's auth names their files (docs/CERTIFICATES.md)", quote(o.name))
	}
	g.key = o.values["psk"]
	if !o.has("kerberos") && !o.has("rootca") && !o.has("psk") {
		n.lost(o.line, "rule %s names no authentication method, which is Kerberos in Windows: a preshared key takes its place", quote(o.name))
	}
}

// tunnelEndpoint reads the tunnel of a rule.
func (n *netshDraft) tunnelEndpoint(g *negotiation) {
	text := g.source.text("tunnel")
	if text == "" {
		return
	}
	a, err := netip.ParseAddr(text)
	line := g.source.at("tunnel")
	switch {
	case err != nil && isDNSName(text):
		n.lost(line, "tunnel=%s: a tunnel endpoint is an address here, not a name: REPLACE the remote address of the peer", text)
	case err != nil:
		n.problem(line, "tunnel: expected an address or a DNS name, found %s", quote(text))
	case a.IsUnspecified():
		return
	case !a.Is4():
		n.lost(line, "tunnel=%s: tunnels over IPv6 are not offered: REPLACE the remote address of the peer", a)
	case !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast():
		n.problem(line, "tunnel: expected the address of a gateway, found %s", a)
	default:
		g.tunnel = a
	}
	g.tunneled = true
}

// negotiate gives every rule that negotiates its peer.
func (n *netshDraft) negotiate(p *rulebook, all []*negotiation) {
	pairs, rest := pairTunnels(all)
	own, uses := map[netip.Addr]bool{}, map[netip.Addr]int{}
	for _, each := range pairs {
		uses[each.in.tunnel]++
		uses[each.out.tunnel]++
	}
	for _, each := range pairs {
		n.orient(each, uses)
		own[each.in.tunnel] = true
	}
	for _, each := range pairs {
		n.joinPair(p, each)
	}
	for _, g := range rest {
		switch {
		case g.tunneled && own[g.tunnel] || g.tunneled && g.isInbound():
			n.changed(g.line, "rule %s has the gateway's own end of a tunnel and no rule for the way back: its peer is to be completed", quote(g.name))
			for i := range g.filters {
				g.filters[i] = g.filters[i].reversed()
			}
			n.addNegotiated(p, g, "", g.filters, endpoints{local: g.tunnel})
		case g.tunneled:
			n.addNegotiated(p, g, "", g.filters, endpoints{remote: g.tunnel})
		default:
			n.negotiateHosts(p, g)
		}
	}
	for _, g := range all {
		n.block(p, g)
	}
}

// isInbound reports whether a tunnel rule is for what comes to this machine.
func (g *negotiation) isInbound() bool {
	return len(g.filters) > 0 && !slices.ContainsFunc(g.filters, func(f filter) bool { return f.destination != ownAddress })
}

// negotiateHosts makes a tunnel to each host that a rule without an endpoint names, and one to be completed for the rest.
func (n *netshDraft) negotiateHosts(p *rulebook, g *negotiation) {
	byHost := map[netip.Addr][]filter{}
	var hosts []netip.Addr
	for _, f := range g.filters {
		host, single := f.destination.host()
		if !single || !host.Is4() || !host.IsGlobalUnicast() {
			host = netip.Addr{}
		}
		if _, known := byHost[host]; !known {
			hosts = append(hosts, host)
		}
		byHost[host] = append(byHost[host], f)
	}
	n.changed(g.line, "rule %s protects in transport mode, from host to host; here it is a tunnel", quote(g.name))
	if len(hosts) > 1 {
		n.changed(g.line, "rule %s is a rule for each of %d peers here, named by their addresses: a tunnel has one other end", quote(g.name), len(hosts))
	}
	for _, host := range hosts {
		part := ""
		if len(hosts) > 1 && host.IsValid() {
			part = host.String()
		}
		n.addNegotiated(p, g, part, byHost[host], endpoints{remote: host})
	}
}

// addNegotiated adds a rule with its peer, for all of the filters or, with a name for it, a part of them.
func (n *netshDraft) addNegotiated(p *rulebook, g *negotiation, part string, filters []filter, ends endpoints) {
	if len(filters) == 0 {
		return
	}
	r := *g.rule
	r.name = partName(g.name, part)
	r.list = n.variant(g.list, filters, part)
	if !ends.remote.IsValid() {
		ends.rule = g.rule
	}
	r.peer = n.peer(ends, g, r.name)
	p.rules = append(p.rules, &r)
}

// partName names a part of something.
func partName(name, part string) string {
	if part == "" {
		return name
	}
	fitted := fitName(name)
	return fitted[:min(len(fitted), max(maxName-len(part)-1, 0))] + "-" + part
}

// variant is the list with these filters: the list itself, if they are its own.
func (n *netshDraft) variant(l *list, filters []filter, part string) *list {
	text := textOf(filters)
	if text == textOf(l.filters) {
		return l
	}
	key := variantKey{l, text}
	if n.variants[key] == nil {
		v := &list{line: l.line, name: partName(l.name, part), about: l.about, filters: filters}
		n.variants[key], n.replaced[l] = v, true
		n.draft.lists = append(n.draft.lists, v)
	}
	return n.variants[key]
}

// textOf tells sets of filters apart, whatever their order.
func textOf(filters []filter) string {
	var texts []string
	for i := range filters {
		texts = append(texts, filters[i].text())
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// peer is the gateway at these ends, with the key and the lifetime of a rule.
func (n *netshDraft) peer(ends endpoints, g *negotiation, name string) *peer {
	p := n.peers[ends]
	if p == nil {
		p = &peer{line: g.line, name: name, local: ends.local, remote: ends.remote, start: "on-demand"}
		n.peers[ends] = p
		n.draft.peers = append(n.draft.peers, p)
	}
	if g.lifetime != 0 && (p.childRekey == 0 || g.lifetime < p.childRekey) {
		p.childRekey = g.lifetime
	}
	if g.key.text != "" {
		key := crypto.NewSecret([]byte(g.key.text))
		switch {
		case p.key.Len() == 0:
			p.key, p.keyLine = key, g.key.line
		case !p.key.Equal(key):
			n.lost(g.key.line, "the preshared key of this line is not that of line %d, which the same peer %s has: the first one stays", p.keyLine, ends.remote)
		}
	}
	return p
}

// block adds a rule that blocks what a rule that negotiates cannot protect, so that no other rule lets it pass.
func (n *netshDraft) block(p *rulebook, g *negotiation) {
	if len(g.group) == 0 {
		return
	}
	if n.blocked == nil {
		n.blocked = &action{name: "block-what-cannot-be-protected", kind: policy.ActionBlock}
		n.draft.actions = append(n.draft.actions, n.blocked)
	}
	const part = "blocked"
	p.rules = append(p.rules, &rule{line: g.line, name: partName(g.name, part), list: n.variant(g.list, g.group, part), action: n.blocked, ports: policy.PortsAll})
}
