package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/policy"
)

// Any file parses or fails: no panic, no configuration beside an error, and every error is one line with the file's name.
// DNS names stand for what is known: nothing is ever asked for.
func FuzzParse(f *testing.F) {
	f.Add(base)
	samples, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(samples) == 0 {
		f.Fatal("no sample configurations", err)
	}
	for _, name := range samples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, seed := range []string{
		mineToAny, withFilters(8), strings.Replace(base, "destination: 10.2.0.0/24", "destination: dns:a.example", 1), base + "ike: {enabled: false}\nexemptions: {level: 0}\n",
		strings.Replace(base, "    rules:", "    default_response: {enabled: true}\n    sample: true\n    rules:", 1),
		"", "---", "a: &a [*a]", "? [x]: y", "name: !!binary aGk=", "ports: [null, {}, []]", "<<: *x", "policies: [{rules: [{ports: 9}]}]",
		"exemptions: {level: -1}", "ike: {enabled: off}", "state_dir: ..", "ports: [{ike: off, addresses: ['2001:db8::1/64', fe80::1/64], mtu: 0}]",
		"filter_lists: [{template: exempt-dns, servers: [dns:a.example, any]}, {template: exempt-dc, filters: []}, {filters: [{source: dns:x, destination: dns:10.0.0.1}]}]",
		"filter_actions: [{name: a, action: negotiate, fallback_clear: true, fallback_clear_on_wan: true, inbound_passthrough: true, esp_proposals: []}]",
		"policies: [{name: a, sample: true, refresh_seconds: 99999999, key_exchange: {lifetime: 0s}, key_exchange_methods: [], default_response: {enabled: true, filter_list: x}, rules: [{auth_methods: []}]}]\nactive_policy: a",
		"policies: [{name: a, rules: [{name: r, filter_list: l, filter_action: f, peer: p, auth_methods: [psk], ports: lan}]}]\nfilter_lists: [{name: l, template: exempt-netbios, servers: [10.0.0.1]}]\nfilter_actions: [{name: f, action: negotiate}]",
		"peers: [{auth: {psk_file: /dev/zero}}]", "dataplane: {workers: [-1, 99999999999999999999]}", "filter_lists: [{filters: [{source: 0.0.0.0-255.255.255.255}]}]",
		manual, "sas: [{name: x, udp: {}, ah: sha256, key_in: 00, encapsulation: {df: set, ttl: 0}}]", "lab: true\nlegacy_algorithms: true\nsas: [{key_file: /dev/zero, spi_in: 0x1ff, algorithm: des-md5, sequence: 0xffffffffffffffff}]",
		"ports: [{device: net_tap0, vlan: 4095}, {device: net_tap0, vlan: -1}]\nfragments: {memory_mb: -1, timeout: 1h}",
		"routes: &r [{to: &t 0.0.0.0/0, via: *t}]\nports: *r", "\"a\\0b\": {c::d: 1}", "name: \xff",
	} {
		f.Add(seed)
	}
	path := filepath.Join(keyFolder(f), "gw.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		known := map[string][]netip.Addr{"a.example": {netip.MustParseAddr("10.2.0.1"), netip.MustParseAddr("2001:db8::1")}}
		config, err := ParseWith(path, []byte(text), Options{Machine: twoCores(), Known: known, Lab: true})
		if (config == nil) == (err == nil) {
			t.Fatalf("configuration %v with error %v", config, err)
		}
		if err == nil {
			if _, err := config.Compile(policy.Environment{}); err != nil {
				t.Errorf("with no address left: %v", err)
			}
			return
		}
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			if line := one.Error(); !strings.HasPrefix(line, path) || strings.Contains(line, "\n") {
				t.Errorf("error %q, want one line that starts with the file", line)
			}
		}
	})
}
