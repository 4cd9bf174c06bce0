package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// MaxEntries is the most specific filters a policy may have: the largest priority that rte_acl takes (2^29 - 1).
const MaxEntries = 1<<29 - 1

// Compile checks the whole set and turns its active policy into specific filters in the order of their weight. It
// returns every error it finds, joined; with an error there is no SPD. The result depends on the contents of the set
// only, not on the order of its lists (S-007).
func Compile(set *Set, env Environment) (*SPD, []Warning, error) {
	known := newIndex(set)
	if err := validate(set, known, env); err != nil {
		return nil, nil, err
	}
	active := known.policies[set.Active]
	if active == nil { // validate lets none pass only where none is stored
		active = &Policy{}
	}
	c := &compiler{set: set, known: known, active: active, env: env, stale: map[string]netip.Addr{}}
	drafts, err := c.drafts()
	if err != nil {
		return nil, nil, err
	}
	spd := c.assemble(drafts)
	c.warnPolicy()
	c.warnLevel(spd)
	slices.SortFunc(c.warnings, func(a, b Warning) int { return strings.Compare(a.Message, b.Message) })
	return spd, slices.CompactFunc(c.warnings, func(a, b Warning) bool { return a.Message == b.Message }), nil
}

// compiler is what the steps of Compile share.
type compiler struct {
	set      *Set
	known    *index
	active   *Policy
	env      Environment
	stale    map[string]netip.Addr // tunnels without their own outer address
	warnings []Warning
}

func (c *compiler) warn(rules []string, format string, args ...any) {
	c.warnings = append(c.warnings, Warning{Rules: rules, Message: fmt.Sprintf(format, args...)})
}

// drafts is the specific filters of the active policy, the heaviest first. Those of the default response rule come after
// all others: it is for what no rule covers, so nothing that a peer proposes takes traffic from a rule (S-009).
func (c *compiler) drafts() ([]*draft, error) {
	drafts, conflicts, err := settleConflicts(c.expandRules())
	if err != nil {
		return nil, err
	}
	dynamic, dynamicConflicts, err := settleConflicts(c.expandDynamic())
	if err != nil {
		return nil, err
	}
	c.warnings = append(append(c.warnings, conflicts...), dynamicConflicts...)
	c.markStale(slices.Concat(drafts, dynamic))
	c.split(drafts)
	if n := len(drafts) + len(dynamic); n > MaxEntries {
		return nil, fmt.Errorf("policy %q: %d specific filters, expected at most %d", c.active.Name, n, MaxEntries)
	}
	for _, part := range [][]*draft{drafts, dynamic} {
		if err := weigh(part); err != nil {
			return nil, fmt.Errorf("policy %q: %w", c.active.Name, err)
		}
	}
	for _, d := range dynamic {
		d.Weight = 0
	}
	return append(drafts, dynamic...), nil
}

// assemble makes the SPD of drafts in match order.
func (c *compiler) assemble(drafts []*draft) *SPD {
	spd := &SPD{
		Policy: c.active.Name, DefaultAction: c.active.DefaultAction, Entries: make([]Entry, len(drafts)),
		NeedsIKE: c.active.DefaultResponse.Enabled, MainMode: mainModeFilters(drafts), Level: c.set.Exemptions, StaleTunnels: c.stale,
		exemptions: exemptions(c.env), broadcasts: c.env.broadcasts(), ikeDisabled: c.set.IKEDisabled,
	}
	for i, d := range drafts {
		d.Rank = uint32(len(drafts) - i)
		spd.Entries[i] = d.Entry
		spd.NeedsIKE = spd.NeedsIKE || !d.manual && (d.Verdict == VerdictProtect || d.Verdict == VerdictRequire)
	}
	spd.NeedsIKE = spd.NeedsIKE && !c.set.IKEDisabled
	assignIDs(spd)
	for _, state := range spd.ExemptionsAt(spd.Level) {
		if state.InForce {
			spd.Exemptions = append(spd.Exemptions, state.Exemption)
		}
	}
	return spd
}

// markStale blocks what rests on a tunnel whose own outer address has vanished (S-011).
func (c *compiler) markStale(drafts []*draft) {
	rules := map[string]map[string]bool{}
	for _, d := range drafts {
		if d.Tunnel == "" || !c.env.isStale(d.Tunnel) {
			continue
		}
		d.Verdict, d.Passthrough, d.Fallback = VerdictStale, false, false
		if rules[d.Tunnel] == nil {
			rules[d.Tunnel] = map[string]bool{}
		}
		rules[d.Tunnel][d.Rule] = true
	}
	for tunnel, of := range rules {
		c.stale[tunnel] = c.env.Endpoints[tunnel]
		names := slices.Sorted(maps.Keys(of))
		c.warn(names, "tunnel %q has lost its own address %s: what it protected is dropped until the address is back (%s)",
			tunnel, c.stale[tunnel], ruleList(names))
	}
}
