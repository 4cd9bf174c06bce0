package ike

import (
	"container/heap"
	"time"
)

// timer is one deadline. It fires once; set again it moves.
type timer struct {
	at    time.Time
	order uint64 // of setting, so that equal deadlines fire in a fixed order
	index int    // in the heap, plus one; 0 when not set
	fire  func()
}

func (t *timer) pending() bool { return t.index != 0 }

// when is the deadline, the zero time when not set.
func (t *timer) when() time.Time {
	if !t.pending() {
		return time.Time{}
	}
	return t.at
}

// timers is the set of pending deadlines of an engine.
type timers struct {
	heap  timerHeap
	order uint64
}

func (ts *timers) set(t *timer, at time.Time, fire func()) {
	ts.stop(t)
	ts.order++
	t.at, t.order, t.fire = at, ts.order, fire
	heap.Push(&ts.heap, t)
}

func (ts *timers) stop(t *timer) {
	if t.pending() {
		heap.Remove(&ts.heap, t.index-1)
	}
}

// run fires what is due. A timer that sets itself again for now or earlier would keep it from ending: such a one waits for the next Step.
func (ts *timers) run(now time.Time) {
	for last := ts.order; len(ts.heap) > 0; {
		t := ts.heap[0]
		if t.at.After(now) || t.order > last {
			return
		}
		heap.Pop(&ts.heap)
		t.fire()
	}
}

// next is the earliest deadline, the zero time if there is none.
func (ts *timers) next() time.Time {
	if len(ts.heap) == 0 {
		return time.Time{}
	}
	return ts.heap[0].at
}

// timerHeap implements heap.Interface.
type timerHeap []*timer

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
	t := x.(*timer)
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
