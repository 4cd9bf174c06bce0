package appliance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// S-019: "my address" is one filter for each own address, made again when an
// address comes or goes.
func TestMyAddressFollowsAddresses(t *testing.T) {
	r := newRig(t, strings.Replace(siteA(), "active_policy: whole", "active_policy: nothing", 1))
	g := r.gateways[0]
	expect := func(when, verdict string, want ...string) {
		t.Helper()
		var own []string
		for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
			if f.Rule == "ping" && f.Verdict == verdict && !f.Mirror {
				own = append(own, f.Destination)
			}
		}
		slices.Sort(own)
		if !slices.Equal(own, want) {
			t.Errorf("%s: filters that %s for %v, expected %v", when, verdict, own, want)
		}
	}
	expect("at start", "permit", "10.1.0.1", "192.0.2.1")
	come := api.ChangeAddress{Port: "lan", Address: "10.1.9.1/24"}
	if added := r.change(g, api.PathAddresses, come); !added.Applied || added.Backup != 0 || len(added.Added) != 2 {
		t.Errorf("adding: %+v", added)
	}
	expect("after one came", "permit", "10.1.0.1", "10.1.9.1", "192.0.2.1")
	ports := get[[]api.Filter](r, g, api.PathFilters)
	if _, err := g.api.Change(t.Context(), api.PathAddresses, come); err == nil || !strings.Contains(err.Error(), "has it already") {
		t.Errorf("expected an address that is there to be refused, found %v", err)
	}
	if now := get[[]api.Filter](r, g, api.PathFilters); len(now) != len(ports) {
		t.Error("the refused address has changed filters")
	}
	come.Remove = true
	r.change(g, api.PathAddresses, come)
	expect("after it went", "permit", "10.1.0.1", "192.0.2.1")
	expect("after it went", "stale", "10.1.9.1")
	r.change(g, api.PathReload, api.Reload{})
	expect("after a reload, which brings no address back", "stale", "10.1.9.1")
	for _, wrong := range []api.ChangeAddress{
		{Port: "dmz", Address: "10.9.0.1/24"}, {Port: "lan", Address: "10.9.0.1"}, {Port: "lan", Address: "224.0.0.1/24"},
		{Port: "lan", Address: "0.0.0.0/0"}, {Port: "lan", Address: "127.0.0.1/8"}, {Port: "lan", Address: "10.1.7.255/24"},
		{Port: "lan", Address: "192.0.2.77/24"}, {Port: "wan", Address: "10.0.0.1/8"}, // a subnet that overlaps another port's
		{Port: "wan", Address: "10.1.0.1/24", Remove: true},
	} {
		if _, err := g.api.Change(t.Context(), api.PathAddresses, wrong); err == nil {
			t.Errorf("%+v: expected to be refused", wrong)
		}
	}
}

// S-011: when the address of a tunnel's end is gone its SAs end, and what it
// protected is dropped, never sent in clear; with the address the tunnel returns.
func TestVanishedEndpointBlocks(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	g := r.gateways[0]
	r.awaitChildren("nets")
	end := api.ChangeAddress{Port: "wan", Address: "192.0.2.1/24", Remove: true}
	change := r.change(g, api.PathAddresses, end)
	if len(change.Ended) != 1 || change.Ended[0].Child != "nets" {
		t.Errorf("removing the address: %+v", change)
	}
	if sas := get[[]api.SA](r, g, api.PathSAs); len(sas) != 0 {
		t.Errorf("SAs are left: %+v", sas)
	}
	for i := range 20 {
		r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", fmt.Sprintf("stale %d", i))
	}
	eventually(t, "20 packets to be dropped", func() bool { return g.drops("stale_endpoint") == 20 })
	if got := r.received(r.gateways[1]); len(got) != 0 {
		t.Errorf("the far side got %v", got)
	}
	end.Remove = false
	r.change(g, api.PathAddresses, end)
	r.awaitChildren("nets")
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "back")
	eventually(t, "a packet through the tunnel", func() bool { return slices.Contains(r.received(r.gateways[1]), "back") })
	if n := g.drops("stale_endpoint"); n != 20 {
		t.Errorf("%d packets dropped for a stale endpoint, expected no more than the 20", n)
	}
}
