package ike

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// An accident is what the network or the clock does instead of delivering the oldest message in flight.
type accident struct{ step, choice int }

// With w messages in flight there are these choices at a step: deliver any of them (the oldest is no accident), lose any of them, deliver any of
// them and once more later, and let time pass until the next deadline while all of them linger.
const kindsOfAccident = 3

func choices(inFlight int) int { return kindsOfAccident*inFlight + 1 }

// accidentsUntil is how long after the scenario began there are accidents: some retransmissions, and no liveness check of the peaceful time after.
const accidentsUntil = 25 * time.Second

// everyAccident plays a scenario first without an accident, then once for each single one, then for each two of them, and so on until all
// have been played or limit is reached; what of the last kind does not fit is left out at random, and then as many runs again have accidents
// everywhere. So every message is lost, repeated, overtaken by any other, delayed beyond a retransmission; and with two accidents, lost twice, or
// lost while others cross. Before and after each step ESP packets are sent both ways: they arrive at once in every other run and as late as they can
// in the rest, so that each SA must be there early enough and stay long enough. Then the network is well again, the clock runs on, and check
// sees the outcome.
func everyAccident(t *testing.T, limit int, scenario func() *link, check func(*link)) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, uint64(limit)))
	runs := 0
	run := func(choose func(step, inFlight int) int, tell func(widths []int) string) []int {
		l, late := scenario(), runs%2 == 1
		widths := l.suffer(choose, late)
		l.advance(2 * time.Minute)
		l.run()
		check(l)
		if l.lost > 0 {
			t.Errorf("%d of %d ESP packets lost: %v", l.lost, l.lost+l.taken, l.lostBy)
		}
		if runs++; t.Failed() {
			t.Fatalf("run %d, ESP late %t:\n%sa:\n%sb:\n%s", runs, late, tell(widths), l.a.story(), l.b.story())
		}
		return widths
	}
	accidents := -1
	for scripts := [][]accident{nil}; len(scripts) > 0 && runs < limit; accidents++ {
		if left := limit - runs; len(scripts) > left {
			random.Shuffle(len(scripts), func(i, j int) { scripts[i], scripts[j] = scripts[j], scripts[i] })
			scripts, accidents = scripts[:left], accidents-1
		}
		var next [][]accident
		for _, script := range scripts {
			next = append(next, withOneMore(script, run(choosing(script), func(widths []int) string { return retell(script, widths) }))...)
		}
		scripts = next
	}
	for range runs {
		run(func(_, inFlight int) int {
			if random.IntN(3) > 0 {
				return 0
			}
			return random.IntN(choices(inFlight))
		}, func([]int) string { return "accidents at random\n" })
	}
	t.Logf("%d runs, among them all of up to %d accidents", runs, accidents)
}

// choosing lets happen what a script says.
func choosing(script []accident) func(step, inFlight int) int {
	return func(step, _ int) int {
		if i := slices.IndexFunc(script, func(a accident) bool { return a.step == step }); i >= 0 {
			return script[i].choice
		}
		return 0
	}
}

func retell(script []accident, widths []int) string {
	var b strings.Builder
	for _, a := range script {
		n, what := widths[a.step], "all linger while time passes"
		if kind := a.choice / n; kind < kindsOfAccident {
			what = fmt.Sprintf("number %d %s", a.choice%n+1, [...]string{"overtakes", "is lost", "comes twice"}[kind])
		}
		fmt.Fprintf(&b, "  at step %d, of %d messages, %s\n", a.step, n, what)
	}
	return b.String()
}

// withOneMore gives the scripts that have a further accident after those of this one.
func withOneMore(script []accident, widths []int) (list [][]accident) {
	first := 0
	if len(script) > 0 {
		first = script[len(script)-1].step + 1
	}
	for step := first; step < len(widths); step++ {
		for choice := 1; choice < choices(widths[step]); choice++ {
			list = append(list, append(slices.Clip(script), accident{step, choice}))
		}
	}
	return list
}

// suffer plays what is in flight, with the accidents chosen, and gives how many messages there were at each step.
func (l *link) suffer(choose func(step, inFlight int) int, late bool) (widths []int) {
	until := l.now.Add(accidentsUntil)
	var held []packet
	release := func() {
		for _, p := range held {
			l.arrive(p)
		}
		held = nil
		for _, n := range []*end{l.a, l.b} {
			for len(n.checks) > 0 { // of certificates, by an end that is mute until now
				n.answer()
			}
		}
	}
	for {
		held = append(held, l.withTraffic(late)...)
		if len(l.wire) == 0 {
			release()
			if len(l.wire) == 0 && !l.tick(until) {
				return widths
			}
			continue
		}
		n := len(l.wire)
		choice := choose(len(widths), n)
		widths = append(widths, n)
		switch which := choice % n; {
		case choice == kindsOfAccident*n:
			release()
			l.tick(until)
		case choice < n:
			l.deliver(which)
		case choice < 2*n:
			l.wire = slices.Delete(l.wire, which, which+1)
		default:
			l.arrive(l.wire[which])
		}
	}
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
