package hostile

import (
	"context"
	"time"

	"sallyport/ike"
	"sallyport/perf/lab"
)

// softRefused begins the names of counters of soft SAs that were not made.
const softRefused = "soft_refused"

// account is what the gateway says of the messages that came, by its metrics.
type account struct {
	received float64            // packets, by the port that is attacked
	refused  map[string]float64 // by the counter that rose
	slow     float64            // those of them that came as far as Go
	soft     float64            // soft SAs
	port     string             // that is attacked
}

// account reads it.
func (b *bed) account(ctx context.Context) (a account, err error) {
	a.refused, a.port = map[string]float64{}, b.scenario.port()
	samples, err := b.gateway.Metrics(ctx, metricsAddress)
	for _, s := range samples {
		a.add(s)
	}
	return a, err
}

func (a *account) add(s lab.Sample) {
	kind, reason := s.Labels["kind"], s.Labels["reason"]
	switch {
	case s.Name == "port_received_packets_total" && s.Labels["port"] == a.port:
		a.received = s.Value
	case s.Name == "drops_total" && s.Labels["port"] == a.port:
		a.rise(reason, s.Value)
	case s.Name == "ike_queue_full_total":
		a.rise("ike_queue_full "+s.Labels["queue"], s.Value)
		a.slow += s.Value
	case s.Name == "soft_sas":
		a.soft = s.Value
	case s.Name == "soft_refused_total":
		a.rise(softRefused+" "+reason, s.Value)
	case s.Name == "slow_path_lost_total":
		a.rise(s.Name, s.Value)
	case s.Name == "ike_facts_total" && (kind == ike.Refused.String() || kind == ike.Dropped.String()):
		a.rise(reason, s.Value)
		a.slow += s.Value
	}
}

func (a *account) rise(counter string, value float64) {
	if value > 0 {
		a.refused[counter] += value
	}
}

// since is what has come after an earlier account.
func (a account) since(before account) account {
	d := account{received: a.received - before.received, slow: a.slow - before.slow, refused: map[string]float64{}}
	for counter, n := range a.refused {
		if n -= before.refused[counter]; n > 0 {
			d.refused[counter] = n
		}
	}
	return d
}

// settled reads the account until it no longer changes: the gateway has done with what came.
func (b *bed) settled(ctx context.Context) (a account, err error) {
	const between, readings = 100 * time.Millisecond, 100
	for range readings {
		before := a
		if a, err = b.account(ctx); err != nil || a.received > 0 && a.received == before.received && a.slow == before.slow {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(between):
		}
	}
	return a, nil
}
