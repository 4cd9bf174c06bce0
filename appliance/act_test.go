package appliance

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
)

// results are what came of an order, as PEER/CHILD: RESULT.
func (r *rig) results(path string, order api.Action) (list []string) {
	r.t.Helper()
	outcomes, err := r.gateways[0].api.Act(r.t.Context(), path, order)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range outcomes {
		list = append(list, o.Peer+"/"+o.Child+": "+o.Result)
	}
	return list
}

// Orders take names of peers and of rules, or all; they wait, say what came of them, and may be given twice.
func TestOrdersSayWhatCameOfThem(t *testing.T) {
	halves := func(text string) string { return replaced(text, "active_policy: whole", "active_policy: halves") }
	r := newRig(t, passive(halves(siteA())), halves(siteB()))
	const wait = 20
	for _, step := range []struct {
		path  string
		order api.Action
		want  []string
	}{
		{api.PathRekey, api.Action{Name: "far", Wait: wait}, []string{"far/: not up, so not rekeyed"}},
		{api.PathReauthenticate, api.Action{Name: "far", Wait: wait}, []string{"far/: not up, so not authenticated anew"}},
		{api.PathUp, api.Action{Name: "low", Wait: wait}, []string{"far/low: up"}},
		{api.PathUp, api.Action{Name: "far", Wait: wait}, []string{"far/high: up", "far/low: up already"}},
		{api.PathUp, api.Action{All: true, Wait: wait}, []string{"far/high: up already", "far/low: up already"}},
		{api.PathRekey, api.Action{Name: "high", Wait: wait}, []string{"far/high: rekeyed"}},
		{api.PathRekey, api.Action{Name: "far", Wait: wait}, []string{"far/: rekeyed"}},
		{api.PathReauthenticate, api.Action{Name: "far", Wait: wait}, []string{"far/: authenticated anew"}},
		{api.PathReauthenticate, api.Action{All: true, Wait: wait}, []string{"far/: authenticated anew"}},
		{api.PathDown, api.Action{Name: "low", Wait: wait}, []string{"far/low: down"}},
		{api.PathDown, api.Action{Peer: "far", Child: "low", Wait: wait}, []string{"far/low: down already"}},
		{api.PathUp, api.Action{Name: "low"}, []string{"far/low: ordered"}},
		{api.PathUp, api.Action{Name: "low", Wait: wait}, nil}, // it may be up by now
		{api.PathDown, api.Action{Name: "far", Wait: wait}, []string{"far/high: down", "far/low: down"}},
		{api.PathDown, api.Action{All: true, Wait: wait}, []string{"far/high: down already", "far/low: down already"}},
	} {
		got := r.results(step.path, step.order)
		if step.want != nil && !slices.Equal(got, step.want) {
			t.Fatalf("%s %+v: %q, expected %q", step.path, step.order, got, step.want)
		}
	}
}

// What is authenticated anew is an IKE SA: a rule's name is refused with that of its peer.
func TestReauthenticationIsOfPeers(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	for _, order := range []api.Action{{Name: "nets"}, {Peer: "far", Child: "nets"}} {
		_, err := r.gateways[0].api.Act(t.Context(), api.PathReauthenticate, order)
		if err == nil || !strings.Contains(err.Error(), `expected a peer, found rule "nets": what is authenticated is the IKE SA, that of peer "far"`) {
			t.Errorf("%+v: %v", order, err)
		}
	}
}

// A rule that is down stays down, alone: its packets are dropped, the peer's other tunnel goes on.
func TestOneRuleIsTakenDown(t *testing.T) {
	halves := func(text string) string { return replaced(text, "active_policy: whole", "active_policy: halves") }
	r := newRig(t, halves(siteA()), halves(siteB()))
	r.awaitChildren("high", "low")
	if got := r.results(api.PathDown, api.Action{Name: "low", Wait: 20}); !slices.Equal(got, []string{"far/low: down"}) {
		t.Fatal(got)
	}
	g := r.gateways[0]
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "low")
	r.send(g, rigLAN, "10.1.0.7:1000", "10.2.0.200:2000", "high")
	eventually(t, "the other rule's packet", func() bool { return slices.Contains(r.received(r.gateways[1]), "high") })
	if got := r.received(r.gateways[1]); slices.Contains(got, "low") || !slices.Equal(r.children(g), []string{"high"}) {
		t.Errorf("arrived %v, up %v", got, r.children(g))
	}
	why := get[api.Why](r, g, api.PathWhy, "peer", "low")
	if why.Peer != "far" || why.Verdict != "partly up" || !strings.Contains(why.Todo, "sallyport up far") {
		t.Errorf("why: %+v", why)
	}
	if got := r.results(api.PathUp, api.Action{Name: "far", Wait: 20}); !slices.Contains(got, "far/low: up") {
		t.Error(got)
	}
}

// What fails is said with its reason, and what takes too long is left to go on.
func TestOrdersThatFail(t *testing.T) {
	r := newRig(t, passive(siteA()), replaced(siteB(), "peer.psk", "other.psk"))
	outcomes, err := r.gateways[0].api.Act(t.Context(), api.PathUp, api.Action{Name: "nets", Wait: 20})
	if err != nil || len(outcomes) != 1 || outcomes[0].Result != api.ResultFailed || !strings.HasPrefix(outcomes[0].Why, "authentication_failed: ") {
		t.Fatalf("%+v, %v", outcomes, err)
	}
	silence(r)
	began := time.Now()
	if got := r.results(api.PathUp, api.Action{Name: "far", Wait: 0.5}); !slices.Equal(got, []string{"far/nets: not yet"}) || time.Since(began) > time.Minute {
		t.Errorf("%v after %v", got, time.Since(began))
	}
	for _, order := range []api.Action{{Name: "nobody"}, {}, {All: true, Name: "far"}, {Name: "far", Child: "nets"}, {Name: "far", Wait: 1e6}} {
		if _, err := r.gateways[0].api.Act(t.Context(), api.PathUp, order); err == nil {
			t.Errorf("%+v was taken", order)
		}
	}
}
