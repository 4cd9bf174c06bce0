package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

// mineToAny has a filter on the gateway's own addresses beside the tunnel.
var mineToAny = strings.NewReplacer(
	"filter_actions:\n", "  - {name: mine, updated: 2026-11-21, filters: [{source: my, destination: 203.0.113.0/24, protocol: udp}]}\nfilter_actions:\n  - {name: pass, action: permit}\n",
	"peer: site-b}", "peer: site-b}\n      - {name: from-me, filter_list: mine, filter_action: pass}",
).Replace(base)

// sourcesOf is the own addresses that a rule's filters have.
func sourcesOf(spd *policy.SPD, rule string) []string {
	var sources []string
	for _, e := range spd.Entries {
		if e.Rule == rule && !e.Mirror {
			sources = append(sources, e.Source.String()+" "+e.Verdict.String())
		}
	}
	slices.Sort(sources)
	return sources
}

// A change of the own addresses compiles the same file again: filters on "my addresses" follow, and those of an address
// that is gone block.
// S-019
func TestCompileForOtherAddresses(t *testing.T) {
	c := mustParse(t, mineToAny)
	if got := sourcesOf(c.SPD, "from-me"); !slices.Equal(got, []string{"10.1.0.1 permit", "192.0.2.1 permit"}) {
		t.Fatalf("sources %v", got)
	}
	env := c.Environment
	env.LocalAddresses = append(slices.Clone(env.LocalAddresses), netip.MustParseAddr("192.0.2.7"))
	more, err := c.Compile(env)
	if err != nil || !slices.Equal(sourcesOf(more.SPD, "from-me"), []string{"10.1.0.1 permit", "192.0.2.1 permit", "192.0.2.7 permit"}) {
		t.Errorf("one address more: %v, error %v", sourcesOf(more.SPD, "from-me"), err)
	}
	if len(more.Peers) != 1 || len(more.Peers[0].Children) != 1 || string(more.Peers[0].PSK.Bytes()) != goodKey {
		t.Errorf("one address more: peers %v", more.Peers)
	}

	env.Vanished = []netip.Addr{netip.MustParseAddr("192.0.2.7")}
	env.LocalAddresses = c.Environment.LocalAddresses
	fewer, err := c.Compile(env)
	if err != nil || !slices.Equal(sourcesOf(fewer.SPD, "from-me"), []string{"10.1.0.1 permit", "192.0.2.1 permit", "192.0.2.7 stale"}) {
		t.Errorf("gone again: %v, error %v", sourcesOf(fewer.SPD, "from-me"), err)
	}
}

// A peer whose local address is gone is not negotiated with, and what its tunnel protected is dropped and not forwarded
// in clear. With the address the peer is back.
func TestCompileWithoutTheEndpoint(t *testing.T) {
	c := mustParse(t, mineToAny)
	env := c.Environment
	env.LocalAddresses = []netip.Addr{netip.MustParseAddr("10.1.0.1")}
	env.Vanished = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	out, err := c.Compile(env)
	if err != nil || len(out.Peers) != 0 {
		t.Fatalf("peers %v, error %v", out.Peers, err)
	}
	packet := policy.Packet{Source: netip.MustParseAddr("10.1.0.7"), Destination: netip.MustParseAddr("10.2.0.7"), Protocol: 1}
	if d := out.SPD.Decide(packet, policy.PortsLAN); d.Verdict != policy.VerdictStale {
		t.Errorf("decision %+v, want stale", d)
	}
	if !slices.ContainsFunc(out.Warnings, func(w string) bool {
		return strings.Contains(w, "to-site-b") && strings.Contains(w, "192.0.2.1") && strings.Contains(w, "dropped")
	}) {
		t.Errorf("warnings %q", out.Warnings)
	}
	back, err := c.Compile(c.Environment)
	if err != nil || len(back.Peers) != 1 || back.SPD.Decide(packet, policy.PortsLAN).Verdict != policy.VerdictProtect {
		t.Errorf("back: peers %v, error %v", back.Peers, err)
	}
}

// The far end of a tunnel cannot become an own address while the gateway runs either.
// S-005
func TestCompileWithTheFarEndAsOwn(t *testing.T) {
	c := mustParse(t, base)
	env := c.Environment
	env.LocalAddresses = append(slices.Clone(env.LocalAddresses), netip.MustParseAddr("192.0.2.2"))
	if _, err := c.Compile(env); err == nil || !strings.Contains(err.Error(), `peer "site-b": expected the address of another gateway, found 192.0.2.2`) {
		t.Errorf("error %v", err)
	}
}

// A rule that is left without traffic to protect is a mistake in a file, and a warning when addresses change: a gateway
// that runs does not stop for it.
func TestCompileWithNothingToProtect(t *testing.T) {
	text := strings.NewReplacer("{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: my, destination: 2001:db8:2::/48}",
		"addresses: [10.1.0.1/24]", "addresses: [10.1.0.1/24, 2001:db8:1::1/64]").Replace(base)
	c := mustParse(t, text)
	if len(c.Peers[0].Children) != 1 {
		t.Fatalf("peer %+v", c.Peers[0])
	}
	env := c.Environment
	env.LocalAddresses = slices.DeleteFunc(slices.Clone(env.LocalAddresses), netip.Addr.Is6)
	out, err := c.Compile(env)
	if err != nil || len(out.Peers) != 1 || len(out.Peers[0].Children) != 0 {
		t.Fatalf("peers %v, error %v", out.Peers, err)
	}
	if !slices.ContainsFunc(out.Warnings, func(w string) bool { return strings.Contains(w, `rule "to-site-b" has no traffic to protect`) }) {
		t.Errorf("warnings %q", out.Warnings)
	}
}

// Ports, routes, filters and tunnels take IPv6.
func TestIPv6(t *testing.T) {
	text := strings.NewReplacer(
		"addresses: [10.1.0.1/24]", "addresses: [10.1.0.1/24, 2001:db8:1::1/64]",
		"  - {to: 10.9.0.0/16, via: 10.1.0.254}", "  - {to: \"::/0\", via: 2001:db8:1::fe}",
		"{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: 2001:db8:1::/64, destination: 2001:db8:2::/64, protocol: tcp, destination_port: 443}",
	).Replace(base)
	c := mustParse(t, text)
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "preshared key") {
		t.Errorf("warnings %q", c.Warnings)
	}
	s := c.Peers[0].Children[0].Selectors
	if len(s) != 1 || s[0].Local.String() != "2001:db8:1::/64" || s[0].Remote.String() != "2001:db8:2::/64" || s[0].RemotePort.String() != "443" {
		t.Errorf("selectors %v", s)
	}
	if r := c.Routes[0]; r.To.String() != "::/0" || r.Via.String() != "2001:db8:1::fe" {
		t.Errorf("route %+v", r)
	}
	if !slices.Contains(c.Environment.LocalAddresses, netip.MustParseAddr("2001:db8:1::1")) || !slices.Contains(c.Environment.Subnets, netip.MustParsePrefix("2001:db8:1::/64")) {
		t.Errorf("environment %+v", c.Environment)
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"remote: 192.0.2.2,", "remote: \"2001:db8::2\",", "gw.yaml:9: peers[0].remote: expected an address of the IP version of local, 192.0.2.1, found 2001:db8::2"},
		{"remote: 192.0.2.2,", "remote: \"fe80::2\",", "gw.yaml:9: peers[0].remote: expected an IPv6 address that is good beyond its link"},
		{"addresses: [10.1.0.1/24]", "addresses: [\"2001:db8:1::/64\"]", "gw.yaml:4: ports[0].addresses[0]: expected the address of a host in its subnet, found 2001:db8:1::, which is the anycast address"},
		{"addresses: [10.1.0.1/24]", "addresses: [\"fe80::1/64\"]", "gw.yaml:4: ports[0].addresses[0]: expected an IPv6 address that is good beyond its link"},
		{"addresses: [10.1.0.1/24]", "addresses: [\"ff02::1/64\"]", "gw.yaml:4: ports[0].addresses[0]: expected a unicast address"},
		{"addresses: [10.1.0.1/24]", "addresses: [\"::ffff:10.1.0.1/120\"]", "gw.yaml:4: ports[0].addresses[0]: expected a unicast address"},
		{"addresses: [10.1.0.1/24]", "addresses: [\"2001:db8:1::1/64\"], mtu: 1279", "gw.yaml:4: ports[0].addresses[0]: expected an mtu of at least 1280 bytes on a port with an IPv6 address (RFC 8200, section 5), found 1279"},
		{"via: 10.1.0.254}", "via: 10.1.0.254}\n  - {to: \"2001:db8:9::/48\", via: 10.1.0.254}", "gw.yaml:8: routes[1].via: expected a router of the IP version of 2001:db8:9::/48, found 10.1.0.254"},
		{"to: 10.9.0.0/16", "to: \"2001:db8:9::1/48\"", "gw.yaml:7: routes[0].to: expected a prefix without host bits, found 2001:db8:9::1/48: did you mean 2001:db8:9::/48?"},
	})
	for _, link := range []string{"2001:db8:1::/127", "2001:db8:1::1/127", "2001:db8:1::1/128"} { // RFC 6164
		mustParse(t, replaced(t, "addresses: [10.1.0.1/24]", "addresses: [10.1.0.1/24, \""+link+"\"]"))
	}
}

// A rule that negotiates may be for what arrives on protected ports only, and then clear replies from outside meet no
// filter of it.
func TestNegotiateOnLAN(t *testing.T) {
	c := mustParse(t, replaced(t, "peer: site-b}", "peer: site-b, ports: lan}"))
	for _, e := range c.SPD.Entries {
		if e.Ports != policy.PortsLAN {
			t.Errorf("entry %+v, want it for lan ports only", e)
		}
	}
	if len(c.Peers[0].Children) != 1 {
		t.Errorf("peer %+v", c.Peers[0])
	}
}

// What cannot change while a gateway runs is named key by key; all of the policy, addresses, routes and peers can.
func TestRestartKeys(t *testing.T) {
	old := mustParse(t, base)
	for _, test := range []struct{ old, new, want string }{
		{"name: gw-a", "name: gw-b", "name"},
		{"{workers: [1]}", "{workers: [1], memory_mb: 128, idle: sleep, huge_pages: off}", "dataplane.huge_pages dataplane.memory_mb dataplane.idle"},
		{"{workers: [1]}", "{workers: [0], main_core: 1}", "dataplane.main_core dataplane.workers"},
		{"{workers: [1]}", "{flow_entries: 1024, max_sas: 1024, max_tunnels: 7, max_neighbours: 7, punt_queue: 32, crypto_devices: [crypto_null0], offload: [cpu], log_level: debug}",
			"dataplane.flow_entries dataplane.max_sas dataplane.max_tunnels dataplane.max_neighbours dataplane.punt_queue dataplane.crypto_devices dataplane.offload dataplane.log_level"},
		{"{name: wan, device: \"net_af_packet1,iface=wan0\", role: unprotected", "{name: out, device: \"net_tap0\", role: protected, mtu: 1400", "ports[1].name ports[1].device ports[1].role ports[1].mtu"},
		{"addresses: [192.0.2.1/24]}", "addresses: [192.0.2.1/24]}\n  - {name: dmz, device: net_tap1, role: protected, addresses: [10.8.0.1/24]}", "ports"},
		{"active_policy: site", "active_policy: site\nstate_dir: /srv/sallyport\ncontrol: {socket: /run/x}\nmetrics: {listen: \"127.0.0.1:9433\"}\nlog: {level: debug, format: json}",
			"state_dir control.socket metrics.listen log.level log.format"},
		{"active_policy: site", "active_policy: site\nsoft: {max: 100, max_per_peer: 9, alarm: 7, queue_max: 7, inbound_per_source: 7, inbound_per_filter: 7}", "soft.max soft.queue_max"},
		{"active_policy: site", "active_policy: site\nsoft_sa: deny", ""},
		{"10.1.0.1/24]", "10.1.0.1/24, 10.1.0.2/24], ike: off", ""},
		{"to: 10.9.0.0/16", "to: 10.8.0.0/16", ""},
		{"remote: 192.0.2.2,", "remote: 192.0.2.3, ike_rekey: 1h,", ""},
		{"active_policy: site", "active_policy: site\nexemptions: {level: 1}\nike: {enabled: false}", ""},
		{"destination: 10.2.0.0/24}", "destination: 10.3.0.0/24}", ""},
		{"    rules:\n", "    refresh_seconds: 5\n    default_action: permit\n    rules:\n", ""},
	} {
		new := mustParse(t, replaced(t, test.old, test.new))
		if got := strings.Join(RestartKeys(old, new), " "); got != test.want {
			t.Errorf("%q: keys %q, want %q", test.new, got, test.want)
		}
	}
}
