package hostile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/ike"
	"sallyport/perf/lab"
)

// foreign.go: floods of first messages against a gateway that is there already, whoever made it. Of such a one nothing is known but what it answers: somebody
// who means well asks it before, meanwhile and afterwards.

// Target is a gateway that is attacked as it is.
type Target struct {
	lab.Target
	Peers []netip.Addr // in whose names forged messages are
}

// Times of one that is asked.
const (
	askEvery    = 250 * time.Millisecond
	askLimit    = 20 * time.Second // after which it counts as down
	longestSoak = 10 * time.Second // that an attack waits for a link that takes nothing
)

// ForeignRow is what came of a scenario against a target.
type ForeignRow struct {
	Scenario string    `json:"scenario"`
	Messages int       `json:"messages"` // that the link took
	Seconds  float64   `json:"seconds"`
	Rate     float64   `json:"messages_per_second"`
	Asked    int       `json:"asked"`           // by who means well, meanwhile
	Answered int       `json:"answered"`        // those of them that were answered
	Slowest  float64   `json:"slowest_seconds"` // that one waited for an answer, repeating its message
	After    float64   `json:"after_seconds"`   // until an answer came when the attack was over
	Verdicts []Verdict `json:"verdicts"`
}

// foreign are the scenarios that need nothing of the gateway but its address.
func foreign(t *Target) map[string]func(context.Context, *bed) (attack, error) {
	list := map[string]func(context.Context, *bed) (attack, error){"init-random": flood(ike.V2, anywhere), "main-random": flood(ike.V1, anywhere)}
	if len(t.Peers) > 0 {
		list["init-forged"], list["main-forged"] = flood(ike.V2, oneOf(t.Peers)), flood(ike.V1, oneOf(t.Peers))
	}
	return list
}

// runForeign attacks a target from a namespace.
func (o *Options) runForeign(ctx context.Context, l *lab.Lab, from *lab.Namespace) (rows []ForeignRow, err error) {
	t := o.Target
	b := &bed{Lab: l, psk: rand.Text(), target: t.Gateway}
	if b.wire, err = t.Reach(ctx, from, o.askLimit); err != nil {
		return nil, err
	}
	if b.sender, err = from.Sender(t.Interface); err != nil {
		return nil, err
	}
	attacks := foreign(t)
	for _, name := range o.Scenarios {
		attack, err := attacks[name](ctx, b)
		if err != nil {
			return rows, err
		}
		row, err := o.siegeForeign(ctx, b, name, attack)
		if err != nil {
			return rows, err
		}
		o.printForeign(&row)
		rows = append(rows, row)
	}
	return rows, nil
}

// asking is somebody who means well and has time: one first message, again and again, so that one negotiation is all that the gateway keeps of it.
type asking struct {
	b        *bed
	message  lab.Datagram
	asked    int
	answered int
	slowest  time.Duration
	began    time.Time // the message that waits for its answer
	sent     time.Time
}

func newAsking(b *bed, t *Target, version ike.Version) (*asking, error) {
	first, err := firstMessage(version, b.psk)
	if err != nil {
		return nil, err
	}
	first.From, first.To = netip.AddrPortFrom(t.Source, portIKE), netip.AddrPortFrom(t.Gateway, portIKE)
	return &asking{b: b, message: first}, nil
}

// turn repeats a message when it is time, and takes what has come. Any answer to it will do: a refusal, too, is a sign of life.
func (a *asking) turn() error {
	datagrams, err := a.b.wire.Receive()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, d := range datagrams {
		if !a.began.IsZero() && d.To == a.message.From && d.From.Addr() == a.message.To.Addr() && len(d.Payload) >= headerLength && string(d.Payload[:responderAt]) == string(a.message.Payload[:responderAt]) {
			a.answered++
			a.slowest = max(a.slowest, now.Sub(a.began))
			a.began = time.Time{}
		}
	}
	if now.Sub(a.sent) < askEvery {
		return nil
	}
	if a.began.IsZero() {
		a.began = now
		a.asked++
	}
	a.sent = now
	return a.b.wire.Send(a.message, false)
}

// await asks until one more answer has come, and says how long that took.
func (a *asking) await(ctx context.Context, when string, limit time.Duration) (time.Duration, error) {
	began, answered := time.Now(), a.answered
	for a.answered == answered {
		if time.Since(began) > limit {
			return 0, fmt.Errorf("%w: %s %s gives %s no answer to a first message of IKE within %s: expected one that answers strangers, or has %[4]s as a peer's address", lab.ErrDown, when, a.message.To.Addr(), a.message.From.Addr(), limit)
		}
		if err := errors.Join(a.turn(), ctx.Err()); err != nil {
			return 0, err
		}
		if err := a.b.wire.Wait(askEvery / 10); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// siegeForeign floods a target while somebody asks it.
func (o *Options) siegeForeign(ctx context.Context, b *bed, name string, attack attack) (row ForeignRow, err error) {
	version := ike.V2
	if name == "main-random" || name == "main-forged" {
		version = ike.V1
	}
	a, err := newAsking(b, o.Target, version)
	if err != nil {
		return row, err
	}
	row.Scenario = name
	if _, err := a.await(ctx, "before the attack", o.askLimit); err != nil {
		return row, o.byOtherVersion(ctx, b, version, err)
	}
	a.asked, a.answered, a.slowest = 0, 0, 0
	began, moved := time.Now(), time.Now()
	for row.Messages < o.Messages {
		// So many and no more, as was asked for; over so long that somebody can ask meanwhile.
		due := int(float64(o.Messages)*min(time.Since(began).Seconds()/quickTime.Seconds(), 1)) - row.Messages
		taken := 0
		if due > 0 {
			taken, err = attack(ctx, min(due, sample))
		} else {
			err = b.wire.Wait(time.Millisecond)
		}
		if err = errors.Join(err, a.turn(), ctx.Err()); err != nil {
			return row, err
		}
		if row.Messages += taken; taken > 0 || due <= 0 {
			moved = time.Now()
		} else if time.Since(moved) > longestSoak {
			return row, fmt.Errorf("hostile: %s has taken no frame for %s", o.Target.Interface, longestSoak)
		}
	}
	row.Seconds = time.Since(began).Seconds()
	row.Rate = float64(row.Messages) / row.Seconds
	row.Asked, row.Answered = a.asked, a.answered
	after, err := a.await(ctx, "after the attack", o.askLimit)
	row.After, row.Slowest = after.Seconds(), a.slowest.Seconds()
	alive := err == nil
	if err != nil && !errors.Is(err, lab.ErrDown) {
		return row, err
	}
	row.Verdicts = []Verdict{
		{What: "the target answers when the attack is over", Value: row.After, Want: o.askLimit.Seconds(), Unit: "s", Met: alive},
		{What: "who means well has an answer", Value: row.Slowest, Want: connectWanted.Seconds(), Unit: "s", Met: alive && (o.Quick || row.Slowest <= connectWanted.Seconds()), Unjudged: o.Quick && alive},
	}
	return row, nil
}

// byOtherVersion is why a target gives no answer by one version of IKE: it is down, unless it answers by the other.
func (o *Options) byOtherVersion(ctx context.Context, b *bed, silent ike.Version, down error) error {
	speaks, try := ike.V2, "init-random and init-forged"
	if silent == ike.V2 {
		speaks, try = ike.V1, "main-random and main-forged"
	}
	a, err := newAsking(b, o.Target, speaks)
	if !errors.Is(down, lab.ErrDown) || err != nil {
		return errors.Join(down, err)
	}
	if _, err := a.await(ctx, "before the attack", o.askLimit); err != nil {
		return down
	}
	return fmt.Errorf("hostile: %s gives %s no answer to a first message of IKE%s, and one to a message of IKE%s: expected a peer at that address with which it speaks IKE%[3]s; without one try %[5]s",
		o.Target.Gateway, o.Target.Source, silent, speaks, try)
}

func (o *Options) printForeign(r *ForeignRow) {
	fmt.Fprintf(o.Out, "\n%s\n", r.Scenario)
	fmt.Fprintf(o.Out, "  %-12s %d messages in %.1f s, %.0f/s\n", "sent", r.Messages, r.Seconds, r.Rate)
	fmt.Fprintf(o.Out, "  %-12s %d of %d questions meanwhile\n", "answered", r.Answered, r.Asked)
	o.printVerdicts(r.Verdicts)
}
