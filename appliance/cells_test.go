package appliance

import (
	"testing"
	"time"

	"sallyport/pipeline"
)

// A tunnel that is new at a peer which the operator took down drops its traffic:
// nothing would ever come for what it held. It opens with the peer.
func TestNewTunnelOfADownPeer(t *testing.T) {
	p := newMemoryPlane("192.0.2.1", 0)
	b := newCellBook(p)
	now := time.Unix(1_000_000, 0)
	never := func(string, string) time.Time { return time.Time{} }
	adopt := func(peers map[string]string) {
		t.Helper()
		var tunnels []string
		for tunnel := range peers {
			tunnels = append(tunnels, tunnel)
		}
		if _, err := b.claim(tunnels); err != nil {
			t.Fatal(err)
		}
		if err := b.adopt(now, tunnels, peers, never); err != nil {
			t.Fatal(err)
		}
		if err := b.release(tunnels); err != nil {
			t.Fatal(err)
		}
		if err := b.sweepAll(); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, states map[string]pipeline.CellState) {
		t.Helper()
		for tunnel, want := range states {
			if got := p.states[p.cells[tunnel]]; got != want {
				t.Errorf("%s: the cell of %s is in state %d, expected %d", when, tunnel, got, want)
			}
		}
	}
	const hold, closed = pipeline.CellHold, pipeline.CellClosed
	adopt(map[string]string{"a": "far", "c": "other"})
	if err := b.order(now, "far", "", true); err != nil {
		t.Fatal(err)
	}
	adopt(map[string]string{"a": "far", "b": "far", "c": "other", "d": "other"})
	expect("far is down", map[string]pipeline.CellState{"a": closed, "b": closed, "c": hold, "d": hold})
	adopt(map[string]string{"e": "far", "c": "far"})
	expect("other tunnels of far", map[string]pipeline.CellState{"e": closed, "c": closed})
	if err := b.order(now, "far", "", false); err != nil {
		t.Fatal(err)
	}
	adopt(map[string]string{"e": "far", "f": "far"})
	expect("far is up", map[string]pipeline.CellState{"e": hold, "f": hold})

	if err := b.order(now, "far", "", true); err != nil {
		t.Fatal(err)
	}
	adopt(map[string]string{"c": "other"})
	adopt(map[string]string{"e": "far"})
	expect("far was gone and is new", map[string]pipeline.CellState{"e": hold})
}

// A peer that has gone takes its pause and its place in the index along: its cell may be another tunnel's by the time the pause would end.
func TestOrphanIsNotPaused(t *testing.T) {
	b := newCellBook(newMemoryPlane("192.0.2.1", 0))
	now := time.Unix(1_000_000, 0)
	until := func(string, string) time.Time { return now.Add(time.Minute) }
	tunnels := []string{"dynamic"}
	if _, err := b.claim(tunnels); err != nil {
		t.Fatal(err)
	}
	if err := b.adopt(now, tunnels, map[string]string{"dynamic": "dynamic"}, until); err != nil {
		t.Fatal(err)
	}
	if err := b.pause(now, "dynamic", until); err != nil || len(b.paused) != 1 {
		t.Fatalf("%v: %d cells are paused, expected one", err, len(b.paused))
	}
	if err := b.orphan(now, "dynamic"); err != nil {
		t.Fatal(err)
	}
	if next, err := b.resume(now); err != nil || !next.IsZero() || len(b.paused) != 0 || len(b.ofPeer) != 0 {
		t.Errorf("%v: the next pause ends at %v, %d cells are paused and %d peers known, expected none", err, next, len(b.paused), len(b.ofPeer))
	}
}
