package rfc2544

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Reconfigurer changes a target under load.
type Reconfigurer interface {
	// Changes are the kinds that it knows, such as "add", "rekey" and "remove", in the order in which they are to be made.
	Changes() []string
	// Reconfigure makes a change, as large as its user has set, and returns when the target has carried it out or ctx ends; it says how many tunnels it was.
	Reconfigure(ctx context.Context, change string) (tunnels int, err error)
}

// Reconf is what a change under load costs, beside as long without one.
type Reconf struct {
	Change   string
	Rate     float64 // frames a second
	Tunnels  int
	Took     time.Duration
	Lost     uint64 // with the change
	LostIdle uint64 // without
	Sent     uint64 // with the change

	Staying, Changing Part // of the frames with the change: those of tunnels that stay as they are, and of those that change
}

// Blocked is the time for which nothing would have to pass to lose as much at that rate, as if that were the reason.
func (r *Reconf) Blocked() time.Duration {
	return time.Duration(float64(r.Lost) / r.Rate * 1e9)
}

// mostChange is for how long a change is waited for beyond its trial.
const mostChange = time.Minute

// measureReconf offers a load for some time, without and with each change. That begins when a quarter of the time is over; one that is not over by the end gets another trial, and then there
// are as many without.
func (r *runner) measureReconf(ctx context.Context, of Reconfigurer, rate float64, duration time.Duration) ([]Reconf, error) {
	var list []Reconf
	changes := of.Changes()
	for i, change := range changes {
		left := 2 * time.Duration(len(changes)-i) * (duration + r.overhead())
		c := Reconf{Change: change, Rate: rate}
		idle, err := r.trial(ctx, rate, duration, left)
		if err != nil {
			return list, err
		}
		c.LostIdle = idle.Lost()
		left -= duration + r.overhead()
		busy, trials, err := r.changing(ctx, of, &c, duration, left)
		if err != nil {
			return list, err
		}
		for range trials - 1 {
			if idle, err = r.trial(ctx, rate, duration, left); err != nil {
				return list, err
			}
			c.LostIdle += idle.Lost()
		}
		c.Lost, c.Sent, c.Staying, c.Changing = busy.Lost(), busy.Sent, busy.staying(), busy.Changing
		list = append(list, c)
	}
	return list, nil
}

// changing makes trials with a change in them, most often one, and says how many.
func (r *runner) changing(ctx context.Context, of Reconfigurer, c *Reconf, duration, left time.Duration) (sum Result, trials int, err error) {
	type done struct {
		tunnels int
		took    time.Duration
		err     error
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	ask := r.alive
	r.alive = nil // without its tunnels a target forwards nothing
	defer func() { r.alive = ask }()
	ended := make(chan done, 1)
	go func() {
		if err := r.wait(limited, duration/4); err != nil {
			ended <- done{err: err}
			return
		}
		began := r.clock()
		tunnels, err := of.Reconfigure(limited, c.Change)
		ended <- done{tunnels, r.clock().Sub(began), err}
	}()
	var d done
	for over := false; !over; {
		var result Result
		result, err = r.trial(ctx, c.Rate, duration, left)
		sum.add(&result)
		trials++
		patience := settling
		if err != nil || time.Duration(trials-1)*duration >= mostChange {
			cancel() // what has not been done by now is not
			patience = math.MaxInt64
		}
		select {
		case d = <-ended: // nothing changes the target once its trials are over
			over = true
		case <-time.After(patience):
		}
	}
	if err != nil {
		return sum, trials, err
	}
	if d.err != nil {
		return sum, trials, fmt.Errorf("rfc2544: %s under load, within trials of %v: %w", c.Change, duration, d.err)
	}
	c.Tunnels, c.Took = d.tunnels, d.took
	return sum, trials, nil
}

// settling is for a change that has been over when its trial was, and is about to say so.
const settling = 50 * time.Millisecond

// add counts frames of another trial, too.
func (r *Result) add(other *Result) {
	r.Sent, r.Received = r.Sent+other.Sent, r.Received+other.Received
	r.Reordered, r.Duplicated = r.Reordered+other.Reordered, r.Duplicated+other.Duplicated
	r.Changing.Sent, r.Changing.Received = r.Changing.Sent+other.Changing.Sent, r.Changing.Received+other.Changing.Received
	r.Changing.Reordered, r.Changing.Duplicated = r.Changing.Reordered+other.Changing.Reordered, r.Changing.Duplicated+other.Changing.Duplicated
}
