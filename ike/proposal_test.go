package ike

import (
	"testing"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

func TestChoose(t *testing.T) {
	esn := wire.Transform{Type: wire.TransformESN}
	gcm := wire.Transform{Type: wire.TransformEncr, ID: 20, KeyBits: 128}
	integ := func(id uint16) wire.Transform { return wire.Transform{Type: wire.TransformInteg, ID: id} }
	dh := func(id uint16) wire.Transform { return wire.Transform{Type: wire.TransformDH, ID: id} }
	strange := gcm
	strange.Attributes = []wire.Attribute{{Type: 99, Short: true, Value: []byte{0, 1}}}
	offered := func(list ...wire.Transform) []wire.Proposal {
		return []wire.Proposal{{Number: 1, Protocol: wire.ProtocolESP, SPI: spi4(1), Transforms: list}}
	}
	for name, c := range map[string]struct {
		ours    string
		offered []wire.Proposal
		group   crypto.DHID
		chosen  string // empty: none
	}{
		"plain":                      {"aes128gcm16", offered(gcm, esn), 0, "aes128gcm16"},
		"NONE for integrity":         {"aes128gcm16", offered(gcm, integ(0), esn), 0, "aes128gcm16"},
		"integrity with AEAD":        {"aes128gcm16", offered(gcm, integ(12), esn), 0, ""},
		"other key length":           {"aes256gcm16", offered(gcm, esn), 0, ""},
		"no sequence number form":    {"aes128gcm16", offered(gcm), 0, ""},
		"unknown attribute":          {"aes128gcm16", offered(strange, esn), 0, ""},
		"unknown attribute, another": {"aes128gcm16", offered(strange, gcm, esn), 0, "aes128gcm16"},
		"unknown transform type":     {"aes128gcm16", offered(gcm, esn, wire.Transform{Type: 9, ID: 1}), 0, ""},
		"group missing":              {"aes128gcm16-ecp256", offered(gcm, esn), 0, ""},
		"group not wanted":           {"aes128gcm16", offered(gcm, dh(19), esn), 19, ""},
		"group or NONE":              {"aes128gcm16", offered(gcm, dh(19), dh(0), esn), 19, "aes128gcm16"},
		"group of the KE payload":    {"aes128gcm16-ecp256-curve25519", offered(gcm, dh(19), dh(31), esn), 31, "aes128gcm16-curve25519"},
		"our order of groups":        {"aes128gcm16-ecp256-curve25519", offered(gcm, dh(31), dh(19), esn), 14, "aes128gcm16-ecp256"},
		"another protocol":           {"aes128gcm16", []wire.Proposal{{Number: 1, Protocol: wire.ProtocolAH, SPI: spi4(1), Transforms: []wire.Transform{gcm, esn}}}, 0, ""},
	} {
		got, _, ok := choose(espProposals(t, c.ours), c.offered, c.group)
		if ok != (c.chosen != "") || ok && got.String() != c.chosen {
			t.Errorf("%s: %t %v, expected %q", name, ok, got, c.chosen)
		}
	}
}

// What a responder accepts, the initiator that offered it confirms.
func TestAcceptConfirms(t *testing.T) {
	ours, theirs := crypto.DefaultIKEProposals(), crypto.DefaultIKEProposals()
	for i := range theirs {
		for _, g := range groups(ours) {
			o := offer(ours, nil)
			c, proposal, ok := choose(theirs[i:i+1], o.Proposals, g)
			if !ok {
				t.Fatalf("nothing chosen from %s", describe(o.Proposals))
			}
			confirmed, err := confirm(ours, c.accept(proposal, nil), g)
			if err != nil || confirmed != c {
				t.Errorf("chose %v, confirmed %v, %v", c, confirmed, err)
			}
		}
	}
}
