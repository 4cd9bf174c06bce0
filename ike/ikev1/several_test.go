package ikev1

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/policy"
)

// several gives both ends n children with a selector each, as a rule with n selectors has them.
func several(t testing.TB, n int) (a, b func(*ike.Config)) {
	children := func(c *ike.Config, local, remote int) {
		like := c.Peers[0].Children[0]
		c.Peers[0].Children = nil
		for i := range n {
			child := like
			child.Name = fmt.Sprintf("net: %d", i)
			child.Selectors = []policy.Selector{selector(t, fmt.Sprintf("10.%d.%d.0/24", local, i), fmt.Sprintf("10.%d.%d.0/24", remote, i))}
			c.Peers[0].Children = append(c.Peers[0].Children, child)
		}
	}
	return func(c *ike.Config) { children(c, 1, 2) }, func(c *ike.Config) { children(c, 2, 1) }
}

// A rule with several selectors has a child for each: one main mode makes a pair of SAs for every one of them, all are in use together, each is shown, renewed
// and deleted by itself, and none loses a packet over another. Either end may begin.
func TestSeveralSelectors(t *testing.T) {
	const n = 5
	changeA, changeB := several(t, n)
	for _, aBegins := range []bool{true, false} {
		l := join(t, func(c *ike.Config) { changeA(c); starts(c, aBegins) }, func(c *ike.Config) { changeB(c); starts(c, !aBegins) })
		keeper := l.a
		if !aBegins {
			keeper = l.b
		}
		l.begin()
		l.run()
		l.settled(1, n)
		l.each(n)
		for _, end := range []*end{l.a, l.b} {
			shown := map[string]bool{}
			for _, c := range end.engine.Snapshot()[0].Children {
				shown[fmt.Sprintf("%s %v %t", c.Name, c.Selectors, c.Outbound)] = true
			}
			if len(shown) != n {
				t.Errorf("%s shows %v", end.name, shown)
			}
		}
		before := maps.Clone(l.a.cells)
		l.a.step(ike.Rekey{Peer: "b", Child: "net: 3"})
		l.busy(time.Minute, 100*time.Millisecond)
		for child, spi := range before {
			if renewed := l.a.cells[child] != spi; renewed != (child == "net: 3") {
				t.Errorf("renewed %s: %t", child, renewed)
			}
		}
		l.settled(1, n)
		keeper.step(ike.Terminate{Peer: keeper.other().name, Child: "net: 1"})
		l.run()
		l.busy(30*time.Second, time.Second)
		l.settled(1, n-1)
		if names := slices.Sorted(maps.Keys(l.b.cells)); slices.Contains(names, "net: 1") || len(names) != n-1 {
			t.Errorf("b sends by %v", names)
		}
		l.each(n - 1)
	}
}

// each insists on packets going each way by so many pairs.
func (l *link) each(pairs int) {
	l.t.Helper()
	lost, taken := l.lost, l.taken
	l.traffic()
	l.run()
	if l.lost != lost || l.taken != taken+2*pairs {
		l.t.Errorf("%d packets lost and %d taken, expected %d taken", l.lost-lost, l.taken-taken, 2*pairs)
	}
}

// starts has an end keep its children up by itself, or not.
func starts(c *ike.Config, always bool) {
	start := ike.StartOnDemand
	if always {
		start = ike.StartAlways
	}
	for i := range c.Peers[0].Children {
		c.Peers[0].Children[i].Start, c.Peers[0].Children[i].IdleTimeout = start, -1
	}
}
