package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// negotiation is how the tunnels came up, nil where none is negotiated.
func (t *Tester) negotiation() *Negotiation {
	if t.ike == nil {
		return nil
	}
	return t.ike.done
}

// negotiated are the numbers of all tunnels that IKE makes.
func (t *Tester) negotiated() (list []int) {
	for i := range t.config.Tunnels {
		if !t.config.Tunnels[i].IKE.none() {
			list = append(list, i)
		}
	}
	return list
}

// ready brings up the tunnels that IKE makes, unless that has been done. A result is that of a target with which it cannot be done, or of who was interrupted.
func (t *Tester) ready(ctx context.Context) (*Result, error) {
	if t.ike == nil || t.ike.done != nil {
		return nil, nil
	}
	if t.ike.result != nil { // the same again would come of it
		return t.ike.result, nil
	}
	if err := t.reset(Load{Duration: time.Second}); err != nil {
		return nil, err
	}
	r, began := &Result{Started: time.Now()}, time.Now()
	tunnels := t.negotiated()
	done := Negotiation{Tunnels: len(tunnels)}
	c := t.ike.newChange(Add, tunnels)
	var wrong error
	if err := t.run(ctx, r, func(failed <-chan error) { wrong = t.bringUp(ctx, c, failed) }); err != nil {
		return nil, err
	}
	done.Seconds, done.Up = time.Since(began).Seconds(), int(t.ike.up.Load())
	r.Negotiation = &done
	switch {
	case errors.Is(wrong, context.Canceled) || errors.Is(wrong, context.DeadlineExceeded):
		r.Interrupted = true
	case wrong != nil:
		return nil, wrong
	case r.Verdict != "" || r.Interrupted: // the gateway was not even found
	case done.Up < done.Tunnels:
		done.Failures = c.failures
		r.Verdict = SomeTunnels
		if done.Up == 0 {
			r.Verdict = NoTunnels
		}
		finding := fmt.Sprintf("IKE: %d of %d tunnels are up", done.Up, done.Tunnels)
		if left := done.Tunnels - done.Up - c.failed(); left > 0 {
			finding += fmt.Sprintf(", %d were not tried", left)
		}
		r.Findings = append(r.Findings, finding+": "+c.why())
	default:
		t.ike.done = &done
		return nil, t.rehearse()
	}
	if !r.Interrupted {
		t.ike.result = r
	}
	return r, nil
}

// bringUp waits for a change that nothing but ctx ends early, or loops that have failed, and tells how far it is.
func (t *Tester) bringUp(ctx context.Context, c *change, failed <-chan error) error {
	ended := make(chan error, 1)
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- t.await(limited, c) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if len(failed) > 0 {
				return nil // whoever runs the loops says why
			}
			if t.config.Progress != nil {
				t.config.Progress(t.ike.progress(c, time.Since(began)))
			}
		}
	}
}

// progress says how far a change of all tunnels is, and how long the others take if they take as long as those so far.
func (n *negotiator) progress(c *change, elapsed time.Duration) Progress {
	p := Progress{Elapsed: elapsed, Up: int(n.up.Load()), Tunnels: len(n.tunnels), Change: c.kind}
	if c.kind == Remove {
		p.Tunnels = c.tunnels
		p.Up = p.Tunnels - int(c.done.Load())
	}
	if done := c.done.Load(); done > 0 {
		p.Left = time.Duration(float64(elapsed) * (float64(c.tunnels)/float64(done) - 1))
	}
	return p
}

// String is a line for whoever waits.
func (p Progress) String() string {
	if p.Tunnels == 0 {
		return fmt.Sprintf("%d packets sent, %d received, %s left", p.Sent, p.Received, p.Left.Round(time.Second))
	}
	line := fmt.Sprintf("%d of %d tunnels are up", p.Up, p.Tunnels)
	if p.Change == Remove {
		line = fmt.Sprintf("%d of %d tunnels are not deleted yet", p.Up, p.Tunnels)
	}
	if p.Left > 0 {
		line += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return line
}

// farewells is how long a gateway may take to answer all deletes at the end.
const farewells = 2 * time.Second

// farewell deletes the tunnels that IKE has made, so that the gateway does not keep what nobody serves any more. Whether it answers is up to it.
func (t *Tester) farewell() error {
	if t.ike == nil || t.ike.up.Load() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewells+time.Duration(len(t.config.Tunnels))*time.Millisecond)
	defer cancel()
	there := slices.DeleteFunc(t.negotiated(), func(i int) bool { return t.there[i] == 0 })
	c := t.ike.newChange(Remove, there)
	err := t.reset(Load{Duration: time.Second})
	if err == nil {
		err = t.run(ctx, &Result{}, func(failed <-chan error) { _ = t.bringUp(ctx, c, failed) }) // who does not answer is left alone
	}
	return errors.Join(err, t.ike.failed)
}
