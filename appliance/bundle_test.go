package appliance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sallyport/appliance/api"
)

// bundling is a site that speaks IKEv1 and protects by AH around ESP.
func bundling(site string) string {
	return strings.NewReplacer("auth: {psk_file: peer.psk}, ike_proposals: [aes128gcm16-prfsha256-ecp256]", "ike: v1, auth: {psk_file: peer.psk}",
		"esp_proposals: [aes128gcm16]", "esp_proposals: [aes128gcm16-ecp256], ah_proposals: [sha256], bundle: true").Replace(site) + "# keylog\n"
}

// TestBundle brings up AH around ESP between two gateways by IKEv1: a packet each way is IP, AH, ESP on the wire, views, events and key files name both
// protocols, each with SPIs of its own, and a rekey renews both.
// S-096: scapy, with the keys of the key log, finds AH's check good and the packet in ESP; a packet whose outer source is changed is dropped, as is one whose identification or ESP is; one whose TTL has changed is not.
func TestBundle(t *testing.T) {
	r := newRig(t, bundling(siteA()), bundling(siteB()))
	a, b := r.gateways[0], r.gateways[1]
	r.awaitChildren("nets")
	for round := range 2 {
		want := round + 1
		r.send(a, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to b")
		r.send(b, rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "to a")
		eventually(t, "both packets to arrive", func() bool { return len(r.received(a)) == want && len(r.received(b)) == want })
		if round == 1 {
			break
		}
		outcomes, err := a.api.Act(t.Context(), api.PathRekey, api.Action{Name: "nets", Wait: 20})
		if err != nil || len(outcomes) != 1 || outcomes[0].Result != api.ResultRekeyed {
			t.Fatalf("rekey: %+v, error %v", outcomes, err)
		}
	}
	spis := map[string]bool{}
	for _, g := range r.gateways {
		g.showsBundle(r, spis)
		g.logsBundle(t)
	}
	if len(spis) != 4 {
		t.Errorf("the two gateways show SPIs %v, expected two each way, the same at both", spis)
	}
	wire := r.protected()
	if len(wire) != 4 {
		t.Fatalf("%d packets on the wire beside IKE's, expected 4", len(wire))
	}
	for i, packet := range wire {
		if packet[9] != protoAH || packet[20] != protoESP {
			t.Errorf("packet %d on the wire is of protocol %d with %d next, expected AH (51) and ESP (50)", i, packet[9], packet[20])
		}
	}
	path := a.loaded.KeyLog + espTable
	if opened, err := openedByScapy(t, path, wire); err != nil || strings.Count(opened, "IP AH ESP 10.1.0.7 10.2.0.7 to b\n") != 2 || strings.Count(opened, "IP AH ESP 10.2.0.7 10.1.0.7 to a\n") != 2 {
		t.Errorf("scapy finds, with the keys of the key log,\n%s\nerror %v", opened, err)
	}
	for name, at := range map[string]int{"the outer source": 15, "an octet of ESP": 60} {
		forged := bytes.Clone(wire[0])
		forged[at] ^= 8
		if opened, err := openedByScapy(t, path, [][]byte{forged}); err == nil || !strings.Contains(opened, "IPSecIntegrityError") {
			t.Errorf("scapy takes a packet with %s changed: %s", name, opened)
		}
	}
	r.tamper()
}

// openedByScapy has scapy check and open packets with the keys of a key file.
func openedByScapy(t *testing.T, keys string, packets [][]byte) (string, error) {
	t.Helper()
	var lines strings.Builder
	for _, packet := range packets {
		fmt.Fprintf(&lines, "%x\n", packet)
	}
	command := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/bundle.py", keys) // Debian's, which has scapy
	command.Stdin = strings.NewReader(lines.String())
	out, err := command.CombinedOutput()
	return string(out), err
}

// protected are the packets on the wire that carry others.
func (r *rig) protected() (packets [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol != protoUDP {
			packets = append(packets, p.packet)
		}
	}
	return packets
}

// showsBundle checks what a gateway tells of its SAs in force, and collects their SPIs.
func (g *rigGateway) showsBundle(r *rig, spis map[string]bool) {
	r.t.Helper()
	var told []string // SPIs of the newest pair, as its event has them
	if err := g.api.Follow(r.t.Context(), api.PathEvents, nil, func(e api.Event) error {
		if e.Kind == "child_rekeyed" {
			told = []string{e.AHSPIIn, e.SPIIn, e.AHSPIOut, e.SPIOut}
			if e.Version != 1 || e.Suite != "AH by sha256 around aes128gcm16-ecp256" {
				r.t.Errorf("%s: event %+v", g.cfg.Name, e)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	for _, sa := range get[[]api.SA](r, g, api.PathSAs) {
		if !slices.Contains(told, sa.SPI) {
			continue // the former pair takes what is on its way
		}
		if sa.Version != 1 || sa.Protocol != "esp-in-ah" || sa.Suite != "aes128gcm16" || sa.AHSuite != "sha256" || !slices.Contains(told, sa.AHSPI) || sa.Peer != "far" || sa.RekeyAt.IsZero() {
			r.t.Errorf("%s shows %+v; its event has SPIs %v", g.cfg.Name, sa, told)
		}
	}
	if len(slices.Compact(slices.Sorted(slices.Values(told)))) != 4 {
		r.t.Errorf("%s tells of SPIs %v, expected two of AH and two of ESP", g.cfg.Name, told)
	}
	for _, spi := range told {
		spis[spi] = true
	}
}

// logsBundle waits until the key file has both protocols of both pairs each way: the end that has begun a rekey sends by the new pair when it has heard by it.
func (g *rigGateway) logsBundle(t *testing.T) {
	t.Helper()
	for protocol, line := range map[string]*regexp.Regexp{
		"ESP": regexp.MustCompile(`(?m)^"IPv4","192\.0\.2\.[12]","192\.0\.2\.[12]","0x[0-9a-f]{8}","AES-GCM with 16 octet ICV \[RFC4106\]","0x[0-9a-f]{40}","NULL",""$`),
		"AH":  regexp.MustCompile(`(?m)^# AH: "IPv4","192\.0\.2\.[12]","192\.0\.2\.[12]","0x[0-9a-f]{8}","NULL","","HMAC-SHA-256-128 \[RFC4868\]","0x[0-9a-f]{64}"$`),
	} {
		eventually(t, g.cfg.Name+" to have logged the keys of "+protocol, func() bool {
			text, err := os.ReadFile(g.loaded.KeyLog + espTable)
			return err == nil && len(line.FindAll(text, -1)) == 4
		})
	}
}

// tamper has b get a packet of a's that it has not seen with something changed on the way that AH covers, and at the end with what it does not cover.
func (r *rig) tamper() {
	r.t.Helper()
	a, b := r.gateways[0], r.gateways[1]
	r.block(func(p packetView) bool { return p.protocol == protoAH })
	before := len(r.protected())
	r.send(a, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "held")
	eventually(r.t, "a packet to be caught", func() bool { return len(r.protected()) > before })
	packet := r.protected()[before]
	failed := func() uint64 { return b.plane.Counters().Ports[rigWAN].Drops["auth_failed"] }
	for i, change := range []func(p []byte){
		func(p []byte) { p[15] ^= 8 },       // source: 192.0.2.9
		func(p []byte) { p[5]++ },           // identification
		func(p []byte) { p[len(p)-1] ^= 1 }, // ESP's ICV
	} {
		forged := bytes.Clone(packet)
		change(forged)
		r.replay(b, forged)
		eventually(r.t, fmt.Sprintf("change %d to be found", i+1), func() bool { return failed() == uint64(i+1) })
	}
	r.replay(b, packet)
	eventually(r.t, "the packet that routers alone have changed to arrive", func() bool { return len(r.received(b)) == 3 })
}

// replay has a packet come to a gateway's second port, one hop on.
func (r *rig) replay(g *rigGateway, packet []byte) {
	packet = bytes.Clone(packet)
	packet[8]--
	packet[10], packet[11] = 0, 0
	binary.BigEndian.PutUint16(packet[10:], internetChecksum(packet[:20]))
	frame := slices.Concat(g.ports[rigWAN].mac, hostMAC, []byte{etherIPv4 >> 8, etherIPv4 & 0xff}, packet)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, injection{g, rigWAN, frame})
}
