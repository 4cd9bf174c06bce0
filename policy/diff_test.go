package policy

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

func rulesOf(rows []Row) []string {
	var names []string
	for _, row := range rows {
		names = append(names, fmt.Sprintf("%s %s>%s %s", row.Rule, row.Source, row.Destination, row.Verdict))
	}
	return names
}

// Each kind of change is told apart, and what treats every packet alike is none.
func TestDiff(t *testing.T) {
	keep := ruleText{name: "keep", kind: ActionNegotiate, tunnel: "t1", filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}}
	gone := ruleText{name: "gone", kind: ActionPermit, filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.3.0.0/24")}}
	fresh := ruleText{name: "new", kind: ActionNegotiate, tunnel: "t2", filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.4.0.0/24")}}
	turned := ruleText{name: "turned", kind: ActionPermit, filter: Filter{Name: "f", Source: spec("10.1.0.0/24"), Destination: spec("10.5.0.0/24")}}
	before, _ := mustCompile(t, setOf(keep, gone, turned), gatewayEnvironment)
	turned.kind, turned.filter.Origin = ActionBlock, Origin{File: "x", Line: 7}
	keep.filter.Origin = Origin{File: "x", Line: 9}
	set := setOf(fresh, keep, turned)
	set.Exemptions, set.Policies[0].DefaultAction = Level2, ActionPermit
	after, _ := mustCompile(t, set, gatewayEnvironment)

	d := Diff(before, after)
	if got, want := rulesOf(d.Removed), []string{"gone 10.1.0.0/24>10.3.0.0/24 permit"}; !slices.Equal(got, want) {
		t.Errorf("removed %q, want %q", got, want)
	}
	if len(d.Added) != 8+2+2 || d.Added[0].Rule != "(exempt)" || d.Added[10].Rule != "new" {
		t.Errorf("added %q, want 8 rows of Kerberos, 2 of RSVP and the two directions of the new rule", rulesOf(d.Added))
	}
	if len(d.Changed) != 1 || d.Changed[0].Old.Verdict != "permit" || d.Changed[0].New.Verdict != "block" || d.Changed[0].New.Origin != "x:7" {
		t.Errorf("changed %+v", d.Changed)
	}
	if !d.DefaultChanged || d.OldDefault != "block" || d.NewDefault != "permit" || !d.LevelChanged || d.OldLevel != Level3 || d.NewLevel != Level2 {
		t.Errorf("default or level: %+v", d)
	}
	if !slices.Equal(d.Tunnels, []string{"t2"}) {
		t.Errorf("tunnels %q", d.Tunnels)
	}
	if same := Diff(before, before); !same.IsEmpty() {
		t.Errorf("a policy against itself: %+v", same)
	}
	if d.IsEmpty() {
		t.Error("all these changes are none")
	}
}

// A tunnel whose selectors change is named, so that its SAs end; one whose filters only moved in the file is not.
func TestDiffOfTunnels(t *testing.T) {
	narrow := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	wide := Filter{Source: spec("10.1.0.0/16"), Destination: spec("10.2.0.0/16")}
	other := ruleText{name: "other", kind: ActionNegotiate, tunnel: "other", filter: Filter{Source: spec("10.8.0.0/24"), Destination: spec("10.9.0.0/24")}}
	compile := func(set *Set) *SPD {
		spd, _ := mustCompile(t, set, Environment{})
		return spd
	}
	before := compile(setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: narrow}, other))
	for name, test := range map[string]struct {
		set  *Set
		want []string
	}{
		"wider":         {setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: wide}, other), []string{"t"}},
		"another name":  {setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "u", filter: narrow}, other), []string{"t", "u"}},
		"permitted now": {setOf(ruleText{name: "r", kind: ActionPermit, filter: narrow}, other), []string{"t"}},
		"other order":   {setOf(other, ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: narrow}), nil},
		"all gone":      {&Set{}, []string{"other", "t"}},
	} {
		if d := Diff(before, compile(test.set)); !slices.Equal(d.Tunnels, test.want) {
			t.Errorf("%s: tunnels %q, want %q", name, d.Tunnels, test.want)
		}
	}
	if d := Diff(nil, before); len(d.Added) != len(before.Exemptions)+len(before.Entries) || !slices.Equal(d.Tunnels, []string{"other", "t"}) || d.DefaultChanged {
		t.Errorf("from nothing: %+v", d)
	}
	if d := Diff(before, nil); len(d.Removed) != len(before.Exemptions)+len(before.Entries) {
		t.Errorf("to nothing: %+v", d)
	}
}

// What was removed and added, carried out on the old policy's rows, gives the new policy's, whatever the two are.
func TestDiffIsComplete(t *testing.T) {
	r := seeded(17)
	for range 200 {
		old, _ := mustCompile(t, randomSet(r), universeEnvironment)
		set := randomSet(r)
		set.Exemptions = ExemptionLevel(r.IntN(4))
		new, _ := mustCompile(t, set, universeEnvironment)
		rows := map[rowKey]Row{}
		for _, row := range old.filterRows() {
			rows[row.key()] = row
		}
		if len(rows) != len(old.filterRows()) {
			t.Fatal("two rows of a policy have one key")
		}
		d := Diff(old, new)
		for _, row := range d.Removed {
			delete(rows, row.key())
		}
		for _, row := range d.Added {
			if _, existed := rows[row.key()]; existed {
				t.Fatalf("added, but was there: %+v", row)
			}
			rows[row.key()] = row
		}
		for _, change := range d.Changed {
			if change.Old != rows[change.Old.key()] || change.Old.key() != change.New.key() {
				t.Fatalf("changed, but was not there: %+v", change)
			}
			rows[change.Old.key()] = change.New
		}
		for _, row := range new.filterRows() {
			if got := rows[row.key()]; got.effect() != row.effect() {
				t.Fatalf("%+v became %+v", row, got)
			}
			delete(rows, row.key())
		}
		if len(rows) != 0 {
			t.Fatalf("left over: %+v", rows)
		}
	}
}

// Without any policy nothing passes, IPv6 included, and it is said (S-012: what remains after a purge).
func TestClosedDefault(t *testing.T) {
	spd, warnings := mustCompile(t, &Set{}, gatewayEnvironment)
	if len(spd.Entries)+len(spd.Exemptions) != 0 || spd.DefaultAction != ActionBlock || spd.NeedsIKE || spd.Policy != "" {
		t.Errorf("%+v", spd)
	}
	if len(warnings) != 1 || warnings[0].Message != "no policy is stored: nothing passes (the closed default)" {
		t.Errorf("warnings %v", warnings)
	}
	for _, p := range []Packet{tcp("10.1.0.5:1", "10.2.0.5:80"), packet(17, "198.51.100.7:500", "192.0.2.1:500"), tcp("[2001:db8:1::5]:1", "[2001:db8:2::5]:80")} {
		if d := spd.Decide(p, PortsLAN); d.Verdict != VerdictBlock {
			t.Errorf("%+v passes: %s", p, d.Why)
		}
	}
	left := &Set{FilterLists: []FilterList{{Name: "l", Updated: time.Unix(1, 0), Filters: []Filter{{Source: Any(), Destination: Any()}}}}, FilterActions: []FilterAction{{Name: "a", Kind: ActionPermit}}}
	if again, _ := mustCompile(t, left, gatewayEnvironment); !reflect.DeepEqual(again, spd) {
		t.Error("lists and actions without a policy have an effect")
	}
	for _, set := range []*Set{{Active: "gone"}, {Policies: []Policy{{Name: "p"}}}} {
		if _, _, err := Compile(set, Environment{}); err == nil {
			t.Errorf("%+v compiles", set)
		}
	}
}
