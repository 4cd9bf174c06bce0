package config

import "testing"

// The active policy is read of any text, in whatever way it is written, and also of one that is not good otherwise.
func TestActivePolicyOf(t *testing.T) {
	for text, want := range map[string]string{
		"active_policy: site\n": "site",
		"name: gw\nactive_policy: \"site b\" # and no other\nports: [7\n": "site b",
		"policies:\n  - {name: a}\nactive_policy: 'it''s'\n":              "it's",
		"{name: gw, active_policy: flow}\n":                               "flow",
		"\"active_policy\": quoted\n":                                     "quoted",
		"x: &one site\nactive_policy: *one\n":                             "site",
		"description: |\n  active_policy: no\nactive_policy:\n  below\n":  "below",
		"name: gw\n": "",
		"":           "",
	} {
		if got := ActivePolicyOf([]byte(text)); got != want {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}
