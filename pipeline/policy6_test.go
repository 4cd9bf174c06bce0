package pipeline

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// S-022: under an IPv4-only policy neither IPv6 nor protocol 41 leaves, each with its own counter; then an IPv6 filter permits
// IPv6 and another one protects it.
func TestIPv6UnlessAFilterSaysSo(t *testing.T) {
	only4 := rule{name: "all-ipv4", source: "0.0.0.0/0", destination: "0.0.0.0/0"}
	for _, permit := range []bool{false, true} { // the default action does not matter
		r := newRig6(t, rigOptions{rules: []rule{only4}, permit: permit})
		for range 5 {
			r.wantDrop(lan, fromHost6(tcp6(lanHost6, outside6)), "ipv6")
			r.wantDrop(lan, fromHost6(tcp6(lanHost6, lanOwn6)), "ipv6")
		}
		for range 3 {
			r.wantDrop(lan, fromHost(packetOfLength(lanHost, peer, protocolIPv6, 60)), "protocol_41")
		}
		if drops := r.d.Counters().Ports[lan].Drops; drops["ipv6"] != 10 || drops["protocol_41"] != 3 {
			t.Errorf("drops %v", drops)
		}
		r.applyRules(only4, rule{name: "out", source: "2001:db8:1::/48", destination: "any", oneWay: true}, siteRule6)
		r.wantForward(lan, fromHost6(tcp6(lanHost6, outside6)), wan)
		r.wantDrop(wan, fromPeer6(tcp6(outside6, lanHost6)), "ipv6") // S-021: no state
		r.wantDrop(lan, fromHost6(packet6(lanHost6, outside6, protocolIPv6, tcp6(farHost6, lanHost6))), "protocol_41")
		far := r.outbound(r.child6("aes128gcm16", false))
		sent := r.wantForward(lan, fromHost6(tcp6(lanHost6, farHost6)), wan)
		if inner := r.reveal(far, sent); !isIPv6(inner) {
			t.Errorf("% x inside", inner)
		}
	}
}

// S-016 with IPv6 addresses: the most specific filter alone decides and counts.
func TestIPv6MostSpecific(t *testing.T) {
	host := netip.MustParseAddr("2001:db8:f::2")
	r := newRig6(t, rigOptions{rules: []rule{
		{name: "1", source: "any", destination: "any", block: true},
		{name: "2", source: "any", destination: "2001:db8:f::/64"},
		{name: "3", source: "any", destination: "2001:db8:f::2", block: true},
		{name: "4", source: "any", destination: "2001:db8:f::2", protocol: protocolTCP, port: policy.PortRange{First: 5678, Last: 5678}},
	}})
	r.wantForward(lan, fromHost6(tcp6(lanHost6, host)), wan)
	r.wantDrop(lan, fromHost6(udp6(lanHost6, host, 1, 5678, 8)), "filter_block")
	r.wantDrop(lan, fromHost6(tcp6(lanHost6, outside6)), "filter_block")
	hits := map[string]uint64{}
	for _, f := range r.d.Counters().Filters {
		hits[f.Entry.Rule] += f.Packets
	}
	if hits["1"] != 1 || hits["2"] != 0 || hits["3"] != 1 || hits["4"] != 1 {
		t.Errorf("hits %v", hits)
	}
}

// Addresses that cannot be, and those that end here or nowhere (RFC 4291).
func TestIPv6Addresses(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule, siteRule6}})
	address := netip.MustParseAddr
	linkLocal, nodes := address("fe80::1"), address("ff02::1")
	for _, c := range []struct {
		source, destination netip.Addr
		reason              string // empty: for the gateway itself
	}{
		{address("::"), outside6, "bad_source"},
		{address("::1"), outside6, "bad_source"},
		{address("::192.0.2.9"), outside6, "bad_source"},
		{address("::ffff:192.0.2.9"), outside6, "bad_source"},
		{nodes, outside6, "bad_source"},
		{lanOwn6, outside6, "bad_source"},
		{wanOwn6, lanOwn6, "bad_source"},
		{lanHost6, address("::"), "bad_destination"},
		{lanHost6, address("::1"), "bad_destination"},
		{lanHost6, address("::ffff:192.0.2.9"), "bad_destination"},
		{linkLocal, outside6, "link_local"},
		{lanHost6, linkLocal, "link_local"},
		{linkLocal, farHost6, "link_local"}, // not into a tunnel either
		{linkLocal, lanOwn6, ""},
		{lanHost6, lanOwn6, ""},
		{lanHost6, wanOwn6, ""},
		{lanHost6, nodes, ""},
		{linkLocal, nodes, ""},
	} {
		for range 2 {
			frame := fromHost6(udp6(c.source, c.destination, 7, 7, 8))
			if c.reason != "" {
				r.wantDrop(lan, frame, c.reason)
			} else if o, answers := r.check(lan, frame); o.Disposition != packetLocal && o.Disposition != packetGroup || len(answers[lan])+len(answers[wan]) != 0 {
				t.Errorf("%s to %s: %+v, answers %x", c.source, c.destination, o, answers)
			}
		}
	}
	r.wantDrop(lan, fromHost6(tcp6(lanHost6, nodes)), "tcp_multicast")
	inGroup := fromHost6(udp6(lanHost6, nodes, 7, 7, 8))
	copy(inGroup, []byte{0x33, 0x33, 0, 0, 0, 1})
	if o, _ := r.check(lan, inGroup); o.Disposition != packetGroup {
		t.Errorf("%+v", o)
	}
	unicast := fromHost6(udp6(lanHost6, outside6, 7, 7, 8))
	copy(unicast, []byte{0x33, 0x33, 0, 0, 0, 1})
	r.wantDrop(lan, unicast, "link_broadcast")
}

// S-105 for IPv6: a group's packet never asks for a tunnel, whatever the filter that it meets, and is never forwarded.
func TestIPv6GroupsAreNotProtected(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{{name: "vpn", source: "2001:db8:1::/48", destination: "any", tunnel: "site"}}})
	r.setCell("site", CellHold)
	for _, group := range []string{"ff02::1", "ff05::2", "ff0e::9"} {
		r.wantDrop(lan, fromHost6(udp6(lanHost6, netip.MustParseAddr(group), 7, 7, 8)), "multicast")
	}
	if len(r.seen.acquired) != 0 {
		t.Error("a tunnel was asked for")
	}
}

// S-021, S-025 for IPv6: the verdicts of a tunnel's filters on clear packets of either port.
func TestIPv6ClearOnProtected(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, allRule}})
	r.outbound(r.child6("aes128gcm16", false))
	for range 2 {
		r.wantDrop(wan, fromPeer6(tcp6(farHost6, lanHost6)), "clear_on_protected")
		r.wantDrop(lan, fromHost6(tcp6(farHost6, lanHost6)), "clear_on_protected")
		r.wantDrop(wan, fromPeer6(tcp6(lanHost6, farHost6)), "protect_from_unprotected")
		r.wantForward(lan, fromHost6(tcp6(lanHost6, farHost6)), wan)
	}
}

// Routes by the longest prefix, as the naive lookup finds them.
func TestIPv6Routes(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 6))
	o := rigOptions{rules: []rule{allRule}}
	seen := map[netip.Prefix]bool{}
	for len(o.routes) < 200 {
		b := farHost6.As16()
		for range 4 {
			b[2+random.IntN(14)] = byte(random.IntN(4)) << random.IntN(7)
		}
		p := netip.PrefixFrom(netip.AddrFrom16(b), 16+random.IntN(113)).Masked()
		if seen[p] || p.Contains(lanOwn6) || p.Contains(wanOwn6) || p.Bits() == 49 {
			continue
		}
		seen[p] = true
		o.routes = append(o.routes, Route{To: p, Via: []netip.Addr{peer6, lanHost6}[random.IntN(2)]})
	}
	r := newRig6(t, o)
	for i := range 2000 {
		b := o.routes[i%len(o.routes)].To.Addr().As16()
		b[random.IntN(16)] ^= byte(1 << random.IntN(8))
		to := netip.AddrFrom16(b)
		if !to.IsGlobalUnicast() || netip.PrefixFrom(lanOwn6, 64).Contains(to) || netip.PrefixFrom(wanOwn6, 64).Contains(to) {
			continue // no neighbour there answers
		}
		key, _ := nextHop(r.ref.routes, to)
		r.wantForward(lan, fromHost6(tcp6(lanHost6, to)), key.Port)
	}
}

// The memos of both versions are shown, and void after a change of policy.
func TestIPv6Flows(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule, siteRule6}})
	r.outbound(r.child6("aes128gcm16", false))
	for range 2 {
		r.wantForward(lan, fromHost6(tcp6(lanHost6, outside6)), wan)
		r.wantForward(lan, fromHost6(tcp6(lanHost6, farHost6)), wan)
	}
	shown := map[string]bool{}
	for _, f := range r.d.Flows(100) {
		if f.Source.Is6() {
			shown[fmt.Sprintf("%s:%d %s:%d %d %s %s %s %s", f.Source, f.SourcePort, f.Destination, f.DestinationPort, f.Protocol, f.Role, f.Action, f.OutTunnel, f.Filter.Rule)] = true
		}
	}
	same(t, "flows", shown, map[string]bool{
		"2001:db8:1::7:12345 2001:db8:99::9:5678 6 protected forward  all":         true,
		"2001:db8:1::7:12345 2001:db8:2::7:5678 6 protected protect site to-site6": true,
	})
	r.applyRules(rule{name: "deny", source: "any", destination: "any", block: true})
	r.wantDrop(lan, fromHost6(tcp6(lanHost6, outside6)), "filter_block")
	r.wantDrop(lan, fromHost6(tcp6(lanHost6, farHost6)), "filter_block")
}

// A cache far smaller than the number of flows gives each its own verdict.
func TestIPv6FlowsGiveWay(t *testing.T) {
	r := newRig6(t, rigOptions{flows: 16, rules: []rule{{name: "even", source: "any", destination: "2001:db8:99::/120"}}})
	for i := range 3000 {
		b := outside6.As16()
		b[14], b[15] = byte(r.random.IntN(2)), byte(r.random.IntN(16))
		p := udp6(lanHost6, netip.AddrFrom16(b), uint16(i%3), 9, 0)
		if b[14] == 0 {
			r.wantForward(lan, fromHost6(p), wan)
		} else {
			r.wantDrop(lan, fromHost6(p), "ipv6")
		}
	}
}
