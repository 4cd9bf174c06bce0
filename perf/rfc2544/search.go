package rfc2544

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Limits are the loads that a search may offer, in frames a second (RFC 9971, section 4.6.8).
type Limits struct {
	Min float64 // at which every target that works passes some frames
	Max float64 // of the link, or of what generates
}

// GoalResult is what a search has found for a goal (RFC 9971, section 4.8.4).
type GoalResult struct {
	Goal
	Lower       float64 // the highest load below Upper that meets the goal (section 4.8.2), in frames a second; 0: none was found
	Upper       float64 // the least load that does not (section 4.8.1); 0: none was found
	Conditional float64 // frames a second that got through at Lower (section 4.8.3)
	Regular     bool    // both were found, not further apart than the goal's width
	Note        string  // why it is not regular
	Trials      int     // that this goal took; those of earlier goals count for it too
}

// maxTrials is more than any search takes whose target is the same from one minute to the next.
const maxTrials = 300

// search is the controller of RFC 9971, section 4.9.2.
type search struct {
	*runner
	limits Limits
	loads  map[float64][]sample
	goal   Goal // that is looked for now
	coming []Goal
	unsent map[float64]float64 // by load, the rate at which frames were sent where that was less
	step   float64             // of the next leap, as a share of the load
	rose   bool                // the load before met the goal
	made   int                 // trials
}

// Search finds the loads that meet the goals, one after the other; each profits from the trials of those before. When ctx ends, or the target turns out to be of no use, the error
// says so, and the results are what there was by then.
func (r *runner) search(ctx context.Context, goals []Goal, limits Limits) ([]GoalResult, error) {
	s := &search{runner: r, limits: limits, loads: map[float64][]sample{}, unsent: map[float64]float64{}}
	var results []GoalResult
	for _, g := range goals {
		before := s.made
		err := s.find(ctx, g)
		result := s.result(g)
		result.Trials = s.made - before
		if err != nil && errors.Is(err, ctx.Err()) {
			result.Regular, result.Note = false, "interrupted"
		}
		results = append(results, result)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// targets are what a search goes through: coarse ones with short trials, each with half the width of the one before, and the goal itself.
func (g Goal) targets() []Goal {
	g = g.withDefaults()
	coarse := 0
	for d := g.Initial; d < g.Final && coarse < 3; d *= 4 {
		coarse++
	}
	var list []Goal
	for i := range coarse {
		t := g
		t.Final = time.Duration(float64(g.Initial) * math.Pow(float64(g.Final)/float64(g.Initial), float64(i)/float64(coarse)))
		t.Sum, t.Width = t.Final, g.Width*math.Pow(2, float64(coarse-i))
		list = append(list, t)
	}
	return append(list, g)
}

func (g Goal) withDefaults() Goal {
	if g.Sum == 0 {
		g.Sum = g.Final
	}
	if g.Initial == 0 {
		g.Initial = g.Final
	}
	return g
}

// find makes trials until the bounds of the goal are known, or cannot be.
func (s *search) find(ctx context.Context, g Goal) error {
	targets := g.targets()
	var lowBefore, highBefore float64
	for i, t := range targets {
		s.goal, s.coming, s.step = t, targets[i+1:], t.Width
		for tried := map[float64]bool{}; ; {
			load, more := s.next(lowBefore, highBefore, tried)
			if !more {
				break
			}
			tried[load] = true
			if err := s.measure(ctx, load); err != nil {
				return err
			}
		}
		lowBefore, highBefore = s.bounds(t)
	}
	return nil
}

// next is the load to try, of the bounds that the target before has found as well, if it has. Where the bounds are far apart it leaps from the one that was found last, twice as far
// each time, since the first guess is mostly a good one; where they are near it halves what is between them.
func (s *search) next(lowBefore, highBefore float64, tried map[float64]bool) (load float64, more bool) {
	low, high := s.bounds(s.goal)
	least, most := s.limits.Min, max(s.limits.Min, s.limits.Max)
	switch {
	case high == 0 && low >= most, low == 0 && high != 0 && high <= least: // nothing is beyond
		return 0, false
	case high == 0 && highBefore > low && !tried[highBefore]:
		return highBefore, true
	case high == 0 && low == 0 && !tried[most]:
		return most, true
	case high == 0:
		return min(s.leap(low, 1), most), true
	case low == 0 && lowBefore > 0 && lowBefore < high && !tried[lowBefore]:
		return lowBefore, true
	case low == 0:
		if guess := s.forwarded(high); guess > least && guess < high*(1-s.goal.Width) && !tried[guess] {
			return guess, true
		}
		return max(s.leap(high, -1), least), true
	case high-low <= s.goal.Width*high:
		return 0, false
	case high-low <= 4*s.step*high:
		return (low + high) / 2, true
	case s.rose:
		return s.leap(low, 1), true
	default:
		return s.leap(high, -1), true
	}
}

func (s *search) leap(from float64, sign float64) float64 {
	to := from * (1 + sign*min(s.step, 0.5))
	s.step *= 2
	return to
}

// forwarded is the rate that got through at a load: mostly a good guess of the throughput.
func (s *search) forwarded(load float64) float64 {
	least := 1.0
	for _, t := range s.loads[load] {
		least = min(least, t.loss)
	}
	return math.Floor(load * (1 - least))
}

// measure makes trials at a load until it is clear which bound it is.
func (s *search) measure(ctx context.Context, load float64) error {
	for s.goal.classify(s.loads[load]) == undecided {
		if s.made >= maxTrials {
			return fmt.Errorf("rfc2544: %d trials and no end: the target is not the same from one to the next", s.made)
		}
		result, err := s.offer(ctx, load)
		if err != nil {
			return err
		}
		if rate := result.offered(s.goal.Final); rate < load*(1-pacing) && result.Received >= result.Sent-min(result.Sent, uint64(s.goal.LossRatio*float64(result.Sent))) {
			s.unsent[load] = rate
		}
		s.loads[load] = append(s.loads[load], sample{s.goal.Final, result.lossRatio(load, s.goal.Final)})
	}
	s.rose = s.goal.classify(s.loads[load]) == lower
	return nil
}

// attempts are how often a trial is made that says more of this machine than of the target.
const attempts = 3

// offer makes a trial. One in which the load was not even sent, or the least load did not pass, is made again: on a machine with others at work it may have stood still, and a single such trial
// would be the result.
func (s *search) offer(ctx context.Context, load float64) (result Result, err error) {
	for range attempts {
		if result, err = s.trial(ctx, load, s.goal.Final, s.left()); err != nil {
			return result, err
		}
		s.made++
		stalled := result.offered(s.goal.Final) < load*(1-pacing)
		if !stalled && (load > s.limits.Min || result.lossRatio(load, s.goal.Final) <= s.goal.LossRatio) {
			break
		}
	}
	return result, nil
}

// bounds are the relevant ones of a goal, each 0 if there is none: the least upper one, and the highest lower one below it.
func (s *search) bounds(g Goal) (low, high float64) {
	for load, trials := range s.loads {
		if g.classify(trials) == upper && (high == 0 || load < high) {
			high = load
		}
	}
	for load, trials := range s.loads {
		if g.classify(trials) == lower && load > low && (high == 0 || load < high) {
			low = load
		}
	}
	return low, high
}

func (s *search) result(g Goal) GoalResult {
	g = g.withDefaults()
	result := GoalResult{Goal: g}
	result.Lower, result.Upper = s.bounds(g)
	if result.Lower > 0 {
		result.Conditional = g.conditional(result.Lower, s.loads[result.Lower])
	}
	rate, unsent := s.unsent[result.Upper]
	switch {
	case unsent && rate < result.Lower*(1-pacing): // it can send more, and did not
		result.Note = fmt.Sprintf("%v in all trials: of %.0f frames/s it has sent %.0f in one, which is not what limits the target", ErrGenerator, result.Upper, rate)
	case unsent:
		result.Note = fmt.Sprintf("%v: no more than %.0f frames/s, which is not what limits the target", ErrGenerator, max(rate, result.Lower))
	case result.Upper == 0:
		result.Note = fmt.Sprintf("the highest load, %.0f frames/s, meets the goal: the target can do more", s.limits.Max)
	case result.Lower == 0:
		result.Note = fmt.Sprintf("the least load, %.0f frames/s, does not meet the goal", s.limits.Min)
	default:
		result.Regular = result.Upper-result.Lower <= g.Width*result.Upper
	}
	return result
}

// left is about how long the trials take that are to come for this goal: those by which the bounds of this target come near each other, by leaps while they are far apart and by halving
// then, and for each target after it those by which they are confirmed and halved.
func (s *search) left() time.Duration {
	low, high := s.bounds(s.goal)
	if high == 0 {
		high = s.limits.Max
	}
	halvings := max(1, math.Ceil(math.Log2((high-low)/(s.goal.Width*high))))
	leaps := 4 + 2*math.Log2(s.step/s.goal.Width)
	left := time.Duration(min(halvings, leaps) * float64(s.goal.Sum+s.overhead()))
	for _, t := range s.coming {
		left += 3 * (t.Sum + s.overhead())
	}
	return left
}
