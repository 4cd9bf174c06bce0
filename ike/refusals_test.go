package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// A peer that makes one Child SA with its IKE SA and none after that (NO_ADDITIONAL_SAS, RFC 7296 1.3 and 4) cannot rekey. After two refusals another IKE
// SA takes the place of the present one, with a Child SA from IKE_AUTH, and no packet is lost; the same when the peer has ended the Child SA.
func TestNoAdditionalSAs(t *testing.T) {
	minimal := func(c *Config) { c.Limits.ChildrenPerIKE = 1; onDemand(c) }
	for name, happens := range map[string]func(l *link){
		"rekey":   func(l *link) { l.a.rekey(rekeyChild) },
		"by time": func(l *link) { l.pass(2*time.Hour, true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, minimal)
			before := l.a.cells["net"]
			happens(l)
			l.pass(5*time.Minute, true)
			l.established("net")
			if l.a.cells["net"] == before || l.lost != 0 || l.taken == 0 {
				t.Errorf("a sends by %#x, before %#x; %d packets lost\n%s", l.a.cells["net"], before, l.lost, l.a.story())
			}
			if n, m := l.a.count(Failed, FailNoAdditionalSAs), l.a.count(IKEReplaced, DeletedReauth); n < startOverAfter || m == 0 || n > 3*m+startOverAfter {
				t.Errorf("%d refusals, %d IKE SAs were replaced\n%s", n, m, l.a.story())
			}
			l.b.expect(Refused, RefuseIKEChildren, l.a.count(Failed, FailNoAdditionalSAs))
		})
	}
}

// A peer with as many IKE SAs as it wants refuses the rekey of one. The old one goes on meanwhile, and is tried again.
// S-087, of one peer
func TestNoAdditionalIKESAs(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Limits.IKEPerPeer = 1 })
	most := 0
	l.twist = func(_ *end, payload []byte) []byte {
		most = max(most, len(l.b.engine.byName["a"].sas))
		return payload
	}
	l.a.rekey(rekeyIKE)
	l.pass(time.Minute, true)
	l.established("net")
	if most != 1 || l.lost != 0 || l.a.count(Failed, FailNoAdditionalSAs) == 0 || l.b.count(Refused, RefuseIKESAs) == 0 {
		t.Errorf("%d IKE SAs with one peer, %d packets lost\n%s", most, l.lost, l.a.story())
	}
}

// What we refuse with NO_ADDITIONAL_SAS: a second Child SA of a rule for other traffic, beside the one that is up. Both that and the IKE SA go on, and
// CHILD_SA_NOT_FOUND is our answer to the rekey of a Child SA that is not there, by the number and protocol that the peer gave (RFC 7296 2.25).
func TestRefusedBesideWhatIsUp(t *testing.T) {
	l := up(t, nil, onDemand)
	l.now = l.now.Add(time.Minute)
	child := func(remote string, more ...wire.Payload) []wire.Payload {
		tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", remote)})
		return append(more, offer(espProposals(t, "aes128gcm16"), spi4(0xa0001000)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
	}
	up := l.a.cells["net"]
	answer := l.ask(wire.ExchangeCreateChildSA, child("10.2.0.0/25")...)
	if wire.FindNotify(answer, wire.NotifyNoAdditionalSAs) == nil || wire.Find[*wire.SA](answer) != nil {
		t.Errorf("answer %v to a second Child SA, expected NO_ADDITIONAL_SAS alone", answer)
	}
	l.b.expect(Refused, RefuseChildSelectors, 1)
	for _, protocol := range []wire.ProtocolID{wire.ProtocolESP, wire.ProtocolAH} {
		spi := uint32(0xa0abcdef)
		if protocol == wire.ProtocolAH {
			spi = l.b.outbound[l.b.cells["net"]].SPI // there is one of ESP by that number
		}
		answer := l.ask(wire.ExchangeCreateChildSA, child("10.2.0.0/24", wire.RekeySA(protocol, spi))...)
		n := wire.FindNotify(answer, wire.NotifyChildSANotFound)
		if n == nil || len(answer) != 1 {
			t.Fatalf("answer %v to the rekey of nothing, expected CHILD_SA_NOT_FOUND alone", answer)
		}
		if gotProtocol, got, err := n.ChildSPI(); err != nil || gotProtocol != protocol || got != spi {
			t.Errorf("CHILD_SA_NOT_FOUND for %v %#x, %v, expected %v %#x", gotProtocol, got, err, protocol, spi)
		}
	}
	l.established("net")
	l.pass(time.Minute, true)
	if l.a.cells["net"] != up || l.lost != 0 {
		t.Errorf("a sends by %#x, before %#x; %d packets lost", l.a.cells["net"], up, l.lost)
	}
}
