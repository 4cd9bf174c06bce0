package rfc2544

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// stub is a target behind a token bucket: frames beyond its rate wait in a buffer, and are dropped where that is full. Time is its own: a trial of a minute takes none.
type stub struct {
	capacity float64 // frames a second
	buffer   float64 // frames
	noise    float64 // of the capacity, as a share, another in each trial
	random   *rand.Rand
	now      time.Time
	settle   time.Duration // that a trial takes beyond its own time

	generates float64         // frames a second that can be sent at all; 0: any
	change    func(*Result)   // what else is wrong with it
	before    func(trial int) // what happens before a trial
	until     func(rate float64, duration time.Duration)
	trials    int
	loads     []float64
}

func newStub(capacity float64) *stub {
	return &stub{capacity: capacity, buffer: 32, random: rand.New(rand.NewPCG(2544, 9971)), now: time.Unix(1e9, 0)}
}

func (s *stub) clock() time.Time { return s.now }

func (s *stub) Trial(ctx context.Context, rate float64, duration time.Duration) (Result, error) {
	s.trials++
	s.loads = append(s.loads, rate)
	if s.before != nil {
		s.before(s.trials)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if s.until != nil {
		s.until(rate, duration)
	}
	s.now = s.now.Add(duration + s.settle)
	if s.generates > 0 {
		rate = min(rate, s.generates)
	}
	capacity := s.capacity * (1 + s.noise*(2*s.random.Float64()-1))
	sent := math.Round(rate * duration.Seconds())
	received := min(sent, math.Floor(capacity*duration.Seconds()+s.buffer))
	r := Result{Sent: uint64(sent), Received: uint64(received), Duration: duration, Latency: hdr.New(1, int64(time.Minute), 3)}
	wait := time.Duration(1e9 / s.capacity)
	if rate > capacity {
		wait = time.Duration(s.buffer * 1e9 / s.capacity)
	}
	for range 1000 {
		r.Latency.RecordValue(int64(10*time.Microsecond + wait + time.Duration(s.random.ExpFloat64()*1e3)))
	}
	if s.change != nil {
		s.change(&r)
	}
	return r, nil
}

func (s *stub) runner() *runner { return &runner{Measurer: s, grace: defaultGrace, clock: s.clock} }

func TestStubIsWhatItSays(t *testing.T) {
	s := newStub(1e6)
	for rate, want := range map[float64]uint64{5e5: 5e5, 1e6: 1e6, 2e6: 1e6 + 32} {
		if r, err := s.Trial(t.Context(), rate, time.Second); err != nil || r.Received != want {
			t.Errorf("at %g: %d frames, expected %d", rate, r.Received, want)
		}
	}
}
