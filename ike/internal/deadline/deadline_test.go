package deadline

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// Deadlines fire in their order, equal ones in the order in which they were set.
func TestOrder(t *testing.T) {
	var ts Timers
	var fired []string
	timers := map[string]*Timer{"a": {}, "b": {}, "c": {}, "d": {}}
	for _, s := range []struct {
		name string
		at   int
	}{{"a", 2}, {"b", 1}, {"c", 2}, {"d", 9}, {"a", 3}} { // a is moved
		ts.Set(timers[s.name], at(s.at), func() { fired = append(fired, s.name) })
	}
	if next := ts.Next(); next != at(1) {
		t.Errorf("the first deadline is %v, expected %v", next, at(1))
	}
	ts.Run(at(3))
	if want := []string{"b", "c", "a"}; !slices.Equal(fired, want) {
		t.Errorf("fired %v, expected %v", fired, want)
	}
	if timers["b"].Pending() || !timers["b"].When().IsZero() || timers["b"].At() != at(1) {
		t.Error("b has fired and is pending, or has forgotten when it was set for")
	}
	ts.Stop(timers["d"])
	ts.Stop(timers["d"])
	if ts.Len() != 0 || !ts.Next().IsZero() {
		t.Errorf("%d timers are left, expected none", ts.Len())
	}
}

// A timer that sets itself again for a time that has come waits for the next run.
func TestAgainAtOnce(t *testing.T) {
	var ts Timers
	var timer Timer
	times := 0
	var fire func()
	fire = func() {
		times++
		ts.Set(&timer, at(0), fire)
	}
	fire()
	ts.Run(at(1))
	if times != 2 || !timer.Pending() {
		t.Errorf("fired %d times, expected once by hand and once by the run", times)
	}
}

// Timers fire in the order that sorting them gives, however they were set, moved and stopped before.
func TestAgainstSorting(t *testing.T) {
	type set struct {
		number, at, order int
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var ts Timers
		timers, pending := make([]Timer, 200), map[int]set{}
		var fired []int
		for order := range 1000 {
			number := random.IntN(len(timers))
			if random.IntN(3) == 0 {
				ts.Stop(&timers[number])
				delete(pending, number)
				continue
			}
			s := set{number, random.IntN(100), order}
			ts.Set(&timers[number], at(s.at), func() { fired = append(fired, number) })
			pending[number] = s
		}
		expected := slices.SortedFunc(maps.Values(pending), func(a, b set) int { return cmp.Or(a.at-b.at, a.order-b.order) })
		if ts.Len() != len(expected) || ts.Next() != at(expected[0].at) {
			t.Fatalf("%d timers, the first at %v; expected %d, the first at %v", ts.Len(), ts.Next(), len(expected), at(expected[0].at))
		}
		for second := range 100 {
			ts.Run(at(second))
		}
		if !slices.EqualFunc(fired, expected, func(number int, s set) bool { return number == s.number }) {
			t.Fatalf("fired %v, expected %v", fired, expected)
		}
		if i := slices.IndexFunc(timers, func(timer Timer) bool { return timer.Pending() }); i >= 0 || ts.Len() != 0 {
			t.Fatalf("timer %d is pending, %d are left", i, ts.Len())
		}
	}
}
