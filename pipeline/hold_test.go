package pipeline

import (
	"testing"
	"time"
)

func TestHoldQueueOrderAndBounds(t *testing.T) {
	q := newHoldQueue[int](holdLimits{perCell: 3, total: 4, lifetime: 30 * time.Second, renew: 5 * time.Second})
	for i := range 5 {
		kept, ask := q.push(epoch, 1, i)
		if kept != (i < 3) || ask != (i == 0) {
			t.Fatalf("packet %d: kept %v, ask %v", i, kept, ask)
		}
	}
	if kept, ask := q.push(epoch, 2, 10); !kept || !ask {
		t.Fatalf("another cell: kept %v, ask %v", kept, ask)
	}
	if kept, ask := q.push(epoch, 2, 11); kept || ask {
		t.Fatalf("the total is bounded: kept %v, ask %v", kept, ask)
	}
	same(t, "the earliest packets, in order", q.take(1), []int{0, 1, 2})
	same(t, "taken once", q.take(1), []int(nil))
	if kept, _ := q.push(epoch, 2, 12); !kept {
		t.Fatal("no room after take")
	}
}

func TestHoldQueueAsksAgainAndExpires(t *testing.T) {
	q := newHoldQueue[int](holdLimits{perCell: 8, total: 8, lifetime: 30 * time.Second, renew: 5 * time.Second})
	q.push(epoch, 1, 1)
	if _, ask := q.push(epoch.Add(4*time.Second), 1, 2); ask {
		t.Fatal("asked again too early")
	}
	if _, ask := q.push(epoch.Add(5*time.Second), 1, 3); !ask {
		t.Fatal("did not ask again")
	}
	same(t, "too early", q.expire(epoch.Add(29*time.Second)), []int(nil))
	same(t, "the oldest", q.expire(epoch.Add(30*time.Second)), []int{1})
	same(t, "the rest", q.expire(epoch.Add(35*time.Second)), []int{2, 3})
	if q.count != 0 || len(q.cells) != 0 {
		t.Fatalf("left: %d packets, %d cells", q.count, len(q.cells))
	}
}
