package lab_test

import (
	"context"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// interop is our gateway at site A, strongSwan at site B with ESP in user space, always in UDP, and a capture between them. The Linux
// kernel's ESP is in package interop.
type interop struct {
	*lab.Sites
	gateway *lab.Gateway
	peer    *peers.StrongSwan
	capture *lab.Capture
}

const (
	tunnelLimit = 5 * time.Minute
	changeLimit = 2 * time.Minute
	pingPeriod  = 10 * time.Millisecond
	testPSK     = "a pre-shared key of the lab"
)

// newInterop starts the peer first: our gateway may begin to negotiate at once.
func newInterop(t *testing.T, o lab.GatewayOptions) *interop {
	t.Helper()
	i := &interop{Sites: newSites(t, lab.RawGateway, lab.KernelGateway)}
	o.IKEProposal, o.ESPProposal = "aes128gcm16-prfsha256-ecp256", "aes128gcm16"
	var err error
	i.capture, err = i.Capture(lab.CaptureOptions{Snap: 256})
	if err != nil {
		t.Fatal(err)
	}
	i.peer, err = peers.StartStrongSwan(t.Context(), i.Lab, i.B.Gateway, "strongswan-b", peers.Tunnel{Name: "site", Local: i.B.WANAddress, Remote: i.A.WANAddress, LocalNet: i.B.LAN,
		RemoteNet: i.A.LAN, PSK: testPSK, IKEProposals: o.IKEProposal, ESPProposals: o.ESPProposal})
	if err != nil {
		t.Fatal(err)
	}
	o.Binary, o.PSK = binary(t), testPSK
	if i.gateway, err = i.StartGateway(i.A, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gateway: %s\npeer: %s", i.gateway.Diagnosis(context.Background()), i.peer.Log())
		}
	})
	return i
}

// waitGateway waits until our gateway answers on its control socket.
func (i *interop) waitGateway(t *testing.T) {
	t.Helper()
	err := lab.Until(t.Context(), nil, "the gateway's control socket", tunnelLimit, func() (bool, error) {
		_, err := i.gateway.IKE(t.Context())
		return err == nil, i.gateway.Process.Alive()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// waitTunnel waits until both ends have the tunnel.
func (i *interop) waitTunnel(t *testing.T) peers.IKESA {
	t.Helper()
	if _, err := i.gateway.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
		t.Fatal(err)
	}
	sa, err := i.peer.WaitTunnel(t.Context(), tunnelLimit)
	if err != nil {
		t.Fatal(err)
	}
	return sa
}

// pingAll sends echo requests through the tunnel and wants every answer.
func (i *interop) pingAll(t *testing.T, count int) {
	t.Helper()
	firstAnswer(t, i.Sites)
	result, err := i.A.Host.Ping(t.Context(), i.B.HostAddress, lab.PingOptions{Count: count, Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != count || result.Lost() != 0 {
		t.Errorf("ping through the tunnel: %+v, want %d answers", result, count)
	}
}

// firstAnswer waits until a ping from site A to site B is answered.
func firstAnswer(t *testing.T, s *lab.Sites) {
	t.Helper()
	if err := s.A.Host.Reach(t.Context(), s.B.HostAddress, changeLimit); err != nil {
		t.Fatal(err)
	}
}

// verify ends the capture and wants at least the given number of ESP packets from each side and nothing clear; and our gateway's
// counters to add up.
func (i *interop) verify(t *testing.T, packets int) {
	t.Helper()
	a, b, err := i.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.ESPinUDP < packets || sent.Clear != 0 || sent.Lost != 0 || sent.IKE == 0 {
			t.Errorf("site %s sent %v, want at least %d ESP packets in UDP, IKE, nothing clear", name, sent, packets)
		}
	}
	if _, err := i.gateway.Counters(t.Context()); err != nil {
		t.Error(err)
	}
}

// waitSPIs waits until both sides have sent ESP on so many SPIs.
func (i *interop) waitSPIs(t *testing.T, count int) {
	t.Helper()
	err := lab.Until(t.Context(), nil, "ESP on the new Child SA", changeLimit, func() (bool, error) {
		a, b := i.capture.Sofar()
		return len(a.SPIs) == count && len(b.SPIs) == count, nil
	})
	if err != nil {
		a, b := i.capture.Sofar()
		t.Fatalf("%v; expected %d SPIs each way, found %v and %v", err, count, a.SPIs, b.SPIs)
	}
}

// TestGatewayInitiates: our gateway brings the tunnel up by itself.
func TestGatewayInitiates(t *testing.T) {
	i := newInterop(t, lab.GatewayOptions{})
	if sa := i.waitTunnel(t); sa.Initiator {
		t.Error("strongSwan says that it was the initiator")
	}
	i.pingAll(t, 50)
	i.verify(t, 50)
}

// TestGatewayResponds: the peer brings the tunnel up.
func TestGatewayResponds(t *testing.T) {
	i := newInterop(t, lab.GatewayOptions{Start: "on-demand"})
	i.waitGateway(t)
	if err := i.peer.Initiate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sa := i.waitTunnel(t); !sa.Initiator {
		t.Error("strongSwan says that it was not the initiator")
	}
	i.pingAll(t, 50)
	i.verify(t, 50)
}

// TestRekeyUnderTraffic: both SAs are replaced from both sides while pings run, for as long as that takes, and none is lost.
func TestRekeyUnderTraffic(t *testing.T) {
	i := newInterop(t, lab.GatewayOptions{})
	before := i.waitTunnel(t)
	firstAnswer(t, i.Sites)
	ping, err := i.A.Host.StartPing(i.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	i.waitSPIs(t, 1)
	childChanged := func(old, now peers.IKESA) bool { return old.Children[0].SPIIn != now.Children[0].SPIIn }
	ikeChanged := func(old, now peers.IKESA) bool { return old.InitiatorSPI != now.InitiatorSPI }
	for _, step := range []struct {
		name    string
		start   func() error
		changed func(old, now peers.IKESA) bool
		spis    int // seen on the wire afterwards, each way; 0 for a step that makes none
	}{
		{"Child SA, by us", func() error { return i.gateway.RekeyChild(t.Context()) }, childChanged, 2},
		{"Child SA, by the peer", func() error { return i.peer.RekeyChild(t.Context()) }, childChanged, 3},
		{"IKE SA, by us", func() error { return i.gateway.RekeyIKE(t.Context()) }, ikeChanged, 0},
		{"IKE SA, by the peer", func() error { return i.peer.RekeyIKE(t.Context()) }, ikeChanged, 0},
	} {
		if err := step.start(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		err := lab.Until(t.Context(), nil, "a new "+step.name, changeLimit, func() (bool, error) {
			now, err := i.peer.WaitTunnel(t.Context(), changeLimit)
			if err != nil || !step.changed(before, now) {
				return false, err
			}
			before = now
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if step.spis > 0 {
			i.waitSPIs(t, step.spis)
		}
	}
	result, err := ping.Stop(t.Context())
	if err != nil || result.Lost() != 0 {
		t.Errorf("ping under rekeys: %+v (%v), want every answer", result, err)
	}
	i.verify(t, result.Received)
}

// TestDeleteFromEitherSide: a delete by either side leaves nothing on the other, and the tunnel can
// be made again.
func TestDeleteFromEitherSide(t *testing.T) {
	i := newInterop(t, lab.GatewayOptions{Start: "on-demand"})
	i.waitGateway(t)
	for _, side := range []struct {
		name   string
		remove func() error
	}{
		{"the peer", func() error { return i.peer.Terminate(t.Context()) }},
		{"us", func() error { return i.gateway.Down(t.Context()) }},
	} {
		if err := i.gateway.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		i.waitTunnel(t)
		i.pingAll(t, 5)
		if err := side.remove(); err != nil {
			t.Fatalf("delete by %s: %v", side.name, err)
		}
		if err := i.gateway.WaitGone(t.Context(), changeLimit); err != nil {
			t.Fatalf("delete by %s: %v", side.name, err)
		}
		if err := i.peer.WaitGone(t.Context(), changeLimit); err != nil {
			t.Fatalf("delete by %s: %v", side.name, err)
		}
	}
	i.verify(t, 10)
}
