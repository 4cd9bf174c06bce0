package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The four filters of the source's example in both IP versions, each as a rule of its own kind: a packet meets exactly
// the most specific one.
// S-016, C-20
func TestFourFiltersOfBothVersions(t *testing.T) {
	for _, v := range []struct{ subnet, host, other, beyond, from string }{
		{"10.2.0.0/24", "10.2.0.5", "10.2.0.6", "10.3.0.6", "192.0.2.9"},
		{"2001:db8:2::/64", "2001:db8:2::5", "2001:db8:2::6", "2001:db8:3::6", "2001:db8:9::9"},
	} {
		host := Range(HostRange(addr(v.host)))
		set := &Set{Active: "p", FilterActions: []FilterAction{{Name: "permit", Kind: ActionPermit}, {Name: "deny", Kind: ActionBlock}},
			FilterLists: []FilterList{
				{Name: "all", Updated: time.Unix(1, 0), Filters: []Filter{{Name: "any-any", Source: Any(), Destination: Any()}}},
				{Name: "three", Updated: time.Unix(1, 0), Filters: []Filter{
					{Name: "any-subnet", Source: Any(), Destination: spec(v.subnet)}, {Name: "any-host", Source: Any(), Destination: host},
					{Name: "any-host-25", Source: Any(), Destination: host, Protocol: 6, DestinationPort: PortRange{25, 25}},
				}},
			},
			Policies: []Policy{{Name: "p", Rules: []Rule{{Name: "a", FilterList: "all", FilterAction: "deny"}, {Name: "b", FilterList: "three", FilterAction: "permit"}}}},
		}
		spd, _ := mustCompile(t, set, Environment{})
		for _, test := range []struct {
			to       string
			protocol uint8
			port     uint16
			want     string
			matches  int
		}{{v.host, 6, 25, "any-host-25", 4}, {v.host, 6, 80, "any-host", 3}, {v.host, 17, 25, "any-host", 3}, {v.other, 6, 25, "any-subnet", 2}, {v.beyond, 6, 25, "any-any", 1}} {
			p := Packet{Source: addr(v.from), Destination: addr(test.to), Protocol: test.protocol, SourcePort: 1024, DestinationPort: test.port, HasPorts: true}
			x := spd.Explain(p, PortsLAN)
			if len(x.Matches) != test.matches || x.Matches[0].FilterName != test.want || x.Decision.Entry != x.Matches[0] {
				t.Errorf("%+v: %d matches, decided by %+v, want %d and %s", p, len(x.Matches), x.Decision.Entry, test.matches, test.want)
			}
		}
	}
}

// A decision is that of the restatement of the rules, preceded by the exemptions and followed by the default action, and
// an explanation lists all that matches: nothing is left out, nothing invented, and the decision is its first.
func TestExplainEqualsRestatement(t *testing.T) {
	r := seeded(16)
	by := map[string]int{}
	for range 300 {
		set := randomSet(r)
		set.Exemptions = ExemptionLevel(r.IntN(4))
		set.Policies[0].DefaultAction = []ActionKind{ActionBlock, ActionPermit}[r.IntN(2)]
		spd, _ := mustCompile(t, set, universeEnvironment)
		for range 100 {
			p, port := randomPacket(r), PortGroup(1+r.IntN(2))
			if wellKnown := []uint16{portKerberos, portIKE, portIKENATT}; p.HasPorts && r.IntN(2) == 0 {
				p.SourcePort, p.DestinationPort = wellKnown[r.IntN(3)], wellKnown[r.IntN(3)]
			}
			x := spd.Explain(p, port)
			if x.Decision != spd.Decide(p, port) {
				t.Fatalf("explained %+v, decided %+v", x.Decision, spd.Decide(p, port))
			}
			by[checkExplained(t, spd, set, p, port, x)]++
		}
	}
	for _, who := range []string{"exemption", "filter", "default"} {
		if by[who] < 1000 {
			t.Errorf("only %d packets were decided by an %s: the test proves little", by[who], who)
		}
	}
}

// checkExplained says what decided.
func checkExplained(t *testing.T, spd *SPD, set *Set, p Packet, port PortGroup, x Explanation) string {
	t.Helper()
	candidates := candidatesFor(set, universeEnvironment, p, port)
	if len(x.Exemptions) != 17 || len(candidates) > 0 != (len(x.Matches) > 0) {
		t.Fatalf("%+v: %d exemptions, %d matches of %d candidates", p, len(x.Exemptions), len(x.Matches), len(candidates))
	}
	for i, e := range x.Matches {
		if !e.Matches(p, port) || i > 0 && e.Rank >= x.Matches[i-1].Rank {
			t.Fatalf("%+v: match %d is %+v", p, i, e)
		}
	}
	for _, check := range x.Exemptions {
		inForce := slices.ContainsFunc(spd.Exemptions, func(e Exemption) bool { return e.ID == check.Exemption.ID })
		if check.InForce != inForce || check.Why == "" {
			t.Fatalf("exemption %+v: in force %v", check, inForce)
		}
		if check.InForce && check.Matches {
			if x.Decision.Exemption == nil || x.Decision.Verdict != VerdictPermit {
				t.Fatalf("%+v: exempt by %s, decided %+v", p, check.Exemption.Name, x.Decision)
			}
			return "exemption"
		}
	}
	want, ok := restate(set, universeEnvironment, p, port)
	d := x.Decision
	switch {
	case d.Exemption != nil || ok != (d.Entry != nil) || ok && d.Entry != x.Matches[0]:
		t.Fatalf("%+v: restated %v %v, decided %+v", p, want, ok, d)
	case ok && d.Verdict != want:
		t.Fatalf("%+v: restated %s, decided %s", p, want, d.Verdict)
	case ok:
		return "filter"
	case (d.Verdict == VerdictPermit) != (spd.DefaultAction == ActionPermit && p.Source.Is4()):
		t.Fatalf("%+v: default action %s, decided %+v", p, spd.DefaultAction, d)
	}
	return "default"
}

// IPv6, and IPv6 inside another packet, need a filter that says so: neither a default action nor a filter for any
// protocol passes protocol 41.
// S-022
func TestProtocol41NeedsItsOwnFilter(t *testing.T) {
	all := ruleText{name: "all", kind: ActionPermit, filter: Filter{Source: Any(), Destination: Any()}}
	named := ruleText{name: "6in4", kind: ActionPermit, filter: Filter{Source: Any(), Destination: Any(), Protocol: 41}}
	for _, v := range [][2]string{{"10.1.0.5", "10.2.0.5"}, {"2001:db8:1::5", "2001:db8:2::5"}} {
		inside := Packet{Source: addr(v[0]), Destination: addr(v[1]), Protocol: 41}
		for _, test := range []struct {
			rules []ruleText
			want  Verdict
		}{{nil, VerdictBlock}, {[]ruleText{all}, VerdictBlock}, {[]ruleText{named}, VerdictPermit}, {[]ruleText{all, named}, VerdictPermit}} {
			set := setOf(test.rules...)
			set.Policies[0].DefaultAction = ActionPermit
			spd, _ := mustCompile(t, set, Environment{})
			if d := spd.Decide(inside, PortsLAN); d.Verdict != test.want {
				t.Errorf("%d rules, %s: %s because %s, want %s", len(test.rules), v[0], d.Verdict, d.Why, test.want)
			}
		}
	}
	set := setOf()
	set.Policies[0].DefaultAction = ActionPermit
	spd, _ := mustCompile(t, set, Environment{})
	if d := spd.Decide(tcp("[2001:db8:1::5]:1", "[2001:db8:2::5]:80"), PortsLAN); d.Verdict != VerdictBlock || !strings.Contains(d.Why, "IPv4 only") {
		t.Errorf("IPv6 without a filter: %+v", d)
	}
}

// What is said of a packet names what decided, where it was written, and why an exemption does not apply.
func TestExplanationsAreWords(t *testing.T) {
	set := setOf(ruleText{name: "web", kind: ActionPermit, filter: Filter{Name: "https", Source: Any(), Destination: spec("10.2.0.0/24"), Protocol: 6,
		DestinationPort: PortRange{443, 443}, Origin: Origin{File: "site.yaml", Line: 12}}})
	set.Policies[0].Rules[0].Origin = Origin{File: "site.yaml", Line: 40}
	set.Exemptions = Level2
	spd, _ := mustCompile(t, set, gatewayEnvironment)
	x := spd.Explain(tcp("10.1.0.7:88", "10.2.0.5:443"), PortsLAN)
	if want := `filter "https" (site.yaml:12) of rule "web" (site.yaml:40) is the most specific that matches: permit`; x.Decision.Why != want {
		t.Errorf("%q, want %q", x.Decision.Why, want)
	}
	said := map[string]string{}
	for _, check := range x.Exemptions {
		said[check.Exemption.Name] = fmt.Sprintf("%v %v: %s", check.InForce, check.Matches, check.Why)
	}
	for name, want := range map[string]string{
		"ike-inbound":                  "false false: the active policy has nothing to negotiate; it is for any to my, not for 10.1.0.7 to 10.2.0.5",
		"kerberos-tcp-request-inbound": "true false: exempt at levels 0, 2; it is for any to my, not for 10.1.0.7 to 10.2.0.5",
		"multicast-inbound":            "false false: level 2 does not exempt multicast, only levels 0, 1; it is for any to multicast, not for 10.1.0.7 to 10.2.0.5",
	} {
		if said[name] != want {
			t.Errorf("%s: %q, want %q", name, said[name], want)
		}
	}
	for _, test := range []struct {
		p    Packet
		want string
	}{
		{packet(6, "198.51.100.7:500", "192.0.2.1:500"), "it is for protocol udp, not for tcp"},
		{packet(17, "198.51.100.7:501", "192.0.2.1:500"), "it is for ports 500|any to 500|4500, not for 501 to 500"},
		{Packet{Source: addr("198.51.100.7"), Destination: addr("192.0.2.1"), Protocol: 17}, "it is for ports 500|any to 500|4500, and the packet shows none"},
	} {
		for _, check := range spd.Explain(test.p, PortsWAN).Exemptions {
			if check.Exemption.Name == "ike-inbound" && !strings.HasSuffix(check.Why, "; "+test.want) {
				t.Errorf("%+v: %q, want it to end with %q", test.p, check.Why, test.want)
			}
		}
	}
}
