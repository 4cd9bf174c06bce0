package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/policy"
)

// A terminal is this wide where a rack has one.
const terminal = 120

// wantFits checks that no line of a table is wider than a terminal.
func wantFits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if width := len([]rune(strings.TrimRight(line, "\n"))); width > terminal {
			t.Errorf("expected at most %d columns, found %d:\n%s", terminal, width, line)
		}
	}
}

// A failure before the IKE SA that is up now is not told under it; of a peer without one it is.
func TestOldFailuresAreNotInTheWay(t *testing.T) {
	now := time.Now()
	for state, told := range map[string]bool{"established": false, "init": true} {
		var out strings.Builder
		peer := api.IKE{Peer: "site-b", State: state, Established: now.Add(-time.Hour), LastFailure: "no_answer", LastFailedAt: now.Add(-2 * time.Hour), PeerFailure: "timeout", PeerFailedAt: now.Add(-2 * time.Hour)}
		if err := ikeTable(&out, []api.IKE{peer}); err != nil || strings.Contains(out.String(), "last failure") != told || strings.Contains(out.String(), "last attempt") != told {
			t.Errorf("%s: %v\n%s", state, err, out.String())
		}
	}
}

// What an operator reads at night: why each peer has no tunnel, once, under a table that fits.
func TestIKETableSaysWhy(t *testing.T) {
	now := time.Now()
	silent := api.IKE{Peer: "site-c", State: "init", Role: "initiator", Local: "192.0.2.1:500", Remote: "192.0.2.3:500",
		DownPort: "wan", Outstanding: "IKE_SA_INIT", Resent: 4}
	refused := api.IKE{Peer: "site-b", State: "established", Role: "initiator", InitiatorSPI: "aa93b95240c230c3", ResponderSPI: "e1662f12dcb113fa",
		Local: "192.0.2.1:500", Remote: "198.51.100.200:4500", Proposal: "aes128gcm16-prfsha256-ecp256",
		Established: now.Add(-time.Hour), RekeyAt: now.Add(7*time.Hour + 50*time.Minute),
		LastFailure: "ts_unacceptable: peer answered TS_UNACCEPTABLE", LastFailedAt: now.Add(-90 * time.Second), NextAttempt: now.Add(time.Minute),
		PeerFailure: "no_proposal_chosen: peer offered 3DES", PeerFailedAt: now.Add(-time.Hour)}
	var out strings.Builder
	if err := ikeTable(&out, []api.IKE{silent, refused, refused}); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"site-c: port wan has no link\n",
		"site-c: no response yet to IKE_SA_INIT; 4 requests sent again since start\n",
		"site-b: last failure 1m30s ago: ts_unacceptable: peer answered TS_UNACCEPTABLE\n",
		"site-b: the peer's last attempt failed 1h0m0s ago: no_proposal_chosen: peer offered 3DES\n",
		"site-b: next attempt in ",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("expected %q once in\n%s", want, text)
		}
	}
	wantFits(t, text)

	out.Reset()
	if err := ikeTable(&out, []api.IKE{{Peer: "site-b", State: "established"}}); err != nil || strings.Contains(out.String(), "\n\n") {
		t.Errorf("expected no notes for a peer without trouble, found %v\n%s", err, out.String())
	}
}

func TestTablesFitATerminal(t *testing.T) {
	now := time.Now()
	sa := api.SA{Peer: "site-b", Child: "to-site-b", Direction: "outbound", SPI: "0xb4923001", Suite: "aes128gcm16",
		Packets: 51382800, Bytes: 73000000000, Established: now.Add(-time.Minute), RekeyAt: now.Add(54 * time.Minute),
		Selectors: []string{"10.1.0.0/24 === 10.2.0.0/24"}}
	row := policy.Row{Weight: 402653184, Rule: "to-site-b", Filter: "10.1.0.0/24 > 10.2.0.0/24", Source: "10.2.0.0/24", Destination: "10.1.0.0/24",
		Protocol: "any", SourcePort: "any", DestinationPort: "any", Ports: "all", Verdict: "require", Tunnel: "to-site-b"}
	exempt := policy.Row{Rule: "(exempt)", Filter: "ike-natt-outbound", Source: "192.0.2.1", SourcePort: "4500", Destination: "0.0.0.0/0",
		DestinationPort: "any", Protocol: "udp", Ports: "all", Verdict: "permit"}
	var out strings.Builder
	err := errors.Join(
		saTable(&out, []api.SA{sa}),
		filterTable(&out, []api.Filter{{Row: row, Packets: 10, Bytes: 840}, {Row: exempt, Packets: 22, Bytes: 8559}}),
		portTable(&out, []api.Port{{Name: "wan", Role: "unprotected", Device: "net_af_packet1,iface=wan0", Driver: "net_af_packet",
			MAC: "56:c3:81:45:c2:0e", Addresses: []string{"192.0.2.1/24"}, MTU: 1500, Link: "down", Queues: 1}}))
	if err != nil {
		t.Fatal(err)
	}
	wantFits(t, out.String())
	for _, want := range []string{"192.0.2.1[4500]", " out "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("expected %q in\n%s", want, out.String())
		}
	}
}

// Where workers have SAs of their own, each SA is shown with the one that it belongs to, and packets that came to another are mentioned.
func TestTablesShowWorkers(t *testing.T) {
	second := 1
	sas := []api.SA{{Peer: "site-b", Child: "net", Direction: "inbound", Worker: &second, SPI: "0x00000001"}, {Peer: "site-b", Child: "net", Direction: "outbound", SPI: "0x00000002"}}
	var out strings.Builder
	if err := errors.Join(saTable(&out, sas), counterTable(&out, api.Counters{Conserved: true, Ports: []api.PortCounters{{Name: "wan", HandedOver: 7}}})); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"CHILD DIR WORKER SPI", "net in 1 0x00000001", "net out all 0x00000002", "7 packets came by wan to another worker"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := saTable(&out, sas[1:]); err != nil || strings.Contains(out.String(), "WORKER") {
		t.Errorf("%v, with one worker\n%s", err, out.String())
	}
}

// The account of packets is shown with all that is in the law, and drops with whom they are counted for.
// S-109
func TestTablesAccountForEveryPacket(t *testing.T) {
	counters := api.Counters{Conserved: true, Unattributed: map[string]uint64{"tx_full": 2}, IKEQueueFull: api.QueueFull{Begin: 12, Continue: 5, Own: 4, BeginStranger: 90, ContinueStranger: 80},
		SlowPath: []api.SlowPath{{Class: "ike", Queued: 10}, {Class: "ike_begin", Queued: 1000, Full: 900, Waiting: 64}},
		Ports:    []api.PortCounters{{Name: "wan", Received: 20, Split: 3, Forwarded: 11, Delivered: 1, Held: 2, Reassembling: 4, Merged: 1, Transmitted: 9, Early: 8, EarlyPassed: 7, Drops: map[string]uint64{"no_route": 1, "dummy": 3, "early_timeout": 1}}}}
	bundle := api.SA{SPI: "0x00001101", Protocol: "esp-in-ah", AHSPI: "0x00001102", Mode: "tunnel", Packets: 7, Bytes: 900, Dummies: 3, Drops: map[string]uint64{"auth_failed": 5},
		Lifetime: &api.Lifetime{SoftPackets: 80, HardPackets: 100, HardBytes: 1000}}
	filter := api.Filter{Row: policy.Row{Rule: "nets", Filter: "all"}, Drops: map[string]uint64{"no_outbound_sa": 6}}
	var out strings.Builder
	if err := errors.Join(counterTable(&out, counters), saDetails(&out, []api.SA{bundle}), filterTable(&out, []api.Filter{filter})); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"wan 20 3 11 1 2 4 1 5 9 dummy 3, early_timeout 1, no_route 1", "8 packets came by wan before their SA and waited for it: 7 went on, 1 waited too long", "received + split = forwarded + delivered + held + reassembling + merged + dropped", "tx_full 2", "12 messages that begin a negotiation, for 5 others and for 4 wishes of the data plane; of strangers for 90 and 80", "too busy for 900 packets of class ike_begin; 1000 found room, 64 of them wait",
		"0x00001102 ah of the same", "auth_failed 5", "0x00001101: 7 of 100 packets, soft 80; 900 of 1000 bytes; 3 dummy packets", "dropped of what nets all decided: no_outbound_sa 6"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in\n%s", want, out.String())
		}
	}
}

// An address that comes from a DNS name is shown with it, and a deny-all with its weight, which is 0.
// S-020
func TestFilterTableShowsNames(t *testing.T) {
	filters := []api.Filter{
		{Row: policy.Row{Weight: 7, FilterList: "web", Source: "any", Destination: "192.0.2.3", DestinationName: "www.example", DestinationPort: "443"}},
		{Row: policy.Row{FilterList: "all", Source: "0.0.0.0/0", Destination: "0.0.0.0/0", Verdict: "block"}},
		{Row: policy.Row{Rule: "(default)", Source: "any", Destination: "any", Verdict: "block"}},
	}
	var out strings.Builder
	if err := filterTable(&out, written(filters)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "192.0.2.3 (www.example)[443]") || !strings.HasPrefix(strings.TrimSpace(lines[2]), "0 ") {
		t.Errorf("expected the name, and two filters:\n%s", out.String())
	}
}

// A command that lacks its peer says how it is used.
func TestActionNamesItsArguments(t *testing.T) {
	root := rootCommand()
	root.SetArgs([]string{"rekey"})
	if err := root.Execute(); err == nil || err.Error() != "expected sallyport rekey PEER|RULE [RULE], found 0 arguments" {
		t.Errorf("unexpected: %v", err)
	}
}

// An event is a line that begins with when, what and with whom; a gap says how much is missing.
func TestEventLines(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 4, 5, 6e6, time.Local)
	for _, c := range []struct {
		event api.Event
		line  string
	}{
		{api.Event{Time: at, Kind: "failed", Peer: "site-b", Child: "web", Reason: "timeout", Detail: "no response", Role: "initiator", Tries: 12},
			"03:04:05.006 failed              site-b/web  timeout  no response  role=initiator  tries=12"},
		{api.Event{Time: at, Kind: "dropped", Reason: "ike_short", Remote: "192.0.2.9:500"}, "03:04:05.006 dropped               ike_short  remote=192.0.2.9:500"},
		{api.Event{Number: 9, Lost: 3}, "(3 events are not kept any more)"},
	} {
		if got := eventLine(c.event); got != c.line {
			t.Errorf("found    %q\nexpected %q", got, c.line)
		}
	}
}

// Keys are written in a lab only, and nothing is started, or written, before that is known.
func TestKeyLogIsForALab(t *testing.T) {
	s := newSession(t)
	s.write("gw.yaml", storedPolicies)
	keys := filepath.Join(s.dir, "keys")
	got := sallyport(t, "run", "-c", filepath.Join(s.dir, "gw.yaml"), "--keylog", keys)
	if _, err := os.Stat(keys); got.code != exitFailed || !strings.Contains(got.err, "expected --lab") || err == nil {
		t.Errorf("exit code %d, %s; the file: %v", got.code, got.err, err)
	}
}
