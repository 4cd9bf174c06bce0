package appliance

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sallyport/appliance/api"
)

// schemaOf reads docs/schema/NAME.json.
func schemaOf(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(filepath.Join("..", "docs", "schema", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// valid holds an answer against a schema.
func valid(t *testing.T, schema, what string, answer []byte) {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := schemaOf(t, schema).Validate(value); err != nil {
		t.Errorf("%s: %v\n%s", what, err, answer)
	}
}

// raw is the body of an answer, whatever its status.
func raw(g *rigGateway, method, path string, body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		return []byte(err.Error())
	}
	answer := httptest.NewRecorder()
	g.controlHandler().ServeHTTP(answer, httptest.NewRequest(method, path, bytes.NewReader(text)))
	return answer.Body.Bytes()
}

// S-108: static policy and live state are views of their own, and their JSON is
// as docs/schema says: here with a tunnel that is up. A soft SA is made up: soft_test.go
// has real ones.
func TestAnswersAreAsTheSchemasSay(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "through the tunnel")
	eventually(t, "a packet through the tunnel", func() bool { return len(r.received(r.gateways[1])) == 1 })

	sad := get[api.SAD](r, g, api.PathSAD)
	if len(sad.MainMode) == 0 || len(sad.QuickMode) < 2 || len(sad.Soft) != 0 {
		t.Errorf("expected an SA of main mode and two of quick mode, found %+v", sad)
	}
	explain := api.PathExplain + "?src=10.1.0.7&dst=10.2.0.7&proto=udp&sport=1000&dport=2000"
	for _, view := range []struct{ schema, path string }{
		{"sa", api.PathSAD}, {"policy", api.PathPolicy}, {"filters", api.PathFilters},
		{"exemptions", api.PathExemptions + "?level=0"}, {"explain", explain},
		{"explain", api.PathExplain + "?src=198.51.100.1&dst=192.0.2.1&proto=icmp&in=wan"},
	} {
		valid(t, view.schema, view.path, raw(g, http.MethodGet, view.path, nil))
	}
	for what, order := range map[string]any{
		api.PathActivate: api.Activate{Name: "halves", DryRun: true},
		api.PathApply:    api.Apply{Text: "name: 1 2\nports: 7\n"},
		api.PathReload:   api.Reload{},
		api.PathPurge:    api.Purge{DryRun: true},
	} {
		valid(t, "change", what, raw(g, http.MethodPost, what, order))
	}
	text, err := json.Marshal(api.SAD{MainMode: []api.IKE{}, QuickMode: []api.SA{}, Manual: []api.ManualSA{}, Soft: []api.SoftSA{
		{Peer: "far", Child: "nets", Rule: "nets", Filter: "web", Selector: "10.1.0.5 === 10.2.0.7 tcp", Operation: "none", Protection: "CLEAR", Age: 12, Remaining: 288}}})
	if err != nil {
		t.Fatal(err)
	}
	valid(t, "sa", "a soft SA", text)
}

// S-108: the filters are shown by descending weight, and as the table of the
// data plane has them.
func TestFiltersAreShownAsTheFastPathHasThem(t *testing.T) {
	r := newRig(t, strings.Replace(siteA(), "active_policy: whole", "active_policy: more", 1))
	g := r.gateways[0]
	for _, name := range []string{"more", "halves", "nothing", "whole"} {
		r.change(g, api.PathActivate, api.Activate{Name: name})
		var shown []api.Filter
		for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
			if !strings.HasPrefix(f.Rule, "(") {
				shown = append(shown, f)
			}
		}
		if !slices.IsSortedFunc(shown, func(a, b api.Filter) int { return int(int64(b.Weight) - int64(a.Weight)) }) {
			t.Errorf("%s: not by descending weight: %+v", name, shown)
		}
		table, err := g.plane.Table()
		if err != nil {
			t.Fatal(err)
		}
		if len(table) != len(shown) {
			t.Fatalf("%s: %d rows shown, %d in the data plane", name, len(shown), len(table))
		}
		for i, row := range table {
			if row.EntryID != shown[i].ID || row.Verdict != shown[i].Verdict || row.Tunnel != shown[i].Tunnel {
				t.Errorf("%s: row %d is shown as %d %s %s, and is %d %s %s", name, i,
					shown[i].ID, shown[i].Verdict, shown[i].Tunnel, row.EntryID, row.Verdict, row.Tunnel)
			}
		}
	}
}

// S-014: the main-mode filters have no protocol and no ports, and those of one
// pair of addresses are one.
func TestMainModeFiltersAreShown(t *testing.T) {
	ports := `[{source: 10.1.0.0/24, destination: 10.2.0.0/24, protocol: tcp, destination_port: 443}, {source: 10.1.0.0/24, destination: 10.2.0.0/24, protocol: udp, destination_port: 53}]`
	r := newRig(t, strings.Replace(siteA(), "[{source: 10.1.0.0/24, destination: 10.2.0.0/24}]", ports, 1))
	answer := raw(r.gateways[0], http.MethodGet, api.PathMainMode, nil)
	var rows []map[string]any
	if err := json.Unmarshal(answer, &rows); err != nil || len(rows) != 1 {
		t.Fatalf("expected one row, found %s, %v", answer, err)
	}
	for key := range rows[0] {
		if strings.Contains(key, "port") || strings.Contains(key, "protocol") {
			t.Errorf("column %s in a main-mode filter", key)
		}
	}
}
