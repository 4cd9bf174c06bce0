package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// Multicast and broadcast end exactly where they should: the last address of a subnet of every length to /30, none of a
// /31 and a /32.
// S-104
func TestGroupAddresses(t *testing.T) {
	var env Environment
	for _, subnet := range []string{"10.0.0.1/8", "172.16.0.1/16", "192.0.2.1/24", "198.51.100.1/25", "203.0.113.1/30", "203.0.113.8/31", "203.0.113.13/32", "2001:db8::1/64"} {
		env.Subnets = append(env.Subnets, netip.MustParsePrefix(subnet))
	}
	spd, _ := mustCompile(t, &Set{}, env)
	for text, want := range map[string]bool{
		"223.255.255.255": false, "224.0.0.0": true, "239.255.255.255": true, "240.0.0.0": false,
		"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": false, "ff00::": true, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": true,
		"255.255.255.255": true, "255.255.255.254": false,
		"10.255.255.255": true, "10.255.255.254": false, "10.1.255.255": false, "10.0.0.0": false,
		"172.16.255.255": true, "172.16.254.255": false, "192.0.2.255": true, "192.0.3.255": false,
		"198.51.100.127": true, "198.51.100.255": false, "203.0.113.3": true, "203.0.113.2": false,
		"203.0.113.8": false, "203.0.113.9": false, "203.0.113.13": false, "2001:db8::ffff:ffff:ffff:ffff": false,
	} {
		if got := spd.IsGroup(addr(text)); got != want {
			t.Errorf("%s: group %v, want %v", text, got, want)
		}
	}
}

// Permit and block work for multicast and for broadcast, negotiate is refused: six cells, and each in both IP versions
// where the kind exists, a directed broadcast included.
// C-13, S-105
func TestGroupActions(t *testing.T) {
	for _, kind := range []struct{ name, group, from string }{
		{"multicast", "239.1.2.3", "10.1.0.7"}, {"multicast", "239.1.0.0/16", "10.1.0.7"}, {"multicast", "ff02::1:2", "2001:db8::7"},
		{"broadcast", "255.255.255.255", "10.1.0.7"}, {"broadcast", "10.1.255.255", "10.1.0.7"},
	} {
		group, err := ParseAddressSpec(kind.group)
		if err != nil {
			t.Fatal(err)
		}
		p := Packet{Source: addr(kind.from), Destination: group.span.First, Protocol: protocolUDP, SourcePort: 1024, DestinationPort: 5000, HasPorts: true}
		for action, want := range map[ActionKind]Verdict{ActionPermit: VerdictPermit, ActionBlock: VerdictBlock} {
			spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: action, filter: Filter{Source: Any(), Destination: group}}), gatewayEnvironment)
			if d := spd.Decide(p, PortsLAN); d.Verdict != want || d.Entry == nil || d.Entry.Rule != "r" {
				t.Errorf("%s %s: %s (%s), want %s by the rule", action, kind.group, d.Verdict, d.Why, want)
			}
		}
		for _, filter := range []Filter{{Source: Any(), Destination: group}, {Source: group, Destination: Any()}} {
			_, _, err = Compile(setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: filter}), gatewayEnvironment)
			if want := fmt.Sprintf("multicast and broadcast (%s) can only be permitted or blocked", group); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("negotiate %s: error %v, want one with %q", kind.group, err, want)
			}
		}
	}
}

// A filter that negotiates may cover group addresses among others, such as any to any: no group packet is protected by
// it, and none asks for an SA. A directed broadcast of a subnet that is not attached is a host like any other.
// S-105
func TestBroadFiltersNeverNegotiateForGroups(t *testing.T) {
	spd, _ := mustCompile(t, setOf(ruleText{name: "r", kind: ActionNegotiate, tunnel: "t", filter: Filter{Source: spec("10.1.0.0/16"), Destination: Any()}}), gatewayEnvironment)
	for destination, want := range map[string]Verdict{
		"224.0.0.1": VerdictBlock, "255.255.255.255": VerdictBlock, "10.1.255.255": VerdictBlock, "10.9.255.255": VerdictProtect, "10.9.0.7": VerdictProtect,
	} {
		d := spd.Decide(packet(17, "10.1.0.7:1", destination+":2"), PortsLAN)
		if d.Verdict != want || want == VerdictBlock && !strings.Contains(d.Why, "IKE cannot protect multicast or broadcast") {
			t.Errorf("%s: %s because %s, want %s", destination, d.Verdict, d.Why, want)
		}
	}
}
