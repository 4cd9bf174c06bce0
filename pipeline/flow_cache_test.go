package pipeline

import (
	"math/rand/v2"
	"testing"
)

// A flow cache that was full of other flows comes to remember those that go on, though more of them meet in a bucket than it
// has places. Of the 400 here a cache whose buckets stood alone could keep no more than some 370.
func TestFlowCacheKeepsWhatGoesOn(t *testing.T) {
	const entries, flows, rounds = 1024, 400, 60
	r := newRig(t, rigOptions{flows: entries})
	ports := rand.New(rand.NewPCG(118, 5)).Perm(1 << 16)[:flows]
	var ended, going [][]byte
	for i := range 8 * entries {
		ended = append(ended, fromHost(udpPacket(lanHost, farHost, uint16(20000+i), 53)))
	}
	for _, port := range ports {
		going = append(going, fromHost(udpPacket(lanHost, farHost, 443, uint16(port))))
	}
	r.flood(lan, ended)
	for range rounds {
		r.random.Shuffle(flows, func(i, j int) { going[i], going[j] = going[j], going[i] })
		r.flood(lan, going)
	}
	remembered := map[uint16]bool{}
	for _, f := range r.d.Flows(entries) {
		if f.SourcePort == 443 {
			remembered[f.DestinationPort] = true
		}
	}
	if len(remembered) < flows-12 {
		t.Errorf("%d of %d flows remembered", len(remembered), flows)
	}
}
