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

// With the commit bit a sends by the new pair when b has said that it is connected (RFC 2408 3.1), in whichever form b says so, or has sent by the pair; and when
// b says nothing, a little later.
func TestCommitBit(t *testing.T) {
	own := uint32(0x1234)
	for _, test := range []struct {
		name   string
		says   func(l *link, x *exchange, spi uint32)
		within time.Duration
	}{
		{"message 4 of quick mode", func(l *link, x *exchange, spi uint32) {
			if err := x.send(false, func(rest []byte) []byte { return x.sa.keys.hash1(x.id, rest) }, isakmp.Connected(isakmp.ProtocolESP, spi)); err != nil {
				t.Fatal(err)
			}
			l.a.step(ike.Datagram{Local: x.sa.remote, Remote: x.sa.local, Payload: x.sent})
		}, 0},
		{"informational, under the quick mode's ID, its chain", func(l *link, x *exchange, spi uint32) {
			l.say(x.sa, x.id, x.iv, isakmp.Connected(isakmp.ProtocolESP, spi))
		}, 0},
		{"informational, under the quick mode's ID, a new chain", func(l *link, x *exchange, spi uint32) {
			l.say(x.sa, x.id, x.sa.phase2IV(x.id), isakmp.Connected(isakmp.ProtocolESP, spi))
		}, 0},
		{"informational, under an ID of its own", func(l *link, x *exchange, spi uint32) {
			l.say(x.sa, own, x.sa.phase2IV(own), isakmp.Connected(isakmp.ProtocolESP, spi))
		}, 0},
		{"informational without an SPI", func(l *link, x *exchange, spi uint32) {
			l.say(x.sa, own, x.sa.phase2IV(own), &isakmp.Notify{DOI: isakmp.DOIIPsec, Protocol: isakmp.ProtocolESP, Type: isakmp.NotifyConnected})
		}, 0},
		{"a packet", func(l *link, x *exchange, spi uint32) { l.traffic() }, time.Second},
		{"nothing", func(*link, *exchange, uint32) {}, 5 * time.Second},
	} {
		l := join(t, nil, nil)
		id := committed(l)
		l.begin()
		for *id == 0 {
			l.deliver(0)
		}
		x := l.b.engine.peers[0].carrier().quick[*id]
		l.run()
		x.iv = l.a.engine.peers[0].carrier().quick[*id].iv // behind message 3, which b has read and forgotten
		if len(l.a.inbound) != 1 || len(l.a.outbound) != 0 {
			t.Fatalf("%s: a has %d inbound and %d outbound SAs, expected an inbound one", test.name, len(l.a.inbound), len(l.a.outbound))
		}
		test.says(l, x, l.a.inbound[l.b.cells["net"]].SPI)
		l.advance(test.within)
		if l.a.count(ike.ChildEstablished, "") != 1 {
			t.Errorf("%s: a does not send after %v:\n%s", test.name, test.within, l.a.story())
			continue
		}
		sent := l.a.sends
		l.established()
		l.advance(20 * time.Second)
		if l.a.sends != sent {
			t.Errorf("%s: a goes on sending message 3", test.name)
		}
		l.settled(1, 1)
	}
}

// say has a hear an informational exchange of b's under any ID and IV.
func (l *link) say(sa *isakmpSA, id uint32, iv []byte, payloads ...isakmp.Payload) {
	l.t.Helper()
	h := isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeInformational, MessageID: id}
	b, err := sa.seal(h, &iv, payloads, func(rest []byte) []byte { return sa.keys.hash1(id, rest) })
	if err != nil {
		l.t.Fatal(err)
	}
	l.a.step(ike.Datagram{Local: sa.remote, Remote: sa.local, Payload: b})
}

// An initiator that sets the commit bit, in message 1 or in message 3, is told by message 4, as often as it asks, and which messages of the two are lost
// does not matter.
func TestCommitBitOfInitiator(t *testing.T) {
	for _, from := range []int{1, 2} { // the first or second message of a's quick mode
		for lost := range 6 { // which of all messages of the quick mode; 0: none
			l := join(t, onDemand, nil)
			quick, ofA, fromB := 0, 0, 0
			l.twist = func(by *end, payload []byte) []byte {
				h, err := isakmp.ParseHeader(payload)
				if err != nil || h.Exchange != isakmp.ExchangeQuick {
					return payload
				}
				quick++
				if by == l.a {
					ofA++
				} else {
					fromB++
				}
				if by == l.a && ofA >= from {
					payload[19] |= byte(isakmp.FlagCommit)
				}
				if by == l.b && from == 1 && !h.Flags.Has(isakmp.FlagCommit) {
					t.Errorf("message of b's without the commit bit")
				}
				if quick == lost {
					return nil
				}
				return payload
			}
			l.begin()
			l.a.step(ike.Initiate{Peer: "b"})
			l.advance(30 * time.Second)
			l.established()
			if fromB < 2 {
				t.Errorf("from message %d on, %d lost: b sent %d messages, expected 2 and 4", from, lost, fromB)
			}
			l.advance(3 * time.Minute)
			l.settled(1, 1)
			if n := len(l.b.engine.peers[0].carrier().quick); n != 0 {
				t.Errorf("b still has %d quick modes", n)
			}
		}
	}
}

// A pair that the peer deletes before it has said CONNECTED is gone, and so is what waits for it.
func TestCommitBitThenDeleted(t *testing.T) {
	l := join(t, onDemand, nil)
	committed(l)
	l.begin()
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.b.step(ike.Terminate{Peer: "a", Child: "net"})
	l.advance(10 * time.Second)
	l.settled(1, 0)
	if l.a.engine.peers[0].slots[0].negotiating != nil {
		t.Error("a still waits")
	}
}
