package ikev1

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike"
)

// messages is how many there are until a tunnel is up.
const messages = 9

// mishaps has the wire do something to some of the datagrams on it, by their number counted from 1.
func (l *link) mishaps(do func(n int, p packet) (now []packet)) {
	n := 0
	l.twist = func(from *end, payload []byte) []byte {
		n++
		p := packet{to: from.other(), payload: payload}
		p.source, p.dest = endpointsOf(from)
		l.wire = append(l.wire, do(n, p)...)
		return nil
	}
}

func endpointsOf(from *end) (source, dest netip.AddrPort) {
	if from.name == "a" {
		return netip.AddrPortFrom(addrA, portIKE), netip.AddrPortFrom(addrB, portIKE)
	}
	return netip.AddrPortFrom(addrB, portIKE), netip.AddrPortFrom(addrA, portIKE)
}

// A tunnel comes up whichever of its messages, or whichever two of the first ones, are lost.
func TestLoss(t *testing.T) {
	for first := 1; first <= messages+1; first++ {
		for second := first; second <= messages+3; second++ {
			t.Run(fmt.Sprintf("%d and %d", first, second), func(t *testing.T) {
				l := join(t, nil, nil)
				l.mishaps(func(n int, p packet) []packet {
					if n == first || n == second {
						return nil
					}
					return []packet{p}
				})
				l.comesUp()
			})
		}
	}
}

// A message that comes twice, at once or much later, changes nothing, and no two ends go on answering each other for it.
func TestDuplicates(t *testing.T) {
	for twice := 1; twice <= messages; twice++ {
		for _, later := range []time.Duration{0, time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%d after %v", twice, later), func(t *testing.T) {
				l := join(t, nil, nil)
				var again packet
				l.mishaps(func(n int, p packet) []packet {
					if n != twice {
						return []packet{p}
					}
					if again = p; later == 0 {
						return []packet{p, p}
					}
					return []packet{p}
				})
				l.begin()
				l.advance(later)
				sent := l.a.sends + l.b.sends
				if later > 0 {
					l.arrive(again)
					l.advance(time.Second)
					if more := l.a.sends + l.b.sends - sent; more > 2 {
						t.Errorf("%d datagrams for one that came again", more)
					}
				}
				l.established()
				l.settled(1, 1)
				l.a.expect(ike.ChildEstablished, "", 1)
				l.b.expect(ike.ChildEstablished, "", 1)
			})
		}
	}
}

// A message that comes after those that were sent behind it changes nothing but the time that it takes.
func TestReorder(t *testing.T) {
	for late := 1; late <= messages+2; late++ {
		for by := 1; by <= 3; by++ {
			t.Run(fmt.Sprintf("%d by %d", late, by), func(t *testing.T) {
				l := join(t, nil, nil)
				var held []packet
				l.mishaps(func(n int, p packet) []packet {
					switch {
					case n == late:
						held = []packet{p}
						return nil
					case n == late+by:
						return append([]packet{p}, held...)
					}
					return []packet{p}
				})
				l.comesUp()
			})
		}
	}
}

// Every message of the past comes again, in its order and against it, and from another port: nothing is made of it, and little is said.
func TestReplay(t *testing.T) {
	l := join(t, nil, nil)
	var past []packet
	l.mishaps(func(_ int, p packet) []packet {
		past = append(past, p)
		return []packet{p}
	})
	l.begin()
	l.run()
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	l.advance(40 * time.Second)
	l.twist = nil
	sent := l.a.sends + l.b.sends
	backwards := slices.Clone(past)
	slices.Reverse(backwards)
	for _, p := range append(past, backwards...) {
		l.arrive(p)
		l.run()
	}
	if more := l.a.sends + l.b.sends - sent; more > 2*len(past) {
		t.Errorf("%d datagrams for %d that came again", more, 2*len(past))
	}
	l.advance(time.Minute)
	l.established()
	l.settled(1, 1)
}

// Nothing of the peer's arrives any more in the middle of a negotiation: both ends give up, and nothing is left.
func TestGivesUp(t *testing.T) {
	for after := 0; after < messages; after++ {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			l := join(t, onDemand, nil)
			l.begin()
			l.mishaps(func(n int, p packet) []packet {
				if n > after {
					return nil
				}
				return []packet{p}
			})
			l.a.step(ike.Initiate{Peer: "b"})
			l.advance(20 * time.Minute)
			l.settled(0, 0)
			if len(l.a.engine.asked)+len(l.b.engine.asked) != 0 {
				t.Error("a main mode is left")
			}
		})
	}
}
