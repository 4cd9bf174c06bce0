package appliance

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/pipeline"
)

// lateStart is a data plane whose first outbound SA begins near the end of its sequence numbers.
type lateStart struct {
	plane
	first uint64
	begun bool
}

func (p *lateStart) InstallOutbound(sa pipeline.ChildSA) error {
	if !p.begun {
		sa.FirstSequence, p.begun = p.first, true
	}
	return p.plane.InstallOutbound(sa)
}

// S-080: an SA that starts at 4,294,960,000 is rekeyed before its numbers end; more packets than it had numbers for all arrive, and
// neither SA sends a number twice.
func TestRekeyBeforeTheSequenceNumbersEnd(t *testing.T) {
	const first, left = 4294960000, 1<<32 - 4294960000
	r := newRig(t, strings.Replace(siteA(), "always", "on-demand", 1), siteB())
	a, b := r.gateways[0], r.gateways[1]
	if err := a.negotiator.do(t.Context(), func() { a.negotiator.plane = &lateStart{plane: a.negotiator.plane, first: first} }); err != nil {
		t.Fatal(err)
	}
	arrived := func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.arrived[b.cfg.Name])
	}
	for sent, burst := 0, 1; sent < left+1000; burst = 200 { // the first packet brings the tunnel up
		for range burst {
			r.send(a, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "more")
		}
		sent += burst
		eventually(t, fmt.Sprintf("%d packets to arrive", sent), func() bool { return arrived() == sent })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var spis []uint32
	last := map[uint32]uint32{}
	for _, p := range r.wire {
		if p.protocol != protoESP || p.destination.String() != "192.0.2.2" {
			continue
		}
		before, known := last[p.spi]
		switch {
		case !known && len(spis) == 0 && p.sequence != first, !known && len(spis) > 0 && p.sequence != 1, known && p.sequence <= before:
			t.Fatalf("SPI %#x sends number %d after %d", p.spi, p.sequence, before)
		case !known:
			spis = append(spis, p.spi)
		}
		last[p.spi] = p.sequence
	}
	if len(spis) != 2 {
		t.Fatalf("%d SAs have sent, expected the one that began at %d and its successor: last numbers %v", len(spis), first, last)
	}
	if n := a.drops("seq_exhausted"); n != 0 {
		t.Errorf("%d packets found no number", n)
	}
}
