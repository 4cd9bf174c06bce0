package policy

import (
	"errors"
	"net/netip"
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
