package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// settleConflicts leaves one action for each piece of traffic and port role: the most restrictive (S-017).
func settleConflicts(drafts []*draft) ([]*draft, []Warning, error) {
	groups := make(map[box][]*draft, len(drafts))
	for _, d := range drafts {
		groups[d.traffic()] = append(groups[d.traffic()], d)
	}
	kept := make([]*draft, 0, len(drafts))
	var found quarrels
	for _, group := range groups {
		if len(group) == 1 {
			kept = append(kept, group...)
			continue
		}
		slices.SortFunc(group, compareRank)
		kept = append(kept, found.settle(group)...)
	}
	slices.SortFunc(found.errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return kept, found.warnings(), errors.Join(found.errs...)
}

// quarrel is two rules that say something of the same traffic, and how it is settled.
type quarrel struct {
	winner, loser *draft
	before, after string // what is said of them before and after their traffic
}

// quarrels is what is to be said of all conflicts.
type quarrels struct {
	all  []quarrel
	errs []error
}

// settle decides a group of drafts with the same traffic, sorted with the most restrictive first. A draft loses the port
// roles that a more restrictive action has taken, and the same action of another rule adds nothing.
func (q *quarrels) settle(group []*draft) (kept []*draft) {
	for _, d := range group {
		for _, winner := range kept {
			switch {
			case d.Ports&winner.Ports == 0:
			case winner.class() != d.class():
				q.say(winner, d, "disagree on ", fmt.Sprintf(": %s holds over %s because it is more restrictive", winner.class(), d.class()))
				d.Ports &^= winner.Ports
			case winner.Verdict != d.Verdict: // Require and Protect, see divide
			case winner.Tunnel != d.Tunnel && d.dynamic:
				q.say(winner, d, "take ", fmt.Sprintf(" for tunnels %q and %q: %q holds", winner.Tunnel, d.Tunnel, winner.Tunnel))
				d.Ports &^= winner.Ports
			case winner.Tunnel != d.Tunnel:
				q.errs = append(q.errs, fmt.Errorf("rules %s and %s protect the same traffic (%s) with different tunnels, %q and %q: leave one of them out",
					winner.by(), d.by(), d.traffic(), winner.Tunnel, d.Tunnel))
			default:
				q.redundant(winner, d)
				d.Ports &^= winner.Ports
			}
		}
		if d.Ports != 0 {
			kept = append(kept, d)
		}
	}
	return divide(kept)
}

// say keeps what an operator should know of two rules.
func (q *quarrels) say(winner, loser *draft, before, after string) {
	q.all = append(q.all, quarrel{winner: winner, loser: loser, before: before, after: after})
}

// redundant is said when two filters say the same, unless they are one filter that expanded to the same traffic twice, or
// only hold the place of a vanished address.
func (q *quarrels) redundant(winner, d *draft) {
	switch {
	case d.Verdict == VerdictStale:
	case winner.Rule != d.Rule:
		q.say(winner, d, fmt.Sprintf("both %s ", d.kind), ": one of them adds nothing")
	case winner.FilterName != d.FilterName:
		q.say(winner, d, fmt.Sprintf("filters %q and %q of list %q both cover ", winner.FilterName, d.FilterName, d.FilterList), ": one of them adds nothing")
	}
}

// compareSaid orders quarrels so that those between the same rules of the same kind stand together.
func compareSaid(a, b quarrel) int {
	return cmp.Or(strings.Compare(a.winner.Rule, b.winner.Rule), strings.Compare(a.loser.Rule, b.loser.Rule),
		strings.Compare(a.before, b.before), strings.Compare(a.after, b.after))
}

// warnings is one for each pair of rules and kind of quarrel, with the first piece of traffic and the number of others: an
// operator whose two long lists overlap reads one line, not thousands.
func (q *quarrels) warnings() []Warning {
	slices.SortFunc(q.all, func(a, b quarrel) int {
		if order := compareSaid(a, b); order != 0 {
			return order
		}
		first, second := a.loser.traffic(), b.loser.traffic()
		return compareBox(&first, &second)
	})
	var warnings []Warning
	for i := 0; i < len(q.all); {
		first, end := q.all[i], i+1
		for end < len(q.all) && compareSaid(first, q.all[end]) == 0 {
			end++
		}
		traffic := first.loser.traffic().String()
		if others := end - i - 1; others > 0 {
			traffic += fmt.Sprintf(" and %d more", others)
		}
		w := Warning{Rules: []string{first.winner.Rule}, Message: "rule " + first.winner.by() + ": "}
		if first.loser.Rule != first.winner.Rule {
			w.Rules = append(w.Rules, first.loser.Rule)
			w.Message = "rules " + first.winner.by() + " and " + first.loser.by() + " "
		}
		w.Message += first.before + traffic + first.after
		warnings = append(warnings, w)
		i = end
	}
	return warnings
}

// class is what a draft is called in a conflict. Classes differ where the restrictiveness of their actions does.
func (d *draft) class() string {
	if d.Verdict == VerdictStale {
		return "the block of a vanished own address"
	}
	return d.kind.String()
}

// by is the draft's rule and where it was written.
func (d *draft) by() string { return quoted(d.Rule, d.RuleOrigin) }

// quoted is a name in quotes and the place where it was written.
func quoted(name string, origin Origin) string {
	if at := origin.String(); at != "" {
		return fmt.Sprintf("%q (%s)", name, at)
	}
	return fmt.Sprintf("%q", name)
}

// divide tells the two directions of a filter apart that is its own mirror image, such as any to any: what comes from
// the protected side is outbound, what comes from the unprotected side is inbound. On a role that only one of them speaks
// for there is nothing to tell apart.
func divide(settled []*draft) []*draft {
	roles := map[Verdict]PortGroup{}
	for _, d := range settled {
		roles[d.Verdict] |= d.Ports
	}
	both := roles[VerdictRequire] & roles[VerdictProtect]
	if both == 0 {
		return settled
	}
	for _, d := range settled {
		switch d.Verdict {
		case VerdictRequire:
			d.Ports &^= both & PortsLAN
		case VerdictProtect:
			d.Ports &^= both & PortsWAN
		}
	}
	return slices.DeleteFunc(settled, func(d *draft) bool { return d.Ports == 0 })
}
