package ikev1

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// What hostile ends send, line by line, what it leaves, and what it is counted as.

// again gives b a datagram so many times, from ports that the test names, and returns how often it was answered.
func (l *link) again(times int, port func(i int) uint16, payload []byte) int {
	l.t.Helper()
	before := l.b.sends
	for i := range times {
		l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(addrA, port(i)), Payload: slices.Clone(payload)})
		l.wire = nil
	}
	return l.b.sends - before
}

func fixed(port uint16) func(int) uint16 { return func(int) uint16 { return port } }
func hopping(i int) uint16               { return uint16(1024 + i) }

// Message 5 that means nothing behind four sound messages, each of which costs a Diffie-Hellman computation: of those there are as many as one address may have
// outstanding.
func TestGarbageAfterKeys(t *testing.T) {
	l := join(t, onDemand, nil)
	most, proof := l.b.engine.limits.HalfOpenPerAddress, []byte(nil)
	for i := range most + 15 {
		if p := l.outstanding(byte(i+1), uint16(2000+i), asUsual); p != nil {
			proof = p
		}
	}
	l.b.expect(ike.NegotiationStarted, "", most)
	l.b.expect(ike.Refused, ike.RefuseNew, 15)
	garbage := 0
	for _, sa := range l.b.engine.sas {
		h, err := isakmp.ParseHeader(proof)
		if err != nil {
			t.Fatal(err)
		}
		h.Cookies = sa.cookies
		b, err := (&isakmp.Message{Header: h, Ciphertext: make([]byte, 64)}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if n := l.again(10, fixed(portNATT), b); n != 0 {
			t.Fatalf("%d answers to garbage", n)
		}
		garbage += 10
	}
	l.b.expect(ike.Dropped, ike.DropIntegrity, garbage)
	l.now = l.now.Add(31 * time.Second)
	l.b.step(ike.Tick{})
	l.settledAt(l.b, 0, 0)
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.established()
}

// Message 1 that is replayed: while it is half-open the answer comes again as often as a peer needs it; once it is past that it is an old datagram; and afterwards
// it takes one place, however often it comes.
func TestReplayedFirstMessage(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	first := l.wire[0].payload
	l.deliver(0)
	response := l.wire[0]
	limits := l.b.engine.limits
	patient := limits.Retransmit.Tries
	if n := l.again(5000, fixed(portIKE), first); n != patient+limits.UnprotectedReplies {
		t.Errorf("%d answers to 5000 copies, expected %d", n, patient+limits.UnprotectedReplies)
	}
	l.b.expect(ike.Refused, ike.RefuseRate, 5000-patient-limits.UnprotectedReplies)
	l.now = l.now.Add(time.Second)
	if n := l.again(5000, hopping, first); n != limits.UnprotectedReplies {
		t.Errorf("%d answers to 5000 copies from as many ports, expected %d", n, limits.UnprotectedReplies)
	}
	if n := l.b.count(ike.NegotiationStarted, ""); n != 1 || l.b.engine.halfOpen.Total() != 1 {
		t.Errorf("%d negotiations, %d half-open", n, l.b.engine.halfOpen.Total())
	}
	l.arrive(response)
	l.run()
	l.established()
	dropped := l.b.count(ike.Dropped, "")
	if n := l.again(5000, hopping, first); n != 0 || l.b.count(ike.Dropped, "")-dropped != 5000 {
		t.Errorf("%d answers to copies of what is past, %d were dropped", n, l.b.count(ike.Dropped, "")-dropped)
	}
	l.established()

	l.a.step(ike.Terminate{Peer: "b"})
	l.run()
	l.now = l.now.Add(time.Minute)
	if n := l.again(5000, fixed(portIKE), first); n > 1+patient+limits.UnprotectedReplies || l.b.count(ike.NegotiationStarted, "") != 2 {
		t.Errorf("%d answers to copies of what is gone, %d negotiations", n, l.b.count(ike.NegotiationStarted, ""))
	}
}

// Whoever writes message 1 in another's name has no more octets sent there than it has sent, whatever vendor IDs it names.
func TestMessage2IsNoLongerThanMessage1(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	m, err := isakmp.Parse(l.wire[0].payload)
	if err != nil {
		t.Fatal(err)
	}
	var ids []isakmp.Payload
	m.Payloads = slices.DeleteFunc(m.Payloads, func(p isakmp.Payload) bool {
		_, is := p.(*isakmp.VendorID)
		if is {
			ids = append(ids, p)
		}
		return is
	})
	for i := range len(ids) + 1 {
		b := marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: uint64(i + 1)}, Exchange: isakmp.ExchangeMain}, append(slices.Clone(m.Payloads), ids[:i]...)...)
		l.wire = nil
		l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(addrA, portIKE), Payload: b})
		if len(l.wire) != 1 || len(l.wire[0].payload) > len(b) {
			t.Errorf("with %d vendor IDs: %d octets are answered by %d messages, the first of %d octets", i, len(b), len(l.wire), len(l.wire[0].payload))
		}
	}
}

// Message 1 of a quick mode that is repeated without end: message 2 comes as often as a peer in need asks, and then at the rate of other answers; to ports that
// change at that rate alone.
func TestRetransmissionStorm(t *testing.T) {
	l := up(t, nil, nil)
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	request := l.wire[0]
	l.deliver(0)
	l.wire = nil
	limits := l.b.engine.limits
	if n := l.again(10000, hopping, request.payload); n != limits.UnprotectedReplies {
		t.Errorf("%d answers to ports that change, expected %d", n, limits.UnprotectedReplies)
	}
	l.now = l.now.Add(time.Second)
	want := mostRepeats                                                    // those that are left of them, and as many more as the others were
	if n := l.again(10000, fixed(portIKE), request.payload); n != want+1 { // one by its own clock
		t.Errorf("%d answers, expected %d", n, want+1)
	}
	l.b.expect(ike.Refused, ike.RefuseRate, 20000-limits.UnprotectedReplies-want)
	l.advance(time.Minute)
	l.established()
	l.settled(1, 1)
}

// Deletes for every SPI that there may be, by somebody who writes in the peer's name, and by a peer about SAs that are not its own.
func TestDeletesOfEverySPI(t *testing.T) {
	const each, blocks = 2048, 32
	l := up(t, nil, nil)
	third := l.thirdParty()
	own := l.b.outbound[l.b.cells["net"]].SPI
	forged := 0
	for block := range uint32(blocks) {
		var spis []uint32
		for i := range uint32(each) {
			if spi := third.SPI&^0xffff + block*each + i; spi != own {
				spis = append(spis, spi)
			}
		}
		sa := l.a.engine.peers[0].carrier()
		for _, d := range []*isakmp.Delete{isakmp.DeleteSAs(isakmp.ProtocolESP, spis...), isakmp.DeleteISAKMP(sa.cookies)} {
			forged++
			if n := l.again(1, fixed(portIKE), marshal(t, isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeInformational}, d)); n != 0 {
				t.Fatalf("%d answers to a delete in clear", n)
			}
		}
		id := 0x4000 + block
		l.toB(l.a.sealed(t, isakmp.ExchangeInformational, id, rightHash(id), isakmp.DeleteSAs(isakmp.ProtocolESP, spis...)))
	}
	l.b.expect(ike.Dropped, ike.DropCleartext, forged)
	l.b.expect(ike.ChildDeleted, "", 0)
	if len(l.b.cells) != 2 || l.b.inbound[third.PairSPI].SPI == 0 {
		t.Errorf("b sends by %d SAs after deletes that are none of its peers'", len(l.b.cells))
	}
	l.b.expect(ike.Refused, ike.RefuseRequests, 0)
	tell := func(i int, spis ...uint32) {
		id := 0x10000 + uint32(i)
		l.toB(l.a.sealed(t, isakmp.ExchangeInformational, id, rightHash(id), isakmp.DeleteSAs(isakmp.ProtocolESP, spis...)))
		l.wire = nil
	}
	const beyond = 50
	for i := range requestBurst - blocks + beyond {
		tell(i, third.SPI, third.SPI+1)
	}
	l.b.expect(ike.Refused, ike.RefuseRequests, beyond)
	tell(requestBurst+beyond, own, third.SPI) // with what it does not have: lost
	l.b.expect(ike.ChildDeleted, "", 0)
	tell(requestBurst+beyond+1, own, own) // its own alone, which nobody would tell again
	l.b.expect(ike.ChildDeleted, "", 1)
	l.b.expect(ike.Refused, ike.RefuseRequests, beyond+1)
}

// thirdParty brings up a tunnel of b's with somebody at 192.0.2.3, and gives what b sends by.
func (l *link) thirdParty() ike.ChildSA {
	l.t.Helper()
	with := sideB(l.t).Peers
	other := with[0]
	other.Name, other.Remote, other.RemoteID = "c", netip.MustParseAddr("192.0.2.3"), ike.Identity{}
	other.Children = []ike.Child{{Name: "c", Selectors: []policy.Selector{selector(l.t, "10.2.0.0/24", "10.3.0.0/24")}, Start: ike.StartOnDemand, IdleTimeout: -1}}
	l.b.step(ike.Reconfigure{Peers: append(with, other)})
	twin := join(l.t, func(c *ike.Config) {
		c.Random, c.Peers[0].Local = seeded(7), netip.MustParseAddr("192.0.2.3")
		c.Peers[0].Children[0].Selectors = []policy.Selector{selector(l.t, "10.3.0.0/24", "10.2.0.0/24")}
	}, nil)
	twin.a.nextSPI += 0x4000
	for twin.a.step(ike.Tick{}); len(twin.wire) > 0; {
		sent := twin.wire
		twin.wire = nil
		for _, p := range sent {
			l.b.step(ike.Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
		}
		for _, p := range l.wire {
			twin.a.step(ike.Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
		}
		l.wire = nil
	}
	return l.b.outbound[l.b.cells["c"]]
}

// A NAT that gives the peer another port for each datagram: the tunnel comes up and goes on, and its keys are renewed.
func TestPortHoppingNAT(t *testing.T) {
	l := join(t, nil, beforeA)
	hop := uint16(0)
	l.twist = func(from *end, payload []byte) []byte {
		if from == l.a {
			hop++
		}
		return payload
	}
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, from.Port()+20000+hop*7) }
	l.begin()
	l.run()
	for i := range 200 {
		event := ike.Rekey{Peer: "b"}
		if i%2 == 0 {
			event.Child = "net"
		}
		l.a.step(event)
		l.run()
		l.advance(6 * time.Second)
	}
	if e := l.b.engine; len(e.sas) > 2+maxReplaced || e.halfOpen.Entries() != 0 || len(l.b.cells) != 1 || l.b.count(ike.ChildRekeyed, "") < 50 {
		t.Errorf("%d ISAKMP SAs, %d half-open, %d cells, %d rekeys\n%s", len(e.sas), e.halfOpen.Entries(), len(l.b.cells), l.b.count(ike.ChildRekeyed, ""), l.b.story())
	}
	if moved, sent := l.b.count(ike.AddressChanged, ""), int(hop); moved > sent {
		t.Errorf("%d changes of address for %d datagrams", moved, sent)
	}
	l.established()

	// And its packets, each of them from another: all are followed, and a few are told.
	spi, told, counted := l.b.outbound[l.b.cells["net"]].PairSPI, l.b.count(ike.AddressChanged, ""), l.b.count(ike.Refused, ike.RefuseMoves)
	for i := range 10000 {
		l.b.step(ike.Moved{SPI: spi, Remote: netip.AddrPortFrom(outside, hopping(i))})
	}
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote != netip.AddrPortFrom(outside, hopping(9999)) {
		t.Errorf("b sends to %v, expected the last port", out.Remote)
	}
	told = l.b.count(ike.AddressChanged, "") - told
	if most := ike.Moves(); told > most.Burst || l.b.count(ike.Refused, ike.RefuseMoves)-counted != 10000-told {
		t.Errorf("%d moves within a moment are told and %d counted", told, l.b.count(ike.Refused, ike.RefuseMoves)-counted)
	}
}
