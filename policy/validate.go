package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// validate checks all of a set, the policies that are not active included, and returns a Problem for every mistake, joined.
func validate(set *Set, known *index, env Environment) error {
	v := &validator{index: known}
	for i := range set.FilterLists {
		v.filterList(i, &set.FilterLists[i])
	}
	for i := range set.FilterActions {
		v.filterAction(i, &set.FilterActions[i])
	}
	for i := range set.Policies {
		v.policy(i, &set.Policies[i])
	}
	if known.policies[set.Active] == nil {
		v.fail(at(PartSet, 0, 0, "active policy"), "", "expected %s, found %q", oneOf(known.policies), set.Active)
	}
	for _, address := range env.LocalAddresses {
		if err := HostRange(address).Validate(); err != nil {
			v.fail(at(PartSet, 0, 0, "local address %s", address), "", "%s", err)
		}
	}
	return errors.Join(v.errs...)
}

type validator struct {
	index *index
	errs  []error
}

func (v *validator) fail(where Problem, field, format string, args ...any) {
	where.Field, where.Text = field, fmt.Sprintf(format, args...)
	v.errs = append(v.errs, &where)
}

// name demands that a name is given, and that no part before has it.
func (v *validator) name(where Problem, name string, isFirst bool) {
	switch {
	case name == "":
		v.fail(where, "Name", "expected a name, found none")
	case !isFirst:
		v.fail(where, "Name", "expected a name of its own, found %q for the second time", name)
	}
}

func (v *validator) filterList(i int, list *FilterList) {
	where := at(PartFilterList, i, 0, "filter list %q", list.Name)
	v.name(where, list.Name, v.index.lists[list.Name] == list)
	if len(list.Filters) == 0 {
		v.fail(where, "Filters", "expected at least one filter, found none")
	}
	seen := map[string]bool{}
	for j := range list.Filters {
		f := &list.Filters[j]
		where := at(PartFilter, i, j, "filter list %q, filter %q", list.Name, f.label())
		if seen[f.label()] {
			v.fail(where, "", "expected filters that differ, found %q for the second time", f.label())
		}
		seen[f.label()] = true
		v.filter(where, f)
	}
}

func (v *validator) filter(where Problem, f *Filter) {
	for _, side := range []struct {
		field string
		spec  AddressSpec
	}{{"Source", f.Source}, {"Destination", f.Destination}} {
		if side.spec.kind == addressRange {
			if err := side.spec.span.Validate(); err != nil {
				v.fail(where, side.field, "%s", err)
			}
		}
	}
	if f.Source.kind == addressRange && f.Destination.kind == addressRange && f.Source.span.Is4() != f.Destination.span.Is4() {
		v.fail(where, "Destination", "expected the IP version of the source %s, found %s", f.Source, f.Destination)
	}
	for _, side := range []struct {
		field string
		ports PortRange
	}{{"SourcePort", f.sourcePort()}, {"DestinationPort", f.destinationPort()}} {
		if side.ports.Last < side.ports.First {
			v.fail(where, side.field, "expected the lower port first, found %s", side.ports)
		}
		if side.ports != AnyPort && !protocolHasPorts(f.Protocol) {
			v.fail(where, side.field, "expected a protocol that has ports (tcp, udp, sctp, udplite) with port %s, found protocol %s", side.ports, ProtocolName(f.Protocol))
		}
	}
}

func (v *validator) filterAction(i int, action *FilterAction) {
	where := at(PartFilterAction, i, 0, "filter action %q", action.Name)
	v.name(where, action.Name, v.index.actions[action.Name] == action)
	switch {
	case action.Kind < ActionBlock || action.Kind > ActionPermit:
		v.fail(where, "Kind", "expected permit, block or negotiate, found %s", action.Kind)
	case action.Kind == ActionNegotiate && len(action.Methods) == 0:
		v.fail(where, "Methods", "expected at least one ESP proposal for negotiate, found none")
	case action.Kind != ActionNegotiate && len(action.Methods) != 0:
		v.fail(where, "Methods", "expected ESP proposals for negotiate only, found some for %s", action.Kind)
	}
}

func (v *validator) policy(i int, p *Policy) {
	where := at(PartPolicy, i, 0, "policy %q", p.Name)
	v.name(where, p.Name, v.index.policies[p.Name] == p)
	if p.DefaultAction != ActionBlock && p.DefaultAction != ActionPermit {
		v.fail(where, "DefaultAction", "expected block or permit, found %s", p.DefaultAction)
	}
	seen := map[string]bool{}
	for j := range p.Rules {
		rule := &p.Rules[j]
		where := at(PartRule, i, j, "policy %q, rule %q", p.Name, rule.Name)
		v.name(where, rule.Name, !seen[rule.Name])
		seen[rule.Name] = true
		v.rule(where, rule)
	}
}

func (v *validator) rule(where Problem, rule *Rule) {
	list, action := v.index.lists[rule.FilterList], v.index.actions[rule.FilterAction]
	if list == nil {
		v.fail(where, "FilterList", "expected %s, found %q", oneOf(v.index.lists), rule.FilterList)
	}
	if action == nil {
		v.fail(where, "FilterAction", "expected %s, found %q", oneOf(v.index.actions), rule.FilterAction)
	}
	if rule.Ports > PortsAll {
		v.fail(where, "Ports", "expected lan, wan or all, found %s", rule.Ports)
	}
	switch {
	case action == nil:
	case action.Kind != ActionNegotiate && rule.Tunnel != "":
		v.fail(where, "Tunnel", "expected no tunnel, because action %q is %s, found %q", action.Name, action.Kind, rule.Tunnel)
	case action.Kind == ActionNegotiate:
		v.negotiated(where, rule, list)
	}
}

// negotiated checks what only a rule that negotiates demands.
func (v *validator) negotiated(where Problem, rule *Rule, list *FilterList) {
	if rule.Tunnel == "" {
		v.fail(where, "Tunnel", "expected a tunnel, because its action negotiates, found none")
	}
	if rule.ports() != PortsAll {
		v.fail(where, "Ports", "expected all, because its action negotiates and what leaves by one side returns by the other, found %s", rule.Ports)
	}
	if list == nil {
		return
	}
	for i := range list.Filters {
		f := &list.Filters[i]
		if f.Protocol == protocolNames["rsvp"] { // S-037
			v.fail(where, "FilterList", "expected filters that can be negotiated, found %q: protocol 46 (rsvp) can only be permitted or blocked", f.label())
		}
		for _, spec := range []AddressSpec{f.Source, f.Destination} { // S-105
			if spec.kind == addressRange && isGroup(spec.span) {
				v.fail(where, "FilterList", "expected filters that can be negotiated, found %q: multicast and broadcast (%s) can only be permitted or blocked", f.label(), spec)
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
		return "one that is defined (none is)"
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
