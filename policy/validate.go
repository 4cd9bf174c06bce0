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
	v := &validator{index: known, broadcasts: env.broadcasts()}
	for i := range set.FilterLists {
		v.filterList(i, &set.FilterLists[i])
	}
	for i := range set.FilterActions {
		v.filterAction(i, &set.FilterActions[i])
	}
	for i := range set.Policies {
		v.policy(i, &set.Policies[i])
	}
	if known.policies[set.Active] == nil && (set.Active != "" || len(set.Policies) > 0) {
		v.fail(at(PartSet, 0, 0, "active policy"), "", "expected %s, found %q", oneOf(known.policies), set.Active)
	}
	if !set.Exemptions.isKnown() {
		v.fail(at(PartSet, 0, 0, "exemptions"), "Exemptions", "expected a level 0 to 3, found %s", set.Exemptions)
	}
	v.environment(env)
	return errors.Join(v.errs...)
}

// environment checks the addresses that a caller gives. What peers proposed is not checked here: it cannot be an error.
func (v *validator) environment(env Environment) {
	for _, group := range []struct {
		name      string
		addresses []netip.Addr
	}{{"local address", env.LocalAddresses}, {"vanished address", env.Vanished}} {
		for _, address := range group.addresses {
			if err := HostRange(address).Validate(); err != nil {
				v.fail(at(PartSet, 0, 0, "%s %s", group.name, address), "", "%s", err)
			}
		}
	}
}

type validator struct {
	index      *index
	broadcasts []netip.Addr
	errs       []error
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
	if list.Name == DynamicList {
		v.fail(where, "Name", "expected another name, because %s is the list of what peers proposed, found %q", DynamicList, list.Name)
	}
	if len(list.Filters) == 0 {
		v.fail(where, "Filters", "expected at least one filter, found none")
	}
	seen := map[string]bool{}
	for j := range list.Filters {
		label, faults := list.Filters[j].label(), checkFilter(&list.Filters[j])
		if seen[label] {
			faults = append(faults, fault{"", fmt.Sprintf("expected filters that differ, found %q for the second time", label)})
		}
		seen[label] = true
		for _, fault := range faults {
			v.fail(at(PartFilter, i, j, "filter list %q, filter %q", list.Name, label), fault.field, "%s", fault.text)
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
	v.methods(where, "Methods", action.Methods)
	for _, flag := range []struct {
		field, key string
		set        bool
	}{
		{"FallbackClear", "fallback_clear", action.FallbackClear}, {"FallbackClearOnWAN", "fallback_clear_on_wan", action.FallbackClearOnWAN},
		{"InboundPassthrough", "inbound_passthrough", action.InboundPassthrough},
	} {
		if flag.set && action.Kind != ActionNegotiate {
			v.fail(where, flag.field, "expected %s for negotiate only, found it for %s", flag.key, action.Kind)
		}
	}
	if action.FallbackClearOnWAN && !action.FallbackClear {
		v.fail(where, "FallbackClearOnWAN", "expected fallback_clear too, which it only extends to tunnels and wan ports, found it alone")
	}
}

func (v *validator) policy(i int, p *Policy) {
	where := at(PartPolicy, i, 0, "policy %q", p.Name)
	v.name(where, p.Name, v.index.policies[p.Name] == p)
	if p.DefaultAction != ActionBlock && p.DefaultAction != ActionPermit {
		v.fail(where, "DefaultAction", "expected block or permit, found %s", p.DefaultAction)
	}
	v.defaultResponse(where, &p.DefaultResponse)
	seen := map[string]bool{}
	for j := range p.Rules {
		rule := &p.Rules[j]
		where := at(PartRule, i, j, "policy %q, rule %q", p.Name, rule.Name)
		v.name(where, rule.Name, !seen[rule.Name])
		seen[rule.Name] = true
		v.rule(where, rule)
	}
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
