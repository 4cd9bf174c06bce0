package pipeline

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/pmd/ethdev"
)

// until turns and serves, with so much of the workers' time and the slow path's between, until something is so.
func (r *rig) until(what string, step time.Duration, each func(), is func() bool) {
	r.t.Helper()
	for i := 0; !is(); i++ {
		if i > 1000 {
			r.t.Fatalf("not %s", what)
		}
		if each != nil {
			each()
		}
		r.d.advance(step)
		r.turns(2)
		r.now = r.now.Add(step)
		r.serveAll()
		r.d.probes.Wait() // what a NIC answers is there at the next tick
	}
}

// packets is what was sent but for ARP, by which the slow path looks whether neighbours are there.
func (r *rig) packets(port int) [][]byte {
	return slices.DeleteFunc(r.sent(port), func(frame []byte) bool { return binary.BigEndian.Uint16(frame[12:]) == etherTypeARP })
}

// told is of how many losses and returns the handler was told.
func (r *rig) told() (lost, back int) {
	for _, c := range r.seen.offload {
		if c.Lost {
			lost++
		} else {
			back++
		}
	}
	return lost, back
}

// A NIC that has the window of an SA and opens none of its packets any more: after a second it is lost, which is told once, and IKE is asked for another SA. That one gets no
// session while the NIC is away. The NIC is asked again after pauses that double, and when it is back it has the sessions of those that come then (S-102).
func TestNICOpensNothing(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	away := false
	c := &card{protocol: true, leave: func([]byte) bool { return away }}
	r := newRig(t, rigOptions{card: c})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	feed := func() {
		near.sequence++
		r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
	}
	feed()
	r.settle()
	if got := len(r.packets(lan)); got != 1 {
		t.Fatalf("%d packets", got)
	}
	away, c.refuse = true, errors.New("no such device")
	r.until("lost", 100*time.Millisecond, feed, func() bool { lost, _ := r.told(); return lost == 1 })
	if got := len(r.packets(lan)); got != 0 {
		t.Errorf("%d packets passed whose numbers nobody has looked at", got)
	}
	change := r.seen.offload[0]
	if change.Moved != 0 || change.Blocked != 1 || change.Why != lossReasons[2] || len(r.seen.expired) != 1 {
		t.Errorf("%+v, asked for others: %v", change, r.seen.expired)
	}
	if lost := r.d.Counters().LostPorts; len(lost) != 1 || lost[0].Why != change.Why {
		t.Errorf("%+v", lost)
	}
	made := c.made
	near = r.inbound(r.child("site", "aes128gcm16", true))
	feed()
	r.settle()
	sa := r.inbounds()
	at := slices.IndexFunc(sa, func(sa SACounters) bool { return sa.SPI == near.child.SPI })
	if got := len(r.packets(lan)); got != 1 || c.made != made || sa[at].Inline.Session || !strings.Contains(sa[at].Inline.Refused, "stopped doing ESP") {
		t.Errorf("%d packets by the next SA, %d sessions made, %+v", got, c.made-made, sa[at].Inline)
	}
	c.probes = 0
	start := r.now
	r.until("asked five times", slowPathTick, nil, func() bool { return c.probes == 5 })
	if took := r.now.Sub(start); took < 30*time.Second || took > 33*time.Second { // 1, 2, 4, 8 and 16 s
		t.Errorf("asked five times within %s", took)
	}
	away, c.refuse = false, nil
	r.until("back", time.Second, nil, func() bool { _, back := r.told(); return back == 1 })
	r.packets(lan)
	r.announce(lan, lanHost, hostMAC) // it has answered nothing for a minute
	near = r.inbound(r.child("site", "aes128gcm16", true))
	feed()
	r.settle()
	if got := len(r.packets(lan)); got != 1 || c.made != made+1 || len(r.d.Counters().LostPorts) != 0 {
		t.Errorf("%d packets by an SA that came then, %d sessions made, lost %+v", got, c.made-made, r.d.Counters().LostPorts)
	}
}

// A port is taken out of the machine: what it did the CPU goes on with at once, numbers and windows as they are, also for SAs that an operator had moved there.
func TestNICIsRemoved(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r, _ := everywhere(t, rigOptions{card: c})
		c.refuse = errors.New("not yet") // by the order too they would be there
		wire := r.watch(r.outbound(r.child("site", "aes128-sha256", false)))
		near := r.inbound(r.child("site", "aes128gcm16", true))
		c.refuse = nil
		r.goTo(true, PlaceInline)
		if !protocol {
			r.goTo(false, PlaceInline)
		}
		var frames [][]byte
		feed := func(n int) {
			r.send(len(wire.inside), n)
			for range n {
				near.sequence++
				frames = append(frames, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
				r.enqueue(0, wan, frames[len(frames)-1])
			}
			r.settle()
			wire.look()
		}
		feed(20)
		c.gone = true
		left := 0
		r.until("lost", slowPathTick, func() { left = c.left }, func() bool { lost, _ := r.told(); return lost == 1 })
		r.until("at rest", slowPathTick, func() { feed(1) }, func() bool { return len(r.d.sad.moving) == 0 })
		feed(20)
		if c.left > left || wire.late > 0 {
			t.Errorf("%d packets left to a NIC that is gone, %d behind the window", c.left-left, wire.late)
		}
		moved := 2
		if protocol {
			moved = 1
		}
		if change := r.seen.offload[0]; change.Moved != moved || change.Blocked != 0 || len(r.seen.expired) != 0 {
			t.Errorf("%+v, %v", change, r.seen.expired)
		}
		if got := len(r.packets(lan)); got != len(frames) {
			t.Errorf("%d packets of %d from the other site", got, len(frames))
		}
		before := r.tally()
		for _, frame := range frames {
			r.enqueue(0, wan, frame)
			r.settle()
		}
		same(t, "once more", ends(before, r.tally()), map[string]int{"replay_duplicate": len(frames)})
	})
}

// A transmit ring stands full because the link is down, or because its other end asks for a pause: no NIC is lost. The same with a link that is up and a driver that has room, or
// knows of no pause, is a NIC that refuses.
func TestFullRingIsNoLoss(t *testing.T) {
	const uncounted = -1
	for name, c := range map[string]struct {
		up     bool
		ring   int
		pauses int // in a tick
		lost   bool
	}{
		"link down":                       {false, -1, uncounted, false},
		"pause":                           {true, 1, uncounted, false},
		"driver says room":                {true, 0, 3, true},
		"driver says nothing":             {true, -1, uncounted, true},
		"driver counts pauses":            {true, -1, 3, false},
		"driver counts pauses, of before": {true, -1, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{card: &card{}})
			r.outbound(r.child("site", "aes128gcm16", false))
			r.d.cfg.Ports[wan].Link = func() (ethdev.Link, error) { return ethdev.Link{Up: c.up}, nil }
			pauses := uint64(100)
			r.d.cfg.portPauses = func(ethdev.Port) (uint64, error) {
				if c.pauses == uncounted {
					return 0, ethdev.ErrNoPauses
				}
				return pauses, nil
			}
			port := uint16(r.wire(wan).port)
			t.Cleanup(func() { descriptors(port, -1) })
			descriptors(port, c.ring)
			feed := func() { r.send(0, 16) }
			for range 20 {
				r.send(0, 64)
				r.settle()
			}
			steps := 0
			r.until("told, or silent for 5 s", 100*time.Millisecond, func() {
				steps++
				pauses += uint64(max(c.pauses, 0))
				feed()
			}, func() bool { lost, _ := r.told(); return lost > 0 || steps == 50 })
			if lost, _ := r.told(); (lost > 0) != c.lost || (len(r.d.Counters().LostPorts) > 0) != c.lost {
				t.Errorf("after %d steps %+v, want a loss: %t", steps, r.seen.offload, c.lost)
			}
			r.sent(wan)
		})
	}
}

// deadCard is a card whose driver waits for an answer when it is asked.
type deadCard struct {
	*card
	answered chan error
}

func (c *deadCard) Probe(uint16) error { return <-c.answered }

// Nobody waits for a driver that waits for a dead card: while it does packets pass, and the gateway answers.
func TestProbeOfADeadCard(t *testing.T) {
	c := &deadCard{card: &card{}, answered: make(chan error)}
	r := newRig(t, rigOptions{card: c.card})
	r.d.cfg.Inline = c
	r.outbound(r.child("site", "aes128gcm16", false))
	r.d.LoseInline(uint16(r.wire(wan).port), "a test says so")
	c.refuse = errors.New("dead")
	serve := func() {
		r.now = r.now.Add(10 * slowPathTick)
		if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
			t.Fatal(err)
		}
	}
	for _, answer := range []error{c.refuse, nil} {
		for range 10 {
			serve() // it is asked, and has not answered
		}
		r.packets(wan)
		r.send(0, 10)
		r.settle()
		if got := len(r.packets(wan)); got != 10 {
			t.Errorf("%d packets of 10", got)
		}
		if lost := r.d.Counters().LostPorts; len(lost) != 1 {
			t.Errorf("lost: %+v", lost)
		}
		c.answered <- answer
		r.d.probes.Wait()
	}
	serve()
	if _, back := r.told(); back != 1 || len(r.d.Counters().LostPorts) != 0 {
		t.Errorf("told %d times that it is back, lost: %+v", back, r.d.Counters().LostPorts)
	}
}
