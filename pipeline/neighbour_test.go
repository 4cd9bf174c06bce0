package pipeline

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

var (
	epoch      = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	neighbourA = neighbourKey{Port: 0, Address: netip.MustParseAddr("10.1.0.7")}
	macA       = macAddress{2, 0, 0, 0, 0, 7}
	macB       = macAddress{2, 0, 0, 0, 0, 8}
)

func testNeighbours() *neighbours[string] {
	limits := defaultNeighbourLimits(4)
	limits.held = 2
	return newNeighbours[string](limits, 2)
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got  %+v\n want %+v", what, got, want)
	}
}

func TestNeighbourResolves(t *testing.T) {
	n := testNeighbours()
	same(t, "first packet", n.hold(epoch, neighbourA, "p1"), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, broadcastMAC}}})
	same(t, "second packet waits silently", n.hold(epoch, neighbourA, "p2"), neighbourEffects[string]{})
	same(t, "the queue is bounded", n.hold(epoch, neighbourA, "p3"), neighbourEffects[string]{Refused: []string{"p3"}})
	same(t, "answer", n.answer(epoch, neighbourA, macA), neighbourEffects[string]{
		Resolved: []resolved{{neighbourA, macA}}, Released: []string{"p1", "p2"}})
	same(t, "late packet", n.hold(epoch, neighbourA, "p4"), neighbourEffects[string]{
		Resolved: []resolved{{neighbourA, macA}}, Released: []string{"p4"}})
}

func TestNeighbourRetriesAndGivesUp(t *testing.T) {
	n := testNeighbours()
	n.hold(epoch, neighbourA, "p1")
	same(t, "before the retry time", n.tick(epoch.Add(999*time.Millisecond)), neighbourEffects[string]{})
	for i := 1; i <= 2; i++ {
		same(t, "retry", n.tick(epoch.Add(time.Duration(i)*time.Second)), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, broadcastMAC}}})
	}
	same(t, "silence", n.tick(epoch.Add(3*time.Second)), neighbourEffects[string]{Failed: []string{"p1"}})
	same(t, "the next packet asks anew", n.hold(epoch.Add(4*time.Second), neighbourA, "p2"), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, broadcastMAC}}})
}

// A neighbour in doubt is asked every second, known or not by its age, until the doubt is over. For whom it is in doubt is told each time that it leaves a request without an answer.
func TestNeighbourInDoubt(t *testing.T) {
	n := testNeighbours()
	far, until := netip.MustParseAddr("192.0.2.66"), epoch.Add(3*time.Second)
	request := neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, macA}}}
	n.asked(epoch, neighbourA, macA)
	entry := n.table[neighbourA]
	same(t, "no doubt", n.tick(epoch), neighbourEffects[string]{})
	entry.doubt(far, until, 0)
	same(t, "what it said unasked is no answer", n.tick(epoch), request)
	n.answer(epoch, neighbourA, macB)
	same(t, "another's answer", n.tick(epoch.Add(time.Second-1)), neighbourEffects[string]{})
	n.answer(epoch.Add(time.Second-1), neighbourA, macA)
	same(t, "an answer a moment old", n.tick(epoch.Add(time.Second)), neighbourEffects[string]{})
	same(t, "an answer a second old", n.tick(epoch.Add(2*time.Second-1)), request)
	unsure := request
	unsure.Unsure = []netip.Addr{far}
	same(t, "a request without an answer", n.tick(epoch.Add(3*time.Second-1)), unsure)
	n.answer(epoch.Add(3*time.Second-1), neighbourA, macA)
	same(t, "doubt is over", n.tick(epoch.Add(5*time.Second)), neighbourEffects[string]{})
	same(t, "those in doubt", len(entry.doubts), 0)

	entry.doubt(far, epoch.Add(time.Hour), 0)
	same(t, "it goes", n.tick(epoch.Add(6*time.Second)), request)
	for i := range 2 {
		same(t, "it is gone", n.tick(epoch.Add(time.Duration(7+i)*time.Second)), unsure)
	}
	same(t, "it is given up", n.tick(epoch.Add(9*time.Second)), neighbourEffects[string]{Cleared: []neighbourKey{neighbourA}, Unsure: []netip.Addr{far}})
}

func TestNeighbourAges(t *testing.T) {
	n := testNeighbours()
	n.hold(epoch, neighbourA, "p1")
	n.answer(epoch, neighbourA, macA)
	aged := epoch.Add(60 * time.Second)
	same(t, "asked again by unicast", n.tick(aged), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, macA}}})
	same(t, "same address", n.answer(aged, neighbourA, macA), neighbourEffects[string]{})

	aged = aged.Add(60 * time.Second)
	n.tick(aged)
	same(t, "an answer from elsewhere", n.answer(aged, neighbourA, macB), neighbourEffects[string]{})
	for i := 1; i < 3; i++ {
		n.tick(aged.Add(time.Duration(i) * time.Second))
	}
	same(t, "gone", n.tick(aged.Add(3*time.Second)), neighbourEffects[string]{Cleared: []neighbourKey{neighbourA}})
	n.hold(aged, neighbourA, "p2")
	same(t, "moved to another address", n.answer(aged, neighbourA, macB), neighbourEffects[string]{Resolved: []resolved{{neighbourA, macB}}, Released: []string{"p2"}})
}

// Who asks in a known neighbour's name from another address gets its place only when the neighbour is silent, and
// causes no more than one question at a time.
func TestNeighbourDispute(t *testing.T) {
	n := testNeighbours()
	n.hold(epoch, neighbourA, "p1")
	n.answer(epoch, neighbourA, macA)
	now := epoch.Add(time.Second)
	same(t, "claim", n.asked(now, neighbourA, macB), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, macA}}})
	same(t, "second claim", n.asked(now, neighbourA, macB), neighbourEffects[string]{})
	same(t, "the claimant's answer", n.answer(now, neighbourA, macB), neighbourEffects[string]{})
	same(t, "packets go where they went", n.hold(now, neighbourA, "p2"), neighbourEffects[string]{Resolved: []resolved{{neighbourA, macA}}, Released: []string{"p2"}})
	same(t, "the neighbour's answer", n.answer(now, neighbourA, macA), neighbourEffects[string]{})
	same(t, "settled", n.tick(now.Add(59*time.Second)), neighbourEffects[string]{})
	same(t, "its own request", n.asked(now, neighbourA, macA), neighbourEffects[string]{})

	n.asked(now, neighbourA, macB)
	for i := 1; i < 3; i++ {
		same(t, "asked again", n.tick(now.Add(time.Duration(i)*time.Second)), neighbourEffects[string]{Requests: []neighbourRequest{{neighbourA, macA}}})
	}
	same(t, "silent", n.tick(now.Add(3*time.Second)), neighbourEffects[string]{Cleared: []neighbourKey{neighbourA}})
	same(t, "replaced", n.asked(now.Add(3*time.Second), neighbourA, macB), neighbourEffects[string]{Resolved: []resolved{{neighbourA, macB}}})
}

func TestNeighbourLearnsOnlyWhatItAskedFor(t *testing.T) {
	n := testNeighbours()
	same(t, "unasked answer", n.answer(epoch, neighbourA, macB), neighbourEffects[string]{})
	n.hold(epoch, neighbourA, "p1")
	same(t, "answer with a group address", n.answer(epoch, neighbourA, broadcastMAC), neighbourEffects[string]{})
	n.answer(epoch, neighbourA, macA)
	same(t, "unasked answer cannot move a neighbour", n.answer(epoch, neighbourA, macB), neighbourEffects[string]{})
	other := neighbourKey{Port: 1, Address: neighbourA.Address}
	same(t, "a request for us teaches", n.asked(epoch, other, macB), neighbourEffects[string]{Resolved: []resolved{{other, macB}}})
}

func TestNeighbourTableIsBounded(t *testing.T) {
	n := newNeighbours[string](defaultNeighbourLimits(4), 1)
	key := func(i byte) neighbourKey { return neighbourKey{Address: netip.AddrFrom4([4]byte{10, 1, 0, i})} }
	n.hold(epoch, key(1), "a")
	n.hold(epoch, key(2), "b")
	same(t, "third unresolved of four", n.hold(epoch, key(3), "c"), neighbourEffects[string]{Refused: []string{"c"}})
	n.asked(epoch, key(4), macA)
	n.asked(epoch, key(5), macA)
	same(t, "table full", n.asked(epoch, key(6), macA), neighbourEffects[string]{})
	n.answer(epoch, key(1), macB)
	same(t, "full for packets too", n.hold(epoch, key(7), "d"), neighbourEffects[string]{Refused: []string{"d"}})
}

// However many neighbours are asked for, the packets that wait for all of them are bounded; the asking goes on.
func TestNeighbourPacketsAreBounded(t *testing.T) {
	limits := defaultNeighbourLimits(1024)
	n := newNeighbours[int](limits, 1)
	key := func(i int) neighbourKey {
		return neighbourKey{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}
	}
	waiting, requests := 0, 0
	for host := range limits.incomplete {
		for i := range limits.held {
			e := n.hold(epoch, key(host), i)
			waiting += 1 - len(e.Refused)
			requests += len(e.Requests)
		}
	}
	if waiting != limits.total || requests != limits.incomplete {
		t.Errorf("%d packets wait for %d neighbours, want %d for %d", waiting, requests, limits.total, limits.incomplete)
	}
	released := n.answer(epoch, key(0), macA).Released
	failed := 0
	for i := 1; i <= limits.attempts; i++ {
		failed += len(n.tick(epoch.Add(time.Duration(i) * time.Second)).Failed)
	}
	if len(released) != limits.held || failed != limits.total-limits.held {
		t.Errorf("%d released and %d failed, want %d and the rest of %d", len(released), failed, limits.held, limits.total)
	}
	same(t, "room again", n.hold(epoch, key(1), 7), neighbourEffects[int]{Requests: []neighbourRequest{{key(1), broadcastMAC}}})
	same(t, "waiting", n.held.used[0], 1)
}

// What one port's neighbours take, of whatever kind, leaves another port its share: a WAN next hop that fell silent is learned again beside a LAN host
// that answers for a whole subnet, and beside a scan of one (S-089).
func TestNeighboursOfAPortLeaveRoomForOthers(t *testing.T) {
	limits := defaultNeighbourLimits(64)
	host := func(i int) neighbourKey {
		return neighbourKey{Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}
	}
	router := neighbourKey{Port: 1, Address: netip.MustParseAddr("192.0.2.2")}
	for name, flood := range map[string]func(n *neighbours[int], i int){
		"answers":  func(n *neighbours[int], i int) { n.hold(epoch, host(i), i); n.answer(epoch, host(i), macA) },
		"requests": func(n *neighbours[int], i int) { n.asked(epoch, host(i), macA) },
		"scan":     func(n *neighbours[int], i int) { n.hold(epoch, host(i), i) },
		"packets": func(n *neighbours[int], i int) {
			for range limits.held {
				n.hold(epoch, host(i), i)
			}
		},
	} {
		n := newNeighbours[int](limits, 2)
		n.hold(epoch, router, 1)
		n.answer(epoch, router, macB)
		for i := range 4 * limits.entries {
			flood(n, i)
		}
		if e := n.forget(func(k neighbourKey) bool { return k == router }); len(e.Cleared) != 1 {
			t.Fatalf("%s: the router was not known: %+v", name, e)
		}
		for i := range 4 * limits.entries { // which takes the place that has become free, if it may
			flood(n, i)
		}
		same(t, name+": the router is asked", n.hold(epoch, router, 2), neighbourEffects[int]{Requests: []neighbourRequest{{router, broadcastMAC}}})
		same(t, name+": and learned", n.answer(epoch, router, macB), neighbourEffects[int]{Resolved: []resolved{{router, macB}}, Released: []int{2}})
		if all := len(n.table); all > limits.entries || n.entries.used[0]+n.entries.used[1] != all {
			t.Errorf("%s: %d neighbours, %v by port, want at most %d", name, all, n.entries.used, limits.entries)
		}
		n.forget(func(neighbourKey) bool { return true })
		for _, s := range []portShares{n.entries, n.incomplete, n.held} {
			if s.beyond != 0 || s.used[0]+s.used[1] != 0 {
				t.Errorf("%s: nothing is left, and yet %+v is taken", name, s)
			}
		}
	}
}

func TestNeighbourFlush(t *testing.T) {
	n := testNeighbours()
	other := neighbourKey{Port: 1, Address: neighbourA.Address}
	n.hold(epoch, neighbourA, "p1")
	n.asked(epoch, other, macB)
	same(t, "unresolved", n.forget(func(k neighbourKey) bool { return k.Port == 0 }), neighbourEffects[string]{Failed: []string{"p1"}})
	same(t, "resolved", n.forget(func(k neighbourKey) bool { return k.Port == 1 }), neighbourEffects[string]{Cleared: []neighbourKey{other}})
	same(t, "unresolved ones left", n.incomplete.used, []int{0, 0})
	if len(n.table) != 0 {
		t.Fatalf("left after the flush: %d in all", len(n.table))
	}
}

func TestARPCodec(t *testing.T) {
	m := arpMessage{op: arpRequestOp, senderMAC: macA, senderAddr: neighbourA.Address, targetAddr: netip.MustParseAddr("10.1.0.1")}
	frame := m.frame(broadcastMAC)
	got, ok := parseARP(frame)
	if !ok || got != m {
		t.Fatalf("parseARP: %+v, %v; want %+v", got, ok, m)
	}
	for name, change := range map[string]func([]byte){
		"hardware type":  func(f []byte) { f[15] = 6 },
		"protocol type":  func(f []byte) { f[17] = 1 },
		"address length": func(f []byte) { f[19] = 16 },
		"another sender": func(f []byte) { f[11]++ },
	} {
		f := append([]byte(nil), frame...)
		change(f)
		if _, ok := parseARP(f); ok {
			t.Errorf("%s: accepted", name)
		}
	}
	for n := range frame {
		if _, ok := parseARP(frame[:n]); ok {
			t.Errorf("accepted %d of %d bytes", n, len(frame))
		}
	}
}
