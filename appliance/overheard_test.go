package appliance

import (
	"strings"
	"testing"
	"time"

	"sallyport/pipeline"
	"sallyport/policy"
)

// A datagram of the peer's to a port of IKE that IKE does not get, because a filter dropped it (S-034), ends its soft SA all the same, and keeps one from being made.
// S-051
func TestWhatAFilterDropsIsHeard(t *testing.T) {
	h := newHush(t, "v2", "")
	h.keepAsking(toFiles, false)
	h.run(20 * time.Second)
	if len(h.plane.SoftCounters()) != 1 {
		t.Fatal("no soft SA")
	}
	h.n.Heard(toStrict.Destination) // another's
	if len(h.plane.SoftCounters()) != 1 {
		t.Error("another peer's datagram has ended it")
	}
	h.n.Heard(filesIKE.Addr())
	h.none()
	if text := h.told.String(); !strings.Contains(text, "soft_removed") || !strings.Contains(text, "reason=heard") {
		t.Error("expected an audit record of its removal")
	}
	h.run(4 * time.Minute)
	h.none()

	h = newHush(t, "v2", "")
	h.keepAsking(toFiles, false)
	h.at(2*time.Second, func() { h.n.Heard(filesIKE.Addr()) })
	h.run(4 * time.Minute)
	h.none()
}

// A packet out of another tunnel has the SA negotiated, and no soft SA comes of the silence; nor does it ask for one beside a host of ours that does.
// S-046
func TestWhatCameProtectedMakesNoSoftSA(t *testing.T) {
	h := newHush(t, "v2", "")
	e, ok := h.cfg.SPD.Match(toFiles, policy.PortsLAN)
	if !ok {
		t.Fatal("no filter")
	}
	protected := pipeline.Acquire{Cell: h.plane.cells[e.Tunnel], Entry: e.ID, Packet: toFiles, Protected: true}
	h.n.Acquire(protected)
	h.drain()
	h.run(30 * time.Second)
	h.none()
	if n := len(h.plane.sent); n != 4 {
		t.Errorf("%d first messages, expected 4", n)
	}
	h.acquire(hushPacket(6, "10.1.0.6:40000", "192.0.2.66:445"), false)
	h.n.Acquire(protected)
	h.drain()
	h.run(30 * time.Second)
	for s := range h.plane.soft {
		if s.Local == toFiles.Source {
			t.Errorf("a soft SA for what came protected: %+v", s)
		}
	}
	if n := len(h.plane.added); n != 1 {
		t.Errorf("%d soft SAs, expected one for the host of ours", n)
	}
}
