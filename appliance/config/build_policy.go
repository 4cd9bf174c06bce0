package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// policy makes the policy set, compiles the active policy and gives each peer its Child SAs.
func (b *builder) policy() {
	for _, key := range []string{"filter_lists", "filter_actions", "policies"} {
		if b.isBroken(key) {
			return // every reference would dangle
		}
	}
	set := &policy.Set{Active: b.raw.ActivePolicy}
	for i := range b.raw.FilterLists {
		set.FilterLists = append(set.FilterLists, b.filterList(fmt.Sprintf("filter_lists[%d]", i), &b.raw.FilterLists[i]))
	}
	proposals := map[string][]crypto.ESPProposal{}
	for i := range b.raw.FilterActions {
		raw := &b.raw.FilterActions[i]
		b.name(fmt.Sprintf("filter_actions[%d].name", i), raw.Name, nil)
		action := policy.FilterAction{Name: raw.Name, Kind: raw.Action}
		proposals[raw.Name] = espProposals(raw)
		for _, p := range proposals[raw.Name] {
			action.Methods = append(action.Methods, p.String())
		}
		set.FilterActions = append(set.FilterActions, action)
	}
	for i := range b.raw.Policies {
		set.Policies = append(set.Policies, b.rules(fmt.Sprintf("policies[%d]", i), &b.raw.Policies[i]))
	}
	spd, warnings, err := policy.Compile(set, b.config.Environment)
	b.addPolicyErrors(err)
	b.config.Policy, b.config.SPD = set, spd
	for _, w := range warnings {
		b.warn("%s", w)
	}
	if spd != nil {
		b.warnIPv6()
		b.children(proposals)
	}
}

// warnIPv6 says which rules ask for more than the data plane does: it carries IPv4 and drops IPv6.
func (b *builder) warnIPv6() {
	warned := map[string]bool{}
	for i := range b.config.SPD.Entries {
		e := &b.config.SPD.Entries[i]
		meant := !e.Source.Is4() && (e.Source != policy.AnyIPv6() || e.Destination != policy.AnyIPv6())
		if meant && e.Verdict != policy.VerdictBlock && !warned[e.Rule] {
			b.warn("rule %q has filters for IPv6, which the data plane drops", e.Rule)
			warned[e.Rule] = true
		}
	}
}

func (b *builder) filterList(key string, raw *fileFilterList) policy.FilterList {
	b.name(key+".name", raw.Name, nil)
	list := policy.FilterList{Name: raw.Name, Updated: time.Time(raw.Updated)}
	for i, f := range raw.Filters {
		b.name(fmt.Sprintf("%s.filters[%d].name", key, i), f.Name, nil)
		list.Filters = append(list.Filters, policy.Filter{
			Name: f.Name, Source: f.Source, Destination: f.Destination, Protocol: uint8(f.Protocol),
			SourcePort: f.SourcePort, DestinationPort: f.DestinationPort, Mirrored: f.Mirrored,
		})
	}
	return list
}

// espProposals is what an action that negotiates offers.
func espProposals(raw *fileFilterAction) []crypto.ESPProposal {
	if len(raw.ESPProposals) == 0 && raw.Action == policy.ActionNegotiate {
		return crypto.DefaultESPProposals()
	}
	var proposals []crypto.ESPProposal
	for _, p := range raw.ESPProposals {
		proposals = append(proposals, crypto.ESPProposal(p))
	}
	return proposals
}

// rules makes a policy. The Child SA of a rule that negotiates is named as the rule.
func (b *builder) rules(key string, raw *filePolicy) policy.Policy {
	p := policy.Policy{Name: raw.Name, Description: raw.Description, DefaultAction: raw.DefaultAction}
	b.name(key+".name", raw.Name, nil)
	for i, r := range raw.Rules {
		b.name(fmt.Sprintf("%s.rules[%d].name", key, i), r.Name, nil)
		peerKey := fmt.Sprintf("%s.rules[%d].peer", key, i)
		rule := policy.Rule{Name: r.Name, FilterList: r.FilterList, FilterAction: r.FilterAction, Ports: r.Ports}
		action := slices.IndexFunc(b.raw.FilterActions, func(a fileFilterAction) bool { return a.Name == r.FilterAction })
		negotiates := action >= 0 && b.raw.FilterActions[action].Action == policy.ActionNegotiate
		_, known := b.peers[r.Peer]
		switch {
		case r.Peer != "" && !known:
			b.add(peerKey, "expected a peer (%s), found %q", list(sortedKeys(b.peers)), r.Peer)
		case negotiates && r.Peer == "":
			b.add(peerKey, "is missing: action %q negotiates and needs a peer (%s)", r.FilterAction, list(sortedKeys(b.peers)))
		case action >= 0 && !negotiates && r.Peer != "":
			b.add(peerKey, "expected no peer, because action %q is %s, found %q", r.FilterAction, b.raw.FilterActions[action].Action, r.Peer)
		}
		if negotiates {
			rule.Tunnel, rule.AuthMethods = r.Name, []string{"psk"}
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func list(names []string) string {
	if len(names) == 0 {
		return "none is defined"
	}
	return strings.Join(names, ", ")
}

// children gives each peer a Child SA for every rule of the active policy that negotiates with it.
func (b *builder) children(proposals map[string][]crypto.ESPProposal) {
	traffic := b.config.SPD.Selectors()
	active := slices.IndexFunc(b.raw.Policies, func(p filePolicy) bool { return p.Name == b.raw.ActivePolicy })
	var rules []fileRule // none in the closed default
	if active >= 0 {
		rules = b.raw.Policies[active].Rules
	}
	for i, r := range rules {
		index, has := b.peers[r.Peer]
		if !has {
			continue
		}
		raw, peer := &b.raw.Peers[index], &b.config.Peers[index]
		// The data plane carries IPv4; the IPv6 half of "any" is not offered to the peer.
		selectors := slices.DeleteFunc(traffic[r.Name], func(s policy.Selector) bool { return !s.Local.Is4() })
		if len(selectors) == 0 {
			b.add(fmt.Sprintf("policies[%d].rules[%d]", active, i), "expected IPv4 traffic to protect, found none: its filters are for IPv6, or other rules take all of their traffic")
			continue
		}
		peer.Children = append(peer.Children, ike.Child{
			Name: r.Name, Selectors: selectors, ESPProposals: proposals[r.FilterAction], Start: raw.Start,
			RekeyTime: raw.ChildRekey, IdleTimeout: orNever(raw.IdleTimeout), ReplayWindow: raw.ReplayWindow,
		})
	}
	b.warnPeers()
	if len(b.errors) == 0 {
		if err := ike.ValidatePeers(b.config.Peers); err != nil {
			b.add("peers", "%s", err)
		}
	}
}

// warnPeers says which peers no rule names, and which rules rest on a preshared key (S-068).
func (b *builder) warnPeers() {
	for i := range b.config.Peers {
		peer := &b.config.Peers[i]
		var rules []string
		for _, c := range peer.Children {
			rules = append(rules, c.Name)
		}
		if len(rules) == 0 {
			b.warn("peer %q is named by no rule of the active policy", peer.Name)
			continue
		}
		b.warn("peer %q of %s authenticates by preshared key: a certificate is the stronger method", peer.Name, strings.Join(rules, ", "))
	}
}

// policyKeys are the keys of the parts and fields of a policy.Set.
var policyKeys = map[string]string{
	"Name": "name", "FilterList": "filter_list", "FilterAction": "filter_action", "Tunnel": "peer", "Ports": "ports",
	"Source": "source", "Destination": "destination", "SourcePort": "source_port", "DestinationPort": "destination_port",
	"Filters": "filters", "Methods": "esp_proposals", "Kind": "action", "DefaultAction": "default_action",
	"AuthMethods": "auth_methods", "FallbackClear": "fallback_clear", "FallbackClearOnWAN": "fallback_clear_on_wan", "InboundPassthrough": "inbound_passthrough",
	"DefaultResponse": "default_response",
}

// addPolicyErrors reports what package policy found, each at its key.
func (b *builder) addPolicyErrors(err error) {
	switch e := err.(type) {
	case nil:
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			b.addPolicyErrors(one)
		}
	case *policy.Problem:
		b.add(problemKey(e), "%s", e.Text)
	default:
		b.add("policies", "%s", err)
	}
}

func problemKey(p *policy.Problem) string {
	key := ""
	switch p.Part {
	case policy.PartFilterList:
		key = fmt.Sprintf("filter_lists[%d]", p.Index)
	case policy.PartFilter:
		key = fmt.Sprintf("filter_lists[%d].filters[%d]", p.Index, p.Item)
	case policy.PartFilterAction:
		key = fmt.Sprintf("filter_actions[%d]", p.Index)
	case policy.PartPolicy:
		key = fmt.Sprintf("policies[%d]", p.Index)
	case policy.PartRule:
		key = fmt.Sprintf("policies[%d].rules[%d]", p.Index, p.Item)
	default:
		return "active_policy"
	}
	if p.Field != "" {
		key += "." + policyKeys[p.Field]
	}
	return key
}
