package main

import (
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// The limits are shown with what is in use, the most and what was refused; of a peer that is asked for; and not of a version that nobody speaks.
func TestLimitTable(t *testing.T) {
	g := newFakeGateway(t, map[string]any{"GET " + api.PathIKELimits: []api.IKELimit{
		{Limit: "max_established", Value: 65536, Used: 3, Most: 4},
		{Limit: "cookie_threshold", IKE: 2, PerSecond: true, Value: -1, Used: 5, Most: 32, Refused: 12345},
		{Limit: "cookie_threshold", IKE: 2, PerSecond: true, Value: 3, Peer: "site-b", Refused: 9},
		{Limit: "rate_per_address", IKE: 2, PerSecond: true, Each: true, Value: 8, Peer: "site-b", Refused: 7},
		{Limit: "half_open", IKE: 1, Value: 1000},
	}})
	shown := g.ask(t, "show", "ike", "limits", "--peer", "site-b").out
	text := strings.Join(strings.Fields(shown), " ")
	for _, want := range []string{"max_established - - 65536 3 4 0", "cookie_threshold v2 - always 5 32 12345", "cookie_threshold v2 site-b 3 or 3/s 0 0 9", "rate_per_address v2 site-b 8/s 0 0 7"} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in\n%s", want, shown)
		}
	}
	if strings.Contains(shown, "half_open") {
		t.Errorf("a version of which there is nothing to tell is shown:\n%s", shown)
	}
	if asked := g.requests(); asked[len(asked)-1].query != "peer=site-b" {
		t.Errorf("asked for %+v", asked)
	}
}
