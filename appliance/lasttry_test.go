package appliance

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike"
)

// fallingBack is a duo whose a speaks both versions, and may talk in clear to a peer that knows neither.
func fallingBack(t *testing.T, other ike.Version) *duo {
	t.Helper()
	d := newDuo(t, ike.VAny, other, nobody)
	d.a.cfg.Peers[0].Fallback = true
	d.a.start()
	d.step(d.a, ike.Tick{})
	return d
}

// S-044, C-02: a peer of both versions is silent when both were: four first messages of IKEv2, then four of IKEv1. Traffic that asks meanwhile begins
// nothing more.
func TestSilentByBothVersions(t *testing.T) {
	d := fallingBack(t, ike.V2)
	d.a.drop = func([]byte) bool { return true }
	for round := 1; round <= 2; round++ {
		d.step(d.a, ike.Acquire{Peer: "peer", Child: "tunnel"})
		for second := 0; d.a.reasons[ike.FailSilent] < round; second++ {
			if second > 60 {
				t.Fatalf("no silence within a minute: %v", d.a.reasons)
			}
			d.pass(time.Second)
			if d.a.reasons[ike.FailSilent] < round {
				d.step(d.a, ike.Acquire{Peer: "peer", Child: "tunnel"})
			}
		}
		if d.a.sent != [versions]int{byV2: 4 * round, byV1: 4 * round} || d.a.reasons[ike.FailTimeout] != round || !d.a.NotBefore("peer", "tunnel").IsZero() {
			t.Errorf("round %d: sent %v of IKEv2 and IKEv1, facts %v, not before %v", round, d.a.sent, d.a.reasons, d.a.NotBefore("peer", "tunnel"))
		}
	}
	d.pass(time.Hour)
	if d.a.sent != [versions]int{byV2: 8, byV1: 8} || d.a.reasons[ike.FailSilent] != 2 {
		t.Errorf("nobody asks any more: sent %v, facts %v", d.a.sent, d.a.reasons)
	}
}

// A peer that knows IKEv1 alone gets its tunnel by that and no clear text, for traffic and where the tunnel is kept up.
func TestIKEv1AfterSilence(t *testing.T) {
	for _, start := range []ike.Start{ike.StartOnDemand, ike.StartAlways} {
		d := fallingBack(t, ike.V1)
		d.a.cfg.Peers[0].Children[0].Start = start
		d.a.start()
		d.step(d.a, ike.Tick{})
		if start == ike.StartOnDemand {
			d.step(d.a, ike.Acquire{Peer: "peer", Child: "tunnel"})
		}
		d.run()
		d.pass(20 * time.Second)
		d.wantBy(start.String(), "1")
		if d.a.reasons[ike.FailSilent] > 0 {
			t.Errorf("start %v: a peer of IKEv1 counts as silent", start)
		}
	}
}

// Whatever comes from the peer meanwhile, of either version or of none, on either port: it is not silent.
func TestHeardByEitherVersion(t *testing.T) {
	for _, payload := range [][]byte{header(0x10, 28), header(0x20, 28), header(0x30, 28), {0}, {}} {
		for _, local := range []string{"192.0.2.1:500", "192.0.2.1:4500", "198.51.100.1:500"} {
			for _, when := range []time.Duration{100 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond, 9 * time.Second} {
				d := fallingBack(t, ike.V2)
				d.a.drop = func([]byte) bool { return true }
				d.step(d.a, ike.Acquire{Peer: "peer", Child: "tunnel"})
				d.pass(when)
				d.step(d.a, ike.Datagram{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort("192.0.2.2:61234"), Payload: payload})
				d.pass(5 * time.Minute)
				if d.a.reasons[ike.FailSilent] > 0 || d.a.reasons[ike.FailTimeout] == 0 || when < 4*time.Second && d.a.sent[byV1] > 0 {
					t.Errorf("%d octets of version %x to %s after %v: facts %v, sent %v", len(payload), payload, local, when, d.a.reasons, d.a.sent)
				}
			}
		}
	}
}
