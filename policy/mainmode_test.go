package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Ten variants of one pair of addresses that differ in ports only are one main-mode filter, without protocol or ports,
// and ten quick-mode filters; in both IP versions.
// S-014
func TestMainModeFilters(t *testing.T) {
	for _, pair := range [][2]string{{"10.1.0.0/24", "10.2.0.0/24"}, {"2001:db8:1::/48", "2001:db8:2::/48"}} {
		set := setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t"})
		set.FilterLists[0].Filters = nil
		for i := range uint16(10) {
			set.FilterLists[0].Filters = append(set.FilterLists[0].Filters, Filter{
				Source: spec(pair[0]), Destination: spec(pair[1]), Protocol: 6, DestinationPort: PortRange{First: 8000 + i, Last: 8000 + i}, Mirrored: true})
		}
		spd, warnings := mustCompile(t, set, Environment{})
		quick := 0
		for _, e := range spd.Entries {
			if e.Verdict == VerdictProtect {
				quick++
			}
		}
		if len(spd.MainMode) != 1 || quick != 10 || len(spd.Entries) != 20 || len(spd.Selectors()["t"]) != 10 || len(warnings) != 0 {
			t.Errorf("%d main-mode filters, %d quick-mode filters in %d entries, %d selectors, warnings %v, want 1, 10 (and their mirror images), 10 and none",
				len(spd.MainMode), quick, len(spd.Entries), len(spd.Selectors()["t"]), warnings)
		}
		want := MainModeRow{Weight: spd.MainMode[0].Weight, Specificity: DescribeWeight(spd.MainMode[0].Weight), Source: pair[0], Destination: pair[1],
			Rules: []string{"r"}, Tunnels: []string{"t"}, AuthMethods: []string{"psk"}}
		if rows := spd.MainModeRows(); len(rows) != 1 || fmt.Sprint(rows[0]) != fmt.Sprint(want) {
			t.Errorf("rows %+v, want %+v", rows, want)
		}
		text, err := json.Marshal(spd.MainModeRows())
		if err != nil || strings.Contains(string(text), "port") || strings.Contains(string(text), "protocol") {
			t.Errorf("a main-mode filter has a protocol or a port: %s, %v", text, err)
		}
	}
}

// Only what negotiates has a main mode; two rules between the same addresses share one filter; the heaviest comes first.
// S-014
func TestMainModeOfSeveralRules(t *testing.T) {
	web := Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24"), Protocol: 6, DestinationPort: PortRange{443, 443}}
	mail := web
	mail.DestinationPort = PortRange{25, 25}
	wide := Filter{Source: spec("10.1.0.0/16"), Destination: spec("10.2.0.0/16")}
	spd, _ := mustCompile(t, setOf(
		ruleText{name: "wide", kind: ActionNegotiate, tunnel: "t3", filter: wide},
		ruleText{name: "web", kind: ActionNegotiate, tunnel: "t1", filter: web},
		ruleText{name: "mail", kind: ActionNegotiate, tunnel: "t2", filter: mail},
		ruleText{name: "deny", kind: ActionBlock, filter: Filter{Source: Any(), Destination: Any()}},
	), Environment{})
	var got []string
	for _, row := range spd.MainModeRows() {
		got = append(got, fmt.Sprint(row.Source, row.Rules, row.Tunnels))
	}
	if want := []string{"10.1.0.0/24[mail web] [t2 t1]", "10.1.0.0/16[wide] [t3]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
