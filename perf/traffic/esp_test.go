package traffic

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"sallyport/crypto"
	"sallyport/perf/lab"
)

// referenceGateway has the pure-Go reference do what a gateway does with clear packets and with ESP, by one tunnel.
type referenceGateway struct {
	tunnel   *Tunnel
	out, in  *crypto.ESP
	sent     uint64
	failures []string
	change   func(esp []byte) // what it sends, nil: nothing
}

func newReferenceGateway(t *testing.T, tunnel *Tunnel) *referenceGateway {
	t.Helper()
	g := &referenceGateway{tunnel: tunnel}
	var err error
	if g.out, err = crypto.NewESP(tunnel.Suite, tunnel.FromGateway.SPI, tunnel.FromGateway.Key); err != nil {
		t.Fatal(err)
	}
	if g.in, err = crypto.NewESP(tunnel.Suite, tunnel.ToGateway.SPI, tunnel.ToGateway.Key); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *referenceGateway) fail(format string, args ...any) [][]byte {
	g.failures = append(g.failures, fmt.Sprintf(format, args...))
	return nil
}

func (g *referenceGateway) forward(from int, frame []byte) [][]byte {
	if from == protected {
		return g.protect(frame)
	}
	return g.unprotect(frame)
}

func (g *referenceGateway) protect(frame []byte) [][]byte {
	inner, next := frame[etherLen:], byte(4)
	if inner[0]>>4 == 6 {
		next = 41
	} else {
		inner = inner[:binary.BigEndian.Uint16(inner[2:])]
	}
	g.sent++
	esp, err := g.out.Seal(g.sent, nil, inner, next)
	if err != nil {
		return g.fail("%v", err)
	}
	if g.change != nil {
		g.change(esp)
	}
	turned := Tunnel{Gateway: g.tunnel.Peer, Peer: g.tunnel.Gateway, UDP: g.tunnel.UDP}
	outer := turned.outerHeader()
	packet := append(outer, esp...)
	ip := ipv4Len
	if packet[0]>>4 == 6 {
		ip = ipv6Len
		binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ip))
		binary.BigEndian.PutUint16(frame[12:], etherTypeIPv6)
	} else {
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
		binary.BigEndian.PutUint16(packet[10:], lab.HeaderChecksum(packet[:ip]))
		binary.BigEndian.PutUint16(frame[12:], etherTypeIPv4)
	}
	if g.tunnel.UDP {
		binary.BigEndian.PutUint16(packet[ip+4:], uint16(len(packet)-ip))
	}
	return [][]byte{append(frame[:etherLen:etherLen], packet...)}
}

func (g *referenceGateway) unprotect(frame []byte) [][]byte {
	packet := frame[etherLen:]
	header := g.tunnel.outerHeader()
	if packet[0]>>4 == 4 && (lab.OnesSum(0, packet[:ipv4Len]) != 0xffff || int(binary.BigEndian.Uint16(packet[2:])) != len(packet)) {
		return g.fail("outer header %x of %d octets", packet[:ipv4Len], len(packet))
	}
	if packet[0]>>4 == 6 && int(binary.BigEndian.Uint16(packet[4:])) != len(packet)-ipv6Len {
		return g.fail("outer header %x of %d octets", packet[:ipv6Len], len(packet))
	}
	if g.tunnel.UDP && int(binary.BigEndian.Uint16(packet[len(header)-4:])) != len(packet)-len(header)+udpLen {
		return g.fail("UDP header %x of %d octets", packet[len(header)-udpLen:][:udpLen], len(packet))
	}
	inner, next, _, err := g.in.Open(packet[len(header):], 0)
	if err != nil {
		return g.fail("%v", err)
	}
	kind := map[uint8]uint16{4: etherTypeIPv4, 41: etherTypeIPv6}[next]
	binary.BigEndian.PutUint16(frame[12:], kind)
	return [][]byte{pad(append(frame[:etherLen:etherLen], inner...))}
}

// keyOf is key material for the suite, other for each name.
func keyOf(s crypto.Suite, name string) crypto.Secret {
	var b []byte
	for i := 0; len(b) < s.KeymatLen(); i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", name, i))
		b = append(b, sum[:]...)
	}
	return crypto.NewSecret(b[:s.KeymatLen()])
}

func testTunnel(s crypto.Suite, inner6, outer6, udp bool) Tunnel {
	t := Tunnel{Name: "peer", Near: near4, Far: far4, Gateway: netip.MustParseAddr("192.0.2.9"), Peer: netip.MustParseAddr("192.0.2.2"), UDP: udp, Suite: s,
		ToGateway: SA{SPI: 0x1001, Key: keyOf(s, "to")}, FromGateway: SA{SPI: 0x2001, Key: keyOf(s, "from")}}
	if inner6 {
		t.Near, t.Far = near6, far6
	}
	if outer6 {
		t.Gateway, t.Peer = netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8::2")
	}
	return t
}

// referenceGateways have a tunnel each, told apart by the third octet of its hosts' addresses and by its SPI.
type referenceGateways []*referenceGateway

func (all referenceGateways) forward(from int, frame []byte) [][]byte {
	if from == protected {
		return all[frame[etherLen+14]].protect(frame)
	}
	return all[frame[etherLen+ipv4Len+3]].unprotect(frame)
}

// What the tester encrypts the reference decrypts, and the other way round: every suite that libIPSec_MB has, side by side in one burst, and lengths with each padding.
func TestESPWithTheReference(t *testing.T) {
	p := newPath(t)
	config := p.config(both(Stream{Sizes: Sizes{64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 594, 1400}, Rate: Rate{Packets: 20000}})...)
	config.Tunnels = nil
	var gateways referenceGateways
	for _, s := range crypto.Suites() {
		if s.KeyBits == 192 && strings.Contains(s.String(), "ccm") {
			continue // the library does not have them
		}
		i := len(config.Tunnels)
		tunnel := testTunnel(s, false, false, false)
		tunnel.Name = s.String()
		tunnel.Near, tunnel.Far = netip.MustParsePrefix(fmt.Sprintf("10.1.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("10.2.%d.0/24", i))
		tunnel.ToGateway.SPI, tunnel.FromGateway.SPI = uint32(0x1000+i), uint32(0x2000+i)
		config.Tunnels, gateways = append(config.Tunnels, tunnel), append(gateways, newReferenceGateway(t, &tunnel))
	}
	for i := range config.Streams {
		config.Streams[i].Flows = len(config.Tunnels)
	}
	p.meddle = gateways.forward
	p.start(t)
	packets := uint64(20 * len(config.Tunnels))
	r := p.trial(t, config, Load{Packets: packets})
	p.stop()
	for _, s := range r.Streams {
		want(t, "sent", s.Sent, packets)
		want(t, "received", s.Received, packets)
	}
	for _, g := range gateways {
		if len(g.failures) > 0 {
			t.Errorf("%s: the reference: %q", g.tunnel.Name, g.failures)
		}
		want(t, g.tunnel.Name, g.sent, 20)
	}
	if r.Verdict != Forwards {
		t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
	}
}

// Each form of the headers inside and outside.
func TestESPForms(t *testing.T) {
	for form := range 8 {
		inner6, outer6, udp := form&1 != 0, form&2 != 0, form&4 != 0
		t.Run(fmt.Sprintf("inner6=%v outer6=%v udp=%v", inner6, outer6, udp), func(t *testing.T) {
			p := newPath(t)
			suite, err := crypto.ParseSuite("aes128gcm16")
			if err != nil {
				t.Fatal(err)
			}
			tunnel := testTunnel(suite, inner6, outer6, udp)
			g := newReferenceGateway(t, &tunnel)
			p.meddle = g.forward
			p.start(t)
			config := p.config(both(Stream{Flows: 3, Sizes: Sizes{84, 1400}, Rate: Rate{Packets: 10000}})...)
			config.Tunnels = []Tunnel{tunnel}
			r := p.trial(t, config, Load{Packets: 100})
			p.stop()
			for _, stream := range r.Streams {
				want(t, "sent", stream.Sent, 100)
				want(t, "received", stream.Received, 100)
				want(t, "octets", stream.Octets, 50*84+50*1400)
			}
			if r.Verdict != Forwards || len(g.failures) > 0 {
				t.Errorf("verdict %s, %q; the reference: %q", r.Verdict, r.Findings, g.failures)
			}
		})
	}
}

// What is wrong with the ESP of a gateway is counted as what it is.
func TestESPFaults(t *testing.T) {
	suite, err := crypto.ParseSuite("aes256-sha256")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		verdict Verdict
		count   func(*PortResult) uint64
		prepare func(*referenceGateway, *path)
	}{
		{"integrity", Unreadable, func(p *PortResult) uint64 { return p.Integrity }, func(g *referenceGateway, _ *path) {
			g.change = func(esp []byte) { esp[g.sent%uint64(len(esp)-4)+4] ^= 4 } // anywhere behind the SPI
		}},
		{"SPI", Unreadable, func(p *PortResult) uint64 { return p.UnknownSPI }, func(g *referenceGateway, _ *path) {
			g.change = func(esp []byte) { esp[1] ^= 4 }
		}},
		{"cleartext", Leaks, func(p *PortResult) uint64 { return p.Cleartext }, func(_ *referenceGateway, p *path) {
			p.meddle = nil
		}},
		{"other address", OtherAddress, func(p *PortResult) uint64 { return p.OtherAddress }, func(g *referenceGateway, _ *path) {
			g.tunnel.Gateway = g.tunnel.Gateway.Next()
		}},
		{"reflected", Reflects, func(p *PortResult) uint64 { return p.Reflected }, func(g *referenceGateway, p *path) {
			p.meddle = func(from int, frame []byte) [][]byte { // the peer's own SPI comes back
				frames := g.forward(from, frame)
				binary.BigEndian.PutUint32(frames[0][etherLen+ipv4Len:], g.tunnel.ToGateway.SPI)
				return frames
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath(t)
			tunnel := testTunnel(suite, false, false, false)
			config := p.config(Stream{Direction: Outbound, Rate: Rate{Packets: 10000}})
			config.Tunnels = []Tunnel{tunnel}
			g := newReferenceGateway(t, &tunnel)
			p.meddle = g.forward
			c.prepare(g, p)
			p.start(t)
			r := p.trial(t, config, Load{Packets: 300})
			want(t, c.name, c.count(&r.Ports[unprotected]), 300)
			want(t, "received", r.Streams[0].Received, 0)
			if r.Verdict != c.verdict {
				t.Errorf("verdict %s, %q; want %s", r.Verdict, r.Findings, c.verdict)
			}
		})
	}
}

// An SA has 2^32 - 1 numbers: the last one leaves, and then the stream ends.
func TestESPNumbersEnd(t *testing.T) {
	suite, err := crypto.ParseSuite("aes128gcm16")
	if err != nil {
		t.Fatal(err)
	}
	p := newPath(t)
	tunnel := testTunnel(suite, false, false, false)
	g := newReferenceGateway(t, &tunnel)
	p.meddle = g.forward
	p.start(t)
	config := p.config(Stream{Direction: Inbound, Rate: Rate{Packets: 10000}})
	config.Tunnels = []Tunnel{tunnel}
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	tester.setNumber(0, math.MaxUint32-100)
	if _, err := tester.Trial(t.Context(), Load{Packets: 101}); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("%v, want 100 as the most packets", err)
	}
	r, err := tester.Trial(t.Context(), Load{Packets: 90})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "received", r.Streams[0].Received, 90)
	tester.config.Streams[0].Rate = Rate{} // which says not how many
	if r, err = tester.Trial(t.Context(), Load{}); err != nil {
		t.Fatal(err)
	}
	s := r.Streams[0]
	want(t, "sent with the last numbers", s.Sent, 10)
	want(t, "received", s.Received, 10)
	if !s.Exhausted {
		t.Error("the SA is not said to be used up")
	}
}
