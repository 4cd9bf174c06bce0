package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/pipeline"
	"sallyport/policy"
)

// byHand is a site with one SA of its own keys and a policy with it; sa is what
// its text has of the SA's own keys.
func byHand(name, lan, wan, peer, here, there, sa string) string {
	text := head(name, lan, wan, peer, "on-demand")
	return text[:strings.Index(text, "peers:")] + fmt.Sprintf(`lab: true
sas:
  - name: by-hand
    local: %s
    remote: %s
%s
filter_lists:
  - {name: nets, updated: 2026-11-21, filters: [{source: %s, destination: %s}]}
filter_actions:
  - {name: protect, action: negotiate}
policies:
  - name: lab
    rules: [{name: nets, filter_list: nets, filter_action: protect, sa: by-hand}]
active_policy: lab
`, wan, peer, sa, here, there)
}

// handPair is two sites whose SAs fit each other. What both have of the SA is in
// common; the keys have as many octets as its algorithm needs.
func handPair(common string, keyLength int, spiA, spiB uint32) (a, b string) {
	keys := func(in, out uint32) string {
		return fmt.Sprintf("    spi_in: %#x\n    spi_out: %#x\n    key_in: %s\n    key_out: %s\n%s", in, out, hexKey(in, keyLength), hexKey(out, keyLength), common)
	}
	return byHand("gw-a", "10.1.0.1/24", "192.0.2.1", "192.0.2.2", "10.1.0.0/24", "10.2.0.0/24", keys(spiA, spiB)),
		byHand("gw-b", "10.2.0.1/24", "192.0.2.2", "192.0.2.1", "10.2.0.0/24", "10.1.0.0/24", keys(spiB, spiA))
}

// hexKey is a key that differs for every SPI.
func hexKey(spi uint32, length int) string {
	return strings.Repeat(fmt.Sprintf("%02x", spi>>8&0xff|spi&0xff), length)
}

// espSPIs are the SPIs of the ESP packets on the wire, in order.
func (r *rig) espSPIs() (spis []uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol == protoESP {
			spis = append(spis, p.spi)
		}
	}
	return spis
}

// Two gateways with keys of the operator's protect each other's packets without
// IKE, in the SPIs of their files; what they show says so, without a key.
// S-063
func TestManualSAs(t *testing.T) {
	for _, test := range []struct {
		algorithm string
		octets    int
	}{{"aes128gcm16", 20}, {"aes256-sha256", 64}} {
		t.Run(test.algorithm, func(t *testing.T) {
			a, b := handPair("    algorithm: "+test.algorithm, test.octets, 0x1101, 0x2202)
			r := newRig(t, a, b)
			ga, gb := r.gateways[0], r.gateways[1]
			r.awaitChildren("nets")
			r.send(ga, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to b")
			eventually(t, "the packet to arrive", func() bool { return len(r.received(gb)) == 1 })
			r.send(gb, rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "to a")
			eventually(t, "its answer to arrive", func() bool { return len(r.received(ga)) == 1 })
			if spis := r.espSPIs(); len(spis) != 2 || spis[0] != 0x2202 || spis[1] != 0x1101 {
				t.Errorf("SPIs on the wire %x", spis)
			}
			r.mu.Lock()
			for _, p := range r.wire {
				if p.protocol != protoESP {
					t.Errorf("protocol %d on the wire", p.protocol)
				}
			}
			r.mu.Unlock()
			sad := get[api.SAD](r, ga, api.PathSAD)
			if len(sad.MainMode) != 0 || len(sad.QuickMode) != 2 || len(sad.Manual) != 1 || sad.Manual[0] != (api.ManualSA{Name: "by-hand", Rule: "nets", State: "up"}) {
				t.Fatalf("SAD %+v", sad)
			}
			if in, out := sad.QuickMode[0], sad.QuickMode[1]; in.Manual != "by-hand" || in.Direction == out.Direction || in.SPI == out.SPI || in.Suite != test.algorithm || in.Mode != "tunnel" {
				t.Errorf("SAs %+v", sad.QuickMode)
			}
			valid(t, "sa", "manual SAs", raw(ga, http.MethodGet, api.PathSAD, nil))
			for _, g := range r.gateways {
				if strings.Contains(g.logs.String(), hexKey(0x1101, 8)) || strings.Contains(g.logs.String(), hexKey(0x2202, 8)) {
					t.Errorf("%s logs a key", g.cfg.Name)
				}
			}
		})
	}
}

// One negotiation makes two SAs, one for each direction, and every packet has the SPI of the one that it goes by.
// S-063
func TestNegotiatedSAs(t *testing.T) {
	r := newRig(t, siteA(), siteB())
	ga, gb := r.gateways[0], r.gateways[1]
	r.awaitChildren("nets")
	for range 3 {
		r.send(ga, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to b")
	}
	eventually(t, "the packets to arrive", func() bool { return len(r.received(gb)) == 3 })
	var in [2]string
	for i, g := range r.gateways {
		sas := get[api.SAD](r, g, api.PathSAD).QuickMode
		if len(sas) != 2 || sas[0].Direction == sas[1].Direction || sas[0].SPI == sas[1].SPI {
			t.Fatalf("SAs of %s: %+v", g.cfg.Name, sas)
		}
		for _, sa := range sas {
			if sa.Direction == "inbound" {
				in[i] = sa.SPI
			}
		}
	}
	for _, spi := range r.espSPIs() {
		if fmt.Sprintf("%#08x", spi) != in[1] {
			t.Errorf("SPI %#08x on the wire, want that of b's inbound SA, %s", spi, in[1])
		}
	}
}

// An SA of keys of the operator's in UDP receives although no rule needs IKE, which
// alone would open its port. What shows it says what its AH SA or its dummy packets are.
// S-091
func TestManualSAsInUDP(t *testing.T) {
	a, b := handPair("    algorithm: aes128gcm16\n    udp: {}\n    encapsulation: {dummy_interval: 20ms}\n", 20, 0x1101, 0x2202)
	r := newRig(t, a, b)
	ga, gb := r.gateways[0], r.gateways[1]
	r.awaitChildren("nets")
	if ga.running().spd.NeedsIKE {
		t.Fatal("the policy needs IKE: the test shows nothing")
	}
	r.send(ga, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", "to b")
	eventually(t, "the packet to arrive", func() bool { return len(r.received(gb)) == 1 })
	r.send(gb, rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "to a")
	eventually(t, "its answer to arrive", func() bool { return len(r.received(ga)) == 1 })
	eventually(t, "dummy packets to be sent and to be thrown away", func() bool {
		sent, dropped := uint64(0), gb.plane.Counters().Ports[rigWAN].Drops["dummy"]
		for _, sa := range get[api.SAD](r, ga, api.PathSAD).QuickMode {
			sent += sa.Dummies
		}
		return sent > 1 && dropped > 1
	})
	valid(t, "sa", "manual SAs in UDP", raw(ga, http.MethodGet, api.PathSAD, nil))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.wire {
		if p.protocol != protoUDP {
			t.Errorf("protocol %d on the wire", p.protocol)
		}
	}
}

// A bundle is shown with the SPI of its AH SA, and an SA with what it may carry.
func TestSAViewOfABundle(t *testing.T) {
	suite, err := crypto.ParseAHSuite("sha256")
	if err != nil {
		t.Fatal(err)
	}
	counted := []pipeline.SACounters{{SPI: 0x1101, Around: suite, AroundSPI: 0x1102, Packets: 7, Hard: pipeline.Lifetime{Packets: 100}, Soft: pipeline.Lifetime{Bytes: 5000}}}
	sa := sasView(counted, nil, nil, nil)[0]
	if sa.AHSPI != "0x00001102" || sa.Protocol != "esp-in-ah" || sa.Lifetime == nil || *sa.Lifetime != (api.Lifetime{HardPackets: 100, SoftBytes: 5000}) {
		t.Errorf("%+v", sa)
	}
}

// A change replaces the SAs that it changes, takes those away that it has no more,
// leaves the others, and says so before.
func TestManualSAsChange(t *testing.T) {
	a, b := handPair("    algorithm: aes128gcm16", 20, 0x1101, 0x2202)
	r := newRig(t, a, b)
	ga := r.gateways[0]
	r.awaitChildren("nets")
	text := string(ga.running().text)
	same := r.change(ga, api.PathApply, api.Apply{Text: strings.Replace(text, "state_dir:", "# a comment\nstate_dir:", 1)})
	if len(same.Ended) != 0 || len(same.Kept) != 1 || same.Kept[0] != "by-hand/nets" {
		t.Errorf("change of nothing: %+v", same)
	}
	rekeyed := strings.Replace(text, hexKey(0x1101, 20), hexKey(0x0703, 20), 1)
	for _, dry := range []bool{true, false} {
		change := r.change(ga, api.PathApply, api.Apply{Text: rekeyed, DryRun: dry})
		if len(change.Ended) != 1 || change.Ended[0].Peer != "by-hand" || change.Ended[0].Child != "nets" || !strings.Contains(change.Ended[0].Why, "replaced") {
			t.Errorf("change of a key, dry run %v: %+v", dry, change)
		}
	}
	up := func() bool {
		sad := get[api.SAD](r, ga, api.PathSAD)
		return len(sad.QuickMode) == 2 && len(sad.Manual) == 1 && sad.Manual[0].State == "up"
	}
	eventually(t, "the SA of the same SPI and another key to come up", up) // once no worker uses the former one
	r.send(r.gateways[1], rigLAN, "10.2.0.7:2000", "10.1.0.7:1000", "by the former key")
	eventually(t, "the packet to be refused", func() bool { return ga.plane.Counters().Ports[rigWAN].Drops["auth_failed"] == 1 })
	if gone := r.change(ga, api.PathPurge, api.Purge{}); len(gone.Ended) != 1 {
		t.Errorf("purge: %+v", gone)
	}
	if sad := get[api.SAD](r, ga, api.PathSAD); len(sad.QuickMode)+len(sad.Manual) != 0 {
		t.Errorf("after a purge: %+v", sad)
	}
	r.change(ga, api.PathRollback, api.Rollback{})
	eventually(t, "the SA to be back", up)
}

// A rule by another name takes the SA over, and the room of its tunnel comes back once no worker is in it any more.
func TestManualSAOfARenamedRule(t *testing.T) {
	a, b := handPair("    algorithm: aes128gcm16", 20, 0x1101, 0x2202)
	r := newRig(t, strings.Replace(a, "idle: sleep}", "idle: sleep, max_tunnels: 2}", 1), b)
	ga := r.gateways[0]
	r.awaitChildren("nets")
	was := "{name: nets, filter_list"
	for i := range 4 { // more than there is room for
		is := fmt.Sprintf("{name: nets-%d, filter_list", i)
		text := strings.Replace(string(ga.running().text), was, is, 1)
		eventually(t, "room for the tunnel of the renamed rule", func() bool {
			_, err := ga.api.Change(t.Context(), api.PathApply, api.Apply{Text: text})
			return err == nil
		})
		was = is
	}
}

// What the data plane refuses is down, with the reason, and nothing of it stays; what
// waits for its SPI is tried again.
func TestManualSAThatIsRefused(t *testing.T) {
	var told bytes.Buffer
	plane := newMemoryPlane("192.0.2.1", 0x1000)
	cells := newCellBook(plane)
	book := newManualBook(plane, &cells, slog.New(slog.NewTextHandler(&told, nil)))
	if _, err := cells.claim([]string{"nets"}); err != nil {
		t.Fatal(err)
	}
	sa := &config.ManualSA{Name: "by-hand", Protocol: crypto.ProtocolESP, Layer: config.Layer{SPIIn: 0x1101, SPIOut: 0x2202, KeyIn: crypto.NewSecret([]byte("in")), KeyOut: crypto.NewSecret([]byte("out"))},
		AH: &config.Layer{SPIIn: 0x1102, SPIOut: 0x2203}, Local: netip.MustParseAddrPort("192.0.2.1:0"), Remote: netip.MustParseAddrPort("192.0.2.2:0"), Encapsulation: config.DefaultEncapsulation()}
	wanted := []config.ManualTunnel{{Rule: "nets", SA: sa, Selectors: []policy.Selector{{}}}}
	adopt := func(want []config.ManualTunnel) {
		t.Helper()
		if err := book.adopt(want); err != nil {
			t.Fatal(err)
		}
	}

	plane.refuse = errors.New("no such algorithm here")
	adopt(wanted)
	if states := book.states(); len(states) != 1 || states[0].State != "down" || states[0].Why != "no such algorithm here" || book.waiting() {
		t.Errorf("states %+v", states)
	}
	if len(plane.reserved)+len(plane.inbound)+len(plane.outbound)+cells.cells["nets"].sas != 0 {
		t.Errorf("left behind: %+v", plane)
	}
	adopt(nil)

	plane.reserved[0x1102] = true
	adopt(wanted)
	if states := book.states(); states[0].State != "down" || states[0].Why != pipeline.ErrSPITaken.Error() || !book.waiting() || plane.reserved[0x1101] {
		t.Errorf("states %+v, reserved %v", states, plane.reserved)
	}
	book.retry()
	if n := strings.Count(told.String(), "manual SA is down") + strings.Count(told.String(), "manual SA waits"); n != 2 {
		t.Errorf("%d lines on it, expected one for each reason:\n%s", n, told.String())
	}
	delete(plane.reserved, 0x1102)
	book.retry()
	if states := book.states(); states[0] != (api.ManualSA{Name: "by-hand", Rule: "nets", State: "up"}) || book.waiting() {
		t.Errorf("states %+v", states)
	}
	in, out := plane.inbound[0x1101], plane.outbound[firstCell]
	if in.AH == nil || in.AH.SPI != 0x1102 || out.SPI != 0x2202 || out.AH.SPI != 0x2203 || in.Cell != firstCell || string(out.Keymat.Bytes()) != "out" {
		t.Errorf("inbound %+v, outbound %+v", in, out)
	}
	adopt(nil)
	if len(plane.inbound)+len(plane.outbound)+cells.cells["nets"].sas != 0 {
		t.Errorf("left behind: %+v", plane)
	}
}

// An SA that has sent its last number is down, and says what to do.
// S-080
func TestManualSAIsSpent(t *testing.T) {
	a, b := handPair("    algorithm: aes128gcm16\n    sequence: 4294967294", 20, 0x1101, 0x2202)
	r := newRig(t, a, b)
	ga := r.gateways[0]
	r.awaitChildren("nets")
	for i := range 4 {
		r.send(ga, rigLAN, "10.1.0.7:1000", "10.2.0.7:2000", fmt.Sprint("number ", i))
	}
	eventually(t, "the SA to be down", func() bool {
		sad := get[api.SAD](r, ga, api.PathSAD)
		return len(sad.Manual) == 1 && sad.Manual[0].State == "down" && strings.Contains(sad.Manual[0].Why, "give it another key")
	})
}

// A change that leaves a key as it is does not send a number by it again: not with
// another encapsulation, not after a time without the SA, and not once they have run out.
func TestManualSAGoesOn(t *testing.T) {
	plane := newMemoryPlane("192.0.2.1", 0x1000)
	cells := newCellBook(plane)
	book := newManualBook(plane, &cells, slog.New(slog.DiscardHandler))
	if _, err := cells.claim([]string{"nets"}); err != nil {
		t.Fatal(err)
	}
	adopt := func(key string, sequence uint64, ttl uint8) pipeline.ChildSA {
		t.Helper()
		sa := &config.ManualSA{Name: "by-hand", Protocol: crypto.ProtocolESP, Sequence: sequence, Encapsulation: config.DefaultEncapsulation(),
			Layer: config.Layer{SPIIn: 0x1101, SPIOut: 0x2202, KeyIn: crypto.NewSecret([]byte("in")), KeyOut: crypto.NewSecret([]byte(key))}}
		sa.Encapsulation.TTL = ttl
		if err := book.adopt([]config.ManualTunnel{{Rule: "nets", SA: sa, Selectors: []policy.Selector{{}}}}); err != nil {
			t.Fatal(err)
		}
		return plane.outbound[firstCell]
	}
	for _, step := range []struct {
		key      string
		sequence uint64
		ttl      uint8
		want     uint64
	}{
		{"one", 1, 64, 1},
		{"one", 1, 63, memoryPlaneSends + 1},
		{"two", 1, 63, 1},
		{"one", 1, 63, 2*memoryPlaneSends + 1},
		{"one", 9 * memoryPlaneSends, 63, 9 * memoryPlaneSends},
		{"three", 1<<32 - memoryPlaneSends, 64, 1<<32 - memoryPlaneSends},
	} {
		if sa := adopt(step.key, step.sequence, step.ttl); sa.FirstSequence != step.want {
			t.Errorf("key %s, sequence %d: starts at %d, want %d", step.key, step.sequence, sa.FirstSequence, step.want)
		}
	}
	if sa := adopt("three", 1, 63); sa.SPI != 0 {
		t.Errorf("an SA without a number left starts at %d", sa.FirstSequence)
	}
	if states := book.states(); states[0].State != "down" || !strings.Contains(states[0].Why, "no sequence numbers left") {
		t.Errorf("states %+v", states)
	}
}
