package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// How the packets of a rule are protected comes from its action: mode, ESP and AH in the order in which they are offered.
// S-099: tunnel mode without a word.
func TestProtection(t *testing.T) {
	if c := mustParse(t, base).Peers[0].Complete().Children[0]; c.Transport || len(c.Proposals) != 2 || c.Proposals[0].Ciphers[0].Encr != crypto.EncrAESGCM16 || len(c.Proposals[0].ESN) != 2 {
		t.Errorf("without a word: %+v, want AES-GCM first, in tunnel mode, either kind of sequence numbers", c) // S-058
	}
	c := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, esp_proposals: [aes128gcm16-esn], ah_proposals: [sha256, sha384-esn]"))
	var offered []string
	for _, p := range c.Peers[0].Children[0].Proposals {
		offered = append(offered, p.Protocol.String()+" "+p.String())
	}
	if got, want := strings.Join(offered, ", "), "ESP aes128gcm16-esn, AH sha256-noesn, AH sha384-esn"; got != want {
		t.Errorf("offered %s, want %s", got, want)
	}
	if c := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, ah_proposals: [sha256]")).Peers[0].Children[0]; len(c.Proposals) != 1 {
		t.Errorf("AH alone: %v", c.Proposals)
	}
	ends := strings.Replace(replaced(t, "action: negotiate", "action: negotiate, mode: transport"), "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", "{source: 192.0.2.1, destination: 192.0.2.2}", 1)
	if c := mustParse(t, ends).Peers[0].Children[0]; !c.Transport || c.Selectors[0].Local != policy.HostRange(mustParse(t, base).Peers[0].Local) {
		t.Errorf("transport mode: %+v", c)
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"action: negotiate", "action: negotiate, mode: transport", `gw.yaml:19: policies[0].rules[0].filter_list: expected filters from 192.0.2.1 to 192.0.2.2 only, because its SA with peer "site-b" is of transport mode`},
		{"action: negotiate", "action: negotiate, mode: trans", `filter_actions[0].mode: expected tunnel or transport, found "trans"`},
		{"action: negotiate", "action: negotiate, ah_proposals: []", "filter_actions[0].ah_proposals: expected at least one proposal, found none"},
		{"action: negotiate", "action: negotiate, ah_proposals: [aes128-sha256]", `filter_actions[0].ah_proposals[0]: AH proposal "aes128-sha256": unknown word "aes128"`},
		{"action: negotiate", "action: negotiate, ah_proposals: [md5]", "filter_actions[0].ah_proposals[0]: expected algorithms that still protect, found md5"},
		{"action: negotiate", "action: negotiate, ah_proposals: [sha256], encapsulation: {dummy_interval: 1s}", "encapsulation.dummy_interval: expected off with ah_proposals"},
		{"action: negotiate", "action: block, mode: transport", "filter_actions[0].mode: expected none, because an action that is block protects nothing"},
		{"action: negotiate", "action: block, ah_proposals: [sha256]", "filter_actions[0].ah_proposals: expected none, because an action that is block protects nothing"},
	})
}

// A bundle has AH around what esp_proposals makes, or good ESP where the file has none, and is for peers of IKEv1 alone. Dummy packets and padding are ESP's
// own matter in it.
// S-096
func TestBundle(t *testing.T) {
	v1 := func(action string) string {
		return strings.Replace(replaced(t, "action: negotiate", "action: negotiate, bundle: true, "+action), "remote: 192.0.2.2,", "remote: 192.0.2.2, ike: v1,", 1)
	}
	for _, c := range []struct{ action, want string }{
		{"esp_proposals: [aes128-sha256-ecp256, aes256gcm16], ah_proposals: [sha256, sha384]",
			"ah:sha256-noesn(aes128-sha256-ecp256-noesn) ah:sha384-noesn(aes128-sha256-ecp256-noesn) ah:sha256-noesn(aes256gcm16-noesn) ah:sha384-noesn(aes256gcm16-noesn)"},
		{"ah_proposals: [sha256], encapsulation: {dummy_interval: 1s, tfc_pad: 1200}", "ah:sha256-noesn(aes128gcm16-aes256gcm16-ecp256-ecp384-modp2048-esn-noesn) ah:sha256-noesn(aes128-aes256-sha256-sha384-sha512-ecp256-ecp384-modp2048-esn-noesn)"},
	} {
		parsed := mustParse(t, v1(c.action))
		child := parsed.Peers[0].Children[0]
		if !child.Bundle || child.Proposals[0].Protocol != crypto.ProtocolESP || child.Proposals[len(child.Proposals)-1].Protocol != crypto.ProtocolAH {
			t.Errorf("%s: child %+v", c.action, child)
		}
		if got := strings.Join(parsed.Policy.FilterActions[0].Methods, " "); got != c.want {
			t.Errorf("%s: methods %s, want %s", c.action, got, c.want)
		}
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"action: negotiate", "action: negotiate, bundle: true, ah_proposals: [sha256]",
			`policies[0].rules[0].filter_action: expected an action without bundle, because peer "site-b" has ike: v2: IKEv2 negotiates AH or ESP and not one around the other (RFC 7296 section 3.3.1), only ike: v1 does, found "protect"`},
		{"action: negotiate", "action: negotiate, bundle: true", "filter_actions[0].bundle: expected ah_proposals beside it, the AH that goes around ESP, found none"},
		{"action: negotiate", "action: negotiate, bundle: true, ah_proposals: [sha256-ecp256]", "filter_actions[0].ah_proposals[0]: expected no group with bundle, because one exchange serves AH and ESP: name it in esp_proposals"},
		{"action: negotiate", "action: negotiate, bundle: perhaps, ah_proposals: [sha256]", "filter_actions[0].bundle: expected true or false"},
		{"action: negotiate", "action: block, bundle: true", "filter_actions[0].bundle: expected none, because an action that is block protects nothing"},
	})
}

// The lifetime of a rule's SAs is its action's, and its peer's where that says none. A volume that the port at its full rate uses up within
// rekey.min_seconds is refused with the least that is not.
// S-078
func TestLifetimes(t *testing.T) {
	c := mustParse(t, replaced(t, "action: negotiate", "action: negotiate, lifetime: {time: 30m, kilobytes: 20000000, packets: 200000000}"))
	if got := c.Peers[0].Children[0]; got.RekeyTime != 30*time.Minute || got.Life != (ike.Volume{Packets: 200_000_000, Bytes: 20_000_000 << 10}) {
		t.Errorf("lifetime %v and %+v", got.RekeyTime, got.Life)
	}
	if got := mustParse(t, base).Peers[0].Children[0]; got.RekeyTime != ike.DefaultChildRekey || got.Life != (ike.Volume{}) {
		t.Errorf("lifetime %v and %+v without any", got.RekeyTime, got.Life)
	}
	const limited = "action: negotiate, lifetime: {kilobytes: 1300}"
	slow := strings.Replace(replaced(t, "action: negotiate", limited), "addresses: [192.0.2.1/24]", "speed_mbps: 10, addresses: [192.0.2.1/24]", 1)
	slow = strings.Replace(slow, "routes:", "rekey: {min_seconds: 1}\nroutes:", 1)
	if got := mustParse(t, slow).Peers[0].Children[0].Life.Bytes; got != 1300<<10 {
		t.Errorf("%d octets at a slow port", got)
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"action: negotiate", limited, `filter_actions[0].lifetime.kilobytes: expected at least 12207032 KiB, because port "wan" (speed_mbps: 10000) can carry so much in rekey.min_seconds, 10, and keys are to change no oftener, found 1300`},
		{"action: negotiate", "action: negotiate, lifetime: {packets: 1000000}", "filter_actions[0].lifetime.packets: expected at least 148809523 packets"},
		{"action: negotiate", "action: negotiate, lifetime: {time: 1s}", "filter_actions[0].lifetime.time: expected a time from 10s to 168h0m0s"},
		{"action: negotiate", "action: negotiate, lifetime: {kilobytes: -1}", "filter_actions[0].lifetime.kilobytes: expected 0 to"},
		{"action: negotiate", "action: block, lifetime: {time: 1h}", "filter_actions[0].lifetime: expected none, because an action that is block protects nothing"},
		{"routes:", "rekey: {min_seconds: 0}\nroutes:", "rekey.min_seconds: expected 1 to 3600 seconds, found 0"},
		{"  - name: site\n", "  - name: site\n    key_exchange: {child_limit: -1}\n", "policies[0].key_exchange.child_limit: expected 0 to"},
	})
	c = mustParse(t, replaced(t, "  - name: site\n", "  - name: site\n    key_exchange: {child_limit: 5}\n"))
	if c.Peers[0].ChildLimit != 5 { // S-077
		t.Errorf("child limit %d", c.Peers[0].ChildLimit)
	}
}

// A lab may have its workers share the main core, to have several on a machine of few cores; nobody else (errors_test.go).
func TestLabSharesMainCore(t *testing.T) {
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey+"\n")
	text := strings.NewReplacer("{workers: [1]}", "{workers: [0, 1], idle: sleep}", "remote: 192.0.2.2,", "remote: 192.0.2.2, per_core: auto,").Replace(base)
	c, err := ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores(), Lab: true})
	if err != nil || c.Peers[0].Children[0].PerCore != 2 {
		t.Fatalf("%v", err)
	}
	if _, err := ParseWith(filepath.Join(folder, "gw.yaml"), []byte(text), Options{Machine: twoCores()}); err == nil || !strings.Contains(err.Error(), "a lab can share them, with --lab") {
		t.Errorf("without --lab: %v", err)
	}
}

// Child SAs of workers: off, one for each of as many as there are, or of fewer.
func TestPerCore(t *testing.T) {
	folder := t.TempDir()
	writeKey(t, folder, "site-b.psk", goodKey+"\n")
	for word, want := range map[string]int{"off": 0, "auto": 3, "2": 2} {
		text := strings.NewReplacer("{workers: [1]}", "{workers: [1, 2, 3]}", "remote: 192.0.2.2,", "remote: 192.0.2.2, per_core: "+word+",").Replace(base)
		c, err := Parse(filepath.Join(folder, "gw.yaml"), []byte(text), Machine{Cores: []int{0, 1, 2, 3}, UID: os.Geteuid()})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Peers[0].Children[0].PerCore; got != want {
			t.Errorf("per_core: %s gives %d, want %d", word, got, want)
		}
	}
	expectErrors(t, []struct{ old, new, want string }{
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, per_core: 2,", "peers[0].per_core: expected at most one for each of dataplane.workers, 1, found 2"},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, per_core: 1,", `peers[0].per_core: expected off, auto or a number of workers from 2 to 64, found "1"`},
		{"remote: 192.0.2.2,", "remote: 192.0.2.2, per_core: some,", `peers[0].per_core: expected off, auto or a number of workers from 2 to 64, found "some"`},
	})
}
