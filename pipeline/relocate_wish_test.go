package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/crypto/cryptodev"
)

// What a rekey has left behind carries nothing any more, and may have to stay where it is. Those that come after the SA that has moved are where that is all the same (S-102).
func TestWishBesideOneThatStays(t *testing.T) {
	r, _ := everywhere(t, rigOptions{})
	r.inbound(r.child("site", "aes128gcm16", true))
	for i := range 2 * idleMoves {
		r.relocate("site", false, []Place{PlaceLookasideCrypto, PlaceCPU}[i%2])
		r.rest()
	}
	if m := r.relocate("site", false, PlaceCPU); m.From != PlaceCPU {
		t.Fatalf("%+v, want it at the CPU", m)
	}
	second := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	moved, err := r.d.Relocate(r.cell("site"), false, PlaceLookasideCrypto, true)
	if err != nil || len(moved) != 2 {
		t.Fatalf("%+v, %v", moved, err)
	}
	for _, m := range moved {
		if is := m.SPI == second.near.child.SPI; is != (m.Err == nil) || !is && (!errors.Is(m.Err, errMoving) || !strings.Contains(m.Err.Error(), "with its next packet")) {
			t.Errorf("%+v", m)
		}
	}
	second.feed(5)
	third := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	if sa := r.d.sad.inbound[third.near.child.SPI]; sa.place(false) != PlaceLookasideCrypto {
		t.Errorf("the next SA is at %s", sa.place(false))
	}
	third.feed(5)
}

// queueFirst is a rig with a NIC whose order has a crypto device before the CPU.
func queueFirst(t *testing.T, c *card) *rig {
	t.Helper()
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	n := lookasideNumber.Add(1)
	pool, err := cryptodev.Open(cryptodev.Options{
		Devices: []string{fmt.Sprintf("crypto_openssl_first%d", n), fmt.Sprintf("crypto_aesni_mb_first%d", n)}, QueuePairs: testWorkers, Sessions: 64, Descriptors: lookasideRoom + 1,
		Socket: cryptodev.SocketAny, Classes: []cryptodev.Class{cryptodev.ClassSoftware, cryptodev.ClassCPU},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return newRig(t, rigOptions{card: c, crypto: pool})
}

// An operator wants SAs in a NIC that refuses those that come next: they go by the order, not past it to the CPU (S-102).
func TestNextGoesByTheOrder(t *testing.T) {
	c := &card{}
	r := queueFirst(t, c)
	for _, outbound := range []bool{false, true} {
		r.d.sad.wish(r.cell("site"), outbound, PlaceInlineCrypto)
	}
	for _, refuse := range []error{errors.New("no room"), nil} {
		c.refuse = refuse
		want := map[bool]Place{true: PlaceLookasideCrypto, false: PlaceInlineCrypto}[refuse != nil]
		near := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
		if sa := r.d.sad.inbound[near.near.child.SPI]; sa.place(false) != want || refuse != nil && sa.inline.refused != "no room" {
			t.Errorf("inbound at %s, refused %q, want it at %s", sa.place(false), sa.inline.refused, want)
		}
		near.feed(5)
		wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
		if sa := r.d.sad.outboundOf(r.cell("site"))[0]; r.d.placeOut(sa) != want {
			t.Errorf("outbound at %s, want %s", r.d.placeOut(sa), want)
		}
		r.send(0, 5)
		r.settle()
		if wire.look(); len(wire.inside) != 5 {
			t.Errorf("%d packets of 5", len(wire.inside))
		}
	}
}

// A move to a NIC that refuses the session ends where it began, as the answer says.
func TestRefusedMoveEndsWhereItBegan(t *testing.T) {
	c := &card{refuse: errors.New("no room")}
	r := queueFirst(t, c)
	a := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	for range 2 {
		if m := r.relocate("site", false, PlaceInlineCrypto); m.Err == nil || m.From != PlaceLookasideCrypto {
			t.Fatalf("%+v", m)
		}
		a.feed(5)
		r.rest()
		a.feed(5)
		r.rest()
		if at := r.relocate("site", false, PlaceLookasideCrypto); at.From != PlaceLookasideCrypto || at.Err != nil {
			t.Errorf("%+v, want it where it was", at)
		}
	}
	a.again()
	if len(c.sessions) != 0 || len(r.d.sad.moving) != 0 {
		t.Errorf("%d sessions of the NIC, %d moves not at rest", len(c.sessions), len(r.d.sad.moving))
	}
}

// An SA whose window a NIC has is rekeyed for what the next one can have, and not for what nobody does.
func TestNoRekeyForWhatNobodyDoes(t *testing.T) {
	r := queueFirst(t, &card{protocol: true})
	a := &arrivals{r: r, near: r.inbound(r.child("site", "aes128gcm16", true))}
	a.feed(5)
	if m := r.relocate("site", false, PlaceLookasideProtocol); m.Rekey || m.From != PlaceInlineProtocol || m.Err == nil || !strings.Contains(m.Err.Error(), "no crypto device of the configuration does lookaside_protocol") {
		t.Errorf("%+v", m)
	}
	if m := r.relocate("site", false, PlaceCPU); !m.Rekey || m.Err != nil {
		t.Errorf("%+v, want a rekey", m)
	}
	a.feed(5)
	a.again()
}
