package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
)

// Without ike.limits there are the engine's own, and each limit has a key.
func TestLimits(t *testing.T) {
	if found, want := mustParse(t, base).Limits.Complete(), (ike.Limits{}).Complete(); found != want {
		t.Errorf("defaults %+v, expected %+v", found, want)
	}
	c := mustParse(t, base+"ike: {limits: {half_open: 2000, half_open_per_address: 50, half_open_per_port: 7, half_open_timeout: 20s, cookie_threshold: 0, fragment_kb: 64, max_established_per_peer: 3}}\n")
	l := c.Limits
	if l.HalfOpen != 2000 || l.HalfOpenPerAddress != 50 || l.HalfOpenEstablished != 7 || l.HalfOpenTimeout.Seconds() != 20 || l.CookieThreshold != -1 || l.FragmentOctetsAll != 64<<10 || l.IKEPerPeer != 3 {
		t.Errorf("found %+v", l)
	}
	keys := map[string]bool{"half_open_timeout": true}
	fixed := map[string]bool{ike.LimitMoves: true} // no key changes them
	for _, u := range append(ike.NewLedger(l).LimitUses(time.Now()), ike.NewEngine(ike.Config{}).LimitUses(time.Now())...) {
		keys[u.Name] = !fixed[u.Name]
	}
	raw := reflect.TypeFor[fileLimits]()
	for i := range raw.NumField() {
		if key := raw.Field(i).Tag.Get("mapstructure"); !keys[key] {
			t.Errorf("ike.limits.%s is no limit that is shown", key)
		}
	}
	if raw.NumField() != len(keys)-len(fixed) {
		t.Errorf("%d keys and the limits %v", raw.NumField(), keys)
	}
}

// Limits that cannot hold are told apart, with what to write.
func TestLimitErrors(t *testing.T) {
	for limits, want := range map[string]string{
		"cookie_threshold: 99, rate: -1": "ike.limits.cookie_threshold: expected less than",
		"rate: -1, cookie_threshold: 99": "ike.limits.rate: expected 1 to",
		"half_open: 3":                   "ike.limits.half_open: expected 16 to 1000000 IKE SAs, found 3",
		"half_open: 40":                  "ike.limits.half_open_per_address: expected at most three quarters of ike.limits.half_open, 30, found 35",
		"half_open_timeout: 1h":          "ike.limits.half_open_timeout: expected a time from 1s to 5m0s, found 1h0m0s",
		"cookie_threshold: 35":           "ike.limits.cookie_threshold: expected less than ike.limits.half_open_per_address, 35, found 35",
		"max_established: 0":             "ike.limits.max_established: expected 1 to 1000000 IKE SAs, found 0",
		"rate: fast":                     `ike.limits.rate: expected a whole number, found "fast"`,
		"half_open_per_adress: 35":       "half_open_per_address",
		"max_children_per_rule: -1":      "ike.limits.max_children_per_rule: expected 2 to 100000 Child SAs, found -1",
	} {
		if _, err := parseBase(t, base+"ike: {limits: {"+limits+"}}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", limits, err, want)
		}
	}
}
