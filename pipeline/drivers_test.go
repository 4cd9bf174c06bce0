package pipeline

import (
	"fmt"
	"net/netip"
	"testing"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
)

// waitingCard is a card whose driver takes its time over sessions, as long as the test wants it.
type waitingCard struct {
	*card
	holds   func(outbound bool, spi uint32) bool // over which of them
	entered chan struct{}
	goOn    chan struct{}
	closes  bool // over those that are taken back too
}

func newWaitingCard() *waitingCard {
	return &waitingCard{card: &card{}, entered: make(chan struct{}, 1<<12), goOn: make(chan struct{})}
}

func (w *waitingCard) wait() {
	w.entered <- struct{}{}
	<-w.goOn
}

func (w *waitingCard) Open(port uint16, sa *InlineSA) (InlineSession, error) {
	if w.holds != nil && w.holds(sa.Outbound, sa.SPI) {
		w.wait()
	}
	return w.card.Open(port, sa)
}

func (w *waitingCard) Close(session InlineSession) error {
	if s := w.open(session); w.closes && w.holds(s.outbound, s.sa.SPI) {
		w.wait()
	}
	return w.card.Close(session)
}

// open is what the card has of a session.
func (w *waitingCard) open(session InlineSession) *cardSession {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sessions[int(uintptr(session.Handle)-uintptr(session.Context))]
}

// goesOn does all that must not wait for a driver: another SA comes and goes, SAs are shown, and the slow path has its turn.
func (r *rig) goesOn(w *waitingCard) {
	r.t.Helper()
	<-w.entered
	r.besides()
}

func (r *rig) besides() {
	r.t.Helper()
	in := r.child("other", "aes128gcm16", true)
	if err := r.d.InstallInbound(in); err != nil {
		r.t.Fatal(err)
	}
	shown := false
	for _, sa := range r.d.SACounters() {
		shown = shown || sa.SPI == in.SPI
	}
	if !shown {
		r.t.Error("an SA that came while a driver took its time is not shown")
	}
	if err := r.d.RemoveInbound(in.SPI); err != nil {
		r.t.Error(err)
	}
	r.now = r.now.Add(slowPathTick)
	if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
		r.t.Error(err)
	}
}

// A driver takes its time over a session of one SA that comes, or is moved there, or is taken away: others come, go and are shown meanwhile, and the SA is where it belongs when the
// driver is ready.
func TestSlowDriver(t *testing.T) {
	for _, outbound := range []bool{true, false} {
		t.Run(fmt.Sprint("outbound ", outbound), func(t *testing.T) {
			w := newWaitingCard()
			r, _ := everywhere(t, rigOptions{card: w.card})
			r.d.cfg.Inline = w
			child := r.child("site", "aes128gcm16", !outbound)
			w.holds = func(_ bool, spi uint32) bool { return spi == child.SPI }
			at := func(want Place) {
				t.Helper()
				sa := r.d.sad.find(child.Cell, child.SPI, outbound)
				if got := sa.place(false); got != want {
					t.Errorf("at %s, want %s", got, want)
				}
			}
			besides := func(do func() error) {
				t.Helper()
				done := make(chan error)
				go func() { done <- do() }()
				r.goesOn(w)
				w.goOn <- struct{}{}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			besides(func() error {
				if outbound {
					return r.d.InstallOutbound(child)
				}
				return r.d.InstallInbound(child)
			})
			at(PlaceInlineCrypto)
			move := func(place Place) func() error {
				return func() error {
					moved, err := r.d.Relocate(child.Cell, outbound, place, true)
					if err != nil || len(moved) != 1 {
						return fmt.Errorf("%+v, %w", moved, err)
					}
					return moved[0].Err
				}
			}
			w.holds = nil
			if err := move(PlaceCPU)(); err != nil {
				t.Fatal(err)
			}
			r.rest()
			at(PlaceCPU)
			w.holds = func(_ bool, spi uint32) bool { return spi == child.SPI }
			besides(move(PlaceInline))
			r.rest()
			at(PlaceInlineCrypto)
			w.closes = true
			if outbound {
				if err := move(PlaceCPU)(); err != nil {
					t.Fatal(err)
				}
				for len(w.entered) == 0 { // until nobody uses the session
					r.turns(2)
					r.now = r.now.Add(slowPathTick)
					if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
						t.Fatal(err)
					}
				}
				r.goesOn(w)
			} else {
				besides(move(PlaceCPU))
			}
			close(w.goOn)
			r.rest()
			at(PlaceCPU)
			if len(w.sessions) != 0 {
				t.Errorf("%d sessions are left", len(w.sessions))
			}
		})
	}
}

// An SA ends while a driver makes its next session: nothing is left of either, whichever is known to be over first.
func TestEndWithASlowDriver(t *testing.T) {
	for _, outbound := range []bool{true, false} {
		for _, used := range []bool{false, true} {
			t.Run(fmt.Sprintf("outbound %t, workers know it when the driver is ready %t", outbound, used), func(t *testing.T) {
				w := newWaitingCard()
				r, device := everywhere(t, rigOptions{card: w.card})
				r.d.cfg.Inline = w
				r.d.sad.wish(r.cell("site"), true, PlaceLookasideCrypto)
				r.outbound(r.child("site", "aes128gcm16", false))
				child := r.child("end", "aes128gcm16", !outbound)
				key := keyOf(child)
				r.d.sad.wish(child.Cell, outbound, PlaceCPU)
				if outbound {
					r.outbound(child)
				} else {
					r.inbound(child)
				}
				if used {
					device.Set(faulty.Mute)
					r.send(0, 1)
					r.turns(2)
				}
				w.holds = func(bool, uint32) bool { return true }
				done := make(chan struct{})
				go func() {
					_, _ = r.d.Relocate(child.Cell, outbound, PlaceInline, true)
					close(done)
				}()
				<-w.entered
				r.d.mu.Lock()
				if outbound {
					r.d.removeOutbound(child.Cell, child.SPI)
				} else {
					r.d.removeInbound(child.SPI)
				}
				if waits := len(r.d.graves.graves) > 0; waits != used {
					t.Errorf("the end waits for workers %t", waits)
				}
				r.d.mu.Unlock()
				close(w.goOn)
				<-done
				r.rests()
				device.Set(faulty.None)
				r.settle()
				r.rest()
				r.wantNoKeys(key)
				if len(w.sessions) != 0 || len(r.d.sad.moving) != 0 {
					t.Errorf("%d sessions, %d moves are left", len(w.sessions), len(r.d.sad.moving))
				}
			})
		}
	}
}

// A thousand SAs leave a NIC that is lost, and another when routes change: one after the other, and others need not wait until all have gone.
func TestManyMoveOneByOne(t *testing.T) {
	const n = 1000
	pool, err := cryptodev.Open(cryptodev.Options{Devices: []string{"crypto_aesni_mb_thousand"}, QueuePairs: testWorkers, Sessions: 4 * n, Socket: cryptodev.SocketAny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWaitingCard()
	r := newRig(t, rigOptions{card: w.card, crypto: pool, cells: n + 8})
	r.d.cfg.Inline = w
	r.routeBy(wan)
	for i := range n {
		child := r.child(fmt.Sprint("many", i), "aes128-sha256", false)
		child.Remote = distant
		r.outbound(child)
	}
	atNIC := func(port int) (count int) {
		for _, sa := range r.d.SACounters() {
			if sa.Inline.Session && sa.Inline.Port == uint16(r.wire(port).port) && !sa.Inline.Stopped {
				count++
			}
		}
		return count
	}
	opened := 0
	w.holds = func(bool, uint32) bool { opened++; return opened == n/2 }
	s := r.snapshot(r.options.rules...)
	s.Routes = append(s.Routes, Route{To: netip.PrefixFrom(distant.Addr(), 32), Via: r.options.host})
	if err := r.d.Apply(s); err != nil {
		t.Fatal(err)
	}
	r.goesOn(w)
	if gone := atNIC(lan); gone != n/2-1 {
		t.Errorf("%d SAs are at the other port while its driver makes session %d", gone, n/2)
	}
	w.goOn <- struct{}{}
	r.rest()
	if gone := atNIC(lan); gone != n || len(w.sessions) != n {
		t.Errorf("%d SAs of %d have followed the routes, %d sessions", gone, n, len(w.sessions))
	}
	r.d.mu.Lock()
	r.d.loseInline(uint16(r.wire(lan).port), "a test says so")
	if waiting := len(r.d.drivers.errands); waiting < n { // each takes the lock for itself
		t.Errorf("%d SAs wait for their turn, want all %d", waiting, n)
	}
	r.d.mu.Unlock()
	r.rest()
	if lost, _ := r.told(); lost != 1 || r.seen.offload[0].Moved != n || atNIC(lan) != 0 {
		t.Errorf("%+v, %d SAs are where they were", r.seen.offload, atNIC(lan))
	}
}
