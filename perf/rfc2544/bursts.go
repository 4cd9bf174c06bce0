package rfc2544

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Bursts are the longest ones at the highest rate that lose nothing (RFC 2544, section 26.4, with the procedure of RFC 9004, section 5): they say how much the target buffers.
type Bursts struct {
	Rate      float64   // frames a second
	Frames    []float64 // of the longest, in each repetition
	Unlimited bool      // the longest burst that was tried lost nothing: the target keeps up, and there is no such figure (RFC 9004, section 4)
}

// The longest burst that is tried, and how near the longest without loss is found.
const (
	longestBurst = 2 * time.Second // RFC 2544, section 26.4
	burstWidth   = 0.01            // or one frame
)

// measureBursts repeats a binary search over the lengths of bursts.
func (r *runner) measureBursts(ctx context.Context, rate float64, repetitions int) (Bursts, error) {
	b := Bursts{Rate: rate}
	most := math.Floor(rate * longestBurst.Seconds())
	length := func(frames float64) time.Duration { return time.Duration(math.Round(frames / rate * 1e9)) }
	steps := math.Log2(most)
	for repetition := range repetitions {
		low, high := 0.0, most+1
		for frames := most; ; {
			left := time.Duration(float64(repetitions-repetition) * steps * float64(longestBurst/10+r.overhead()))
			result, err := r.trial(ctx, rate, length(frames), left)
			if offered := result.offered(length(frames)); err == nil && frames == most && offered < rate*(1-pacing) {
				err = fmt.Errorf("%w: bursts at %.0f frames/s, found %.0f", ErrGenerator, rate, offered)
			}
			switch {
			case err != nil:
				return b, err
			case result.lossRatio(rate, length(frames)) > 0:
				high = frames
			default:
				low = frames
			}
			if low >= most {
				b.Unlimited = true
				return b, nil
			}
			if high-low <= max(1, burstWidth*high) {
				break
			}
			// Between lengths that differ by orders of magnitude the middle is a ratio.
			frames = math.Floor((low + high) / 2)
			if high > 16*max(low, 1) {
				frames = math.Floor(math.Sqrt(max(low, 1) * high))
			}
		}
		b.Frames = append(b.Frames, low)
	}
	return b, nil
}

// Buffer is the time that the target can buffer for: that which a burst of this length takes, less what was forwarded meanwhile (RFC 9004, section 5.4).
func (b *Bursts) Buffer(throughput float64) time.Duration {
	if len(b.Frames) == 0 || b.Unlimited {
		return 0
	}
	sum := 0.0
	for _, frames := range b.Frames {
		sum += frames
	}
	implied := sum / float64(len(b.Frames)) / b.Rate
	return time.Duration(implied * max(0, 1-throughput/b.Rate) * 1e9)
}
