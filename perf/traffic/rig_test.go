package traffic

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
)

// path stands in the place of a gateway: a goroutine that carries frames from one port of the tester to the other and does to them what a test wants.
type path struct {
	ports   [2]ethdev.Port
	to      [2]*ring.Ring // what the tester's port receives
	from    [2]*ring.Ring // what it sends
	pool    *mempool.Mempool
	meddle  func(from int, frame []byte) [][]byte // nil: the frame as it is
	echo    bool                                  // frames go back by the port that they came from
	held    []held
	delay   time.Duration
	idle    atomic.Bool // nothing was there in the last turn
	lost    atomic.Uint64
	further func() bool // more to carry in a turn: whether there was some
	stopped atomic.Bool
	running sync.WaitGroup
}

// held is a frame that waits.
type held struct {
	port  int
	frame []byte
	until time.Time
}

var paths atomic.Uint32

func newPath(t *testing.T) *path {
	t.Helper()
	p := &path{}
	number := paths.Add(1)
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p.pool, err = mempool.CreateMbufPool(fmt.Sprintf("path%d", number), 1<<14-1, ethdev.DataRoom(ethdev.MaxMTU)/4)
	must(err)
	t.Cleanup(p.pool.Free)
	for i := range p.ports {
		for way, to := range []*[2]*ring.Ring{&p.to, &p.from} {
			to[i], err = ring.Create(fmt.Sprintf("path%d_%d_%d", number, i, way), 1<<12)
			must(err)
			t.Cleanup(to[i].Free)
		}
		p.ports[i], err = ethdev.FromRings(fmt.Sprintf("path%d_%d", number, i), []*ring.Ring{p.to[i]}, []*ring.Ring{p.from[i]})
		must(err)
		t.Cleanup(func() { _ = p.ports[i].Close() })
	}
	return p
}

// start carries frames until the test is over.
func (p *path) start(t *testing.T) {
	p.running.Go(func() {
		for !p.stopped.Load() {
			if moved := p.turn(); !moved {
				p.idle.Store(true)
				time.Sleep(50 * time.Microsecond)
			}
		}
	})
	t.Cleanup(p.stop)
}

func (p *path) stop() {
	p.stopped.Store(true)
	p.running.Wait()
	for _, rings := range [][2]*ring.Ring{p.to, p.from} {
		for _, r := range rings {
			var batch [32]unsafe.Pointer
			for n := r.DequeueBurst(batch[:]); n > 0; n = r.DequeueBurst(batch[:]) {
				mbuf.FreeBulk(batch[:n])
			}
		}
	}
}

func (p *path) turn() (moved bool) {
	for port, from := range p.from {
		var batch [32]unsafe.Pointer
		n := from.DequeueBurst(batch[:])
		if n == 0 {
			continue
		}
		moved = true
		p.idle.Store(false)
		frames := mbuf.Frames(batch[:n])
		mbuf.FreeBulk(batch[:n])
		to := 1 - port
		for _, frame := range frames {
			arp := frame[12] == 8 && frame[13] == 6
			if p.echo && !arp {
				p.hold(port, slices.Clone(frame))
			}
			if p.meddle == nil || arp && p.further == nil {
				p.hold(to, frame)
				continue
			}
			for _, f := range p.meddle(port, frame) {
				p.hold(to, f)
			}
		}
	}
	if p.further != nil && p.further() {
		moved = true
	}
	now, rest := time.Now(), p.held[:0]
	for _, h := range p.held {
		if now.Before(h.until) {
			rest = append(rest, h)
			continue
		}
		p.put(h.port, h.frame)
	}
	p.held = rest
	return moved || len(rest) > 0
}

func (p *path) hold(port int, frame []byte) {
	p.held = append(p.held, held{port, frame, time.Now().Add(p.delay)})
}

func (p *path) put(port int, frame []byte) {
	m, err := mbuf.FromBytes(p.pool, frame)
	for err == nil && p.to[port].EnqueueBurst([]unsafe.Pointer{m}) == 0 {
		if p.stopped.Load() {
			mbuf.Free(m)
			return
		}
		time.Sleep(50 * time.Microsecond) // a path without loss waits for who is slow
	}
	if err != nil {
		p.lost.Add(1)
	}
}

// drained says that neither the path nor a queue has a frame. The queues are looked at first and last: what left one of them is in the other, or on the path.
func (p *path) drained() bool {
	empty := func() bool { return p.from[0].Len()+p.from[1].Len()+p.to[0].Len()+p.to[1].Len() == 0 }
	if !empty() {
		return false
	}
	p.idle.Store(false)
	for i := 0; !p.idle.Load(); i++ {
		if p.stopped.Load() {
			return true
		}
		time.Sleep(50 * time.Microsecond)
	}
	return empty()
}

var (
	near4, far4 = netip.MustParsePrefix("10.1.0.0/24"), netip.MustParsePrefix("10.2.0.0/24")
	near6, far6 = netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("2001:db8:2::/64")
)

// config is a tester on both ends of the path, in clear: each port takes the other for its gateway.
func (p *path) config(streams ...Stream) Config {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	return Config{
		Protected: Port{Attached: &p.ports[0], Addresses: []netip.Addr{a}, Gateway: b}, Unprotected: Port{Attached: &p.ports[1], Addresses: []netip.Addr{b}, Gateway: a},
		Tunnels: []Tunnel{{Name: "clear", Near: near4, Far: far4}}, Streams: streams, Duration: 100 * time.Millisecond,
		Resolve: 5 * time.Minute, CatchUp: math.MaxInt32, Sleep: true, drained: p.drained, learn: -1,
	}
}

// trial runs one on a path that lasts as long as the test.
func (p *path) trial(t *testing.T, config Config, load Load) *Result {
	t.Helper()
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tester.Trial(context.Background(), load)
	if err := tester.Close(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if lost := p.lost.Load(); lost != 0 {
		t.Fatalf("the test's own path lost %d frames", lost)
	}
	return r
}

// want compares a count.
func want(t *testing.T, what string, got, want uint64) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d, want %d", what, got, want)
	}
}

// firstCore is a CPU that this process may use.
func firstCore(t *testing.T) int {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			return cpu
		}
	}
	t.Fatal("no CPU")
	return 0
}
