package peers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// TestDaemonsInGuest proves libreswan and openiked, and how they are driven, with nothing of ours between: strongSwan in a namespace is
// their peer. Started by either end, traffic with the guest kernel's ESP, and gone again.
func TestDaemonsInGuest(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.RawGateway)
	g := startGuest(t, s)
	far := tunnelBetween(s.A, s.B)
	far.IKEProposals, far.ESPProposals = "aes256-sha256-modp2048", "aes256-sha1" // openiked knows no SHA-2 in the kernel
	a, err := StartStrongSwan(t.Context(), s.Lab, s.A.Gateway, "strongswan-a", far)
	if err != nil {
		t.Fatal(err)
	}
	for _, daemon := range []struct {
		name  string
		start func() (Daemon, error)
	}{
		{"libreswan", func() (Daemon, error) {
			return StartLibreswan(t.Context(), g, LibreswanTunnel{Name: "libreswan", Secret: fmt.Sprintf("%s %s : PSK %q", far.Remote, far.Local, far.PSK),
				Connection: map[string]string{"ikev2": "insist", "authby": "secret", "left": far.Remote.String(), "right": far.Local.String(),
					"leftsubnet": far.RemoteNet.String(), "rightsubnet": far.LocalNet.String(), "ike": "aes256-sha2_256;modp2048", "esp": "aes256-sha1", "pfs": "no"}})
		}},
		{"openiked", func() (Daemon, error) {
			return StartOpenIKED(t.Context(), g, OpenIKEDTunnel{Name: "openiked", Policy: fmt.Sprintf("esp from %s to %s local %s peer %s "+
				"ikesa enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group modp2048 childsa enc aes-256 auth hmac-sha1 srcid %s dstid %s psk %q",
				far.RemoteNet, far.LocalNet, far.Remote, far.Local, far.Remote, far.Local, far.PSK)})
		}},
	} {
		t.Run(daemon.name, func(t *testing.T) {
			d, err := daemon.start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // also on failure: the next daemon wants its ports
				if err := d.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			})
			for _, initiate := range []func() error{func() error { return a.Initiate(t.Context()) }, func() error { return d.Initiate(t.Context()) }} {
				if err := initiate(); err != nil {
					t.Fatalf("%v\n%s", err, d.Log())
				}
				if _, err := a.WaitTunnel(t.Context(), changeLimit); err != nil {
					t.Fatalf("%v\n%s\n%s", err, a.Log(), d.Log())
				}
				// openiked installs its SAs some time after it has answered.
				if err := lab.Until(t.Context(), nil, "an answer through the tunnel", changeLimit, func() (bool, error) {
					result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: 1, Wait: 5 * time.Second})
					return result.Received == 1, err
				}); err != nil {
					t.Fatalf("%v\n%s", err, d.Log())
				}
				result, err := s.A.Host.Ping(t.Context(), s.B.HostAddress, lab.PingOptions{Count: 5, Interval: 10 * time.Millisecond})
				if err != nil || result.Received != 5 {
					t.Errorf("ping through the tunnel: %+v (%v), want 5 answers\n%s", result, err, d.Log())
				}
				if err := a.Terminate(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
