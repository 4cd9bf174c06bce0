package appliance

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// Metrics say how often and when the policy changed, and what came of orders to change it.
func TestMetricsOfPolicyChanges(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	r.change(g, api.PathActivate, api.Activate{Name: "more"})
	r.change(g, api.PathActivate, api.Activate{Name: "halves", DryRun: true})
	if _, err := g.api.Change(t.Context(), api.PathActivate, api.Activate{Name: "none-such"}); err == nil {
		t.Error("expected a policy that is not stored to be refused")
	}
	text := metricsOf(t, g)
	for _, want := range []string{
		"sallyport_policy_generation 2\n",
		"sallyport_policy_changed_timestamp_seconds 1",
		`sallyport_policy_changes_total{order="activate",result="applied"} 1`,
		`sallyport_policy_changes_total{order="activate",result="dry_run"} 1`,
		`sallyport_policy_changes_total{order="activate",result="refused"} 1`,
		`rule="(exempt)"`,
		`rule="web"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q among the metrics", want)
		}
	}
}

// metricsOf is what Prometheus reads of a gateway.
func metricsOf(t *testing.T, g *rigGateway) string {
	t.Helper()
	metrics, err := listenMetrics("127.0.0.1:0", g.Gateway, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go metrics.serve()
	defer metrics.close()
	answer, err := http.Get("http://" + metrics.listener.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An address that cannot be had is named once, with what to write in its place.
func TestMetricsAddressThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	g := newRig(t, siteA()).gateways[0]
	_, err = listenMetrics(address, g.Gateway, slog.New(slog.DiscardHandler))
	if err == nil || strings.Count(err.Error(), address) != 1 || !strings.Contains(err.Error(), "address already in use; expected an address of this machine") {
		t.Errorf("found %v", err)
	}
}
