package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"sallyport/crypto/cryptodev/faulty"
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

// idleWays are moves of an SA that carries nothing, after which it has the sessions of all places that it was at.
var idleWays = [][]Place{{PlaceCPU}, {PlaceLookasideCrypto}, {PlaceCPU, PlaceLookasideCrypto}, {PlaceLookasideCrypto, PlaceInlineCrypto}, {PlaceCPU, PlaceInlineCrypto, PlaceLookasideCrypto, PlaceCPU}}

// idle is an inbound SA that has carried so many packets at a NIC and gone a way since.
func idle(t *testing.T, packets int, way ...Place) (*arrivals, *card) {
	t.Helper()
	c := &card{}
	r, _ := everywhere(t, rigOptions{card: c})
	a := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	a.feed(packets)
	for _, place := range way {
		r.goTo(false, place)
		r.rest()
	}
	if len(r.d.sad.moving) != len(way) {
		t.Fatalf("%d moves of %d wait for a packet", len(r.d.sad.moving), len(way))
	}
	return a, c
}

// What operators see of an SA stays what it was while it moves without a packet, and goes on with its next one.
func TestIdleIsTheSame(t *testing.T) {
	for _, way := range idleWays {
		t.Run(fmt.Sprint(way), func(t *testing.T) {
			a, c := idle(t, 10, way...)
			want := func(packets, byNIC int) {
				t.Helper()
				sa := a.r.inbounds()[0]
				if sa.Packets != uint64(packets) || sa.Sequence != uint64(packets) || sa.Inline.Packets != uint64(byNIC) || c.opened != byNIC {
					t.Errorf("%d packets, number %d, %d by the NIC: want %d, and %d by the NIC", sa.Packets, sa.Sequence, sa.Inline.Packets, packets, byNIC)
				}
			}
			want(10, 10)
			a.feed(10)
			a.r.rest()
			byNIC := 10
			if way[len(way)-1] == PlaceInlineCrypto {
				byNIC = 20
			}
			want(20, byNIC)
			a.again()
			if len(a.r.d.sad.moving) != 0 {
				t.Errorf("%d moves are not over", len(a.r.d.sad.moving))
			}
		})
	}
}

// An SA that has moved without a packet is rekeyed and ends as any other: packets of both go through, and no session is left.
func TestIdleEnds(t *testing.T) {
	for _, way := range idleWays {
		t.Run(fmt.Sprint(way), func(t *testing.T) {
			a, c := idle(t, 10, way...)
			next := &arrivals{r: a.r, near: a.r.inbound(a.r.child("site", "aes128gcm16", true))}
			next.feed(10)
			a.r.removeInbound(a.near.child.SPI)
			a.r.rest()
			a.again()
			next.feed(10)
			a.r.removeInbound(next.near.child.SPI)
			a.r.rest()
			if len(a.r.d.sad.moving) != 0 || len(c.sessions) != 0 || len(a.r.inbounds()) != 0 {
				t.Errorf("%d moves, %d sessions of the NIC and %d SAs are left", len(a.r.d.sad.moving), len(c.sessions), len(a.r.inbounds()))
			}
		})
	}
}

// A device is lost under an SA that has left behind as much as it may without a packet: it goes elsewhere all the same, and loses none.
func TestIdleFlees(t *testing.T) {
	r, device := everywhere(t, rigOptions{})
	a := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	r.goTo(false, PlaceLookasideCrypto)
	r.rest()
	a.feed(10)
	r.rest()
	for i := range idleMoves {
		r.goTo(false, []Place{PlaceCPU, PlaceLookasideCrypto}[i%2])
		r.rest()
	}
	if m := r.relocate("site", false, PlaceCPU); !errors.Is(m.Err, errMoving) || m.From != PlaceLookasideCrypto {
		t.Fatalf("%+v, want it to wait at the device", m)
	}
	wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
	r.goTo(true, PlaceLookasideCrypto)
	r.rest()
	device.Set(faulty.Mute)
	r.send(0, 1)
	r.turns(2)
	r.silence()
	r.tick()
	device.Set(faulty.None)
	r.rest()
	a.feed(10)
	r.rest()
	a.again()
	if at := r.d.sad.inbound[a.near.child.SPI].place(false); at.lookaside() || len(r.d.sad.moving) != 0 {
		t.Errorf("at %s, %d moves are not over", at, len(r.d.sad.moving))
	}
	wire.look()
}
