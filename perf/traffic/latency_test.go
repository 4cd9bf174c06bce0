package traffic

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A path that keeps every frame for 20 ms: no time is shorter.
func TestLatencyOfKnownDelay(t *testing.T) {
	p := newPath(t)
	p.delay = 20 * time.Millisecond
	p.start(t)
	r := p.trial(t, p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 2000}}), Load{})
	l := r.Streams[0].Latency
	// The delay is by the clock of the kernel, and what is measured by the CPU's counter, whose rate DPDK rounds to 10 MHz.
	if least := uint64(p.delay) * 995 / 1000; l.Count != 200 || l.Min < least || l.Median < least || l.Max < l.P999 {
		t.Errorf("latency %+v, want 200 of at least %d ns", l, least)
	}
}

// C fills the library's own buckets.
func TestHistogramAsTheLibrary(t *testing.T) {
	values := []uint64{0, 1, 2047, 2048, 2049, 4095, 4096, trackable - 1, trackable, trackable + 1, math.MaxUint64}
	source := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		values = append(values, source.Uint64()>>(30+source.IntN(34)))
	}
	library := hdrhistogram.New(1, trackable, figures)
	for _, v := range values {
		if err := library.RecordValue(int64(min(v, trackable))); err != nil {
			t.Fatalf("%d: %v", v, err)
		}
	}
	got := recorded(values)
	if !slices.Equal(got.Histogram.Export().Counts, library.Export().Counts) {
		t.Error("the counts of C and of the library differ")
	}
	if got.Min != 0 || got.Max != math.MaxUint64 || got.Count != int64(len(values)) {
		t.Errorf("%d values from %d to %d", got.Count, got.Min, got.Max)
	}
	for _, q := range []struct {
		percent float64
		got     uint64
	}{{50, got.Median}, {99, got.P99}, {99.9, got.P999}} {
		if int64(q.got) != library.ValueAtQuantile(q.percent) {
			t.Errorf("%g %%: %d, the library has %d", q.percent, q.got, library.ValueAtQuantile(q.percent))
		}
	}
}
