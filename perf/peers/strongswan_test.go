package peers

import (
	"testing"
	"time"

	"sallyport/perf/lab"
)

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
	first, err := b.WaitTunnel(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	const pings = 300
	ping, err := s.A.Host.StartPing("ping", s.B.HostAddress, lab.PingOptions{Count: pings, Interval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.RekeyChild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.RekeyIKE(t.Context()); err != nil {
		t.Fatal(err)
	}
	result, err := lab.PingEnd(t.Context(), ping)
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent != pings || result.Lost() != 0 {
		t.Errorf("ping under rekeys: %+v, want %d answers", result, pings)
	}
	second, err := b.WaitTunnel(t.Context(), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if second.InitiatorSPI == first.InitiatorSPI || second.Children[0].SPIIn == first.Children[0].SPIIn {
		t.Errorf("expected new SPIs of IKE and Child SA, found %+v then %+v", first, second)
	}
	if err := a.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitGone(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	sentA, sentB, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, tally := range map[string]lab.Tally{"a": sentA, "b": sentB} {
		if tally.ESPinUDP != pings || len(tally.SPIs) != 2 || tally.IKE == 0 || tally.Clear != 0 || tally.Lost != 0 {
			t.Errorf("site %s sent %v with SPIs %v, want %d ESP in UDP on two SPIs, IKE, nothing clear", name, tally, tally.SPIs, pings)
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
