package ikev1

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// opener begins main modes in a's name, each of another ISAKMP SA, and goes on with none.
type opener struct{ n uint64 }

// first gives b a message 1 from a port of a's, and reports whether it is answered.
func (o *opener) first(l *link, port uint16) bool {
	l.t.Helper()
	o.n++
	offer := offerPhase1(spread(ikeProposals(l.t, "aes128-sha256-ecp256"), byKey, isakmp.Lifetime{}))
	before := len(l.wire)
	l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(addrA, port),
		Payload: marshal(l.t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: o.n}, Exchange: isakmp.ExchangeMain}, offer)})
	return len(l.wire) > before
}

// outstanding is a main mode that somebody at a's address and port has begun, as far as its message 5, which waits; nil: b has not gone on with it.
func (l *link) outstanding(seed byte, port uint16, change func(*ike.Config)) []byte {
	l.t.Helper()
	twin := join(l.t, func(c *ike.Config) { c.Random = seeded(seed); change(c) }, nil)
	here, there := netip.AddrPortFrom(addrA, port), netip.AddrPortFrom(addrB, portIKE)
	twin.a.step(ike.Tick{})
	for range 2 {
		l.wire = nil
		l.b.step(ike.Datagram{Local: there, Remote: here, Payload: twin.wire[0].payload})
		if len(l.wire) == 0 {
			return nil
		}
		twin.wire = nil
		twin.a.step(ike.Datagram{Local: netip.AddrPortFrom(addrA, portIKE), Remote: there, Payload: l.wire[0].payload})
	}
	l.wire = nil
	return twin.wire[0].payload
}

func asUsual(*ike.Config) {}

// S-086: at the limit all initial messages are dropped until a negotiation has failed, has timed out or is an ISAKMP SA: for each of the three one place is free,
// and one initial message is answered. Those that are under way have come to message 4: of the others the oldest gives way after a second.
func TestOnePlaceForEachEnd(t *testing.T) {
	ends := map[string]struct {
		change func(*ike.Config)
		end    func(l *link, proof []byte)
	}{
		"success":  {asUsual, (*link).toB},
		"failure":  {func(c *ike.Config) { c.Peers[0].LocalID = fqdn(t, "gate.example") }, (*link).toB},
		"time-out": {asUsual, func(l *link, _ []byte) { l.now = l.now.Add(29 * time.Second); l.b.step(ike.Tick{}) }},
	}
	for name, c := range ends {
		for _, established := range []bool{false, true} {
			l, places, reason, port := join(t, onDemand, nil), 35, ike.RefuseNew, func(i int) uint16 { return uint16(1000 + i) }
			if established {
				l, places, reason, port = up(t, nil, nil), 5, ike.RefuseEstablished, func(int) uint16 { return portIKE }
			}
			proof := l.outstanding(77, portIKE, c.change)
			before := l.b.count(ike.Failed, "") + l.b.count(ike.IKEEstablished, "")
			l.now = l.now.Add(time.Second)
			answered := 0
			for i := range places + 5 {
				if l.outstanding(byte(100+i), port(i), asUsual) != nil {
					answered++
				}
			}
			if answered != places-1 || l.b.count(ike.Refused, reason) != 6 {
				t.Fatalf("%s, established %t: %d answered and %d refused, expected %d and 6", name, established, answered, l.b.count(ike.Refused, reason), places-1)
			}
			c.end(l, proof)
			if over := l.b.count(ike.Failed, "") + l.b.count(ike.IKEEstablished, "") - before; over != 1 {
				t.Errorf("%s, established %t: %d main modes have ended\n%s", name, established, over, l.b.story())
			}
			var open opener
			answered = 0
			for i := range 10 {
				if open.first(l, port(100+i)) {
					answered++
				}
			}
			if answered != 1 || l.b.count(ike.Refused, reason) != 6+9 {
				t.Errorf("%s, established %t: afterwards %d answered of 10, and %d refused in all", name, established, answered, l.b.count(ike.Refused, reason))
			}
		}
	}
}

// S-087, of one peer: it has as many ISAKMP SAs as the limit says, and what it sends by those that are there arrives.
func TestISAKMPSAsOfAPeerAreLimited(t *testing.T) {
	l := up(t, nil, func(c *ike.Config) { c.Limits.IKEPerPeer = 1 })
	most := 0
	l.b.then = func() { most = max(most, len(l.b.engine.peers[0].sas)) }
	l.a.step(ike.Rekey{Peer: "b"})
	l.busy(time.Minute, time.Second)
	l.established()
	if most != 1 || l.lost != 0 || l.b.count(ike.Refused, ike.RefuseIKESAs) == 0 {
		t.Errorf("%d ISAKMP SAs with one peer, %d packets lost\n%s", most, l.lost, l.b.story())
	}
}

// C-18: all ports of an address, one of which has an established ISAKMP SA: 5 of that and 35 of the others, whatever else comes; and the peer goes on.
func TestAllPortsOfAnAddress(t *testing.T) {
	l := up(t, nil, nil)
	var open opener
	answered := 0
	for port := 1; port <= 65535; port++ {
		if open.first(l, uint16(port)) {
			answered++
		}
		l.wire = nil
	}
	for range 100 {
		if open.first(l, portIKE) {
			answered++
		}
	}
	h := &l.b.engine.halfOpen
	pair, others := h.OfPort(netip.AddrPortFrom(addrA, portIKE)), h.OfAddress(addrA)
	if pair != 5 || others != 35 || h.Total() != 40 || answered != 40 {
		t.Errorf("outstanding are %d of the pair, %d of other ports, %d in all, and %d were answered; expected 5, 35, 40 and 40", pair, others, h.Total(), answered)
	}
	l.b.expect(ike.Refused, ike.RefuseNew, 65534-35)
	l.b.expect(ike.Refused, ike.RefuseEstablished, 101-5)
	l.wire = nil
	l.advance(time.Minute)
	l.established()
	l.settled(1, 1)
}
