// Package deadline keeps the pending deadlines of an engine that is told the time and never looks at a clock.
package deadline

import (
	"container/heap"
	"time"
)

// Timer is one deadline. It fires once; set again it moves. Its zero value is one that is not set.
type Timer struct {
	at    time.Time
	order uint64 // of setting, so that equal deadlines fire in a fixed order
	index int    // in the heap, plus one; 0 when not set
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

// Timers is the set of pending deadlines of an engine.
type Timers struct {
	heap  timerHeap
	order uint64
}

// Set has t fire at the given time, and no longer when it was to before.
func (ts *Timers) Set(t *Timer, at time.Time, fire func()) {
	ts.Stop(t)
	ts.order++
	t.at, t.order, t.fire = at, ts.order, fire
	heap.Push(&ts.heap, t)
}

// Stop keeps t from firing.
func (ts *Timers) Stop(t *Timer) {
	if t.Pending() {
		heap.Remove(&ts.heap, t.index-1)
	}
}

// Run fires what is due. A timer that sets itself again for now or earlier would keep it from ending: such a one waits for the next Step.
func (ts *Timers) Run(now time.Time) {
	for last := ts.order; len(ts.heap) > 0; {
		t := ts.heap[0]
		if t.at.After(now) || t.order > last {
			return
		}
		heap.Pop(&ts.heap)
		t.fire()
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

// timerHeap implements heap.Interface.
type timerHeap []*Timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].order < h[j].order
	}
	return h[i].at.Before(h[j].at)
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	*h = append(*h, t)
	t.index = len(*h)
}

func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = 0
	return t
}
