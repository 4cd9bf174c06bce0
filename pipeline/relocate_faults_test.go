package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/crypto/cryptodev/faulty"
)

// onwards goes there and back again, with packets in every part of the way.
func (r *rig) onwards(outbound bool, feed func(n int)) {
	r.t.Helper()
	for _, place := range []Place{PlaceCPU, PlaceLookasideCrypto, PlaceInlineCrypto} {
		feed(30)
		r.turns(1)
		r.goTo(outbound, place)
		for range 4 {
			feed(30)
			r.turns(20) // a device that takes one of a burst needs its time
			r.tick()
		}
	}
}

// S-102: SAs move off a device that gives back in another order, twice, or with errors, takes one packet at a time, and come to it again: each number is used once, nothing leaves in
// clear or gets through twice, and what is lost is what the device has said it could not do.
func TestMovesWithAFaultyDevice(t *testing.T) {
	for name, x := range map[string]struct {
		fault faulty.Fault
		fails bool
	}{
		"another order": {faulty.Shuffle, false}, "twice": {faulty.Repeat, false}, "few": {faulty.Few, false}, "errors": {faulty.Error, true},
	} {
		t.Run(name+" outbound", func(t *testing.T) {
			r, device := everywhere(t, rigOptions{card: &card{}})
			wire := r.watch(r.outbound(r.child("site", "aes128-sha256", false)))
			r.goTo(true, PlaceLookasideCrypto)
			r.rest()
			device.Set(x.fault)
			sent := 0
			r.onwards(true, func(n int) {
				r.send(sent, n)
				sent += n
				wire.look()
			})
			device.Set(faulty.None)
			r.settle()
			wire.look()
			failed := int(r.d.Counters().Ports[lan].Drops["crypto_error"])
			if len(wire.inside)+failed != sent || (failed > 0) != x.fails || wire.late > 0 {
				t.Errorf("%d packets and %d failed of %d, %d behind the window", len(wire.inside), failed, sent, wire.late)
			}
		})
		t.Run(name+" inbound", func(t *testing.T) {
			r, device := everywhere(t, rigOptions{card: &card{}})
			near := r.inbound(r.child("site", "aes128-sha256", true))
			r.goTo(false, PlaceLookasideCrypto)
			r.rest()
			device.Set(x.fault)
			var frames [][]byte
			got := 0
			r.onwards(false, func(n int) {
				for range n {
					near.sequence++
					frames = append(frames, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
					r.enqueue(0, wan, frames[len(frames)-1])
				}
				got += len(r.packets(lan))
			})
			device.Set(faulty.None)
			r.settle()
			got += len(r.packets(lan))
			failed := int(r.d.Counters().Ports[wan].Drops["crypto_error"])
			if got+failed != len(frames) || (failed > 0) != x.fails {
				t.Errorf("%d packets and %d failed of %d", got, failed, len(frames))
			}
			for _, frame := range frames {
				r.enqueue(0, wan, frame)
				r.settle()
			}
			if again := len(r.packets(lan)); again > failed {
				t.Errorf("%d packets got through once more, of which %d had failed", again, failed)
			}
		})
	}
}

// S-102: what an SA is to move to refuses the session, though it says that it can, now and then or always. The SA stays where it is and goes on, the reason is said, and no key is
// left behind. Inbound the NIC's packets are expected before it has the session: without it the CPU opens them.
func TestMovesToWhatRefuses(t *testing.T) {
	for _, outbound := range []bool{true, false} {
		t.Run(fmt.Sprint("outbound ", outbound), func(t *testing.T) {
			c := &card{}
			r, device := everywhere(t, rigOptions{card: c})
			r.d.sad.wish(r.cell("site"), outbound, PlaceCPU)
			child := r.child("site", "aes128gcm16", !outbound)
			key := keyOf(child)
			var flows func()
			if outbound {
				wire, sent := r.watch(r.outbound(child)), 0
				flows = func() {
					t.Helper()
					r.send(sent, 10)
					sent += 10
					r.settle()
					if wire.look(); len(wire.inside) != sent {
						t.Errorf("%d packets of %d", len(wire.inside), sent)
					}
				}
			} else {
				a := &arrivals{r: r, near: r.inbound(child)}
				flows = func() { t.Helper(); a.feed(10) }
			}
			at := func(want Place) {
				t.Helper()
				if m := r.relocate("site", outbound, want); m.From != want {
					t.Errorf("at %s, want it at %s", m.From, want)
				}
			}
			c.refuse = errors.New("no room")
			for range 3 {
				m := r.relocate("site", outbound, PlaceInlineCrypto)
				if m.Err == nil || !strings.Contains(m.Err.Error(), "no room") {
					t.Errorf("to a NIC without room: %+v", m)
				}
				flows()
				r.rest()
				flows()
				r.rest()
				at(PlaceCPU)
			}
			device.FailSessions(2)
			failed, moved := 0, 0
			for i := range 8 {
				to := []Place{PlaceLookasideCrypto, PlaceCPU}[i%2]
				if m := r.relocate("site", outbound, to); m.Err != nil {
					failed++
				} else if m.From != to {
					moved++
				}
				flows()
				r.rest()
				flows()
				r.rest()
			}
			if failed == 0 || moved < 2 {
				t.Errorf("%d moves failed and %d did not, of a device that fails half of its sessions", failed, moved)
			}
			r.wantNoKeys(key)
			if len(c.sessions) != 0 {
				t.Errorf("%d sessions are left", len(c.sessions))
			}
		})
	}
}

// S-102: a device that an SA is on its way to is lost before it has arrived. The SA goes on elsewhere, and what the device had is all that is lost.
func TestMovesToWhatIsLost(t *testing.T) {
	r, device := everywhere(t, rigOptions{card: &card{}})
	wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
	near := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	near.feed(5)
	device.Set(faulty.Mute)
	r.goTo(true, PlaceLookasideCrypto)
	r.goTo(false, PlaceCPU) // it has left its NIC, and is on its way too
	r.send(0, 5)
	r.silence()
	r.tick()
	if lost, _ := r.told(); lost != 1 {
		t.Fatalf("%+v, want the device lost", r.seen.offload)
	}
	r.rest()
	r.rest()
	for i := range 3 {
		r.send(100+10*i, 10)
		r.settle()
		wire.look()
		near.feed(5)
	}
	near.again()
	drops := r.d.Counters().Ports[lan].Drops
	if out := r.d.sad.outboundOf(r.cell("site"))[0]; len(wire.inside) != 30 || drops["crypto_device_lost"] != 5 || queued(out.session) || len(r.seen.expired) != 0 {
		t.Errorf("%d packets of 30, at %s, drops %v, asked for others: %v", len(wire.inside), r.d.placeOut(out), drops, r.seen.expired)
	}
}
