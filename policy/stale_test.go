package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// One generic filter on "my addresses" is one specific filter for each own address, and the count follows each change of
// address; the filter of an address that went stays to drop its traffic until the address is back.
// S-019, S-011
func TestRecountOnAddressChange(t *testing.T) {
	set := setOf(ruleText{name: "r", kind: ActionPermit, filter: Filter{Source: Any(), Destination: MyAddresses(), Protocol: 6}})
	a, b, c := addr("10.1.0.1"), addr("192.0.2.1"), addr("2001:db8::1")
	for _, test := range []struct {
		event            string
		local, vanished  []netip.Addr
		permitted, stale int
	}{
		{"start", []netip.Addr{a, b}, nil, 2, 0},
		{"address added", []netip.Addr{a, b, c}, nil, 3, 0},
		{"address removed", []netip.Addr{a, b}, []netip.Addr{c}, 2, 1},
		{"another removed", []netip.Addr{b}, []netip.Addr{c, a}, 1, 2},
		{"back again", []netip.Addr{b, c, a}, []netip.Addr{a, c}, 3, 0},
	} {
		spd, warnings := mustCompile(t, set, Environment{LocalAddresses: test.local, Vanished: test.vanished})
		count := map[Verdict]int{}
		for _, e := range spd.Entries {
			count[e.Verdict]++
		}
		if count[VerdictPermit] != test.permitted || count[VerdictStale] != test.stale || len(spd.Entries) != test.permitted+test.stale {
			t.Errorf("%s: %v, want %d to permit and %d stale", test.event, count, test.permitted, test.stale)
		}
		for _, address := range test.vanished {
			gone := !slices.Contains(test.local, address)
			said := slices.ContainsFunc(warnings, func(w Warning) bool {
				return strings.HasPrefix(w.Message, address.String()+" is no longer an own address: rule \"r\"")
			})
			if said != gone {
				t.Errorf("%s: warnings %v", test.event, warnings)
			}
		}
	}
}

// What a vanished own address had is dropped as stale, though a broader filter would pass it; a block stays a block.
// S-011
func TestVanishedAddressBlocks(t *testing.T) {
	for _, v := range []struct{ gone, still, peer string }{{"10.1.0.1", "10.1.0.2", "198.51.100.7"}, {"2001:db8::1", "2001:db8::2", "2001:db8:9::7"}} {
		env := Environment{LocalAddresses: []netip.Addr{addr(v.still)}, Vanished: []netip.Addr{addr(v.gone)}}
		for _, test := range []struct {
			kind ActionKind
			want Verdict
			in   Verdict // the same for the address that is still there
		}{{ActionPermit, VerdictStale, VerdictPermit}, {ActionNegotiate, VerdictStale, VerdictRequire}, {ActionBlock, VerdictBlock, VerdictBlock}} {
			r := ruleText{name: "mine", kind: test.kind, filter: Filter{Source: MyAddresses(), Destination: Any(), Mirrored: true}}
			if test.kind == ActionNegotiate {
				r.tunnel = "t"
			}
			broad := ruleText{name: "broad", kind: ActionPermit, filter: Filter{Source: Any(), Destination: Any()}}
			spd, _ := mustCompile(t, setOf(r, broad), env)
			for _, p := range []Packet{{Source: addr(v.peer), Destination: addr(v.gone), Protocol: 1}, {Source: addr(v.gone), Destination: addr(v.peer), Protocol: 1}} {
				if d := spd.Decide(p, PortsWAN); d.Verdict != test.want || d.Entry.Rule != "mine" {
					t.Errorf("%s, %+v: %s because %s, want %s", test.kind, p, d.Verdict, d.Why, test.want)
				}
			}
			if d := spd.Decide(Packet{Source: addr(v.peer), Destination: addr(v.still), Protocol: 1}, PortsWAN); d.Verdict != test.in {
				t.Errorf("%s: the address that is still there: %s because %s", test.kind, d.Verdict, d.Why)
			}
		}
	}
}

// A tunnel whose own outer address went protects nothing: all it had is dropped, in both directions, IKE is offered
// nothing for it, and other tunnels stay as they are. The address back, so is the tunnel.
// S-011
func TestStaleEndpointBlocks(t *testing.T) {
	set := setOf(
		ruleText{name: "a", kind: ActionNegotiate, tunnel: "to-a", filter: Filter{Source: spec("10.1.0.0/16"), Destination: spec("10.2.0.0/16")}},
		ruleText{name: "b", kind: ActionNegotiate, tunnel: "to-b", filter: Filter{Source: spec("10.1.0.0/16"), Destination: spec("10.3.0.0/16")}},
		ruleText{name: "broad", kind: ActionPermit, filter: Filter{Source: Any(), Destination: Any(), Mirrored: true}})
	endpoints := map[string]netip.Addr{"to-a": addr("192.0.2.1"), "to-b": addr("203.0.113.1")}
	both := Environment{LocalAddresses: []netip.Addr{addr("192.0.2.1"), addr("203.0.113.1")}, Endpoints: endpoints}
	one := Environment{LocalAddresses: []netip.Addr{addr("203.0.113.1")}, Endpoints: endpoints, Vanished: []netip.Addr{addr("192.0.2.1")}}
	for _, test := range []struct {
		env     Environment
		out, in Verdict
	}{{both, VerdictProtect, VerdictRequire}, {one, VerdictStale, VerdictStale}, {both, VerdictProtect, VerdictRequire}} {
		spd, warnings := mustCompile(t, set, test.env)
		wantVerdict(t, spd, tcp("10.1.0.5:1", "10.2.0.5:1"), PortsLAN, test.out.String())
		wantVerdict(t, spd, tcp("10.2.0.5:1", "10.1.0.5:1"), PortsWAN, test.in.String())
		wantVerdict(t, spd, tcp("10.1.0.5:1", "10.3.0.5:1"), PortsLAN, "protect")
		wantVerdict(t, spd, tcp("10.3.0.5:1", "10.1.0.5:1"), PortsWAN, "require")
		isStale := test.out == VerdictStale
		if lost := spd.StaleTunnels["to-a"]; (lost == addr("192.0.2.1")) != isStale || len(spd.StaleTunnels) > 1 {
			t.Errorf("stale %v: tunnels %v", isStale, spd.StaleTunnels)
		}
		if _, offered := spd.Selectors()["to-a"]; offered == isStale || len(spd.Selectors()["to-b"]) != 1 || len(spd.MainMode) == 2 == isStale {
			t.Errorf("stale %v: selectors %v, main mode %+v", isStale, spd.Selectors(), spd.MainMode)
		}
		said := slices.ContainsFunc(warnings, func(w Warning) bool {
			return w.Message == `tunnel "to-a" has lost its own address 192.0.2.1: what it protected is dropped until the address is back (rule "a")`
		})
		if said != isStale {
			t.Errorf("stale %v: warnings %v", isStale, warnings)
		}
	}
}

// A conflict with what holds the place of a vanished address is no news of two rules that say the same; with a rule that
// permits, the block holds.
// S-011, S-017
func TestVanishedAddressInConflict(t *testing.T) {
	env := Environment{Vanished: []netip.Addr{addr("10.1.0.1")}}
	mine := Filter{Source: MyAddresses(), Destination: spec("10.2.0.0/24")}
	literal := Filter{Source: spec("10.1.0.1/32"), Destination: spec("10.2.0.0/24")}
	spd, warnings := mustCompile(t, setOf(ruleText{name: "a", kind: ActionPermit, filter: mine}, ruleText{name: "b", kind: ActionPermit, filter: mine},
		ruleText{name: "c", kind: ActionPermit, filter: literal}), env)
	wantVerdict(t, spd, tcp("10.1.0.1:1", "10.2.0.5:1"), PortsLAN, "stale")
	var said []string
	for _, w := range warnings {
		if strings.HasPrefix(w.Message, "rules") {
			said = append(said, w.Message)
		}
	}
	want := `rules "a" and "c" disagree on 10.1.0.1 to 10.2.0.0/24: the block of a vanished own address holds over permit because it is more restrictive`
	if len(said) != 1 || said[0] != want {
		t.Errorf("%q, want %q alone", said, want)
	}
}
