package main

import (
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// The four openings are printed, and the one without an answer is named.
func TestDoctorNamesTheBlockedOne(t *testing.T) {
	all := []api.Opening{{Name: "UDP 500", Carries: "IKE", Open: true, RoundTrip: 0.0012}, {Name: "UDP 4500", Open: true}, {Name: "IP protocol 50", Open: true, Traffic: true}, {Name: "IP protocol 51", Open: true}}
	found := api.Examination{Openings: all, Peers: []api.PeerExamination{{Peer: "site-b", Local: "192.0.2.1", Remote: "192.0.2.2", Openings: all}}}
	if err := blockedOpenings(found); err != nil {
		t.Errorf("nothing is blocked: %v", err)
	}
	for i := range all {
		one := append([]api.Opening(nil), all...)
		one[i].Open, one[i].Traffic = false, false
		found.Peers[0].Openings = one
		var out strings.Builder
		if err := examinationTable(&out, found); err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			if !strings.Contains(out.String(), o.Name) {
				t.Errorf("%s is not printed:\n%s", o.Name, out.String())
			}
		}
		err := blockedOpenings(found)
		if err == nil || !strings.HasPrefix(err.Error(), all[i].Name+" is blocked on the path to site-b") || strings.Count(out.String(), "BLOCKED") != 1 {
			t.Errorf("%s is blocked: %v\n%s", all[i].Name, err, out.String())
		}
	}
	found.Peers[0].Openings = []api.Opening{{}, {}, {}, {}}
	if err := blockedOpenings(found); err == nil || !strings.Contains(err.Error(), "site-b answers nothing") {
		t.Errorf("nothing answers: %v", err)
	}
}
