package lab_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// peerForm is one of the ways in which strongSwan stands in for the gateway of site B.
type peerForm struct {
	name  string
	kind  lab.GatewayKind
	start func(t *testing.T, s *lab.Sites, tunnel peers.Tunnel) (*peers.StrongSwan, error)
	// protected counts the frames of the form that its ESP takes on the wire.
	protected func(lab.Tally) int
}

// peerForms: ESP in user space, always in UDP, and the Linux kernel's own ESP.
var peerForms = []peerForm{
	{"userland ESP", lab.KernelGateway, func(t *testing.T, s *lab.Sites, tunnel peers.Tunnel) (*peers.StrongSwan, error) {
		return peers.StartStrongSwan(t.Context(), s.Lab, s.B.Gateway, "strongswan-b", tunnel)
	}, func(sent lab.Tally) int { return sent.ESPinUDP }},
	{"kernel ESP", lab.RawGateway, func(t *testing.T, s *lab.Sites, tunnel peers.Tunnel) (*peers.StrongSwan, error) {
		g, err := peers.StartGuest(t.Context(), s.Lab, s.B.Gateway, "guest-b", lab.WANLink)
		if err != nil {
			return nil, err
		}
		if err := g.Configure(t.Context(), s.B, s.A); err != nil {
			return nil, err
		}
		return peers.StartStrongSwanIn(t.Context(), g, tunnel)
	}, func(sent lab.Tally) int { return sent.ESP }},
}

// interop is our gateway at site A, strongSwan at site B, and a capture between them.
type interop struct {
	*lab.Sites
	gateway *lab.Gateway
	peer    *peers.StrongSwan
	capture *lab.Capture
	form    peerForm
}

const (
	tunnelLimit = 2 * time.Minute
	changeLimit = time.Minute
	pingPeriod  = 10 * time.Millisecond
	testPSK     = "a pre-shared key of the lab"
)

// withPeers runs a test against each form of the peer.
func withPeers(t *testing.T, o lab.GatewayOptions, test func(t *testing.T, i *interop)) {
	for _, form := range peerForms {
		t.Run(strings.ReplaceAll(form.name, " ", "-"), func(t *testing.T) { test(t, newInterop(t, form, o)) })
	}
}

// newInterop starts the peer first: our gateway may begin to negotiate at once.
func newInterop(t *testing.T, form peerForm, o lab.GatewayOptions) *interop {
	t.Helper()
	i := &interop{Sites: newSites(t, lab.RawGateway, form.kind), form: form}
	if o.IKEProposal == "" {
		o.IKEProposal, o.ESPProposal = "aes128gcm16-prfsha256-ecp256", "aes128gcm16"
	}
	var err error
	i.capture, err = i.Capture(lab.CaptureOptions{Snap: 256})
	if err != nil {
		t.Fatal(err)
	}
	i.peer, err = form.start(t, i.Sites, peers.Tunnel{Name: "site", Local: i.B.WANAddress, Remote: i.A.WANAddress, LocalNet: i.B.LAN,
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
	result, err := i.A.Host.Ping(t.Context(), i.B.HostAddress, lab.PingOptions{Count: count, Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != count || result.Lost() != 0 {
		t.Errorf("ping through the tunnel: %+v, want %d answers", result, count)
	}
}

// verify ends the capture and wants at least the given number of ESP packets from each side, in the
// peer's form, and nothing clear; and our gateway's counters to add up.
func (i *interop) verify(t *testing.T, packets int) {
	t.Helper()
	a, b, err := i.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if i.form.protected(sent) < packets || sent.Clear != 0 || sent.Lost != 0 || sent.IKE == 0 {
			t.Errorf("site %s sent %v, want at least %d ESP packets of %s, IKE, nothing clear", name, sent, packets, i.form.name)
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
	withPeers(t, lab.GatewayOptions{}, func(t *testing.T, i *interop) {
		if sa := i.waitTunnel(t); sa.Initiator {
			t.Error("strongSwan says that it was the initiator")
		}
		i.pingAll(t, 50)
		i.verify(t, 50)
	})
}

// TestGatewayResponds: the peer brings the tunnel up.
func TestGatewayResponds(t *testing.T) {
	withPeers(t, lab.GatewayOptions{Start: "on-demand"}, func(t *testing.T, i *interop) {
		i.waitGateway(t)
		if err := i.peer.Initiate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sa := i.waitTunnel(t); !sa.Initiator {
			t.Error("strongSwan says that it was not the initiator")
		}
		i.pingAll(t, 50)
		i.verify(t, 50)
	})
}

// TestRekeyUnderTraffic: both SAs are replaced from both sides while pings run, for as long as that takes, and none is lost.
func TestRekeyUnderTraffic(t *testing.T) {
	withPeers(t, lab.GatewayOptions{}, func(t *testing.T, i *interop) {
		before := i.waitTunnel(t)
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
	})
}

// TestDeleteFromEitherSide: a delete by either side leaves nothing on the other, and the tunnel can
// be made again.
func TestDeleteFromEitherSide(t *testing.T) {
	withPeers(t, lab.GatewayOptions{Start: "on-demand"}, func(t *testing.T, i *interop) {
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
	})
}

// TestSuitesWithKernel: the kernel decrypts our packets and we the kernel's, with a suite of each kind
// and each key exchange.
func TestSuitesWithKernel(t *testing.T) {
	for _, suite := range []struct{ ike, esp string }{
		{"aes256gcm16-prfsha384-ecp384", "aes256gcm16"},
		{"aes256-sha512-curve25519", "aes256-sha512"},
		{"aes128-sha256-modp2048", "aes128-sha256"},
		{"aes192gcm16-prfsha512-ecp256", "aes192gcm16"},
		{"aes192-sha384-ecp256", "aes192-sha384"},
		{"aes128gcm16-prfsha256-ecp256", "aes128-sha1"},
	} {
		t.Run(suite.ike+"/"+suite.esp, func(t *testing.T) {
			i := newInterop(t, peerForms[1], lab.GatewayOptions{IKEProposal: suite.ike, ESPProposal: suite.esp})
			i.waitTunnel(t)
			i.pingAll(t, 20)
			i.verify(t, 20)
		})
	}
}
