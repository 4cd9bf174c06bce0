package appliance

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/pipeline"
)

// head is what both sites' configurations begin with.
func head(name, lan, wan, peer, start string) string {
	return fmt.Sprintf(`name: %s
state_dir: $DIR/state
dataplane: {workers: [1], idle: sleep}
ports:
  - {name: lan, device: "net_af_packet0,iface=lan0", role: protected, addresses: [%s]}
  - {name: wan, device: "net_af_packet1,iface=wan0", role: unprotected, addresses: [%s/24]}
routes:
  - {to: 0.0.0.0/0, via: %s}
control: {socket: $DIR/control.sock}
peers:
  - {name: far, local: %s, remote: %s, auth: {psk_file: peer.psk}, ike_proposals: [aes128gcm16-prfsha256-ecp256], start: %s}
`, name, lan, wan, peer, wan, peer, start)
}

// siteA has three policies: both sites' networks through one tunnel; the same
// split into two tunnels; and nothing but a ping to the gateway.
func siteA() string {
	return head("gw-a", "10.1.0.1/24", "192.0.2.1", "192.0.2.2", "always") + `filter_lists:
  - {name: nets, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]}
  - {name: low, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/25}]}
  - {name: high, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.128/25}]}
  - {name: ping, updated: 2026-11-21, filters: [{source: any, destination: my, protocol: icmp}]}
  - {name: web, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 198.51.100.0/24}]}
  - {name: open, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 203.0.113.0/24}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [aes128gcm16]}
  - {name: pass, action: permit}
  - {name: drop, action: block}
policies:
  - name: whole
    rules:
      - {name: nets, filter_list: nets, filter_action: protect, peer: far}
  - name: halves
    rules:
      - {name: low, filter_list: low, filter_action: protect, peer: far}
      - {name: high, filter_list: high, filter_action: protect, peer: far}
  - name: more # than whole
    rules:
      - {name: nets, filter_list: nets, filter_action: protect, peer: far}
      - {name: ping, filter_list: ping, filter_action: pass}
      - {name: web, filter_list: web, filter_action: drop}
      - {name: open, filter_list: open, filter_action: pass}
  - name: nothing
    rules:
      - {name: ping, filter_list: ping, filter_action: pass}
active_policy: whole # and no other
`
}

func siteB() string {
	return head("gw-b", "10.2.0.1/24", "192.0.2.2", "192.0.2.1", "on-demand") + `filter_lists:
  - {name: nets, updated: 2026-11-21, filters: [{source: 10.2.0.0/24, destination: 10.1.0.0/24}]}
  - {name: low, updated: 2026-11-21, filters: [{source: 10.2.0.0/25, destination: 10.1.0.0/24}]}
  - {name: high, updated: 2026-11-21, filters: [{source: 10.2.0.128/25, destination: 10.1.0.0/24}]}
filter_actions:
  - {name: protect, action: negotiate, esp_proposals: [aes128gcm16]}
policies:
  - name: whole
    rules: [{name: nets, filter_list: nets, filter_action: protect, peer: far}]
  - name: halves
    rules:
      - {name: low, filter_list: low, filter_action: protect, peer: far}
      - {name: high, filter_list: high, filter_action: protect, peer: far}
active_policy: whole
`
}

// children are the Child SAs of a gateway that packets can leave by.
func (r *rig) children(g *rigGateway) []string {
	var names []string
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if sa.Direction == "outbound" {
			names = append(names, sa.Child)
		}
	}
	slices.Sort(names)
	return names
}

// awaitChildren waits until exactly these Child SAs are up at every gateway.
func (r *rig) awaitChildren(names ...string) {
	r.t.Helper()
	for _, g := range r.gateways {
		eventually(r.t, fmt.Sprintf("%s to have %v up", g.cfg.Name, names), func() bool { return slices.Equal(r.children(g), names) })
	}
}

// filterNames are the filters in force, as RULE/FILTER of the rules.
func (r *rig) rules(g *rigGateway) []string {
	var names []string
	for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
		if !strings.HasPrefix(f.Rule, "(") {
			names = append(names, f.Rule)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// S-001: any number of policies are stored and exactly one is in force.
func TestOnePolicyIsActive(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	for _, step := range []struct {
		policy string
		rules  []string
	}{{"halves", []string{"high", "low"}}, {"nothing", []string{"ping"}}, {"whole", []string{"nets"}}} {
		change := r.change(g, api.PathActivate, api.Activate{Name: step.policy})
		if !change.Applied || change.Policy != step.policy || change.Backup == 0 {
			t.Errorf("activate %s: %+v", step.policy, change)
		}
		shown := get[api.Policies](r, g, api.PathPolicy)
		active := []string{}
		for _, p := range shown.Stored {
			if p.Active {
				active = append(active, p.Name)
			}
		}
		if shown.Active != step.policy || !slices.Equal(active, []string{step.policy}) || len(shown.Stored) != 4 {
			t.Errorf("activate %s: %d stored, active %q and %v", step.policy, len(shown.Stored), shown.Active, active)
		}
		if rules := r.rules(g); !slices.Equal(rules, step.rules) {
			t.Errorf("activate %s: rules in the compiled table are %v, expected %v", step.policy, rules, step.rules)
		}
		text, err := os.ReadFile(g.path)
		if err != nil || !strings.Contains(string(text), "active_policy: "+step.policy+" # and no other\n") {
			t.Errorf("activate %s: the file's last line is not as expected, %v:\n%s", step.policy, err, text[max(0, len(text)-80):])
		}
	}
	if _, err := g.api.Change(t.Context(), api.PathActivate, api.Activate{Name: "none-such"}); !errors.As(err, new(*api.Refused)) {
		t.Errorf("expected a policy that is not stored to be refused, found %v", err)
	}
}

// A change that is refused leaves file, filters, SAs and backups as they are, and
// says every mistake with its line.
func TestRefusedChangeChangesNothing(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	before, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	filters, generation := get[[]api.Filter](r, g, api.PathFilters), get[api.Policies](r, g, api.PathPolicy).Generation
	sas := get[[]api.SA](r, g, api.PathSAs)
	text := string(before)
	for what, wrong := range map[string]struct {
		text string
		want []string
	}{
		"two mistakes": {strings.NewReplacer("action: permit", "action: permitt", "filter_list: ping", "filter_list: pings").Replace(text),
			[]string{"permitt", "pings"}},
		"no YAML":       {text[:len(text)/2] + "\n  - [", []string{":"}},
		"empty":         {"", []string{"empty"}},
		"needs restart": {strings.Replace(text, "idle: sleep", "idle: poll", 1), []string{"dataplane.idle", "restart"}},
	} {
		for _, dry := range []bool{true, false} {
			_, err := g.api.Change(t.Context(), api.PathApply, api.Apply{Text: wrong.text, DryRun: dry})
			refused := (*api.Refused)(nil)
			if !errors.As(err, &refused) || len(refused.Errors) == 0 {
				t.Errorf("%s: expected to be refused, found %v", what, err)
				continue
			}
			for _, want := range wrong.want {
				if !strings.Contains(refused.Error(), want) {
					t.Errorf("%s: expected %q in\n%s", what, want, refused)
				}
			}
		}
	}
	after, err := os.ReadFile(g.path)
	if err != nil || string(after) != text {
		t.Errorf("the file has changed, %v", err)
	}
	if now := get[api.Policies](r, g, api.PathPolicy).Generation; now != generation {
		t.Errorf("generation was %d and is %d", generation, now)
	}
	if now := get[[]api.Filter](r, g, api.PathFilters); len(now) != len(filters) {
		t.Errorf("%d filters were in force and %d are", len(filters), len(now))
	}
	for i, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if sa.SPI != sas[i].SPI {
			t.Errorf("SA %s is now %s", sas[i].SPI, sa.SPI)
		}
	}
	if backups := get[[]api.Backup](r, g, api.PathBackups); len(backups) != 0 {
		t.Errorf("expected no backup, found %v", backups)
	}
	if said := g.logs.String(); !strings.Contains(said, `what="config apply"`) || !strings.Contains(said, "uid 0, pid ") || !strings.Contains(said, "policy change refused") {
		t.Error("the log does not say who was refused what")
	}
}

// A dry run says which filters change and which SAs would end; then exactly
// those end, and the others carry on.
func TestDryRunTellsWhatThenHappens(t *testing.T) {
	withHalf := func(text string) string {
		return strings.Replace(text, "active_policy: whole", "active_policy: halves", 1)
	}
	r := newRig(t, withHalf(siteA()), withHalf(siteB()))
	g := r.gateways[0]
	r.awaitChildren("high", "low")
	spis := func() map[string]string {
		found := map[string]string{}
		for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
			if sa.Direction == "outbound" {
				found[sa.Child] = sa.SPI
			}
		}
		return found
	}
	before := spis()

	// The low half becomes a quarter: low ends, high stays.
	text := strings.Replace(string(g.running().text), "10.2.0.0/25", "10.2.0.0/26", 1)
	tried := r.change(g, api.PathApply, api.Apply{Text: text, DryRun: true})
	if tried.Applied || tried.Backup != 0 {
		t.Errorf("the dry run applied: %+v", tried)
	}
	if len(tried.Ended) != 1 || tried.Ended[0].Child != "low" || tried.Ended[0].Peer != "far" || !strings.Contains(tried.Ended[0].Why, "selectors") {
		t.Errorf("expected low to end, found %+v", tried.Ended)
	}
	if !slices.Equal(tried.Kept, []string{"far/high"}) {
		t.Errorf("expected high to stay, found %v", tried.Kept)
	}
	if len(tried.Added) != 2 || len(tried.Removed) != 2 || len(tried.Changed) != 0 {
		t.Errorf("expected a filter and its mirror to go and to come, found %+v", tried)
	}
	if now := spis(); now["low"] != before["low"] || now["high"] != before["high"] {
		t.Errorf("the dry run changed SAs: %v, before %v", now, before)
	}

	done := r.change(g, api.PathApply, api.Apply{Text: text})
	if !done.Applied || !slices.Equal(done.Kept, tried.Kept) || !slices.Equal(done.Ended, tried.Ended) || len(done.Added) != len(tried.Added) {
		t.Errorf("the dry run said %+v, the change did %+v", tried, done)
	}
	eventually(t, "low to be another SA", func() bool { return spis()["low"] != "" && spis()["low"] != before["low"] })
	if now := spis(); now["high"] != before["high"] {
		t.Errorf("high was %s and is %s", before["high"], now["high"])
	}
	if said := g.logs.String(); strings.Count(said, "msg=child_deleted") != 1 || !strings.Contains(said, "msg=child_deleted version=2 peer=far child=low reason=reconfigured") {
		t.Error("expected the log to say that low was deleted, and nothing else")
	}
}

// S-120: each apply leaves a numbered backup, and a rollback restores an
// identical compiled table.
func TestRollbackRestoresTheCompiledTable(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	table := func() []pipeline.TableRow {
		rows, err := g.plane.Table()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	first, text := table(), string(g.running().text)
	change := r.change(g, api.PathApply, api.Apply{Text: strings.Replace(text, "active_policy: whole", "active_policy: more", 1)})
	if change.Backup != 1 {
		t.Errorf("expected backup 1, found %d", change.Backup)
	}
	second := table()
	if slices.Equal(first, second) {
		t.Fatal("the change has changed nothing")
	}
	r.change(g, api.PathActivate, api.Activate{Name: "nothing"})
	if back := r.change(g, api.PathRollback, api.Rollback{Number: 1}); back.Backup != 3 || back.Policy != "whole" {
		t.Errorf("rollback: %+v", back)
	}
	if !slices.Equal(table(), first) || string(g.running().text) != text {
		t.Error("backup 1 has not restored the first table and text")
	}
	r.change(g, api.PathRollback, api.Rollback{}) // the latest: what was before the rollback
	if got := g.running().spd.Policy; got != "nothing" {
		t.Errorf("expected the rollback to be rolled back to nothing, found %s", got)
	}
	r.change(g, api.PathRollback, api.Rollback{Number: 2})
	if !slices.Equal(table(), second) {
		t.Error("backup 2 has not restored the second table")
	}
	backups := get[[]api.Backup](r, g, api.PathBackups)
	if len(backups) != 5 || backups[0].Number != 5 || backups[4].Policy != "whole" || backups[3].Policy != "more" || time.Since(backups[0].Saved) > time.Minute {
		t.Errorf("unexpected backups %+v", backups)
	}
	if _, err := g.api.Change(t.Context(), api.PathRollback, api.Rollback{Number: 17}); err == nil || !strings.Contains(err.Error(), "1 to 5") {
		t.Errorf("expected a backup that does not exist to be refused, found %v", err)
	}
	// A slip at the keyboard is no failure of the gateway.
	if said := g.logs.String(); strings.Contains(said, "level=ERROR") || !strings.Contains(said, `msg="policy change refused, nothing has changed" what="config rollback 17"`) {
		t.Errorf("expected the refusal as a warning, found\n%s", said)
	}
}

// S-012, C-08: after a purge the store is empty, every SA is gone, and what would be
// forwarded is dropped.
func TestPurgeLeavesTheClosedDefault(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "before")
	eventually(t, "a packet through the tunnel", func() bool { return slices.Contains(r.received(r.gateways[1]), "before") })

	change := r.change(g, api.PathPurge, api.Purge{})
	if len(change.Ended) != 1 || len(change.Kept) != 0 || change.Policy != "" {
		t.Errorf("purge: %+v", change)
	}
	shown := get[api.Policies](r, g, api.PathPolicy)
	if len(shown.Stored) != 0 || shown.Active != "" {
		t.Errorf("expected an empty store, found %+v", shown)
	}
	eventually(t, "every SA to be gone", func() bool {
		sad := get[api.SAD](r, g, api.PathSAD)
		return len(sad.MainMode)+len(sad.QuickMode)+len(sad.Soft) == 0
	})
	dropped := g.drops("no_filter")
	for i := range 10 {
		r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", fmt.Sprintf("after %d", i))
	}
	eventually(t, "10 packets to be dropped", func() bool { return g.drops("no_filter") == dropped+10 })
	if got := r.received(r.gateways[1]); len(got) != 1 {
		t.Errorf("after the purge the far side got %v", got)
	}
	if _, err := config.ParseWith(g.path, g.running().text, config.Options{Machine: config.ThisMachine()}); err != nil {
		t.Errorf("a restart would refuse the file: %v", err)
	}
}

// What is applied is what a restart finds, even if it was in force already and only
// the file differed; a reload, which reads the file, never writes it.
func TestAppliedTextIsInTheFile(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	text := string(g.running().text)
	byHand := strings.Replace(text, "action: permit", "action: permitt", 1)
	if err := os.WriteFile(g.path, []byte(byHand), 0o600); err != nil {
		t.Fatal(err)
	}
	change := r.change(g, api.PathActivate, api.Activate{Name: "whole"}) // as it is
	if !strings.Contains(strings.Join(change.Warnings, "\n"), "they are in backup 1") {
		t.Errorf("expected a warning of the text by hand, found %v", change.Warnings)
	}
	if found, err := os.ReadFile(g.path); err != nil || string(found) != text {
		t.Errorf("the file holds what was never in force, %v", err)
	}

	// Another text comes while the one before it is being loaded.
	loading, later := strings.Replace(text, "active_policy: whole", "active_policy: more", 1), text+"# and a remark\n"
	if err := os.WriteFile(g.path, []byte(loading), 0o600); err != nil {
		t.Fatal(err)
	}
	parse := g.manager.parse
	g.manager.parse = func(text []byte, known map[string][]netip.Addr) (*config.Config, error) {
		cfg, err := parse(text, known)
		return cfg, errors.Join(err, os.WriteFile(g.path, []byte(later), 0o600))
	}
	if change := r.change(g, api.PathReload, api.Reload{}); change.Policy != "more" || change.Backup == 0 {
		t.Errorf("reload: %+v", change)
	}
	if found, err := os.ReadFile(g.path); err != nil || string(found) != later {
		t.Errorf("a reload wrote the file that it read, %v", err)
	}
}

// The body of a configuration may be large, that of any other order may not.
func TestBodyLimits(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	padding := "# " + strings.Repeat("x", controlBody) + "\n"
	if change := r.change(g, api.PathApply, api.Apply{Text: string(g.running().text) + padding}); !change.Applied {
		t.Errorf("a configuration of more than %d bytes: %+v", controlBody, change)
	}
	for path, body := range map[string]any{
		api.PathActivate: api.Activate{Name: padding},
		api.PathApply:    api.Apply{Text: strings.Repeat("x", configBody)},
	} {
		if _, err := g.api.Change(t.Context(), path, body); err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("%s: expected a body that is too large to be refused, found %v", path, err)
		}
	}
	if _, err := g.api.Change(t.Context(), api.PathActivate, map[string]int{"nome": 1}); err == nil || !strings.Contains(err.Error(), "nome") {
		t.Errorf("expected an unknown field to be named, found %v", err)
	}
	two := httptest.NewRecorder()
	g.controlHandler().ServeHTTP(two, httptest.NewRequest(http.MethodPost, api.PathPurge, strings.NewReader(`{"dry_run": true} {"dry_run": false}`)))
	if two.Code != http.StatusBadRequest || !strings.Contains(two.Body.String(), "more than one value") {
		t.Errorf("two orders in one: %d %s", two.Code, two.Body)
	}
}
