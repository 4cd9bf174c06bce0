package negotiate

import (
	"context"
	"strings"
	"time"

	"sallyport/ike"
	"sallyport/perf/lab"
)

// counts are what the gateway has counted by itself, as its metrics have it.
type counts struct {
	mainModes, quickModes float64
	shed                  map[string]float64 // datagrams that it did not take, by why
}

// count asks the gateway.
func (b *bed) count(ctx context.Context) (counts, error) {
	c := counts{shed: map[string]float64{}}
	if b.target != nil { // only itself knows
		return c, nil
	}
	samples, err := b.gateway.Metrics(ctx, metricsAddress)
	for _, s := range samples {
		c.add(s)
	}
	return c, err
}

// countUntil asks the gateway what has come to it, until that is what the peers say, or no longer becomes it.
func (b *bed) countUntil(ctx context.Context, before counts, r *round) (c counts, err error) {
	const readings, between = 200, 50 * time.Millisecond // the gateway hears of the last quick modes a message later than the peers, and may wait for a core
	if b.target != nil {
		return counts{}, nil
	}
	for range readings {
		if c, err = b.count(ctx); err != nil {
			return c, err
		}
		if c = c.since(before); int(c.mainModes) >= r.allMainModes && int(c.quickModes) >= r.allQuickModes {
			break
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(between):
		}
	}
	return c, nil
}

func (c *counts) add(s lab.Sample) {
	name, value, kind, reason := s.Name, s.Value, s.Labels["kind"], s.Labels["reason"]
	switch {
	case name == "ike_queue_full_total", name == "slow_path_lost_total", name == "drops_total" && strings.Contains(reason, "full"):
		if value > 0 {
			c.shed[strings.TrimSpace(name+" "+reason+s.Labels["queue"])] += value
		}
	case name != "ike_facts_total":
	case kind == ike.IKEEstablished.String():
		c.mainModes += value
	case kind == ike.ChildEstablished.String(), kind == ike.ChildRekeyed.String():
		c.quickModes += value
	case kind == ike.Refused.String() && reason != string(ike.RefuseCookie):
		c.shed[reason] += value
	}
}

// since is what has come to it after an earlier count.
func (c counts) since(before counts) counts {
	d := counts{c.mainModes - before.mainModes, c.quickModes - before.quickModes, map[string]float64{}}
	for why, n := range c.shed {
		if n -= before.shed[why]; n > 0 {
			d.shed[why] = n
		}
	}
	return d
}

// turnedAway is all of that together.
func (c counts) turnedAway() (n float64) {
	for _, value := range c.shed {
		n += value
	}
	return n
}
