package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/crypto/cryptodev"
	"sallyport/crypto/cryptodev/faulty"
	"sallyport/crypto/cryptodev/wholedev"
)

var lookasideNumber atomic.Int32

// lookasideRoom is how many operations a device of these tests has room for: fewer than a burst. It is the same in all, since the driver keeps
// its rings when a device is gone, and the next one of that number gets none that are larger.
const lookasideRoom = 7

// openLookaside opens devices whose queues have little room.
func openLookaside(t *testing.T, names ...string) *cryptodev.Pool {
	t.Helper()
	pool, err := cryptodev.Open(cryptodev.Options{Devices: names, QueuePairs: testWorkers, Sessions: 64, Descriptors: lookasideRoom + 1, Socket: cryptodev.SocketAny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return pool
}

// lookasideRig is a rig whose SAs of AES-GCM go through the queues of the first of its devices.
type lookasideRig struct {
	*rig
	names   []string
	devices []*lookasideDevice
}

// lookasideDevice can be told to misbehave.
type lookasideDevice struct {
	fault *faulty.Device
	whole *wholedev.Device // that does all of ESP, nil for one that does the crypto alone
}

func (d *lookasideDevice) failSessions(nth int) {
	if d.whole != nil {
		d.whole.FailSessions(nth, false)
		return
	}
	d.fault.FailSessions(nth)
}

// failSessionsLate is the same with keys that the driver has written by then.
func (d *lookasideDevice) failSessionsLate(nth int) {
	if d.whole != nil {
		d.whole.FailSessions(nth, true)
		return
	}
	d.fault.FailSessionsLate(nth)
}

// eachLookaside runs a test with devices that do the crypto, and with devices that do all of ESP.
func eachLookaside(t *testing.T, run func(t *testing.T, whole bool)) {
	for _, whole := range []bool{false, true} {
		t.Run(map[bool]string{false: "crypto", true: "protocol"}[whole], func(t *testing.T) { run(t, whole) })
	}
}

// lookaside makes a rig with so many devices.
func lookaside(t *testing.T, devices int, whole bool) *lookasideRig {
	t.Helper()
	l := &lookasideRig{}
	for range devices {
		d := &lookasideDevice{}
		name := fmt.Sprintf("crypto_openssl_look%d", lookasideNumber.Add(1))
		if whole {
			name = fmt.Sprintf("crypto_null_look%d", lookasideNumber.Add(1))
			var err error
			if d.whole, err = wholedev.Offer(name, wholedev.Options{}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(d.whole.Withdraw)
		}
		l.names, l.devices = append(l.names, name), append(l.devices, d)
	}
	pool := openLookaside(t, l.names...)
	for i, d := range l.devices {
		if d.whole != nil {
			if err := d.whole.Attach(testWorkers); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if d.fault, err = faulty.Attach(l.names[i], testWorkers); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.fault.Detach(); err != nil {
				t.Error(err)
			}
		})
	}
	l.rig = newRig(t, rigOptions{crypto: pool})
	t.Cleanup(func() { // before the rig's, which waits for all to come back
		for _, d := range l.devices {
			d.fault.Set(faulty.None)
		}
	})
	return l
}

// keyOf is the cipher's key of an SA that is going to be installed.
func keyOf(child ChildSA) []byte { return slices.Clone(child.Keymat.Bytes()[:child.Suite.KeyLen()]) }

// wantNoKeys lets all SAs go, and looks for keys of theirs in DPDK's memory.
func (r *rig) wantNoKeys(keys ...[]byte) {
	r.t.Helper()
	r.d.mu.Lock()
	r.d.removeAllSAs()
	r.d.mu.Unlock()
	r.turns(2)
	r.now = r.now.Add(time.Second)
	r.serveAll()
	for i, key := range keys {
		if n := faulty.Traces(key); n != 0 {
			r.t.Errorf("key %d of %d is in memory %d times after its SA is gone", i+1, len(keys), n)
		}
	}
}

// numbered is the i-th packet to the other site.
func numbered(i int) ipv4 {
	p := packetOfLength(lanHost, farHost, 253, 60)
	binary.BigEndian.PutUint32(p[ipv4HeaderLen:], uint32(i))
	return p
}

// send lets packets from first on come in from the LAN.
func (r *rig) send(first, n int) {
	r.t.Helper()
	var frames [][]byte
	for i := range n {
		frames = append(frames, fromHost(numbered(first+i)))
	}
	r.enqueue(0, lan, frames...)
}

// turns lets the first worker run, whatever it has still to do then.
func (r *rig) turns(n int) {
	r.t.Helper()
	for range n {
		if _, err := r.d.RunBurst(0); err != nil {
			r.t.Fatal(err)
		}
	}
}

// numbers are the numbers of packets that left for the other site, each opened by the far end.
func (r *rig) numbers(far *referenceIn) (list []int) {
	r.t.Helper()
	for _, frame := range r.sent(wan) {
		inner := r.reveal(far, frame)
		i := int(binary.BigEndian.Uint32(inner[ipv4HeaderLen:]))
		same(r.t, "inside", []byte(inner), []byte(decrementTTL(numbered(i))))
		list = append(list, i)
	}
	return list
}

// silence lets so much time pass that a device which does nothing is lost: the time counts in steps of 10 ms.
func (r *rig) silence() {
	r.t.Helper()
	for range 110 {
		r.d.advance(10 * time.Millisecond)
		r.turns(1)
	}
}

func ascending(first, n int) (list []int) {
	for i := range n {
		list = append(list, first+i)
	}
	return list
}

// A burst is more than the device has room for: all of it gets through, in order.
func TestQueueOfFewDescriptors(t *testing.T) {
	eachLookaside(t, queueOfFewDescriptors)
}

func queueOfFewDescriptors(t *testing.T, whole bool) {
	for _, fault := range []faulty.Fault{faulty.None, faulty.Few} {
		r := lookaside(t, 1, whole)
		r.devices[0].fault.Set(fault)
		far := r.outbound(r.child("site", "aes128gcm16", false))
		near := r.inbound(r.child("site", "aes128gcm16", true))
		r.send(0, 500)
		for range 100 {
			near.sequence++
			r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		}
		r.settle()
		same(t, "to the other site", r.numbers(far), ascending(0, 500))
		if got := len(r.sent(lan)); got != 100 {
			t.Errorf("%d packets from the other site, want 100", got)
		}
	}
}

// What a device has no room for waits, up to a bound; what comes then is dropped and counted, and what waited is sent in order.
func TestQueueIsFull(t *testing.T) {
	eachLookaside(t, queueIsFull)
}

func queueIsFull(t *testing.T, whole bool) {
	const room, waiting, beyond = lookasideRoom, 1024, 45
	r := lookaside(t, 1, whole)
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.devices[0].fault.Set(faulty.Mute)
	before := r.tally()
	for sent := 0; sent < room+waiting+beyond; {
		n := min(512, room+waiting+beyond-sent)
		r.send(sent, n)
		r.turns(n/32 + 1)
		sent += n
	}
	if c := r.d.Counters().Devices[0]; c.Held != room || c.Waiting != waiting || c.Lost {
		t.Errorf("%+v, want %d in the device and %d that wait", c, room, waiting)
	}
	if n := len(r.sent(wan)); n != 0 {
		t.Errorf("%d packets left, and the device gave none back", n)
	}
	r.devices[0].fault.Set(faulty.None)
	var got []int
	for range 10000 {
		r.turns(1)
		if got = append(got, r.numbers(far)...); r.d.InFlight(0) == 0 {
			break
		}
	}
	same(t, "once the device goes on", got, ascending(0, room+waiting))
	same(t, "accounts", ends(before, r.tally()), map[string]int{"forwarded": room + waiting, "crypto_queue_full": beyond})
}

// Devices may give back in any order. Keys outlive the operation that needs them, however many later ones are done with.
func TestEpochWaitsForTheOldest(t *testing.T) { eachLookaside(t, epochWaitsForTheOldest) }

func epochWaitsForTheOldest(t *testing.T, whole bool) {
	r := lookaside(t, 1, whole)
	former := r.outbound(r.child("site", "aes128gcm16", false))
	r.devices[0].fault.Set(faulty.Keep)
	r.send(0, 1)
	r.turns(2)
	freed := false
	far := r.outbound(r.child("site", "aes128gcm16", false)) // the former SA waits for its grace period from now on
	r.d.mu.Lock()
	r.d.retire(func() error { freed = true; return nil })
	r.d.mu.Unlock()
	for i := range 40 {
		r.send(1+i, 1)
		r.turns(1)
	}
	same(t, "behind the one that is kept", r.numbers(far), ascending(1, 40))
	reclaim := func() {
		r.d.mu.Lock()
		r.d.reclaim()
		r.d.mu.Unlock()
	}
	if reclaim(); freed {
		t.Fatal("freed, and an operation of that time is with the device")
	}
	r.devices[0].fault.Set(faulty.None)
	r.settle()
	same(t, "the one that was kept", r.numbers(former), []int{0})
	if reclaim(); !freed {
		t.Error("not freed, and no operation of that time is left")
	}
	// from then on epochs go on while there is always something with the device
	r.devices[0].fault.Set(faulty.Keep)
	for round := range 5 {
		freed = false
		r.d.mu.Lock()
		r.d.retire(func() error { freed = true; return nil })
		r.d.mu.Unlock()
		for range 6 {
			r.devices[0].fault.Set(faulty.None)
			r.turns(1)
			r.devices[0].fault.Set(faulty.Keep)
			r.send(100, 2)
			r.turns(1)
		}
		if r.d.InFlight(0) == 0 {
			t.Fatal("nothing is with the device")
		}
		if reclaim(); !freed {
			t.Errorf("round %d: an epoch does not end while newer operations follow older ones", round)
		}
	}
}

// Faults of a device that goes on: each packet has one end, good ones get through, and nothing leaves in clear (S-102).
func TestFaultsOfADevice(t *testing.T) { eachLookaside(t, faultsOfADevice) }

func faultsOfADevice(t *testing.T, whole bool) {
	const n = 300
	cases := map[string]struct {
		fault   faulty.Fault
		good    int
		dropped string
		unknown bool
	}{
		"another order": {fault: faulty.Shuffle, good: n},
		"errors":        {fault: faulty.Error, good: n / 2, dropped: "crypto_error"},
		"twice":         {fault: faulty.Repeat, good: n, unknown: true},
		"takes nothing": {fault: faulty.Refuse, dropped: "crypto_error"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := lookaside(t, 1, whole)
			out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
			keys := [][]byte{keyOf(out), keyOf(in)}
			far, near := r.outbound(out), r.inbound(in)
			if whole && faulty.Traces(keys[0]) == 0 {
				t.Error("the key is in no session's memory: this test looks in the wrong place")
			}
			r.devices[0].fault.Set(c.fault)
			before := r.tally()
			r.send(0, n)
			r.settle()
			got := r.numbers(far)
			seen := map[int]bool{}
			for _, i := range got {
				seen[i] = true
			}
			if len(got) != c.good || len(seen) != c.good {
				t.Errorf("%d packets, %d different ones, want %d", len(got), len(seen), c.good)
			}
			for range n {
				near.sequence++
				r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
			}
			r.settle()
			if got := len(r.sent(lan)); got != c.good {
				t.Errorf("%d packets from the other site, want %d", got, c.good)
			}
			want := map[string]int{"forwarded": 2 * c.good}
			if c.good == 0 {
				want = map[string]int{}
			}
			if c.dropped != "" {
				want[c.dropped] = 2 * (n - c.good)
			}
			same(t, "accounts", ends(before, r.tally()), want)
			counters := r.d.Counters()
			if d := counters.Devices[0]; d.Unknown > 0 != c.unknown || d.Held != 0 || d.Waiting != 0 {
				t.Errorf("%+v", d)
			}
			for _, sa := range counters.SAs {
				if int(sa.Drops["crypto_error"]) != want["crypto_error"]/2 || sa.Whole != whole {
					t.Errorf("SA %#x, outbound %t, whole %t: drops %v, want %d", sa.SPI, sa.Outbound, sa.Whole, sa.Drops, want["crypto_error"]/2)
				}
			}
			r.wantNoKeys(keys...)
		})
	}
}

// A device that takes nothing for a time is lost like one that gives nothing back.
func TestDeviceThatTakesNothing(t *testing.T) { eachLookaside(t, deviceThatTakesNothing) }

func deviceThatTakesNothing(t *testing.T, whole bool) {
	r := lookaside(t, 1, whole)
	r.outbound(r.child("site", "aes128gcm16", false))
	r.devices[0].fault.Set(faulty.Refuse)
	for i := 0; !r.d.Counters().Devices[0].Lost; i++ {
		if i > 200 {
			t.Fatal("not found lost")
		}
		r.send(i, 1)
		r.d.advance(10 * time.Millisecond)
		r.turns(1)
	}
	r.devices[0].fault.Set(faulty.None)
	before := r.tally()
	r.send(0, 3)
	r.settle()
	same(t, "accounts", ends(before, r.tally()), map[string]int{"crypto_device_lost": 3})
}

// A device stops answering under traffic. What it had is dropped, its buffers stay until it is stopped; its SAs go on by the next device, with their numbers and windows: nobody
// has to negotiate, so that those with keys of the operator's go on too. An inbound SA whose window the device has blocks, and IKE is asked for another, which the next device
// carries (S-102).
func TestDeviceIsLost(t *testing.T) { eachLookaside(t, deviceIsLost) }

func deviceIsLost(t *testing.T, whole bool) {
	const inside, more = lookasideRoom, 40
	r := lookaside(t, 2, whole)
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
	keys := [][]byte{keyOf(out), keyOf(in)}
	far, near := r.outbound(out), r.inbound(in)
	r.send(0, 10)
	r.settle()
	same(t, "before", r.numbers(far), ascending(0, 10))
	before := r.tally()
	r.devices[0].fault.Set(faulty.Mute)
	r.send(10, inside)
	r.turns(3)
	for range more { // these wait
		near.sequence++
		r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
	}
	r.turns(3)
	if c := r.d.Counters().Devices[0]; c.Held != inside || c.Waiting != more || c.Lost {
		t.Fatalf("%+v, want %d in the device and %d that wait", c, inside, more)
	}
	r.silence()
	same(t, "accounts of the loss", ends(before, r.tally()), map[string]int{"crypto_device_lost": inside + more})
	if c := r.d.Counters().Devices[0]; c.Held != inside || c.Waiting != 0 || !c.Lost {
		t.Errorf("%+v, want it lost with %d packets", c, inside)
	}
	if n := r.pool.InUse(); n != inside {
		t.Errorf("%d buffers in use, want the %d that the device may still write to", n, inside)
	}
	blocked := "crypto_device_lost"
	r.send(200, 5)
	r.turns(2)
	if frames := append(r.sent(wan), r.sent(lan)...); len(frames) != 0 {
		t.Errorf("%d packets left by SAs of a lost device", len(frames))
	}
	for _, sa := range r.d.Counters().SAs {
		want := map[bool]int{true: inside + 5, false: more}[sa.Outbound]
		if int(sa.Drops[blocked]) != want {
			t.Errorf("SA %#x, outbound %t: drops %v, want %d of %s", sa.SPI, sa.Outbound, sa.Drops, want, blocked)
		}
	}
	r.now = r.now.Add(time.Second)
	r.serveAll()
	change, expired := OffloadChange{Device: r.d.Counters().Devices[0].Name, Lost: true, Why: "has stopped answering", Moved: 2}, []string(nil)
	if whole {
		change.Moved, change.Blocked, expired = 1, 1, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", in.Cell, in.SPI)}
	}
	same(t, "asked for others", r.seen.expired, expired)
	same(t, "told", r.seen.offload, []OffloadChange{change})
	r.turns(2)
	r.now = r.now.Add(time.Second)
	r.serveAll() // the grace period is over, the device stopped
	if n := r.pool.InUse(); n != 0 {
		t.Errorf("%d buffers in use after the device was stopped", n)
	}
	r.devices[0].fault.Set(faulty.None)
	if whole {
		near.sequence++
		r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		r.settle()
		if frames := r.sent(lan); len(frames) != 0 {
			t.Errorf("%d packets got in whose numbers nobody has looked at", len(frames))
		}
		near = r.inbound(r.child("site", "aes128gcm16", true))
	}
	r.send(300, 20)
	r.settle()
	same(t, "by the next device", r.numbers(far), ascending(300, 20))
	near.sequence++
	r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
	r.settle()
	if frames := r.sent(lan); len(frames) != 1 {
		t.Errorf("%d packets from the other site by the next device, want 1", len(frames))
	}
	if c := r.d.Counters().Devices; !c[0].Lost || c[1].Lost || c[1].Operations != 21 {
		t.Errorf("%+v", c)
	}
	r.wantNoKeys(keys...)
}

// The data plane ends under a device that never answers.
func TestCloseWithAMuteDevice(t *testing.T) { eachLookaside(t, closeWithAMuteDevice) }

func closeWithAMuteDevice(t *testing.T, whole bool) {
	r := lookaside(t, 1, whole)
	r.outbound(r.child("site", "aes128gcm16", false))
	r.devices[0].fault.Set(faulty.Mute)
	r.send(0, 20)
	r.turns(2)
	if err := r.d.Close(); err != nil {
		t.Error(err)
	}
	if n := r.pool.InUse(); n != 0 {
		t.Errorf("%d buffers in use", n)
	}
}

// A device that fails half of its sessions, or all: the next device has them. Where all do there is no SA, and nothing passes (S-102).
func TestSessionsFail(t *testing.T) { eachLookaside(t, sessionsFail) }

func sessionsFail(t *testing.T, whole bool) {
	r := lookaside(t, 2, whole)
	r.devices[0].failSessions(2)
	carried, keys := map[string]int{}, [][]byte{}
	for i := range 8 {
		child := r.child("site", "aes128gcm16", false)
		keys = append(keys, keyOf(child))
		far := r.outbound(child)
		r.send(i, 1)
		r.settle()
		same(t, "sent", r.numbers(far), []int{i})
		for _, sa := range r.d.SACounters() {
			carried[sa.Device]++
		}
	}
	names := r.d.Counters().Devices
	if carried[names[0].Name] != 4 || carried[names[1].Name] != 4 {
		t.Errorf("SAs by device: %v, want 4 each", carried)
	}
	r.devices[0].failSessions(1)
	r.devices[1].failSessions(1)
	r.setCell("site", CellClosed)
	if err := r.d.InstallOutbound(r.child("other", "aes128gcm16", false)); err == nil || !strings.Contains(err.Error(), names[1].Name) {
		t.Errorf("an SA without a session: %v, want an error that names the devices", err)
	}
	r.applyRules(siteRule, rule{name: "other", source: "10.1.0.0/16", destination: "198.51.100.0/24", tunnel: "other"})
	r.enqueue(0, lan, fromHost(tcp(lanHost, stranger)))
	r.settle()
	for _, frame := range r.sent(wan) {
		if bytes.Contains(frame, stranger.AsSlice()) {
			t.Errorf("in clear: % x", frame)
		}
	}
	r.wantNoKeys(keys...)
}

// Several devices serve as one, by DPDK's scheduler: also those whose work a worker could do itself, which says nothing of a scheduler.
func TestScheduler(t *testing.T) {
	for _, x := range []struct{ mode, one, other string }{
		{"round-robin", "openssl", "openssl"}, {"fail-over", "openssl", "openssl"}, {"round-robin", "aesni_mb", "aesni_mb"}, {"round-robin", "openssl", "aesni_mb"},
	} {
		t.Run(fmt.Sprint(x), func(t *testing.T) {
			n := lookasideNumber.Add(1)
			name := fmt.Sprintf("crypto_scheduler_%d,worker=crypto_%s_s%da,worker=crypto_%s_s%db,mode=%s,ordering=enable", n, x.one, n, x.other, n, x.mode)
			r := newRig(t, rigOptions{crypto: openLookaside(t, name)})
			far := r.outbound(r.child("site", "aes128gcm16", false))
			near := r.inbound(r.child("site", "aes128-sha256", true))
			r.send(0, 300)
			for range 50 {
				near.sequence++
				r.enqueue(0, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
			}
			r.settle()
			same(t, "to the other site", r.numbers(far), ascending(0, 300))
			if got := len(r.sent(lan)); got != 50 {
				t.Errorf("%d packets from the other site, want 50", got)
			}
		})
	}
}
