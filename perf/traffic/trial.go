package traffic

/*
#include "traffic.h"
#include <rte_cycles.h>

static uint64_t traffic_now(void)
{
	return rte_rdtsc();
}
*/
import "C"

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/mbuf"
)

// Load is what a trial offers.
type Load struct {
	Duration time.Duration // 0: that of Config
	// Rate is of each direction, shared by its streams as their own rates are; the zero value: the rates of the streams.
	Rate Rate
	// Packets is how many each stream sends; 0: what the rate makes of the time.
	Packets uint64
}

// Run opens a tester, runs one trial and closes it. A trial that ctx ends early is a result too.
func Run(ctx context.Context, config Config) (_ *Result, err error) {
	t, err := Open(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return t.Trial(ctx, Load{})
}

// of is the rate of a stream.
func (l Load) of(s *Stream, all []Stream) Rate {
	if l.Rate == (Rate{}) {
		return s.Rate
	}
	var own, sum float64 // shares of what is to be had
	for i := range all {
		if all[i].Direction == s.Direction {
			sum += all[i].share(l.Rate.Bits > 0)
		}
	}
	own = s.share(l.Rate.Bits > 0) / sum
	return Rate{Packets: l.Rate.Packets * own, Bits: l.Rate.Bits * own}
}

// share is what a stream weighs beside the others of its direction: its rate, or its flows.
func (s *Stream) share(bits bool) float64 {
	rate := s.Rate.perSecond(s.Sizes)
	if bits {
		rate *= s.Sizes.mean()
	}
	if rate == 0 {
		return float64(s.Flows)
	}
	return rate
}

// limit is how many packets a stream sends, 0 for as many as fit the time.
func (l Load) limit(s *Stream, all []Stream) uint64 {
	if l.Packets > 0 {
		return l.Packets
	}
	if rate := l.of(s, all); rate.Packets > 0 {
		return max(1, uint64(math.Round(rate.Packets*l.Duration.Seconds())))
	}
	return 0
}

// Trial offers the load to the gateway and counts what comes of it. It ends early, and says so, when ctx does. What the machine cannot do is a *TooMuch.
func (t *Tester) Trial(ctx context.Context, load Load) (*Result, error) {
	if load.Duration == 0 {
		load.Duration = t.config.Duration
	}
	if load.Duration <= 0 {
		return nil, errors.New("traffic: expected a duration above 0")
	}
	if r, err := t.ready(ctx); r != nil || err != nil {
		return r, err
	}
	if err := errors.Join(t.checkRates(load), t.checkNumbers(load)); err != nil {
		return nil, err
	}
	r := &Result{Started: time.Now(), Negotiation: t.negotiation()}
	err := t.teach(ctx, r)
	if err = errors.Join(err, t.reset(load)); err == nil && r.Verdict == "" && !r.Interrupted && ctx.Err() == nil {
		r.Started = time.Now()
		err = t.run(ctx, r, func(failed <-chan error) {
			t.send(ctx, load, r, failed)
			t.drain(ctx, failed)
		})
	}
	r.Interrupted = r.Interrupted || ctx.Err() != nil && r.Seconds == 0
	for _, p := range t.ports {
		C.traffic_sender_finish(p.sender)
	}
	if err != nil {
		return nil, err
	}
	if !t.taught.IsZero() { // its packets were for all, too
		t.taught = time.Now()
	}
	for i, s := range t.streams {
		if !r.Interrupted && r.Verdict == "" {
			s.settle()
		}
		r.Streams = append(r.Streams, t.streamResult(i, r.Seconds))
	}
	for i := range t.ports {
		p, err := t.portResult(i)
		if err != nil {
			return nil, err
		}
		r.Ports = append(r.Ports, p)
	}
	if t.toGateway != nil && t.ike == nil {
		r.Sequence = t.toGateway.last()
	}
	if r.Verdict == "" {
		r.judge()
	}
	return r, nil
}

// reset makes all counters begin anew. No loop runs.
func (t *Tester) reset(load Load) error {
	t.number = (t.number + 1) & 15
	*t.control = C.struct_traffic_control{}
	for i, s := range t.streams {
		s.reset(load, &t.config.Streams[i], t.config)
	}
	for _, p := range t.ports {
		p.sender.trial, p.receiver.trial = C.uint8_t(t.number), C.uint8_t(t.number)
		p.receiver.seen = C.struct_traffic_seen{}
		var err error
		if p.before, err = p.device.Port.Stats(); err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) reset(load Load, config *Stream, all Config) {
	clear(s.tracks)
	clear(s.bits)
	clear(s.counts)
	clear(s.next)
	k := s.sink
	*k = C.struct_traffic_sink{tracks: k.tracks, bits: k.bits, counts: k.counts, window: k.window, shortest: math.MaxUint64}

	c, hz, rate := s.c, float64(eal.TSCHz()), load.of(config, all.Streams)
	c.limit, c.duration = C.uint64_t(load.limit(config, all.Streams)), C.uint64_t(load.Duration.Seconds()*hz)
	c.per_packet, c.per_octet = 0, 0
	if rate.Packets > 0 {
		c.per_packet = C.double(hz / rate.Packets)
	} else if rate.Bits > 0 {
		c.per_octet = C.double(hz * 8 / rate.Bits)
	}
	c.mean = c.per_packet + c.per_octet*C.double(config.Sizes.mean())
	c.catch_up = C.double(max(all.CatchUp, config.Burst)) * c.mean
	c.due, c.order_at, c.length_at, c.burst_at, c.ended, c.exhausted = 0, 0, 0, 0, 0, 0
	c.built, c.sent, c.sent_octets, c.unsent, c.missed, c.no_buffer, c.withheld, c.last = 0, 0, 0, 0, 0, 0, 0, 0
}

// settle counts what was due and not even built, because a port kept the sender waiting, as missed.
func (s *stream) settle() {
	if c := s.c; c.limit != 0 && c.exhausted == 0 && c.per_packet > 0 {
		c.missed += c.limit - c.built - c.missed - c.withheld
	}
}

const (
	look       = time.Millisecond // how often a trial looks at its streams
	askAgain   = 200 * time.Millisecond
	overtime   = time.Second // for packets that a port does not take
	mostDrains = 10          // a target that reflects in circles is not waited for
)

// run has the loops run while work lasts, which begins when the gateway has been found.
func (t *Tester) run(ctx context.Context, r *Result, work func(failed <-chan error)) error {
	var loops []<-chan error
	for i, l := range t.loops {
		loops = append(loops, onCore(t.core(i), func() { C.traffic_run(l) }))
	}
	stopped := make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() { t.serve(stopped) })
	failed := t.watch(loops)

	if err := t.resolve(ctx, r); err == nil && r.Verdict == "" && !r.Interrupted {
		work(failed)
	}
	atomic.StoreUint32((*uint32)(&t.control.stop), 1)
	err := <-failed
	close(stopped)
	serving.Wait()
	t.forget()
	return errors.Join(err, t.reclaim(true))
}

// watch gives what the loops have to say when all of them are over.
func (t *Tester) watch(loops []<-chan error) <-chan error {
	failed := make(chan error, 1)
	go func() {
		var errs []error
		for _, loop := range loops {
			err := <-loop
			if err != nil {
				atomic.StoreUint32((*uint32)(&t.control.stop), 1)
			}
			errs = append(errs, err)
		}
		failed <- errors.Join(errs...)
	}()
	return failed
}

func (t *Tester) over() bool { return atomic.LoadUint32((*uint32)(&t.control.stop)) != 0 }

// resolve finds the gateway's MAC addresses, or says that it is down.
func (t *Tester) resolve(ctx context.Context, r *Result) error {
	deadline, asked := time.Now().Add(t.config.Resolve), time.Time{}
	for _, p := range t.unresolved() {
		// Nobody should answer for the tester's own address (RFC 5227 section 2.1.1).
		t.order(t.ports[p], t.ports[p].station.request(t.ports[p].station.own))
	}
	for !t.over() {
		missing := t.unresolved()
		if len(missing) == 0 {
			break
		}
		now := time.Now()
		if now.After(deadline) {
			r.Verdict = Down
			for _, p := range missing {
				r.Findings = append(r.Findings, portName(p)+" port: nobody answers for "+t.ports[p].station.gateway.String()+": the target is down, or has another address")
			}
			return nil
		}
		if now.Sub(asked) >= askAgain {
			for _, p := range missing {
				t.order(t.ports[p], t.ports[p].station.request(t.ports[p].station.gateway))
			}
			asked = now
		}
		if !pause(ctx) {
			r.Interrupted = true
			return nil
		}
	}
	for _, p := range t.ports {
		p.mu.Lock()
		copyOctets(p.sender.gateway[:], p.station.learned)
		p.mu.Unlock()
	}
	return nil
}

// pause waits a little, and says whether ctx goes on.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(look):
		return true
	}
}

func (t *Tester) unresolved() (missing []int) {
	for i, p := range t.ports {
		p.mu.Lock()
		if p.station.learned == nil {
			missing = append(missing, i)
		}
		p.mu.Unlock()
	}
	return missing
}

// serve answers what the loops pass on.
func (t *Tester) serve(stopped <-chan struct{}) {
	for {
		heard := 0
		for i, p := range t.ports {
			heard += t.hear(p, i == unprotected)
		}
		if t.ike != nil {
			heard += t.ike.turn(time.Now())
		}
		if heard > 0 {
			continue
		}
		select {
		case <-stopped:
			return
		case <-time.After(look):
		}
	}
}

// hear takes a port's reports and answers them.
func (t *Tester) hear(p *port, ike bool) int {
	var batch [32]unsafe.Pointer
	n := p.reports.DequeueBurst(batch[:])
	for _, frame := range mbuf.Frames(batch[:n]) {
		frame = untagged(frame)
		p.mu.Lock()
		answer := p.station.hear(frame)
		p.mu.Unlock()
		if answer != nil {
			t.order(p, answer)
		}
		if ike && t.ike != nil {
			t.ike.hear(frame)
		}
	}
	mbuf.FreeBulk(batch[:n])
	return n
}

// order has a port's sender send a frame. What does not fit is lost, as on a wire.
func (t *Tester) order(p *port, frame []byte) {
	m, err := mbuf.FromBytes(t.pool, p.tagged(frame))
	if err == nil && p.orders.EnqueueBurst([]unsafe.Pointer{m}) == 0 {
		mbuf.Free(m)
	}
}

// forget empties the rings: buffers outlive no trial.
func (t *Tester) forget() {
	for _, p := range t.ports {
		for _, r := range []interface{ DequeueBurst([]unsafe.Pointer) int }{p.orders, p.reports} {
			var batch [32]unsafe.Pointer
			for n := r.DequeueBurst(batch[:]); n > 0; n = r.DequeueBurst(batch[:]) {
				mbuf.FreeBulk(batch[:n])
			}
		}
	}
}

// send lets the streams go and waits until all of them have ended.
func (t *Tester) send(ctx context.Context, load Load, r *Result, failed <-chan error) {
	patience := overtime
	if t.config.drained != nil {
		patience = math.MaxInt64 - load.Duration
	}
	began, told := time.Now(), time.Now()
	t.start()
	for !t.ended() && len(failed) == 0 && time.Since(began) < load.Duration+patience {
		if !pause(ctx) {
			r.Interrupted = true
			break
		}
		if t.config.enough != nil && t.config.enough() {
			break
		}
		if t.config.Progress != nil && time.Since(told) >= time.Second {
			told = time.Now()
			t.config.Progress(t.progress(time.Since(began), load))
		}
	}
	atomic.StoreUint32((*uint32)(&t.control.halt), 1)
	r.Seconds = time.Since(began).Seconds()
	if t.ended() && load.Packets == 0 {
		// The streams ended somewhat before somebody looked.
		r.Seconds = min(r.Seconds, load.Duration.Seconds())
	}
}

// start lets the streams go.
func (t *Tester) start() {
	atomic.StoreUint64((*uint64)(&t.control.start), uint64(C.traffic_now()))
}

func (t *Tester) ended() bool {
	for _, s := range t.streams {
		if *(*uint8)(&s.c.ended) == 0 {
			return false
		}
	}
	for _, p := range t.ports {
		if atomic.LoadUint32((*uint32)(&p.sender.n_pending)) != 0 {
			return false
		}
	}
	return true
}

func (t *Tester) progress(elapsed time.Duration, load Load) Progress {
	p := Progress{Elapsed: elapsed, Left: max(0, load.Duration-elapsed)}
	p.Sent, p.Received = t.counts()
	return p
}

func (t *Tester) counts() (sent, received uint64) {
	for _, s := range t.streams {
		sent += atomic.LoadUint64((*uint64)(&s.c.sent))
		received += atomic.LoadUint64((*uint64)(&s.sink.packets))
	}
	return sent, received
}

// drain waits for packets that are under way: until none has arrived for as long as Config says. When all have arrived it waits for a tenth of that, since a
// target may have sent some of them twice.
func (t *Tester) drain(ctx context.Context, failed <-chan error) {
	if t.config.drained != nil {
		for !t.config.drained() && len(failed) == 0 && pause(ctx) {
		}
		return
	}
	began := time.Now()
	last := began
	_, before := t.counts()
	for ctx.Err() == nil && len(failed) == 0 && time.Since(began) < mostDrains*t.config.Drain {
		sent, received := t.counts()
		if received != before {
			before, last = received, time.Now()
		}
		quiet := t.config.Drain
		if received >= sent {
			quiet /= 10
		}
		if time.Since(last) >= quiet {
			return
		}
		pause(ctx)
	}
}
