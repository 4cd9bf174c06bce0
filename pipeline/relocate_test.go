package pipeline

import (
	"encoding/binary"
	"fmt"
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/wholedev"
)

// everywhere is a rig with a NIC, a crypto device that does all of ESP or its crypto, and the CPU, which has SAs that nobody moves.
func everywhere(t *testing.T, o rigOptions) (*rig, *faulty.Device) {
	t.Helper()
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("crypto_openssl_place%d", lookasideNumber.Add(1))
	whole, err := wholedev.Offer(name, wholedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(whole.Withdraw)
	pool, err := cryptodev.Open(cryptodev.Options{
		Devices: []string{name, fmt.Sprintf("crypto_aesni_mb_place%d", lookasideNumber.Add(1))}, QueuePairs: testWorkers, Sessions: 64, Descriptors: lookasideRoom + 1, Socket: cryptodev.SocketAny,
		Classes: []cryptodev.Class{cryptodev.ClassCPU, cryptodev.ClassHardware, cryptodev.ClassSoftware},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := whole.Attach(testWorkers); err != nil {
		t.Fatal(err)
	}
	device, err := faulty.Attach(name, testWorkers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := device.Detach(); err != nil {
			t.Error(err)
		}
	})
	o.crypto = pool
	r := newRig(t, o)
	t.Cleanup(func() { device.Set(faulty.None) })
	return r, device
}

// relocate moves the SAs of a cell, of which there is one, and says what came of it.
func (r *rig) relocate(cell string, outbound bool, place Place) Moved {
	r.t.Helper()
	moved, err := r.d.Relocate(r.cell(cell), outbound, place, true)
	r.rests()
	if err != nil || len(moved) != 1 {
		r.t.Fatalf("to %s: %+v, %v", place, moved, err)
	}
	return moved[0]
}

// goTo moves an SA that can be moved there.
func (r *rig) goTo(outbound bool, place Place) {
	r.t.Helper()
	if m := r.relocate("site", outbound, place); m.Err != nil || m.Rekey {
		r.t.Fatalf("to %s: %+v", place, m)
	}
}

// tick lets the slow path look at moves.
func (r *rig) tick() {
	r.t.Helper()
	r.now = r.now.Add(slowPathTick)
	r.serveAll()
}

// rest lets a move come to its end.
func (r *rig) rest() {
	r.t.Helper()
	for range 4 {
		r.turns(2)
		r.tick()
	}
}

var outboundPlaces = []Place{PlaceCPU, PlaceLookasideCrypto, PlaceLookasideProtocol, PlaceInlineCrypto, PlaceInlineProtocol}

// A wire is what a test has seen leave by an SA.
type seenOnWire struct {
	r       *rig
	far     *referenceIn
	numbers map[uint32]bool // sequence numbers
	highest uint32
	inside  map[int]bool // packets
	late    int          // that came behind the window of the far end
}

func (r *rig) watch(far *referenceIn) *seenOnWire {
	return &seenOnWire{r: r, far: far, numbers: map[uint32]bool{}, inside: map[int]bool{}}
}

// look takes what has left by the wan: each is ESP, authentic, and has a number that none before it had. It returns how many these are.
func (s *seenOnWire) look() int { s.r.t.Helper(); return s.lookAt(wan) }

// lookAt is the same for a port.
func (s *seenOnWire) lookAt(port int) int {
	s.r.t.Helper()
	frames := s.r.packets(port)
	for _, frame := range frames {
		ip := ipv4(frame[etherHeaderLen:])
		if ip.protocol() != protocolESP {
			s.r.t.Fatalf("in clear: % x", frame)
		}
		body := ip.payload()
		number := binary.BigEndian.Uint32(body[4:])
		payload, _, _, err := s.far.esp.Open(append([]byte(nil), body...), 0)
		if err != nil || s.numbers[number] {
			s.r.t.Fatalf("number %d: %v, twice %t", number, err, s.numbers[number])
		}
		s.numbers[number] = true
		if number+DefaultReplayWindow <= s.highest {
			s.late++
		}
		s.highest = max(s.highest, number)
		s.inside[int(binary.BigEndian.Uint32(payload[ipv4HeaderLen:]))] = true
	}
	return len(frames)
}

// jumped is how often numbers jump on the way: to whoever counts by himself, and from a crypto device that does, since workers that do not know of the move yet give it packets.
func jumped(from, to Place) int {
	if from != to && (to.protocol() || from == PlaceLookasideProtocol) {
		return 1
	}
	return 0
}

// From each place to each other, with packets in every part of the way: each number is used once, nothing leaves in clear, nothing is lost, and all is within
// the peer's window, but for what a crypto device still has when somebody begins with numbers of its own.
func TestOutboundMoves(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, from := range outboundPlaces {
			for _, to := range outboundPlaces {
				t.Run(fmt.Sprint(suite, " ", from, " to ", to), func(t *testing.T) {
					c := &card{protocol: true}
					r, _ := everywhere(t, rigOptions{card: c})
					far := r.outbound(r.child("site", suite, false))
					start := r.d.placeOut(r.d.sad.outboundOf(r.cell("site"))[0])
					r.goTo(true, from)
					r.rest()
					wire := r.watch(far)
					sent := 0
					feed := func(n int) { r.send(sent, n); sent += n }
					for range 3 {
						feed(50)
						r.turns(1)
						wire.look()
					}
					r.goTo(true, to)
					for range 3 {
						feed(50)
						r.turns(1)
						wire.look()
						r.tick()
					}
					r.settle()
					wire.look()
					r.rest()
					feed(50)
					r.settle()
					wire.look()
					if from.lookaside() && from != to && (from.protocol() || to.protocol()) {
						if wire.late > lookasideRoom+1024 {
							t.Errorf("%d behind the window", wire.late)
						}
					} else if wire.late > 0 {
						t.Errorf("%d behind the window", wire.late)
					}
					if len(wire.inside) != sent {
						t.Errorf("%d packets of %d", len(wire.inside), sent)
					}
					jumps := jumped(start, from) + jumped(from, to)
					if int(wire.highest)/inHand != jumps {
						t.Errorf("%d packets have numbers up to %d, want %d jumps", sent, wire.highest, jumps)
					}
					sa := r.d.SACounters()[0]
					if sa.Packets != uint64(sent) || sa.Wanted != to {
						t.Errorf("%d packets counted of %d, wanted at %s", sa.Packets, sent, sa.Wanted)
					}
					if at := r.relocate("site", true, to); at.From != to || at.Err != nil {
						t.Errorf("%+v, want it there", at)
					}
				})
			}
		}
	}
}

// Inbound the window is the same one wherever the SA is, also for what a device gives back when the SA has left it.
func TestInboundMoves(t *testing.T) {
	places := []Place{PlaceCPU, PlaceLookasideCrypto, PlaceInlineCrypto}
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, from := range places {
			for _, to := range places {
				t.Run(fmt.Sprint(suite, " ", from, " to ", to), func(t *testing.T) {
					c := &card{}
					r, _ := everywhere(t, rigOptions{card: c})
					near := r.inbound(r.child("site", suite, true))
					r.goTo(false, from)
					r.rest()
					var all [][]byte
					got := 0
					feed := func(n int) {
						for range n {
							near.sequence++
							frame := fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
							all = append(all, frame)
							r.enqueue(0, wan, frame)
						}
					}
					feed(50)
					r.turns(1)
					r.goTo(false, to)
					for range 4 {
						feed(50)
						r.turns(1)
						got += len(r.sent(lan))
						r.tick()
					}
					r.settle()
					r.rest()
					feed(50)
					r.settle()
					if got += len(r.sent(lan)); got != len(all) {
						t.Errorf("%d packets of %d", got, len(all))
					}
					before := r.tally()
					for _, frame := range all {
						r.enqueue(0, wan, frame)
						r.settle()
					}
					same(t, "once more", ends(before, r.tally()), map[string]int{"replay_duplicate": len(all)})
					sa := r.d.SACounters()[0]
					if sa.Packets != uint64(len(all)) || sa.Sequence != uint64(len(all)) || sa.Wanted != to {
						t.Errorf("%d packets, number %d of %d, wanted at %s", sa.Packets, sa.Sequence, len(all), sa.Wanted)
					}
					if at := r.relocate("site", false, to); at.From != to || at.Err != nil {
						t.Errorf("%+v, want it there", at)
					}
				})
			}
		}
	}
}

// A crypto device that is slow gives back what it has when newer packets of the SA, which has left it, are long gone. These are all that come late, no more than the device and
// what waits for it can be; what leaves meanwhile is in order, and nothing is lost here.
func TestMoveOffASlowDevice(t *testing.T) {
	const burst, held, newer = 32, 10 * 32, 45 * 32 // less than a second's looks at the device, or it would be lost
	for _, to := range []Place{PlaceCPU, PlaceInlineCrypto} {
		t.Run(to.String(), func(t *testing.T) {
			r, device := everywhere(t, rigOptions{card: &card{}})
			wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
			r.goTo(true, PlaceLookasideCrypto)
			r.rest()
			device.Set(faulty.Mute)
			sent := 0
			feed := func(n int) {
				for range n / burst {
					r.send(sent, burst)
					sent += burst
					r.turns(1)
				}
			}
			feed(held)
			r.goTo(true, to)
			for range newer / burst {
				feed(burst)
				highest := wire.highest
				if got := wire.look(); got != burst || wire.highest != max(highest, held)+burst {
					t.Fatalf("%d packets of %d after number %d, up to %d", got, burst, highest, wire.highest)
				}
			}
			r.tick()
			if len(r.d.sad.moving) != 1 {
				t.Error("the former half is given up while the device has packets of it")
			}
			device.Set(faulty.None)
			r.settle()
			wire.look()
			r.rest()
			if wire.late != held || len(wire.inside) != sent || len(r.d.sad.moving) != 0 || len(r.seen.offload) != 0 {
				t.Errorf("%d behind the window, want %d; %d packets of %d, %d moves not over, %v", wire.late, held, len(wire.inside), sent, len(r.d.sad.moving), r.seen.offload)
			}
		})
	}
}
