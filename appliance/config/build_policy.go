package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"sallyport/ike"
	"sallyport/policy"
)

// maxSelectors is how many selectors a Child SA may have, as package ike sees it.
const maxSelectors = 128

// maxRefresh is the longest time in seconds after which a file is looked at again: a day.
const maxRefresh = 24 * 60 * 60

// policy makes the policy set, compiles the active policy and gives each peer its Child SAs.
func (b *builder) policy() {
	for _, key := range []string{"filter_lists", "filter_actions", "policies"} {
		if b.isBroken(key) {
			return // every reference would dangle
		}
	}
	set := &policy.Set{Active: b.raw.ActivePolicy, Exemptions: b.raw.Exemptions.Level, IKEDisabled: !b.raw.IKE.Enabled, SoftDenied: b.raw.SoftSA == "deny"}
	b.resolveNames()
	b.encapsulations, b.config.plan.encapsulations = map[string]Encapsulation{}, map[string]Encapsulation{}
	for i := range b.raw.FilterLists {
		set.FilterLists = append(set.FilterLists, b.filterList(fmt.Sprintf("filter_lists[%d]", i), &b.raw.FilterLists[i]))
	}
	for i := range b.raw.FilterActions {
		set.FilterActions = append(set.FilterActions, b.filterAction(fmt.Sprintf("filter_actions[%d]", i), &b.raw.FilterActions[i]))
	}
	things := newThings(b)
	for i := range b.raw.Policies {
		set.Policies = append(set.Policies, b.onePolicy(fmt.Sprintf("policies[%d]", i), &b.raw.Policies[i], things))
	}
	b.config.Policy = set
	b.activePolicy(set)
	b.planTunnels(things)
	b.countTunnels()
	if b.active >= 0 {
		b.templates(set.Policies[b.active].DefaultResponse.AuthMethods)
	}
	if b.more == 0 { // else nobody would read what else is wrong
		b.compile()
	}
}

// activePolicy checks which policy is in force, and takes from it what holds for the gateway.
func (b *builder) activePolicy(set *policy.Set) {
	switch {
	case b.active >= 0:
		active := &b.raw.Policies[b.active]
		b.config.Refresh = time.Duration(active.RefreshSeconds) * time.Second
		if active.Sample && !b.options.Lab { // S-010
			b.add("active_policy", "expected a policy of your own, found %q, which is a sample (sample: true) for tests and not for production: a lab can run it with --lab", active.Name)
		}
	case len(b.raw.Policies) > 0 && b.raw.ActivePolicy == "":
		b.add("active_policy", "is missing: expected the name of the policy in force")
	case b.raw.ActivePolicy != "":
		var names []string
		for i := range set.Policies {
			names = append(names, set.Policies[i].Name)
		}
		b.add("active_policy", "%s", notKnown("policy", b.raw.ActivePolicy, names))
	}
}

func (b *builder) onePolicy(key string, raw *filePolicy, things *things) policy.Policy {
	b.name(key+".name", raw.Name, nil)
	if strings.ContainsFunc(raw.Description, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		b.add(key+".description", "expected text without control characters, which a terminal would obey, found %q", raw.Description)
	}
	b.within(key+".refresh_seconds", raw.RefreshSeconds, 0, maxRefresh, "seconds")
	b.rekey(key+".key_exchange.lifetime", raw.KeyExchange.Lifetime)
	b.within(key+".key_exchange.child_limit", raw.KeyExchange.ChildLimit, 0, maxChildLimit, "Child SAs, 0 for no limit")
	b.someProposals(key+".key_exchange_methods", toProposals(raw.KeyExchangeMethods), raw.KeyExchangeMethods != nil)
	b.strength(key+".key_exchange_methods", fmt.Sprintf("policy %q", raw.Name), toProposals(raw.KeyExchangeMethods))
	p := policy.Policy{
		Name: raw.Name, Description: raw.Description, DefaultAction: raw.DefaultAction, Sample: raw.Sample, Origin: b.origin(key),
	}
	response, responseKey := &raw.DefaultResponse, key+".default_response"
	b.someProposals(responseKey+".esp_proposals", toProposals(response.ESPProposals), response.ESPProposals != nil)
	b.strength(responseKey+".esp_proposals", fmt.Sprintf("the default response rule of policy %q", raw.Name), toProposals(response.ESPProposals))
	things.sas = map[string]string{}
	p.DefaultResponse = policy.DefaultResponse{
		Enabled: response.Enabled, Methods: shown(toProposals(response.ESPProposals)),
		AuthMethods: b.responseMethods(responseKey, response),
	}
	for i := range raw.Rules {
		p.Rules = append(p.Rules, b.rule(fmt.Sprintf("%s.rules[%d]", key, i), &raw.Rules[i], things))
	}
	return p
}

// compile compiles the active policy for the addresses of the file.
func (b *builder) compile() {
	c := b.config
	c.plan.ikeOff = map[netip.Addr]string{}
	for _, port := range c.Ports {
		for _, address := range port.Addresses {
			if !port.IKE {
				c.plan.ikeOff[address.Addr()] = port.Name
			}
		}
	}
	out, err := c.compile(c.Environment)
	b.addPolicyErrors(err)
	if err != nil {
		return
	}
	for _, rule := range out.bare {
		b.add(b.ruleKey(rule), "expected traffic to protect, found none: other rules take all of it, or its filters are for an IP version of which the gateway has no address")
	}
	b.transportTraffic(out)
	b.countSplit(out)
	for _, peer := range out.peers {
		for _, child := range peer.Children {
			if n := len(child.Selectors); n > maxSelectors {
				b.add(b.ruleKey(child.Name)+".filter_list", "expected filters that stand for at most %d pairs of addresses, protocol and ports, because one tunnel carries them all, found %d: use prefixes and ranges, or more rules", maxSelectors, n)
			}
		}
	}
	if len(b.errors) == 0 {
		if err := ike.ValidatePeers(out.peers); err != nil {
			b.add("peers", "%s", oneLine(err))
		}
		b.addIKEv1Problems(out.ikev1)
	}
	c.SPD, c.Peers, c.DefaultResponse, c.Manual, c.Environment = out.SPD, out.Peers, out.DefaultResponse, out.Manual, out.Environment
	c.Warnings = append(c.Warnings, out.Warnings...)
}

// ruleKey is the key of the rule of the active policy that a tunnel is of.
func (b *builder) ruleKey(tunnel string) string {
	name := policy.SplitFrom(tunnel)
	i := slices.IndexFunc(b.raw.Policies[b.active].Rules, func(r fileRule) bool { return r.Name == name })
	return fmt.Sprintf("policies[%d].rules[%d]", b.active, i)
}

// origin is where the thing at the key stands in the file.
func (b *builder) origin(key string) policy.Origin {
	return policy.Origin{File: b.path, Line: b.line(key)}
}

// policyKeys are the keys of the parts and fields of a policy.Set.
var policyKeys = map[string]string{
	"Name": "name", "FilterList": "filter_list", "FilterAction": "filter_action", "Tunnel": "peer", "Ports": "ports",
	"Source": "source", "Destination": "destination", "SourcePort": "source_port", "DestinationPort": "destination_port",
	"Filters": "filters", "Methods": "esp_proposals", "Kind": "action", "DefaultAction": "default_action", "AuthMethods": "auth_methods",
	"FallbackClear": "fallback_clear", "FallbackClearOnWAN": "fallback_clear_on_wan", "InboundPassthrough": "inbound_passthrough",
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
		if !b.follows(e) {
			b.add(b.problemKey(e), "%s", e.Text)
		}
	default:
		b.add("policies", "%s", err)
	}
}

// follows reports whether a problem comes of a mistake that is known already: a list that could not be made has no filters,
// and what a template made of its servers is not in the file.
func (b *builder) follows(p *policy.Problem) bool {
	made := p.Part == policy.PartFilterList && p.Field == "Filters" || p.Part == policy.PartFilter && b.raw.FilterLists[p.Index].Template != ""
	if p.Field == "AuthMethods" || p.Field == "DefaultResponse" {
		return b.anyWithin(b.problemKey(p))
	}
	return made && b.anyWithin(fmt.Sprintf("filter_lists[%d]", p.Index))
}

func (b *builder) problemKey(p *policy.Problem) string {
	key := ""
	switch p.Part {
	case policy.PartFilterList:
		key = fmt.Sprintf("filter_lists[%d]", p.Index)
	case policy.PartFilter:
		if b.raw.FilterLists[p.Index].Template != "" {
			return fmt.Sprintf("filter_lists[%d].template", p.Index)
		}
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
