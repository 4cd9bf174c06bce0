package pipeline

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/wholedev"
)

// arrivals are the packets that a test has sent by an inbound SA.
type arrivals struct {
	r      *rig
	near   *referenceOut
	frames [][]byte
}

// feed sends so many packets more, of which each gets through.
func (a *arrivals) feed(n int) {
	a.r.t.Helper()
	for range n {
		a.near.sequence++
		a.frames = append(a.frames, fromPeer(a.near.encapsulate(tcp(farHost, lanHost), a.near.sequence)))
		a.r.enqueue(0, wan, a.frames[len(a.frames)-1])
	}
	a.r.settle()
	if got := len(a.r.sent(lan)); got != n {
		a.r.t.Errorf("%d packets of %d", got, n)
	}
}

// again sends them once more: none gets through.
func (a *arrivals) again() {
	a.r.t.Helper()
	for _, frame := range a.frames {
		a.r.enqueue(0, wan, frame)
		a.r.settle()
	}
	if got := len(a.r.sent(lan)); got != 0 {
		a.r.t.Errorf("%d packets of %d got through twice", got, len(a.frames))
	}
}

// inboundAt is an inbound SA that is at a place since it came.
func inboundAt(t *testing.T, place Place, suite string) *arrivals {
	t.Helper()
	r, _ := everywhere(t, rigOptions{card: &card{}})
	if _, err := r.d.Relocate(r.cell("site"), false, place, true); err != nil {
		t.Fatal(err)
	}
	a := &arrivals{r: r, near: r.inbound(r.child("site", suite, true))}
	if m := r.relocate("site", false, place); m.From != place || m.Rekey || m.Err != nil {
		t.Fatalf("%+v, want it at %s", m, place)
	}
	return a
}

// The window that a crypto device keeps nobody can read or fill: inbound an SA goes from there and to there by a rekey alone. Until then it stays with its window, and where there
// is no rekey the order is refused. The next SA is where it is wanted.
func TestInboundMovesByRekey(t *testing.T) {
	places := []Place{PlaceCPU, PlaceLookasideCrypto, PlaceInlineCrypto, PlaceLookasideProtocol}
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, from := range places {
			for _, to := range places {
				if from == to || !from.protocol() && !to.protocol() {
					continue
				}
				t.Run(fmt.Sprint(suite, " ", from, " to ", to), func(t *testing.T) {
					a := inboundAt(t, from, suite)
					a.feed(20)
					moved, err := a.r.d.Relocate(a.r.cell("site"), false, to, false)
					if err != nil || len(moved) != 1 || moved[0].Rekey || moved[0].Err == nil || !strings.Contains(moved[0].Err.Error(), "keys of your own has none") {
						t.Errorf("an SA that nobody rekeys: %+v, %v", moved, err)
					}
					if m := a.r.relocate("site", false, to); !m.Rekey || m.Err != nil || m.To != from {
						t.Errorf("%+v, want a rekey", m)
					}
					a.r.rest()
					a.feed(20)
					a.again()
					next := &arrivals{r: a.r, near: a.r.inbound(a.r.child("site", suite, true))}
					next.feed(20)
					moved, err = a.r.d.Relocate(a.r.cell("site"), false, to, true)
					if at := slices.IndexFunc(moved, func(m Moved) bool { return m.SPI == next.near.child.SPI }); err != nil || moved[at].From != to || moved[at].Rekey {
						t.Errorf("the next SA: %+v, %v, want it at %s", moved, err, to)
					}
				})
			}
		}
	}
}

// By the order an inbound SA whose window a device has stays there until its next rekey, and none goes there before.
func TestInboundMovesByOrder(t *testing.T) {
	a := inboundAt(t, PlaceLookasideProtocol, "aes128gcm16")
	a.feed(5)
	for range 2 {
		if m := a.r.relocate("site", false, PlaceAuto); m.Rekey || m.Err != nil || m.To != PlaceLookasideProtocol || !m.Stays || !a.r.inbounds()[0].Stays {
			t.Errorf("%+v, want it to stay", m)
		}
	}
	a.feed(5)
	a.again()
}

// Numbers of a crypto device that counts by itself end where those of an SA without ESN do: there is no jump beyond them, neither to the device nor from it.
func TestMovesNearTheLastNumber(t *testing.T) {
	for _, from := range []Place{PlaceCPU, PlaceLookasideProtocol} {
		t.Run(from.String(), func(t *testing.T) {
			r, _ := everywhere(t, rigOptions{card: &card{}})
			if _, err := r.d.Relocate(r.cell("site"), true, from, true); err != nil {
				t.Fatal(err)
			}
			child := r.child("site", "aes128gcm16", false)
			child.FirstSequence = math.MaxUint32 - inHand
			wire := r.watch(r.outbound(child))
			r.send(0, 10)
			r.settle()
			wire.look()
			for _, to := range []Place{PlaceCPU, PlaceLookasideProtocol, PlaceLookasideCrypto} {
				if to == from || from == PlaceCPU && to == PlaceLookasideCrypto {
					continue
				}
				if m := r.relocate("site", true, to); m.Err == nil || !strings.Contains(m.Err.Error(), tooFewNumbers) || m.To != from {
					t.Errorf("%+v, want it refused for %q", m, tooFewNumbers)
				}
			}
			r.send(10, 10)
			r.settle()
			wire.look()
			if len(wire.inside) != 20 {
				t.Errorf("%d packets of 20", len(wire.inside))
			}
		})
	}
}

// The NIC that an outbound SA is at is lost: a crypto device that counts by itself goes on behind its numbers, and when that is lost too the CPU behind those.
func TestOutboundFleesByProtocol(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r, device := everywhere(t, rigOptions{card: c})
		wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
		sent := 0
		feed := func() {
			r.send(sent, 20)
			sent += 20
			r.settle()
			wire.look()
		}
		r.goTo(true, PlaceInline)
		feed()
		r.goTo(true, PlaceLookasideProtocol)
		c.gone = true
		feed()
		r.rest()
		feed()
		device.Set(faulty.Mute)
		r.send(sent, 1) // lost with the device
		r.turns(2)
		r.silence()
		r.tick()
		device.Set(faulty.None)
		r.rest()
		feed()
		wire.look()
		if at := r.d.SACounters()[0]; at.Whole || len(wire.inside) < sent || len(r.seen.expired) != 0 {
			t.Errorf("whole %t, %d packets of %d, asked for others: %v", at.Whole, len(wire.inside), sent, r.seen.expired)
		}
	})
}

// A crypto device is lost, and the next one does nothing but all of ESP: outbound it goes on, inbound it would begin with an empty window. The SA blocks, and IKE is asked for another.
func TestFleesToADeviceThatDoesAllOfESP(t *testing.T) {
	names := []string{fmt.Sprintf("crypto_openssl_flee%d", lookasideNumber.Add(1)), fmt.Sprintf("crypto_null_flee%d", lookasideNumber.Add(1))}
	whole, err := wholedev.Offer(names[1], wholedev.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(whole.Withdraw)
	pool := openLookaside(t, names...)
	device, err := faulty.Attach(names[0], testWorkers)
	if err = errors.Join(err, whole.Attach(testWorkers)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := device.Detach(); err != nil {
			t.Error(err)
		}
	})
	r := newRig(t, rigOptions{crypto: pool})
	t.Cleanup(func() { device.Set(faulty.None) })
	in := r.child("site", "aes128gcm16", true)
	a := &arrivals{r: r, near: r.inbound(in)}
	wire := r.watch(r.outbound(r.child("site", "aes128gcm16", false)))
	a.feed(10)
	r.send(0, 10)
	r.settle()
	wire.look()
	device.Set(faulty.Mute)
	r.send(100, 3)
	r.turns(2)
	r.silence()
	r.now = r.now.Add(time.Second)
	r.serveAll()
	same(t, "told", r.seen.offload, []OffloadChange{{Device: names[0], Lost: true, Why: "has stopped answering", Moved: 1, Blocked: 1}})
	same(t, "asked for others", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", in.Cell, in.SPI)})
	a.again()
	r.rest()
	r.send(10, 10)
	r.settle()
	wire.look()
	if len(wire.inside) != 20 {
		t.Errorf("%d packets of 20 left", len(wire.inside))
	}
}
