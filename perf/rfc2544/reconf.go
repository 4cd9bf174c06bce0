package rfc2544

import (
	"context"
	"fmt"
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

// measureReconf offers a load for some time, once without and once with each change: that begins when a quarter of the time is over, and has to be over before the load is.
func (r *runner) measureReconf(ctx context.Context, of Reconfigurer, rate float64, duration time.Duration) ([]Reconf, error) {
	var list []Reconf
	changes := of.Changes()
	for i, change := range changes {
		left := 2 * time.Duration(len(changes)-i) * (duration + r.overhead())
		idle, err := r.trial(ctx, rate, duration, left)
		if err != nil {
			return list, err
		}
		c := Reconf{Change: change, Rate: rate, LostIdle: idle.Lost()}
		busy, err := r.changing(ctx, of, &c, duration, left-duration-r.overhead())
		if err != nil {
			return list, err
		}
		c.Lost, c.Sent, c.Staying, c.Changing = busy.Lost(), busy.Sent, busy.staying(), busy.Changing
		list = append(list, c)
	}
	return list, nil
}

// changing makes a trial with a change in it.
func (r *runner) changing(ctx context.Context, of Reconfigurer, c *Reconf, duration, left time.Duration) (Result, error) {
	type done struct {
		tunnels int
		took    time.Duration
		err     error
	}
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
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
	result, err := r.trial(ctx, c.Rate, duration, left)
	cancel()     // what has not been done by now is not
	d := <-ended // nothing changes the target once its trial is over
	if err != nil {
		return result, err
	}
	if d.err != nil {
		return result, fmt.Errorf("rfc2544: %s under load, within a trial of %v: %w", c.Change, duration, d.err)
	}
	c.Tunnels, c.Took = d.tunnels, d.took
	return result, nil
}
