package rfc2544

import (
	"context"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is how long frames take at a load (RFC 2544, section 26.2), in nanoseconds. The figures are those of each trial.
type Latency struct {
	Fraction float64 // of the throughput
	Rate     float64 // frames a second
	Min      []float64
	Median   []float64
	P99      []float64
	P999     []float64
	Max      []float64
	All      *hdr.Histogram // of all trials together; nil: no frame arrived
	Lost     uint64         // of Sent, which at or below the throughput is none
	Sent     uint64
}

// measureLatency makes trials at fractions of the throughput. What it has by the time ctx ends it returns with the error.
func (r *runner) measureLatency(ctx context.Context, throughput float64, fractions []float64, trials int, duration time.Duration) ([]Latency, error) {
	var list []Latency
	for i, fraction := range fractions {
		l := Latency{Fraction: fraction, Rate: throughput * fraction}
		for j := range trials {
			left := time.Duration((len(fractions)-i)*trials-j) * (duration + r.overhead())
			result, err := r.trial(ctx, l.Rate, duration, left)
			if err != nil {
				if l.All != nil {
					list = append(list, l)
				}
				return list, err
			}
			l.add(&result)
		}
		list = append(list, l)
	}
	return list, nil
}

func (l *Latency) add(r *Result) {
	l.Lost += r.Lost()
	l.Sent += r.Sent
	h := r.Latency
	if h == nil || h.TotalCount() == 0 {
		return
	}
	for _, part := range []struct {
		of    *[]float64
		value int64
	}{{&l.Min, h.Min()}, {&l.Median, h.ValueAtQuantile(50)}, {&l.P99, h.ValueAtQuantile(99)}, {&l.P999, h.ValueAtQuantile(99.9)}, {&l.Max, h.Max()}} {
		*part.of = append(*part.of, float64(part.value))
	}
	if l.All == nil {
		l.All = hdr.New(h.LowestTrackableValue(), h.HighestTrackableValue(), int(h.SignificantFigures()))
	}
	l.All.Merge(h)
}
