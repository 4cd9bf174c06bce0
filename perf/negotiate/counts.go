package negotiate

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/ike"
)

// counts are what the gateway has counted by itself, as its metrics have it.
type counts struct {
	mainModes, quickModes float64
	shed                  map[string]float64 // datagrams that it did not take, by why
}

// countLimit is how long a gateway may take to tell, on a busy machine.
const countLimit = time.Minute

// sample is one line of the text that Prometheus reads.
var sample = regexp.MustCompile(`^sallyport_([a-z_]+)(?:\{(.*)\})? ([0-9.e+]+)$`)

// label is one of its labels that count here; their values are words.
var label = regexp.MustCompile(`(kind|reason|queue)="([a-z_]*)"`)

// count asks the gateway.
func (b *bed) count(ctx context.Context) (counts, error) {
	c := counts{shed: map[string]float64{}}
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DialContext: b.dial}}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		return c, err
	}
	response, err := client.Do(request)
	if err != nil {
		return c, fmt.Errorf("negotiate: metrics of the gateway: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return c, fmt.Errorf("negotiate: metrics of the gateway: %s, expected %d", response.Status, http.StatusOK)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if m := sample.FindStringSubmatch(lines.Text()); m != nil {
			value, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				return c, fmt.Errorf("negotiate: metrics of the gateway: %q: %w", lines.Text(), err)
			}
			c.add(m[1], m[2], value)
		}
	}
	return c, lines.Err()
}

// countUntil asks the gateway what has come to it, until that is what the peers say, or no longer becomes it.
func (b *bed) countUntil(ctx context.Context, before counts, r *round) (c counts, err error) {
	const readings, between = 200, 50 * time.Millisecond // the gateway hears of the last quick modes a message later than the peers, and may wait for a core
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

func (c *counts) add(name, labels string, value float64) {
	words := map[string]string{}
	for _, m := range label.FindAllStringSubmatch(labels, -1) {
		words[m[1]] = m[2]
	}
	kind, reason := words["kind"], words["reason"]
	switch {
	case name == "ike_queue_full_total", name == "slow_path_lost_total", name == "drops_total" && strings.Contains(reason, "full"):
		if value > 0 {
			c.shed[strings.TrimSpace(name+" "+reason+words["queue"])] += value
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
