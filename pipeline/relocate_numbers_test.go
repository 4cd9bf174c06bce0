package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// slowCard is a card whose driver takes its time over a session.
type slowCard struct {
	*card
	during func() // while it makes an outbound one
}

func (s *slowCard) Open(port uint16, sa *InlineSA) (InlineSession, error) {
	if sa.Outbound && s.during != nil {
		s.during()
	}
	return s.card.Open(port, sa)
}

// slowRig is a rig with an SA that a slow card does not have yet, and what leaves by it.
func slowRig(t *testing.T, from Place) (r *rig, slow *slowCard, wire *seenOnWire) {
	t.Helper()
	c := &card{protocol: true}
	r, _ = everywhere(t, rigOptions{card: c})
	slow = &slowCard{card: c}
	r.d.cfg.Inline = slow
	c.refuse = errors.New("not yet")
	wire = r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
	c.refuse = nil
	if from != PlaceCPU {
		r.goTo(true, from)
		r.rest()
	}
	return r, slow, wire
}

// skip makes the workers take so many numbers that no packet has.
func (r *rig) skip(numbers int) {
	for _, sa := range r.d.sad.outbound { // the only one
		sa.skip(numbers)
	}
}

// A driver makes a session while workers take more numbers than lie between theirs and its first one: no number is used twice, the SA goes to its place all the same, and nothing is lost.
func TestNumbersWhileADriverIsSlow(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	for _, from := range []Place{PlaceCPU, PlaceLookasideProtocol} {
		for _, numbers := range []int{0, inHand - 100, inHand + 4000} {
			t.Run(fmt.Sprint(from, " ", numbers), func(t *testing.T) {
				r, slow, wire := slowRig(t, from)
				sent := 0
				feed := func() {
					r.send(sent, 32)
					sent += 32
					for range 3 {
						r.d.burstLocked(0)
					}
					wire.look()
				}
				feed()
				asked := 0
				slow.during = func() {
					asked++
					r.skip(numbers)
					feed()
				}
				m := r.relocate("site", true, PlaceInlineProtocol)
				before := wire.highest
				for range 3 {
					feed()
					r.rest()
				}
				wire.look()
				late := 0
				if from.lookaside() {
					late = lookasideRoom + 1024 // what the device had, and what waited for it
				}
				if m.Err != nil || m.To != PlaceInlineProtocol || wire.late > late || wire.highest <= before {
					t.Errorf("%+v, highest number %d then and %d now, %d behind the window", m, before, wire.highest, wire.late)
				}
				if want := min(1+numbers/(inHand/2), 2); asked != want || len(slow.sessions) != 1 {
					t.Errorf("asked for %d sessions, want %d; has %d", asked, want, len(slow.sessions))
				}
				if sa := r.d.SACounters()[0]; len(wire.inside) != sent || sa.Packets != uint64(sent) {
					t.Errorf("%d packets of %d, counted %d", len(wire.inside), sent, sa.Packets)
				}
			})
		}
	}
}

// Packets come faster than the driver ever makes a session: the SA stays where it is, says why, and goes on as it was.
func TestNumbersThatOvertake(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	r, slow, wire := slowRig(t, PlaceCPU)
	numbers := inHand
	slow.during = func() {
		r.skip(numbers)
		numbers *= 8
	}
	if m := r.relocate("site", true, PlaceInlineProtocol); !errors.Is(m.Err, errOvertaken) || m.To != PlaceCPU || len(slow.sessions) != 0 {
		t.Errorf("%+v with %d sessions, want it where it is", m, len(slow.sessions))
	}
	r.send(0, 20)
	r.settle()
	r.serveAll()
	wire.look()
	if len(wire.inside) != 20 || len(r.seen.expired) != 0 {
		t.Errorf("%d packets of 20, asked for others: %v", len(wire.inside), r.seen.expired)
	}
}

// While the control side makes another half workers use up the numbers before those of that: what has none is dropped, and IKE is asked for the next SA, once. So the drops end whatever
// becomes of the move. A limit that is taken back, because the numbers were gone before, tells nothing.
func TestHeldNumbersRunOut(t *testing.T) {
	r := newRig(t, rigOptions{})
	child := r.child("site", "aes128gcm16", false)
	wire := r.watch(r.outbound(child))
	sa := r.d.sad.outboundOf(child.Cell)[0]
	if sa.hold(5) {
		t.Error("held before numbers that workers may have taken")
	}
	r.send(0, 10)
	r.settle()
	r.serveAll()
	wire.look()
	if len(wire.inside) != 10 || len(r.seen.expired) != 0 {
		t.Fatalf("%d packets of 10, asked for others: %v", len(wire.inside), r.seen.expired)
	}
	const first, before = 1 << 20, 5
	if !sa.hold(first) {
		t.Fatal("not held")
	}
	r.skip(first - 1 - before - 10)
	tally := r.tally()
	for range 4 {
		r.send(10, 10)
		r.settle()
		r.serveAll()
	}
	same(t, "ends", ends(tally, r.tally()), map[string]int{"forwarded": before, "crypto_queue_full": 40 - before})
	same(t, "asked for others", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound true hard false", child.Cell, child.SPI)})
	wire.look()
	next := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
	r.send(50, 10)
	r.settle()
	if got := next.look(); got != 10 {
		t.Errorf("%d packets of 10 by the next SA", got)
	}
}

// Numbers that a move leaves out are no packets of the SA's lifetimes (S-078).
func TestLifetimesOfWhatMoves(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	for _, places := range [][]Place{{PlaceInlineProtocol}, {PlaceLookasideProtocol}, {PlaceInlineProtocol, PlaceCPU}, {PlaceLookasideProtocol, PlaceInlineProtocol, PlaceCPU}} {
		t.Run(fmt.Sprint(places), func(t *testing.T) {
			c := &card{protocol: true}
			r, _ := everywhere(t, rigOptions{card: c})
			child := r.child("site", "aes128gcm16", false)
			child.Soft, child.Hard = Lifetime{Packets: 30}, Lifetime{Packets: 40}
			wire := r.watch(r.outbound(child))
			sent := 0
			feed := func(n int) {
				for range n {
					r.send(sent, 1)
					sent++
					r.settle()
				}
				r.serveAll()
				wire.look()
			}
			r.goTo(true, PlaceCPU)
			r.rest()
			feed(5)
			for _, place := range places {
				r.goTo(true, place)
				feed(5)
				r.rest()
			}
			feed(29 - sent)
			told := len(r.seen.expired)
			feed(1)
			soft := len(r.seen.expired)
			feed(9)
			feed(5)
			if told != 0 || soft != 1 || len(r.seen.expired) != 2 || !strings.HasSuffix(r.seen.expired[1], "hard true") {
				t.Errorf("told %d and %d times, then %v", told, soft, r.seen.expired)
			}
			if len(wire.inside) != 40 {
				t.Errorf("%d packets of 40", len(wire.inside))
			}
		})
	}
}

// The session of a NIC that encrypts alone is told the number of the next packet, wherever the SA comes from: with ESN some drivers take the high half from there, and just below 2^32 one
// that lies far ahead is wrong. Who numbers packets by himself begins behind all that workers may use.
func TestNumbersThatSessionsAreTold(t *testing.T) {
	for _, from := range []Place{PlaceCPU, PlaceLookasideCrypto, PlaceLookasideProtocol} {
		for _, protocol := range []bool{false, true} {
			t.Run(fmt.Sprint(from, " protocol ", protocol), func(t *testing.T) {
				if err := giveUserdata(); err != nil {
					t.Fatal(err)
				}
				c := &card{protocol: protocol}
				r, _ := everywhere(t, rigOptions{card: c})
				child := r.child("site", "aes128gcm16", false)
				child.ESN, child.FirstSequence = true, 1<<32-100
				r.d.sad.wish(child.Cell, true, from)
				r.outbound(child)
				r.send(0, 10)
				r.settle()
				r.packets(wan)
				before := r.d.SACounters()[0].Sequence
				r.goTo(true, PlaceInline)
				s := c.session(true, child.SPI)
				if s == nil {
					t.Fatal("the card has no session")
				}
				next, apart := before+1, before+1+inHand
				if from == PlaceLookasideProtocol {
					next = apart
				}
				if s.sa.Next != next || s.sa.Sequence != apart {
					t.Errorf("told that the next number is %d, and %d where it numbers by itself: want %d and %d", s.sa.Next, s.sa.Sequence, next, apart)
				}
				r.rest()
			})
		}
	}
}
