package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/policy"
)

// What the fake gateway has: two policies, of which one is in force.
var (
	permitDNS = policy.Row{ID: 7, Weight: 402653184, Specificity: "host to host, protocol, ports", Rule: "dns", FilterList: "names", Filter: "my[any] > 10.1.0.53[53] udp",
		Source: "10.1.0.1", Destination: "10.1.0.53", Protocol: "udp", SourcePort: "any", DestinationPort: "53", Ports: "all", Verdict: "permit",
		Origin: "/etc/sallyport/gw-a.yaml:31"}
	protectLAN = policy.Row{ID: 9, Weight: 318767104, Specificity: "subnet to subnet", Rule: "to-site-b", FilterList: "lan-to-lan", Filter: "10.1.0.0/24 > 10.2.0.0/24",
		Source: "10.1.0.0/24", Destination: "10.2.0.0/24", Protocol: "any", SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "protect",
		Tunnel: "to-site-b", Origin: "/etc/sallyport/gw-a.yaml:34"}
	blockGuests = policy.Row{ID: 11, Weight: 218103808, Specificity: "subnet to any", Rule: "no-guests", FilterList: "guests", Filter: "10.1.0.0/26 > any",
		Source: "10.1.0.0/26", Destination: "0.0.0.0/0", Protocol: "any", SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "block",
		Origin: "/etc/sallyport/gw-a.yaml:37"}
	exemptIKE = policy.Row{ID: 3, Specificity: "before all filters", Rule: "(exempt)", Filter: "ike-inbound", Source: "any", Destination: "my",
		Protocol: "udp", SourcePort: "500|any", DestinationPort: "500|4500", Ports: "all", Verdict: "permit"}
	theRest = policy.Row{Rule: "(default)", Specificity: "after all filters", Source: "any", Destination: "any", Protocol: "any",
		SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "block"}

	policies = api.Policies{Active: "day", Level: "3", IKE: true, Generation: 4, Stored: []api.Policy{
		{Name: "day", Description: "Both sites work.", Active: true, DefaultAction: "block", RefreshSeconds: 30, Origin: "gw-a.yaml:40", Rules: []api.Rule{
			{Name: "to-site-b", Enabled: true, FilterList: "lan-to-lan", FilterAction: "protect", Action: "negotiate", Methods: []string{"aes128gcm16", "aes128-sha256"},
				AuthMethods: []string{"psk"}, Ports: "all", Origin: "gw-a.yaml:44"},
			{Name: "dns", Enabled: true, FilterList: "names", FilterAction: "permit", Action: "permit", Ports: "lan", Origin: "gw-a.yaml:45"},
			{Name: "<Default Response>", FilterList: "<Dynamic>", FilterAction: "Default Response", Action: "negotiate", Ports: "all"}}},
		{Name: "night", Sample: true, DefaultAction: "permit", Origin: "gw-a.yaml:50"}}}

	changed = api.Change{Applied: true, Policy: "night", Backup: 5,
		Added: []policy.Row{permitDNS}, Removed: []policy.Row{protectLAN},
		Changed:  []policy.RowChange{{Old: withVerdict(protectLAN, "permit"), New: withVerdict(protectLAN, "block")}},
		Notes:    []string{"active policy: night, before day"},
		Warnings: []string{"filter list names has no updated: date"},
		Ended:    []api.EndedSA{{Peer: "site-b", Child: "to-site-b", Why: "no rule of the policy needs it any longer"}},
		Kept:     []string{"site-b/voice", "site-c/all"}}
	tried = func() api.Change { c := changed; c.Applied, c.Backup = false, 0; return c }()

	explained = api.Explanation{Packet: "10.1.0.5:40000 > 10.2.0.9:445 tcp", Port: "lan", Policy: "day",
		Exemptions: []api.ExemptionCheck{{Name: "kerberos-udp-request-outbound", Why: "level 3 does not exempt Kerberos, only levels 0, 2; it is for my to any"},
			{Name: "kerberos-udp-reply-inbound", Why: "level 3 does not exempt Kerberos, only levels 0, 2; it is for any to my"},
			{Name: "kerberos-udp-reply-outbound", Matches: true, Why: "level 3 does not exempt Kerberos, only levels 0, 2"},
			{Name: "ike-inbound", InForce: true, Why: "10.2.0.9 is not the gateway's own"}},
		Matches: []api.Filter{{Row: protectLAN}, {Row: blockGuests}}, Winner: &api.Filter{Row: protectLAN},
		Verdict: "protect", Action: "protect", Tunnel: "to-site-b", CellState: "up",
		SA:      &api.SA{Direction: "outbound", SPI: "0xb4923001", Suite: "aes128gcm16", Local: "192.0.2.1", Remote: "192.0.2.2"},
		OutPort: "wan", NextHop: "192.0.2.2", Neighbour: "02:00:00:00:00:02",
		Cached: []api.CachedFlow{{Worker: 0, Action: "protect", Current: true}, {Worker: 1, Action: "drop", Reason: "no_filter"}}}
	inClear = func() api.Explanation {
		e := explained
		e.Action, e.CellState, e.SA, e.Cached, e.SoftSA = "forward", holding, nil, nil, &api.SoftSA{Peer: "site-b", Selector: "10.1.0.5 === 10.2.0.9[445] tcp", Remaining: 288}
		return e
	}()
	notInClear = func() api.Explanation {
		e := inClear
		e.Action, e.SoftSA, e.Fallback = "protect", nil, "refused: the peer has proved who it is before"
		return e
	}()
	dropped = api.Explanation{Packet: "udp 203.0.113.9:9 > 10.1.0.5:9", Port: "wan", Verdict: "block", Action: "drop", Reason: "no_filter",
		Disagreement: "the worker's table says permit"}
)

func withVerdict(r policy.Row, verdict string) policy.Row {
	r.Verdict = verdict
	return r
}

// Every command that talks to the gateway: what it asks, and what it prints.
func TestCommands(t *testing.T) {
	apply := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(apply, []byte("name: \"gw-a\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	filters := []api.Filter{{Row: exemptIKE, Packets: 10, Bytes: 2840}, {Row: permitDNS, Packets: 2, Bytes: 140}, {Row: protectLAN}, {Row: theRest, Packets: 1, Bytes: 60}}
	exemptions := api.Exemptions{Level: "0", InForce: "3", Rows: []api.Exemption{
		{ID: 3, Name: "ike-inbound", Kind: "ike", Direction: "in", Filters: []string{"0.0.0.0/0[500] > 192.0.2.1[500] udp", "0.0.0.0/0 > 192.0.2.1[4500] udp"}, InForce: true, Packets: 10, Bytes: 2840},
		{ID: 5, Name: "rsvp-outbound", Kind: "rsvp", Direction: "out", Filters: []string{"192.0.2.1 > 0.0.0.0/0 rsvp"}, Why: "it would be in force at level 0"},
		{ID: 6, Name: "rsvp-inbound", Kind: "rsvp", Direction: "in", Filters: []string{"0.0.0.0/0 > 192.0.2.1 rsvp"}, Why: "it would be in force at level 0"}}}
	mainMode := []policy.MainModeRow{{Weight: 318767104, Source: "10.1.0.0/24", Destination: "10.2.0.0/24", Rules: []string{"admin", "to-site-b"},
		Tunnels: []string{"admin", "to-site-b"}, AuthMethods: []string{"psk"}}}
	sad := api.SAD{
		MainMode: []api.IKE{{Peer: "site-b", State: "established", Role: "initiator", InitiatorSPI: "aa93b95240c230c3", Local: "192.0.2.1:500",
			Remote: "192.0.2.2:500", Proposal: "aes128gcm16-prfsha256-ecp256", Children: []string{"to-site-b:installed"}}},
		QuickMode: []api.SA{{Peer: "site-b", Child: "to-site-b", Direction: "outbound", SPI: "0xb4923001", Suite: "aes128gcm16", Packets: 3, Bytes: 252,
			Selectors: []string{"10.1.0.0/24 === 10.2.0.0/24"}}},
		Soft: []api.SoftSA{{Peer: "files", Child: "to-files", Rule: "to-files", Filter: "smb", Selector: "10.1.0.5 === 192.0.2.66[445] tcp", Operation: "none",
			Protection: "CLEAR", Age: 12, Remaining: 288, PacketsSent: 3, BytesSent: 4321, PacketsReceived: 2, BytesReceived: 1234}}}
	ends := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	certificates := []api.Certificate{
		{Use: "own", Subject: "CN=gw-a.example,O=Example", Issuer: "CN=VPN CA,O=Example", Serial: "2A", NotAfter: ends, DaysLeft: 20, Warning: "CN=gw-a.example,O=Example ends in 20 days, on 2027-03-01T12:00:00Z: renew it",
			Key: "ECDSA P-256", File: "gw-a.pem", Peers: []string{"site-b", "site-c"}},
		{Use: "ca", Subject: "CN=VPN CA,O=Example", Issuer: "CN=VPN CA,O=Example", Serial: "7D1C2E94A0B3F5768812", NotAfter: ends.AddDate(9, 0, 0), DaysLeft: 3307, Key: "RSA 4096", File: "ca.pem", Peers: []string{"site-b", "site-c"}}}
	crls := api.Revocation{Mode: 2, CRLs: []api.CRL{
		{Source: "http://crl.example/vpn.crl", Issuer: "CN=VPN CA,O=Example", ThisUpdate: ends.AddDate(0, -1, 0), NextUpdate: ends, Revoked: 3, Bytes: 542}}}
	saved := time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
	backups := []api.Backup{{Number: 5, Saved: saved, Policy: "day", Bytes: 2345}, {Number: 4, Saved: saved.Add(-time.Hour), Bytes: 800}}

	for name, c := range map[string]struct {
		args   string
		asked  asked
		answer any
	}{
		"policy show":          {"policy show", asked{what: "GET /v1/policy"}, policies},
		"policy show active":   {"policy show --active", asked{what: "GET /v1/policy"}, policies},
		"policy show none":     {"policy show", asked{what: "GET /v1/policy"}, api.Policies{Level: "3"}},
		"policy activate":      {"policy activate night", asked{what: "POST /v1/policy/activate", body: `{"name":"night"}`}, changed},
		"policy activate dry":  {"policy activate night --dry-run", asked{what: "POST /v1/policy/activate", body: `{"name":"night","dry_run":true}`}, tried},
		"policy diff":          {"policy diff", asked{what: "POST /v1/config/reload", body: `{"dry_run":true}`}, api.Change{Policy: "day"}},
		"policy diff file":     {"policy diff " + apply, asked{what: "POST /v1/config/apply", body: `{"text":"name: \"gw-a\"\n","dry_run":true}`}, tried},
		"policy purge":         {"policy purge", asked{what: "POST /v1/policy/purge", body: `{}`}, api.Change{Applied: true, Backup: 6, Removed: []policy.Row{protectLAN}}},
		"config apply":         {"config apply " + apply, asked{what: "POST /v1/config/apply", body: `{"text":"name: \"gw-a\"\n"}`}, changed},
		"config rollback":      {"config rollback", asked{what: "POST /v1/config/rollback", body: `{}`}, changed},
		"config rollback to 3": {"config rollback 3 --dry-run", asked{what: "POST /v1/config/rollback", body: `{"number":3,"dry_run":true}`}, tried},
		"config backups":       {"config backups", asked{what: "GET /v1/config/backups"}, backups},
		"filters show":         {"filters show", asked{what: "GET /v1/filters"}, filters},
		"filters show all":     {"filters show --all", asked{what: "GET /v1/filters"}, filters},
		"filters show mm":      {"filters show --mm", asked{what: "GET /v1/filters/mm"}, mainMode},
		"filters resolve":      {"filters resolve --dry-run", asked{what: "POST /v1/filters/resolve", body: `{"dry_run":true}`}, tried},
		"exempt show":          {"exempt show --level 0", asked{what: "GET /v1/exemptions", query: "level=0"}, exemptions},
		"exempt level":         {"exempt level 1", asked{what: "POST /v1/exemptions/level", body: `{"level":"1"}`}, changed},
		"sa show":              {"sa show", asked{what: "GET /v1/sa"}, sad},
		"sa show soft":         {"sa show --type soft", asked{what: "GET /v1/sa"}, sad},
		"sa flush soft":        {"sa flush --soft", asked{what: "POST /v1/sa/flush", body: `{"soft":true}`}, api.FlushedSAs{Soft: 3}},
		"sa show none":         {"sa show", asked{what: "GET /v1/sa"}, api.SAD{}},
		"show certificates":    {"show certificates", asked{what: "GET /v1/certificates"}, certificates},
		"show crl":             {"show crl", asked{what: "GET /v1/crl"}, crls},
		"show crl off":         {"crl show", asked{what: "GET /v1/crl"}, api.Revocation{}},
		"ikelog on":            {"ikelog on", asked{what: "POST /v1/ikelog", body: `{"on":true}`}, api.IKELog{On: true, File: "/var/lib/sallyport/ike.log", Octets: 38}},
		"ikelog":               {"ikelog", asked{what: "GET /v1/ikelog"}, api.IKELog{File: "/var/lib/sallyport/ike.log", Octets: 1234}},
		"crl flush":            {"crl flush", asked{what: "POST /v1/crl/flush", body: "{}"}, api.Flushed{CRLs: 3}},
		"address add":          {"address add wan 192.0.2.7/24", asked{what: "POST /v1/addresses", body: `{"port":"wan","address":"192.0.2.7/24"}`}, changed},
		"address remove": {"address remove wan 192.0.2.1/24 --dry-run",
			asked{what: "POST /v1/addresses", body: `{"port":"wan","address":"192.0.2.1/24","remove":true,"dry_run":true}`}, tried},
		"reload": {"reload", asked{what: "POST /v1/config/reload", body: `{}`}, changed},
		"explain": {"explain --src 10.1.0.5 --dst 10.2.0.9 --proto tcp --sport 40000 --dport 445 --in lan",
			asked{what: "GET /v1/explain", query: "dport=445&dst=10.2.0.9&in=lan&proto=tcp&sport=40000&src=10.1.0.5"}, explained},
		"explain in clear": {"explain --src 10.1.0.5 --dst 10.2.0.9 --proto tcp --dport 445",
			asked{what: "GET /v1/explain", query: "dport=445&dst=10.2.0.9&proto=tcp&src=10.1.0.5"}, inClear},
		"explain refused": {"explain --src 10.1.0.5 --dst 10.2.0.9 --proto tcp --dport 445",
			asked{what: "GET /v1/explain", query: "dport=445&dst=10.2.0.9&proto=tcp&src=10.1.0.5"}, notInClear},
		"explain dropped": {"explain --src 203.0.113.9 --dst 10.1.0.5 --proto udp",
			asked{what: "GET /v1/explain", query: "dst=10.1.0.5&proto=udp&src=203.0.113.9"}, dropped},
	} {
		t.Run(name, func(t *testing.T) {
			g := newFakeGateway(t, map[string]any{c.asked.what: c.answer})
			args := strings.Fields(c.args)
			got := g.ask(t, args...)
			if got.code != exitGood || got.err != "" {
				t.Fatalf("exit code %d: %s", got.code, got.err)
			}
			if asked := g.requests(); len(asked) != 1 || asked[0] != c.asked {
				t.Errorf("the gateway was asked %+v, expected %+v", asked, c.asked)
			}
			golden(t, goldenName(name, c.answer), got.out)

			asJSON := g.ask(t, append(args, "--json")...)
			if !json.Valid([]byte(asJSON.out)) || asJSON.code != exitGood {
				t.Errorf("--json: exit code %d, found\n%s%s", asJSON.code, asJSON.out, asJSON.err)
			}
		})
	}
}

// goldenName is the file of what a command prints. Changes all print alike.
func goldenName(name string, answer any) string {
	if c, ok := answer.(api.Change); ok && len(c.Notes) > 0 {
		name = "change"
		if !c.Applied {
			name = "change dry run"
		}
	}
	return strings.ReplaceAll(name, " ", "-")
}

// With --active there is one policy to see.
func TestPolicyShowActiveShowsOne(t *testing.T) {
	g := newFakeGateway(t, map[string]any{"GET /v1/policy": policies})
	var shown api.Policies
	if err := json.Unmarshal([]byte(g.ask(t, "policy", "show", "--active", "--json").out), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Stored) != 1 || shown.Stored[0].Name != "day" {
		t.Errorf("found %+v, expected policy day alone", shown.Stored)
	}
}

// What scripts rely on: 0 good, 1 failed, 2 the configuration is bad. Mistakes in a file that is sent are named by that
// file, not by the one that the gateway would write.
func TestExitCodes(t *testing.T) {
	refused := &api.Refused{Errors: []api.ConfigError{
		{File: "gw-a.yaml", Line: 12, Key: "ports[0].mtu", Message: "expected 68 to 9600, found 1"},
		{File: "gw-a.yaml", Key: "dataplane", Message: "expected no change while the gateway runs"}}}
	g := newFakeGateway(t, map[string]any{
		"POST /v1/config/apply":    refused,
		"POST /v1/policy/activate": errors.New("no such thing"),
	})
	dir := t.TempDir()
	file := filepath.Join(dir, "new.yaml")
	good, err := os.ReadFile("testdata/diff-old.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append([]byte("nane: x\n"), good...), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.yaml")
	lines := file + ":12: ports[0].mtu: expected 68 to 9600, found 1\n" + file + ": dataplane: expected no change while the gateway runs\n"
	for args, expected := range map[string]printed{
		"config apply " + file:         {"", lines, exitBad},
		"policy diff " + file:          {"", lines, exitBad},
		"policy activate night":        {"", "sallyport: no such thing\n", exitFailed},
		"config apply " + missing:      {"", "configuration: open " + missing + ": no such file or directory\n", exitBad},
		"config rollback x":            {"", "sallyport: backup \"x\": expected a number that `sallyport config backups` lists\n", exitFailed},
		"explain --src 10.1.0.1":       {"", "sallyport: required flag(s) \"dst\", \"proto\" not set\n", exitFailed},
		"ikelog maybe":                 {"", "sallyport: expected on, off or nothing, found \"maybe\"\n", exitFailed},
		"address add wan":              {"", "sallyport: expected sallyport address add PORT ADDRESS/LENGTH, found 1 arguments\n", exitFailed},
		"policy show --socket nowhere": {"", "sallyport: no gateway listens on nowhere: start one with `sallyport run -c FILE`, or name its socket with --socket\n", exitFailed},
	} {
		if got := g.ask(t, strings.Fields(args)...); got != expected {
			t.Errorf("%s: found %+v, expected %+v", args, got, expected)
		}
	}

	// Mistakes are there for programs too.
	got := g.ask(t, "config", "apply", file, "--json")
	var answer api.Change
	if err := json.Unmarshal([]byte(got.out), &answer); err != nil || len(answer.Errors) != 2 || got.code != exitBad {
		t.Errorf("exit code %d, %v, found %s", got.code, err, got.out)
	}
	for _, command := range [][]string{{"check"}, {"policy", "check"}} {
		got := sallyport(t, append(command, "-c", file)...)
		if got.code != exitBad || got.out != "" || !strings.HasPrefix(got.err, file+":1: nane: ") {
			t.Errorf("%v: found %+v, expected the misspelt key of line 1", command, got)
		}
		got = sallyport(t, append(command, "-c", file, "--json")...)
		answer = api.Change{}
		if err := json.Unmarshal([]byte(got.out), &answer); err != nil || len(answer.Errors) == 0 || answer.Errors[0].Line != 1 {
			t.Errorf("%v --json: %v, found %s", command, err, got.out)
		}
		if got := sallyport(t, append(command, "-c", missing)...); got.code != exitBad {
			t.Errorf("%v of a file that is not there: %+v", command, got)
		}
	}
}

// Configurations are compared without a gateway.
func TestDiffOfFiles(t *testing.T) {
	old, err := os.ReadFile("testdata/diff-old.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := [2]string{filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml")}
	revised := strings.NewReplacer("destination: 10.2.0.0/24", "destination: 10.2.0.0/16", "action: permit", "action: block", "port: 53", "port: 5353",
		"name: office", "name: branch", "active_policy: office", "active_policy: branch").Replace(string(old))
	for i, text := range []string{string(old), revised} {
		if err := os.WriteFile(files[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := sallyport(t, "policy", "diff", files[0], files[1])
	if got.code != exitGood {
		t.Fatalf("%+v", got)
	}
	golden(t, "policy-diff-files", got.out)
	if same := sallyport(t, "policy", "diff", files[0], files[0]); same.out != "no filter changes\n" {
		t.Errorf("a file against itself: %+v", same)
	}
	var answer api.Change
	if err := json.Unmarshal([]byte(sallyport(t, "policy", "diff", files[0], files[1], "--json").out), &answer); err != nil || len(answer.Changed)+len(answer.Added) == 0 {
		t.Errorf("--json: %v, %+v", err, answer)
	}
}

// Every command has words of its own, and every group lists its commands.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"policy"}, {"config"}, {"filters"}, {"exempt"}, {"sa"}, {"address"}, {"import"}, {"show"}, {"lab"}} {
		if got := sallyport(t, args...); got.code != exitGood || !strings.Contains(got.out, "Available Commands:") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for _, command := range rootCommand().Commands() {
		if command.Short == "" {
			t.Errorf("%s has no words", command.Name())
		}
	}
}

// Tables of the policy fit a terminal too.
func TestPolicyTablesFit(t *testing.T) {
	var out strings.Builder
	if err := errors.Join(changeTable(&out, changed), policyTable(&out, policies), explanationTable(&out, explained)); err != nil {
		t.Fatal(err)
	}
	wantFits(t, out.String())
}

// What lab negotiate cannot measure is refused before anything starts, with what it could.
func TestNegotiateFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--interval x", `invalid argument "x" for "--interval"`},
		{"--interval -1", "an interval of -1 ms: want 0 to 60000, each once"},
		{"--interval 0,0", "an interval of 0 ms: want 0 to 60000, each once"},
		{"--interval 99999999999999999999", "--interval"},
		{"--ike v3", `version of IKE "v3": want each of v1, v2 at most once`},
		{"--auth rsa", `authentication "rsa": want each of psk, certificate, certificate-rsa at most once`},
		{"--pfs some", `PFS "some": want each of none, session, master at most once`},
		{"--peers 0", "--peers 0: expected more than 0"},
		{"--peers -5", "-5 peers: want 1 to 20000"},
		{"--peers 20001", "20001 peers: want 1 to 20000"},
		{"--peers 20000", "40183 peers would be needed, each for one connection: want at most 20000"},
		{"--outstanding 0", "--outstanding 0: expected more than 0"},
		{"--outstanding 1000000", "1000000 connections at once: want 1 to 20000"},
		{"--quick-modes 11", "11 quick modes of each connection: want 1 to 10"},
		{"--time 0s", "--time 0s: expected more than 0"},
		{"--time 1ns", "1ns for each interval: want 1ms to 10m0s"},
		{"--time 11m", "11m0s for each interval"},
		{"--repeat 0", "--repeat 0: expected more than 0"},
		{"--repeat 101", "101 measurements of each interval: want 1 to 100"},
		{"--json /none/such/rows.json", "/none/such/rows.json: no such file or directory"},
		{"--report /none/such/out.json", "/none/such/out.json: no such file or directory"},
		{"--html /none/such/out.html", "/none/such/out.html: no such file or directory"},
		{"--psk-file x", "--psk-file is of a target: say which by --target"},
		{"--target 192.0.2.1", "--source is missing: expected one of the target's link that nobody has"},
		{"--target gw --source 192.0.2.2 --interface lo", `--target "gw": expected an IPv4 address`},
		{"--target 192.0.2.1 --source 192.0.2.2 --interface lo", "--psk-file is missing: expected a file with the preshared key"},
		{"--target 192.0.2.1 --source 192.0.2.2 --interface lo --auth certificate", "--ca-key is missing: expected a file with the CA's private key"},
		{"--target 192.0.2.1 --source 192.0.2.2 --interface lo --peer-net 10.64", `--peer-net "10.64": expected a network`},
		{"--target 192.0.2.1 --source 192.0.2.2 --interface lo --peer-net 10.64.0.0/24 --psk-file /dev/null", "there are addresses for 254"},
		{"extra", `unknown command "extra"`},
	} {
		var out, errOut strings.Builder
		code := execute(t.Context(), append([]string{"lab", "negotiate"}, strings.Fields(c.args)...), &out, &errOut)
		if code != exitFailed || !strings.Contains(errOut.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, expected %d and a word about %s:\n%s%s", c.args, code, exitFailed, c.want, out.String(), errOut.String())
		}
	}
}
