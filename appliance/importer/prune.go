package importer

import (
	"fmt"
	"net/netip"
	"slices"

	"sallyport/policy"
)

// dropEmpty leaves out lists without filters, which match nothing, and the rules that use them.
func (f *finisher) dropEmpty() {
	for _, p := range f.draft.policies {
		p.rules = slices.DeleteFunc(p.rules, func(each *rule) bool {
			empty := len(each.list.filters) == 0
			if empty {
				f.lost(each.line, "rule %s is left out: its filter list %s has no filters", quote(each.name), quote(each.list.name))
			}
			return empty
		})
	}
	f.draft.lists = slices.DeleteFunc(f.draft.lists, func(l *list) bool {
		empty := len(l.filters) == 0
		if empty {
			f.lost(l.line, "filter list %s is left out: it has no filters", quote(l.name))
		}
		return empty
	})
}

// dropContested leaves each filter to the first of the rules that negotiate it with different peers: a packet goes to one.
func (f *finisher) dropContested(p *rulebook) {
	first := map[string]*rule{}
	p.rules = slices.DeleteFunc(p.rules, func(each *rule) bool {
		if each.peer == nil {
			return false
		}
		var own []filter
		for _, one := range each.list.filters {
			other := first[one.text()]
			if other == nil || other.peer == each.peer {
				first[one.text()] = each
				own = append(own, one)
				continue
			}
			f.lost(one.line, "rules %s and %s (line %d) protect the traffic of this filter with different peers: it stays with the first", quote(other.name), quote(each.name), each.line)
		}
		if len(own) > 0 && len(own) < len(each.list.filters) {
			each.list = &list{line: each.list.line, name: each.list.name, about: each.list.about, filters: own}
			f.draft.lists = append(f.draft.lists, each.list)
		}
		return len(own) == 0
	})
}

// dropUnused leaves out the peers that no rule names: a gateway would negotiate with them for nothing.
func (f *finisher) dropUnused() {
	named := map[*peer]bool{}
	for _, p := range f.draft.policies {
		for _, each := range p.rules {
			named[each.peer] = true
		}
	}
	f.draft.peers = slices.DeleteFunc(f.draft.peers, func(p *peer) bool { return !named[p] })
}

// maxSelectors is the most traffic selectors of a tunnel that package ike takes.
const maxSelectors = 128

// splitLarge makes several rules of one whose tunnel would have too many traffic selectors.
func (f *finisher) splitLarge(p *rulebook) {
	own := f.ownAddresses()
	var rules []*rule
	for _, each := range p.rules {
		if each.action.kind != policy.ActionNegotiate {
			rules = append(rules, each)
			continue
		}
		parts := split(each.list.filters, own)
		if len(parts) == 1 {
			rules = append(rules, each)
			continue
		}
		f.changed(each.line, "rule %s has more traffic than one tunnel can name (%d selectors) and is %d rules here", quote(each.name), maxSelectors, len(parts))
		for i, filters := range parts {
			part := *each
			name := fmt.Sprintf("part%d", i+1)
			part.name = partName(each.name, name)
			part.list = &list{line: each.list.line, name: partName(each.list.name, name), about: each.list.about, filters: filters}
			f.draft.lists = append(f.draft.lists, part.list)
			rules = append(rules, &part)
		}
	}
	p.rules = rules
}

// ownAddresses is the most addresses that the gateway will have of its own.
func (f *finisher) ownAddresses() int {
	own := map[netip.Addr]bool{}
	for _, p := range f.draft.peers {
		own[p.local] = true
	}
	return len(own) + 1 // and the one on the protected side
}

// split cuts a list of filters into parts that one tunnel can have.
func split(filters []filter, own int) [][]filter {
	var parts [][]filter
	first, count := 0, 0
	for i := range filters {
		selectors := sides(filters[i].source, own) * sides(filters[i].destination, own)
		if count+selectors > maxSelectors && i > first {
			parts = append(parts, filters[first:i])
			first, count = i, 0
		}
		count += selectors
	}
	return append(parts, filters[first:])
}

// sides is how many ranges one side of a filter stands for.
func sides(a address, own int) int {
	switch a {
	case ownAddress:
		return own
	case anyAddress:
		return 2 // IPv4 and IPv6
	}
	return 1
}

// mergePeers makes one peer of those that a gateway could not tell apart.
func (f *finisher) mergePeers() {
	type ends struct {
		local, remote     netip.Addr
		localID, remoteID string
	}
	first, replaced := map[ends]*peer{}, map[*peer]*peer{}
	for _, p := range f.draft.peers {
		e := ends{p.local, p.remote, identityOr(p.localID, p.local), identityOr(p.remoteID, p.remote)}
		if e.localID == e.remoteID {
			f.problem(p.line, "peer %q: both ends have the identity %s: expected two", p.name, quote(e.localID))
		}
		if same := first[e]; same != nil {
			f.changed(p.line, "peer %q has the addresses and identities of peer %q: they are one, with the settings of the first", p.name, same.name)
			replaced[p] = same
			continue
		}
		first[e] = p
	}
	for _, book := range f.draft.policies {
		for _, each := range book.rules {
			if same := replaced[each.peer]; same != nil {
				each.peer = same
			}
		}
	}
	f.draft.peers = slices.DeleteFunc(f.draft.peers, func(p *peer) bool { return replaced[p] != nil })
}
