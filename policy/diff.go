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
	d.rows(old.filterRows(), new.filterRows())
	return d
}

// rows tells the rows apart that were added, removed and changed.
func (d *Difference) rows(before, after []Row) {
	gone := make(map[rowKey]int, len(before)) // places in before that after has not met yet
	for i := range before {
		gone[before[i].key()] = i
	}
	for i := range after {
		row := &after[i]
		was, existed := gone[row.key()]
		delete(gone, row.key())
		switch {
		case !existed:
			d.Added = append(d.Added, *row)
		case before[was].effect() != row.effect():
			d.Changed = append(d.Changed, RowChange{Old: before[was], New: *row})
		}
	}
	for _, i := range slices.Sorted(maps.Values(gone)) {
		d.Removed = append(d.Removed, before[i])
	}
}

// rowKey is what makes a row the same one in two policies.
type rowKey struct {
	rule, list, filter, source, destination string
	mirror                                  bool
}

func (r *Row) key() rowKey {
	return rowKey{r.Rule, r.FilterList, r.Filter, r.Source, r.Destination, r.Mirror}
}

// effect is the row without what may differ though packets are treated alike: its number, its place in the file, and its
// weight, which follows from its traffic and from what other filters there are.
func (r *Row) effect() Row {
	effect := *r
	effect.ID, effect.Origin, effect.RuleOrigin, effect.Weight, effect.Specificity = 0, "", "", 0, ""
	return effect
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
