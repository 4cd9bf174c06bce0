package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Each mistake is reported at its line and key, with what was expected and what was found.
func TestErrors(t *testing.T) {
	twoPeers := func(more string) string {
		return "psk_file: site-b.psk}}\n  - {name: site-c, local: 192.0.2.1, remote: 192.0.2.2, auth: {psk_file: site-c.psk}" + more + "}"
	}
	for _, test := range []struct{ old, new, want string }{
		// keys
		{"name: gw-a", "nam: gw-a\nname: gw-a", "gw.yaml:1: nam: unknown key: did you mean name?"},
		{"{workers: [1]}", "{worker: [1]}", "gw.yaml:2: dataplane.worker: unknown key: did you mean workers?"},
		{"{workers: [1]}", "{crypto_devices: [crypto_opnssl0]}", "dataplane.crypto_devices[0]: expected a device of one of DPDK's drivers (crypto_aesni_gcm,"},
		{"{workers: [1]}", "{zebra: [1]}", "gw.yaml:2: dataplane.zebra: unknown key: expected one of crypto_devices, flow_entries,"},
		{"name: gw-a", "Name: gw-a", "gw.yaml:1: Name: unknown key: did you mean name?"},
		{"name: gw-a", "", "gw.yaml: name: is missing: expected the gateway's name"},
		{"name: gw-a", "name: gw-a\nname: gw-b", "gw.yaml:2: name: the key is there twice, first in line 1"},
		{"name: gw-a", "name:", "gw.yaml:1: name: is missing"},
		{"role: protected, ", "", "gw.yaml:4: ports[0].role: is missing: expected protected or unprotected"},
		{"auth: {psk_file: site-b.psk}", "auth: {psk: hunter2}", "gw.yaml:9: peers[0].auth.psk: there is no such key: a key in this file would be read by everyone"},
		{"peer: site-b}", "peer: site-b, priority: 7}", "gw.yaml:19: policies[0].rules[0].priority: there is no such key: the order of rules has no effect"}, // S-007
		{"peer: site-b}", "peer: site-b, soft: {lifetime: 5m}}", "policies[0].rules[0].soft: unknown key"},
		{"active_policy: site", "active_policy: site\n? [a]\n: b", "expected a word as key, found a list"},
		// kinds
		{"addresses: [10.1.0.1/24]", "addresses: 10.1.0.1/24", `gw.yaml:4: ports[0].addresses: expected a list, found "10.1.0.1/24"`},
		{"routes:\n  - {to: 10.9.0.0/16, via: 10.1.0.254}", "routes: 7", `gw.yaml:6: routes: expected a list, found "7"`},
		{"dataplane: {workers: [1]}", "dataplane: [1]", "gw.yaml:2: dataplane: expected keys with values, found a list"},
		{"name: gw-a", "name: {a: b}", "gw.yaml:1: name: expected text, found keys with values"},
		{"{workers: [1]}", "{workers: [1.5]}", `gw.yaml:2: dataplane.workers[0]: expected a whole number, found "1.5"`},
		{"{workers: [1]}", "{memory_mb: 99999999999999999999}", `gw.yaml:2: dataplane.memory_mb: expected a whole number, found "99999999999999999999"`},
		{"auth: {psk_file: site-b.psk}", "auth: {psk_file: site-b.psk, allow_weak_psk: maybe}", `peers[0].auth.allow_weak_psk: expected true or false, found text`},
		{"routes:\n", "routes:\n  -\n", "gw.yaml:7: routes[0]: expected a value, found nothing after the dash"},
		// names
		{"name: gw-a", "name: gate way", `gw.yaml:1: name: expected a name of 1 to 64 letters, digits, dots, hyphens and underscores, found "gate way"`},
		{"name: wan,", "name: lan,", `gw.yaml:5: ports[1].name: expected a name of its own, found "lan", which ports[0].name has already`},
		{"psk_file: site-b.psk}}", strings.Replace(twoPeers(", remote_id: c"), "site-c,", "site-b,", 1), `gw.yaml:10: peers[1].name: expected a name of its own, found "site-b"`},
		{"  - {name: protect, action: negotiate}", "  - {name: protect, action: negotiate}\n  - {name: protect, action: block}", `gw.yaml:16: filter_actions[1].name: expected a name of its own, found "protect"`},
		// data plane
		{"{workers: [1]}", "{workers: []}", "gw.yaml:2: dataplane.workers: expected the cores of 1 to 64 workers, found 0"},
		{"{workers: [1]}", "{workers: [1, 1]}", "gw.yaml:2: dataplane.workers[1]: expected a core of its own for each worker, found core 1 twice"},
		{"{workers: [1]}", "{workers: [0]}", "gw.yaml:2: dataplane.workers[0]: expected another core than main_core, found 0 for both"},
		{"{workers: [1]}", "{workers: [2]}", "gw.yaml:2: dataplane.workers[0]: expected a core of this machine (0-1), found 2"},
		{"{workers: [1]}", "{main_core: -1}", "gw.yaml:2: dataplane.main_core: expected a core of this machine (0-1), found -1"},
		{"{workers: [1]}", "{flow_entries: 1000}", "gw.yaml:2: dataplane.flow_entries: expected a power of two from 2 to 268435456 flows, found 1000"},
		{"{workers: [1]}", "{max_sas: 0}", "gw.yaml:2: dataplane.max_sas: expected a power of two from 2 to 16777216 SAs, found 0"},
		{"{workers: [1]}", "{memory_mb: 1}", "gw.yaml:2: dataplane.memory_mb: expected 64 to 1048576 MiB, found 1"},
		{"{workers: [1]}", "{max_tunnels: 65535}", "gw.yaml:2: dataplane.max_tunnels: expected 1 to 65534 tunnels, found 65535"},
		{"{workers: [1]}", "{idle: fast}", `gw.yaml:2: dataplane.idle: expected poll, yield or sleep, found "fast"`},
		{"{workers: [1]}", "{huge_pages: maybe}", `gw.yaml:2: dataplane.huge_pages: expected auto, on or off, found "maybe"`},
		{"{workers: [1]}", `{crypto_devices: ["3D:01.0", "0000:3d:01.0"]}`, "dataplane.crypto_devices[1]: expected each device once, by itself or as one worker of a scheduler, found 0000:3d:01.0 twice"},
		{"{workers: [1]}", "{crypto_devices: [aesni]}", `gw.yaml:2: dataplane.crypto_devices[0]: expected a virtual device (crypto_aesni_gcm0) or a PCI address, found "aesni"`},
		{"{workers: [1]}", "{offload: [inline, nic]}", `gw.yaml:2: dataplane.offload[1]: expected inline, lookaside or cpu, found "nic"`},
		{"{workers: [1]}", "{offload: [cpu, inline, cpu]}", "gw.yaml:2: dataplane.offload[2]: expected each at most once, found cpu twice"},
		{"{workers: [1]}", "{offload: [inline]}", "gw.yaml:2: dataplane.offload: expected cpu beside inline, found inline: what a port leaves undone is the CPU's"},
		{"{workers: [1]}", "{offload: [inline, lookaside]}", "gw.yaml:2: dataplane.offload: expected cpu beside inline, found inline, lookaside: what a port leaves undone is the CPU's"},
		{"{workers: [1]}", "{offload: []}", "gw.yaml:2: dataplane.offload: expected some of inline, lookaside and cpu, or no such key, found none"},
		// ports and routes
		{"role: protected", "role: lan", `gw.yaml:4: ports[0].role: expected protected or unprotected, found "lan"`},
		{"net_af_packet0,iface=lan0", "lan0", `gw.yaml:4: ports[0].device: expected a PCI address (0000:00:05.0) or a virtual device (net_af_packet0,iface=lan0), found "lan0"`},
		{"net_af_packet1,iface=wan0", "net_af_packet0,iface=lan0", "gw.yaml:5: ports[1].device: expected a device of its own"},
		{"10.1.0.1/24", "10.1.0.1", `gw.yaml:4: ports[0].addresses[0]: expected a unicast address with the prefix length of its subnet (10.1.0.1/24, 2001:db8:1::1/64), found "10.1.0.1"`},
		{"10.1.0.1/24", "10.1.0.255/24", "gw.yaml:4: ports[0].addresses[0]: expected the address of a host in its subnet, found 10.1.0.255"},
		{"192.0.2.1/24", "10.1.0.9/16", `gw.yaml:5: ports[1].addresses[0]: expected a subnet of its own, found 10.1.0.0/16, which overlaps 10.1.0.0/24 of port "lan"`},
		{"192.0.2.1/24", "192.0.2.1/24, 192.0.2.1/24", "gw.yaml:5: ports[1].addresses[1]: expected an address of its own, found 192.0.2.1 for the second time"},
		{"addresses: [10.1.0.1/24]", "addresses: []", "gw.yaml:4: ports[0].addresses: expected 1 to 8 addresses, each with its prefix length (10.1.0.1/24), found 0"},
		{"addresses: [10.1.0.1/24]", "addresses: [10.1.0.1/24], mtu: 50", "gw.yaml:4: ports[0].mtu: expected 68 to 9728 bytes, found 50"},
		{"10.9.0.0/16", "10.9.0.1/16", "gw.yaml:7: routes[0].to: expected a prefix without host bits, found 10.9.0.1/16: did you mean 10.9.0.0/16?"},
		{"net_af_packet1,iface=wan0", "net_af_packet0,iface=wan0", "gw.yaml:5: ports[1].device: expected the arguments of ports[0], which has the same device"},
		{"via: 10.1.0.254", "via: 10.1.0.255", "gw.yaml:7: routes[0].via: expected the address of a router, found 10.1.0.255"},
		{"via: 10.1.0.254", "via: 10.2.0.254", "gw.yaml:7: routes[0].via: expected an address on the subnet of a port (10.1.0.0/24, 192.0.2.0/24), found 10.2.0.254"},
		{"via: 10.1.0.254", "via: 10.1.0.1", "gw.yaml:7: routes[0].via: expected the address of another router, found 10.1.0.1, which is the gateway's own"},
		{"10.9.0.0/16", "10.1.0.0/24", "gw.yaml:7: routes[0].to: expected a prefix that is not attached, found 10.1.0.0/24"},
		{"via: 10.1.0.254}", "via: 10.1.0.254}\n  - {to: 10.9.0.0/16, via: 10.1.0.253}", "gw.yaml:8: routes[1].to: expected one route for a prefix"},
		// peers
		{"local: 192.0.2.1,", "local: 192.0.2.7,", "gw.yaml:9: peers[0].local: expected an address of a port (10.1.0.1, 192.0.2.1), found 192.0.2.7"}, // S-005
		{"remote: 192.0.2.2,", "remote: 10.1.0.1,", "gw.yaml:9: peers[0].remote: expected the address of another gateway, found 10.1.0.1"},            // S-005
		{"remote: 192.0.2.2,", "remote: 224.0.0.1,", `gw.yaml:9: peers[0].remote: expected a unicast address (192.0.2.1, 2001:db8::1), found "224.0.0.1"`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, remote_id: a b,", `gw.yaml:9: peers[0].remote_id: identity "a b": expected an address`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, start: soon,", `gw.yaml:9: peers[0].start: expected always or on-demand, found "soon"`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, dpd_delay: 30,", `gw.yaml:9: peers[0].dpd_delay: expected a time with its unit (500ms, 30s, 5m, 8h), found "30"`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, child_rekey: 1s,", "gw.yaml:9: peers[0].child_rekey: expected a time from 10s to 168h0m0s, found 1s"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, reauth: 30s,", "gw.yaml:9: peers[0].reauth: expected 0s (never) or a time from 1m0s to 168h0m0s, found 30s"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, idle_timeout: 1ms,", "gw.yaml:9: peers[0].idle_timeout: expected 0s (never) or a time from 1s to 24h0m0s, found 1ms"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, replay_window: 1,", "gw.yaml:9: peers[0].replay_window: expected 32 to 8192 packets, found 1"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, ike_proposals: [aes128],", `gw.yaml:9: peers[0].ike_proposals[0]: IKE proposal "aes128"`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, remote_id: 192.0.2.300,", `gw.yaml:9: peers[0].remote_id: identity "192.0.2.300": expected an address, which has four numbers from 0 to 255`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, ike_proposals: [aes128gcm16-prfsha256-ecp256, aes128gcm16-prfsha256-ecp256],", "gw.yaml:9: peers[0].ike_proposals[1]: expected each proposal once"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, ike_proposals: [" + strings.Repeat("aes128gcm16-prfsha256-ecp256, ", 300) + "],", "gw.yaml:9: peers[0].ike_proposals: expected at most 32 proposals, found 300"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, ike_proposals: [aes256-sha256-modp1024],", "found modp1024, which does not: use ecp256 or modp2048, or write legacy_algorithms: true"},
		{"role: unprotected, ", "role: unprotected, mtu: 575, ", "gw.yaml:5: ports[1].mtu: expected at least 576 bytes on a port that tunnels begin at (local: 192.0.2.1), found 575"},
		{"psk_file: site-b.psk}}", twoPeers(""), `gw.yaml:10: peers[1]: expected other addresses or identities than those of peer "site-b"`},
		// policy
		{"action: negotiate", "action: allow", `gw.yaml:15: filter_actions[0].action: expected permit, block or negotiate, found "allow"`}, // S-023
		{"action: negotiate", "action: negotiate, esp_proposals: [rot13]", `gw.yaml:15: filter_actions[0].esp_proposals[0]: ESP proposal "rot13"`},
		{"action: negotiate", "action: negotiate, mode: transport, encapsulation: {tfc_pad: 1400}", "gw.yaml:15: filter_actions[0].encapsulation.tfc_pad: expected off with mode: transport"},
		{"action: negotiate", "action: negotiate, ah_proposals: [sha256], encapsulation: {tfc_pad: 1400}", "gw.yaml:15: filter_actions[0].encapsulation.tfc_pad: expected off with ah_proposals"},
		{"action: negotiate", "action: block, esp_proposals: [aes128gcm16]", "gw.yaml:15: filter_actions[0].esp_proposals: expected ESP proposals for negotiate only"},
		{"action: negotiate", "action: block", `gw.yaml:19: policies[0].rules[0].peer: expected no peer, because action "protect" is block, found "site-b"`},
		{"filter_list: lan-to-lan,", "filter_list: lan,", `gw.yaml:19: policies[0].rules[0].filter_list: expected the name of a filter list (lan-to-lan), found "lan"`},
		{"filter_list: lan-to-lan,", "", "gw.yaml:19: policies[0].rules[0].filter_list: is missing: expected the name of a filter list"}, // S-004
		{"filter_action: protect,", "filter_action: [protect, block],", "gw.yaml:19: policies[0].rules[0].filter_action: expected text, found a list"},
		{"peer: site-b}", "peer: site-x}", `gw.yaml:19: policies[0].rules[0].peer: expected the name of a peer (site-b), found "site-x": did you mean site-b?`},
		{", peer: site-b}", "}", `gw.yaml:19: policies[0].rules[0].peer: is missing: action "protect" negotiates and needs a peer (site-b)`},
		{"peer: site-b}", "peer: site-b, ports: wan}", "gw.yaml:19: policies[0].rules[0].ports: expected lan or all, because its action negotiates"},
		{"active_policy: site", "active_policy: other", `gw.yaml:20: active_policy: expected the name of a policy (site), found "other"`},
		{"    rules:", "    default_action: negotiate\n    rules:", "gw.yaml:18: policies[0].default_action: expected block or permit, found negotiate"},
		{"{source: 10.1.0.0/24,", "{source: 10.1.0.1/24,", "gw.yaml:13: filter_lists[0].filters[0].source: prefix 10.1.0.1/24 has bits set beyond its length"},
		{"destination: 10.2.0.0/24}", "destination: 2001:db8::/32}", "gw.yaml:13: filter_lists[0].filters[0].destination: expected the IP version of the source"},
		{"destination: 10.2.0.0/24}", "destination: 10.2.0.0/24, destination_port: 80}", "gw.yaml:13: filter_lists[0].filters[0].destination_port: expected a protocol that has ports"},
		{"destination: 10.2.0.0/24}", "destination: 10.2.0.0/24, protocol: 300}", "gw.yaml:13: filter_lists[0].filters[0].protocol: expected a protocol"},
		{"destination: 10.2.0.0/24}", "destination: 239.0.0.0/8}", "gw.yaml:19: policies[0].rules[0].filter_list: expected filters that can be negotiated"}, // S-105
		{"{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: my, destination: 2001:db8:2::/48}", "gw.yaml:19: policies[0].rules[0]: expected traffic to protect, found none"},
		{"updated: 2026-11-21", "updated: yesterday", `gw.yaml:12: filter_lists[0].updated: expected a date (2026-11-21), found "yesterday"`},
		// the rest
		{"active_policy: site", "active_policy: site\ncontrol: {socket: run.sock}", `gw.yaml:21: control.socket: expected an absolute path, found "run.sock"`},
		{"active_policy: site", "active_policy: site\ncontrol: {socket: /" + strings.Repeat("x", 107) + "}", "gw.yaml:21: control.socket: expected a path of at most 107 bytes, found one of 108"},
		{"active_policy: site", "active_policy: site\nmetrics: {listen: 9433}", `gw.yaml:21: metrics.listen: expected an address and a TCP port (127.0.0.1:9433), found "9433"`},
		{"active_policy: site", "active_policy: site\nlog: {level: loud}", `gw.yaml:21: log.level: expected debug, info, warn or error, found "loud"`},
	} {
		_, err := parseBase(t, replaced(t, test.old, test.new))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q instead of %q: want an error with\n\t%s\nfound\n\t%v", test.new, test.old, test.want, err)
		}
	}
}

// The file as a whole may be wrong.
func TestNotAConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"a: b\nc: [":           "gw.yaml:2: not valid YAML: did not find expected node content",
		"a: @b":                "found character that cannot start any token: a tab, or a word",
		"a: b\nc: d: e":        "gw.yaml:2: not valid YAML: mapping values are not allowed in this context: text that holds a colon before a space",
		"":                     "the file is empty",
		"# nothing\n":          "the file is empty",
		"a: [":                 "not valid YAML",
		"a: b\nc: \x00":        "gw.yaml:2: expected text in UTF-8, found the control character U+0000",
		"a: b\nc: \xfc":        "gw.yaml:2: expected text in UTF-8, found the octet 0xfc of another code page",
		"\xff\xfea\x00:\x00":   "gw.yaml:1: expected text in UTF-8, found UTF-16",
		"- a\n":                "expected keys with values, found a list",
		"7":                    `expected keys with values, found "7"`,
		base + "---\nname: b":  "expected one YAML document",
		"a: &a [*a]\nname: *a": "name: expected text, found a list",
	} {
		_, err := parseBase(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want an error with %q, found %v", text, want, err)
		}
	}
}

// All mistakes of a file come at once, in the order of the file, each as an *Error of its own, and what follows from
// one is not a second.
func TestAllErrorsAtOnce(t *testing.T) {
	text := strings.NewReplacer("workers: [1]", "workers: [7], idle: fast", "192.0.2.1/24", "192.0.2.1/33", "via: 10.1.0.254", "via: here",
		"10.2.0.0/24", "10.2.0.0/44", "filter_action: protect", "filter_action: protec").Replace(base)
	_, err := parseBase(t, text)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("error %v, want several joined", err)
	}
	var keys []string
	for _, one := range joined.Unwrap() {
		var e *Error
		if !errors.As(one, &e) {
			t.Fatalf("%T, want *Error", one)
		}
		keys = append(keys, fmt.Sprintf("%d:%s", e.Line, e.Key))
	}
	const want = "[2:dataplane.idle 2:dataplane.workers[0] 5:ports[1].addresses[0] 7:routes[0].via 13:filter_lists[0].filters[0].destination 19:policies[0].rules[0].filter_action]"
	if got := fmt.Sprint(keys); got != want {
		t.Errorf("mistakes at\n%s, want\n%s\n%v", got, want, err)
	}
}

// A word that is close to a known one is suggested, another one is not.
func TestNearest(t *testing.T) {
	known := []string{"source", "source_port", "destination", "mirrored"}
	for found, want := range map[string]string{"sorce": "source", "Source": "source", "sourceport": "source_port", "mirored": "mirrored", "zebra": "", "": "", strings.Repeat("source", 1000): ""} {
		if got := nearest(found, known); got != want {
			t.Errorf("nearest to %.20q: %q, want %q", found, got, want)
		}
	}
}

// A file with no end of mistakes has the first of them listed, and the rest counted.
func TestManyMistakes(t *testing.T) {
	rules := strings.Repeat("      - {name: x, sorce: y}\n", 700) // each lacks two keys as well
	_, err := parseBase(t, replaced(t, "    rules:\n", "    rules:\n"+rules))
	all := err.(interface{ Unwrap() []error }).Unwrap()
	if last := all[len(all)-1].Error(); len(all) != maxErrors+1 || !strings.HasSuffix(last, "gw.yaml: 1100 more mistakes, which are not listed: correct these first") {
		t.Errorf("%d errors, the last %s", len(all), last)
	}
}

// One mistake is one message: what follows from it is not another.
func TestOneMistakeIsOneMessage(t *testing.T) {
	for _, slip := range [][2]string{
		{"peer: site-b}", "peer: site-b, auth_methods: [eap]}"},
		{"    rules:", "    default_response: {enabled: true, auth_methods: [eap]}\n    rules:"},
		{"    rules:", "    default_response: {enabled: true, auth_methods: []}\n    rules:"},
		{"psk_file: site-b.psk", "certificate_file: [], private_key_file: x"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, ike_proposals: [rot13, rot13],"},
	} {
		_, err := parseBase(t, replaced(t, slip[0], slip[1]))
		var keys = map[string]bool{}
		for _, m := range strings.Split(fmt.Sprint(err), "\n") {
			if _, rest, found := strings.Cut(m, ": "); found {
				key, _, _ := strings.Cut(rest, ": ")
				keys[strings.TrimRight(key, "[]0123456789")] = true
			}
		}
		if err == nil || len(keys) != 1 {
			t.Errorf("%s: want a mistake at one key, found\n%v", slip[1], err)
		}
	}
}

// Crypto devices that cannot do what the CPU is to do are told before any SA is refused.
func TestOffloadWithoutADeviceForIt(t *testing.T) {
	for dataplane, want := range map[string]bool{
		"crypto_devices: [crypto_openssl0], offload: [cpu]":                   true,
		"crypto_devices: [crypto_openssl0], offload: [inline, cpu]":           true,
		"crypto_devices: [crypto_openssl0], offload: [lookaside, cpu]":        false,
		"crypto_devices: [crypto_openssl0]":                                   false,
		"offload: [cpu]":                                                      false,
		"crypto_devices: [crypto_openssl0, crypto_aesni_mb0], offload: [cpu]": false,
	} {
		c := mustParse(t, strings.Replace(base, "{workers: [1]}", "{workers: [1], "+dataplane+"}", 1))
		if told := strings.Contains(strings.Join(c.Warnings, "\n"), "dataplane.offload leaves ESP to the CPU"); told != want {
			t.Errorf("%s: warnings %q", dataplane, c.Warnings)
		}
	}
}

// A crypto device that can do none of what SAs may have is told, with what it can do.
func TestUselessCryptoDevices(t *testing.T) {
	const cbc, both = "aes128-sha256", "aes128-sha256, aes128gcm16"
	for _, c := range []struct{ devices, proposals, says string }{
		{"crypto_kasumi0, crypto_aesni_mb0", both, "dataplane.crypto_devices[0]: crypto_kasumi0 does KASUMI alone, which ESP does not have, and no SA here may have that: expected a device for one of [ENCR_AES_CBC ENCR_AES_GCM_16], or none"},
		{"crypto_aesni_mb0, crypto_aesni_gcm0", cbc, "dataplane.crypto_devices[1]: crypto_aesni_gcm0 does AES-GCM and AES-GMAC alone"},
		{"crypto_aesni_mb0, crypto_aesni_gcm0", both, ""},
		{"crypto_openssl0, crypto_null0", cbc, "crypto_null0 does no encryption"},
		{"crypto_chacha20_poly13050", both, "does ChaCha20-Poly1305 alone"},
		{"crypto_chacha20_poly13050", "chacha20poly1305", ""},
		{`"0000:3d:01.0", crypto_virtio_user0, crypto_aesni_mb0`, cbc, ""},
	} {
		text := strings.Replace(base, "{workers: [1]}", "{workers: [1], crypto_devices: ["+c.devices+"]}", 1)
		warnings := mustParse(t, strings.Replace(text, "action: negotiate", "action: negotiate, esp_proposals: ["+c.proposals+"]", 1)).Warnings
		said := strings.Join(warnings, "\n")
		if told := strings.Contains(said, "dataplane.crypto_devices["); told != (c.says != "") || !strings.Contains(said, c.says) {
			t.Errorf("%s for %s: warnings %q, want %q", c.devices, c.proposals, warnings, c.says)
		}
	}
}

// A list of crypto devices that DPDK would not start, or end by, is refused as a file.
func TestCryptoDevicesTwiceAndSchedulers(t *testing.T) {
	const scheduler = "crypto_scheduler0,"
	for devices, want := range map[string]string{
		`crypto_openssl0, crypto_openssl0`:                        "each device once, by itself or as one worker of a scheduler, found crypto_openssl0 twice",
		`crypto_openssl0, "crypto_openssl0,a=b"`:                  "found crypto_openssl0 twice",
		`"0000:3d:01.0", "0000:3d:01.0"`:                          "found 0000:3d:01.0 twice",
		`"crypto_scheduler0"`:                                     "expected one of mode=round-robin, mode=packet-size-distr and mode=fail-over in a scheduler",
		`"` + scheduler + `worker=crypto_openssl1"`:               "expected one of mode=round-robin,",
		`"` + scheduler + `mode=round-robin"`:                     "expected 1 to 8 workers of a scheduler with mode=round-robin (worker=crypto_openssl1), found 0",
		`"` + scheduler + `mode=nonsense,worker=crypto_openssl1"`: "expected one of mode=round-robin,",
		`"` + scheduler + `mode=multi-core,corelist=1,worker=crypto_openssl1,worker=crypto_openssl2"`:                        "expected one of mode=round-robin,",
		`"` + scheduler + `mode=fail-over,worker=crypto_openssl1"`:                                                           "expected 2 to 8 workers of a scheduler with mode=fail-over",
		`"` + scheduler + `mode=round-robin,worker=crypto_openssl1,worker=crypto_openssl1"`:                                  "found crypto_openssl1 twice",
		`"` + scheduler + `mode=round-robin,worker=crypto_openssl1", crypto_openssl1`:                                        "found crypto_openssl1 twice",
		`"` + scheduler + `mode=round-robin,worker=crypto_scheduler1"`:                                                       `and no scheduler, found "crypto_scheduler1"`,
		`"` + scheduler + `mode=round-robin,worker=openssl1"`:                                                                `expected virtual devices (crypto_openssl1) as workers of a scheduler, and no scheduler, found "openssl1"`,
		`"` + scheduler + `mode=round-robin,worker=crypto_openssl1,ordering=maybe"`:                                          `expected ordering=enable or ordering=disable in a scheduler, found "maybe"`,
		`"` + scheduler + `worker=crypto_openssl1,worker=crypto_openssl2,mode=round-robin,ordering=enable", crypto_openssl3`: "",
		`"` + scheduler + `worker=crypto_openssl1,mode=round-robin"`:                                                         "",
		`"` + scheduler + `worker=crypto_openssl1,worker=crypto_openssl2,mode=packet-size-distr"`:                            "",
	} {
		_, err := parseBase(t, strings.Replace(base, "{workers: [1]}", "{workers: [1], crypto_devices: ["+devices+"]}", 1))
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v, expected %q", devices, err, want)
		}
	}
}

// A file may have as many values as it likes, which 60,000 tunnels do, but aliases may not multiply them.
// S-118
func TestValuesAndAliases(t *testing.T) {
	const multiplied = 1000
	text := func(value string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value, Line: 1}
	}
	filter := func() *yaml.Node {
		return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("source"), text("any"), text("destination"), text("any")}}
	}
	filters := func(one func(int) *yaml.Node) *yaml.Node {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range 2 * multiplied {
			list.Content = append(list.Content, one(i))
		}
		named := &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("name"), text("many"), text("filters"), list}}
		return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{text("filter_lists"), {Kind: yaml.SequenceNode, Content: []*yaml.Node{named}}}}
	}
	r := newReport("gw.yaml")
	if tree := r.checkKeysWith(filters(func(int) *yaml.Node { return filter() }), multiplied); tree == nil || r.err() != nil && strings.Contains(r.err().Error(), "values") {
		t.Errorf("values of its own: %v", r.err())
	}
	r = newReport("gw.yaml")
	shared := filter()
	if tree := r.checkKeysWith(filters(func(int) *yaml.Node { return &yaml.Node{Kind: yaml.AliasNode, Alias: shared} }), multiplied); tree != nil || r.err() == nil || !strings.Contains(r.err().Error(), "more than 1000 values by aliases") {
		t.Errorf("values by aliases: %v", r.err())
	}
}
