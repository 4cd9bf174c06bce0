package appliance

import (
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// hits is how many packets a filter, or an exemption, has decided.
func (r *rig) hits(g *rigGateway, filter string) (n uint64) {
	for _, f := range get[[]api.Filter](r, g, api.PathFilters) {
		if f.Filter == filter {
			n += f.Packets
		}
	}
	return n
}

// S-039: a change of the exemption level takes effect at the next packet, flow
// caches included, and restarts nothing.
func TestLevelChangesAtRunTime(t *testing.T) {
	r := newRig(t, "exemptions: {level: 0}\n"+siteA())
	g := r.gateways[0]
	started := get[api.Version](r, g, api.PathVersion).Started
	kerberos := func() { r.send(g, rigLAN, "10.1.0.7:88", "10.1.0.1:1024", "ticket") }
	exempted := func() uint64 { return r.hits(g, "kerberos-udp-reply-inbound") }
	for i := range uint64(3) {
		kerberos()
		eventually(t, "an exempt packet to pass the filters", func() bool { return exempted() == i+1 })
	}
	cached := false
	for _, f := range get[[]api.Flow](r, g, api.PathFlows) {
		cached = cached || f.Source == "10.1.0.7:88"
	}
	if !cached {
		t.Error("expected the flow to be cached")
	}
	if change := r.change(g, api.PathLevel, api.SetLevel{Level: "3"}); !change.Applied || len(change.Removed) != 15 || change.Backup != 0 {
		t.Errorf("level 3: %d rows removed, %+v", len(change.Removed), change)
	}
	dropped := g.drops("no_filter")
	kerberos()
	eventually(t, "the next packet to be filtered", func() bool { return g.drops("no_filter") == dropped+1 })
	if now := get[api.Version](r, g, api.PathVersion).Started; !now.Equal(started) {
		t.Errorf("started at %s and now at %s", started, now)
	}

	// A reload keeps what was set; another level in the file is the newer order.
	r.change(g, api.PathReload, api.Reload{})
	if got := get[api.Exemptions](r, g, api.PathExemptions).InForce; got != "3" {
		t.Errorf("after a reload: level %s, expected 3", got)
	}
	change := r.change(g, api.PathApply, api.Apply{Text: strings.Replace(string(g.running().text), "level: 0", "level: 2", 1)})
	if got := get[api.Exemptions](r, g, api.PathExemptions).InForce; got != "2" {
		t.Errorf("after another file: level %s, expected 2", got)
	}
	if !strings.Contains(strings.Join(change.Warnings, "\n"), "Kerberos") {
		t.Errorf("expected a warning of what level 2 lets through, found %v", change.Warnings)
	}
	for _, wrong := range []string{"-1", "4", "x", ""} {
		if _, err := g.api.Change(t.Context(), api.PathLevel, api.SetLevel{Level: wrong}); err == nil || !strings.Contains(err.Error(), "0 to 3") {
			t.Errorf("level %q: expected to be refused, found %v", wrong, err)
		}
	}
}

// S-032: level 0 is 17 rows, shown with hits: 10 IKE packets raise the counter of
// their row by 10. Rows that are not in force say why.
func TestExemptionsAreShownWithHits(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	hits := func() uint64 { return r.hits(g, "ike-inbound") }
	before := hits()
	for range 10 {
		r.send(g, rigWAN, "192.0.2.77:500", "192.0.2.1:500", "not quite IKE, but to its port")
	}
	eventually(t, "10 hits of the IKE exemption", func() bool { return hits() == before+10 })
	all := get[api.Exemptions](r, g, api.PathExemptions, "level", "0")
	inForce := 0
	for _, row := range all.Rows {
		if row.Why == "" {
			t.Errorf("%s does not say why it is in force or not", row.Name)
		}
		if row.InForce {
			inForce++
		}
		if row.Name == "ike-inbound" && row.Packets != before+10 {
			t.Errorf("the view of exemptions counts %d, that of filters %d", row.Packets, before+10)
		}
	}
	if len(all.Rows) != 17 || inForce != 2 || all.InForce != "3" {
		t.Errorf("expected 17 rows of which 2 are in force at level 3, found %d, %d at %s", len(all.Rows), inForce, all.InForce)
	}
	for level, want := range map[string]int{"3": 2, "2": 12, "1": 6} {
		if got := get[api.Exemptions](r, g, api.PathExemptions, "level", level); len(got.Rows) != want {
			t.Errorf("level %s: expected %d rows, found %d", level, want, len(got.Rows))
		}
	}
	var none api.Exemptions
	if err := g.api.Get(t.Context(), api.PathExemptions, map[string][]string{"level": {"4"}}, &none); err == nil {
		t.Error("expected level 4 to be refused")
	}
}
