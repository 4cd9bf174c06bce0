package config

import (
	"fmt"
	"slices"

	"sallyport/ike"
	"sallyport/policy"
)

// things is what rules name.
type things struct {
	lists   map[string]bool
	actions map[string]*fileFilterAction

	actionKeys map[string]string

	listNames, actionNames, peerNames, saNames []string // sorted

	sas map[string]string // of the policy at hand: which of its rules names each SA
}

func newThings(b *builder) *things {
	t := &things{lists: map[string]bool{}, actions: map[string]*fileFilterAction{}, actionKeys: map[string]string{}, peerNames: sortedKeys(b.peers), saNames: sortedKeys(b.sas)}
	for i := range b.raw.FilterLists {
		t.lists[b.raw.FilterLists[i].Name] = true
	}
	for i := range b.raw.FilterActions {
		t.actions[b.raw.FilterActions[i].Name] = &b.raw.FilterActions[i]
		t.actionKeys[b.raw.FilterActions[i].Name] = fmt.Sprintf("filter_actions[%d]", i)
	}
	t.listNames, t.actionNames = sortedKeys(t.lists), sortedKeys(t.actions)
	return t
}

// rule makes a rule. The Child SA of one that negotiates has its name.
func (b *builder) rule(key string, raw *fileRule, things *things) policy.Rule {
	b.name(key+".name", raw.Name, nil)
	rule := policy.Rule{Name: raw.Name, FilterList: raw.FilterList, FilterAction: raw.FilterAction, Ports: raw.Ports, Origin: b.origin(key)}
	action := things.actions[raw.FilterAction]
	if !things.lists[raw.FilterList] {
		b.add(key+".filter_list", "%s", notKnown("filter list", raw.FilterList, things.listNames))
	}
	if action == nil {
		b.add(key+".filter_action", "%s", notKnown("filter action", raw.FilterAction, things.actionNames))
	}
	negotiates := action != nil && action.Action == policy.ActionNegotiate
	b.ruleTunnel(key, raw, action, things)
	methods := b.authMethods(key+".auth_methods", raw.AuthMethods, b.peerMethods(raw.Peer))
	rule.Manual = negotiates && raw.SA != ""
	if negotiates && !rule.Manual || raw.AuthMethods != nil {
		rule.AuthMethods = methods
	}
	if negotiates {
		rule.Tunnel = raw.Name
	}
	return rule
}

// ruleTunnel checks with whom, or with which manual SA, a rule protects its traffic.
func (b *builder) ruleTunnel(key string, raw *fileRule, action *fileFilterAction, things *things) {
	_, knownPeer := b.peers[raw.Peer]
	_, knownSA := b.sas[raw.SA]
	negotiates := action != nil && action.Action == policy.ActionNegotiate
	switch {
	case raw.Peer != "" && raw.SA != "":
		b.add(key+".sa", "expected a peer to negotiate with or an SA of your own, found both: leave one")
	case raw.Peer != "" && !knownPeer:
		b.add(key+".peer", "%s", notKnown("peer", raw.Peer, things.peerNames))
	case raw.SA != "" && !knownSA:
		b.add(key+".sa", "%s", notKnown("SA", raw.SA, things.saNames))
	case negotiates && raw.Peer+raw.SA == "":
		b.add(key+".peer", "is missing: action %q negotiates and needs a peer (%s)", raw.FilterAction, listed(things.peerNames))
	case action != nil && !negotiates && raw.Peer != "":
		b.add(key+".peer", "expected no peer, because action %q is %s, found %q", raw.FilterAction, action.Action, raw.Peer)
	case action != nil && !negotiates && raw.SA != "":
		b.add(key+".sa", "expected no SA, because action %q is %s, found %q", raw.FilterAction, action.Action, raw.SA)
	case raw.SA != "":
		b.ruleSA(key, raw, action, things)
	case negotiates:
		b.ruleBundle(key, raw, action)
	}
}

// ruleSA checks a rule whose SA is not negotiated: what its action says of negotiation would have no effect.
func (b *builder) ruleSA(key string, raw *fileRule, action *fileFilterAction, things *things) {
	if other := things.sas[raw.SA]; other != "" {
		b.add(key+".sa", "expected an SA that no other rule of the policy names, found %q of rule %q: give one rule all filters", raw.SA, other)
	}
	things.sas[raw.SA] = raw.Name
	where := things.actionKeys[raw.FilterAction]
	for _, name := range []string{"esp_proposals", "ah_proposals", "bundle", "mode", "lifetime", "fallback_clear", "fallback_clear_on_wan", "inbound_passthrough", "encapsulation"} {
		if action != nil && b.has(where+"."+name) {
			b.add(key+".filter_action", "expected an action without %s, because SA %q is not negotiated and has its own, found %q", name, raw.SA, raw.FilterAction)
			return
		}
	}
}

// planTunnels notes the Child SA of every rule of the active policy that protects.
func (b *builder) planTunnels(things *things) {
	if b.active < 0 {
		return
	}
	settled := map[int]string{} // by peer: the rule that has said how it authenticates
	for i, r := range b.raw.Policies[b.active].Rules {
		action := things.actions[r.FilterAction]
		if action == nil || action.Action != policy.ActionNegotiate {
			continue
		}
		if sa, has := b.sas[r.SA]; has {
			b.config.plan.manual = append(b.config.plan.manual, plannedManual{sa: sa, rule: i, name: r.Name})
			continue
		}
		peer, has := b.peers[r.Peer]
		if !has {
			continue
		}
		raw := &b.raw.Peers[peer]
		b.settleMethod(fmt.Sprintf("policies[%d].rules[%d]", b.active, i), &r, peer, settled)
		b.config.plan.encapsulations[r.Name] = b.encapsulations[r.FilterAction]
		rekey, life := b.lifetime(things.actionKeys[r.FilterAction], action, raw)
		b.config.plan.children = append(b.config.plan.children, plannedChild{peer: peer, rule: i, child: ike.Child{
			Name: r.Name, Proposals: childProposals(action), Bundle: action.Bundle, Transport: action.Mode == modeTransport, Start: raw.Start,
			PerCore: b.perCore(fmt.Sprintf("peers[%d].per_core", peer), raw.PerCore), RekeyTime: rekey, Life: life, IdleTimeout: orNever(raw.IdleTimeout), ReplayWindow: raw.ReplayWindow,
		}})
	}
}

// countTunnels holds the tunnels of the active policy against the cells that the data plane will have for them.
func (b *builder) countTunnels() {
	n, most := len(b.config.plan.children)+len(b.config.plan.manual), b.config.Dataplane.MaxTunnels
	switch {
	case n > maxIDs:
		b.add(fmt.Sprintf("policies[%d].rules", b.active), "expected at most %d rules that negotiate, because each has a tunnel of its own, found %d: use filter lists with more filters, and fewer rules", maxIDs, n)
	case n > most:
		b.add("dataplane.max_tunnels", "expected room for the tunnels of the active policy, %d rules that negotiate, found %d: set it to %d or more, and to what two policies have together if one is to take the place of the other at run time", n, most, n)
	}
}

// countSplit does the same with the tunnels that IKEv1 adds to those of its rules.
func (b *builder) countSplit(out *compilation) {
	n, most := len(out.Manual), b.config.Dataplane.MaxTunnels
	for _, peer := range out.peers {
		n += len(peer.Children)
	}
	if n > most {
		b.add("dataplane.max_tunnels", "expected room for the tunnels of the active policy, %d of them, because with IKEv1 a rule has one for each pair of addresses, protocol and ports that its filters stand for, found %d: set it to %d or more, or use prefixes and ranges", n, most, n)
	}
}

// authMethods is how both ends authenticate, in order of preference.
func (b *builder) authMethods(key string, raw []authMethod, without []string) []string {
	if raw == nil {
		return without
	}
	if len(raw) == 0 { // S-004
		b.add(key, "expected one or more authentication methods in order of preference, found none")
	}
	var methods []string
	for i, m := range raw {
		if slices.Contains(raw[:i], m) {
			b.add(fmt.Sprintf("%s[%d]", key, i), "expected each method once, found %s for the second time", m)
		}
		methods = append(methods, string(m))
	}
	return methods
}
