package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// validate checks all of a set, the policies that are not active included, and returns every error, joined.
func validate(set *Set, known *index, env Environment) error {
	v := &validator{index: known}
	v.names("policy", len(set.Policies), func(i int) string { return set.Policies[i].Name })
	v.names("filter list", len(set.FilterLists), func(i int) string { return set.FilterLists[i].Name })
	v.names("filter action", len(set.FilterActions), func(i int) string { return set.FilterActions[i].Name })
	for i := range set.FilterLists {
		v.filterList(&set.FilterLists[i])
	}
	for i := range set.FilterActions {
		v.filterAction(&set.FilterActions[i])
	}
	for i := range set.Policies {
		v.policy(&set.Policies[i])
	}
	if known.policies[set.Active] == nil {
		v.fail("active policy %q does not exist: expected %s", set.Active, oneOf(v.index.policies))
	}
	for _, address := range env.LocalAddresses {
		if err := HostRange(address).Validate(); err != nil {
			v.fail("local address %s: %w", address, err)
		}
	}
	return errors.Join(v.errs...)
}

type validator struct {
	index *index
	errs  []error
}

func (v *validator) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// names demands that every name of a kind is given and given once.
func (v *validator) names(kind string, n int, name func(int) string) {
	seen := map[string]bool{}
	for i := range n {
		switch {
		case name(i) == "":
			v.fail("%s number %d has no name", kind, i+1)
		case seen[name(i)]:
			v.fail("%s %q is defined twice: names are unique", kind, name(i))
		}
		seen[name(i)] = true
	}
}

func (v *validator) filterList(list *FilterList) {
	where := fmt.Sprintf("filter list %q", list.Name)
	if len(list.Filters) == 0 {
		v.fail("%s has no filters: expected at least one", where)
	}
	seen := map[string]bool{}
	for i := range list.Filters {
		f := &list.Filters[i]
		if seen[f.label()] {
			v.fail("%s: filter %q is there twice", where, f.label())
		}
		seen[f.label()] = true
		v.filter(fmt.Sprintf("%s, filter %q", where, f.label()), f)
	}
}

func (v *validator) filter(where string, f *Filter) {
	for _, spec := range []AddressSpec{f.Source, f.Destination} {
		if spec.kind == addressRange {
			if err := spec.span.Validate(); err != nil {
				v.fail("%s: %w", where, err)
			}
		}
	}
	if f.Source.kind == addressRange && f.Destination.kind == addressRange && f.Source.span.Is4() != f.Destination.span.Is4() {
		v.fail("%s: source %s and destination %s are of different IP versions", where, f.Source, f.Destination)
	}
	for _, ports := range []PortRange{f.sourcePort(), f.destinationPort()} {
		if ports.Last < ports.First {
			v.fail("%s: port range %d-%d is backwards: expected the lower port first", where, ports.First, ports.Last)
		}
		if ports != AnyPort && !protocolHasPorts(f.Protocol) {
			v.fail("%s: port %s needs a protocol with ports (tcp, udp, sctp, udplite), found protocol %s", where, ports, ProtocolName(f.Protocol))
		}
	}
}

func (v *validator) filterAction(action *FilterAction) {
	switch {
	case action.Kind < ActionBlock || action.Kind > ActionPermit:
		v.fail("filter action %q: expected permit, block or negotiate, found %s", action.Name, action.Kind)
	case action.Kind == ActionNegotiate && len(action.Methods) == 0:
		v.fail("filter action %q negotiates: expected at least one ESP proposal, found none", action.Name)
	case action.Kind != ActionNegotiate && len(action.Methods) != 0:
		v.fail("filter action %q is %s: ESP proposals belong to negotiate only", action.Name, action.Kind)
	}
}

func (v *validator) policy(p *Policy) {
	if p.DefaultAction != ActionBlock && p.DefaultAction != ActionPermit {
		v.fail("policy %q: expected default action block or permit, found %s", p.Name, p.DefaultAction)
	}
	v.names(fmt.Sprintf("policy %q: rule", p.Name), len(p.Rules), func(i int) string { return p.Rules[i].Name })
	for i := range p.Rules {
		v.rule(fmt.Sprintf("policy %q, rule %q", p.Name, p.Rules[i].Name), &p.Rules[i])
	}
}

func (v *validator) rule(where string, rule *Rule) {
	list, action := v.index.lists[rule.FilterList], v.index.actions[rule.FilterAction]
	if list == nil {
		v.fail("%s: filter list %q does not exist: expected %s", where, rule.FilterList, oneOf(v.index.lists))
	}
	if action == nil {
		v.fail("%s: filter action %q does not exist: expected %s", where, rule.FilterAction, oneOf(v.index.actions))
	}
	if rule.Ports > PortsAll {
		v.fail("%s: expected ports lan, wan or all, found %s", where, rule.Ports)
	}
	switch {
	case action == nil:
	case action.Kind != ActionNegotiate && rule.Tunnel != "":
		v.fail("%s: action %q is %s and uses no tunnel, found tunnel %q", where, action.Name, action.Kind, rule.Tunnel)
	case action.Kind == ActionNegotiate:
		v.negotiated(where, rule, list)
	}
}

// negotiated checks what only a rule that negotiates demands.
func (v *validator) negotiated(where string, rule *Rule, list *FilterList) {
	if rule.Tunnel == "" {
		v.fail("%s: its action negotiates, expected a tunnel, found none", where)
	}
	if rule.ports() != PortsAll {
		v.fail("%s: its action negotiates, so traffic enters on lan ports and returns on wan ports: expected ports all, found %s", where, rule.Ports)
	}
	if list == nil {
		return
	}
	for i := range list.Filters {
		f := &list.Filters[i]
		if f.Protocol == protocolNames["rsvp"] { // S-037
			v.fail("%s: filter %q: protocol 46 (rsvp) cannot be negotiated, only permitted or blocked", where, f.label())
		}
		for _, spec := range []AddressSpec{f.Source, f.Destination} { // S-105
			if spec.kind == addressRange && isGroup(spec.span) {
				v.fail("%s: filter %q: multicast and broadcast (%s) cannot be negotiated, only permitted or blocked", where, f.label(), spec)
			}
		}
	}
}

// isGroup reports whether all of the range is multicast (S-104; RFC 4291, section 2.7) or the limited broadcast address.
func isGroup(r AddrRange) bool {
	for _, group := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		if RangeOf(netip.MustParsePrefix(group)).ContainsRange(r) {
			return true
		}
	}
	return false
}

// oneOf lists the known names for an error message.
func oneOf[T any](known map[string]T) string {
	if len(known) == 0 {
		return "one that is defined, and none is"
	}
	return "one of " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// index finds the parts of a set by name, the first where a name is there twice.
type index struct {
	policies map[string]*Policy
	lists    map[string]*FilterList
	actions  map[string]*FilterAction
}

func newIndex(set *Set) *index {
	x := &index{policies: map[string]*Policy{}, lists: map[string]*FilterList{}, actions: map[string]*FilterAction{}}
	for i := len(set.Policies) - 1; i >= 0; i-- {
		x.policies[set.Policies[i].Name] = &set.Policies[i]
	}
	for i := len(set.FilterLists) - 1; i >= 0; i-- {
		x.lists[set.FilterLists[i].Name] = &set.FilterLists[i]
	}
	for i := len(set.FilterActions) - 1; i >= 0; i-- {
		x.actions[set.FilterActions[i].Name] = &set.FilterActions[i]
	}
	return x
}

// ports is the rule's port group with its default.
func (r *Rule) ports() PortGroup {
	if r.Ports == 0 {
		return PortsAll
	}
	return r.Ports
}
