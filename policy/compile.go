package policy

import (
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// MaxEntries is the most specific filters a policy may have: the largest priority that rte_acl takes (2^29 - 1).
const MaxEntries = 1<<29 - 1

// box is the traffic of one specific filter in packet terms.
type box struct {
	Source, Destination         AddrRange
	Protocol                    uint8
	SourcePort, DestinationPort PortRange
}

// reversed is the box of the packets that go the other way.
func (b box) reversed() box {
	return box{Source: b.Destination, Destination: b.Source, Protocol: b.Protocol, SourcePort: b.DestinationPort, DestinationPort: b.SourcePort}
}

// draft is an entry on its way into the SPD.
type draft struct {
	Entry
	kind     ActionKind
	forward  box         // the filter as written, also for its mirror image
	specific specificity // set by weigh
}

// Compile checks the whole set and turns its active policy into specific filters in the order of their weight. It
// returns every error it finds, joined; with an error there is no SPD. The result depends on the contents of the set
// only, not on the order of its lists (S-007).
func Compile(set *Set, env Environment) (*SPD, []Warning, error) {
	known := newIndex(set)
	if err := validate(set, known, env); err != nil {
		return nil, nil, err
	}
	active := known.policies[set.Active]
	drafts, warnings := expandPolicy(known, active, env)
	drafts, conflicts, err := settleConflicts(drafts)
	if err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, conflicts...)
	if len(drafts) > MaxEntries {
		return nil, nil, fmt.Errorf("policy %q: %d specific filters, expected at most %d", active.Name, len(drafts), MaxEntries)
	}
	if err := weigh(drafts); err != nil {
		return nil, nil, fmt.Errorf("policy %q: %w", active.Name, err)
	}
	spd := &SPD{Policy: active.Name, DefaultAction: active.DefaultAction, Entries: make([]Entry, len(drafts))}
	for i, d := range drafts {
		spd.Entries[i] = d.Entry
		spd.NeedsIKE = spd.NeedsIKE || d.kind == ActionNegotiate
	}
	if spd.NeedsIKE {
		spd.Exemptions = exemptionsLevel3(env)
	}
	assignIDs(spd)
	slices.SortFunc(warnings, func(a, b Warning) int { return strings.Compare(a.Message, b.Message) })
	return spd, slices.CompactFunc(warnings, func(a, b Warning) bool { return a.Message == b.Message }), nil
}

// expandPolicy turns the generic filters of the policy's rules into drafts.
func expandPolicy(known *index, active *Policy, env Environment) ([]*draft, []Warning) {
	var drafts []*draft
	var warnings []Warning
	if active.DefaultAction == ActionPermit {
		warnings = append(warnings, Warning{Message: fmt.Sprintf("policy %q passes traffic that no filter matches in clear (default action permit)", active.Name)})
	}
	for i := range active.Rules {
		rule := &active.Rules[i]
		list, action := known.lists[rule.FilterList], known.actions[rule.FilterAction]
		if list.Updated.IsZero() {
			warnings = append(warnings, Warning{Rules: []string{rule.Name},
				Message: fmt.Sprintf("filter list %q has no date of its last review (updated)", list.Name)})
		}
		for j := range list.Filters {
			expanded := expandFilter(rule, list, &list.Filters[j], action, env)
			if len(expanded) == 0 {
				warnings = append(warnings, Warning{Rules: []string{rule.Name}, Message: fmt.Sprintf(
					"rule %q: filter %q of list %q matches nothing: the gateway has no address of its own of the IP version needed", rule.Name, list.Filters[j].label(), list.Name)})
			}
			drafts = append(drafts, expanded...)
		}
	}
	return drafts, warnings
}

// expandFilter is the specific filters of one generic filter: one per pair of addresses of the same IP version, and
// one more for the reverse direction where that is wanted.
func expandFilter(rule *Rule, list *FilterList, f *Filter, action *FilterAction, env Environment) []*draft {
	var drafts []*draft
	for _, source := range f.Source.expand(env) {
		for _, destination := range f.Destination.expand(env) {
			if source.Is4() != destination.Is4() {
				continue
			}
			forward := box{Source: source, Destination: destination, Protocol: f.Protocol, SourcePort: f.sourcePort(), DestinationPort: f.destinationPort()}
			d := newDraft(rule, list, f, action)
			d.forward = forward
			d.setTraffic(forward)
			drafts = append(drafts, d)
			if f.Mirrored && forward.reversed() != forward || action.Kind == ActionNegotiate {
				reverse := *d
				reverse.reverse()
				drafts = append(drafts, &reverse)
			}
		}
	}
	return drafts
}

// newDraft is the outbound form of an entry without its traffic.
func newDraft(rule *Rule, list *FilterList, f *Filter, action *FilterAction) *draft {
	d := &draft{kind: action.Kind}
	d.Rule, d.FilterList, d.FilterName, d.Ports = rule.Name, list.Name, f.label(), rule.ports()
	switch action.Kind {
	case ActionNegotiate:
		d.Verdict, d.Tunnel = VerdictProtect, rule.Tunnel
	case ActionPermit:
		d.Verdict = VerdictPermit
	default:
		d.Verdict = VerdictBlock
	}
	return d
}

func (d *draft) setTraffic(b box) {
	d.Source, d.Destination, d.Protocol, d.SourcePort, d.DestinationPort = b.Source, b.Destination, b.Protocol, b.SourcePort, b.DestinationPort
}

// reverse turns the outbound form into the inbound one.
func (d *draft) reverse() {
	d.Mirror = true
	d.setTraffic(d.forward.reversed())
	if d.Verdict == VerdictProtect {
		d.Verdict = VerdictRequire
	}
}

func (d *draft) traffic() box {
	return box{Source: d.Source, Destination: d.Destination, Protocol: d.Protocol, SourcePort: d.SourcePort, DestinationPort: d.DestinationPort}
}

// assignIDs gives every entry and exemption a number that depends on its own text. Two texts with the same hash are
// rehashed in the order of rank, so a collision too gives the same numbers for the same policy.
func assignIDs(spd *SPD) {
	used := map[uint32]bool{0: true}
	assign := func(text string) uint32 {
		h := fnv.New32a()
		h.Write([]byte(text))
		for used[h.Sum32()] {
			h.Write([]byte{0})
		}
		used[h.Sum32()] = true
		return h.Sum32()
	}
	for i := range spd.Exemptions {
		spd.Exemptions[i].ID = assign("exemption\x00" + spd.Exemptions[i].Name)
	}
	for i := range spd.Entries {
		e := &spd.Entries[i]
		spd.Entries[i].ID = assign(fmt.Sprintf("entry\x00%s\x00%s\x00%s\x00%t\x00%s\x00%s", e.Rule, e.FilterList, e.FilterName, e.Mirror, e.Source, e.Destination))
	}
}

// settleConflicts leaves one action for each piece of traffic and port role: the most restrictive (S-017).
func settleConflicts(drafts []*draft) ([]*draft, []Warning, error) {
	groups := map[box][]*draft{}
	for _, d := range drafts {
		groups[d.traffic()] = append(groups[d.traffic()], d)
	}
	var kept []*draft
	var warnings []Warning
	var errs []error
	for _, group := range groups {
		slices.SortFunc(group, compareRank)
		winners, groupWarnings, groupErrs := settle(group)
		kept = append(kept, winners...)
		warnings = append(warnings, groupWarnings...)
		errs = append(errs, groupErrs...)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return kept, warnings, errors.Join(errs...)
}

// settle decides a group of drafts with the same traffic, sorted with the most restrictive first. A draft loses the port
// roles that a more restrictive action has taken, and the same action of another rule adds nothing.
func settle(group []*draft) (kept []*draft, warnings []Warning, errs []error) {
	for _, d := range group {
		for _, winner := range kept {
			switch {
			case d.Ports&winner.Ports == 0:
			case winner.kind != d.kind:
				d.Ports &^= winner.Ports
				warnings = append(warnings, Warning{Rules: []string{winner.Rule, d.Rule}, Message: fmt.Sprintf(
					"rules %q and %q disagree on %s: %s holds over %s because it is more restrictive", winner.Rule, d.Rule, d.describe(), winner.kind, d.kind)})
			case winner.Verdict != d.Verdict: // Require and Protect, see divide
			case winner.Tunnel != d.Tunnel:
				errs = append(errs, fmt.Errorf("rules %q and %q protect the same traffic (%s) with different tunnels, %q and %q: leave one of them out",
					winner.Rule, d.Rule, d.describe(), winner.Tunnel, d.Tunnel))
			default:
				d.Ports &^= winner.Ports
				warnings = append(warnings, redundant(winner, d)...)
			}
		}
		if d.Ports != 0 {
			kept = append(kept, d)
		}
	}
	return divide(kept), warnings, errs
}

// divide tells the two directions of a filter apart that is its own mirror image, such as any to any: what comes from
// the protected side is outbound, what comes from the unprotected side is inbound.
func divide(settled []*draft) []*draft {
	roles := map[Verdict]PortGroup{VerdictRequire: PortsWAN, VerdictProtect: PortsLAN}
	mirrorImages := slices.ContainsFunc(settled, func(d *draft) bool { return d.Verdict == VerdictRequire }) &&
		slices.ContainsFunc(settled, func(d *draft) bool { return d.Verdict == VerdictProtect })
	if !mirrorImages {
		return settled
	}
	for _, d := range settled {
		if role, divided := roles[d.Verdict]; divided {
			d.Ports &= role
		}
	}
	return slices.DeleteFunc(settled, func(d *draft) bool { return d.Ports == 0 })
}

// redundant warns that two filters say the same, unless they are one filter that expanded to the same traffic twice.
func redundant(winner, d *draft) []Warning {
	switch {
	case winner.Rule != d.Rule:
		return []Warning{{Rules: []string{winner.Rule, d.Rule}, Message: fmt.Sprintf(
			"rules %q and %q both %s %s: one of them adds nothing", winner.Rule, d.Rule, d.kind, d.describe())}}
	case winner.FilterName != d.FilterName:
		return []Warning{{Rules: []string{d.Rule}, Message: fmt.Sprintf(
			"rule %q: filters %q and %q of list %q both cover %s: one of them adds nothing", d.Rule, winner.FilterName, d.FilterName, d.FilterList, d.describe())}}
	}
	return nil
}

// describe is the draft's traffic for a message.
func (d *draft) describe() string {
	text := side(d.Source, d.SourcePort) + " to " + side(d.Destination, d.DestinationPort)
	if d.Protocol != 0 {
		text += " " + ProtocolName(d.Protocol)
	}
	return text
}
