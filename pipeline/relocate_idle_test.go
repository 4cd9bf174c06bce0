package pipeline

import (
	"errors"
	"testing"
)

// Inbound SAs that carry nothing move again and again: what they leave behind stays within bounds, so that others find sessions, and goes with their next packets.
func TestIdleMovesLeaveRoom(t *testing.T) {
	r, _ := everywhere(t, rigOptions{})
	const n = 18 // of 64
	var nears []*referenceOut
	for range n {
		nears = append(nears, r.inbound(r.child("site", "aes128gcm16", true)))
	}
	refused := 0
	for i := range 8 {
		moved, err := r.d.Relocate(r.cell("site"), false, []Place{PlaceLookasideCrypto, PlaceCPU}[i%2], true)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range moved {
			if m.Err == nil {
				continue
			}
			if refused++; !errors.Is(m.Err, errMoving) {
				t.Errorf("%+v", m)
			}
		}
		r.rest()
	}
	if left := len(r.d.sad.moving); refused == 0 || left > n+r.cfg.MaxSAs/4 {
		t.Errorf("%d refused, %d of %d SAs left something behind", refused, left, n)
	}
	for range n { // the next ones of a rekey
		r.inbound(r.child("site", "aes128gcm16", true))
	}
	for _, near := range nears {
		near.sequence++
		r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		r.settle()
	}
	r.rest()
	if got := len(r.packets(lan)); got != n || len(r.d.sad.moving) != 0 {
		t.Errorf("%d packets of %d, %d moves not at rest", got, n, len(r.d.sad.moving))
	}
}
