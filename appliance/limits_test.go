package appliance

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// The limits of IKE are shown as docs/schema says, in all and for a peer, and as metrics; a configuration that changes them takes effect without a restart, and what is up stays.
func TestLimitsAreShownAndChanged(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	valid(t, "limits", api.PathIKELimits, raw(g, http.MethodGet, api.PathIKELimits, nil))
	of := func(limit string, query ...string) (found []api.IKELimit) {
		for _, l := range get[[]api.IKELimit](r, g, api.PathIKELimits, query...) {
			if l.Limit == limit {
				found = append(found, l)
			}
		}
		return found
	}
	if rows := of(ike.LimitEstablished); len(rows) != 1 || rows[0].Used != 1 || rows[0].Value != 65536 || rows[0].Most < 1 {
		t.Errorf("%s: found %+v, expected one in use", ike.LimitEstablished, rows)
	}
	if rows := of(ike.LimitChildrenPerPeer, "peer", "far"); len(rows) != 1 || rows[0].Peer != "far" || rows[0].Used < 1 {
		t.Errorf("%s of the peer: found %+v", ike.LimitChildrenPerPeer, rows)
	}
	var none []api.IKELimit
	if err := g.api.Get(t.Context(), api.PathIKELimits, url.Values{"peer": {"nobody"}}, &none); err == nil || !strings.Contains(err.Error(), `peer "nobody": expected one of far`) {
		t.Errorf("limits of nobody: %v, %v", none, err)
	}
	text := metricsOf(t, g)
	for _, want := range []string{
		`sallyport_ike_limit{limit="half_open",version="2"} 1000`, `sallyport_ike_limit_used{limit="max_established",version="both"} 1`,
		`sallyport_ike_limit_refused_total{limit="max_established",version="both"} 0`, `sallyport_ike_limit_used_most{limit="max_children",version="both"} `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q among the metrics", want)
		}
	}
	answer := r.change(g, api.PathApply, api.Apply{Text: string(g.running().text) + "\nike: {limits: {half_open: 2000, max_established: 7}}\n"})
	if !answer.Applied {
		t.Fatalf("not applied: %+v", answer)
	}
	if rows := of(ike.LimitHalfOpen); rows[0].Value != 2000 || of(ike.LimitEstablished)[0].Value != 7 {
		t.Errorf("after the change: %+v", rows)
	}
	if rows := of(ike.LimitEstablished); rows[0].Used != 1 {
		t.Errorf("after the change: %+v, expected one in use", rows)
	}
}

// docs/LIMITS.md explains each limit that there is, with the reasons by which it refuses.
func TestLimitsAreExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/LIMITS.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| `") && len(cells) == 6 {
			explained[strings.Trim(cells[1], " `")] = strings.Trim(cells[2], " `")
		}
	}
	for limit, reason := range explained {
		if ike.LimitOf(ike.Reason(reason)) != limit {
			t.Errorf("%s refuses by %s, docs/LIMITS.md says", limit, reason)
		}
	}
	for _, u := range newEngines(ike.Config{}).LimitUses(time.Now()) {
		if explained[u.Name] == "" {
			t.Errorf("%s is not explained in docs/LIMITS.md", u.Name)
		}
	}
}

// Whatever is a limit is in the table: every key of ike.limits but the one that is a time, and every reason by which a limit refuses. Each has its row where it
// counts what it refuses.
func TestEveryLimitIsShown(t *testing.T) {
	shown := map[string]bool{}
	for _, l := range limitsView(newEngines(ike.Config{}).LimitUses(time.Now()), "") {
		shown[l.Limit] = true
	}
	found := func(path, pattern string) (list []string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			list = append(list, match[1])
		}
		if len(list) < 15 {
			t.Fatalf("%s has %d of %s", path, len(list), pattern)
		}
		return list
	}
	for _, key := range found("../configs/REFERENCE.md", "(?m)^\\| `ike\\.limits\\.([a-z_]+)` \\| (?:[^t|]|t[^i])") {
		if !shown[key] {
			t.Errorf("ike.limits.%s is not shown", key)
		}
	}
	for _, reason := range found("../ike/fact.go", `Reason = "(ike_limit_[a-z_]+)"`) {
		if limit := ike.LimitOf(ike.Reason(reason)); !shown[limit] {
			t.Errorf("%s is counted for limit %q, which is not shown", reason, limit)
		}
	}
}
