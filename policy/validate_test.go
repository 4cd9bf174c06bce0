package policy

import (
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
			{Name: "no-tunnel", FilterList: "bad", FilterAction: "protect", Ports: PortsLAN},
			{Name: "tunnel", FilterList: "bad", FilterAction: "permit", Tunnel: "t", Ports: 8},
		}}},
	}
	_, _, err := Compile(set, Environment{LocalAddresses: []netip.Addr{{}}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`filter list "bad" is defined twice`,
		`filter action number 4 has no name`,
		`filter list "empty" has no filters`,
		`filter "versions": source 10.0.0.0/8 and destination 2001:db8::/32 are of different IP versions`,
		`filter "ports": port 80 needs a protocol with ports`,
		`filter "backwards": port range 9-2 is backwards`,
		`filter "backwards" is there twice`,
		`filter "backwards": address range has no first`,
		`filter action "protect" negotiates: expected at least one ESP proposal`,
		`filter action "permit" is permit: ESP proposals belong to negotiate only`,
		`filter action "odd": expected permit, block or negotiate, found ActionKind(9)`,
		`policy "p": expected default action block or permit, found negotiate`,
		`rule "dangling": filter list "lost" does not exist: expected one of bad, empty`,
		`rule "dangling": filter action "gone" does not exist`,
		`rule "no-tunnel": its action negotiates, expected a tunnel, found none`,
		`rule "no-tunnel": its action negotiates, so traffic enters on lan ports and returns on wan ports: expected ports all, found lan`,
		`rule "no-tunnel": filter "rsvp": protocol 46 (rsvp) cannot be negotiated`,
		`rule "no-tunnel": filter "group": multicast and broadcast (239.1.0.0/16) cannot be negotiated`,
		`rule "no-tunnel": filter "broadcast": multicast and broadcast (255.255.255.255) cannot be negotiated`,
		`rule "tunnel": action "permit" is permit and uses no tunnel, found tunnel "t"`,
		`rule "tunnel": expected ports lan, wan or all, found PortGroup(8)`,
		`active policy "none" does not exist: expected one of p`,
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
