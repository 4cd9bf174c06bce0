package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/policy"
)

// storedPolicies are two policies without a filter in common, and a sample.
const storedPolicies = `name: gw-a
dataplane: {workers: [1], idle: sleep, huge_pages: off}
ports:
  - {name: lan, device: "net_null0", role: protected, addresses: [10.1.0.1/24]}
  - {name: wan, device: "net_null1", role: unprotected, addresses: [192.0.2.1/24]}
peers:
  - {name: site-b, local: 192.0.2.1, remote: 192.0.2.2, auth: {psk_file: site-b.psk}, start: on-demand}
filter_lists:
  - {name: of-a, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]}
  - {name: of-b, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 203.0.113.0/24}]}
filter_actions:
  - {name: protect, action: negotiate}
  - {name: pass, action: permit}
policies:
  - {name: A, rules: [{name: a, filter_list: of-a, filter_action: protect, peer: site-b}]}
  - {name: B, rules: [{name: b, filter_list: of-b, filter_action: pass}]}
  - {name: trial, sample: true, rules: [{name: b, filter_list: of-b, filter_action: pass}]}
active_policy: A
`

// runs starts a gateway with a configuration.
func runs(t *testing.T, text string, flags ...string) *session {
	t.Helper()
	s := newSession(t)
	s.write("gw.yaml", text)
	s.start("gw.yaml", flags...)
	t.Setenv(socketEnv, filepath.Join(s.dir, "control.sock"))
	return s
}

// asks runs a command that must succeed and reads its JSON.
func asks[T any](t *testing.T, args ...string) (answer T) {
	t.Helper()
	got := sallyport(t, append(args, "--json")...)
	if got.code != exitGood {
		t.Fatalf("%v: exit code %d: %s", args, got.code, got.err)
	}
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil {
		t.Fatalf("%v: %v in\n%s", args, err, got.out)
	}
	return answer
}

// S-001: of the stored policies exactly one is in force, and none of another's filters is compiled.
func TestOnePolicyIsActive(t *testing.T) {
	s := runs(t, storedPolicies)
	for _, name := range []string{"A", "B"} {
		if change := asks[api.Change](t, "policy", "activate", name); !change.Applied || change.Policy != name {
			t.Fatalf("activate %s: %+v", name, change)
		}
		shown := asks[api.Policies](t, "policy", "show", "--active")
		if len(shown.Stored) != 1 || shown.Stored[0].Name != name || !shown.Stored[0].Active {
			t.Errorf("policy show --active: %+v, expected %s alone", shown.Stored, name)
		}
		rows := asks[[]api.Filter](t, "filters", "show")
		if len(rows) == 0 || slices.ContainsFunc(rows, func(f api.Filter) bool { return f.Rule != strings.ToLower(name) }) {
			t.Errorf("compiled filters %+v, expected those of policy %s", rows, name)
		}
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "gw.yaml")); err != nil || string(text[:len(storedPolicies)]) != strings.Replace(storedPolicies, "active_policy: A", "active_policy: B", 1) {
		t.Errorf("%v, the file is now\n%s", err, text)
	}
}

// S-010: a sample policy comes into force in a lab only.
func TestSampleNeedsLab(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		runs(t, storedPolicies)
		got := sallyport(t, "policy", "activate", "trial")
		if got.code != exitBad || !strings.Contains(got.err, "--lab") {
			t.Errorf("%+v, expected a refusal that names --lab", got)
		}
		if shown := asks[api.Policies](t, "policy", "show"); shown.Active != "A" {
			t.Errorf("policy %s is in force, expected A", shown.Active)
		}
	})
	t.Run("lab", func(t *testing.T) {
		runs(t, storedPolicies, "--lab")
		if change := asks[api.Change](t, "policy", "activate", "trial"); !change.Applied || change.Policy != "trial" {
			t.Errorf("%+v", change)
		}
	})
}

// S-014: ten filters that differ in ports only are ten quick-mode filters and one main-mode filter, and the latter has no protocol and no port.
func TestMainModeFiltersHaveAddressesOnly(t *testing.T) {
	var filters strings.Builder
	for port := range 10 {
		fmt.Fprintf(&filters, "{source: 10.1.0.0/24, destination: 10.2.0.0/24, protocol: tcp, destination_port: %d}, ", 8000+port)
	}
	runs(t, strings.Replace(storedPolicies, "{source: 10.1.0.0/24, destination: 10.2.0.0/24}", strings.TrimSuffix(filters.String(), ", "), 1))
	outbound := slices.DeleteFunc(asks[[]api.Filter](t, "filters", "show"), func(f api.Filter) bool { return f.Mirror })
	if len(outbound) != 10 {
		t.Errorf("%d quick-mode filters, expected 10", len(outbound))
	}
	if rows := asks[[]policy.MainModeRow](t, "filters", "show", "--mm"); len(rows) != 1 {
		t.Errorf("main-mode filters %+v, expected 1", rows)
	}
	table := sallyport(t, "filters", "show", "--mm").out
	if heading, _, _ := strings.Cut(table, "\n"); strings.Contains(heading, "PROTOCOL") || strings.Contains(heading, "PORT") || strings.Contains(table, "tcp") {
		t.Errorf("expected neither protocol nor port in\n%s", table)
	}
	if mm := asks[[]map[string]any](t, "filters", "show", "--mm"); mm[0]["protocol"] != nil || mm[0]["source_port"] != nil {
		t.Errorf("expected neither protocol nor port in %v", mm)
	}
}

// S-120: every change of the file leaves a numbered backup, and going back to it restores the compiled table as it was, to the counters' numbers.
func TestRollbackRestoresTheTable(t *testing.T) {
	s := runs(t, storedPolicies)
	first := asks[[]api.Filter](t, "filters", "show", "--all")
	for number, change := range []string{"10.2.0.0/16", "10.3.0.0/16"} {
		s.write("new.yaml", strings.Replace(storedPolicies, "10.2.0.0/24", change, 1))
		if done := asks[api.Change](t, "config", "apply", filepath.Join(s.dir, "new.yaml")); done.Backup != number+1 || len(done.Added) == 0 {
			t.Errorf("change %d: %+v, expected backup %d", number, done, number+1)
		}
	}
	if backups := asks[[]api.Backup](t, "config", "backups"); len(backups) != 2 || backups[0].Number != 2 {
		t.Errorf("backups %+v, expected 2 and 1", backups)
	}
	if now := asks[[]api.Filter](t, "filters", "show", "--all"); reflect.DeepEqual(now, first) {
		t.Error("the table did not change")
	}
	asks[api.Change](t, "config", "rollback", "1")
	if now := asks[[]api.Filter](t, "filters", "show", "--all"); !reflect.DeepEqual(now, first) {
		t.Errorf("after the rollback\n%+v\nexpected\n%+v", now, first)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "gw.yaml")); err != nil || !strings.HasPrefix(string(text), storedPolicies) {
		t.Errorf("%v, the file after the rollback is\n%s", err, text)
	}
}

// S-032: the 17 filters of level 0 as they are shown. Package appliance counts their hits.
func TestExemptShowLevel0(t *testing.T) {
	runs(t, storedPolicies)
	got := sallyport(t, "exempt", "show", "--level", "0")
	golden(t, "exempt-show-level-0", got.out)
	if rows := asks[api.Exemptions](t, "exempt", "show", "--level", "0").Rows; len(rows) != 17 {
		t.Errorf("%d rows, expected 17", len(rows))
	}
	for _, level := range []string{"-1", "4", "x"} {
		if got := sallyport(t, "exempt", "level", level); got.code == exitGood {
			t.Errorf("level %s: %+v, expected a refusal", level, got)
		}
	}
}

// S-004: a rule has exactly one filter list, one filter action, and at least one authentication method if it negotiates.
func TestCheckCountsPartsOfRules(t *testing.T) {
	const rule = "{name: a, filter_list: of-a, filter_action: protect, peer: site-b}"
	for name, bad := range map[string]string{
		"no list":                  "{name: a, filter_action: protect, peer: site-b}",
		"two lists":                "{name: a, filter_list: [of-a, of-b], filter_action: protect, peer: site-b}",
		"two lists as keys":        "{name: a, filter_list: of-a, filter_list: of-b, filter_action: protect, peer: site-b}",
		"no action":                "{name: a, filter_list: of-a, peer: site-b}",
		"two actions":              "{name: a, filter_list: of-a, filter_action: [protect, pass], peer: site-b}",
		"no authentication method": "{name: a, filter_list: of-a, filter_action: protect, peer: site-b, auth_methods: []}",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t)
			path := filepath.Join(s.dir, "gw.yaml")
			s.write("gw.yaml", storedPolicies)
			if got := sallyport(t, "policy", "check", "-c", path); got.code != exitGood {
				t.Fatalf("a good file: %+v", got)
			}
			s.write("gw.yaml", strings.Replace(storedPolicies, rule, bad, 1))
			got := sallyport(t, "policy", "check", "-c", path)
			if got.code != exitBad || !strings.HasPrefix(got.err, path+":15: policies[0].rules[0]") {
				t.Errorf("exit code %d, found %q, expected 2 and a mistake in line 15", got.code, got.err)
			}
		})
	}
}
