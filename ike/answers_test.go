package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// substitute delivers a's request to b and gives a, instead of the answer, one with the payloads given, authentic by b's keys.
func (l *link) substitute(payloads ...wire.Payload) {
	l.t.Helper()
	h := l.header(0)
	l.deliver(0)
	l.wire = nil
	sa := l.b.engine.lookup(h)
	if sa == nil {
		sa = l.b.engine.byName["a"].sas[0]
	}
	m := &message{sa: sa, Message: wire.Message{Header: sa.header(h.Exchange, h.MessageID, true), Payloads: payloads}}
	sealed, err := sa.seal(m)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(l.b, sa.local, sa.remote, packet{payload: sealed.datagrams[0]})
	l.run()
}

// Answers to a rekey of a Child SA that a peer has no right to give. The old Child SA stays in use; the peer is told to remove what it made.
func TestUnusableChildAnswers(t *testing.T) {
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	good := func() *wire.SA {
		sa := offer(espProposals(t, "aes128gcm16"), spi4(0xb00000ff))
		return sa
	}
	tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")})
	foreign, _ := trafficSelectors(true, []policy.Selector{selector("10.99.0.0/24", "10.2.0.0/24")})
	twice := good()
	twice.Proposals[0].Transforms = append(twice.Proposals[0].Transforms, wire.Transform{Type: wire.TransformESN, ID: 1})
	ninth := good()
	ninth.Proposals[0].Number = 9
	for name, c := range map[string]struct {
		reason   Reason
		payloads []wire.Payload
	}{
		"suite we did not offer":  {FailProposal, []wire.Payload{offer(espProposals(t, "aes192gcm16"), spi4(9)), nonce, tsi, tsr}},
		"two of one type":         {FailProposal, []wire.Payload{twice, nonce, tsi, tsr}},
		"proposal nine":           {FailProposal, []wire.Payload{ninth, nonce, tsi, tsr}},
		"other traffic":           {FailSelectors, []wire.Payload{good(), nonce, foreign, tsr}},
		"transport mode":          {FailMode, []wire.Payload{good(), nonce, tsi, tsr, wire.NewNotify(wire.NotifyUseTransportMode, nil)}},
		"KE that was not offered": {FailKE, []wire.Payload{good(), nonce, &wire.KE{Group: 31, Data: make([]byte, 32)}, tsi, tsr}},
		"an IKE SA": {FailProposal, []wire.Payload{offer(ikeProposals(t, "aes128gcm16-prfsha256-curve25519"), spi8(7)), nonce,
			&wire.KE{Group: 31, Data: make([]byte, 32)}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			before := l.a.cells["net"]
			l.a.rekey(rekeyChild)
			l.substitute(c.payloads...)
			l.a.expect(Failed, c.reason, 1)
			if l.a.cells["net"] != before || len(l.a.allocated) != 1 {
				t.Errorf("a sends by %#x, expected the old %#x; %d SPIs reserved", l.a.cells["net"], before, len(l.a.allocated))
			}
			l.advance(5 * time.Minute)
			l.established("net")
		})
	}
}

// Answers to a rekey of the IKE SA that cannot be used end it on both sides, for the peer takes the new one for real.
func TestUnusableIKEAnswers(t *testing.T) {
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	good := offer(ikeProposals(t, "aes128gcm16-prfsha256-curve25519"), spi8(7))
	tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")})
	for name, payloads := range map[string][]wire.Payload{
		"other suite":         {offer(ikeProposals(t, "aes256gcm16-prfsha256-curve25519"), spi8(7)), nonce, &wire.KE{Group: 31, Data: make([]byte, 32)}},
		"null public value":   {good, nonce, &wire.KE{Group: 31, Data: make([]byte, 32)}},
		"short public value":  {good, nonce, &wire.KE{Group: 31, Data: make([]byte, 31)}},
		"other group":         {good, nonce, &wire.KE{Group: 19, Data: make([]byte, 64)}},
		"a Child SA":          {offer(espProposals(t, "aes128gcm16"), spi4(9)), nonce, tsi, tsr},
		"nothing we know":     {},
		"error without sense": {wire.NewNotify(wire.NotifyInvalidKEPayload, []byte{1})},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.a.rekey(rekeyIKE)
			l.substitute(payloads...)
			l.advance(5 * time.Minute)
			l.established("net")
			if l.a.count(Failed, "") == 0 {
				t.Error("no fact about it")
			}
		})
	}
}

// The same to IKE_AUTH.
func TestUnusableAuthAnswers(t *testing.T) {
	id := idPayload(AddressIdentity(addrB), false)
	for name, c := range map[string]struct {
		reason   Reason
		payloads []wire.Payload
	}{
		"AUTH of another method": {AuthOtherMethod, []wire.Payload{id, &wire.Auth{Method: wire.AuthRSASignature, Data: []byte("x")}, wire.NewNotify(wire.NotifyTSUnacceptable, nil)}},
		"empty proof":            {AuthKey, []wire.Payload{id, &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: make([]byte, 32)}, wire.NewNotify(wire.NotifyTSUnacceptable, nil)}},
		"no proof":               {FailAuthentication, []wire.Payload{wire.NewNotify(wire.NotifyAuthenticationFailed, nil)}},
		"other identity":         {AuthIdentity, []wire.Payload{idPayload(AddressIdentity(addrA), false), &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: make([]byte, 32)}, wire.NewNotify(wire.NotifyTSUnacceptable, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, nil, nil)
			l.begin()
			l.deliver(0)
			l.deliver(0)
			l.substitute(c.payloads...)
			l.a.expect(IKEEstablished, "", 0)
			l.a.expect(Failed, c.reason, 1)
			if len(l.a.allocated) != 0 {
				t.Error("SPI kept")
			}
			l.advance(3 * time.Minute)
			l.established("net")
		})
	}
}

// A peer that names a new SA by an SPI that no message can carry, or by one that names another SA already, is refused on both sides.
func TestUnusableSPIs(t *testing.T) {
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")})
	init, err := wire.Parse(initFrom(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	ke := wire.Find[*wire.KE](init.Payloads)
	child := func(spi func(*childSA) uint32) func(*childSA) []wire.Payload {
		return func(c *childSA) []wire.Payload {
			return []wire.Payload{offer(espProposals(t, "aes128gcm16"), spi4(spi(c))), nonce, tsi, tsr}
		}
	}
	for name, c := range map[string]struct {
		what     Rekey
		payloads func(*childSA) []wire.Payload
	}{
		"zero":     {rekeyChild, child(func(*childSA) uint32 { return 0 })},
		"reserved": {rekeyChild, child(func(*childSA) uint32 { return 255 })},
		"in use":   {rekeyChild, child(func(c *childSA) uint32 { return c.spiOut })},
		"IKE zero": {rekeyIKE, func(*childSA) []wire.Payload {
			return []wire.Payload{offer(ikeProposals(t, "aes128gcm16-prfsha256-curve25519"), spi8(0)), nonce, ke}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.a.rekey(c.what)
			l.substitute(c.payloads(l.a.engine.byName["b"].slots[0].children[0])...)
			l.a.expect(Failed, FailSyntax, 1)
			l.advance(5 * time.Minute)
			l.established("net")

			l = up(t, nil, nil)
			old := l.b.engine.byName["a"].slots[0].children[0]
			payloads := c.payloads(old)
			if c.what == rekeyChild {
				payloads = append(payloads, wire.RekeySA(wire.ProtocolESP, old.spiOut))
			}
			if answer := l.ask(wire.ExchangeCreateChildSA, payloads...); len(answer) != 0 {
				t.Errorf("b answered %v, expected INVALID_SYNTAX", answer)
			}
			l.b.expect(Failed, FailSyntax, 1)
			l.advance(5 * time.Minute)
			l.established("net")
		})
	}
}
