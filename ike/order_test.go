package ike

import (
	"math/rand/v2"
	"testing"
	"time"
)

// maxOrders bounds the time of one everyOrder. The fuzzer and manyAccidents have no such bound.
const maxOrders = 400

// everyOrder plays a scenario once for every order in which its IKE messages can arrive, including those that overtake one another. Before each
// delivery ESP packets are sent both ways; they arrive at once in every first run and after everything else in every second, so that each
// SA must be there early enough and stay long enough. Then the clock runs on, and check sees the outcome.
func everyOrder(t *testing.T, scenario func() *link, check func(*link)) {
	t.Helper()
	everyOrderUpTo(t, maxOrders, scenario, check)
}

func everyOrderUpTo(t *testing.T, limit int, scenario func() *link, check func(*link)) {
	t.Helper()
	runs := 0
	for _, late := range []bool{false, true} {
		for choices := []int{}; ; {
			l := scenario()
			var widths []int
			var held []packet
			for i := 0; len(l.wire) > 0; i++ {
				if i == len(choices) {
					choices = append(choices, 0)
				}
				widths = append(widths, len(l.wire))
				l.deliver(choices[i])
				held = append(held, l.withTraffic(late)...)
			}
			for _, p := range held {
				l.arrive(p)
			}
			l.advance(2 * time.Minute)
			check(l)
			if l.lost > 0 {
				t.Errorf("%d of %d ESP packets lost", l.lost, l.lost+l.taken)
			}
			if runs++; t.Failed() {
				t.Fatalf("order %v, ESP late %t\na:\n%sb:\n%s", choices, late, l.a.story(), l.b.story())
			}
			for len(choices) > 0 && choices[len(choices)-1]+1 == widths[len(choices)-1] {
				choices = choices[:len(choices)-1]
			}
			if len(choices) == 0 || runs%limit == 0 {
				break
			}
			choices[len(choices)-1]++
		}
	}
	t.Logf("%d orders", runs)
}

// withTraffic sends ESP both ways. It is delivered at once, or given back to be delivered later.
func (l *link) withTraffic(late bool) []packet {
	before := len(l.wire)
	l.traffic()
	sent := append([]packet(nil), l.wire[before:]...)
	l.wire = l.wire[:before]
	if late {
		return sent
	}
	for _, p := range sent {
		l.arrive(p)
	}
	return nil
}

// everyLoss plays a scenario in order, once for each of its messages with that one lost, and once with that one delivered twice.
func everyLoss(t *testing.T, scenario func() *link, check func(*link)) {
	t.Helper()
	for _, twice := range []bool{false, true} {
		for victim, more := 0, true; more; victim++ {
			l := scenario()
			more = false
			for i := 0; len(l.wire) > 0; i++ {
				if i == victim {
					more = true
					if twice {
						l.wire = append(l.wire, l.wire[0])
					} else {
						l.wire = l.wire[1:]
						continue
					}
				}
				l.deliver(0)
				l.withTraffic(false)
			}
			l.advance(2 * time.Minute)
			check(l)
			if l.lost > 0 {
				t.Errorf("%d of %d ESP packets lost", l.lost, l.lost+l.taken)
			}
			if t.Failed() {
				t.Fatalf("message %d, twice %t\na:\n%sb:\n%s", victim, twice, l.a.story(), l.b.story())
			}
		}
	}
}

// manyAccidents plays a scenario with random losses, repetitions and orders.
func manyAccidents(t *testing.T, runs int, scenario func() *link, check func(*link)) {
	t.Helper()
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		l := scenario()
		for i := 0; i < 200 && len(l.wire) > 0; i++ {
			n := r.IntN(len(l.wire))
			switch r.IntN(6) {
			case 0:
				l.wire = append(l.wire[:n], l.wire[n+1:]...)
			case 1:
				l.wire = append(l.wire, l.wire[n])
			case 2:
				l.tick(l.now.Add(time.Duration(r.IntN(1000)) * time.Millisecond))
			default:
				l.deliver(n)
				l.withTraffic(false)
			}
		}
		l.advance(5 * time.Minute)
		check(l)
		if l.lost > 0 {
			t.Errorf("%d of %d ESP packets lost", l.lost, l.lost+l.taken)
		}
		if t.Failed() {
			t.Fatalf("seed %d\na:\n%sb:\n%s", seed, l.a.story(), l.b.story())
		}
	}
}
