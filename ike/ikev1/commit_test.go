package ikev1

import (
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// committed has b set the commit bit in its message 2 of quick mode, as no HASH covers it, and gives the message ID once it is known.
func committed(l *link) (id *uint32) {
	id = new(uint32)
	l.twist = func(from *end, payload []byte) []byte {
		h, err := isakmp.ParseHeader(payload)
		if err == nil && from == l.b && h.Exchange == isakmp.ExchangeQuick && *id == 0 {
			*id = h.MessageID
			payload[19] |= byte(isakmp.FlagCommit)
		}
		return payload
	}
	return id
}

// With the commit bit a sends by the new pair when b has said that it is connected (RFC 2408 3.1), by a message 4 of quick mode.
func TestCommitBit(t *testing.T) {
	l := join(t, nil, nil)
	id := committed(l)
	l.begin()
	for *id == 0 {
		l.deliver(0)
	}
	x := l.b.engine.peers[0].carrier().quick[*id]
	l.run()
	if len(l.a.inbound) != 1 || len(l.a.outbound) != 0 {
		t.Fatalf("a has %d inbound and %d outbound SAs, expected an inbound one", len(l.a.inbound), len(l.a.outbound))
	}
	sa, spi := x.sa, l.a.inbound[l.b.cells["net"]].SPI
	if err := x.send(false, func(rest []byte) []byte { return sa.keys.hash1(*id, rest) }, isakmp.Connected(isakmp.ProtocolESP, spi)); err != nil {
		t.Fatal(err)
	}
	l.a.step(ike.Datagram{Local: sa.remote, Remote: sa.local, Payload: x.sent})
	l.run()
	l.established()
	l.settled(1, 1)
}

// A responder that sets the commit bit and never says so: a has asked again, and gives the pair up at both ends.
func TestCommitBitUnanswered(t *testing.T) {
	l := join(t, onDemand, nil)
	committed(l)
	l.begin()
	l.a.step(ike.Initiate{Peer: "b"})
	l.advance(2 * time.Minute)
	l.settled(1, 0)
	l.a.expect(ike.Failed, ike.FailTimeout, 1)
}
