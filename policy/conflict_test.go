package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// All orders of the three actions for the same traffic compile to the most restrictive, with a warning that names both
// rules and says which holds and why; in both IP versions.
// S-017
func TestMostRestrictiveWins(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) { mostRestrictiveWins(t, "10.1.0.0/24", "10.2.0.0/24", "10.1.0.5:1", "10.2.0.5:1") })
	t.Run("IPv6", func(t *testing.T) {
		mostRestrictiveWins(t, "2001:db8:1::/48", "2001:db8:2::/48", "[2001:db8:1::5]:1", "[2001:db8:2::5]:1")
	})
}

func mostRestrictiveWins(t *testing.T, local, remote, host, peer string) {
	filter := Filter{Source: spec(local), Destination: spec(remote), Mirrored: true}
	permit := ruleText{name: "permit", kind: ActionPermit, filter: filter}
	block := ruleText{name: "block", kind: ActionBlock, filter: filter}
	negotiate := ruleText{name: "negotiate", kind: ActionNegotiate, filter: filter, tunnel: "t"}
	for _, test := range []struct {
		rules     []ruleText
		out, back string
	}{
		{[]ruleText{permit, block, negotiate}, "block", "block"},
		{[]ruleText{permit, negotiate, block}, "block", "block"},
		{[]ruleText{block, permit, negotiate}, "block", "block"},
		{[]ruleText{block, negotiate, permit}, "block", "block"},
		{[]ruleText{negotiate, permit, block}, "block", "block"},
		{[]ruleText{negotiate, block, permit}, "block", "block"},
		{[]ruleText{negotiate, permit}, "protect", "require"},
		{[]ruleText{permit, negotiate}, "protect", "require"},
	} {
		spd, warnings := mustCompile(t, setOf(test.rules...), Environment{})
		if len(spd.Entries) != 2 {
			t.Errorf("%v: %d entries, want one per direction", test.rules, len(spd.Entries))
		}
		wantVerdict(t, spd, tcp(host, peer), PortsLAN, test.out)
		wantVerdict(t, spd, tcp(peer, host), PortsWAN, test.back)
		for _, loser := range test.rules {
			winner := spd.Entries[0].Rule
			named := slices.ContainsFunc(warnings, func(w Warning) bool {
				return slices.Equal(w.Rules, []string{winner, loser.name}) &&
					strings.Contains(w.Message, fmt.Sprintf("rules %q and %q disagree on", winner, loser.name)) &&
					strings.Contains(w.Message, fmt.Sprintf("%s holds over %s because it is more restrictive", winner, loser.name))
			})
			if named != (loser.name != winner) {
				t.Errorf("winner %s, rule %s: warnings %v", winner, loser.name, warnings)
			}
		}
	}
}

// Conflicts are settled per port role: a narrower port group is no way around a more restrictive action.
// S-006, S-017
func TestConflictsPerPortRole(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	p := tcp("10.1.0.5:1", "10.2.0.5:1")
	for _, test := range []struct {
		name     string
		rules    []ruleText
		lan, wan string
	}{
		{"permit on lan inside block on all", []ruleText{{"a", ActionPermit, filter, PortsLAN, ""}, {"b", ActionBlock, filter, PortsAll, ""}}, "block", "block"},
		{"permit on lan inside negotiate", []ruleText{{"a", ActionPermit, filter, PortsLAN, ""}, {"b", ActionNegotiate, filter, PortsAll, "t"}}, "protect", "protect"},
		{"block on lan inside permit on all", []ruleText{{"a", ActionBlock, filter, PortsLAN, ""}, {"b", ActionPermit, filter, PortsAll, ""}}, "block", "permit"},
		{"block on lan beside permit on wan", []ruleText{{"a", ActionBlock, filter, PortsLAN, ""}, {"b", ActionPermit, filter, PortsWAN, ""}}, "block", "permit"},
	} {
		spd, warnings := mustCompile(t, setOf(test.rules...), Environment{})
		wantVerdict(t, spd, p, PortsLAN, test.lan)
		wantVerdict(t, spd, p, PortsWAN, test.wan)
		if conflict := !strings.Contains(test.name, "beside"); conflict != (len(warnings) == 1) {
			t.Errorf("%s: warnings %v", test.name, warnings)
		}
	}
}

// Which of two tunnels has the traffic cannot be settled by restrictiveness: it is an error.
func TestTwoTunnelsForTheSameTraffic(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	_, _, err := Compile(setOf(
		ruleText{name: "a", kind: ActionNegotiate, filter: filter, tunnel: "t1"},
		ruleText{name: "b", kind: ActionNegotiate, filter: filter, tunnel: "t2"}), Environment{})
	if err == nil || !strings.Contains(err.Error(), `"a" and "b"`) || !strings.Contains(err.Error(), `"t1" and "t2"`) {
		t.Errorf("error %v, want one that names both rules and both tunnels", err)
	}
}

// The same action twice is no conflict, but worth a warning; a filter that meets itself is not.
func TestRedundantRules(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	spd, warnings := mustCompile(t, setOf(
		ruleText{name: "a", kind: ActionPermit, filter: filter}, ruleText{name: "b", kind: ActionPermit, filter: filter}), Environment{})
	if len(spd.Entries) != 1 || spd.Entries[0].Rule != "a" || len(warnings) != 1 {
		t.Errorf("entries %+v, warnings %v", spd.Entries, warnings)
	}
	mine := Filter{Source: MyAddresses(), Destination: MyAddresses(), Mirrored: true}
	_, warnings = mustCompile(t, setOf(ruleText{name: "a", kind: ActionPermit, filter: mine}), universeEnvironment)
	if len(warnings) != 0 {
		t.Errorf("one filter alone: warnings %v", warnings)
	}
}

// Two long lists that overlap are one line for the operator, with the places of both rules and the number of filters.
func TestManyConflictsAreOneWarning(t *testing.T) {
	set := setOf(ruleText{name: "a", kind: ActionBlock}, ruleText{name: "b", kind: ActionPermit})
	for i := range set.FilterLists {
		set.FilterLists[i].Filters = nil
		for host := range byte(50) {
			set.FilterLists[i].Filters = append(set.FilterLists[i].Filters, Filter{Source: Any(), Destination: Range(HostRange(netip.AddrFrom4([4]byte{10, 0, 0, host})))})
		}
		set.Policies[0].Rules[i].Origin = Origin{File: "site.yaml", Line: 30 + i}
	}
	_, warnings := mustCompile(t, set, Environment{})
	want := `rules "a" (site.yaml:30) and "b" (site.yaml:31) disagree on 0.0.0.0/0 to 10.0.0.0 and 49 more: block holds over permit because it is more restrictive`
	if len(warnings) != 1 || warnings[0].Message != want {
		t.Errorf("%q, want %q alone", warnings, want)
	}
}

// Of two rules for the same traffic and tunnel the one without exceptions holds, whatever their names are.
func TestFewerExceptionsHold(t *testing.T) {
	filter := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	set := setOf(ruleText{"a", ActionNegotiate, filter, PortsLAN, "t"}, ruleText{"b", ActionNegotiate, filter, PortsLAN, "t"})
	set.FilterActions[0].FallbackClear, set.FilterActions[0].FallbackClearOnWAN, set.FilterActions[0].InboundPassthrough = true, true, true
	spd, _ := mustCompile(t, set, Environment{})
	for _, e := range spd.Entries {
		if e.Passthrough || e.Fallback || e.Rule != "b" {
			t.Errorf("entry %+v", e)
		}
	}
}

// Where two rules for the same traffic are its two directions on one role only, the other role keeps what it has: no
// packet falls through to a weaker filter.
func TestDirectionsOfTwoRules(t *testing.T) {
	there := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}
	back := Filter{Source: there.Destination, Destination: there.Source}
	spd, _ := mustCompile(t, setOf(
		ruleText{"lan", ActionNegotiate, there, PortsLAN, "t"}, ruleText{"all", ActionNegotiate, back, PortsAll, "t"},
		ruleText{"weaker", ActionPermit, Filter{Source: Any(), Destination: Any()}, PortsAll, ""}), Environment{})
	in := tcp("10.2.0.5:1", "10.1.0.5:1")
	wantVerdict(t, spd, in, PortsLAN, "protect")
	wantVerdict(t, spd, in, PortsWAN, "protect")
}
