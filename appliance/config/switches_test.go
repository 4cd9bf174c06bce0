package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/policy"
)

// The default response rule is there in every policy, off, and cannot be anything but off or on: its list and action
// cannot be set, and leaving it out, or leaving its value out, is off.
// S-009, C-10
func TestDefaultResponse(t *testing.T) {
	inPolicy := func(text string) string { return replaced(t, "    rules:\n", "    "+text+"\n    rules:\n") }
	for _, off := range []string{"sample: false", "default_response:", "default_response: ~", "default_response: {}", "default_response: {enabled: false}", "default_response: {enabled: false, esp_proposals: [aes128gcm16]}"} {
		c := mustParse(t, inPolicy(off))
		if c.Policy.Policies[0].DefaultResponse.Enabled {
			t.Errorf("%s: the default response rule is on", off)
		}
	}
	c := mustParse(t, inPolicy("default_response: {enabled: true, esp_proposals: [aes256gcm16, aes128gcm16], auth_methods: [psk], auth: {psk_file: strangers.psk}}"))
	r := c.Policy.Policies[0].DefaultResponse
	if !warns(c, "default response", "can pose as any other", "certificate of each is stronger") {
		t.Errorf("warnings %q", c.Warnings)
	}
	if len(c.DefaultResponse) != 1 || c.DefaultResponse[0].Name != "<Dynamic>" || c.DefaultResponse[0].PSK.Len() == 0 || len(c.DefaultResponse[0].Children[0].Proposals) != 2 {
		t.Errorf("templates %+v", c.DefaultResponse)
	}
	if !r.Enabled || !slices.Equal(r.Methods, []string{"aes256gcm16-noesn", "aes128gcm16-noesn"}) || !slices.Equal(r.AuthMethods, []string{"psk"}) {
		t.Errorf("default response rule %+v", r)
	}
	c = mustParse(t, inPolicy("default_response: {enabled: true, auth: {psk_file: strangers.psk}}"))
	if r := c.Policy.Policies[0].DefaultResponse; len(r.Methods) == 0 || len(r.AuthMethods) != 1 {
		t.Errorf("default response rule %+v, want the methods that hold without a key", r)
	}
	const key = "gw.yaml:18: policies[0].default_response"
	for text, want := range map[string]string{
		"default_response: {filter_list: lan-to-lan}": key + ".filter_list: there is no such key: the default response rule answers whom it has not heard of: its list is always <Dynamic>",
		"default_response: {filter_action: protect}":  key + ".filter_action: there is no such key: the default response rule answers",
		"default_response: {deleted: true}":           key + ".deleted: unknown key: expected one of auth, auth_methods, enabled, esp_proposals, ike, local_id",
		"default_response: off":                       key + `: expected keys with values, found "off"`,
		"default_response: {esp_proposals: []}":       key + ".esp_proposals: expected at least one proposal",
		"default_response: {enabled: true}":           key + ".auth: expected psk_file, the preshared key of all whom no rule names",
		"default_response: {enabled: true, auth_methods: [certificate], auth: {psk_file: strangers.psk}}": key + ".auth: expected certificate_file, with private_key_file and ca_files",
		"default_response: {enabled: true, auth: {psk_file: missing.psk}}":                                key + ".auth.psk_file: expected the name of a file with the preshared key",
		"default_response: {enabled: true, auth: {psk_file: site-b.psk}}":                                 key + `.auth.psk_file: expected a preshared key of its own, found that of peer "site-b"`,
		"default_response: {enabled: true, psk_file: strangers.psk}":                                      key + ".psk_file: there is no such key: files to authenticate with are in auth",
		"default_response: {enabled: true, auth: {psk: Wq5Hb8qWn3KfYx6LmD9RcVj2PsGuB}}":                   key + ".auth.psk: there is no such key: a key in this file",
		"default_response: {auth_methods: []}":                                                            key + ".auth_methods: expected one or more authentication methods",
		"default_response: {enabled: true}\n    default_response: {}":                                     "gw.yaml:19: policies[0].default_response: the key is there twice",
	} {
		if _, err := parseBase(t, inPolicy(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
}

// A sample is refused as the active policy, and only there, unless the gateway is a lab's.
// S-010
func TestSample(t *testing.T) {
	text := replaced(t, "  - name: site\n", "  - name: site\n    sample: true\n")
	_, err := parseBase(t, text)
	if err == nil || !strings.Contains(err.Error(), `gw.yaml:21: active_policy: expected a policy of your own, found "site", which is a sample`) || !strings.Contains(err.Error(), "--lab") {
		t.Errorf("error %v", err)
	}
	stored := strings.Replace(text, "active_policy: site", "  - name: own\nactive_policy: own", 1)
	if c := mustParse(t, stored); !c.Policy.Policies[0].Sample || c.Policy.Policies[1].Sample {
		t.Errorf("policies %+v", c.Policy.Policies)
	}
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey)
	c, err := ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores(), Lab: true})
	if err != nil || c.SPD.Policy != "site" {
		t.Errorf("in a lab: %v", err)
	}
}

// Without the key the level is 3. Every other level warns at every start of what it lets through, and nothing else is a level.
// S-031, C-06
func TestExemptionLevels(t *testing.T) {
	for _, text := range []string{base, base + "exemptions: {}\n", base + "exemptions:\n", base + "exemptions: {level: 3}\n", base + "exemptions: {level: \"3\"}\n"} {
		if c := mustParse(t, text); c.SPD.Level != policy.Level3 || c.Exemptions != policy.Level3 || warns(c, "exemption level") {
			t.Errorf("level %s, warnings %q", c.SPD.Level, c.Warnings)
		}
	}
	passes := map[int][]string{0: {"kerberos", "ike", "rsvp", "multicast", "broadcast", "ipv6"}, 1: {"ike", "multicast", "broadcast"}, 2: {"kerberos", "ike", "rsvp"}}
	for level, kinds := range passes {
		c := mustParse(t, fmt.Sprintf("%sexemptions: {level: %d}\n", base, level))
		if c.SPD.Level.String() != fmt.Sprint(level) {
			t.Errorf("level %s, want %d", c.SPD.Level, level)
		}
		for _, kind := range []string{"kerberos", "ike", "rsvp", "multicast", "broadcast", "ipv6"} {
			if warns(c, fmt.Sprintf("exemption level %d", level), kind) != slices.Contains(kinds, kind) {
				t.Errorf("level %d, %s: warnings %q", level, kind, c.Warnings)
			}
		}
	}
	for _, level := range []string{"-1", "4", "x", "03", "1.0", "[1]", "{}"} {
		_, err := parseBase(t, base+"exemptions: {level: "+level+"}\n")
		if err == nil || !strings.Contains(err.Error(), "gw.yaml:21: exemptions.level: expected") || strings.Contains(err.Error(), "\n") {
			t.Errorf("level %s: error %v", level, err)
		}
	}
}

// IKE can be off as a whole or at a port: then nothing is negotiated there, filters hold, and an operator hears of it.
func TestIKEOff(t *testing.T) {
	c := mustParse(t, base)
	if len(c.Peers) != 1 || !c.IKEEnabled || !c.Ports[0].IKE || !c.Ports[1].IKE {
		t.Errorf("without keys: %d peers, IKE %t, ports %+v", len(c.Peers), c.IKEEnabled, c.Ports)
	}
	c = mustParse(t, base+"ike: {enabled: false}\n")
	if len(c.Peers) != 0 || c.IKEEnabled || c.SPD.NeedsIKE || len(c.SPD.Entries) != 2 || !warns(c, `rule "to-site-b"`, "IKE is disabled", "dropped") {
		t.Errorf("IKE off: %d peers, needs IKE %t, entries %v, warnings %q", len(c.Peers), c.SPD.NeedsIKE, c.SPD.Entries, c.Warnings)
	}
	const third = "addresses: [192.0.2.1/24]}\n  - {name: dmz, device: \"net_af_packet2,iface=dmz0\", role: unprotected, addresses: [198.51.100.1/24]"
	second := "psk_file: site-b.psk}}\n  - {name: site-c, local: 198.51.100.1, remote: 198.51.100.2, auth: {psk_file: site-c.psk}}"
	rules := "peer: site-b}\n      - {name: to-site-c, filter_list: lan-to-c, filter_action: protect, peer: site-c}"
	text := strings.NewReplacer("addresses: [192.0.2.1/24]", third, "psk_file: site-b.psk}}", second, "peer: site-b}", rules,
		"filter_actions:", "  - {name: lan-to-c, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.3.0.0/24}]}\nfilter_actions:").Replace(base)
	if c = mustParse(t, text); len(c.Peers) != 2 {
		t.Fatalf("%d peers, want 2", len(c.Peers))
	}
	c = mustParse(t, strings.Replace(text, "addresses: [198.51.100.1/24]", "ike: off, addresses: [198.51.100.1/24]", 1))
	if len(c.Peers) != 1 || c.Peers[0].Name != "site-b" || c.Ports[2].IKE || !c.Ports[1].IKE || len(c.SPD.Entries) != 4 || !warns(c, `peer "site-c"`, `port "dmz"`, "198.51.100.1", "to-site-c", "dropped") {
		t.Errorf("IKE off at a port: peers %v, ports %+v, warnings %q", c.Peers, c.Ports, c.Warnings)
	}
	_, err := parseBase(t, replaced(t, "role: protected,", "role: protected, ike: never,"))
	if err == nil || !strings.Contains(err.Error(), `gw.yaml:4: ports[0].ike: expected on or off, found "never"`) {
		t.Errorf("error %v", err)
	}
}

// A file without policies is the closed default: it is sound, forwards nothing, and says so.
func TestNoPolicies(t *testing.T) {
	before, _, _ := strings.Cut(base, "filter_lists:")
	for _, policies := range []string{"", "policies: []\n", "policies:\nactive_policy:\nfilter_lists: []\nfilter_actions: []\n"} {
		c := mustParse(t, before+policies)
		packet := policy.Packet{Source: netip.MustParseAddr("10.1.0.7"), Destination: netip.MustParseAddr("10.2.0.7")}
		if d := c.SPD.Decide(packet, policy.PortsLAN); d.Verdict != policy.VerdictBlock || len(c.SPD.Entries) != 0 || c.SPD.NeedsIKE {
			t.Errorf("%q: decision %+v of %+v", policies, d, c.SPD)
		}
		if !warns(c, "no policy", "nothing passes") || !warns(c, `"site-b" is named by no rule`) {
			t.Errorf("%q: warnings %q", policies, c.Warnings)
		}
	}
	for text, want := range map[string]string{
		before + "active_policy: site\n":                    "gw.yaml:10: active_policy: expected the name of a policy (none is defined), found \"site\"",
		strings.Replace(base, "active_policy: site", "", 1): "gw.yaml: active_policy: is missing: expected the name of the policy in force",
	} {
		if _, err := parseBase(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Where the file has a thing is known of everything that explain can name.
func TestOrigins(t *testing.T) {
	c := mustParse(t, base)
	origins := []policy.Origin{c.Policy.FilterLists[0].Origin, c.Policy.FilterLists[0].Filters[0].Origin, c.Policy.FilterActions[0].Origin,
		c.Policy.Policies[0].Origin, c.Policy.Policies[0].Rules[0].Origin, c.SPD.Entries[0].Origin, c.SPD.Entries[0].RuleOrigin}
	for i, line := range []int{11, 13, 15, 17, 19, 13, 19} {
		if want := fmt.Sprintf("%s:%d", c.Path, line); origins[i].String() != want {
			t.Errorf("origin %d is %s, want %s", i, origins[i], want)
		}
	}
}
