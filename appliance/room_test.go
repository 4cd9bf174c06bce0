package appliance

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/pipeline"
)

// Until a change is over the tunnels before it and those after it need cells: one
// that finds too few is refused at the key, with the numbers.
func TestChangeNeedsCellsForBoth(t *testing.T) {
	r := newRig(t, strings.Replace(siteA(), "workers: [1]", "workers: [1], max_tunnels: 2", 1))
	g := r.gateways[0]
	_, err := g.api.Change(t.Context(), api.PathActivate, api.Activate{Name: "halves"})
	refused := (*api.Refused)(nil)
	if !errors.As(err, &refused) || len(refused.Errors) != 1 || refused.Errors[0].Key != "dataplane.max_tunnels" || refused.Errors[0].File != g.path {
		t.Fatalf("expected to be refused for dataplane.max_tunnels, found %v", err)
	}
	for _, want := range []string{"the 1 tunnels that are in force", "the 2 new ones", "found 2", "set it to 3 or more"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q in %v", want, err)
		}
	}
	if got := get[api.Policies](r, g, api.PathPolicy).Active; got != "whole" {
		t.Errorf("policy %s is in force", got)
	}
	r.change(g, api.PathActivate, api.Activate{Name: "nothing"})
	eventually(t, "the cell of the former tunnel to be free", func() bool {
		_, err := g.api.Change(t.Context(), api.PathActivate, api.Activate{Name: "halves"})
		return err == nil
	})
}

// What the gateway cannot do is not the configuration's fault: the answer says
// so, and nothing has changed.
func TestFailureIsNoRefusal(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	prepare := g.manager.prepare
	g.manager.prepare = func(pipeline.Snapshot) (prepared, error) { return nil, errors.New("out of memory") }
	text, generation := string(g.running().text), g.running().generation
	answer := httptest.NewRecorder()
	g.controlHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodPost, api.PathActivate, strings.NewReader(`{"name": "halves"}`)))
	if answer.Code != http.StatusInternalServerError || !strings.Contains(answer.Body.String(), "out of memory; nothing has changed") {
		t.Errorf("expected HTTP %d, found %d: %s", http.StatusInternalServerError, answer.Code, answer.Body)
	}
	if _, err := g.api.Change(t.Context(), api.PathActivate, api.Activate{Name: "halves"}); err == nil || errors.As(err, new(*api.Refused)) {
		t.Errorf("expected a failure, found %v", err)
	}
	if file, err := os.ReadFile(g.path); err != nil || string(file) != text || g.running().generation != generation {
		t.Errorf("something has changed, %v", err)
	}
	g.manager.prepare = prepare
	r.change(g, api.PathActivate, api.Activate{Name: "halves"})
}
