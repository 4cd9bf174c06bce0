// Package deadline keeps the pending deadlines of an engine that is told the time and never looks at a clock.
package deadline

import "time"

// Timer is one deadline. It fires once; set again it moves. Its zero value is one that is not set.
type Timer struct {
	at    time.Time
	index int // in the heap, plus one; 0 when not set
	fire  func()
}

// Pending reports whether the deadline is still to come.
func (t *Timer) Pending() bool { return t.index != 0 }

// At is the deadline as it was set last, whether it is still to come or not.
func (t *Timer) At() time.Time { return t.at }

// When is the deadline, the zero time when not set.
func (t *Timer) When() time.Time {
	if !t.Pending() {
		return time.Time{}
	}
	return t.at
}

// Timers is the set of pending deadlines of an engine: a heap of several children each, whose entries say themselves when they are due. Some ten thousand timers are not in any cache,
// and to ask each on the way would be the larger part of the work.
type Timers struct {
	heap  []entry
	order uint64
}

// entry is a pending timer.
type entry struct {
	at    time.Time
	order uint64 // of setting, so that equal deadlines fire in a fixed order
	timer *Timer
}

const children = 4 // of an entry: those of entry i are from children*i+1 on

// Set has t fire at the given time, and no longer when it was to before.
func (ts *Timers) Set(t *Timer, at time.Time, fire func()) {
	ts.order++
	t.at, t.fire = at, fire
	if !t.Pending() {
		ts.heap = append(ts.heap, entry{})
		t.index = len(ts.heap)
	}
	ts.settle(t.index-1, entry{at, ts.order, t})
}

// Stop keeps t from firing.
func (ts *Timers) Stop(t *Timer) {
	if !t.Pending() {
		return
	}
	i, last := t.index-1, len(ts.heap)-1
	t.index = 0
	moved := ts.heap[last]
	ts.heap[last] = entry{}
	if ts.heap = ts.heap[:last]; i < last {
		ts.settle(i, moved)
	}
}

// Run fires what is due. A timer that sets itself again for now or earlier would keep it from ending: such a one waits for the next Step.
func (ts *Timers) Run(now time.Time) {
	for last := ts.order; len(ts.heap) > 0; {
		first := ts.heap[0]
		if first.at.After(now) || first.order > last {
			return
		}
		ts.Stop(first.timer)
		first.timer.fire()
	}
}

// Next is the earliest deadline, the zero time if there is none.
func (ts *Timers) Next() time.Time {
	if len(ts.heap) == 0 {
		return time.Time{}
	}
	return ts.heap[0].at
}

// Len is how many are pending.
func (ts *Timers) Len() int { return len(ts.heap) }

// before reports whether an entry fires before another.
func (e *entry) before(other *entry) bool {
	if c := e.at.Compare(other.at); c != 0 {
		return c < 0
	}
	return e.order < other.order
}

// settle puts an entry where i is free, or as far above or below it as it has to be.
func (ts *Timers) settle(i int, e entry) {
	for i > 0 {
		parent := (i - 1) / children
		if !e.before(&ts.heap[parent]) {
			break
		}
		ts.put(i, ts.heap[parent])
		i = parent
	}
	for {
		least := ts.firstChild(i)
		if least < 0 || !ts.heap[least].before(&e) {
			break
		}
		ts.put(i, ts.heap[least])
		i = least
	}
	ts.put(i, e)
}

// firstChild is the child of an entry that fires first, -1 where there is none.
func (ts *Timers) firstChild(i int) int {
	least := -1
	for c := children*i + 1; c <= children*i+children && c < len(ts.heap); c++ {
		if least < 0 || ts.heap[c].before(&ts.heap[least]) {
			least = c
		}
	}
	return least
}

func (ts *Timers) put(i int, e entry) {
	ts.heap[i] = e
	e.timer.index = i + 1
}
