package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"container/heap"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"
)

// Dummy packets (RFC 4303 section 2.6) hide when there is traffic: an SA that has them sends one each so often, whatever else it
// sends. They take its sequence numbers and count for its lifetimes like any other packet; the peer throws them away.

// dummyBurst is how many an SA sends at once when the slow path comes late. Those beyond are left out.
const dummyBurst = 8

// dummies is the outbound SAs that send dummy packets, a heap by whose turn is first. Lengths are random, so that they do not
// tell dummy packets from others.
type dummies struct {
	turns  []*outboundSA
	random *rand.Rand
}

// dummyTurn is when an SA sends its next dummy packet, and its place in the heap. The zero time is at once.
type dummyTurn struct {
	at    time.Time
	index int
}

func newDummies() dummies {
	return dummies{random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

func (q *dummies) Len() int           { return len(q.turns) }
func (q *dummies) Less(i, j int) bool { return q.turns[i].dummy.at.Before(q.turns[j].dummy.at) }
func (q *dummies) Swap(i, j int) {
	q.turns[i], q.turns[j] = q.turns[j], q.turns[i]
	q.turns[i].dummy.index, q.turns[j].dummy.index = i, j
}

// Push and Pop are heap's: use add and remove.
func (q *dummies) Push(sa any) {
	q.turns = append(q.turns, sa.(*outboundSA))
	q.turns[len(q.turns)-1].dummy.index = len(q.turns) - 1
}

// Pop takes the last one off the slice.
func (q *dummies) Pop() any {
	last := len(q.turns) - 1
	sa := q.turns[last]
	q.turns = slices.Delete(q.turns, last, last+1)
	return sa
}

func (q *dummies) add(sa *outboundSA) {
	if sa.child.Encapsulation.DummyEvery > 0 {
		heap.Push(q, sa)
	}
}

func (q *dummies) remove(sa *outboundSA) {
	if sa.child.Encapsulation.DummyEvery > 0 {
		heap.Remove(q, sa.dummy.index)
	}
}

// due is how many dummy packets the first SA owes; it moves that SA's turn on.
func (q *dummies) due(now time.Time) int {
	sa := q.turns[0]
	every, n := sa.child.Encapsulation.DummyEvery, 1
	if sa.dummy.at.IsZero() {
		sa.dummy.at = now
	}
	if late := now.Sub(sa.dummy.at); late < dummyBurst*every {
		n += int(late / every)
		sa.dummy.at = sa.dummy.at.Add(time.Duration(n) * every)
	} else {
		n, sa.dummy.at = dummyBurst, now.Add(every)
	}
	heap.Fix(q, 0)
	return n
}

// sendDummies hands the workers the dummy packets whose time has come.
func (d *Dataplane) sendDummies(now time.Time) {
	q := &d.sad.dummies
	for len(q.turns) > 0 && !q.turns[0].dummy.at.After(now) {
		sa := q.turns[0]
		for range q.due(now) {
			d.sendDummy(sa)
		}
	}
}

func (d *Dataplane) sendDummy(sa *outboundSA) {
	worker, ok := d.sad.senderOf(sa)
	length := d.dummyLength(sa)
	if !ok || length == 0 {
		return // nothing else could be sent either
	}
	packet := dummyPacket(sa.child.Local.Addr(), sa.peer, length)
	var pin runtime.Pinner
	defer pin.Unpin()
	in := C.struct_sp_injection{data: (*C.uint8_t)(pinned(&pin, packet)), length: C.uint32_t(length), kind: C.SP_INJECT_DUMMY, cell: C.uint16_t(sa.child.Cell)}
	d.hand(worker, &in)
}

// senderOf is a worker that sends by the SA.
func (s *sad) senderOf(sa *outboundSA) (worker int, ok bool) {
	if sa.child.Worker > 0 {
		return sa.child.Worker - 1, true
	}
	for worker := range s.owned {
		if s.outbound[outboundPlace{sa.child.Cell, worker + 1}] == nil {
			return worker, true
		}
	}
	return 0, false // all have one of their own
}

// dummyLength is a length that a packet of the SA's traffic may have, 0 when none fits.
func (d *Dataplane) dummyLength(sa *outboundSA) int {
	shortest := outerHeaderLen(sa.child.Local.Addr())
	largest := int(C.sp_sa_out_largest_inner(sa.c, C.uint16_t(d.outerMTU(sa))))
	if largest < shortest {
		return 0
	}
	return shortest + d.sad.dummies.random.IntN(largest-shortest+1)
}

func outerHeaderLen(a netip.Addr) int {
	if a.Is6() {
		return ipv6HeaderLen
	}
	return ipv4HeaderLen
}

// dummyPacket is a packet between the ends of an SA that says of itself that it has no content.
func dummyPacket(source, destination netip.Addr, length int) []byte {
	b := make([]byte, length)
	if source.Is6() {
		putIPv6(b, noNextHeader, 64, source, destination)
	} else {
		putIPv4(b, 0, 64, noNextHeader, flagDontFragment, source, destination)
	}
	return b
}
