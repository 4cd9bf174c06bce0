package lab_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// natRig is two gateways of ours with a NAT before site A's.
type natRig struct {
	*lab.Sites
	a, b    *lab.Gateway
	capture *lab.Capture
	pcap    string
}

// Ranges of UDP ports that the NAT has for its mappings, before and after it forgets them.
var (
	portsBefore = [2]uint16{20000, 29999}
	portsAfter  = [2]uint16{40000, 49999}
)

func newNATRig(t *testing.T) *natRig {
	t.Helper()
	s := routedSites(t)
	r := &natRig{Sites: s, pcap: filepath.Join(s.Dir, "wan.pcap")}
	if err := r.Masquerade(t.Context(), r.A, portsBefore[0], portsBefore[1]); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.capture, err = r.Capture(lab.CaptureOptions{Snap: 256, Path: r.pcap}); err != nil {
		t.Fatal(err)
	}
	const nameOfA = "gw-a.example"
	options := lab.GatewayOptions{Binary: binary(t), PSK: testPSK, LivenessTime: time.Hour}
	behind, before := options, options
	behind.LocalID = nameOfA
	before.RemoteID, before.Remote, before.Start = nameOfA, r.B.Router, "on-demand" // nobody reaches a NAT's inside first
	if r.b, err = r.StartGateway(r.B, before); err != nil {
		t.Fatal(err)
	}
	if r.a, err = r.StartGateway(r.A, behind); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gw-a: %s\ngw-b: %s", r.a.Diagnosis(context.Background()), r.b.Diagnosis(context.Background()))
		}
	})
	for _, g := range []*lab.Gateway{r.a, r.b} {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestNATBetweenGateways: a NAT is found, everything goes in UDP on port 4500, and what the NAT forgets is found again by the
// first packet from behind it, which is authentic.
// S-091: traffic passes in UDP 4500 and only there. S-092, C-12: IKE_SA_INIT on UDP 500, and after the first message on 4500 nothing more.
func TestNATBetweenGateways(t *testing.T) {
	t.Parallel()
	r := newNATRig(t)
	if sa, err := r.b.IKE(t.Context()); err != nil || sa.NAT == "" {
		t.Errorf("gw-b's IKE SA %+v (%v), want a NAT found", sa, err)
	}

	ping, err := r.A.Host.StartPing(r.B.HostAddress, lab.PingOptions{Interval: pingPeriod})
	if err != nil {
		t.Fatal(err)
	}
	r.waitESP(t, 100)
	if err := r.Masquerade(t.Context(), r.A, portsAfter[0], portsAfter[1]); err != nil {
		t.Fatal(err)
	}
	result := r.rebound(t, ping)

	// Gateway B reaches A by the new mapping with ESP of its own accord, and with IKE.
	if back, err := r.B.Host.Ping(t.Context(), r.A.HostAddress, lab.PingOptions{Count: 20, Interval: pingPeriod}); err != nil || back.Received != 20 {
		t.Errorf("ping from site B after the rebinding: %+v, %v", back, err)
	}
	before := spis(t, r.b)
	if err := r.b.RekeyChild(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = lab.Until(t.Context(), nil, "a rekey by gw-b", changeLimit, func() (bool, error) {
		now := spis(t, r.b)
		return len(now) == 2 && now[0] != before[0] && now[1] != before[1], r.b.Process.Alive()
	})
	if err != nil {
		t.Errorf("%v: %v", err, spis(t, r.b))
	}

	// Whoever is behind the NAT keeps its mapping alive while nothing is sent (RFC 3948 section 4).
	err = lab.Until(t.Context(), nil, "a keepalive", keepaliveLimit, func() (bool, error) {
		a, _ := r.capture.Sofar()
		return a.Keepalive > 0, r.a.Process.Alive()
	})
	if err != nil {
		t.Error(err)
	}
	r.verify(t, result.Received)
}

// rebound wants an answer through the NAT's new mapping, one to a ping that was sent after it, and then every one: lost is only what came to
// gateway B, or left it, before it knew that mapping.
func (r *natRig) rebound(t *testing.T, pings *lab.Pings) lab.PingResult {
	t.Helper()
	var found lab.PingResult
	for range 2 {
		var err error
		if found, err = pings.Pass(t.Context(), reboundLimit); err != nil {
			t.Fatal(err)
		}
	}
	result, err := pings.StopWhen(t.Context(), func(r lab.PingResult) bool { return r.LastLost <= found.Sent })
	if err != nil || result.LastLost > found.Sent {
		t.Errorf("ping across the rebinding: %+v (%v), want every answer to what was sent after the first %d", result, err, found.Sent)
	}
	return result
}

// reboundLimit is shorter than the time after which a gateway asks whether its peer lives, which would find the mapping too.
const reboundLimit = 25 * time.Second

// keepaliveLimit is longer than the 20 s after which RFC 3948 section 4 wants a keepalive.
const keepaliveLimit = 40 * time.Second

// waitESP waits until both sides have sent so many packets in UDP.
func (r *natRig) waitESP(t *testing.T, count int) {
	t.Helper()
	err := lab.Until(t.Context(), nil, "ESP in UDP", changeLimit, func() (bool, error) {
		a, b := r.capture.Sofar()
		return a.ESPinUDP >= count && b.ESPinUDP >= count, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verify ends the capture and looks at everything that was on the wire.
func (r *natRig) verify(t *testing.T, packets int) {
	t.Helper()
	a, b, err := r.capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.ESPinUDP < packets || sent.ESP != 0 || sent.AH != 0 || sent.Clear != 0 || sent.Lost != 0 {
			t.Errorf("site %s sent %v, want ESP in UDP only", name, sent)
		}
	}
	if b.Keepalive != 0 {
		t.Errorf("gw-b, before which no NAT stands, sent %d keepalives", b.Keepalive)
	}
	for _, g := range []*lab.Gateway{r.a, r.b} {
		var counters api.Counters
		if counters, err = g.Counters(t.Context()); err != nil {
			t.Errorf("%v: %+v", err, counters)
		}
	}
	frames, err := lab.ReadPcap(r.pcap)
	if err != nil {
		t.Fatal(err)
	}
	r.switched(t, frames)
}

// switched wants UDP port 500 for IKE_SA_INIT alone, and nothing there after a gateway's first datagram on port 4500; and datagrams for
// site A to the ports that the NAT had at the time, never back to those it has forgotten.
func (r *natRig) switched(t *testing.T, frames [][]byte) {
	t.Helper()
	const ikeSAInit, exchangeAt = 34, 18        // RFC 7296 section 3.1
	onNATT, rebound := map[string]bool{}, false // by sender: frames of one are in order, those of both are not
	for i, f := range frames {
		if len(f) < etherLen+ipv4Len+8 || f[12] != 8 || f[13] != 0 || f[etherLen+9] != protocolUDP {
			continue
		}
		sender, udp := string(f[etherLen+12:etherLen+16]), f[etherLen+ipv4Len:]
		from, to := get16(udp), get16(udp[2:])
		switch {
		case from == 500 || to == 500:
			if exchange := udp[8+exchangeAt]; exchange != ikeSAInit || onNATT[sender] {
				t.Errorf("frame %d: exchange %d on UDP port 500 (after the sender's first on 4500: %v), want IKE_SA_INIT only", i, exchange, onNATT[sender])
			}
		case from == 4500:
			onNATT[sender] = true
		default:
			t.Errorf("frame %d: UDP from port %d to port %d", i, from, to)
		}
		if from == 4500 && to >= portsAfter[0] && to <= portsAfter[1] {
			rebound = true
		}
		if rebound && to >= portsBefore[0] && to <= portsBefore[1] {
			t.Errorf("frame %d: to port %d, which the NAT has forgotten, after packets to the new one", i, to)
		}
	}
	if !rebound {
		t.Error("nothing was sent to the NAT's new ports")
	}
}

// routedSites are two sites with a router between them, for as long as the test runs.
func routedSites(t *testing.T) *lab.Sites {
	t.Helper()
	s, err := lab.NewRoutedSites(t.Context(), lab.RawGateway, lab.RawGateway)
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
