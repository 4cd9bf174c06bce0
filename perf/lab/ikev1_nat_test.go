package lab_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/perf/lab"
	"sallyport/pki/pkitest"
)

// TestIKEv1AcrossNAT: two gateways that know each other by certificates have a tunnel by IKEv1 with a NAT before the one that begins.
// C-12, S-092: messages 1 to 4 of main mode are on UDP port 500, message 5 and all after it on 4500. S-091: traffic passes in UDP 4500 and only there.
// S-061: nothing on the wire names either end, for the messages that do are encrypted.
func TestIKEv1AcrossNAT(t *testing.T) {
	t.Parallel()
	s := routedSites(t)
	if err := s.Masquerade(t.Context(), s.A, portsBefore[0], portsBefore[1]); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, "wan.pcap")
	capture, err := s.Capture(lab.CaptureOptions{Path: path, Marker: []byte("example")})
	if err != nil {
		t.Fatal(err)
	}
	root := pkitest.NewRoot(t, "root")
	list := root.CRL(nil)
	var gateways []*lab.Gateway
	for _, site := range []*lab.Site{s.B, s.A} { // who waits is there first
		start, seen := "always", s.B.WANAddress
		if site == s.B {
			start, seen = "on-demand", s.B.Router // the NAT's address
		}
		serveCRL(t, site, list)
		peers, _ := certifiedSite(t, root, s, site, start)
		peers = strings.Replace(peers, fmt.Sprintf("remote: %s\n", s.Peer(site).WANAddress), fmt.Sprintf("remote: %s\n    ike: v1\n    ike_proposals: [aes128-sha256-ecp256]\n", seen), 1)
		g, err := s.StartGateway(site, lab.GatewayOptions{Binary: binary(t), Peers: peers})
		if err != nil {
			t.Fatal(err)
		}
		gateways = append(gateways, g)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("gw-b: %s\ngw-a: %s", gateways[0].Diagnosis(context.Background()), gateways[1].Diagnosis(context.Background()))
		}
	})
	for _, g := range gateways {
		if _, err := g.WaitTunnel(t.Context(), nil, tunnelLimit); err != nil {
			t.Fatal(err)
		}
		if sa, err := g.IKE(t.Context()); err != nil || sa.Version != 1 || sa.NAT == "" {
			t.Errorf("gw-%s: IKE SA %+v, error %v; want one of IKEv1 and a NAT found", g.Site.Name, sa, err)
		}
	}
	const pings = 20
	for _, ends := range [][2]*lab.Site{{s.A, s.B}, {s.B, s.A}} {
		result, err := ends[0].Host.Ping(t.Context(), ends[1].HostAddress, lab.PingOptions{Count: pings, Interval: pingPeriod})
		if err != nil || result.Lost() != 0 {
			t.Errorf("ping from site %s: %+v, error %v", ends[0].Name, result, err)
		}
	}
	a, b, err := capture.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, sent := range map[string]lab.Tally{"a": a, "b": b} {
		if sent.ESPinUDP < 2*pings || sent.ESP != 0 || sent.Clear != 0 || sent.Lost != 0 || sent.Marked != 0 {
			t.Errorf("site %s sent %v, want ESP in UDP, and no name of a certificate", name, sent)
		}
	}
	frames, err := lab.ReadPcap(path)
	if err != nil {
		t.Fatal(err)
	}
	mainModeAcrossNAT(t, frames)
}

// mainModeAcrossNAT wants of the main mode that went on at port 4500 two messages of each end in clear on port 500, then one encrypted on 4500 before anything else
// of IKE, and nothing more on 500 by whoever has sent there.
func mainModeAcrossNAT(t *testing.T, frames [][]byte) {
	t.Helper()
	const mainMode, exchangeAt, flagsAt, encrypted, markerLen = 2, 18, 19, 1, 4 // RFC 2408 section 3.1, RFC 3948 section 2.2
	type sent struct {
		on500  map[string]bool // messages by their octets, which a repetition shares
		onNATT bool
	}
	modes := map[string]map[string]*sent{} // by the initiator's cookie and the sender
	switched := map[string]bool{}
	for i, f := range frames {
		if len(f) < etherLen+ipv4Len+8 || f[12] != 8 || f[13] != 0 || f[etherLen+9] != protocolUDP {
			continue
		}
		sender, udp := string(f[etherLen+12:etherLen+16]), f[etherLen+ipv4Len:]
		on500 := get16(udp) == 500 || get16(udp[2:]) == 500
		message := udp[8:get16(udp[4:])]
		if !on500 {
			if len(message) < markerLen+ikeHeaderLen || string(message[:markerLen]) != "\x00\x00\x00\x00" {
				continue // ESP, or a keepalive
			}
			message = message[markerLen:]
		}
		cookie := string(message[:8])
		if modes[cookie] == nil {
			modes[cookie] = map[string]*sent{}
		}
		mode := modes[cookie]
		if mode[sender] == nil {
			mode[sender] = &sent{on500: map[string]bool{}}
		}
		isMainMode, inClear := message[exchangeAt] == mainMode, message[flagsAt]&encrypted == 0
		switch {
		case on500 && (!isMainMode || !inClear || switched[sender]):
			t.Errorf("frame %d on UDP port 500: exchange %d, in clear %t, after the sender's first on 4500 %t; want main mode in clear, and nothing once the port has changed", i,
				message[exchangeAt], inClear, switched[sender])
		case on500:
			mode[sender].on500[string(message)] = true
		case inClear || !mode[sender].onNATT && !isMainMode:
			t.Errorf("frame %d on UDP port 4500: exchange %d, in clear %t; want message 5 or 6 of main mode first, and all encrypted", i, message[exchangeAt], inClear)
		default:
			mode[sender].onNATT, switched[sender] = true, true
		}
	}
	complete := 0
	for cookie, mode := range modes {
		if len(mode) != 2 {
			continue // one that was not answered in time
		}
		done := true
		for _, by := range mode {
			done = done && by.onNATT
		}
		if !done {
			continue
		}
		complete++
		for sender, by := range mode {
			if len(by.on500) != 2 {
				t.Errorf("main mode %x: %d messages of %d on UDP port 500, want two", cookie, len(by.on500), []byte(sender))
			}
		}
	}
	if complete == 0 {
		t.Errorf("no main mode that changed its port among %d frames", len(frames))
	}
}
