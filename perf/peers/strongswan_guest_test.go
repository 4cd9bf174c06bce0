package peers

import (
	"testing"
	"time"

	"sallyport/perf/lab"
)

// TestStrongSwanInGuest proves the second form of the peer: IKE by strongSwan, ESP by the kernel.
func TestStrongSwanInGuest(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.RawGateway)
	g := startGuest(t, s)
	if _, err := StartStrongSwan(t.Context(), s.Lab, s.A.Gateway, "strongswan-a", tunnelBetween(s.A, s.B)); err != nil {
		t.Fatal(err)
	}
	b, err := StartStrongSwanIn(t.Context(), g, tunnelBetween(s.B, s.A))
	if err != nil {
		t.Fatal(err)
	}
	capture, err := s.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Initiate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, b.Log())
	}
	const pings = 20
	result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: pings, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if result.Received != pings {
		t.Errorf("ping through the tunnel: %+v, want %d answers", result, pings)
	}
	sa, err := b.WaitTunnel(t.Context(), changeLimit)
	if err != nil {
		t.Fatal(err)
	}
	if c := sa.Children[0]; c.PacketsIn != pings || c.PacketsOut != pings {
		t.Errorf("the guest's kernel counts %+v, want %d packets each way", c, pings)
	}
	sentA, sentB, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, tally := range map[string]lab.Tally{"a": sentA, "b": sentB} {
		if tally.ESPinUDP != pings || tally.Clear != 0 || tally.Lost != 0 {
			t.Errorf("site %s sent %v, want %d ESP in UDP and nothing clear", name, tally, pings)
		}
	}
}
