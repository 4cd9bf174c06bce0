package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// What hostile ends send, line by line, what it leaves, and what it is counted as.

// again gives b a datagram so many times, from ports that the test names, and returns how often it was answered.
func (l *link) again(times int, port func(i int) uint16, payload []byte) (answered int) {
	for i := range times {
		answered += len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, port(i)), Payload: slices.Clone(payload)})))
		l.wire = nil
	}
	return answered
}

func fixed(port uint16) func(int) uint16 { return func(int) uint16 { return port } }
func hopping(i int) uint16               { return uint16(1024 + i) }

// IKE_AUTH that means nothing behind IKE_SA_INIT requests that are sound, by somebody who returns cookies: each of them costs a Diffie-Hellman computation, and
// of those there are as many as one address may have outstanding.
func TestGarbageAfterGoodInit(t *testing.T) {
	l := join(t, nil, nil)
	open := opener{octets: initFrom(t, 9)}
	for range 1000 {
		l.proven(open.next())
	}
	most := l.b.engine.limits.HalfOpenPerAddress
	l.b.expect(NegotiationStarted, "", most)
	l.b.expect(Refused, RefuseNew, 1000-most)
	garbage := 0
	for _, sa := range l.b.engine.sas {
		b, err := (&wire.Message{Header: wire.Header{InitiatorSPI: sa.remoteSPI, ResponderSPI: sa.localSPI, Exchange: wire.ExchangeIKEAuth, Flags: wire.FlagInitiator, MessageID: 1}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b[16], b[27] = byte(wire.PayloadEncrypted), 28+104 // an SK payload whose ICV cannot be right
		b = append(append(b, byte(wire.PayloadIDi), 0, 0, 104), make([]byte, 100)...)
		if n := l.again(10, fixed(500), b); n != 0 {
			t.Fatalf("%d answers to garbage", n)
		}
		garbage += 10
	}
	l.b.expect(Dropped, DropIntegrity, garbage)
	l.now = l.now.Add(31 * time.Second)
	l.b.step(Tick{})
	l.b.expect(Failed, FailTimeout, most)
	if e := l.b.engine; len(e.sas)+len(e.inits)+e.halfOpen.Entries() != 0 {
		t.Errorf("%d IKE SAs are left", len(e.sas))
	}
	l.begin()
	l.advance(10 * time.Second)
	l.established("net")
}

// A first message that is replayed: while it is half-open the answer comes again as often as a peer needs it, from elsewhere a few times a second; once it is past
// that it is an old datagram; and afterwards it takes one place, however often it comes.
func TestReplayedFirstMessage(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	first := l.wire[0]
	l.deliver(0)
	response := l.wire[0]
	limits := l.b.engine.limits
	patient := limits.Retransmit.Tries
	if n := l.again(5000, fixed(500), first.payload); n != patient+limits.UnprotectedReplies {
		t.Errorf("%d answers to 5000 copies, expected %d", n, patient+limits.UnprotectedReplies)
	}
	l.b.expect(Refused, RefuseRate, 5000-patient-limits.UnprotectedReplies)
	l.now = l.now.Add(time.Second)
	if n := l.again(5000, hopping, first.payload); n != limits.UnprotectedReplies {
		t.Errorf("%d answers to 5000 copies from as many ports, expected %d", n, limits.UnprotectedReplies)
	}
	if n := l.b.count(NegotiationStarted, ""); n != 1 || l.b.engine.halfOpen.Total() != 1 {
		t.Errorf("%d negotiations, %d half-open", n, l.b.engine.halfOpen.Total())
	}
	l.arrive(response)
	l.run()
	l.established("net")
	if n := l.again(5000, hopping, first.payload); n != 0 {
		t.Errorf("%d answers to copies of what is past", n)
	}
	l.b.expect(Dropped, DropNoState, 5000)
	l.established("net")

	l.a.step(Terminate{Peer: "b"})
	l.run()
	l.now = l.now.Add(time.Minute)
	if n := l.again(5000, fixed(500), first.payload); n > 1+patient+limits.UnprotectedReplies || l.b.count(NegotiationStarted, "") != 2 {
		t.Errorf("%d answers to copies of what is gone, %d negotiations", n, l.b.count(NegotiationStarted, ""))
	}
}

// A request of an established peer that is repeated without end: its answer comes as often as a peer in need asks, and then at the rate of other answers; from a
// NAT that never keeps a port at that rate alone.
func TestRetransmissionStorm(t *testing.T) {
	l := up(t, neverAsk, neverAsk)
	l.a.rekey(rekeyChild)
	request := l.wire[0]
	l.deliver(0)
	l.wire = nil
	limits := l.b.engine.limits
	if n := l.again(10000, hopping, request.payload); n != limits.UnprotectedReplies {
		t.Errorf("%d answers to ports that change, expected %d", n, limits.UnprotectedReplies)
	}
	l.now = l.now.Add(time.Second)
	want := mostRepeats // those that are left of them, and as many more as the others were
	if n := l.again(10000, fixed(500), request.payload); n != want {
		t.Errorf("%d answers, expected %d", n, want)
	}
	l.b.expect(Refused, RefuseRate, 20000-limits.UnprotectedReplies-want)
	if len(l.b.inbound) != 2 || l.b.count(ChildRekeyed, "") != 1 {
		t.Errorf("%d inbound SAs after one rekey", len(l.b.inbound))
	}
	l.advance(time.Minute)
	l.established("net")
}

// Deletes for every SPI that there may be, by somebody who writes in the peer's name, and by a peer about SAs that are not its own.
func TestDeletesOfEverySPI(t *testing.T) {
	const each, blocks = 2048, 32
	l := up(t, neverAsk, neverAsk)
	other := l.b.cfg.Peers[0]
	other.Name, other.Remote, other.RemoteID = "c", netip.MustParseAddr("192.0.2.3"), Identity{}
	other.Children = []Child{{Name: "c", Selectors: []policy.Selector{selector("10.2.0.0/24", "10.3.0.0/24")}, Start: StartOnDemand, IdleTimeout: -1}}
	l.b.step(Reconfigure{Peers: []Peer{l.b.cfg.Peers[0], other}})
	third := l.thirdParty()
	sa := l.b.engine.byName["a"].carrier()
	own := l.b.outbound[l.b.cells["net"]].SPI
	spis := func(block uint32) *wire.Delete {
		d := &wire.Delete{Protocol: wire.ProtocolESP}
		for i := range uint32(each) {
			if spi := third.SPI&^0xffff + block*each + i; spi != own {
				d.SPIs = append(d.SPIs, spi)
			}
		}
		return d
	}
	forged := 0
	for block := range uint32(blocks) {
		h := wire.Header{Exchange: wire.ExchangeInformational, MessageID: sa.tasks.nextReceive}
		h.InitiatorSPI, h.ResponderSPI = sa.spis()
		if sa.role == RoleResponder {
			h.Flags = wire.FlagInitiator
		}
		for _, d := range []*wire.Delete{spis(block), {Protocol: wire.ProtocolIKE}} {
			b, err := (&wire.Message{Header: h, Payloads: []wire.Payload{d}}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			forged += 1
			if n := l.again(1, fixed(500), b); n != 0 {
				t.Fatalf("%d answers to a delete in clear", n)
			}
		}
		if answer := l.ask(wire.ExchangeInformational, spis(block)); len(answer) != 0 {
			t.Errorf("the peer's deletes of what is not its own are answered by %v", answer)
		}
	}
	l.b.expect(Dropped, DropCleartext, forged)
	l.b.expect(ChildDeleted, "", 0)
	if len(l.b.cells) != 2 || l.b.inbound[third.PairSPI].SPI == 0 {
		t.Errorf("b sends by %d SAs after deletes that are none of its peers'", len(l.b.cells))
	}
	for range requestBurst {
		l.ask(wire.ExchangeInformational, spis(0))
		if l.b.count(Refused, RefuseRequests) > 0 {
			break
		}
	}
	l.b.expect(Refused, RefuseRequests, 1)
	l.b.expect(ChildDeleted, "", 0)
}

// thirdParty brings up a tunnel of b's with somebody at 192.0.2.3, and gives what b sends by.
func (l *link) thirdParty() ChildSA {
	twin := join(l.t, func(c *Config) {
		neverAsk(c)
		c.Random, c.Peers[0].Local = seeded(7), netip.MustParseAddr("192.0.2.3")
		c.Peers[0].Children[0].Selectors = []policy.Selector{selector("10.3.0.0/24", "10.2.0.0/24")}
	}, nil)
	twin.a.nextSPI += 0x4000
	for twin.a.step(Tick{}); len(twin.wire) > 0; {
		sent := twin.wire
		twin.wire = nil
		for _, p := range sent {
			l.b.step(Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
		}
		for _, p := range l.wire {
			twin.a.step(Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})
		}
		l.wire = nil
	}
	return l.b.outbound[l.b.cells["c"]]
}

// A NAT that gives the peer another port for each datagram: the tunnel comes up and goes on, and its keys are renewed.
func TestPortHoppingNAT(t *testing.T) {
	outside := netip.MustParseAddr("203.0.113.7")
	l := join(t, nil, behind("203.0.113.7"))
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
		switch i % 3 {
		case 0:
			l.a.rekey(rekeyChild)
		case 1:
			l.a.rekey(rekeyIKE)
		default:
			l.ask(wire.ExchangeInformational)
		}
		l.run()
		l.now = l.now.Add(6 * time.Second)
		l.b.step(Tick{})
		l.a.step(Tick{})
	}
	if e := l.b.engine; len(e.sas) > 2 || e.halfOpen.Entries() != 0 || len(l.b.cells) != 1 || l.b.count(IKEEstablished, "") != 1 {
		t.Errorf("%d IKE SAs, %d half-open, %d cells, %d authentications\n%s", len(e.sas), e.halfOpen.Entries(), len(l.b.cells), l.b.count(IKEEstablished, ""), l.b.story())
	}
	if moved, sent := l.b.count(AddressChanged, ""), int(hop); moved == 0 || moved > sent {
		t.Errorf("%d changes of address for %d datagrams", moved, sent)
	}
	l.advance(time.Minute)
	l.established("net")

	// And its packets, each of them from another: all are followed, and a few are told.
	spi, told := l.b.outbound[l.b.cells["net"]].PairSPI, l.b.count(AddressChanged, "")
	for i := range 10000 {
		l.b.step(Moved{SPI: spi, Remote: netip.AddrPortFrom(outside, hopping(i))})
	}
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote != netip.AddrPortFrom(outside, hopping(9999)) {
		t.Errorf("b sends to %v, expected the last port", out.Remote)
	}
	told = l.b.count(AddressChanged, "") - told
	if most := Moves(); told > most.Burst || l.b.count(Refused, RefuseMoves) < 10000-told {
		t.Errorf("%d moves within a moment are told and %d counted", told, l.b.count(Refused, RefuseMoves))
	}
}
