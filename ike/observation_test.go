package ike

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/ike/wire"
)

// S-110: what one end sent the other took, both say the same of it, and nothing secret: each message of a negotiation, a rekey and a delete, with a line
// for each payload.
func TestObservation(t *testing.T) {
	var a, b []string
	keep := func(list *[]string) func(Observation) {
		return func(o Observation) {
			*list = append(*list, fmt.Sprintf("sent %t, %s", o.Sent, strings.Join(o.Lines(), "\n")))
		}
	}
	var keys keyLogs
	l := join(t, func(cfg *Config) { cfg.Observe, cfg.KeyLog = keep(&a), keys.keep }, func(cfg *Config) { cfg.Observe = keep(&b) })
	l.begin()
	l.run()
	l.established("net")
	l.a.step(Rekey{Peer: l.a.engine.peers[0].cfg.Name, Child: "net"})
	l.run()
	l.a.step(Terminate{Peer: l.a.engine.peers[0].cfg.Name})
	l.run()
	other := strings.NewReplacer("sent true", "sent false", "sent false", "sent true")
	for i := range b {
		b[i] = other.Replace(b[i])
	}
	if len(a) < 8 || !slices.Equal(a, b) {
		t.Errorf("one end saw\n%s\n\nthe other\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	text := strings.Join(a, "\n")
	for _, want := range []string{
		"sent true, IKEv2 IKE_SA_INIT request 0 of IKE SA", "\nSA: aes128gcm16-", "\nKE: curve25519, 32 octets", "\nIDi: ", "\nAUTH: pre-shared key, 32 octets",
		"\nTSi: ", "\nN(INITIAL_CONTACT): 0 octets", "IKEv2 INFORMATIONAL request", "\nD(IKE)", "IKEv2 CREATE_CHILD_SA request",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q in\n%s", want, text)
		}
	}
	for _, k := range keys.ike {
		for _, secret := range [][]byte{k.EI.Bytes(), k.ER.Bytes()} {
			if strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Error("a key is shown")
			}
		}
	}
	if strings.Contains(text, string(l.a.engine.peers[0].cfg.PSK.Bytes())) {
		t.Error("the pre-shared key is shown")
	}
}

// What a peer writes cannot make lines of its own.
func TestHostileObservation(t *testing.T) {
	bad := "x\nforged: line\x1b[2J"
	m := &wire.Message{Payloads: []wire.Payload{
		&wire.ID{Type: wire.IDFQDN, Data: []byte(bad)}, &wire.ID{Type: 200, Data: []byte(bad)}, &wire.VendorID{Data: []byte(strings.Repeat(bad, 100))},
		&wire.Unknown{Type: 250, Body: []byte(bad)}, &wire.Notify{Type: 60000, Data: []byte(bad)}, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: make([]uint32, 1000)},
	}}
	lines := linesOf(m)
	if len(lines) != 1+len(m.Payloads) {
		t.Errorf("%d lines, expected %d", len(lines), 1+len(m.Payloads))
	}
	for _, line := range lines {
		if len(line) > 400 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%d octets: %q", len(line), line)
		}
	}
}
