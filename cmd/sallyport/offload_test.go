package main

import (
	"os"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// What an operator reads: the plan of each SA, and each reason once with the SAs that it is against.
func TestOffloadTable(t *testing.T) {
	none := api.OffloadRefusal{Plan: "inline_crypto", Device: "wan", Reason: "has no ENCR_AES_CBC"}
	sas := []api.SA{
		{Peer: "site-b", Child: "low", Direction: "outbound", SPI: "0x00001001", Suite: "aes128gcm16", Packets: 1_000_000,
			Offload: &api.Offload{Plan: "inline_protocol", Device: "wan", InlinePackets: 999_999}},
		{Peer: "site-b", Child: "low", Direction: "inbound", SPI: "0x00001002", Suite: "aes128gcm16", Offload: &api.Offload{Plan: "inline_crypto", Device: "wan"}},
		{Peer: "site-b", Child: "mid", Direction: "outbound", SPI: "0x00001003", Suite: "aes128gcm16", Offload: &api.Offload{Plan: "inline_protocol", Device: "wan", Stopped: true}},
		{Peer: "site-b", Child: "mid", Direction: "inbound", SPI: "0x00001004", Suite: "aes128gcm16", Offload: &api.Offload{Plan: "lookaside_protocol", Device: "ipsec_mb", Stays: true}},
		{Peer: "site-b", Child: "far", Direction: "outbound", SPI: "0x00001005", Suite: "aes128gcm16", Offload: &api.Offload{Plan: "inline_crypto", Device: "wan", Wanted: "inline"}},
		{Peer: "site-b", Child: "far", Direction: "inbound", SPI: "0x00001006", Suite: "aes128gcm16", Offload: &api.Offload{Plan: "cpu", Device: "ipsec_mb", Wanted: "inline_crypto"}},
		{Manual: "lab", Child: "old"},
	}
	for _, spi := range []string{"0x00002001", "0x00002002", "0x00002003", "0x00002004"} {
		sas = append(sas, api.SA{Peer: "site-b", Child: "high", Direction: "inbound", SPI: spi, Suite: "aes128-sha256",
			Offload: &api.Offload{Plan: "cpu", Device: "ipsec_mb", Refused: []api.OffloadRefusal{none}}})
	}
	var out strings.Builder
	if err := offloadTable(&out, sas); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"not inline_crypto on wan: has no ENCR_AES_CBC\n  high in 0x00002001, high in 0x00002002, high in 0x00002003 and 1 more\n",
		"inline_protocol, stopped", "lookaside_protocol, stays", "inline_crypto, moved", "cpu, wanted inline_crypto", "999999",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("expected %q once in\n%s", want, text)
		}
	}
	wantFits(t, text)
}

// The flag changes what is shown of the answer, and not what is asked for.
func TestShowOffload(t *testing.T) {
	g := newFakeGateway(t, map[string]any{"GET " + api.PathSAs: []api.SA{}})
	if said := g.ask(t, "show", "sas", "--offload"); !strings.Contains(said.out, "PLAN") {
		t.Errorf("show sas --offload: %+v", said)
	}
	if said := g.ask(t, "show", "sas"); strings.Contains(said.out, "PLAN") {
		t.Errorf("show sas: %+v", said)
	}
}

// The command says what came of each SA, fails if one stays, and refuses what it cannot ask for before it asks.
func TestOffloadMove(t *testing.T) {
	moved := []api.MovedSA{
		{Peer: "site-b", Child: "low", Direction: "outbound", SPI: "0x00001001", From: "inline_crypto", To: "cpu", Result: api.MoveMoved},
		{Peer: "site-b", Child: "low", Direction: "inbound", SPI: "0x00001002", From: "cpu", To: "cpu", Result: api.MoveStays},
		{Peer: "site-b", Child: "mid", Direction: "inbound", SPI: "0x00001004", From: "inline_crypto", To: "inline_crypto", Result: api.MoveStays, Why: "until its next rekey"},
		{Peer: "site-b", Child: "high", Direction: "inbound", SPI: "0x00001003", From: "inline_protocol", To: "inline_protocol", Result: api.MoveRekeyed, Why: "the window"},
	}
	g := newFakeGateway(t, map[string]any{"POST " + api.PathMove: moved})
	said := g.ask(t, "offload", "move", "site-b", "cpu")
	if want := "low out 0x00001001: inline_crypto to cpu\nlow in 0x00001002: cpu already\nmid in 0x00001004: inline_crypto until its next rekey\nhigh in 0x00001003: inline_protocol, is rekeyed: the window\n"; said.out != want || said.code != 0 {
		t.Errorf("%+v, expected %q", said, want)
	}
	if asked := g.requests(); len(asked) != 1 || asked[0].body != `{"name":"site-b","plan":"cpu"}` {
		t.Errorf("%+v", asked)
	}
	g.answers["POST "+api.PathMove] = append(moved, api.MovedSA{Child: "old", Direction: "inbound", SPI: "0x00001005", From: "cpu", To: "cpu", Result: api.MoveFailed, Why: "has no ENCR_DES"})
	if said := g.ask(t, "offload", "move", "--all", "inline"); said.code != 1 || !strings.Contains(said.out, "old in 0x00001005: stays cpu: has no ENCR_DES\n") || !strings.Contains(said.err, "1 of 5 SAs stay where they were") {
		t.Errorf("%+v", said)
	}
	for want, args := range map[string][]string{
		"expected sallyport offload move SA PLAN, or --all PLAN, found 1 arguments":                                                      {"offload", "move", "cpu"},
		"expected sallyport offload move SA PLAN, or --all PLAN, found 2 arguments":                                                      {"offload", "move", "--all", "site-b", "cpu"},
		`plan: expected auto, inline, inline_protocol, inline_crypto, lookaside, lookaside_protocol, lookaside_crypto, cpu, found "gpu"`: {"offload", "move", "site-b", "gpu"},
	} {
		if said := g.ask(t, args...); said.code != 1 || !strings.Contains(said.err, want) {
			t.Errorf("%q: %+v, expected %q", args, said, want)
		}
	}
	if said := g.ask(t, "__complete", "offload", "move", "site-b", "in"); !strings.Contains(said.out, "inline_crypto\n") {
		t.Errorf("completion: %+v", said)
	}
}

// Ports and devices, and which are lost.
func TestShowOffloadDevices(t *testing.T) {
	g := newFakeGateway(t, map[string]any{"GET " + api.PathOffload: []api.OffloadDevice{
		{Name: "wan", Kind: "port", State: "lost", Plans: []string{"inline_crypto"}, Why: "took none"},
		{Name: "ipsec_mb", Kind: "crypto", State: "up", Plans: []string{"cpu"}, SAs: 4},
	}})
	said := g.ask(t, "show", "offload")
	for _, want := range []string{"lost", "took none", "inline_crypto", "ipsec_mb"} {
		if !strings.Contains(said.out, want) {
			t.Errorf("expected %q in %+v", want, said)
		}
	}
}

// Each command of the operator's page is one that there is, and asks for what there is.
func TestOffloadPageCommands(t *testing.T) {
	page, err := os.ReadFile("../../docs/OFFLOAD.md")
	if err != nil {
		t.Fatal(err)
	}
	g := newFakeGateway(t, map[string]any{"GET " + api.PathSAs: []api.SA{}, "GET " + api.PathOffload: []api.OffloadDevice{}, "POST " + api.PathMove: []api.MovedSA{}})
	commands := 0
	for line := range strings.Lines(string(page)) {
		command, found := strings.CutPrefix(strings.Split(line, "#")[0], "sallyport ")
		if !found {
			continue
		}
		commands++
		if said := g.ask(t, strings.Fields(command)...); said.code != 0 {
			t.Errorf("sallyport %s: %+v", command, said)
		}
	}
	if commands < 7 {
		t.Errorf("%d commands found on the page, expected those of looking and moving", commands)
	}
}
