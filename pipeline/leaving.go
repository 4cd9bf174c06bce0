package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"slices"
	"time"
)

// A session of an outbound SA lives longer than the SA: packets that were left to its NIC may stand in the NIC's transmit queues, and name it. Without its keys they would leave
// encrypted by nothing.

// leaving is a session that no worker gives packets to any more.
type leaving struct {
	session InlineSession
	asked   uint32    // what workers are to have answered
	since   time.Time // when nothing but time was in the way of its end any more; zero: something is
	taken   []uint64  // by worker: packets that its transmit queue had taken
}

const (
	// ringRest is more than a NIC needs for what its driver says nothing of by itself, some tens of packets.
	ringRest = 10 * time.Millisecond
	// ringTime is for drivers that say nothing of their queues: 1024 packets of 9000 bytes by a link of 100 Mb/s take 0.7 s.
	ringTime = time.Second
	// ringPlaces is more than any transmit queue has.
	ringPlaces = 1 << 16
	// ringEnd is how long the end of the data plane waits for its sessions, and ringBlind where a driver says nothing.
	ringEnd   = time.Second
	ringBlind = 100 * time.Millisecond
)

// leave lets the session of an SA that has ended go when its NIC has sent what was left to it.
func (d *Dataplane) leave(sa *association, c *C.struct_sp_sa_out) {
	var counters C.struct_sp_sa_counters
	C.sp_sa_out_counters(c, &counters)
	if sa.inline.Handle == nil || counters.inlined == 0 {
		return
	}
	l := leaving{session: sa.inline.InlineSession}
	for worker := range d.cfg.Workers {
		l.taken = append(l.taken, uint64(C.sp_ring_taken(d.c, C.uint32_t(worker), C.uint16_t(l.session.Port))))
	}
	sa.inline.InlineSession = InlineSession{}
	l.asked = uint32(C.sp_rings_ask(d.c))
	d.sad.leaving = append(d.sad.leaving, &l)
}

// watchLeaving closes the sessions whose packets are gone, and asks workers about the others. `blind` is the time that packets have where the driver says nothing.
func (d *Dataplane) watchLeaving(now time.Time, blind time.Duration) {
	if len(d.sad.leaving) == 0 {
		return
	}
	d.sad.leaving = slices.DeleteFunc(d.sad.leaving, func(l *leaving) bool {
		if !d.hasSent(l, now, blind) {
			return false
		}
		d.giveSessionBack(l.session)
		return true
	})
	C.sp_rings_ask(d.c)
}

// hasSent reports whether no transmit queue can have a packet any more that names the session.
func (d *Dataplane) hasSent(l *leaving, now time.Time, blind time.Duration) bool {
	var rest time.Duration
	for worker, taken := range l.taken {
		id, port := C.uint32_t(worker), C.uint16_t(l.session.Port)
		if uint64(C.sp_ring_taken(d.c, id, port))-taken >= ringPlaces {
			continue
		}
		switch C.sp_ring_state(d.c, id, port, C.uint32_t(l.asked)) {
		case C.SP_RING_SENT:
			rest = max(rest, ringRest)
		case C.SP_RING_UNTOLD:
			rest = max(rest, blind)
		default:
			l.since = time.Time{}
			return false
		}
	}
	if l.since.IsZero() {
		l.since = now
	}
	return now.Sub(l.since) >= rest
}

// awaitLeaving is watchLeaving at the end of the data plane, for a time: no worker answers any more. Ports go on sending until they are stopped.
func (d *Dataplane) awaitLeaving() {
	for start := time.Now(); len(d.sad.leaving) > 0 && time.Since(start) < ringEnd; time.Sleep(time.Millisecond) {
		for worker := range d.cfg.Workers {
			C.sp_rings_answer(d.c, C.uint32_t(worker))
		}
		d.watchLeaving(time.Now(), ringBlind)
	}
	for _, l := range d.sad.leaving {
		d.giveSessionBack(l.session)
	}
	d.sad.leaving = nil
}
