package traffic

/*
#include "traffic.h"

// A lesson begins when all else of its stream has been written.
static void traffic_lesson(struct traffic_stream *s)
{
	__atomic_store_n(&s->ended, 0, __ATOMIC_RELEASE);
}
*/
import "C"

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
)

// learn.go: what comes before the packets that count. A gateway has to ask where hosts and peers are, and keeps few packets until it knows: how many of them are lost says how quick the tester
// answers. So each of them gets a packet first (RFC 2544, section 23: learning frames), few at a time, until it has arrived.

const (
	lesson      = 16 // packets at once, of all that a gateway keeps
	mostPupils  = 4096
	pupilFlows  = 1 << 20                // that are looked through for hosts
	lessonAgain = 300 * time.Millisecond // an answer to ARP may be lost, too
	remembered  = 20 * time.Second       // gateways ask for neighbours again after a minute or more

	defaultLearn = 2 * time.Second
	mostLearning = 10 // times as long for all streams: who loses a packet of each lesson is not waited for 4096 times, and trials have to end (rfc2544.defaultGrace)
)

// pupils are flows of a stream, one to each address that the gateway may have to ask for: of hosts, or of the peer that ESP goes to.
func (c *Config) pupils(s *Stream) (flows []C.uint32_t) {
	of, known := c.flows(s), map[netip.Addr]bool{}
	for i := 0; i < min(s.Flows, pupilFlows) && len(flows) < mostPupils; i++ {
		tunnel, f := of(i)
		asked := f.destination
		if t := &c.Tunnels[tunnel]; s.Direction == Outbound && !t.clear() {
			asked = t.Peer
		}
		if !known[asked] {
			known[asked] = true
			flows = append(flows, C.uint32_t(i))
		}
	}
	return flows
}

// untaught says whether the gateway has to learn before the next trial.
func (t *Tester) untaught() bool { return t.config.learn >= 0 && time.Since(t.taught) > remembered }

// teach has the gateway learn where all are. What has not arrived in the end the trial counts as what it is.
func (t *Tester) teach(ctx context.Context, r *Result) error {
	if !t.untaught() {
		return nil
	}
	if err := t.reset(Load{Duration: time.Hour}); err != nil {
		return err
	}
	for _, s := range t.streams {
		s.c.ended = 1
	}
	err := t.run(ctx, r, func(failed <-chan error) {
		t.start()
		each := mostLearning * t.config.learn / time.Duration(len(t.streams))
		for _, s := range t.streams {
			t.teachStream(ctx, s, each, failed)
		}
	})
	for _, p := range t.ports {
		C.traffic_sender_finish(p.sender)
	}
	if t.taught = time.Now(); r.Verdict != "" || r.Interrupted {
		t.taught = time.Time{} // the gateway was not even found
	}
	return err
}

// teachStream sends to the pupils of a stream until each has got a packet, none of them has for some time, or the limit is over.
func (t *Tester) teachStream(ctx context.Context, s *stream, limit time.Duration, failed <-chan error) {
	order, length := s.c.order, s.c.n_order
	defer func() { s.c.order, s.c.n_order = order, length }()
	waiting, first := t.present(s), time.Now()
	for last := first; len(waiting) > 0 && time.Since(last) < t.config.learn && time.Since(first) < limit; {
		class := waiting[:min(len(waiting), lesson)]
		s.begin(class)
		for began := time.Now(); !t.ended() || len(s.missing(class)) > 0 && time.Since(began) < lessonAgain; {
			if !pause(ctx) || len(failed) > 0 || time.Since(began) > t.config.learn {
				return
			}
		}
		missing := s.missing(class)
		if len(missing) < len(class) {
			last = time.Now()
		}
		waiting = append(waiting[len(class):], missing...)
	}
}

// present are the pupils of tunnels that are there.
func (t *Tester) present(s *stream) (flows []C.uint32_t) {
	for _, flow := range s.pupils {
		if tunnel := s.flows[flow].tunnel; t.there == nil || t.there[tunnel] != 0 {
			flows = append(flows, flow)
		}
	}
	return flows
}

// begin has a stream that has ended send a packet of each of these flows.
func (s *stream) begin(class []C.uint32_t) {
	c := s.c
	c.n_order, c.order = C.uint32_t(copy(s.lesson, class)), &s.lesson[0]
	c.limit, c.per_packet, c.per_octet, c.mean, c.due = C.uint64_t(len(class)), 0, 0, 0, 0
	c.order_at, c.length_at, c.burst_at = 0, 0, 0
	c.built, c.missed, c.withheld = 0, 0, 0
	C.traffic_lesson(c)
}

// missing are the flows of which nothing has arrived.
func (s *stream) missing(class []C.uint32_t) (flows []C.uint32_t) {
	for _, flow := range class {
		if atomic.LoadUint64((*uint64)(&s.tracks[flow].next)) == 0 {
			flows = append(flows, flow)
		}
	}
	return flows
}
