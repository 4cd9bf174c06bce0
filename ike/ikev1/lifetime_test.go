package ikev1

import (
	"testing"
	"time"

	"sallyport/ike"
)

// S-076: an ISAKMP SA that lives eight hours has been renewed by then where data flows, and no packet is lost over it; where none does there is no other.
func TestEightHours(t *testing.T) {
	idle := func(c *ike.Config) {
		c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = ike.StartOnDemand, ike.DefaultIdleTimeout
	}
	const life = 28800 * time.Second
	for _, aBegins := range []bool{true, false} {
		l := join(t, idle, idle)
		first, other := l.a, l.b
		if !aBegins {
			first, other = l.b, l.a
		}
		first.step(ike.Acquire{Peer: other.name, Child: "net"})
		l.run()
		l.established()
		l.busy(life, 90*time.Second)
		l.a.expect(ike.IKEEstablished, "", 2)
		l.b.expect(ike.IKEEstablished, "", 2)
		l.established()
		l.advance(life) // without packets
		l.settled(0, 0)
		l.a.expect(ike.IKEEstablished, "", 2)
		l.b.expect(ike.IKEEstablished, "", 2)
	}
}

// plane counts what each pair of a carries, and tells the engines as a data plane does.
func (l *link) plane(octets int) {
	l.t.Helper()
	carried, told := map[uint32]ike.Volume{}, map[uint32]bool{}
	l.carry = func(n *end, sa ike.ChildSA) {
		v := carried[sa.SPI]
		v.Packets, v.Bytes = v.Packets+1, v.Bytes+uint64(octets)
		carried[sa.SPI] = v
		used := sa.Soft.Bytes > 0 && v.Bytes >= sa.Soft.Bytes || sa.Soft.Packets > 0 && v.Packets >= sa.Soft.Packets
		if used && !told[sa.SPI] {
			told[sa.SPI] = true
			n.step(ike.Expire{SPI: sa.PairSPI})
		}
		if sa.Hard.Bytes > 0 && v.Bytes > sa.Hard.Bytes {
			l.t.Errorf("%s has sent %d octets by an SA that ends with %d", n.name, v.Bytes, sa.Hard.Bytes)
		}
	}
}

// S-078, S-080: seconds, kilobytes and packets each have a pair renewed alone, whichever is used up first, whichever end wants it so, and no packet is lost. Its
// sequence numbers are packets too: the data plane says so in the same way before they end.
func TestFirstLimitCounts(t *testing.T) {
	const octets = 1000
	set := func(life time.Duration, volume ike.Volume) func(*ike.Config) {
		return func(c *ike.Config) {
			c.Peers[0].Children[0].RekeyTime, c.Peers[0].Children[0].Life = life, volume
		}
	}
	wide := set(time.Hour, ike.Volume{Bytes: 1 << 30, Packets: 1 << 30})
	for _, test := range []struct {
		name     string
		limit    func(*ike.Config)
		min, max int // renewals of a pair in 10 minutes, 10 packets a second each way
	}{
		{"none", wide, 0, 0},
		{"a minute", set(time.Minute, ike.Volume{Bytes: 1 << 30, Packets: 1 << 30}), 9, 11},
		{"1 MB, 100 s at that rate", set(time.Hour, ike.Volume{Bytes: 1 << 20, Packets: 1 << 30}), 5, 7},
		{"1000 packets", set(time.Hour, ike.Volume{Bytes: 1 << 30, Packets: 1000}), 5, 7},
		{"kilobytes before seconds", set(time.Minute, ike.Volume{Bytes: 1 << 18, Packets: 1 << 30}), 22, 26},
	} {
		for _, sides := range [][2]func(*ike.Config){{test.limit, wide}, {wide, test.limit}, {test.limit, test.limit}} {
			l := up(t, sides[0], sides[1])
			l.plane(octets)
			l.busy(10*time.Minute, 100*time.Millisecond)
			if n := l.a.count(ike.ChildRekeyed, ""); n < test.min || n > test.max || l.b.count(ike.ChildRekeyed, "") != n {
				t.Errorf("%s: renewed %d and %d times, expected %d to %d", test.name, n, l.b.count(ike.ChildRekeyed, ""), test.min, test.max)
			}
			l.advance(10 * time.Second)
			l.established()
			l.settled(1, 1)
		}
	}
}

// Of two ends that want different lifetimes the shorter one counts at both, in seconds and in kilobytes by themselves: the responder says so (RFC 2407 4.6.3.1),
// and an initiator's is in what it proposes.
func TestShorterLifetime(t *testing.T) {
	long, short := time.Hour, 10*time.Minute
	for _, test := range []struct {
		a, b     time.Duration
		aMB, bMB uint64 // 0: none
		wantMB   uint64
	}{{long, short, 0, 0, 0}, {short, long, 0, 0, 0}, {long, short, 1, 4, 1}, {short, long, 4, 1, 1}, {short, long, 1, 4, 1}, {short, long, 0, 3, 3}, {long, short, 3, 0, 3}} {
		l := up(t, func(cfg *ike.Config) {
			cfg.Peers[0].Children[0].RekeyTime, cfg.Peers[0].Children[0].Life.Bytes = test.a, test.aMB<<20
		}, func(cfg *ike.Config) {
			cfg.Peers[0].Children[0].RekeyTime, cfg.Peers[0].Children[0].Life.Bytes = test.b, test.bMB<<20
		})
		for _, n := range []*end{l.a, l.b} {
			child := n.engine.peers[0].slots[0].live()
			if ends := child.ends.Sub(child.established); ends != 11*time.Minute {
				t.Errorf("%+v: at %s it ends after %v, expected 11 minutes", test, n.name, ends)
			}
			out := n.outbound[n.cells["net"]]
			if want := test.wantMB << 20; out.Soft.Bytes > want || out.Soft.Bytes < want/10*9 || out.Hard.Bytes < want || out.Hard.Bytes > want/10*11+kilobyte {
				t.Errorf("%+v: %s sends %d octets, at most %d; expected up to %d, and a tenth more", test, n.name, out.Soft.Bytes, out.Hard.Bytes, want)
			}
		}
	}
}

// S-079: a hundred times a pair is replaced under load, by either end, with no packet lost, though packets take two seconds to arrive: the old pair takes them until
// then, and goes at both ends.
func TestHundredRekeys(t *testing.T) {
	l := up(t, nil, nil)
	for i := range 100 {
		by := []*end{l.a, l.b}[i%2]
		by.step(ike.Rekey{Peer: by.other().name, Child: "net"})
		for range 6 {
			l.slowly(2 * time.Second)
		}
	}
	for _, n := range []*end{l.a, l.b} {
		n.expect(ike.ChildRekeyed, "", 100)
	}
	l.advance(time.Minute)
	l.established()
	l.settled(1, 1)
}

// slowly has a packet each way take so long.
func (l *link) slowly(delay time.Duration) {
	l.t.Helper()
	before := l.wire
	l.wire = nil
	l.traffic()
	packets := l.wire
	l.wire = before
	l.advance(delay)
	lost := l.lost
	for _, p := range packets {
		l.arrive(p)
	}
	if l.lost != lost {
		l.t.Fatalf("%d packets lost; facts of a:\n%s\nof b:\n%s", l.lost-lost, l.a.story(), l.b.story())
	}
}

// S-081: a pair that nobody uses is there 299 s after its last packet and gone after 300 s, at both ends; the next packet begins a quick mode, on the ISAKMP SA that is
// still there. One that is always up stays. C-04: with traffic a pair outlives 300 s, unlike a soft SA.
func TestIdle(t *testing.T) {
	idle := func(c *ike.Config) {
		c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = ike.StartOnDemand, 0 // the default
	}
	l := join(t, idle, idle)
	l.begin()
	l.a.step(ike.Acquire{Peer: "b", Child: "net"})
	l.run()
	l.busy(1000*time.Second, 10*time.Second)
	l.established() // the last packet
	l.advance(299 * time.Second)
	l.settled(1, 1)
	l.advance(time.Second)
	if len(l.a.outbound) != 0 || len(l.b.outbound) != 0 {
		t.Errorf("%d and %d outbound SAs after 300 s", len(l.a.outbound), len(l.b.outbound))
	}
	l.settled(1, 0)
	l.a.step(ike.Acquire{Peer: "b", Child: "net"})
	l.run()
	l.established()
	l.settled(1, 1)
	l.a.expect(ike.IKEEstablished, "", 1)

	l = up(t, nil, nil)
	l.advance(20 * time.Minute)
	l.settled(1, 1)
	l.a.expect(ike.ChildEstablished, "", 1)
}
