package importer

import (
	"errors"
	"net/netip"
	"slices"

	"sallyport/policy"
)

// maxSpecific is the most specific filters that all imported policies may have together: far more than a data plane is
// given, and a bound on the time and memory of an import.
const maxSpecific = 1 << 20

// compile lets package policy judge every policy of the draft, and leaves out the rules that could never have traffic.
func (f *finisher) compile() {
	env := f.environment()
	specific := 0
	for _, p := range f.draft.policies {
		for _, each := range p.rules {
			specific += 2 * len(each.list.filters) * len(env.LocalAddresses)
		}
		if specific > maxSpecific {
			f.problem(p.line, "with policy %s there are more than %d filters: import the file in parts", quote(p.name), maxSpecific)
			return
		}
		f.compileOne(p, env)
	}
	f.compileUnused(env)
}

// compileUnused lets package policy judge the lists that no rule uses, which a configuration has to have right too.
func (f *finisher) compileUnused(env policy.Environment) {
	used := map[*list]bool{}
	for _, p := range f.draft.policies {
		for _, each := range p.rules {
			used[each.list] = true
		}
	}
	none := &rulebook{name: "none"}
	set, _ := f.set(none)
	var lists []*list
	for _, l := range f.draft.lists {
		if !used[l] {
			lists = append(lists, l)
			set.FilterLists = append(set.FilterLists, f.policyList(l))
		}
	}
	if _, _, err := policy.Compile(set, env); err != nil {
		f.addPolicyErrors(none, lists, err)
	}
}

func (f *finisher) environment() policy.Environment {
	var env policy.Environment
	for _, own := range slices.Concat(f.lan, f.wan) {
		env.LocalAddresses = append(env.LocalAddresses, own.Addr())
	}
	return env
}

// compileOne compiles a policy until no rule is left without traffic.
func (f *finisher) compileOne(p *rulebook, env policy.Environment) {
	set, parts := f.set(p)
	spd, warnings, err := policy.Compile(set, env)
	if err != nil {
		f.addPolicyErrors(p, parts, err)
		return
	}
	for _, w := range warnings {
		if len(w.Rules) == 2 { // two rules of the source that contradict each other
			f.info(f.ruleLine(p, w.Rules[1]), "%s", w)
		}
	}
	traffic := spd.Selectors()
	p.rules = slices.DeleteFunc(p.rules, func(each *rule) bool {
		idle := each.action.kind == policy.ActionNegotiate && len(traffic[each.name]) == 0
		if idle {
			f.lost(each.line, "rule %s is left out: it has no traffic to protect that another rule does not take", quote(each.name))
		}
		return idle
	})
}

func (f *finisher) ruleLine(p *rulebook, name string) int {
	for _, each := range p.rules {
		if each.name == name {
			return each.line
		}
	}
	return p.line
}

// set is one policy of the draft with the lists and actions that it uses. The second result is the lists in the order of
// the set.
func (f *finisher) set(p *rulebook) (*policy.Set, []*list) {
	set := &policy.Set{Active: p.name, Policies: []policy.Policy{{Name: p.name}}}
	var lists []*list
	listed, acting := map[*list]bool{}, map[*action]bool{}
	for _, each := range p.rules {
		compiled := policy.Rule{Name: each.name, FilterList: each.list.name, FilterAction: each.action.name, Ports: each.ports}
		if each.action.kind == policy.ActionNegotiate {
			compiled.Tunnel, compiled.AuthMethods = each.name, []string{"psk"}
		}
		set.Policies[0].Rules = append(set.Policies[0].Rules, compiled)
		if !listed[each.list] {
			listed[each.list] = true
			lists = append(lists, each.list)
			set.FilterLists = append(set.FilterLists, f.policyList(each.list))
		}
		if !acting[each.action] {
			acting[each.action] = true
			compiled := policy.FilterAction{Name: each.action.name, Kind: each.action.kind}
			if each.action.kind == policy.ActionNegotiate {
				compiled.Methods = []string{"any"}
			}
			set.FilterActions = append(set.FilterActions, compiled)
		}
	}
	return set, lists
}

// policyList is a filter list as package policy has it. A DNS name, which only the gateway resolves, is an address of
// its own here.
func (f *finisher) policyList(l *list) policy.FilterList {
	compiled := policy.FilterList{Name: l.name}
	for i := range l.filters {
		from := &l.filters[i]
		compiled.Filters = append(compiled.Filters, policy.Filter{
			Source: f.spec(from.source), Destination: f.spec(from.destination), Protocol: from.protocol,
			SourcePort: from.sourcePort, DestinationPort: from.destinationPort, Mirrored: from.mirrored,
		})
	}
	return compiled
}

func (f *finisher) spec(a address) policy.AddressSpec {
	if name, isName := a.dnsName(); isName {
		if f.names == nil {
			f.names = map[string]netip.Addr{}
			f.lastName = netip.MustParseAddr("240.0.0.0") // reserved (RFC 1112, section 4): no file means it
		}
		if _, known := f.names[name]; !known {
			f.lastName = f.lastName.Next()
			f.names[name] = f.lastName
		}
		return policy.Range(policy.HostRange(f.names[name]))
	}
	spec, err := policy.ParseAddressSpec(string(a))
	if err != nil {
		f.problem(0, "%s", err)
	}
	return spec
}

// addPolicyErrors reports what package policy refuses, at the lines of the source.
func (f *finisher) addPolicyErrors(p *rulebook, lists []*list, err error) {
	if joined, several := err.(interface{ Unwrap() []error }); several {
		for _, one := range joined.Unwrap() {
			f.addPolicyErrors(p, lists, one)
		}
		return
	}
	line := p.line
	var problem *policy.Problem
	if errors.As(err, &problem) {
		switch {
		case problem.Part == policy.PartRule && problem.Item < len(p.rules):
			line = p.rules[problem.Item].line
		case problem.Part == policy.PartFilter && problem.Index < len(lists) && problem.Item < len(lists[problem.Index].filters):
			line = lists[problem.Index].filters[problem.Item].line
		case problem.Part == policy.PartFilterList && problem.Index < len(lists):
			line = lists[problem.Index].line
		}
	}
	f.problem(line, "%s", err)
}
