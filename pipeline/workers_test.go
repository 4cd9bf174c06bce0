package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// With two workers, ESP that reaches the worker that does not own its SA is handed over, and one window judges all.
func TestHandover(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{workers: 2})
		first, second := r.child("site", suite, true), r.child("site", suite, true)
		a, b := r.inbound(first), r.inbound(second)
		if r.d.sad.inbound[first.SPI].owner == r.d.sad.inbound[second.SPI].owner {
			t.Error("two SAs, two workers, one owner")
		}
		r.outbound(r.child("site", suite, false))
		for i := range 100 {
			for _, near := range []*referenceOut{a, b} {
				near.sequence++
				frame := fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
				if o, _ := r.checkOn(i%2, wan, frame); o.Disposition != packetForwarded {
					t.Fatalf("%+v", o)
				}
				if o, _ := r.checkOn((i+1)%2, wan, frame); o.Reason != "replay_duplicate" {
					t.Fatalf("replayed through the other worker: %+v", o)
				}
			}
			r.checkOn(i%2, lan, fromHost(tcp(lanHost, farHost))) // both workers number the packets of one SA
		}
	}
}

// Mixed traffic in bursts over two workers: nothing is lost from the counts and no buffer is lost at all.
func TestConservation(t *testing.T) {
	r := newRig(t, rigOptions{workers: 2, rules: []rule{siteRule, {name: "out", source: "10.1.0.0/24", destination: "198.51.100.0/24"}, {name: "ping", source: "any", destination: "my", protocol: 1}}})
	r.outbound(r.child("site", "aes128-sha256", false))
	nears := []*referenceOut{r.inbound(r.child("site", "aes128gcm16", true)), r.inbound(r.child("site", "aes256-sha512", true))}
	for round := range 200 {
		for w := range 2 {
			var lanBurst, wanBurst [][]byte
			for range r.random.IntN(40) {
				lanBurst = append(lanBurst, randomFrame(r.random, nil))
				wanBurst = append(wanBurst, randomFrame(r.random, nears[r.random.IntN(2)]))
			}
			r.enqueue(w, lan, lanBurst...)
			r.enqueue(w, wan, wanBurst...)
		}
		r.settle()
		r.serveAll()
		r.settle()
		if round%20 == 0 {
			c := r.d.Counters()
			if err := c.Conserved(); err != nil {
				t.Fatal(err)
			}
		}
		r.sent(lan)
		r.sent(wan)
		r.now = r.now.Add(10 * time.Millisecond)
	}
	c := r.d.Counters()
	var transmitted, forwarded uint64
	for _, p := range c.Ports {
		transmitted += p.Transmitted
		forwarded += p.Forwarded
	}
	if transmitted != forwarded || transmitted == 0 {
		t.Errorf("transmitted %d, forwarded %d", transmitted, forwarded)
	}
}

// randomFrame is a frame as a neighbour may send it, sound or damaged. With near it is from the peer.
func randomFrame(random *rand.Rand, near *referenceOut) []byte {
	var f []byte
	switch random.IntN(5) {
	case 0:
		f = fromHost(icmpPacket(lanHost, lanOwn, icmpEcho, random.IntN(100)))
	case 1:
		f = fromHost(packetOfLength(lanHost, stranger.Next(), 253, 60))
	default:
		f = fromHost(packetOfLength(lanHost, farHost, 253, 20+random.IntN(1500)))
	}
	if near != nil {
		near.sequence++
		f = fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 20+random.IntN(1400)), near.sequence))
	}
	if random.IntN(4) == 0 {
		f[random.IntN(len(f))] ^= byte(1 + random.IntN(255))
	}
	return f
}

// Workers on their own threads: traffic passes, policies and SAs change under it, Stop ends it, and Start begins again.
func TestStartStop(t *testing.T) {
	r := newRig(t, rigOptions{workers: 2, idle: IdleSleep})
	cores := allowedCores(t)
	start := func() {
		t.Helper()
		if err := r.d.Start([]int{cores[0], cores[len(cores)-1]}); err != nil {
			t.Fatal(err)
		}
	}
	start()
	defer r.d.Stop()
	if _, err := r.d.RunBurst(0); err == nil {
		t.Error("RunBurst beside the running worker")
	}
	if err := r.d.Start([]int{0, 0}); err == nil {
		t.Error("started twice")
	}
	near := r.inbound(r.child("site", "aes128gcm16", true))
	r.outbound(r.child("site", "aes128-sha256", false))
	received := func(c Counters) uint64 { return c.Ports[lan].Received + c.Ports[wan].Received }
	for round := range 50 {
		base := received(r.d.Counters())
		for w := range 2 {
			near.sequence++
			r.enqueue(w, lan, fromHost(tcp(lanHost, farHost)))
			r.enqueue(w, wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
		}
		if round%10 == 5 {
			r.applyRules(siteRule, rule{name: fmt.Sprint(round), source: "10.1.0.0/24", destination: "198.51.100.0/24"})
			r.outbound(r.child("site", "aes128gcm16", false))
		}
		waitFor(t, "the packets of a round", func() bool {
			c := r.d.Counters()
			return received(c) == base+4 && c.Conserved() == nil
		})
	}
	r.d.Stop()
	if sent := len(r.sent(lan)) + len(r.sent(wan)); sent != 200 {
		t.Errorf("%d frames left, want 200", sent)
	}
	start()
	r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
	waitFor(t, "a packet after the second start", func() bool { return len(r.sent(wan)) == 1 })
	r.d.Stop()
}

// Close takes back what is inside crypto devices, rings and queues, and a closed data plane says so.
func TestCloseWithPacketsInFlight(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.outbound(r.child("site", "aes128-sha256", false))
	r.setCell("other", CellHold)
	for range 5 {
		r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)), fromHost(packetOfLength(stranger, lanOwn, 1, 60)))
	}
	if _, err := r.d.RunBurst(0); err != nil {
		t.Fatal(err)
	}
	if err := r.d.SendUDP(wanPort, peerPort, []byte("unsent"), false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.d.Close(), r.d.Close()); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{"Apply": r.d.Apply(Snapshot{}), "SendUDP": r.d.SendUDP(wanPort, peerPort, nil, false), "SetCellState": r.d.SetCellState(0, CellHold)} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// Exceptions serves running workers: a host asks for the gateway's address and pings it, IKE and an acquire reach the
// handler, and the end of the context ends it.
func TestExceptions(t *testing.T) {
	r := newRig(t, rigOptions{idle: IdleYield, now: time.Now(), rules: []rule{siteRule, {name: "ping", source: "any", destination: "my", protocol: 1}}})
	cell := r.cell("site")
	r.setCell("site", CellHold)
	if err := r.d.Start(allowedCores(t)[:1]); err != nil {
		t.Fatal(err)
	}
	defer r.d.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	handler, ended := make(events, 16), make(chan error, 1)
	go func() { ended <- r.d.Exceptions(ctx, handler) }()
	r.enqueue(0, lan,
		arpMessage{op: arpRequestOp, senderMAC: macB, senderAddr: stranger, targetAddr: lanOwn}.frame(broadcastMAC),
		etherFrame(lanMAC[:], macB[:], etherTypeIPv4, icmpPacket(stranger, lanOwn, icmpEcho, 30)))
	answers := 0
	waitFor(t, "two answers", func() bool { answers += len(r.sent(lan)); return answers == 2 })
	r.enqueue(0, wan, fromPeer(udpDatagram(netip.AddrPortFrom(peer, 500), netip.AddrPortFrom(wanOwn, 500), []byte("hello"))))
	if got := <-handler; got != "ike hello" {
		t.Errorf("got %s", got)
	}
	r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
	if got, want := <-handler, fmt.Sprintf("acquire %d", cell); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	r.outbound(r.child("site", "aes128gcm16", false))
	waitFor(t, "the held packet", func() bool { return len(r.sent(wan)) == 1 })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Exceptions returned %v", err)
	}
	r.d.Stop()
}

// events is a Handler that writes down what it hears.
type events chan string

func (e events) IKE(d Datagram)                            { e <- "ike " + string(d.Payload) }
func (e events) Acquire(a Acquire)                         { e <- fmt.Sprint("acquire ", a.Cell) }
func (e events) Group(Group)                               {}
func (e events) Heard(netip.Addr)                          {}
func (e events) Offload(OffloadChange)                     {}
func (e events) Echo(Echo)                                 {}
func (e events) Moved(CellID, uint32, netip.AddrPort)      {}
func (e events) Expire(_ CellID, spi uint32, _, hard bool) { e <- fmt.Sprint("expire ", spi, hard) }

// patience is how long a test waits for something that happens at once on an idle machine.
const patience = time.Minute

// waitFor polls for something that happens on another thread.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func allowedCores(t *testing.T) (cores []int) {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for core := range len(set) * 64 {
		if set.IsSet(core) {
			cores = append(cores, core)
		}
	}
	return cores
}

// Go's threads leave the data cores, or share them when there are no others.
func TestKeepOff(t *testing.T) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	procs := runtime.GOMAXPROCS(0)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		if err := moveThreads(&before); err != nil {
			t.Error(err)
		}
	})
	cores := allowedCores(t)
	if shared, err := KeepOff(cores); err != nil || !shared {
		t.Errorf("no core left: shared %v, %v", shared, err)
	}
	if _, err := KeepOff([]int{1023}); err == nil {
		t.Error("a core that is not there")
	}
	last := cores[len(cores)-1]
	shared, err := KeepOff([]int{last})
	if err != nil || shared != (len(cores) == 1) {
		t.Fatalf("shared %v, %v", shared, err)
	}
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil || !shared && now.IsSet(last) {
		t.Errorf("a thread is still allowed on data core %d (%v)", last, err)
	}
}
