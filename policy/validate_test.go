package policy

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// All errors of a set come at once, each naming where it is and what was expected.
// S-004, S-023, S-037, S-105
func TestAllErrorsAtOnce(t *testing.T) {
	set := &Set{
		Active: "none",
		FilterLists: []FilterList{
			{Name: "empty"},
			{Name: "bad", Filters: []Filter{
				{Name: "versions", Source: spec("10.0.0.0/8"), Destination: spec("2001:db8::/32")},
				{Name: "ports", Source: Any(), Destination: Any(), DestinationPort: PortRange{80, 80}},
				{Name: "backwards", Source: Any(), Destination: Any(), Protocol: 6, SourcePort: PortRange{9, 2}},
				{Name: "backwards", Source: Range(AddrRange{}), Destination: Any()},
				{Name: "rsvp", Source: Any(), Destination: Any(), Protocol: 46},
				{Name: "group", Source: Any(), Destination: spec("239.1.0.0/16")},
				{Name: "broadcast", Source: Any(), Destination: spec("255.255.255.255/32")},
			}},
			{Name: "bad"},
		},
		FilterActions: []FilterAction{
			{Name: "protect", Kind: ActionNegotiate}, {Name: "permit", Kind: ActionPermit, Methods: []string{"aes128gcm16"}}, {Name: "odd", Kind: 9}, {},
		},
		Policies: []Policy{{Name: "p", DefaultAction: ActionNegotiate, Rules: []Rule{
			{Name: "dangling", FilterList: "lost", FilterAction: "gone"},
			{Name: "no-tunnel", FilterList: "bad", FilterAction: "protect", Ports: PortsWAN},
			{Name: "tunnel", FilterList: "bad", FilterAction: "permit", Tunnel: "t", Ports: 8},
		}}},
	}
	_, _, err := Compile(set, Environment{LocalAddresses: []netip.Addr{{}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`filter list "bad": expected a name of its own, found "bad" for the second time`,
		`filter action "": expected a name, found none`,
		`filter list "empty": expected at least one filter, found none`,
		`filter "versions": expected the IP version of the source 10.0.0.0/8, found 2001:db8::/32`,
		`filter "ports": expected a protocol that has ports (tcp, udp, sctp, udplite) with port 80, found protocol any`,
		`filter "backwards": expected the lower port first, found 9-2`,
		`filter "backwards": expected filters that differ`,
		`filter "backwards": address range has no first`,
		`filter action "protect": expected at least one ESP proposal for negotiate, found none`,
		`filter action "permit": expected ESP proposals for negotiate only, found some for permit`,
		`filter action "odd": expected permit, block or negotiate, found ActionKind(9)`,
		`policy "p": expected block or permit, found negotiate`,
		`rule "dangling": expected one of bad, empty, found "lost"`,
		`rule "dangling": expected one of`,
		`rule "no-tunnel": expected a tunnel, because its action negotiates, found none`,
		`rule "no-tunnel": expected lan or all, because its action negotiates`,
		`rule "no-tunnel": expected filters that can be negotiated, found "rsvp": protocol 46 (rsvp)`,
		`rule "no-tunnel": expected filters that can be negotiated, found "group": multicast and broadcast (239.1.0.0/16)`,
		`rule "no-tunnel": expected filters that can be negotiated, found "broadcast": multicast and broadcast (255.255.255.255)`,
		`rule "tunnel": expected no tunnel, because action "permit" is permit, found "t"`,
		`rule "tunnel": expected lan, wan or all, found PortGroup(8)`,
		`active policy: expected one of p, found "none"`,
		`local address`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no error says %q", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

// A problem leads to the place where it was written.
func TestProblemHasAPlace(t *testing.T) {
	set := setOf(ruleText{name: "a", kind: ActionPermit, filter: Filter{Source: Any(), Destination: Any()}})
	set.FilterLists = append(set.FilterLists, FilterList{Name: "second", Filters: []Filter{{}, {Name: "f", DestinationPort: PortRange{80, 80}}}})
	_, _, err := Compile(set, Environment{})
	var p *Problem
	if !errors.As(err, &p) || p.Part != PartFilter || p.Index != 1 || p.Item != 1 || p.Field != "DestinationPort" {
		t.Errorf("problem %+v of error %v", p, err)
	}
}

// Methods keep the order in which they were written, of IPsec and of authentication.
// S-023, S-024: as far as the check of a policy goes.
func TestMethodsKeepTheirOrder(t *testing.T) {
	set := setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: spec("10.1.0.0/24"), Destination: spec("10.2.0.0/24")}})
	set.FilterActions[0].Methods = []string{"c", "a", "b"}
	set.Policies[0].DefaultResponse = DefaultResponse{Enabled: true, Methods: []string{"z", "y"}, AuthMethods: []string{"psk"}}
	mustCompile(t, set, Environment{})
	if !slices.Equal(set.FilterActions[0].Methods, []string{"c", "a", "b"}) || !slices.Equal(set.Policies[0].DefaultResponse.Methods, []string{"z", "y"}) {
		t.Errorf("Compile changed the order of methods: %+v", set)
	}
	for _, methods := range [][]string{nil, {"psk", "psk"}, {"kerberos"}} {
		set.Policies[0].Rules[0].AuthMethods = methods
		if _, _, err := Compile(set, Environment{}); err == nil || !strings.Contains(err.Error(), `rule "r": expected`) {
			t.Errorf("authentication methods %q: error %v", methods, err)
		}
	}
	set.Policies[0].Rules[0].AuthMethods = []string{"psk"}
	set.FilterActions[0].Methods = []string{"a", "b", "a"}
	if _, _, err := Compile(set, Environment{}); err == nil || !strings.Contains(err.Error(), `expected each method once, found "a" for the second time`) {
		t.Errorf("a method twice: error %v", err)
	}
}
