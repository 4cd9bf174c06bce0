package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// farEnd is what the peer sends with by an inbound SA, whether that is installed or not.
func (r *rig) farEnd(child ChildSA) *referenceOut {
	child.Local, child.Remote = child.Remote, child.Local
	return r.newReferenceOut(child)
}

// early delivers so many packets of an SA to a worker, each longer than the one before, up to the slow path. Their frames are returned.
func (r *rig) early(worker int, near *referenceOut, version, n int) (frames [][]byte) {
	r.t.Helper()
	for range n {
		near.sequence++
		frames = append(frames, fromWAN(near.encapsulate(inner(version, 60+4*int(near.sequence), false), near.sequence)))
	}
	r.enqueue(worker, wan, frames...)
	r.settle()
	return frames
}

// wantEnds compares what became of packets since a tally.
func (r *rig) wantEnds(what string, before map[string]uint64, want map[string]int) {
	r.t.Helper()
	same(r.t, what, ends(before, r.tally()), want)
}

// RFC 7296 section 2.8: what a peer sends by a new SA before we can have its keys waits for them, in every form that an SA has and
// with whatever worker will own it. All of it goes on when the SA comes, once and in order.
func TestEarlyPackets(t *testing.T) {
	const sent = 10
	for _, f := range everyForm() {
		for _, workers := range []int{1, 2} {
			t.Run(fmt.Sprint(f, workers), func(t *testing.T) {
				r := newRig6(t, rigOptions{workers: workers, rules: []rule{siteRule, siteRule6}})
				version := f.versions()[0]
				r.inbound(r.formed(f, true)) // that is rekeyed; it is worker 0's
				child := r.formed(f, true)
				near := r.farEnd(child)
				before := r.tally()
				frames := r.early(0, near, version, sent)
				r.serveAll()
				r.settle()
				r.wantEnds("before the SA", before, map[string]int{"waiting": sent})
				r.inbound(child)
				r.settle()
				r.wantEnds("with the SA", before, map[string]int{"forwarded": sent})
				var want [][]byte
				for _, frame := range frames {
					want = append(want, r.ref.process(wan, frame).Frame)
				}
				same(t, "what left", r.sent(lan), want)
				if owner := r.d.sad.inbound[child.SPI].owner; owner != workers-1 {
					t.Errorf("worker %d has the SA", owner)
				}
				if p := r.d.Counters().Ports[wan]; p.Early != sent || p.EarlyPassed != sent || p.HandedOver != 0 {
					t.Errorf("early %d, passed %d, handed over %d", p.Early, p.EarlyPassed, p.HandedOver)
				}
				for _, frame := range frames {
					if o, _ := r.check(wan, frame); o.Reason != "replay_duplicate" {
						t.Fatalf("once more: %+v", o)
					}
				}
			})
		}
	}
}

// Packets that are still in the ring when the SA comes follow those that have left it.
func TestEarlyPacketsInTheRing(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	near := r.farEnd(child)
	before := r.tally()
	frames := r.early(0, near, 4, 3)
	r.serveAll()
	frames = append(frames, r.early(0, near, 4, 3)...)
	r.inbound(child)
	r.settle()
	r.wantEnds("with the SA", before, map[string]int{"forwarded": 3, "waiting": 3})
	r.serveAll()
	r.settle()
	r.wantEnds("after the ring", before, map[string]int{"forwarded": 6})
	var want [][]byte
	for _, frame := range frames {
		want = append(want, r.ref.process(wan, frame).Frame)
	}
	same(t, "what left", r.sent(lan), want)
}

// An SPI and all of them together have so much room, and what does not wait any more gives it back. ARP is answered meanwhile.
func TestEarlyPacketsAreBounded(t *testing.T) {
	r := newRig(t, rigOptions{})
	total := int(r.cfg.earlyLimit())
	const each = 64
	if total < each || total >= 2*each {
		t.Fatalf("room for %d packets", total)
	}
	first, second := r.child("site", "aes128gcm16", true), r.child("site", "aes128gcm16", true)
	far := []*referenceOut{r.farEnd(first), r.farEnd(second)}
	before := r.tally()
	r.early(0, far[0], 4, each+20)
	r.wantEnds("one SPI", before, map[string]int{"waiting": each, "early_full": 20})
	r.early(0, far[1], 4, each)
	r.wantEnds("two SPIs", before, map[string]int{"waiting": total, "early_full": 20 + 2*each - total})
	r.announce(lan, lanHost, hostMAC)
	before = r.tally()
	r.inbound(first)
	r.settle()
	r.wantEnds("the first SA", before, map[string]int{"forwarded": each, "waiting": -each})
	before = r.tally()
	r.early(0, far[1], 4, each)
	r.wantEnds("room again", before, map[string]int{"waiting": 2*each - total, "early_full": total - each})
	r.serveAll()
	r.d.ReleaseSPI(second.SPI)
	r.wantEnds("the second SPI", before, map[string]int{"waiting": each - total, "early_full": total - each, "no_inbound_sa": each})
}

// A packet that finds its queue to the slow path full takes no room.
func TestEarlyPacketsAndAFullQueue(t *testing.T) {
	const room = 40
	r := newRig(t, rigOptions{punts: room})
	child := r.child("site", "aes128gcm16", true)
	near := r.farEnd(child)
	before := r.tally()
	r.early(0, near, 4, 100)
	r.wantEnds("full", before, map[string]int{"waiting": room, "punt_full": 100 - room})
	r.serveAll()
	before = r.tally()
	r.early(0, near, 4, 64)
	r.wantEnds("empty", before, map[string]int{"waiting": 64 - room, "early_full": room})
}

// What waits too long is dropped for that; so is what waits for an SPI that is given back, with the SA never made, whether it has left the
// ring or not. Nothing waits for an SPI that nobody has reserved, nor for one whose SA is gone.
func TestEarlyPacketsEnd(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", true)
	near := r.farEnd(child)
	before := r.tally()
	r.early(0, near, 4, 4)
	r.serveAll()
	r.now = r.now.Add(earlyLifetime / 2)
	r.early(0, near, 4, 3)
	r.serveAll()
	r.wantEnds("in time", before, map[string]int{"waiting": 7})
	r.now = r.now.Add(earlyLifetime / 2)
	r.serveAll()
	r.wantEnds("too late", before, map[string]int{"waiting": 3, "early_timeout": 4})
	r.early(0, near, 4, 2) // in the ring
	r.d.ReleaseSPI(child.SPI)
	r.wantEnds("given back", before, map[string]int{"waiting": 2, "early_timeout": 4, "no_inbound_sa": 3})
	r.serveAll()
	r.wantEnds("given back, in the ring", before, map[string]int{"early_timeout": 4, "no_inbound_sa": 5})
	r.early(0, near, 4, 1)
	r.wantEnds("afterwards", before, map[string]int{"early_timeout": 4, "no_inbound_sa": 6})

	child = r.child("site", "aes128gcm16", true)
	before = r.tally()
	for _, spi := range []uint32{child.SPI ^ 1<<31, child.SPI ^ 1<<(32-7), 0, 255} { // two of its slot
		forged := r.farEnd(child).encapsulate(inner(4, 100, false), 1)
		binary.BigEndian.PutUint32(forged[ipv4HeaderLen:], spi)
		r.enqueue(0, wan, fromPeer(forged))
	}
	r.settle()
	r.wantEnds("other SPIs", before, map[string]int{"no_inbound_sa": 4})
	r.inbound(child)
	if err := r.d.RemoveInbound(child.SPI); err != nil {
		t.Fatal(err)
	}
	r.early(0, r.farEnd(child), 4, 1)
	r.wantEnds("a removed SA", before, map[string]int{"no_inbound_sa": 5})

	last := r.child("site", "aes128gcm16", true)
	r.early(0, r.farEnd(last), 4, 5) // freed by Close, as the rig checks: these from the queue, and one from the ring
	r.serveAll()
	r.early(0, r.farEnd(last), 4, 1)
}

// Workers on threads of their own, the slow path on another, and SAs that come while their packets do: none is lost. The slow path's time stands still: on a busy machine
// the test may take longer than a packet waits, or than a neighbour is known without being asked.
func TestEarlyPacketsUnderWorkers(t *testing.T) {
	r := newRig(t, rigOptions{workers: 2, idle: IdleSleep, maxSAs: 512})
	cores := allowedCores(t)
	if err := r.d.Start([]int{cores[0], cores[len(cores)-1]}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
				ended <- err
				return
			}
			runtime.Gosched()
		}
		ended <- ctx.Err()
	}()
	defer func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.d.Stop()
	}()
	const rounds, burst = 100, 8
	for round := range rounds {
		child := r.child("site", []string{"aes128gcm16", "aes128-sha256"}[round%2], true)
		near := r.farEnd(child)
		for worker := range 2 {
			var frames [][]byte
			for range burst {
				near.sequence++
				frames = append(frames, fromPeer(near.encapsulate(inner(4, 100, false), near.sequence)))
			}
			r.enqueue(worker, wan, frames...)
			if worker == round/2%2 {
				r.inbound(child)
			}
		}
		waitFor(t, "the packets of a round", func() bool { return r.tally()["forwarded"] == uint64(2*burst*(round+1)) })
		r.sent(lan)
	}
	c := r.d.Counters()
	if p := c.Ports[wan]; len(p.Drops) != 0 || p.Waiting != 0 || p.EarlyPassed != p.Early {
		t.Errorf("%+v", p)
	}
	t.Logf("%d of %d came before their SA", c.Ports[wan].Early, rounds*2*burst)
}

// Queues keep their order, and each packet its own time.
func TestEarlyQueue(t *testing.T) {
	q := earlyQueue[int]{}
	for i := range 4 {
		q.push(epoch.Add(time.Duration(i)*time.Second/2), 7, i)
		q.push(epoch, 8, 10+i)
	}
	same(t, "not yet", q.expire(epoch.Add(earlyLifetime-1), 7), []int(nil))
	same(t, "two", q.expire(epoch.Add(earlyLifetime+time.Second/2), 7), []int{0, 1})
	same(t, "the others", q.take(7), []int{2, 3})
	same(t, "taken once", q.take(7), []int(nil))
	same(t, "the other SPI", q.takeAll(), []int{10, 11, 12, 13})
	if len(q) != 0 {
		t.Errorf("left: %v", q)
	}
}
