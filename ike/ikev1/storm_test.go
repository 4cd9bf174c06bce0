package ikev1

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/ike"
)

// storms is for runs of thousands of them.
var storms = flag.Int("storms", 90, "how many storms TestStorm has")

// storm is what a wire does to what is on it: each datagram takes a time of its own, so that any overtakes any other, and of those of IKE some are
// lost and some come twice.
type storm struct {
	random  *rand.Rand
	slowest time.Duration    // that a datagram takes
	drops   float64          // share of the datagrams of IKE
	repeats float64          // the same of those that come once more
	loses   func(n int) bool // whether the n-th of IKE is lost, counted from 1; nil: no
	each    func(n int)      // after the n-th that arrives; nil: nothing

	sent, arrived int
}

// stormy is a reproducible source of octets, for more seeds than there are octets.
func stormy(seed int) *rand.ChaCha8 {
	octets := [32]byte{31: 1}
	binary.BigEndian.PutUint64(octets[:], uint64(seed))
	return rand.NewChaCha8(octets)
}

// suffer lets the clock run on for d, and until nothing is in flight if d is 0.
func (l *link) suffer(s *storm, d time.Duration) {
	l.t.Helper()
	for until := l.now.Add(d); ; {
		s.meet(l)
		next, first := until, -1
		for i, p := range l.wire {
			if first < 0 || p.due.Before(l.wire[first].due) {
				first = i
			}
		}
		if first >= 0 && (d == 0 || !l.wire[first].due.After(until)) {
			next = l.wire[first].due
		}
		if l.tick(next) {
			continue // there may be more on the wire now
		}
		if first < 0 || l.wire[first].due.After(l.now) {
			return
		}
		l.deliver(first)
		if s.arrived++; s.each != nil {
			s.each(s.arrived)
		}
	}
}

// shuffle delivers what is in flight, and what comes of it, in a random order, without one datagram of IKE, counted from 1. Packets of IPsec go each way meanwhile.
func (l *link) shuffle(seed, without int) {
	l.t.Helper()
	l.suffer(&storm{random: rand.New(stormy(seed)), slowest: 100 * time.Millisecond, loses: func(n int) bool { return n == without }, each: func(n int) {
		if n%2 == 0 && n < 20 {
			l.traffic()
		}
	}}, 0)
}

// meet decides what becomes of the datagrams that have been sent since.
func (s *storm) meet(l *link) {
	var wire []packet
	for _, p := range l.wire {
		copies := 1
		switch {
		case !p.due.IsZero():
			wire = append(wire, p)
			continue
		case p.key == nil:
			copies = s.copies()
		}
		for range copies {
			p.due = l.now.Add(time.Duration(s.random.Int64N(int64(s.slowest))))
			wire = append(wire, p)
		}
	}
	l.wire = wire
}

func (s *storm) copies() int {
	s.sent++
	switch {
	case s.random.Float64() < s.drops || s.loses != nil && s.loses(s.sent):
		return 0
	case s.random.Float64() < s.repeats:
		return 2
	}
	return 1
}

// agree insists on what holds between two ends when nothing is under way: they have the same ISAKMP SA, if any, the same pairs, one for each child at most,
// and nothing else.
func (l *link) agree() {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		e, other := n.engine, n.other().engine
		if len(e.sas) > 1 || len(e.begun) != 0 || len(e.questions) != 0 || e.halfOpen.Total() != 0 {
			l.t.Errorf("%s has %d ISAKMP SAs, %d that are proposed and %d half-open", n.name, len(e.sas), len(e.begun), e.halfOpen.Total())
		}
		for _, sa := range e.sas {
			if sa.state != stateEstablished || len(sa.quick) != 0 || other.sas[sa.cookies] == nil {
				l.t.Errorf("%s: ISAKMP SA %x is %v, with %d quick modes; the peer has it: %t", n.name, sa.cookies, sa.state, len(sa.quick), other.sas[sa.cookies] != nil)
			}
		}
		spis := 0
		for _, in := range n.inbound {
			spis += len(spisOf(in))
		}
		if pairs := len(e.children); len(n.inbound) != pairs || len(n.outbound) != pairs || len(n.cells) != pairs || len(n.allocated) != spis {
			l.t.Errorf("%s has %d pairs in %d cells, %d inbound and %d outbound SAs of %d SPIs, and %d SPIs", n.name, pairs, len(n.cells), len(n.inbound), len(n.outbound), spis,
				len(n.allocated))
		}
		for spi, c := range e.children {
			if theirs := other.children[c.spiOut]; theirs == nil || theirs.spiOut != spi || theirs.slot.cfg.Name != c.slot.cfg.Name {
				l.t.Errorf("%s: the peer lacks the pair %#x of %s", n.name, spi, c.slot.cfg.Name)
			}
		}
	}
	l.each(len(l.a.cells))
}

// S-079: both ends begin, renew, delete and restart at random, on a wire that delays, loses and repeats at random. When it is quiet again the two agree on what
// there is, and packets go by it. As long as nothing is deleted no packet is lost.
func TestStorm(t *testing.T) {
	for seed := range *storms {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWeather(t, seed)
			w.blow()
			w.calm()
			w.agree()
			if w.deletes == 0 && w.lost > 0 {
				t.Errorf("%d packets lost of %d", w.lost, w.lost+w.taken)
			}
			if t.Failed() {
				t.Logf("what was done:\n%sfacts of a:\n%sof b:\n%s", w.log, w.a.story(), w.b.story())
			}
		})
	}
}

// weather is one storm over two ends, and what their operators do meanwhile.
type weather struct {
	*link
	storm
	seed    int
	changes map[*end]func(*ike.Config)
	deletes int // and restarts, so far
	log     string
}

func newWeather(t *testing.T, seed int) *weather {
	random := rand.New(stormy(seed))
	w := &weather{seed: seed, storm: storm{random: random}}
	w.slowest = []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second}[random.IntN(3)]
	if seed%3 > 0 {
		w.drops, w.repeats = 0.3*random.Float64(), 0.3*random.Float64()
	}
	changeA, changeB := several(t, 1+random.IntN(2))
	alwaysB := random.IntN(2) == 0
	a := func(c *ike.Config) { changeA(c); starts(c, true); c.Random = stormy(random.Int()) }
	b := func(c *ike.Config) { changeB(c); starts(c, alwaysB); c.Random = stormy(random.Int()) }
	w.link = join(t, a, b)
	w.changes = map[*end]func(*ike.Config){w.a: a, w.b: b}
	w.begin()
	return w
}

// blow has something done a few times, with a pause after each.
func (w *weather) blow() {
	for range 3 + w.random.IntN(10) {
		w.act()
		pauses := []time.Duration{0, 0, 300 * time.Millisecond, 2 * time.Second, 10 * time.Second, 40 * time.Second}
		w.busyFor(pauses[w.random.IntN(len(pauses))])
	}
}

// act has one end do something; what deletes is only done in every third storm.
func (w *weather) act() {
	n := []*end{w.a, w.b}[w.random.IntN(2)]
	p := n.engine.peers[0]
	peer, child := p.cfg.Name, p.slots[w.random.IntN(len(p.slots))].cfg.Name
	var ev ike.Event
	switch choice := w.random.IntN(12); {
	case choice < 4:
		ev = ike.Rekey{Peer: peer, Child: child}
	case choice < 8:
		ev = ike.Rekey{Peer: peer}
	case choice < 9 && w.seed%3 == 2:
		w.deletes++
		cfg := sideA(w.t)
		if n == w.b {
			cfg = sideB(w.t)
		}
		w.changes[n](&cfg)
		n.boot(cfg)
		ev = ike.Tick{}
	case choice < 10 && w.seed%3 == 2:
		w.deletes++
		ev = ike.Terminate{Peer: peer, Child: []string{"", child}[w.random.IntN(2)]}
	default:
		ev = ike.Initiate{Peer: peer}
	}
	w.log += fmt.Sprintf("  %s %s %T %+v\n", w.now.Format("15:04:05.000"), n.name, ev, ev)
	n.step(ev)
}

// busyFor has packets go each way.
func (w *weather) busyFor(d time.Duration) {
	for until := w.now.Add(d); w.now.Before(until); {
		w.traffic()
		w.suffer(&w.storm, 100*time.Millisecond)
	}
}

// calm lets both ends come to rest: what they have missed they find out by their checks whether the other lives.
func (w *weather) calm() {
	w.drops, w.repeats, w.slowest = 0, 0, 50*time.Millisecond
	w.busyFor(10 * time.Second)
	w.suffer(&w.storm, 10*time.Minute)
	w.busyFor(3 * time.Second)
	w.suffer(&w.storm, 3*time.Minute)
	w.suffer(&w.storm, 0)
}
