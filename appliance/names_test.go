package appliance

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/appliance/api"
	"sallyport/policy"
)

// fakeResolver answers every name with so many addresses.
type fakeResolver struct {
	mu    sync.Mutex
	count int
	asked int
}

func (f *fakeResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	var found []netip.Addr
	for i := range f.count {
		found = append(found, netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no such host")
	}
	return found, nil
}

func (f *fakeResolver) answer(count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count = count
}

// S-020: a DNS name stands for the addresses it had when it was first asked for,
// over reloads and restarts, until an operator has it asked for again.
func TestNamesAreResolvedOnce(t *testing.T) {
	resolver := &fakeResolver{count: 3}
	text := strings.Replace(siteA(), "{name: web, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 198.51.100.0/24}]}",
		"{name: web, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: dns:www.example, mirrored: false}]}", 1)
	r := newRigWith(t, resolver, strings.Replace(text, "active_policy: whole", "active_policy: more", 1))
	g := r.gateways[0]
	count := func() (n int) {
		for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
			if f.DestinationName == "www.example" {
				n++
			}
		}
		return n
	}
	resolver.answer(4)
	r.change(g, api.PathReload, api.Reload{})
	if count() != 3 {
		t.Errorf("after a reload: %d filters, expected 3", count())
	}
	if restarted, err := load(g.path, false, resolver); err != nil || !slices.EqualFunc(restarted.Config.SPD.Entries, g.running().spd.Entries, func(a, b policy.Entry) bool { return a.ID == b.ID }) {
		t.Errorf("a restart would not compile the same table: %v", err)
	}
	if resolver.asked != 1 {
		t.Errorf("the name was asked for %d times, expected once", resolver.asked)
	}
	tried := r.change(g, api.PathResolve, api.Resolve{DryRun: true})
	if tried.Applied || len(tried.Added) != 1 || tried.Added[0].Destination != "198.51.100.4" || len(tried.Removed) != 0 || count() != 3 {
		t.Errorf("dry run: %+v with %d filters", tried, count())
	}
	done := r.change(g, api.PathResolve, api.Resolve{})
	if !done.Applied || len(done.Added) != 1 || count() != 4 {
		t.Errorf("resolve: %+v with %d filters", done, count())
	}
	want := "dns:www.example: now 198.51.100.1, 198.51.100.2, 198.51.100.3, 198.51.100.4, before 198.51.100.1, 198.51.100.2, 198.51.100.3"
	if !slices.Contains(done.Notes, want) {
		t.Errorf("expected the difference in %q", done.Notes)
	}
	resolver.answer(0)
	if _, err := g.api.Change(t.Context(), api.PathResolve, api.Resolve{}); err == nil || !strings.Contains(err.Error(), "www.example") || count() != 4 {
		t.Errorf("expected a name that is gone to change nothing, found %v with %d filters", err, count())
	}
	if again, err := load(g.path, false, resolver); err != nil || len(again.names.Names["www.example"].Addresses) != 4 {
		t.Errorf("resolved.json holds %+v, %v", again, err)
	}
}
