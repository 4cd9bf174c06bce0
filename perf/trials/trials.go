// Package trials has the tester of package traffic make the trials of package rfc2544.
package trials

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"sallyport/perf/rfc2544"
	"sallyport/perf/traffic"
)

// Tester is a *traffic.Tester.
type Tester interface {
	Trial(context.Context, traffic.Load) (*traffic.Result, error)
	Close() error
}

// New is a bed of a tester that sends in so many directions at once. The rate of a trial is that of all of them together, in equal parts.
func New(t Tester, directions int) rfc2544.Bed { return &bed{tester: t, directions: directions} }

type bed struct {
	tester     Tester
	directions int
	sequence   uint64 // the last number that an SA to the gateway has used

	inbound struct{ sent, received uint64 } // by SAs with keys given by hand, in all trials
}

// replays says that all packets inbound were lost, as those are whose numbers the gateway has had.
func (b *bed) replays() bool { return b.inbound.sent > 0 && b.inbound.received == 0 }

// anyRate is one that no machine can make: a tester refuses it with what it can.
const anyRate = 1e12

// Most implements rfc2544.Bed.
func (b *bed) Most(ctx context.Context) float64 {
	_, err := b.tester.Trial(ctx, traffic.Load{Duration: time.Millisecond, Rate: traffic.Rate{Packets: anyRate / float64(b.directions)}})
	if most := (*traffic.TooMuch)(nil); errors.As(err, &most) {
		return most.Most
	}
	return anyRate
}

func (b *bed) Close() error { return b.tester.Close() }

// Trial implements rfc2544.Measurer.
func (b *bed) Trial(ctx context.Context, rate float64, duration time.Duration) (rfc2544.Result, error) {
	r, err := b.tester.Trial(ctx, traffic.Load{Duration: duration, Rate: traffic.Rate{Packets: rate / float64(b.directions)}})
	if most := (*traffic.TooMuch)(nil); errors.As(err, &most) {
		return rfc2544.Result{}, fmt.Errorf("%w: %w", rfc2544.ErrGenerator, err)
	}
	if err != nil {
		return rfc2544.Result{}, err
	}
	b.sequence = max(b.sequence, r.Sequence)
	for i := range r.Streams {
		if s := &r.Streams[i]; r.Sequence > 0 && s.Direction == traffic.Inbound {
			b.inbound.sent += s.Sent
			b.inbound.received += s.Received
		}
	}
	return resultOf(r), nil
}

// resultOf adds up what the streams and the ports have counted.
func resultOf(r *traffic.Result) rfc2544.Result {
	out := rfc2544.Result{Down: r.Verdict == traffic.Down, Duration: time.Duration(r.Seconds * float64(time.Second))}
	if r.Verdict == traffic.NoTunnels || r.Verdict == traffic.SomeTunnels {
		out.NoTunnels = strings.Join(r.Findings, "; ")
	}
	for i := range r.Streams {
		s := &r.Streams[i]
		out.Sent += s.Sent
		out.Received += s.Received
		out.Reordered += s.Reordered
		out.Duplicated += s.Duplicates
		if strings.HasSuffix(s.Name, changing) {
			out.Changing.Sent += s.Sent
			out.Changing.Received += s.Received
			out.Changing.Reordered += s.Reordered
			out.Changing.Duplicated += s.Duplicates
		}
		merge(&out.Latency, s.Latency.Histogram)
	}
	for i := range r.Ports {
		p := &r.Ports[i]
		out.Cleartext += p.Cleartext
		out.Reflected += p.Reflected
		out.Mangled += p.Mangled
		out.Strange += p.OtherAddress + p.OtherTunnel
		out.Rivals += p.Rivals + p.Usurped
		out.Unreadable += p.Integrity + p.UnknownSPI + p.Malformed
	}
	return out
}

func merge(into **hdrhistogram.Histogram, from *hdrhistogram.Histogram) {
	switch {
	case from == nil || from.TotalCount() == 0:
	case *into == nil:
		*into = hdrhistogram.Import(from.Export())
	default:
		(*into).Merge(from)
	}
}
