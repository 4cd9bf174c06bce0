package main

import (
	"runtime"
	"testing"
	"time"
)

func TestCollectorPercent(t *testing.T) {
	for _, row := range []struct {
		used uint64
		want int
	}{{0, 200}, {8 << 20, 200}, {16 << 20, 300}, {42 << 20, 300}, {64 << 20, 200}, {100 << 20, 128}, {128 << 20, 100}, {1 << 40, 100}} {
		if got := collectorPercent(row.used); got != row.want {
			t.Errorf("%d octets in use: %d %%, want %d", row.used, got, row.want)
		}
	}
}

func TestAfterCollection(t *testing.T) {
	done := make(chan struct{}, 1)
	afterCollection(func() {
		select {
		case done <- struct{}{}:
		default:
		}
	})
	for range 3 {
		for limit := time.After(2 * time.Minute); ; {
			runtime.GC()
			select {
			case <-done:
			case <-time.After(time.Millisecond):
				continue
			case <-limit:
				t.Fatal("collections, and nobody was told")
			}
			break
		}
	}
	if inUse() == 0 {
		t.Error("nothing is in use after a collection")
	}
}
