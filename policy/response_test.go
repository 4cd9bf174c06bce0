package policy

import (
	"slices"
	"strings"
	"testing"
)

func dynamicSet(enabled bool, rules ...ruleText) *Set {
	set := setOf(rules...)
	set.Policies[0].DefaultResponse = DefaultResponse{Enabled: enabled, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
	return set
}

func dynamic(tunnel, local, remote string) DynamicFilter {
	return DynamicFilter{Tunnel: tunnel, Selector: Selector{Local: network(local), Remote: network(remote), LocalPort: AnyPort, RemotePort: AnyPort}}
}

// The default response rule is off as shipped. On, what a peer proposed becomes a filter of the list <Dynamic> whose
// action is to negotiate, in both IP versions; name, list and action cannot be taken or changed by a rule or a list.
// S-009: as far as the policy goes.
func TestDefaultResponse(t *testing.T) {
	env := gatewayEnvironment
	env.Dynamic = []DynamicFilter{dynamic("peer-1", "192.0.2.1/32", "198.51.100.7/32"), dynamic("peer-2", "2001:db8::1/128", "2001:db8:9::7/128")}
	if (DefaultResponse{}).Enabled {
		t.Error("the default response rule is on as shipped")
	}
	off, _ := mustCompile(t, dynamicSet(false), env)
	if len(off.Entries) != 0 || off.NeedsIKE {
		t.Errorf("off: %+v", off.Entries)
	}
	on, warnings := mustCompile(t, dynamicSet(true), env)
	if len(on.Entries) != 4 || !on.NeedsIKE || len(warnings) != 0 || len(on.Selectors()["peer-1"]) != 1 || len(on.Selectors()["peer-2"]) != 1 {
		t.Errorf("on: %+v, warnings %v", on.Entries, warnings)
	}
	for _, e := range on.Entries {
		if e.Rule != "<Default Response>" || e.FilterList != "<Dynamic>" || e.Verdict != VerdictProtect && e.Verdict != VerdictRequire {
			t.Errorf("entry %+v", e)
		}
	}
	wantVerdict(t, on, packet(17, "192.0.2.1:7", "198.51.100.7:7"), PortsLAN, "protect")
	wantVerdict(t, on, packet(17, "[2001:db8:9::7]:7", "[2001:db8::1]:7"), PortsWAN, "require")
	wantVerdict(t, on, packet(17, "192.0.2.1:7", "198.51.100.8:7"), PortsLAN, "none")

	taken := setOf(ruleText{name: DefaultResponseRule, kind: ActionBlock, filter: Filter{Source: Any(), Destination: Any()}})
	taken.FilterLists = append(taken.FilterLists, FilterList{Name: DynamicList, Filters: []Filter{{Source: Any(), Destination: Any()}}})
	_, _, err := Compile(taken, env)
	for _, want := range []string{"<Default Response> is the rule that every policy has", "<Dynamic> is the list of what peers proposed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	bare := dynamicSet(true)
	bare.Policies[0].DefaultResponse = DefaultResponse{Enabled: true}
	_, _, err = Compile(bare, env)
	for _, want := range []string{"at least one ESP proposal", "at least one authentication method"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without methods: error %v, want one with %q", err, want)
		}
	}
}

// A peer's proposal is for what no rule covers: it never takes traffic from a rule, however narrow it is.
// S-009
func TestDynamicFiltersComeAfterAllRules(t *testing.T) {
	env := gatewayEnvironment
	env.Dynamic = []DynamicFilter{dynamic("t", "192.0.2.1/32", "198.51.100.7/32"), dynamic("t", "192.0.2.0/24", "198.51.100.0/24"), dynamic("t", "10.8.0.0/16", "10.9.0.0/16")}
	deny := ruleText{name: "deny", kind: ActionBlock, filter: Filter{Source: spec("192.0.0.0/8"), Destination: spec("198.0.0.0/8"), Mirrored: true}}
	spd, _ := mustCompile(t, dynamicSet(true, deny), env)
	wantVerdict(t, spd, packet(17, "192.0.2.1:7", "198.51.100.7:7"), PortsLAN, "block")
	wantVerdict(t, spd, packet(17, "198.51.100.7:7", "192.0.2.1:7"), PortsWAN, "block")
	wantVerdict(t, spd, packet(17, "10.8.0.1:7", "10.9.0.7:7"), PortsLAN, "protect")
	if spd.Entries[0].Rule != "deny" || spd.Entries[1].Rule != "deny" || spd.Entries[2].Weight != 0 {
		t.Errorf("entries %+v", spd.Entries)
	}
	narrow := slices.IndexFunc(spd.Entries, func(e Entry) bool { return e.Source == network("192.0.2.1/32") })
	wide := slices.IndexFunc(spd.Entries, func(e Entry) bool { return e.Source == network("192.0.2.0/24") })
	if narrow > wide {
		t.Error("of two proposals the wider one comes first")
	}
}

// Whatever peers propose, each packet that had a filter still has the same one.
// S-009
func TestDynamicFiltersTakeNothing(t *testing.T) {
	r := seeded(19)
	taken := 0
	for range 200 {
		set, env := randomSet(r), universeEnvironment
		set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"aes128gcm16"}, AuthMethods: []string{"psk"}}
		without, _ := mustCompile(t, set, env)
		for range 5 {
			env.Dynamic = append(env.Dynamic, DynamicFilter{Tunnel: []string{"x", "y"}[r.IntN(2)], Selector: randomSelector(randomBox(r))})
		}
		with, _ := mustCompile(t, set, env)
		for range 50 {
			p, port := randomPacket(r), PortGroup(1+r.IntN(2))
			before, had := without.Match(p, port)
			after, has := with.Match(p, port)
			switch {
			case had && (!has || after.ID != before.ID):
				t.Fatalf("%+v on %s was for %+v, now for %+v", p, port, before, after)
			case !had && has && after.Rule != DefaultResponseRule:
				t.Fatalf("%+v on %s had no filter, now %+v", p, port, after)
			case !had && has:
				taken++
			}
		}
	}
	if taken < 300 {
		t.Errorf("only %d packets met a proposal: the test proves little", taken)
	}
}

// What a peer proposes cannot make a policy invalid: what cannot be a filter is left out with a warning, and of two
// tunnels for the same traffic the first by name holds.
// S-009
func TestDynamicFiltersAreNotTrusted(t *testing.T) {
	env := gatewayEnvironment
	good := dynamic("b", "192.0.2.1/32", "198.51.100.7/32")
	rival := dynamic("a", "192.0.2.1/32", "198.51.100.7/32")
	env.Dynamic = []DynamicFilter{
		good, rival, good,
		dynamic("t", "192.0.2.1/32", "224.0.0.0/24"), dynamic("t", "10.1.255.255/32", "198.51.100.7/32"), dynamic("", "192.0.2.1/32", "198.51.100.9/32"),
		dynamic("t", "192.0.2.1/32", "2001:db8::/32"), {Tunnel: "t"},
		{Tunnel: "t", Selector: Selector{Local: network("192.0.2.1/32"), Remote: network("198.51.100.8/32"), Protocol: protocolRSVP, LocalPort: AnyPort, RemotePort: AnyPort}},
		{Tunnel: "t", Selector: Selector{Local: network("192.0.2.1/32"), Remote: network("198.51.100.8/32"), LocalPort: PortRange{5, 5}, RemotePort: AnyPort}},
	}
	spd, warnings := mustCompile(t, dynamicSet(true), env)
	if len(spd.Entries) != 2 || spd.Entries[0].Tunnel != "a" || len(warnings) != 7+1 {
		t.Errorf("entries %+v\nwarnings %v", spd.Entries, warnings)
	}
	slices.Reverse(env.Dynamic)
	again, _ := mustCompile(t, dynamicSet(true), env)
	if again.Entries[0] != spd.Entries[0] || again.Entries[1] != spd.Entries[1] {
		t.Error("the order of proposals has an effect")
	}
}
