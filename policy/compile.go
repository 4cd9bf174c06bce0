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
	forward  box       // the filter as written, also for its mirror image
	declared PortGroup // the port group of the rule, of which the entry may apply to a part
	kind     ActionKind
}

// conflictKey is what two filters must share to be in conflict (S-017).
type conflictKey struct {
	traffic box
	ports   PortGroup
}

// Compile checks the whole set and turns its active policy into specific filters in the order of their weight. It
// returns every error it finds, joined; with an error there is no SPD. The result depends on the contents of the set
// only, not on the order of its lists (S-007).
func Compile(set *Set, env Environment) (*SPD, []Warning, error) {
	if err := validate(set, env); err != nil {
		return nil, nil, err
	}
	active := set.policy(set.Active)
	drafts, warnings := expandPolicy(set, active, env)
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
	return spd, warnings, nil
}

// expandPolicy turns the generic filters of the policy's rules into drafts.
func expandPolicy(set *Set, active *Policy, env Environment) ([]*draft, []Warning) {
	var drafts []*draft
	var warnings []Warning
	if active.DefaultAction == ActionPermit {
		warnings = append(warnings, Warning{Message: fmt.Sprintf("policy %q passes traffic that no filter matches in clear (default action permit)", active.Name)})
	}
	for i := range active.Rules {
		rule := &active.Rules[i]
		list, action := set.filterList(rule.FilterList), set.filterAction(rule.FilterAction)
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
	return drafts, slices.CompactFunc(warnings, func(a, b Warning) bool { return a.Message == b.Message })
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
	d := &draft{kind: action.Kind, declared: rule.ports()}
	d.Rule, d.FilterList, d.FilterName, d.Ports = rule.Name, list.Name, f.label(), rule.ports()
	switch action.Kind {
	case ActionNegotiate:
		// Only what comes from the protected side may enter a tunnel: a forged source on the unprotected side may not.
		d.Verdict, d.Tunnel, d.Ports = VerdictProtect, rule.Tunnel, PortsLAN
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
		// On every port: traffic that claims to come from behind the peer is not to be believed on the protected side either.
		d.Verdict, d.Ports = VerdictRequire, PortsAll
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

// settleConflicts keeps one draft for each piece of traffic: the most restrictive (S-017).
func settleConflicts(drafts []*draft) ([]*draft, []Warning, error) {
	groups := map[conflictKey][]*draft{}
	for _, d := range drafts {
		key := conflictKey{traffic: d.traffic(), ports: d.declared}
		groups[key] = append(groups[key], d)
	}
	var kept []*draft
	var warnings []Warning
	var errs []error
	for _, group := range groups {
		slices.SortFunc(group, compareRank)
		winners, groupWarnings, err := settle(group)
		kept = append(kept, winners...)
		warnings = append(warnings, groupWarnings...)
		errs = append(errs, err)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(errorText(a), errorText(b)) })
	slices.SortFunc(warnings, func(a, b Warning) int { return strings.Compare(a.Message, b.Message) })
	warnings = slices.CompactFunc(warnings, func(a, b Warning) bool { return a.Message == b.Message })
	return kept, warnings, errors.Join(errs...)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// settle decides a group of drafts with the same traffic, sorted with the most restrictive first. Protect and Require
// for the same traffic are not in conflict: they are the two directions of a filter that is its own mirror image.
func settle(group []*draft) (kept []*draft, warnings []Warning, err error) {
	first := map[Verdict]*draft{}
	for _, d := range group {
		winner := group[0]
		switch same := first[d.Verdict]; {
		case d.kind != winner.kind:
			warnings = append(warnings, Warning{Rules: []string{winner.Rule, d.Rule}, Message: fmt.Sprintf(
				"rules %q and %q disagree on %s: %s holds over %s because it is more restrictive", winner.Rule, d.Rule, d.describe(), winner.kind, d.kind)})
		case same == nil:
			first[d.Verdict] = d
			kept = append(kept, d)
		case same.Tunnel != d.Tunnel:
			err = errors.Join(err, fmt.Errorf("rules %q and %q protect the same traffic %s with different tunnels (%s and %s): leave one of them out",
				same.Rule, d.Rule, d.describe(), same.Tunnel, d.Tunnel))
		case same.Rule != d.Rule:
			warnings = append(warnings, Warning{Rules: []string{same.Rule, d.Rule}, Message: fmt.Sprintf(
				"rules %q and %q both %s %s: the second adds nothing", same.Rule, d.Rule, d.kind, d.describe())})
		}
	}
	return kept, warnings, err
}

// describe is the draft's traffic for a message.
func (d *draft) describe() string {
	text := side(d.Source, d.SourcePort) + " to " + side(d.Destination, d.DestinationPort)
	if d.Protocol != 0 {
		text += " " + ProtocolName(d.Protocol)
	}
	return text
}
