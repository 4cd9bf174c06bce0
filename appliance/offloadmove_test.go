package appliance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/offload/softnic"
)

// plans is where the work of each SA of a tunnel is done, by direction.
func (r *rig) plans(g *rigGateway, tunnel string) map[string]string {
	r.t.Helper()
	at := map[string]string{}
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if sa.Child == tunnel && sa.Offload != nil {
			at[sa.Direction] = sa.Offload.Plan
		}
	}
	return at
}

// traffic sends so many packets each way through the lower tunnel, and waits until all have arrived.
func (r *rig) traffic(n int) {
	r.t.Helper()
	for i := range n {
		before := []int{len(r.received(r.gateways[0])), len(r.received(r.gateways[1]))}
		r.send(r.gateways[0], rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", fmt.Sprint("there ", i))
		r.send(r.gateways[1], rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", fmt.Sprint("back ", i))
		for side, g := range r.gateways {
			eventually(r.t, "a packet to arrive at "+g.cfg.Name, func() bool { return len(r.received(g)) > before[side] })
		}
	}
}

// An operator moves SAs while packets flow, by their peer, their rule or their SPI; they stay where they are wanted over rekeys, until auto. Nothing passes in clear, which the
// rig looks after. What cannot be is said.
func TestOffloadMove(t *testing.T) {
	r := newRig(t, func() []string { a, b := offloadSites(); return []string{a, b} }()...)
	g := r.gateways[0]
	r.awaitChildren("high", "low")
	r.traffic(3)
	move := func(name, plan string) []api.MovedSA {
		t.Helper()
		var moved []api.MovedSA
		eventually(t, "no SA to be on its way", func() (rest bool) {
			var err error
			if moved, err = g.api.MoveSAs(t.Context(), api.MoveSAs{Name: name, Plan: plan}); err != nil {
				t.Fatal(err)
			}
			return !slices.ContainsFunc(moved, func(m api.MovedSA) bool { return strings.Contains(m.Why, "is being moved") })
		})
		return moved
	}
	want := func(plan string) {
		t.Helper()
		eventually(t, "the lower tunnel to be at "+plan, func() bool {
			at := r.plans(g, "low")
			return at["inbound"] == plan && at["outbound"] == plan
		})
		r.traffic(3)
	}
	for _, m := range move("low", "cpu") {
		if m.Result == api.MoveFailed || m.Result == api.MoveMoved && m.From != "inline_crypto" || m.To != "cpu" || m.Peer != "far" {
			t.Errorf("%+v", m)
		}
	}
	want("cpu")
	if got := r.results(api.PathRekey, api.Action{Name: "low", Wait: 20}); !slices.Equal(got, []string{"far/low: rekeyed"}) {
		t.Fatalf("%q", got)
	}
	want("cpu")
	for _, m := range move("far", "inline") { // the upper tunnel's algorithm is not the NIC's
		if failed := m.Result == api.MoveFailed; failed != (m.Child == "high") || failed && !strings.Contains(m.Why, "has no ENCR_AES_CBC") {
			t.Errorf("%+v", m)
		}
	}
	want("inline_crypto")
	for _, m := range move("low", "auto") { // what the NIC has opened already would be lost for nothing
		if inbound := m.Direction == "inbound"; m.Result != api.MoveStays || strings.Contains(m.Why, "until its next rekey") != inbound {
			t.Errorf("%+v", m)
		}
	}
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if sa.Child == "low" && (sa.Offload.Stays != (sa.Direction == "inbound") || sa.Offload.Wanted != "") {
			t.Errorf("%s: %+v", sa.Direction, sa.Offload)
		}
	}
	move("low", "lookaside")
	want("lookaside_crypto")
	var spi string
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if sa.Child == "low" && sa.Direction == "outbound" {
			spi = sa.SPI
		}
		if sa.Child == "low" && sa.Offload.Wanted != "lookaside" {
			t.Errorf("wanted at %q", sa.Offload.Wanted)
		}
	}
	if moved := move(spi, "auto"); len(moved) != 1 || moved[0].To != "inline_crypto" || moved[0].Direction != "outbound" {
		t.Errorf("%+v", moved)
	}
	for want, order := range map[string]api.MoveSAs{
		"plan: expected auto, inline,":                        {Name: "far", Plan: "gpu"},
		"expected the name of an SA or all of them":           {Name: "far", All: true, Plan: "cpu"},
		`"nobody": expected the peer, the rule or the SPI of`: {Name: "nobody", Plan: "cpu"},
	} {
		if _, err := g.api.MoveSAs(t.Context(), order); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, expected %q", order, err, want)
		}
	}
}

// S-102: a NIC is removed under load. Its SAs are the CPU's within moments, every view says that it is lost, new SAs keep off it; when it is back those that come then are its own.
func TestNICVanishesUnderLoad(t *testing.T) {
	r := newRig(t, func() []string { a, b := offloadSites(); return []string{a, b} }()...)
	g := r.gateways[0]
	r.awaitChildren("high", "low")
	r.traffic(3)
	if err := g.card.Inject(softnic.Fault{Vanished: true}); err != nil {
		t.Fatal(err)
	}
	lost := func() bool {
		devices := get[[]api.OffloadDevice](r, g, api.PathOffload)
		return slices.ContainsFunc(devices, func(d api.OffloadDevice) bool {
			return d.Name == "wan" && d.State == "lost" && d.Why != "" && d.SAs == 0
		})
	}
	eventually(t, "the NIC to be found lost", func() bool {
		r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "into nothing")
		return lost()
	})
	if at := r.plans(g, "low"); at["outbound"] != "cpu" || at["inbound"] != "cpu" {
		t.Errorf("%v", at)
	}
	if text := metricsOf(t, g); !strings.Contains(text, `sallyport_offload_lost{device="wan",kind="port"} 1`) {
		t.Error("no metric says that the NIC is lost")
	}
	r.traffic(3)
	if err := g.card.Inject(softnic.Fault{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the NIC to be back", func() bool { return !lost() })
	if got := r.results(api.PathRekey, api.Action{Name: "low", Wait: 20}); !slices.Equal(got, []string{"far/low: rekeyed"}) {
		t.Fatalf("%q", got)
	}
	eventually(t, "the next SAs to be the NIC's", func() bool {
		at := r.plans(g, "low")
		return at["inbound"] == "inline_crypto" && at["outbound"] == "inline_crypto"
	})
	r.traffic(3)
}
