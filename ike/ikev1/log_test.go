package ikev1

import (
	"slices"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/ike/isakmp"
)

// S-110: main mode and quick mode as strongSwan spoke them, a line for each message and each payload.
func TestLinesOfCapture(t *testing.T) {
	c := readCapture(t, "ikev1-psk-pfs-tunnel")
	k, seen := c.mainModeKeys(t, crypto.PRFHMACSHA256, phase1Cipher{crypto.EncrAESCBC, 32}, c.messages)
	first := linesOf(c.messages[0])
	if want := "IKEv1 main mode of ISAKMP SA "; !strings.HasPrefix(first[0], want) || !slices.Contains(first, "SA: aes256-sha256-modp2048 (pre-shared key)") ||
		!slices.Contains(first, "V(DPD)") || len(first) != 1+len(c.messages[0].Payloads) {
		t.Errorf("message 1 is\n%s", strings.Join(first, "\n"))
	}
	iv := k.phase1IV(seen)
	for _, m := range c.messages[4:6] {
		var chain *isakmp.Chain
		chain, iv = c.open(t, k, iv, m)
		m.Payloads = chain.Payloads
	}
	proof := linesOf(c.messages[4])
	if !slices.Contains(proof, "HASH: 32 octets") || strings.Contains(strings.Join(proof, "\n"), c.PSK) {
		t.Errorf("message 5 is\n%s", strings.Join(proof, "\n"))
	}
	quick := c.messages[6]
	chain, _ := c.open(t, k, k.phase2IV(iv, quick.MessageID), quick)
	quick.Payloads = chain.Payloads
	lines := linesOf(quick)
	for _, want := range []string{"HASH: 32 octets", "SA: aes256-sha256-modp2048 (tunnel), SPI c544c0c3", "KE: 256 octets", "ID: 10.1.0.0-10.1.0.255", "ID: 10.2.0.0-10.2.0.255"} {
		if !slices.Contains(lines, want) {
			t.Errorf("message 1 of quick mode is\n%s\nexpected %q in it", strings.Join(lines, "\n"), want)
		}
	}
}

// What a peer writes cannot make lines of its own.
func TestHostileLines(t *testing.T) {
	bad := []byte("x\nforged: line\x1b[2J")
	m := &isakmp.Message{Payloads: []isakmp.Payload{
		&isakmp.ID{Type: isakmp.IDFQDN, Data: bad}, &isakmp.ID{Type: isakmp.IDIPv4Subnet, Data: bad}, &isakmp.VendorID{Data: slices.Repeat(bad, 100)},
		&isakmp.VendorID{Data: append([]byte("OE-Libreswan-"), bad...)}, &isakmp.Unknown{Type: 200, Body: bad}, isakmp.DeleteSAs(isakmp.ProtocolESP, make([]uint32, 1000)...),
		&isakmp.SA{Proposals: []isakmp.Proposal{{Protocol: isakmp.ProtocolIPCOMP, SPI: []byte{0, 1}, Transforms: []isakmp.Transform{{ID: 1}}}}},
	}}
	for _, id := range []uint32{0, 7} {
		m.MessageID = id
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
}
