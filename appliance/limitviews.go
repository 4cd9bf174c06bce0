package appliance

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// limitsView lists the limits of IKE: those of a peer, or all limits and behind them the rows of those peers from whom something was refused.
func limitsView(uses []ike.LimitUse, peer string) []api.IKELimit {
	list := []api.IKELimit{}
	for _, u := range uses {
		if u.Peer != peer && (peer != "" || u.Refused == 0) {
			continue
		}
		list = append(list, api.IKELimit{Limit: u.Name, IKE: u.Version, Peer: u.Peer, Each: u.Each, PerSecond: u.PerSecond, Value: u.Limit, Used: u.Used, Most: u.Most, Refused: u.Refused})
	}
	slices.SortStableFunc(list, func(a, b api.IKELimit) int { return cmp.Compare(a.Peer, b.Peer) })
	return list
}

var (
	descLimit        = describe("ike_limit", "Limits of IKE, by key of ike.limits and by version of IKE (1, 2, or both where they have it together).", "limit", "version")
	descLimitUsed    = describe("ike_limit_used", "What there is of what a limit of IKE limits; of a rate, within this second; of a limit for each peer, address, port or prefix, at the one that has the most.", "limit", "version")
	descLimitMost    = describe("ike_limit_used_most", "The most there was of that since start.", "limit", "version")
	descLimitRefused = describe("ike_limit_refused_total", "What a limit of IKE has refused; of cookie_threshold, what was answered by a cookie.", "limit", "version")
)

// scrapeTime is how long a scrape waits for the engine.
const scrapeTime = 5 * time.Second

// collectLimits gives what limits of IKE there are, what is in use of them, and what they have refused.
func (g *Gateway) collectLimits(counter, gauge func(*prometheus.Desc, uint64, ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	uses, err := g.negotiator.limitUses(ctx)
	if err != nil {
		return // the gateway is stopping, or IKE has more to do
	}
	for _, l := range limitsView(uses, "") {
		if l.Peer != "" {
			continue // facts are counted by peer
		}
		version := map[int]string{0: "both", 1: "1", 2: "2"}[l.IKE]
		gauge(descLimit, uint64(max(0, l.Value)), l.Limit, version)
		gauge(descLimitUsed, uint64(max(0, l.Used)), l.Limit, version)
		gauge(descLimitMost, uint64(max(0, l.Most)), l.Limit, version)
		counter(descLimitRefused, l.Refused, l.Limit, version)
	}
}
