package policy

import (
	"maps"
	"slices"
)

// Difference is what changes between two compiled policies.
type Difference struct {
	OldPolicy      string         `json:"old_policy"`
	NewPolicy      string         `json:"new_policy"`
	Added          []Row          `json:"added,omitempty"`   // in match order of the new one
	Removed        []Row          `json:"removed,omitempty"` // in match order of the old one
	Changed        []RowChange    `json:"changed,omitempty"` // in match order of the new one
	DefaultChanged bool           `json:"default_changed"`
	LevelChanged   bool           `json:"level_changed"`
	OldDefault     string         `json:"old_default"`
	NewDefault     string         `json:"new_default"`
	OldLevel       ExemptionLevel `json:"old_level"`
	NewLevel       ExemptionLevel `json:"new_level"`
	Tunnels        []string       `json:"tunnels,omitempty"` // whose selectors differ, those that come or go included
}

// RowChange is a filter that both policies have and that is not the same in them.
type RowChange struct {
	Old Row `json:"old"`
	New Row `json:"new"`
}

// IsEmpty reports whether both policies treat every packet alike.
func (d *Difference) IsEmpty() bool {
	return len(d.Added)+len(d.Removed)+len(d.Changed)+len(d.Tunnels) == 0 && !d.DefaultChanged && !d.LevelChanged
}

// Diff compares two compiled policies, as a dry run shows it. A nil SPD is the closed default.
func Diff(old, new *SPD) Difference {
	if old == nil {
		old = &SPD{}
	}
	if new == nil {
		new = &SPD{}
	}
	d := Difference{
		OldPolicy: old.Policy, NewPolicy: new.Policy,
		OldDefault: old.DefaultAction.String(), NewDefault: new.DefaultAction.String(),
		OldLevel: old.Level, NewLevel: new.Level,
		DefaultChanged: old.DefaultAction != new.DefaultAction, LevelChanged: old.Level != new.Level,
		Tunnels: changedTunnels(old.Selectors(), new.Selectors()),
	}
	before := map[rowKey]Row{}
	oldRows, newRows := old.filterRows(), new.filterRows()
	for _, row := range oldRows {
		before[row.key()] = row
	}
	after := map[rowKey]bool{}
	for _, row := range newRows {
		after[row.key()] = true
		was, existed := before[row.key()]
		switch {
		case !existed:
			d.Added = append(d.Added, row)
		case was.effect() != row.effect():
			d.Changed = append(d.Changed, RowChange{Old: was, New: row})
		}
	}
	for _, row := range oldRows {
		if !after[row.key()] {
			d.Removed = append(d.Removed, row)
		}
	}
	return d
}

// rowKey is what makes a row the same one in two policies.
type rowKey struct {
	rule, list, filter, source, destination string
	mirror                                  bool
}

func (r Row) key() rowKey {
	return rowKey{r.Rule, r.FilterList, r.Filter, r.Source, r.Destination, r.Mirror}
}

// effect is the row without what may differ though packets are treated alike: its number, its place in the file, and its
// weight, which follows from its traffic and from what other filters there are.
func (r Row) effect() Row {
	r.ID, r.Origin, r.RuleOrigin, r.Weight, r.Specificity = 0, "", "", 0, ""
	return r
}

// changedTunnels is the names of the tunnels whose traffic is not the same set of selectors, in order.
func changedTunnels(old, new map[string][]Selector) []string {
	all := maps.Clone(old)
	maps.Copy(all, new)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !sameSelectors(old[name], new[name]) {
			names = append(names, name)
		}
	}
	return names
}

func sameSelectors(a, b []Selector) bool { return maps.Equal(selectorSet(a), selectorSet(b)) }

func selectorSet(selectors []Selector) map[Selector]bool {
	set := make(map[Selector]bool, len(selectors))
	for _, s := range selectors {
		set[s] = true
	}
	return set
}
