package deadline

import (
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
