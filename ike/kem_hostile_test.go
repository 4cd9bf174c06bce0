package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// withKE has every KE payload of an exchange that one end sends changed, for as long as it is asked to.
func (l *link) withKE(from *end, kind wire.ExchangeType, change func(ke []byte) []byte) {
	l.twist = func(sender *end, payload []byte) []byte {
		h, err := wire.ParseHeader(payload)
		if sender != from || err != nil || h.Exchange != kind {
			return payload
		}
		if kind == wire.ExchangeIKESAInit {
			m, err := wire.Parse(payload)
			if err != nil {
				l.t.Fatal(err)
			}
			ke := wire.Find[*wire.KE](m.Payloads)
			ke.Data = change(ke.Data)
			b, err := m.Marshal()
			if err != nil {
				l.t.Fatal(err)
			}
			return b
		}
		return from.rewrite(payload, func(_ wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			chain := chainOf(first, plain)
			for i, p := range chain {
				if p.kind == wire.PayloadKE {
					chain[i].body = slices.Concat(p.body[:4], change(p.body[4:]))
				}
			}
			return written(chain)
		})
	}
}

// A ciphertext of another length is none: no Child SA comes of it, and the IKE SA ends at both ends, with a delete (draft-ietf-ipsecme-ikev2-mlkem 2.2). A forged one
// of the right length gives the two ends different keys (FIPS 203 6.3).
func TestShortCiphertext(t *testing.T) {
	short := func(ke []byte) []byte { return ke[1:] }
	for name, c := range map[string]struct {
		proposal string
		kind     wire.ExchangeType
	}{
		"CREATE_CHILD_SA": {"aes128gcm16-mlkem512", wire.ExchangeCreateChildSA},
		"IKE_FOLLOWUP_KE": {"aes128gcm16-ecp256-ke1_mlkem512", wire.ExchangeFollowupKE},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(cfg *Config) { cfg.Peers[0].Children[0].Proposals = espProposals(t, c.proposal) }
			l := up(t, change, change)
			l.withKE(l.b, c.kind, short)
			l.a.rekey(rekeyChild)
			l.run()
			l.a.expect(Failed, FailKE, 1)
			l.a.expect(IKEDeleted, "", 1)
			l.b.expect(IKEDeleted, "", 1)
			l.twist = nil
			l.advance(time.Minute)
			l.established("net")
		})
	}
	l := join(t, offering(t, "aes128gcm16-prfsha256-curve25519-ke1_mlkem512"), offering(t, "aes128gcm16-prfsha256-curve25519-ke1_mlkem512"))
	l.withKE(l.b, wire.ExchangeIntermediate, short)
	l.begin()
	l.run()
	l.a.expect(Failed, FailKE, 1)
	l.b.expect(IKEEstablished, "", 0)

	l = join(t, offering(t, "aes128gcm16-prfsha256-curve25519-ke1_mlkem512"), offering(t, "aes128gcm16-prfsha256-curve25519-ke1_mlkem512"))
	l.withKE(l.b, wire.ExchangeIntermediate, func(ke []byte) []byte { ke[0] ^= 1; return ke })
	l.begin()
	l.run()
	l.b.expect(Dropped, DropIntegrity, 1) // IKE_AUTH, by keys that it does not have
	l.b.expect(IKEEstablished, "", 0)
}

// An encapsulation key with coefficients that are not below the modulus gets INVALID_SYNTAX wherever it comes (draft-ietf-ipsecme-ikev2-mlkem 2.2): in IKE_SA_INIT,
// where anybody may have sent it, at a limited rate.
func TestBadEncapsulationKey(t *testing.T) {
	bad := func(ke []byte) []byte { return append([]byte{0xff, 0xff}, ke[2:]...) }
	offering := func(proposal string) func(*Config) { return offering(t, proposal) }
	for name, c := range map[string]struct {
		change func(*Config)
		kind   wire.ExchangeType
		rekey  bool
	}{
		"IKE_INTERMEDIATE": {offering("aes128gcm16-prfsha256-curve25519-ke1_mlkem512"), wire.ExchangeIntermediate, false},
		"CREATE_CHILD_SA":  {func(c *Config) { c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16-mlkem512") }, wire.ExchangeCreateChildSA, true},
		"IKE_FOLLOWUP_KE": {func(c *Config) {
			c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16-ecp256-ke1_mlkem512")
		}, wire.ExchangeFollowupKE, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, c.change, c.change)
			if c.rekey {
				l = up(t, c.change, c.change)
			}
			l.withKE(l.a, c.kind, bad)
			if l.a.rekey(rekeyChild); !c.rekey {
				l.begin()
			}
			l.run()
			l.b.expect(Failed, FailKE, 1)
			l.a.expect(Failed, FailSyntax, 1)
			if len(l.b.engine.sas) != 0 {
				t.Errorf("%d IKE SAs are left", len(l.b.engine.sas))
			}
		})
	}

	l := join(t, offering("aes128gcm16-prfsha256-mlkem512"), offering("aes128gcm16-prfsha256-mlkem512"))
	l.withKE(l.a, wire.ExchangeIKESAInit, bad)
	l.begin()
	answered := 0
	for range 100 {
		if notified(t, answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: l.wire[0].payload})), wire.NotifyInvalidSyntax) {
			answered++
		}
	}
	if answered != l.b.engine.limits.UnprotectedReplies || len(l.b.engine.sas) != 0 {
		t.Errorf("%d times INVALID_SYNTAX within a moment, expected 10; %d IKE SAs", answered, len(l.b.engine.sas))
	}
}
