package rfc2544

import (
	"context"
	"errors"
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Measurer makes trials (RFC 9971, section 4.9.1): it offers frames at a rate, in frames a second, for a time, waits for those that are still under way (RFC 2544, section 23), and says
// what came of them. When ctx ends it stops and says what there was by then. The frames of a trial are rate times duration, to the nearest, so that a burst is a short trial at the
// highest rate.
//
// It returns an error if it could not measure, not if the target did badly.
type Measurer interface {
	Trial(ctx context.Context, rate float64, duration time.Duration) (Result, error)
}

// Result is what came of a trial.
type Result struct {
	Down      bool          // the target had no link, or nobody answered for it: nothing was sent
	NoTunnels string        // why the target has not made all tunnels: nothing was sent; empty: it has
	Sent      uint64        // frames
	Received  uint64        // of those, at the place where they belong, each counted once
	Duration  time.Duration // in which they were sent

	Changing Part // of all that, the frames of tunnels that change meanwhile

	Reordered  uint64 // frames behind one that was sent later (RFC 4737, section 3.3)
	Duplicated uint64 // frames beyond the first of their number

	Mangled    uint64 // frames with other octets than were sent
	Reflected  uint64 // frames that came back to where they were sent from
	Strange    uint64 // frames of ours with other addresses than were asked for, or by another tunnel
	Cleartext  uint64 // frames that came in clear and should have been protected
	Unreadable uint64 // frames of ESP that the SAs cannot open
	Rivals     uint64 // answers to ARP or neighbour discovery by who should not: for the target by a second one, or for an address of ours

	Latency *hdr.Histogram // of the frames received, in nanoseconds; nil: it was not measured
}

// Part is some of the frames of a trial.
type Part struct{ Sent, Received, Reordered, Duplicated uint64 }

// Lost is those that did not arrive.
func (p Part) Lost() uint64 { return p.Sent - min(p.Received, p.Sent) }

// staying is the frames of tunnels that stay as they are.
func (r *Result) staying() Part {
	return Part{r.Sent - r.Changing.Sent, r.Received - r.Changing.Received, r.Reordered - r.Changing.Reordered, r.Duplicated - r.Changing.Duplicated}
}

// Lost is the frames that did not arrive.
func (r *Result) Lost() uint64 { return r.Sent - min(r.Received, r.Sent) }

// lossRatio is the share of the load that did not arrive (RFC 9971, section 4.5.6). What was not even sent counts as lost, as section 4.9.1 recommends, unless it was so little that
// pacing explains it.
func (r *Result) lossRatio(rate float64, duration time.Duration) float64 {
	wanted := rate * duration.Seconds()
	if float64(r.Sent) >= wanted*(1-pacing) || wanted < 1 {
		wanted = max(float64(r.Sent), 1)
	}
	return 1 - min(float64(r.Received)/wanted, 1)
}

// offered is the rate at which frames were sent.
func (r *Result) offered(duration time.Duration) float64 {
	if r.Duration > 0 {
		duration = r.Duration
	}
	return float64(r.Sent) / duration.Seconds()
}

// pacing is how far the rate of a sender may be from what was asked for.
const pacing = 0.005

// What a target does that makes all figures of it meaningless.
var (
	ErrDown       = errors.New("the target is down: it has no link, or nobody answers for its address")
	ErrTunnels    = errors.New("the target does not make the tunnels")
	ErrDropsAll   = errors.New("the target drops everything")
	ErrLeaks      = errors.New("the target sends in clear what it should protect")
	ErrReflects   = errors.New("the target sends frames back to where they came from")
	ErrMangles    = errors.New("the target mangles frames")
	ErrStrange    = errors.New("the target answers for addresses that are not its own")
	ErrUnreadable = errors.New("the target sends ESP that the SAs cannot open")
	ErrRivals     = errors.New("somebody else answers for the target's address, or for the tester's")
	ErrGenerator  = errors.New("the generator cannot offer that much")
)

// fault is what is wrong with the target by this trial, or nil.
func (r *Result) fault() error {
	if r.Down {
		return ErrDown
	}
	if r.NoTunnels != "" {
		return fmt.Errorf("%w: %s", ErrTunnels, r.NoTunnels)
	}
	for _, found := range []struct {
		frames uint64
		what   error
	}{{r.Cleartext, ErrLeaks}, {r.Reflected, ErrReflects}, {r.Mangled, ErrMangles}, {r.Strange, ErrStrange}, {r.Unreadable, ErrUnreadable}} {
		if found.frames > 0 {
			return fmt.Errorf("%w: %d of %d frames", found.what, found.frames, r.Sent)
		}
	}
	if r.Rivals > 0 {
		return fmt.Errorf("%w: %d answers", ErrRivals, r.Rivals)
	}
	return nil
}

// runner makes the trials of one target, one after the other, and keeps count of what they take.
type runner struct {
	Measurer
	grace time.Duration // beyond its own time, after which a trial counts as stuck
	clock func() time.Time
	wait  func(ctx context.Context, d time.Duration) error
	tell  func(runner *runner, rate float64, duration, left time.Duration)
	alive func(ctx context.Context) error // asks a target that has lost everything whether it still forwards; nil: it has not yet, or nobody asks

	last    Result // of the trial before
	trials  int
	running time.Duration // that trials took
	asked   time.Duration // that they were asked to take
}

// defaultGrace is for settling before and after a trial: RFC 2544, section 23, has 2 and 5 seconds.
const defaultGrace = 30 * time.Second

// trial makes one, of the trials that are still to come about as long as left. An interrupted one is no trial.
func (r *runner) trial(ctx context.Context, rate float64, duration, left time.Duration) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if r.tell != nil {
		r.tell(r, rate, duration, left)
	}
	limited, cancel := context.WithTimeout(ctx, duration+r.grace)
	defer cancel()
	began := r.clock()
	result, err := r.Trial(limited, rate, duration)
	switch {
	case ctx.Err() != nil:
		return Result{}, ctx.Err()
	case limited.Err() != nil:
		return Result{}, fmt.Errorf("rfc2544: a trial of %v had not ended after %v", duration, duration+r.grace)
	case err != nil:
		return Result{}, fmt.Errorf("rfc2544: a trial at %.0f frames/s: %w", rate, err)
	}
	r.trials++
	r.running += r.clock().Sub(began)
	r.asked += duration
	r.last = result
	if err = result.fault(); err == nil && result.Sent > 0 && result.Received == 0 {
		err = r.still(ctx)
	}
	return result, err
}

// still says whether the target forwards anything: one that has died since it was probed has no figures, and loss of all frames is not one.
func (r *runner) still(ctx context.Context) error {
	ask := r.alive
	if ask == nil {
		return nil
	}
	r.alive = nil // what is asked now are trials, too
	defer func() { r.alive = ask }()
	return ask(ctx)
}

// probes is how often a target is asked before it counts as one that drops everything: it may have to learn of its neighbours first, or its machine is busy.
const probes = 5

// probe is a first trial at the least rate: what does not pass that needs no search.
func (r *runner) probe(ctx context.Context, rate float64, duration time.Duration) error {
	var sent uint64
	for range probes {
		result, err := r.trial(ctx, rate, duration, 0)
		if err != nil || result.Received > 0 {
			return err
		}
		sent += result.Sent
	}
	if sent == 0 {
		return fmt.Errorf("%w: no frame was sent at %.0f frames/s for %v", ErrGenerator, rate, duration)
	}
	return fmt.Errorf("%w: none of %d frames at %.0f frames/s arrived", ErrDropsAll, sent, rate)
}

// overhead is what a trial takes beyond its own time.
func (r *runner) overhead() time.Duration {
	if r.trials == 0 {
		return 0
	}
	return max(0, (r.running-r.asked)/time.Duration(r.trials))
}
