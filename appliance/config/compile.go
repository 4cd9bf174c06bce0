package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// plan is what Compile needs of the file beside the policies.
type plan struct {
	peers    []ike.Peer            // of the file, without Child SAs
	children []plannedChild        // of the active policy
	sas      []ManualSA            // of the file
	manual   []plannedManual       // of the active policy
	ikeOff   map[netip.Addr]string // own addresses where IKE is off, each with its port

	encapsulations map[string]Encapsulation // by the name of the Child SA

	templates []ike.Peer // of the active policy's default response rule

	warned int // peers that have a warning of one kind for themselves
}

// plannedManual is the manual SA of a rule.
type plannedManual struct {
	sa   int // in plan.sas
	rule int // in the active policy
	name string
}

// plannedChild is the Child SA of a rule that negotiates, without the traffic, which depends on the own addresses.
type plannedChild struct {
	peer  int // in plan.peers
	rule  int // in the active policy
	child ike.Child
}

// Compiled is the active policy of a configuration for one set of own addresses.
type Compiled struct {
	SPD         *policy.SPD
	Environment policy.Environment // what it was compiled for, with the ends of all tunnels

	// Peers are those with which IKE negotiates, each with a Child for every rule of the active policy that names it. A
	// tunnel of the SPD that no Child here serves gets no SA, and its traffic is dropped: IKE is off, or is off at the
	// peer's local address, or that address is gone.
	Peers []ike.Peer

	// DefaultResponse is what IKE answers peers by that no rule names, where the default response rule is on (S-009).
	DefaultResponse []ike.Peer

	// Manual is the SAs with keys of the operator's, each with the traffic of its rule. One whose own address is gone is
	// left out.
	Manual []ManualTunnel

	Warnings []string
}

// Compile compiles the active policy for other own addresses than those of the file, after an event that changed them
// (S-011, S-019). The ends of tunnels in env are set here. Rules that are left without traffic to protect warn.
func (c *Config) Compile(env policy.Environment) (*Compiled, error) {
	for _, peer := range c.plan.peers { // S-005
		if slices.Contains(env.LocalAddresses, peer.Remote) {
			return nil, fmt.Errorf("peer %q: expected the address of another gateway, found %s, which would be this one's own", peer.Name, peer.Remote)
		}
	}
	result, err := c.compile(env)
	if err != nil {
		return nil, err
	}
	out := &result.Compiled
	for _, rule := range result.bare {
		out.warn("rule %q has no traffic to protect with the addresses that the gateway has now", rule)
	}
	if err := errors.Join(ike.ValidatePeers(out.Peers), result.ikev1); err != nil {
		return nil, err
	}
	return out, nil
}

// compilation is a Compiled, and what is of interest while it is made.
type compilation struct {
	Compiled
	peers []ike.Peer // all of the file, those included with which nothing is negotiated
	bare  []string   // rules without traffic in the SPD

	ikev1 error // what IKEv1 cannot work with
}

func (c *Config) compile(env policy.Environment) (*compilation, error) {
	env.Endpoints, env.Single = c.plan.endpoints(), c.plan.single()
	spd, warnings, err := policy.Compile(c.Policy, env)
	if err != nil {
		return nil, err
	}
	out := &compilation{Compiled: Compiled{SPD: spd, Environment: env}, peers: slices.Clone(c.plan.peers)}
	for _, w := range warnings {
		out.warn("%s", w)
	}
	traffic, falls := spd.Selectors(), map[string]bool{}
	for _, f := range soft.Filters(spd) {
		falls[f.Tunnel] = true
	}
	tunnels := tunnelsByRule(traffic)
	for _, planned := range c.plan.children {
		child, peer := planned.child, &out.peers[planned.peer]
		if len(tunnels[child.Name]) == 0 && slices.Contains(env.LocalAddresses, peer.Local) { // else it is stale, and choosePeers says so
			out.bare = append(out.bare, child.Name)
		}
		for _, tunnel := range tunnels[planned.child.Name] {
			child.Name, child.Selectors = tunnel, traffic[tunnel]
			peer.Fallback = peer.Fallback || falls[tunnel]
			peer.Children = append(peer.Children, child)
		}
	}
	if c.IKEEnabled {
		out.DefaultResponse = c.plan.templates
	}
	out.chooseManual(c, traffic)
	out.choosePeers(c)
	var left []string
	left, out.ikev1 = ikev1.Check(ikev1Peers(out.peers))
	out.Warnings = append(out.Warnings, left...)
	return out, nil
}

// tunnelsByRule are the tunnels of each rule in the order of their names: one, or with IKEv1 one for each selector.
func tunnelsByRule(traffic map[string][]policy.Selector) map[string][]string {
	tunnels := map[string][]string{}
	for _, tunnel := range slices.Sorted(maps.Keys(traffic)) {
		rule := policy.SplitFrom(tunnel)
		tunnels[rule] = append(tunnels[rule], tunnel)
	}
	return tunnels
}

// chooseManual keeps the manual SAs that can carry traffic and warns of those that no rule names.
func (out *compilation) chooseManual(c *Config, traffic map[string][]policy.Selector) {
	named := map[int]bool{}
	for _, planned := range c.plan.manual {
		named[planned.sa] = true
		sa, selectors := &c.plan.sas[planned.sa], traffic[planned.name]
		switch {
		case len(selectors) > 0:
			out.Manual = append(out.Manual, ManualTunnel{Rule: planned.name, SA: sa, Selectors: selectors})
		case sa.Transport || slices.Contains(out.Environment.LocalAddresses, sa.Local.Addr()): // else it is stale
			out.bare = append(out.bare, planned.name)
		}
	}
	for i := range c.plan.sas {
		if !named[i] {
			out.warn("SA %q is named by no rule of the active policy", c.plan.sas[i].Name)
		}
	}
}

// Encapsulation is how the packets of a tunnel of the active policy are put into outer ones.
func (c *Config) Encapsulation(tunnel string) Encapsulation {
	if e, has := c.plan.encapsulations[policy.SplitFrom(tunnel)]; has {
		return e
	}
	return DefaultEncapsulation()
}

// endpoints is the local end of every tunnel of the active policy.
func (p *plan) endpoints() map[string]netip.Addr {
	ends := map[string]netip.Addr{}
	for _, planned := range p.children {
		ends[planned.child.Name] = p.peers[planned.peer].Local
	}
	for _, planned := range p.manual {
		if sa := &p.sas[planned.sa]; !sa.Transport { // in transport mode it may be a host's
			ends[planned.name] = sa.Local.Addr()
		}
	}
	return ends
}

// single are the tunnels with peers that IKEv1 may be spoken with, whichever version is: what one has negotiated the other goes on with.
func (p *plan) single() map[string]bool {
	single := map[string]bool{}
	for _, planned := range p.children {
		if p.peers[planned.peer].Version != ike.V2 {
			single[planned.child.Name] = true
		}
	}
	return single
}

// choosePeers keeps the peers with which IKE can negotiate and warns of what an operator should know of each. Package
// policy has warned where IKE is off, and where the end of a tunnel is gone.
func (out *compilation) choosePeers(c *Config) {
	tunnels, preshared := c.plan.tunnels(), 0
	for i, peer := range out.peers {
		rules := strings.Join(tunnels[i], ", ")
		port, off := c.plan.ikeOff[peer.Local]
		switch {
		case !c.IKEEnabled || !slices.Contains(out.Environment.LocalAddresses, peer.Local):
			continue
		case rules == "":
			out.warn("peer %q is named by no rule of the active policy", peer.Name)
		case off: // S-041
			out.warn("peer %q: IKE is off at port %q, which has its local address %s: what %s protects is dropped", peer.Name, port, peer.Local, rules)
		case peer.LocalAuth == ike.AuthPSK || peer.RemoteAuth == ike.AuthPSK: // S-068
			if preshared++; preshared <= c.plan.warned {
				out.warn("peer %q of %s authenticates by preshared key: a certificate is the stronger method (docs/CERTIFICATES.md)", peer.Name, rules)
			}
		}
		if !off {
			out.Peers = append(out.Peers, peer)
		}
	}
	if more := preshared - c.plan.warned; more > 0 {
		out.warn("peers that authenticate by preshared key, beside these: %d (docs/CERTIFICATES.md)", more)
	}
}

// tunnels names the rules of the active policy that negotiate with each peer.
func (p *plan) tunnels() map[int][]string {
	names := map[int][]string{}
	for _, planned := range p.children {
		names[planned.peer] = append(names[planned.peer], planned.child.Name)
	}
	return names
}

func (out *Compiled) warn(format string, args ...any) {
	out.Warnings = append(out.Warnings, fmt.Sprintf(format, args...))
}
