package lab_test

import (
	"cmp"
	"context"
	octets "encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
	"sallyport/perf/peers"
)

// softPolicy lets what site A has for site B pass in clear while nobody there answers IKE.
const softPolicy = `routes:
  - {to: 10.2.0.0/24, via: 192.0.2.2}
filter_lists:
  - {name: both-lans, updated: 2026-11-21, filters: [{source: 10.1.0.0/24, destination: 10.2.0.0/24}]}
filter_actions:
  - {name: try, action: negotiate, esp_proposals: [aes128gcm16], fallback_clear: true, fallback_clear_on_wan: true}
policies:
  - name: site-to-site
    rules: [{name: lan-to-lan, filter_list: both-lans, filter_action: try, peer: far-site}]
active_policy: site-to-site
`

// TestClearThenNegotiatedThenNeverClear: the other site is a router without IKE, whose kernel says so by ICMP; then it
// starts strongSwan; then it stops that again. What crosses the wire is clear after four unanswered messages and three
// seconds, protected from the first answer of ours on, and nothing at all when the peer is silent once more.
// S-044, S-050, S-051, S-054, S-055
func TestClearThenNegotiatedThenNeverClear(t *testing.T) {
	s := newSites(t, lab.RawGateway, lab.KernelGateway)
	path := filepath.Join(s.Dir, "soft.pcap")
	capture, err := s.Capture(lab.CaptureOptions{Snap: 128, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	g, err := s.StartGateway(s.A, lab.GatewayOptions{Binary: binary(t), PSK: testPSK, Start: "on-demand", Policy: softPolicy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gateway: %s", g.Diagnosis(context.Background()))
		}
	})
	if err := g.WaitReady(t.Context(), tunnelLimit); err != nil {
		t.Fatal(err)
	}
	if soft := softSAs(t, g); len(soft) != 0 { // S-048
		t.Fatalf("soft SAs before anything was sent: %+v", soft)
	}
	pings, err := s.A.Host.StartPing(s.B.HostAddress, lab.PingOptions{Interval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "answers in clear", func() bool {
		soft := softSAs(t, g)
		return len(soft) == 1 && soft[0].BytesSent > 0 && soft[0].BytesReceived > 0
	})
	shown, _, _ := sallyport(t, g, "sa", "show", "--type", "soft")
	if !strings.Contains(shown, "CLEAR") || !strings.Contains(shown, "10.1.0.10 === 10.2.0.10") || !strings.Contains(shown, "none") {
		t.Errorf("sa show --type soft: %s", shown)
	}

	peer, err := peers.StartStrongSwan(t.Context(), s.Lab, s.B.Gateway, "strongswan-b", peers.Tunnel{Name: "site", Local: s.B.WANAddress, Remote: s.A.WANAddress, LocalNet: s.B.LAN,
		RemoteNet: s.A.LAN, PSK: testPSK, IKEProposals: "aes128gcm16-prfsha256-ecp256", ESPProposals: "aes128gcm16"})
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Initiate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, peer.Log())
	}
	const protected = 50
	until(t, "pings through the tunnel", func() bool {
		a, b := capture.Sofar()
		return a.ESPinUDP >= protected && b.ESPinUDP >= protected
	})
	if soft := softSAs(t, g); len(soft) != 0 {
		t.Errorf("soft SAs beside the tunnel: %+v", soft)
	}

	if err := peer.Process.Stop(changeLimit); err != nil {
		t.Log(err) // it has deleted its SAs, or the liveness check finds out
	}
	until(t, "the gateway to meet silence again, and to stay closed", func() bool {
		var why api.Why
		if err := g.API.Get(t.Context(), api.PathWhy, map[string][]string{"peer": {lab.PeerName}}, &why); err != nil {
			t.Fatal(err)
		}
		return why.Failed != nil && why.Failed.Reason == "no_answer" && why.Fallback != nil && why.Fallback.Refused == "authenticated" && silences(t, g) >= 2
	})
	if _, err := pings.StopWhen(t.Context(), func(lab.PingResult) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := capture.Stop(); err != nil {
		t.Fatal(err)
	}
	checkCourse(t, s, path)
}

// until waits for something that a busy machine may take its time for.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	if err := lab.Until(t.Context(), nil, what, tunnelLimit, func() (bool, error) { return condition(), nil }); err != nil {
		t.Fatal(err)
	}
}

func softSAs(t *testing.T, g *lab.Gateway) []api.SoftSA {
	t.Helper()
	var sad api.SAD
	if err := g.API.Get(t.Context(), api.PathSAD, nil, &sad); err != nil {
		t.Fatal(err)
	}
	return sad.Soft
}

// silences is how many negotiations have met silence.
func silences(t *testing.T, g *lab.Gateway) (n int) {
	t.Helper()
	err := g.API.Follow(t.Context(), api.PathEvents, nil, func(e api.Event) error {
		if e.Kind == "failed" && e.Reason == "no_answer" {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkCourse reads from the capture what came when.
func checkCourse(t *testing.T, s *lab.Sites, path string) {
	t.Helper()
	frames, err := lab.ReadFrames(path)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(frames, func(a, b lab.Frame) int { return a.At.Compare(b.At) })
	var firstIKE, firstClear, firstAnswer time.Time
	asked, unreachable, clear, late := 0, 0, 0, []string{}
	for _, f := range frames {
		p, ok := readPacket(f.Data)
		if !ok {
			continue
		}
		switch ours := p.source == s.A.WANAddress; {
		case s.A.LAN.Contains(p.source) && s.B.LAN.Contains(p.destination):
			clear++
			firstClear = cmp.Or(firstClear, f.At)
			if !firstAnswer.IsZero() {
				late = append(late, fmt.Sprint(f.At.Sub(firstAnswer)))
			}
		case ours && p.ike && p.response:
			firstAnswer = cmp.Or(firstAnswer, f.At)
		case ours && p.ike && firstClear.IsZero():
			firstIKE = cmp.Or(firstIKE, f.At)
			asked++
		case p.unreachable && firstClear.IsZero():
			unreachable++
		}
	}
	if asked != 4 || unreachable == 0 || firstClear.Sub(firstIKE) < 3*time.Second {
		t.Errorf("the first clear packet came %s after the first message, after %d messages and %d ICMP errors: expected three seconds, 4 and some", firstClear.Sub(firstIKE), asked, unreachable)
	}
	if clear == 0 || firstAnswer.IsZero() || len(late) > 0 {
		t.Errorf("%d clear packets, first answer to the peer's IKE %s, clear packets after it: %v", clear, firstAnswer, late)
	}
}

// packet is what checkCourse has to know of one.
type packet struct {
	source, destination        netip.Addr
	ike, response, unreachable bool
}

// readPacket reads an Ethernet frame with IPv4 in it.
func readPacket(frame []byte) (p packet, ok bool) {
	const ethernet, ip, udp, flags, marker = 14, 20, 8, 19, 4
	if len(frame) < ethernet+ip+udp || octets.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[ethernet] != 0x45 {
		return p, false
	}
	header, payload := frame[ethernet:ethernet+ip], frame[ethernet+ip:]
	p.source, p.destination = netip.AddrFrom4([4]byte(header[12:])), netip.AddrFrom4([4]byte(header[16:]))
	switch header[9] {
	case 1:
		p.unreachable = payload[0] == 3
	case 17:
		message := payload[udp:]
		switch port := octets.BigEndian.Uint16(payload[2:]); {
		case port == 4500 && len(message) > marker && octets.BigEndian.Uint32(message) == 0:
			message, p.ike = message[marker:], true
		case port == 500:
			p.ike = true
		}
		p.response = p.ike && len(message) > flags && message[flags]&0x20 != 0 // RFC 7296 section 3.1
	}
	return p, true
}
