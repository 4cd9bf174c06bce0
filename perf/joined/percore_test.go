package joined

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ike"
)

// twoCores are CPUs for two workers; without as many, one twice.
func twoCores(t *testing.T) []int {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	var cores []int
	for core := 0; len(cores) < 2 && core < 1024; core++ {
		if allowed.IsSet(core) {
			cores = append(cores, core)
		}
	}
	if len(cores) < 2 {
		cores = append(cores, cores[0])
	}
	return cores
}

// carried is what the SAs of one direction have carried, by worker; -1 stands for those that are no single worker's.
func carried(e *end, outbound bool) (packets map[int]uint64, spis map[int]uint32) {
	packets, spis = map[int]uint64{}, map[int]uint32{}
	for _, sa := range e.plane.SACounters() {
		if sa.Outbound == outbound {
			packets[sa.Worker] += sa.Packets
			spis[sa.Worker] = sa.SPI
		}
	}
	return packets, spis
}

func handedOver(e *end) uint64 {
	for _, p := range e.plane.Counters().Ports {
		if p.Name == "wan" {
			return p.HandedOver
		}
	}
	return 0
}

// until waits for a condition with a limit.
func (g *gateways) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); {
		if err := g.wait(t.Context(), began); err != nil {
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// both reports whether both gateways send by the SAs of these workers, and by no others.
func (g *gateways) both(workers ...int) bool {
	for _, e := range []*end{g.a, g.b} {
		if _, spis := carried(e, true); !slices.Equal(slices.Sorted(maps.Keys(spis)), workers) {
			return false
		}
	}
	return true
}

// pass sends flows of both workers both ways while something happens and for some packets more, and insists on every packet.
func (g *gateways) pass(t *testing.T, what string, happens func()) *load {
	t.Helper()
	const some, flows = 400, 8
	l := &load{interval: time.Second / 2000, length: 100, flows: flows, both: true, began: time.Now()}
	g.wire.load.Store(l)
	happens()
	before := l.sent.Load()
	g.until(t, what+": some packets more", func() bool { return l.sent.Load() >= before+some })
	g.wire.stopped.Store(true)
	for began := time.Now(); !l.complete.Load() && time.Since(began) < arrivalLimit; {
		if err := g.wait(t.Context(), began); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	g.wire.load.Store(nil)
	g.wire.stopped.Store(false)
	g.until(t, "the load to end", func() bool { return g.wire.holds.Load() != l })
	if sent := l.offered(); l.arrived != sent {
		t.Errorf("%s: %d of %d packets lost; drops at a %v, at b %v", what, sent-l.arrived, sent, dropsOf(g.a), dropsOf(g.b))
	}
	return l
}

func dropsOf(e *end) string {
	text := ""
	for _, p := range e.plane.Counters().Ports {
		if len(p.Drops) > 0 {
			text += fmt.Sprintf("%s %v ", p.Name, p.Drops)
		}
	}
	return text
}

// apart passes traffic with an SA for each worker at both ends: each worker's flows leave by its own SA and by no other, what arrives is taken by the worker
// whose it is, and none is handed over.
func (g *gateways) apart(t *testing.T, what string) {
	t.Helper()
	before := map[*end][2]map[int]uint64{}
	handed := map[*end]uint64{}
	for _, e := range []*end{g.a, g.b} {
		in, _ := carried(e, false)
		out, _ := carried(e, true)
		before[e], handed[e] = [2]map[int]uint64{in, out}, handedOver(e)
	}
	l := g.pass(t, what, func() {})
	for _, e := range []*end{g.a, g.b} {
		in, _ := carried(e, false)
		out, _ := carried(e, true)
		for worker := range e.workers {
			received, sent := in[worker]-before[e][0][worker], out[worker]-before[e][1][worker]
			if half := l.sent.Load() / 2; received < half-8 || received > half+8 || sent < half-8 || sent > half+8 {
				t.Errorf("%s: worker %d of %s has sent %d and taken %d of %d packets by its own SAs", what, worker, e.name, sent, received, half)
			}
		}
		if n := out[-1] - before[e][1][-1]; n != 0 {
			t.Errorf("%s: %s has sent %d packets by the SA of all", what, e.name, n)
		}
		if n := handedOver(e) - handed[e]; n != 0 {
			t.Errorf("%s: %d packets at %s were handed over from one worker to another", what, n, e.name)
		}
	}
}

// Two gateways with two workers each (RFC 9611), with flows of every worker in both directions all the time. While one end has no room for more SAs all
// flows go by the one for all. When it has, those of workers come one by one; then each worker sends by its own and takes what comes by its own, and a
// network card that knows whose an SA is leaves nothing to hand over. That stays so when one of them, each, or the IKE SA is rekeyed. When one is deleted
// its worker goes on by that of all until another comes. No packet is lost at any time.
func TestPerCore(t *testing.T) {
	cores := twoCores(t)
	g, err := join(t.Context(), [2][]int{cores, cores}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	g.b.full.Store(true)
	if err := g.establish(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.pass(t, "with an SA for all", func() {})
	if !g.both(-1) {
		t.Error("SAs of workers, although b has no room")
	}
	g.pass(t, "SAs come one by one", func() {
		g.b.full.Store(false)
		g.until(t, "SAs of workers", func() bool { return g.both(-1, 0, 1) })
	})
	g.apart(t, "with SAs of workers")

	formerGone := func() {
		g.until(t, "replaced SAs to go", func() bool { return len(g.a.plane.SACounters()) == 6 && len(g.b.plane.SACounters()) == 6 })
	}
	_, before := carried(g.a, true)
	g.pass(t, "rekey of one", func() {
		_, in := carried(g.a, false)
		g.a.offer(ike.Expire{SPI: in[1]})
		g.until(t, "the rekey", func() bool { _, now := carried(g.a, true); return now[1] != before[1] && now[1] != 0 })
	})
	if _, now := carried(g.a, true); now[0] != before[0] || now[-1] != before[-1] {
		t.Errorf("the rekey of worker 1's SA has replaced others: %v, before %v", now, before)
	}
	g.pass(t, "rekeys of all of them and of IKE", func() {
		rekeyed := g.b.rekeyed.Load()
		g.b.offer(ike.Rekey{Peer: tunnelName, Child: tunnelName})
		g.until(t, "three rekeys", func() bool { return g.b.rekeyed.Load() >= rekeyed+3 })
		g.b.offer(ike.Rekey{Peer: tunnelName})
		g.until(t, "the rekey of IKE", func() bool { return g.b.rekeyed.Load() >= rekeyed+4 })
	})
	formerGone() // their counters too
	g.apart(t, "after rekeys")

	g.pass(t, "one is deleted and comes again", func() {
		_, before := carried(g.b, true)
		_, in := carried(g.b, false)
		g.b.offer(ike.Expire{SPI: in[0], Hard: true})
		g.until(t, "another SA of worker 0", func() bool { _, now := carried(g.b, true); return g.both(-1, 0, 1) && now[0] != before[0] })
	})
	formerGone()
	g.apart(t, "after a delete")
	for _, e := range []*end{g.a, g.b} {
		g.until(t, "the account of "+e.name, func() bool { c := e.plane.Counters(); return c.Conserved() == nil })
	}
}
