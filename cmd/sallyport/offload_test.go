package main

import (
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
		"inline_protocol, stopped", "999999",
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
