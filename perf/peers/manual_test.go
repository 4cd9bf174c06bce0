package peers

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/perf/lab"
)

// Octets of headers, and numbers of IP protocols.
const (
	ethernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40
	udpLen      = 8

	protoICMP   = 1
	protoIPv4   = 4
	protoUDP    = 17
	protoIPv6   = 41
	protoESP    = 50
	protoAH     = 51
	protoICMPv6 = 58
)

// checksum is that of RFC 1071, over what sum has already.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// ipPacket is a packet without options.
func ipPacket(source, destination netip.Addr, protocol byte, payload []byte) []byte {
	if source.Is6() {
		packet := []byte{0x60, 0, 0, 0, 0, 0, protocol, 64}
		binary.BigEndian.PutUint16(packet[4:], uint16(len(payload)))
		return slices.Concat(packet, source.AsSlice(), destination.AsSlice(), payload)
	}
	packet := slices.Concat([]byte{0x45, 0, 0, 0, 0x5a, 0x11, 0, 0, 64, protocol, 0, 0}, source.AsSlice(), destination.AsSlice(), payload)
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	binary.BigEndian.PutUint16(packet[10:], checksum(0, packet[:ipv4Len]))
	return packet
}

// ipPayload takes a packet without options apart.
func ipPayload(packet []byte) (source, destination netip.Addr, protocol byte, payload []byte, err error) {
	switch {
	case len(packet) >= ipv4Len && packet[0] == 0x45:
		length := int(binary.BigEndian.Uint16(packet[2:]))
		if length < ipv4Len || length > len(packet) {
			return source, destination, 0, nil, fmt.Errorf("IPv4 length %d of %d octets", length, len(packet))
		}
		return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), packet[9], packet[ipv4Len:length], nil
	case len(packet) >= ipv6Len && packet[0]>>4 == 6:
		length := ipv6Len + int(binary.BigEndian.Uint16(packet[4:]))
		if length > len(packet) {
			return source, destination, 0, nil, fmt.Errorf("IPv6 length %d of %d octets", length, len(packet))
		}
		return netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40])), packet[6], packet[ipv6Len:length], nil
	}
	return source, destination, 0, nil, fmt.Errorf("neither IPv4 without options nor IPv6: % x", packet[:min(len(packet), ipv6Len)])
}

// pseudoHeader is what a checksum in IPv6 begins with (RFC 8200 section 8.1).
func pseudoHeader(source, destination netip.Addr, protocol byte, length int) uint32 {
	b := slices.Concat(source.AsSlice(), destination.AsSlice(), []byte{0, 0, byte(length >> 8), byte(length), 0, 0, 0, protocol})
	return uint32(^checksum(0, b))
}

// echoRequest is a packet with an echo request of size octets of data.
func echoRequest(source, destination netip.Addr, sequence uint16, size int) []byte {
	icmp := make([]byte, 8+size)
	binary.BigEndian.PutUint16(icmp[4:], 0x5a11)
	binary.BigEndian.PutUint16(icmp[6:], sequence)
	for i := range size {
		icmp[8+i] = byte(i * 7)
	}
	if source.Is4() {
		icmp[0] = 8
		binary.BigEndian.PutUint16(icmp[2:], checksum(0, icmp))
		return ipPacket(source, destination, protoICMP, icmp)
	}
	icmp[0] = 128 // RFC 4443 section 4.1
	binary.BigEndian.PutUint16(icmp[2:], checksum(pseudoHeader(source, destination, protoICMPv6, len(icmp)), icmp))
	return ipPacket(source, destination, protoICMPv6, icmp)
}

// reference is the crypto package's other end of a guest's tunnel.
type reference struct {
	tunnel ManualTunnel
	esp    [2]*crypto.ESP // to the guest, from the guest; nil without ESP
	ah     [2]*crypto.AH
}

func newReference(t *testing.T, m ManualTunnel) reference {
	t.Helper()
	r := reference{tunnel: m}
	for _, layer := range m.Layers {
		for i, sa := range []ManualSA{layer.In, layer.Out} {
			var err error
			if layer.Suite.AH() {
				r.ah[i], err = crypto.NewAH(layer.Suite, sa.SPI, sa.Keymat, crypto.WithESN(m.ESN))
			} else {
				r.esp[i], err = crypto.NewESP(layer.Suite, sa.SPI, sa.Keymat, crypto.WithESN(m.ESN))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// protect makes the packet for the guest out of one between the hosts (RFC 4303 section 3.1).
func (r reference) protect(inner []byte, sequence uint64) ([]byte, error) {
	source, destination, protocol, payload, err := ipPayload(inner)
	if err != nil {
		return nil, err
	}
	if !r.tunnel.Transport {
		source, destination, payload = r.tunnel.Remote, r.tunnel.Local, inner
		if protocol = protoIPv4; inner[0]>>4 == 6 {
			protocol = protoIPv6
		}
	}
	if r.esp[0] != nil {
		if payload, err = r.esp[0].Seal(sequence, nil, payload, protocol); err != nil {
			return nil, err
		}
		protocol = protoESP
	}
	if r.tunnel.UDP {
		header := []byte{nattPort >> 8, nattPort & 0xff, nattPort >> 8, nattPort & 0xff, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(header[4:], uint16(udpLen+len(payload)))
		payload, protocol = append(header, payload...), protoUDP
		if source.Is6() { // IPv4: RFC 3948 section 2.1 wants 0
			binary.BigEndian.PutUint16(payload[6:], checksum(pseudoHeader(source, destination, protoUDP, len(payload)), payload))
		}
	}
	packet := ipPacket(source, destination, protocol, payload)
	if r.ah[0] != nil {
		return r.ah[0].Protect(packet, sequence)
	}
	return packet, nil
}

// open takes the packet between the hosts out of one that the guest sent.
func (r reference) open(packet []byte, sequence uint64) ([]byte, error) {
	high := uint32(sequence >> 32)
	if r.ah[1] != nil {
		without, _, seq, err := r.ah[1].Verify(packet, high)
		if err != nil || seq != uint32(sequence) {
			return nil, fmt.Errorf("AH with sequence number %#x, want %#x: %w", seq, sequence, err)
		}
		packet = without
	}
	source, destination, protocol, payload, err := ipPayload(packet)
	if err != nil {
		return nil, err
	}
	if r.tunnel.UDP {
		if protocol != protoUDP || len(payload) < udpLen || binary.BigEndian.Uint32(payload) != nattPort<<16|nattPort {
			return nil, fmt.Errorf("expected UDP from and to port %d, found protocol %d: % x", nattPort, protocol, payload[:min(len(payload), udpLen)])
		}
		protocol, payload = protoESP, payload[udpLen:]
	}
	if r.esp[1] != nil {
		if protocol != protoESP {
			return nil, fmt.Errorf("expected ESP, found protocol %d", protocol)
		}
		var seq uint32
		if payload, protocol, seq, err = r.esp[1].Open(payload, high); err != nil || seq != uint32(sequence) {
			return nil, fmt.Errorf("ESP with sequence number %#x, want %#x: %w", seq, sequence, err)
		}
	}
	if r.tunnel.Transport {
		return ipPacket(source, destination, protocol, payload), nil
	}
	if source != r.tunnel.Local || destination != r.tunnel.Remote || protocol != protoIPv4 && protocol != protoIPv6 {
		return nil, fmt.Errorf("expected a tunnel from %s to %s, found %s to %s, protocol %d", r.tunnel.Local, r.tunnel.Remote, source, destination, protocol)
	}
	return payload, nil
}

// wire is the guest's link, at which the test stands in for all others.
type wire struct {
	raw             *lab.RawPort
	guestMAC, ours  net.HardwareAddr
	frameOfProtocol map[byte]uint16
}

// newWire gives the guest us as its neighbour, so that nobody has to ask who that is.
func newWire(t *testing.T, s *lab.Sites, g *Guest) wire {
	t.Helper()
	w := wire{ours: net.HardwareAddr{2, 0, 0, 0, 0, 1}, frameOfProtocol: map[byte]uint16{4: 0x0800, 6: 0x86dd}}
	out, err := g.Run(t.Context(), "cat", "/sys/class/net/"+guestLink+"/address")
	if err == nil {
		w.guestMAC, err = net.ParseMAC(strings.TrimSpace(out))
	}
	if err == nil {
		w.raw, err = s.RawWAN(s.B)
	}
	for _, a := range []netip.Addr{s.A.WANAddress, s.A.WANAddress6} {
		if err == nil {
			_, err = g.Run(t.Context(), "ip", "neighbour", "replace", a.String(), "lladdr", w.ours.String(), "dev", guestLink)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// exchangeLimit is how long the guest may take for an answer, on a busy machine.
const exchangeLimit = time.Minute

// exchange sends packets and returns as many of the guest's.
func (w wire) exchange(t *testing.T, packets [][]byte) ([][]byte, error) {
	t.Helper()
	for _, packet := range packets {
		if err := w.raw.Send(slices.Concat(w.guestMAC, w.ours, binary.BigEndian.AppendUint16(nil, w.frameOfProtocol[packet[0]>>4]), packet)); err != nil {
			return nil, err
		}
	}
	var answers [][]byte
	err := lab.Until(t.Context(), nil, "the guest's answers", exchangeLimit, func() (bool, error) {
		frames, err := w.raw.Receive()
		for _, f := range frames {
			if len(f) > ethernetLen && bytes.Equal(f[:6], w.ours) {
				answers = append(answers, f[ethernetLen:])
			}
		}
		return len(answers) >= len(packets), err
	})
	return answers, err
}

// TestKernelOpensOursAndWeTheKernels proves the reference of ESP and AH against the Linux kernel, in every case that both have:
// the kernel must open an echo request that we protected to answer it, and we must open the answer, which carries the same data back.
// S-098, S-099: outer addresses are the tunnel's ends, in transport mode the hosts' own.
func TestKernelOpensOursAndWeTheKernels(t *testing.T) {
	s := newSites(t, lab.RawGateway, lab.RawGateway)
	g := startGuest(t, s)
	if err := g.ConfigureCases(t.Context(), s.B, s.A); err != nil {
		t.Fatal(err)
	}
	if err := g.ServeEcho(t.Context(), true); err != nil { // for its sockets of ESP in UDP
		t.Fatal(err)
	}
	w := newWire(t, s, g)
	for cases := range slices.Chunk(FullMatrix(), MaxCases) {
		var tunnels []ManualTunnel
		for i, c := range cases {
			tunnels = append(tunnels, c.Tunnel(s.A, s.B, i))
		}
		if err := InstallTunnels(t.Context(), g, tunnels...); err != nil {
			t.Fatal(err)
		}
		for i, c := range cases {
			t.Run(c.Name(), func(t *testing.T) { w.exchangeEchoes(t, tunnels[i], newReference(t, tunnels[i])) })
		}
	}
	if errors, err := g.XFRMErrors(t.Context()); err != nil || len(errors) > 0 {
		t.Errorf("the kernel's errors: %v, %v", errors, err)
	}
}

// exchangeEchoes pings the guest with packets of several sizes.
func (w wire) exchangeEchoes(t *testing.T, m ManualTunnel, r reference) {
	t.Helper()
	first := max(m.Sequence, 1)
	sizes := []int{1, 2, 3, 56, 500, 1200}
	var requests, protected [][]byte
	for n, size := range sizes {
		requests = append(requests, echoRequest(m.RemoteNet.Addr(), m.LocalNet.Addr(), uint16(n), size))
		packet, err := r.protect(requests[n], first+uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		protected = append(protected, packet)
	}
	answers, err := w.exchange(t, protected)
	if err != nil {
		t.Fatalf("%d answers to %d packets: %v", len(answers), len(protected), err)
	}
	for n, size := range sizes {
		reply, err := r.open(answers[n], first+uint64(n))
		if err != nil {
			t.Fatalf("%d octets: %v", size, err)
		}
		source, destination, _, payload, err := ipPayload(reply)
		if err != nil || source != m.LocalNet.Addr() || destination != m.RemoteNet.Addr() || !bytes.Equal(payload[4:], requests[n][len(requests[n])-size-4:]) {
			t.Errorf("%d octets: expected the echo reply to %x, found %x (%v)", size, requests[n], reply, err)
		}
	}
}

// What docs/TUNNELS.md has the kernel be told for its end of an SA are the words that the guests of these tests take.
func TestDocumentedCommands(t *testing.T) {
	key := func(text string) crypto.Secret {
		octets, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return crypto.NewSecret(octets)
	}
	m := ManualTunnel{Local: netip.MustParseAddr("192.0.2.2"), Remote: netip.MustParseAddr("192.0.2.1"),
		LocalNet: netip.MustParsePrefix("10.2.0.0/24"), RemoteNet: netip.MustParsePrefix("10.1.0.0/24"),
		Layers: []ManualLayer{{Suite: suite("aes128gcm16"), Out: ManualSA{SPI: 0x1001, Keymat: key("000102030405060708090a0b0c0d0e0f10111213")},
			In: ManualSA{SPI: 0x2001, Keymat: key("202122232425262728292a2b2c2d2e2f30313233")}}}}
	want, err := m.lines(1)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/TUNNELS.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(page)) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ip xfrm "); ok {
			found = append(found, strings.ReplaceAll(command, "'", "")) // a shell's quotes
		}
	}
	if !slices.Equal(found, want) {
		t.Errorf("the page has\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
}
