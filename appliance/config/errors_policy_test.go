package config

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/policy/soft"
)

// expectErrors changes the base configuration in one place at a time, and wants the error of each.
func expectErrors(t *testing.T, tests []struct{ old, new, want string }) {
	t.Helper()
	for _, test := range tests {
		_, err := parseBase(t, replaced(t, test.old, test.new))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q instead of %q: want an error with\n\t%s\nfound\n\t%v", test.new, test.old, test.want, err)
		}
	}
}

// Five settings hold for a policy as a whole: they are taken there and refused in a rule. The fifth, its name, is told
// from the name that a rule has of its own.
// S-003
func TestPolicyLevelKeys(t *testing.T) {
	c := mustParse(t, replaced(t, "    rules:\n", `    description: what it is for
    refresh_seconds: 30
    key_exchange: {lifetime: 2h}
    key_exchange_methods: [aes256gcm16-prfsha384-ecp384, aes256-sha256-modp2048]
    rules:
`))
	if p := c.Policy.Policies[0]; p.Name != "site" || p.Description != "what it is for" || c.Refresh.Seconds() != 30 {
		t.Errorf("policy %+v, refresh %s", p, c.Refresh)
	}
	peer := c.Peers[0]
	if peer.RekeyTime.Hours() != 2 || len(peer.IKEProposals) != 2 || peer.IKEProposals[0].String() != "aes256gcm16-prfsha384-ecp384" || !strings.Contains(peer.IKEProposals[1].String(), "modp2048") {
		t.Errorf("IKE of %+v: want that of the policy", peer)
	}
	const mine = "refresh_seconds: 7\n    key_exchange: {lifetime: 2h}\n    key_exchange_methods: [aes256gcm16-prfsha384-ecp384]\n    rules:\n"
	text := strings.Replace(replaced(t, "    rules:\n", "    "+mine), "remote: 192.0.2.2,", "remote: 192.0.2.2, ike_rekey: 3h, ike_proposals: [aes256-sha256-modp2048],", 1)
	if peer := mustParse(t, text).Peers[0]; peer.RekeyTime.Hours() != 3 || !strings.Contains(peer.IKEProposals[0].String(), "modp2048") {
		t.Errorf("IKE of %+v: want the peer's own", peer)
	}
	var inRule []struct{ old, new, want string }
	for key, value := range map[string]string{"policy_name": "x", "description": "x", "refresh_seconds": "7", "key_exchange": "{lifetime: 2h}", "key_exchange_methods": "[aes128-sha256-modp2048]"} {
		inRule = append(inRule, struct{ old, new, want string }{"peer: site-b}", "peer: site-b, " + key + ": " + value + "}",
			"gw.yaml:19: policies[0].rules[0]." + key + ": there is no such key: it holds for a policy as a whole"})
	}
	expectErrors(t, inRule)
	expectErrors(t, []struct{ old, new, want string }{
		{"    rules:", "    refresh_seconds: -1\n    rules:", "gw.yaml:18: policies[0].refresh_seconds: expected 0 to 86400 seconds, found -1"},
		{"    rules:", "    key_exchange: {lifetime: 1s}\n    rules:", "gw.yaml:18: policies[0].key_exchange.lifetime: expected a time from 10s to 168h0m0s, found 1s"},
		{"    rules:", "    key_exchange: {liftime: 1s}\n    rules:", "gw.yaml:18: policies[0].key_exchange.liftime: unknown key: did you mean lifetime?"},
		{"    rules:", "    key_exchange_methods: []\n    rules:", "gw.yaml:18: policies[0].key_exchange_methods: expected at least one proposal, found none"},
	})
}

// A rule has exactly one list, exactly one action, and at least one way to authenticate.
// S-004
func TestOneOfEach(t *testing.T) {
	const rule = "gw.yaml:19: policies[0].rules[0]."
	expectErrors(t, []struct{ old, new, want string }{
		{"filter_list: lan-to-lan,", "", rule + "filter_list: is missing: expected the name of a filter list"},
		{"filter_list: lan-to-lan,", "filter_list: ,", rule + "filter_list: is missing"},
		{"filter_list: lan-to-lan,", "filter_list: [lan-to-lan, lan-to-lan],", rule + "filter_list: expected text, found a list"},
		{"filter_list: lan-to-lan,", "filter_list: lan-to-lan, filter_list: lan-to-lan,", rule + "filter_list: the key is there twice"},
		{"filter_list: lan-to-lan,", "filter_lists: [lan-to-lan],", rule + "filter_lists: there is no such key: a rule holds exactly one filter list"},
		{"filter_action: protect,", "", rule + "filter_action: is missing: expected the name of a filter action"},
		{"filter_action: protect,", "filter_action: [protect, protect],", rule + "filter_action: expected text, found a list"},
		{"filter_action: protect,", "filter_action: protect, filter_action: protect,", rule + "filter_action: the key is there twice"},
		{"filter_action: protect,", "filter_actions: [protect],", rule + "filter_actions: there is no such key: a rule holds exactly one filter action"},
		{"filter_action: protect,", "action: protect,", rule + "action: unknown key: did you mean filter_action?"},
		{"peer: site-b}", "peer: site-b, auth_methods: []}", rule + "auth_methods: expected one or more authentication methods in order of preference, found none"},
		{"peer: site-b}", "peer: site-b, auth_methods: psk}", rule + `auth_methods: expected a list, found "psk"`},
		{"peer: site-b}", "peer: site-b, auth_methods: [kerberos]}", rule + `auth_methods[0]: expected psk or certificate, found "kerberos"`},
		{"peer: site-b}", "peer: site-b, auth_methods: [certificate]}", rule + `auth_methods: expected a method for which peer "site-b" has the files, for both ends, found certificate: its auth has psk for this end`},
		{"peer: site-b}", "peer: site-b, auth_methods: [psk, psk]}", rule + "auth_methods[1]: expected each method once, found psk for the second time"},
		{"peer: site-b}", "peer: site-b, tunnel_endpoint: 192.0.2.2}", rule + "tunnel_endpoint: there is no such key: the ends of a rule's tunnel are local and remote of its peer"},
	})
	for _, test := range []struct{ old, new string }{{"x", "x"}, {"peer: site-b}", "peer: site-b, auth_methods: [psk]}"}} {
		c := mustParse(t, strings.Replace(base, test.old, test.new, 1))
		if r := c.Policy.Policies[0].Rules[0]; len(r.AuthMethods) != 1 || r.AuthMethods[0] != "psk" || r.FilterList != "lan-to-lan" || r.FilterAction != "protect" || r.Tunnel != "to-site-b" {
			t.Errorf("rule %+v", r)
		}
	}
}

// No word of any other system gives rules, filters, lists or actions an order.
// S-007
func TestNoOrder(t *testing.T) {
	for _, word := range []string{"priority", "order", "weight", "sequence", "seq", "index", "position", "precedence", "rank", "metric", "number"} {
		expectErrors(t, []struct{ old, new, want string }{
			{"peer: site-b}", "peer: site-b, " + word + ": 7}", "gw.yaml:19: policies[0].rules[0]." + word + ": there is no such key: the order of rules has no effect: the most specific filter decides"},
			{"destination: 10.2.0.0/24}", "destination: 10.2.0.0/24, " + word + ": 7}", "gw.yaml:13: filter_lists[0].filters[0]." + word + ": there is no such key: the order of filters has no effect"},
			{"    updated:", "    " + word + ": 7\n    updated:", "gw.yaml:12: filter_lists[0]." + word + ": there is no such key: the order of filter lists has no effect"},
			{"action: negotiate", "action: negotiate, " + word + ": 7", "gw.yaml:15: filter_actions[0]." + word + ": there is no such key: the order of filter actions has no effect"},
		})
	}
	expectErrors(t, []struct{ old, new, want string }{ // other words that are spelt too differently to be near
		{"{source: 10.1.0.0/24,", "{src: 10.1.0.0/24,", "filters[0].src: unknown key: did you mean source?"},
		{"destination: 10.2.0.0/24}", "destination: 10.2.0.0/24, proto: tcp, dport: 80}", "filters[0].dport: unknown key: did you mean destination_port?"},
		{"peer: site-b}", "peer: site-b, soft: {lifetime: 5m}}", "policies[0].rules[0].soft: unknown key"}, // S-047
	})
}

// There are three actions, and one that negotiates has at least one method.
// S-023
func TestActions(t *testing.T) {
	expectErrors(t, []struct{ old, new, want string }{
		{"action: negotiate", "action: allow", `gw.yaml:15: filter_actions[0].action: expected permit, block or negotiate, found "allow": did you mean permit?`},
		{"action: negotiate", "action: Drop", `gw.yaml:15: filter_actions[0].action: expected permit, block or negotiate, found "Drop": did you mean block?`},
		{"action: negotiate", "action: tunnel", `gw.yaml:15: filter_actions[0].action: expected permit, block or negotiate, found "tunnel"`},
		{"action: negotiate", "action: [permit]", "gw.yaml:15: filter_actions[0].action: expected text, found a list"},
		{", action: negotiate", "", "gw.yaml:15: filter_actions[0].action: is missing: expected permit, block or negotiate"},
		{"action: negotiate", "action: negotiate, esp_proposals: []", "gw.yaml:15: filter_actions[0].esp_proposals: expected at least one proposal, found none"},
		{"action: negotiate", "action: negotiate, esp_proposals: [rot13]", `gw.yaml:15: filter_actions[0].esp_proposals[0]: ESP proposal "rot13"`},
		{"action: negotiate", "action: negotiate, esp_proposals: [aes128gcm16, aes128gcm16]", "gw.yaml:15: filter_actions[0].esp_proposals: expected each method once"},
		{"action: negotiate", "action: block, esp_proposals: [aes128gcm16]", "gw.yaml:15: filter_actions[0].esp_proposals: expected ESP proposals for negotiate only"},
		{"action: negotiate", "action: permit, fallback_clear: true", "gw.yaml:15: filter_actions[0].fallback_clear: expected fallback_clear for negotiate only"},
		{"action: negotiate", "action: negotiate, fallback_clear: maybe", `gw.yaml:15: filter_actions[0].fallback_clear: expected true or false, found "maybe"`},
	})
	c := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, esp_proposals: [aes256-sha256, aes128gcm16, aes256gcm16]"))
	got := c.Peers[0].Children[0].Proposals
	if len(got) != 3 || got[0].String() != "aes256-sha256-noesn" || got[1].String() != "aes128gcm16-noesn" || got[2].String() != "aes256gcm16-noesn" {
		t.Errorf("proposals %v, want them in the order of the file", got)
	}
}

// Fallback in clear is off unless it is written, and through a tunnel only with its second key, which warns at every start.
// S-053, C-09
func TestFallback(t *testing.T) {
	c := mustParse(t, base)
	if a := c.Policy.FilterActions[0]; a.FallbackClear || a.FallbackClearOnWAN || a.InboundPassthrough {
		t.Errorf("action %+v, want every flag off", a)
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"action: negotiate", "action: negotiate, fallback_clear: true", "gw.yaml:19: policies[0].rules[0].filter_action: expected an action without fallback_clear, or with fallback_clear_on_wan: true as its second key"},
		{"action: negotiate", "action: negotiate, fallback_clear_on_wan: true", "gw.yaml:15: filter_actions[0].fallback_clear_on_wan: expected fallback_clear too"},
	})
	c = mustParse(t, replaced(t, "action: negotiate", "action: negotiate, fallback_clear: true, fallback_clear_on_wan: true"))
	if !c.Policy.FilterActions[0].FallbackClearOnWAN || !warns(c, "fallback_clear_on_wan", `"to-site-b"`) {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// How many soft SAs there may be is a setting, and whether there are any; how long they last is none.
// S-047
func TestSoftSAs(t *testing.T) {
	with := func(text string) string { return "active_policy: site\n" + text }
	expectErrors(t, []struct{ old, new, want string }{
		{"active_policy: site", with("soft: {lifetime: 5m}"), "soft.lifetime: there is no such key: a soft SA ends 300 seconds after its creation"},
		{"active_policy: site", with("soft: {maximum: 5}"), "soft.maximum: unknown key: expected one of"},
		{"active_policy: site", with("soft_sa: off"), `soft_sa: expected allow or deny, found "off"`},
		{"active_policy: site", with("soft: {max: 0}"), "soft.max: expected 1 to 65536 soft SAs, found 0"},
		{"active_policy: site", with("soft: {max_per_peer: 0}"), "soft.max_per_peer: expected 1 to 65536 soft SAs, found 0"},
		{"active_policy: site", with("soft: {queue_max: 2000}"), "soft.queue_max: expected 1 to 1024 packets, found 2000"},
		{"active_policy: site", with("soft: {max: 100, alarm: 101}"), "soft.alarm: expected at most soft.max, 100 soft SAs, found 101"},
		{"active_policy: site", with("soft: {alarm: -1}"), "soft.alarm: expected 0 to 65536 soft SAs, 0 for no alarm, found -1"},
		{"active_policy: site", with("soft: {inbound_per_source: 0}"), "soft.inbound_per_source: expected 1 to 60000 negotiations a minute, found 0"},
		{"active_policy: site", with("soft: {inbound_per_filter: 0}"), "soft.inbound_per_filter: expected 1 to 60000 negotiations a minute, found 0"},
	})
	if _, err := parseBase(t, base+"soft: {max: 0}\n"); err == nil || strings.Contains(err.Error(), "soft.alarm") {
		t.Errorf("an alarm that is not in the file: %v", err)
	}
	want := Soft{QueueMax: 64, Limits: soft.Limits{Allow: true, Max: 4096, MaxPerPeer: 256, Alarm: 256, InboundPerSource: 6, InboundPerFilter: 60}}
	if c := mustParse(t, base); c.Soft != want {
		t.Errorf("without the keys %+v, want %+v", c.Soft, want)
	}
	if c := mustParse(t, strings.Replace(base, "active_policy: site", with("soft: {max: 1}"), 1)); c.Soft.Max != 1 || c.Soft.Alarm != 1 {
		t.Errorf("with soft.max alone %+v", c.Soft)
	}
	falls := replaced(t, "action: negotiate", "action: negotiate, fallback_clear: true, fallback_clear_on_wan: true")
	for word, allowed := range map[string]bool{"allow": true, "deny": false} {
		c := mustParse(t, strings.Replace(falls, "active_policy: site", with("soft_sa: "+word), 1))
		if c.Soft.Allow != allowed || len(soft.Filters(c.SPD)) > 0 != allowed {
			t.Errorf("soft_sa: %s: allowed %v, filters %v", word, c.Soft.Allow, soft.Filters(c.SPD))
		}
	}
}

// Clear packets may come in only where no port of role wan is reached, and then the dependency is said.
// S-027, C-09
func TestPassthrough(t *testing.T) {
	action := strings.Replace(base, "action: negotiate", "action: negotiate, inbound_passthrough: true", 1)
	for _, ports := range []string{"", ", ports: all", ", ports: wan"} {
		_, err := parseBase(t, strings.Replace(action, "peer: site-b}", "peer: site-b"+ports+"}", 1))
		if err == nil || !strings.Contains(err.Error(), "gw.yaml:19: policies[0].rules[0].ports: expected lan") {
			t.Errorf("%q: error %v", ports, err)
		}
	}
	c := mustParse(t, strings.Replace(action, "peer: site-b}", "peer: site-b, ports: lan}", 1))
	if !warns(c, "inbound_passthrough", "default response") {
		t.Errorf("warnings %q: none on what it depends on", c.Warnings)
	}
}

// What cannot be negotiated is refused at the rule, and can be permitted and blocked.
// S-037, S-105
func TestNotNegotiable(t *testing.T) {
	const filter = "{source: 10.1.0.0/24, destination: 10.2.0.0/24}"
	for _, other := range []string{
		"{source: 10.1.0.7, destination: 10.2.0.7, protocol: rsvp}", "{source: 10.1.0.7, destination: 10.2.0.7, protocol: 46}",
		"{source: my, destination: 239.1.2.3}", "{source: my, destination: 224.0.0.0/4}", "{source: my, destination: 255.255.255.255}",
		"{source: any, destination: 10.1.0.255}", "{source: my, destination: ff02::1}",
	} {
		_, err := parseBase(t, replaced(t, filter, other))
		if err == nil || !strings.Contains(err.Error(), "gw.yaml:19: policies[0].rules[0].filter_list: expected filters that can be negotiated") {
			t.Errorf("%s negotiated: error %v", other, err)
		}
		for _, action := range []string{"permit", "block"} {
			text := strings.Replace(replaced(t, filter, strings.Replace(other, "my", "any", 1)), "action: negotiate", "action: "+action, 1)
			c := mustParse(t, strings.Replace(text, ", peer: site-b}", "}", 1))
			if len(c.SPD.Entries) == 0 || c.SPD.NeedsIKE {
				t.Errorf("%s %s: %+v", action, other, c.SPD)
			}
		}
	}
}

// warns reports whether one warning holds all the words.
func warns(c *Config, words ...string) bool {
	for _, w := range c.Warnings {
		has := true
		for _, word := range words {
			has = has && strings.Contains(w, word)
		}
		if has {
			return true
		}
	}
	return false
}

// A tunnel carries a limited number of selectors, which package ike sets.
func TestTooManySelectors(t *testing.T) {
	filters := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("{source: 10.1.0.0/24, destination: 10.2.0.%d}", i))
		}
		return replaced(t, "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", strings.Join(all, ", "))
	}
	if c := mustParse(t, filters(maxSelectors)); len(c.Peers[0].Children[0].Selectors) != maxSelectors {
		t.Errorf("%d selectors", len(c.Peers[0].Children[0].Selectors))
	}
	_, err := parseBase(t, filters(maxSelectors+1))
	if err == nil || !strings.Contains(err.Error(), "gw.yaml:19: policies[0].rules[0].filter_list: expected filters that stand for at most 128") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}
