package hostile

import (
	"context"
	"sync/atomic"
	"time"

	"sallyport/appliance/api"
)

// pace is the rate at which an attack sends: that at which the port takes messages. What is sent beyond it would be lost before the gateway has seen it, with
// the messages of peers, as on any wire that is full.
type pace struct {
	rate atomic.Int64 // messages a second
	sent atomic.Int64
	due  time.Time // for the next
}

const (
	firstRate = 100_000
	leastRate = 5_000
	mostRate  = 10_000_000
	listening = 200 * time.Millisecond // how long the port is listened to before the rate changes
	taken     = 0.95                   // of what was sent, when a faster rate is tried: the two are not counted at the same moment
	faster    = 1.3
	slower    = 0.7                  // at most
	arrears   = 5 * time.Millisecond // that are made up for
)

func newPace() *pace {
	p := &pace{due: time.Now()}
	p.rate.Store(firstRate)
	return p
}

// wait waits until so many messages are due.
func (p *pace) wait(messages int) {
	now := time.Now()
	if late := now.Add(-arrears); p.due.Before(late) {
		p.due = late
	}
	if p.due.After(now) {
		time.Sleep(p.due.Sub(now))
	}
	p.due = p.due.Add(time.Duration(messages) * time.Second / time.Duration(p.rate.Load()))
	p.sent.Add(int64(messages))
}

// keep has the rate stay what it is.
func (p *pace) keep(rate float64) { p.rate.Store(int64(max(leastRate, rate))) }

// listen follows what the port takes until ctx ends.
func (p *pace) listen(ctx context.Context, b *bed) {
	ticker := time.NewTicker(listening)
	defer ticker.Stop()
	sent, received, at := p.sent.Load(), b.received(ctx), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		nowSent, nowReceived, now := p.sent.Load(), b.received(ctx), time.Now()
		in, out, seconds := float64(nowReceived-received), float64(nowSent-sent), now.Sub(at).Seconds()
		sent, received, at = nowSent, nowReceived, now
		switch rate := float64(p.rate.Load()); {
		case out == 0:
		case in >= taken*out && out >= taken*rate*seconds:
			p.rate.Store(int64(min(mostRate, rate*faster)))
		case in < taken*out:
			p.rate.Store(int64(max(leastRate, slower*rate, in/seconds)))
		}
	}
}

// received is how many packets the port that is attacked has taken; 0 if the gateway does not say.
func (b *bed) received(ctx context.Context) uint64 {
	var counters api.Counters
	if b.client.Get(ctx, api.PathCounters, nil, &counters) != nil {
		return 0
	}
	for _, p := range counters.Ports {
		if p.Name == b.scenario.port() {
			return p.Received
		}
	}
	return 0
}
