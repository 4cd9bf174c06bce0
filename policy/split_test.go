package policy

import (
	"maps"
	"slices"
	"testing"
)

// A tunnel whose SAs carry one selector each becomes as many as it has selectors: packets of each, both ways, belong to one of them. One with a single
// selector, and one of IKEv2, keep their names; and so does each part when another is added.
func TestSplit(t *testing.T) {
	rule := func(name string, filters ...Filter) *Set {
		set := setOf(ruleText{name: name, kind: ActionNegotiate, tunnel: name})
		set.FilterLists[0].Filters = filters
		return set
	}
	filter := func(to string) Filter {
		return Filter{Source: spec("10.1.0.0/24"), Destination: spec(to), Mirrored: true}
	}
	web := filter("10.2.0.0/24")
	web.Protocol, web.DestinationPort = 6, PortRange{First: 443, Last: 443}
	const first, second, third = "site: 10.1.0.0/24 === 10.2.0.0/24", "site: 10.1.0.0/24 === 10.2.0.0/24[443] tcp", "site: 10.1.0.0/24 === 10.3.0.0/24"
	for _, test := range []struct {
		name    string
		single  bool
		filters []Filter
		want    []string
	}{
		{"IKEv2", false, []Filter{filter("10.2.0.0/24"), filter("10.3.0.0/24")}, []string{"site"}},
		{"one selector", true, []Filter{filter("10.2.0.0/24")}, []string{"site"}},
		{"one selector, written twice", true, []Filter{filter("10.2.0.0/24"), {Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24"), Name: "again"}}, []string{"site"}},
		{"two", true, []Filter{filter("10.2.0.0/24"), filter("10.3.0.0/24")}, []string{first, third}},
		{"one within another", true, []Filter{filter("10.3.0.0/24"), web, filter("10.2.0.0/24")}, []string{first, second, third}},
	} {
		spd, _ := mustCompile(t, rule("site", test.filters...), Environment{Single: map[string]bool{"site": test.single}})
		selectors := spd.Selectors()
		if got := slices.Sorted(maps.Keys(selectors)); !slices.Equal(got, test.want) {
			t.Errorf("%s: tunnels %q, expected %q", test.name, got, test.want)
		}
		for tunnel, list := range selectors {
			if SplitFrom(tunnel) != "site" || test.single && len(list) != 1 {
				t.Errorf("%s: tunnel %q of %q has %v", test.name, tunnel, SplitFrom(tunnel), list)
			}
		}
		if len(test.want) < 3 {
			continue
		}
		out, _ := spd.Match(tcp("10.1.0.9:1024", "10.2.0.9:443"), PortsLAN)
		in, _ := spd.Match(tcp("10.2.0.9:443", "10.1.0.9:1024"), PortsWAN)
		if out.Tunnel != second || in.Tunnel != second || in.Verdict != VerdictRequire {
			t.Errorf("%s: a connection goes by %q and comes by %q", test.name, out.Tunnel, in.Tunnel)
		}
	}
}
