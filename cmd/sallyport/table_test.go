package main

import (
	"errors"
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
	if err := root.Execute(); err == nil || err.Error() != "expected sallyport rekey PEER [CHILD], found 0 arguments" {
		t.Errorf("unexpected: %v", err)
	}
}
