package config

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// twoPolicies is the base configuration with a second policy.
var twoPolicies = strings.Replace(base, "active_policy: site\n", "  - name: open\n    rules: []\nactive_policy: site\n", 1)

// Only the word changes, however the file is written.
func TestSetActivePolicy(t *testing.T) {
	for _, test := range []struct{ old, new string }{
		{"active_policy: site\n", "active_policy: open\n"},
		{"active_policy: site # in force\n", "active_policy: open # in force\n"},
		{"active_policy: \"site\" # in force\n", "active_policy: \"open\" # in force\n"},
		{"active_policy: 'site'\n", "active_policy: 'open'\n"},
		{"\"active_policy\"  :   site\n", "\"active_policy\"  :   open\n"},
		{"active_policy:\n  site\n", "active_policy:\n  open\n"},
		{"active_policy: !!str site\n", "active_policy: !!str open\n"},
		{"active_policy: &alone \"site\"\n", "active_policy: &alone \"open\"\n"},
		{"? active_policy\n: site\n", "? active_policy\n: open\n"},
		{"active_policy: site\nlog: {level: info} # \u00fcber\u2028# alles\n", "active_policy: open\nlog: {level: info} # \u00fcber\u2028# alles\n"},
	} {
		text, want := strings.Replace(twoPolicies, "active_policy: site\n", test.old, 1), strings.Replace(twoPolicies, "active_policy: site\n", test.new, 1)
		for _, change := range []func(string) string{
			func(s string) string { return s },
			func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
			func(s string) string { return strings.TrimSuffix(s, "\n") },
			func(s string) string { return "# \u00e4\u2029# more\n\n" + s },
			func(s string) string { return "\ufeff" + s },
			func(s string) string { return "---\n" + s + "...\n" },
		} {
			got, err := SetActivePolicy([]byte(change(text)), "open")
			if err != nil || string(got) != change(want) {
				t.Errorf("%q: error %v, found\n%q, want\n%q", test.old, err, got, change(want))
				continue
			}
			if c, err := parseBase(t, string(got)); err != nil || c.SPD.Policy != "open" {
				t.Errorf("%q: the edited configuration has %v", test.old, err)
			}
			if back, err := SetActivePolicy(got, "site"); err != nil || string(back) != change(text) {
				t.Errorf("%q: back again: error %v, found\n%q", test.old, err, back)
			}
		}
	}
}

// A file in one pair of braces, the key first in the file, and an alias for a value.
func TestSetActivePolicyElsewhere(t *testing.T) {
	first := "active_policy: site # first\n" + strings.Replace(twoPolicies, "active_policy: site\n", "", 1)
	aliased := strings.Replace(strings.Replace(twoPolicies, "- name: site\n", "- name: &s site\n", 1), "active_policy: site\n", "active_policy: *s # alias\n", 1)
	for text, want := range map[string]string{
		"{policies: [{name: a}, {name: b}], active_policy: a, name: x}": "{policies: [{name: a}, {name: b}], active_policy: b, name: x}",
		`{"active_policy":"a","policies":[{"name":"a"},{"name":"b"}]}`:  `{"active_policy":"b","policies":[{"name":"a"},{"name":"b"}]}`,
		"{active_policy: a,\n policies: [{name: &b b}, {name: a}]}":     "{active_policy: b,\n policies: [{name: &b b}, {name: a}]}",
	} {
		if got, err := SetActivePolicy([]byte(text), "b"); err != nil || string(got) != want {
			t.Errorf("%s: error %v, found %s", text, err, got)
		}
	}
	for text, want := range map[string]string{
		first:   strings.Replace(first, "active_policy: site", "active_policy: open", 1),
		aliased: strings.Replace(aliased, "active_policy: *s", "active_policy: open", 1),
	} {
		if got, err := SetActivePolicy([]byte(text), "open"); err != nil || string(got) != want {
			t.Errorf("error %v, found\n%s\nwant\n%s", err, got, want)
		}
	}
}

// A name that YAML would take for something else than text is quoted.
func TestSetActivePolicyQuotes(t *testing.T) {
	for name, want := range map[string]string{"null": `"null"`, "7": `"7"`, "true": `"true"`, "-": `"-"`, "a.b-c_d": "a.b-c_d", "2026-11-21": `"2026-11-21"`} {
		text := "active_policy: a\npolicies: [{name: a}, {name: \"" + name + "\"}]\n"
		got, err := SetActivePolicy([]byte(text), name)
		if err != nil || !strings.HasPrefix(string(got), "active_policy: "+want+"\n") {
			t.Errorf("%s: error %v, found %s", name, err, got)
		}
	}
}

// What cannot be edited safely is refused with a reason, and names are checked first.
func TestSetActivePolicyRefuses(t *testing.T) {
	const two = "policies: [{name: site}, {name: open}]\n"
	for text, want := range map[string]string{
		two: "expected a key active_policy at the top, found none",
		two + "active_policy: site\nactive_policy: open\n":     "expected one active_policy, found a second in line 3",
		two + "active_policy: [site]\n":                        "line 2: cannot replace the value of active_policy: expected a word, found a list",
		two + "active_policy:\n":                               "expected a word",
		two + "active_policy: |\n  site\n":                     "it is not written as one plain or quoted word",
		two + "active_policy: !!str\n":                         "it is not written as one plain or quoted word",
		two + "active_policy: !!str  ":                         "it is not written as one plain or quoted word",
		two + "active_policy: \"si\\x74e\"\n":                  "it is not written as one plain or quoted word",
		two + "active_policy: &p site\nname: *p\n":             "its anchor &p is used elsewhere",
		"policies: [{name: site}]\nactive_policy: site":        `expected the name of a policy (site), found "open"`,
		"active_policy: site":                                  "expected the name of a policy (none is defined)",
		"policies: [{name: opens}, 7]\nactive_policy: opens\n": "did you mean opens?",
		"[a]":               "expected a configuration with keys and values, found a list",
		two + "a: [":        "not valid YAML",
		two + "\xff":        "expected text in UTF-8",
		two + "---\n" + two: "expected one YAML document",
		"":                  "the file is empty",
	} {
		got, err := SetActivePolicy([]byte(text), "open")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q; found %s", text, err, want, got)
		}
	}
}

// What a purge leaves is the rest of the file, as it was written, and a gateway that forwards nothing.
func TestPurge(t *testing.T) {
	const before = `# Head of the file.

name: gw-a # the gateway
dataplane: {workers: [1]}
ports:
  - {name: lan, device: "net_af_packet0,iface=lan0", role: protected, addresses: [10.1.0.1/24]}
  - {name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [192.0.2.1/24]}
# The end of the ports.

`
	const cut = `# Lists
# in two lines.
filter_lists:
- name: lan-to-lan
  # a comment within
  updated: 2026-11-21
# and one to the left
  filters:
    - {source: 10.1.0.0/24,

       destination: 10.2.0.0/24}
    # the last of it

filter_actions:
  - {name: protect, action: negotiate} # protect
"policies":
  - name: site
    description: |
      text
      # that is no comment

      more
    rules:
      - {name: to-site-b, filter_list: lan-to-lan, filter_action: protect, peer: site-b}

# Which is it?
active_policy: site

`
	const after = `# Peers stay, with their keys.
peers:
  - {name: site-b, local: 192.0.2.1, remote: 192.0.2.2, auth: {psk_file: site-b.psk}}
# The end.`
	for _, change := range []func(string) string{
		func(s string) string { return s },
		func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
		func(s string) string { return "---\n" + s + "\n...\n" },
	} {
		got, err := Purge([]byte(change(before + cut + after)))
		if err != nil || string(got) != change(before+after) {
			t.Errorf("error %v, found\n%s", err, got)
			continue
		}
		c, err := parseBase(t, string(got))
		if err != nil {
			t.Fatal(err)
		}
		if len(c.SPD.Entries) != 0 || c.SPD.DefaultAction != 0 || c.SPD.NeedsIKE || len(c.Policy.Policies) != 0 || len(c.Peers[0].Children) != 0 {
			t.Errorf("after the purge: %+v", c.SPD)
		}
		again, err := Purge(got)
		if err != nil || string(again) != string(got) {
			t.Errorf("purged again: error %v, found\n%s", err, again)
		}
	}
}

// The parts may come first or last, in braces, and without a final line break.
func TestPurgeElsewhere(t *testing.T) {
	for text, want := range map[string]string{
		"active_policy: a\nname: x\npolicies:\n- name: a":                "name: x\n",
		"# head\nactive_policy: a\n\nname: x\n":                          "# head\n\nname: x\n",
		"{name: x, policies: [{name: a}], active_policy: a}":             "{name: x, }",
		"{policies: [{name: a}], name: x, \"active_policy\": a # }\n}\n": "{name: x, }\n",
		"{\n  \"policies\": [],\n  \"name\": \"x\"\n}\n":                 "{\n  \"name\": \"x\"\n}\n",
		"name: &a x\npolicies: [{name: *a}]\n":                           "name: &a x\n",
		"  policies: []\n  # mine\n  name: x\n":                          "  # mine\n  name: x\n",
		"name: x\n":                                                      "name: x\n",
	} {
		if got, err := Purge([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%q: error %v, found %q, want %q", text, err, got, want)
		}
	}
	for text, want := range map[string]string{
		"policies: [{name: &a x}]\nname: *a\n":          "unknown anchor",
		"a: &a y\npolicies: [{name: &a x}]\nname: *a\n": "other values would change too",
		"policies: []\n":             "the file is empty",
		"a: [":                       "not valid YAML",
		"s: 1\npolicies: []\ns: 2\n": "\"s\" already defined",
	} {
		if got, err := Purge([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q; found %q", text, err, want, got)
		}
	}
}

// Whatever the text, an edit gives a text with the value, or fails; it never panics.
func FuzzEdit(f *testing.F) {
	f.Add(twoPolicies)
	for _, seed := range []string{
		"{policies: [{name: open}], active_policy: a}", "? active_policy\n: &x !!str 'a'\npolicies:\n- name: open", "\ufeffpolicies: [{name: open}]\nactive_policy: a",
		"active_policy: *x", "policies: &p [{name: open}, *p]\nactive_policy: a", "policies: [{name: open}]\r\n# x\u2028active_policy: a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if edited, err := SetActivePolicy([]byte(text), "open"); err == nil {
			var tree struct {
				Active yaml.Node `yaml:"active_policy"`
			}
			if err := yaml.Unmarshal(edited, &tree); err != nil || tree.Active.Value != "open" {
				t.Errorf("active policy %q, error %v in\n%s", tree.Active.Value, err, edited)
			}
		}
		if edited, err := Purge([]byte(text)); err == nil {
			d, err := openDocument(edited)
			if err != nil {
				t.Fatalf("purged into what cannot be read: %v\n%s", err, edited)
			}
			for _, part := range policyParts {
				if _, err := d.value(part); err == nil {
					t.Errorf("%s is left in\n%s", part, edited)
				}
			}
		}
	})
}
