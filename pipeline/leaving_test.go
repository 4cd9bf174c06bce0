package pipeline

import (
	"testing"
	"time"
)

// sealed is an outbound SA that ends while packets that its NIC is to encrypt stand in the transmit queue.
func sealed(t *testing.T, protocol bool) (*rig, *card) {
	t.Helper()
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: protocol}
	r := newRig(t, rigOptions{card: c})
	child := r.child("site", "aes128gcm16", false)
	r.outbound(child)
	r.send(0, 20)
	r.settle()
	if _, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil {
		t.Fatal(err)
	}
	return r, c
}

// The session of an SA that has ended is there until its NIC has sent what was left to it, however long that takes, and no longer.
func TestSessionOutlivesItsPackets(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		r, c := sealed(t, protocol)
		for range 50 {
			r.turns(1)
			r.tick()
		}
		if len(c.sessions) != 1 {
			t.Fatal("the session is closed while packets of it are to be sent")
		}
		if got := len(r.packets(wan)); got != 20 || c.left != 20 { // the card has a session for each
			t.Errorf("%d packets, %d by the card", got, c.left)
		}
		r.rest()
		if len(c.sessions) != 0 || len(r.d.sad.leaving) != 0 {
			t.Errorf("%d sessions are left", len(c.sessions))
		}
	})
}

// A driver takes its time over the end of a session whose packets it has sent: nobody waits for that.
func TestSessionOutlivesItsPacketsWithASlowDriver(t *testing.T) {
	r, c := sealed(t, false)
	w := newWaitingCard()
	w.card, w.closes, w.holds = c, true, func(outbound bool, _ uint32) bool { return outbound }
	r.d.cfg.Inline = w
	r.rest()
	if len(w.entered) != 0 {
		t.Fatal("the session is closed while packets of it are to be sent")
	}
	if got := len(r.packets(wan)); got != 20 {
		t.Errorf("%d packets", got)
	}
	for len(w.entered) == 0 {
		r.turns(2)
		r.now = r.now.Add(slowPathTick)
		if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
			t.Fatal(err)
		}
	}
	r.goesOn(w)
	w.goOn <- struct{}{}
	r.rests()
	if len(c.sessions) != 0 || len(r.d.sad.leaving) != 0 {
		t.Errorf("%d sessions are left", len(c.sessions))
	}
}

// A driver that says nothing of its queues has a second, or as many packets as no queue has places for.
func TestSessionOfASilentDriver(t *testing.T) {
	r, c := sealed(t, false)
	port := uint16(r.wire(wan).port)
	descriptors(port, -1)
	start := r.now
	r.until("closed", slowPathTick, nil, func() bool { return len(c.sessions) == 0 })
	if took := r.now.Sub(start); took < ringTime || took > ringTime+5*slowPathTick {
		t.Errorf("closed after %s", took)
	}
	// the card has no session for what stands there: it is not looked at
	drainRing(r.wire(wan).tx[0])
	child := r.child("site", "aes128gcm16", false)
	r.outbound(child)
	r.send(0, 20)
	r.settle()
	r.packets(wan)
	if _, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil {
		t.Fatal(err)
	}
	r.outbound(r.child("site", "aes128gcm16", false))
	r.turns(2)
	r.tick()
	start = r.now
	for sent := 0; sent < ringPlaces; sent += 512 {
		if len(c.sessions) != 2 {
			t.Fatalf("closed after %d packets more", sent)
		}
		r.send(0, 512)
		r.settle()
		drainRing(r.wire(wan).tx[0])
	}
	r.tick()
	if len(c.sessions) != 1 || r.now.Sub(start) > ringTime/2 {
		t.Errorf("%d sessions after %s", len(c.sessions), r.now.Sub(start))
	}
}

// Whoever has left nothing to its NIC leaves at once: SAs may come and go by the thousand.
func TestUnusedSessionLeavesAtOnce(t *testing.T) {
	c := &card{}
	r := newRig(t, rigOptions{card: c})
	descriptors(uint16(r.wire(wan).port), -1)
	child := r.child("site", "aes128gcm16", false)
	r.outbound(child)
	if _, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil {
		t.Fatal(err)
	}
	r.turns(2)
	r.tick()
	if len(c.sessions) != 0 || len(r.d.sad.leaving) != 0 {
		t.Errorf("%d sessions are left", len(c.sessions))
	}
}

// The end of the data plane waits for what a NIC has to send, but not for long.
func TestEndWaitsForPackets(t *testing.T) {
	r, c := sealed(t, false)
	start := time.Now()
	if err := r.d.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < ringEnd || len(c.sessions) != 0 {
		t.Errorf("closed after %s, %d sessions are left", took, len(c.sessions))
	}
}
