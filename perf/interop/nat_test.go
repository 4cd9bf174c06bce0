package interop

import (
	"fmt"
	"testing"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// The NAT's ports for what comes from UDP port 4500, at first and once it has forgotten them.
var (
	portsBefore = [2]uint16{61000, 61999}
	portsAfter  = [2]uint16{62000, 62999}
)

// TestStrongSwanNAT: a NAT that translates ports, before us and before strongSwan. It forgets its mappings under traffic, and is then found at
// its new port by the first packet from behind it.
// S-091: traffic passes in UDP 4500 and only there. C-12: the port changes, for either end.
func TestStrongSwanNAT(t *testing.T) {
	b := newBedOf(t, lab.NewRoutedSites)
	daemon := b.strongSwanVersion(t)
	for _, c := range []struct {
		name   string
		behind *lab.Site
		starts starts // nobody reaches a NAT's inside first
	}{{"nat-before-us", b.A, weStart}, {"nat-before-peer", b.B, theyStart}} {
		b.behind = c.behind
		v2 := testCase{name: c.name, core: true, starts: c.starts, ike: defaultIKE, esp: defaultESP, wire: espInUDP,
			check: rebound, changing: true, ours: ours{peer: fmt.Sprintf("local_id: %s\nremote_id: %s", nameA, nameB)}, theirs: strongSwan(func(_ *bed, t *peers.Tunnel) {
				t.LocalID, t.RemoteID = nameB, nameA
			})}
		v1 := v2
		v1.ike, v1.esp = defaultIKEv1, defaultESPv1
		for _, of := range [][]testCase{{v2}, ofIKEv1([]testCase{v1})} {
			if err := b.Masquerade(t.Context(), b.behind, portsBefore[0], portsBefore[1]); err != nil {
				t.Fatal(err)
			}
			runCases(t, b, daemon, of)
		}
	}
}

// rebound has the NAT forget its mappings while pings run from our side, and wants answers again, every one of them after the first ones,
// and rekeys that lose none.
func rebound(t *testing.T, r *running) {
	ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Masquerade(t.Context(), r.behind, portsAfter[0], portsAfter[1]); err != nil {
		t.Fatal(err)
	}
	if r.behind == r.B { // the pings no longer reach it, and it has to speak first
		if err := pingAll(r.guest, r.A.HostAddress); err != nil {
			t.Error(err)
		}
	}
	found := passTwice(t, ping)
	rekeyBothWays(t, r)
	result, err := ping.StopWhen(t.Context(), func(r lab.PingResult) bool { return r.LastLost <= found.Sent })
	if err != nil || result.LastLost > found.Sent {
		t.Errorf("ping across the rebinding: %+v (%v), want every answer to what was sent after the first %d", result, err, found.Sent)
	}
	if err := everyTraffic(r); err != nil {
		t.Error(err)
	}
}

// passTwice wants an answer by the new way, and then one to a ping that was sent after it: what moved the way is over.
func passTwice(t *testing.T, ping *lab.Pings) (found lab.PingResult) {
	t.Helper()
	for range 2 {
		var err error
		if found, err = ping.Pass(t.Context(), changeLimit); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
