package peers

import (
	"testing"
	"time"

	"sallyport/perf/lab"
)

// changeLimit is how long a daemon may take for what it was told to do, on a busy machine.
const changeLimit = 2 * time.Minute

// tunnelBetween describes the tunnel of two sites as site local sees it.
func tunnelBetween(local, remote *lab.Site) Tunnel {
	return Tunnel{Name: "site", Local: local.WANAddress, Remote: remote.WANAddress, LocalNet: local.LAN, RemoteNet: remote.LAN,
		PSK: "a pre-shared key of the lab", IKEProposals: "aes128gcm16-prfsha256-ecp256", ESPProposals: "aes128gcm16"}
}

// newSites makes the topology and takes it down with the test.
func newSites(t *testing.T, a, b lab.GatewayKind) *lab.Sites {
	t.Helper()
	s, err := lab.NewSites(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStrongSwanToStrongSwan proves the peer and the way it is driven with nothing of ours between:
// up, traffic under both rekeys without a loss, delete. What counts is the capture.
func TestStrongSwanToStrongSwan(t *testing.T) {
	s := newSites(t, lab.KernelGateway, lab.KernelGateway)
	a, err := StartStrongSwan(t.Context(), s.Lab, s.A.Gateway, "strongswan-a", tunnelBetween(s.A, s.B))
	if err != nil {
		t.Fatal(err)
	}
	b, err := StartStrongSwan(t.Context(), s.Lab, s.B.Gateway, "strongswan-b", tunnelBetween(s.B, s.A))
	if err != nil {
		t.Fatal(err)
	}
	capture, err := s.Capture(lab.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Initiate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, a.Log())
	}
	first, err := b.WaitTunnel(t.Context(), changeLimit)
	if err != nil {
		t.Fatal(err)
	}
	ping, err := s.A.Host.StartPing(s.B.HostAddress, lab.PingOptions{Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name    string
		start   func() error
		changed func(now IKESA) bool
	}{
		{"Child SA", func() error { return a.RekeyChild(t.Context()) }, func(now IKESA) bool { return now.Children[0].SPIIn != first.Children[0].SPIIn }},
		{"IKE SA", func() error { return b.RekeyIKE(t.Context()) }, func(now IKESA) bool { return now.InitiatorSPI != first.InitiatorSPI }},
		{"use of the new Child SA", func() error { return nil }, func(IKESA) bool {
			sentA, sentB := capture.Sofar()
			return len(sentA.SPIs) == 2 && len(sentB.SPIs) == 2
		}},
	} {
		if err := step.start(); err != nil {
			t.Fatal(err)
		}
		err := lab.Until(t.Context(), nil, "a new "+step.name, changeLimit, func() (bool, error) {
			now, err := b.WaitTunnel(t.Context(), changeLimit)
			return err == nil && step.changed(now), err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	result, err := ping.Stop(t.Context())
	if err != nil || result.Lost() != 0 {
		t.Errorf("ping under rekeys: %+v (%v), want every answer", result, err)
	}
	if err := a.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitGone(t.Context(), changeLimit); err != nil {
		t.Fatal(err)
	}
	sentA, sentB, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, tally := range map[string]lab.Tally{"a": sentA, "b": sentB} {
		if tally.ESPinUDP != result.Sent || len(tally.SPIs) != 2 || tally.IKE == 0 || tally.Clear != 0 || tally.Lost != 0 {
			t.Errorf("site %s sent %v with SPIs %v, want %d ESP in UDP on two SPIs, IKE, nothing clear", name, tally, tally.SPIs, result.Sent)
		}
	}
}

// TestParseSAs proves the reader of swanctl's raw output.
func TestParseSAs(t *testing.T) {
	const out = `list-sa event {site {uniqueid=3 version=2 state=ESTABLISHED local-host=192.0.2.2 initiator-spi=01ab initiator=yes remote-vips=[10.0.0.1 10.0.0.2] child-sas {site-7 {name=site state=INSTALLED encap=yes spi-in=c0ffee01 spi-out=00000fff encr-alg=AES_GCM_16 packets-in=12 packets-out=13 local-ts=[10.2.0.0/24]}}}}
list-sas reply {}
`
	all, err := parseSAs(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || len(all[0].Children) != 1 {
		t.Fatalf("parsed %+v, want one IKE SA with one child", all)
	}
	want := ChildSA{State: "INSTALLED", SPIIn: 0xc0ffee01, SPIOut: 0xfff, Encapsulated: true, PacketsIn: 12, PacketsOut: 13, Cipher: "AES_GCM_16"}
	if sa := all[0]; sa.State != "ESTABLISHED" || !sa.Initiator || sa.InitiatorSPI != "01ab" || sa.Children[0] != want {
		t.Errorf("parsed %+v, want established with child %+v", sa, want)
	}
	for _, bad := range []string{"list-sa event {", "list-sa event {a {b=", "list-sa event {a {b c}}", "list-sa event {a {child-sas {x {spi-in=zz}}}}"} {
		if _, err := parseSAs(bad); err == nil {
			t.Errorf("%q parsed", bad)
		}
	}
}
