package lab_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/perf/lab"
)

// TestAddressChangesUnderTraffic: a gateway moves to another address in three steps (RFC 4555), and the tunnel goes on with its keys: every ping
// is answered.
func TestAddressChangesUnderTraffic(t *testing.T) {
	t.Parallel()
	s := newSites(t, lab.RawGateway, lab.RawGateway)
	capture, err := s.Capture(lab.CaptureOptions{Snap: 256})
	if err != nil {
		t.Fatal(err)
	}
	options := lab.GatewayOptions{Binary: binary(t), PSK: testPSK, MOBIKE: true, LivenessTime: time.Hour}
	ofA, ofB := options, options
	ofA.LocalID, ofA.RemoteID = "gw-a.example", "gw-b.example"
	ofB.LocalID, ofB.RemoteID, ofB.Start = ofA.RemoteID, ofA.LocalID, "on-demand"
	b, err := s.StartGateway(s.B, ofB)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.StartGateway(s.A, ofA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gw-a: %s\ngw-b: %s", a.Diagnosis(context.Background()), b.Diagnosis(context.Background()))
		}
	})
	for _, g := range []*lab.Gateway{a, b} {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	before := spis(t, b)
	firstAnswer(t, s)
	pings, err := s.A.Host.StartPing(s.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	was, is := s.A.WANAddress, netip.MustParseAddr("192.0.2.77")
	for _, addresses := range [][]netip.Addr{{was, is}, {is, was}, {is}} {
		if err := a.Readdress(t.Context(), addresses...); err != nil {
			t.Fatal(err)
		}
		err := lab.Until(t.Context(), nil, "gw-b to reach gw-a at "+addresses[0].String(), changeLimit, func() (bool, error) {
			sa, err := b.IKE(t.Context())
			return err == nil && strings.HasPrefix(sa.Remote, addresses[0].String()+":"), b.Process.Alive()
		})
		if err != nil {
			t.Fatal(err)
		}
		waitAnswers(t, pings, 50)
	}
	if after := spis(t, b); !slices.Equal(after, before) {
		t.Errorf("SPIs %v, expected those of before the change, %v", after, before)
	}
	result, err := pings.Stop(t.Context())
	if err != nil || result.Lost() != 0 {
		t.Errorf("ping through the tunnel: %+v (%v), expected every answer", result, err)
	}
	sentA, sentB, err := capture.Stop()
	if err != nil || sentA.Clear != 0 || sentB.Clear != 0 {
		t.Errorf("site a sent %v, site b %v (%v), expected nothing clear", sentA, sentB, err)
	}
}

// waitAnswers waits until so many more pings are answered.
func waitAnswers(t *testing.T, pings *lab.Pings, more int) {
	t.Helper()
	before, err := pings.Sofar()
	if err == nil {
		err = lab.Until(t.Context(), nil, "answers to pings", changeLimit, func() (bool, error) {
			now, err := pings.Sofar()
			return now.Received >= before.Received+more, err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}
