package pipeline

import "testing"

// What a NIC has opened of an SA that leaves it waits in the port's queue. What a worker takes of that before the slow path has looked twice gets through; what it takes later is
// dropped and counted, since nobody answers for the mark any more.
func TestMarksOfANICThatWasLeft(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, to := range []Place{PlaceCPU, PlaceLookasideCrypto} {
			t.Run(suite+" to "+to.String(), func(t *testing.T) {
				c := &card{}
				r, _ := everywhere(t, rigOptions{card: c})
				near := r.inbound(r.child("site", suite, true))
				opened := func(n int) {
					for range n {
						near.sequence++
						r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
					}
				}
				opened(10)
				r.goTo(false, to)
				r.settle()
				if got := len(r.packets(lan)); got != 10 || c.opened != 10 {
					t.Errorf("%d packets of 10 that were on the way, %d opened by the NIC", got, c.opened)
				}
				r.rest()
				r.goTo(false, PlaceInlineCrypto)
				r.settle()
				opened(1)
				r.settle()
				r.rest()
				opened(10)
				if c.opened < 20 {
					t.Fatalf("the NIC has opened %d packets", c.opened)
				}
				r.packets(lan)
				r.goTo(false, to)
				for range 3 {
					r.tick() // no worker takes anything meanwhile
				}
				before := r.tally()
				r.settle()
				if got := len(r.packets(lan)); got != 0 {
					t.Errorf("%d packets got through whose NIC nobody answers for", got)
				}
				same(t, "too late", ends(before, r.tally()), map[string]int{"inline_session": 10})
				r.rest()
				opened(5)
				r.settle()
				if got := len(r.packets(lan)); got != 5 {
					t.Errorf("%d packets of 5 afterwards", got)
				}
			})
		}
	}
}
