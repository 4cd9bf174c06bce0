package ikev1

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// A tunnel comes back when either end has lost all that it had: at once when that end begins by itself, and soon after the other has noticed silence, or has been told
// in clear that its cookies mean nothing, when it does not.
func TestEitherEndRestarts(t *testing.T) {
	notKnown := func(kind isakmp.NotifyType) func(l *link, sa *isakmpSA) {
		return func(l *link, sa *isakmpSA) {
			h := isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeInformational}
			l.a.step(ike.Datagram{Local: sa.local, Remote: sa.remote, Payload: marshal(t, h, isakmp.NewNotify(kind, sa.cookies, nil))})
		}
	}
	for _, test := range []struct {
		name   string
		begins bool // the end that restarts, by itself
		hint   func(l *link, sa *isakmpSA)
		within time.Duration
	}{
		{"it begins", true, nil, 0},
		{"it waits to be asked", false, nil, ike.DefaultDPDDelay + 5*time.Second},
		{"it says that it does not know the cookies", false, notKnown(isakmp.NotifyInvalidCookie), 5 * time.Second},
		{"it says that it does not know the SPI", false, notKnown(isakmp.NotifyInvalidSPI), 5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.advance(time.Minute)
			cfg := sideB(t)
			cfg.Random = seeded(9)
			if test.begins {
				cfg.Peers[0].Children[0].Start = ike.StartAlways
			}
			l.b.boot(cfg)
			l.b.step(ike.Tick{})
			if test.hint != nil {
				test.hint(l, l.a.engine.peers[0].carrier())
			}
			l.advance(test.within)
			l.established()
			l.advance(2 * time.Minute)
			l.established()
			l.settled(1, 1)
		})
	}
}

// A peer that has lost all, and does not say so on the main mode that it answers, is taken at its silence on the former ISAKMP SA: pairs from before by which nothing
// comes go.
func TestRestartUnsaid(t *testing.T) {
	l := up(t, nil, nil)
	l.advance(time.Minute)
	cfg := sideB(t)
	cfg.Random = seeded(9)
	l.b.boot(cfg)
	begun := uint64(0)
	l.twist = func(from *end, payload []byte) []byte {
		h, err := isakmp.ParseHeader(payload)
		if err != nil {
			t.Fatal(err)
		}
		if from == l.b && begun == 0 {
			begun = h.Initiator
		}
		if from == l.b && h.Initiator == begun && h.Encrypted() {
			return nil
		}
		return payload
	}
	l.b.step(ike.Initiate{Peer: "a"}) // a may have seen its message 5, as far as it knows: so it does not say that there is nothing else
	l.advance(ike.DefaultDPDDelay + 15*time.Second)
	l.a.expect(ike.ChildDeleted, ike.DeletedDead, 1)
	l.established()
	l.advance(2 * time.Minute) // that main mode has ended
	l.established()
	l.settled(1, 1)
}

// A delete that is lost is said again: that of a pair by a clock, that of an ISAKMP SA when the peer goes on with it.
func TestLostDeletes(t *testing.T) {
	for _, test := range []struct {
		name   string
		child  string
		lost   int
		within time.Duration
	}{{"of a pair, once", "net", 1, time.Second}, {"of a pair, twice", "net", 2, 4 * time.Second}, {"of both", "", 2, ike.DefaultDPDDelay + time.Second}} {
		l := up(t, nil, nil)
		lost := 0
		l.twist = func(from *end, payload []byte) []byte {
			if from == l.a && lost < test.lost && kindOf(payload) == "informational exchange encrypted" {
				lost++
				return nil
			}
			return payload
		}
		l.a.step(ike.Terminate{Peer: "b", Child: test.child})
		l.advance(test.within)
		if len(l.b.outbound) != 0 {
			t.Errorf("%s: b still sends:\n%s", test.name, l.b.story())
		}
		if test.child != "" {
			l.advance(10 * time.Second)
			l.settled(1, 0)
			l.b.expect(ike.ChildDeleted, ike.DeletedByPeer, 1)
			continue
		}
		if n := len(l.b.engine.sas); n != 0 {
			t.Errorf("%s: b still has %d ISAKMP SAs:\n%s", test.name, n, l.b.story())
		}
		l.b.expect(ike.IKEDeleted, ike.DeletedByPeer, 1)
	}
}

// Whoever repeats a peer's datagrams gets the delete of an ISAKMP SA so often and no more, and only where the peer was.
func TestFarewellIsBounded(t *testing.T) {
	l := join(t, onDemand, nil)
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	b := l.a.sealed(t, isakmp.ExchangeInformational, 4711, rightHash(4711), isakmp.RUThere(l.a.engine.peers[0].carrier().cookies, 1))
	l.b.step(ike.Terminate{Peer: "a"})
	l.run()
	sent := l.b.sends
	l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.MustParseAddrPort("198.51.100.9:500"), Payload: b})
	if l.b.sends != sent {
		t.Error("an answer to somebody else")
	}
	for range 100 {
		l.now = l.now.Add(time.Second)
		l.toB(b)
	}
	if n := l.b.sends - sent; n != farewellTries {
		t.Errorf("%d answers to 100 datagrams, expected %d", n, farewellTries)
	}
	g := l.b.engine.farewells
	for i := range 5000 {
		sa := &isakmpSA{cookies: isakmp.Cookies{Initiator: uint64(i + 1), Responder: 1}}
		g.keep(l.now, sa, []byte{1})
	}
	if len(g.order) > farewellsMax || len(g.byCookies) > farewellsMax {
		t.Errorf("%d deletes are kept, expected at most %d", len(g.byCookies), farewellsMax)
	}
}

// A pair that another has replaced is said once to be deleted, unless packets by it go on coming.
func TestDeleteOfReplacedPair(t *testing.T) {
	for _, comes := range []bool{false, true} {
		l := up(t, nil, nil)
		old := l.a.engine.peers[0].slots[0].live()
		l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		l.busy(4*time.Second, time.Second)
		sent, deleted := 0, false
		l.twist = func(from *end, payload []byte) []byte {
			if from == l.a && kindOf(payload) == "informational exchange encrypted" {
				sent, deleted = sent+1, true
				return nil
			}
			return payload
		}
		for range 80 {
			l.traffic()
			l.advance(100 * time.Millisecond)
			if deleted && comes {
				l.a.heard[old.spiIn] = l.now
			}
		}
		if want := map[bool]int{false: 1, true: 3}[comes]; sent != want {
			t.Errorf("packets go on coming %t: a says the delete %d times, expected %d", comes, sent, want)
		}
	}
}

// Whoever orders a tunnel up need not wait for a main mode that the peer has forgotten.
func TestUpBeginsAnewWhatNobodyAnswers(t *testing.T) {
	l := join(t, nil, nil)
	l.a.step(ike.Initiate{Peer: "b"})
	for range 4 { // messages 1 to 4
		l.deliver(0)
	}
	l.wire = nil
	cfg := sideB(t)
	cfg.Random = seeded(9)
	l.b.boot(cfg)
	for l.a.engine.peers[0].sas[0].main.tries <= doubtful {
		l.tick(l.now.Add(time.Minute))
		l.wire = nil
	}
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.established()
}
