package lab_test

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"sallyport/perf/lab"
)

// TestHostileFrames sends each kind of bad frame to both ports of a gateway with a tunnel. Each is dropped and
// counted for its reason, the account of packets adds up, the tunnel carries on, and nothing of it comes out
// anywhere.
func TestHostileFrames(t *testing.T) {
	r := newHostileRig(t)
	r.onlyPings(t, r.A, r.lan)
	r.onlyPings(t, r.B, r.farLAN)
	r.run(t, "headers", testHeaders)
	r.run(t, "kinds", testKinds)
	r.run(t, "fragments", testFragments)
	r.run(t, "addresses on the LAN", testLANAddresses)
	r.run(t, "addresses on the WAN", testWANAddresses)
	r.run(t, "random", testRandomFrames)
	r.run(t, "ARP", testARP)
	r.noClear(t)
}

// attackedPort is a port of gw-a and a packet whose header is right for it: on the LAN one that
// would go through the tunnel, on the WAN one that should have come through it.
type attackedPort struct {
	name   string
	mac    net.HardwareAddr
	source netip.Addr
	target netip.Addr
}

func (r *hostileRig) ports() []attackedPort {
	return []attackedPort{
		{lanPort, r.lanMAC, r.A.HostAddress, r.B.HostAddress},
		{wanPort, r.wanMAC, r.B.HostAddress, r.A.HostAddress},
	}
}

// batch gathers bad frames for one port, with the reason for which each must be dropped.
type batch struct {
	frames [][]byte
	want   map[string]uint64
}

func (b *batch) add(reason string, frames ...[]byte) {
	if b.want == nil {
		b.want = map[string]uint64{}
	}
	b.frames = append(b.frames, frames...)
	b.want[reason] += uint64(len(frames))
}

// testHeaders: IPv4 headers that are wrong in themselves (RFC 1812 section 5.2.2).
func testHeaders(t *testing.T, r *hostileRig) {
	for _, port := range r.ports() {
		var b batch
		packet := ipv4(port.source, port.target, protocolUDP, marked())
		frame := func(p []byte) []byte { return ether(port.mac, etherIPv4, p) }
		field := func(change func(p []byte, n int)) func(int) []byte {
			return func(n int) []byte { return frame(changed(packet, func(p []byte) { change(p, n) })) }
		}
		cut := func(n int) []byte { return frame(packet[:n]) }
		b.add("truncated", each(count(0, ipv4Len-1), cut)...)
		b.add("ip_total_length", each(count(ipv4Len, len(packet)-1), cut)...)

		totalLength := field(func(p []byte, n int) { put16(p[2:], uint16(n)) })
		b.add("ip_total_length", each(count(0, ipv4Len-1), totalLength)...)
		b.add("ip_total_length", each([]int{len(packet) + 1, 1500, 1501, 9000, 0x8000, 0xffff}, totalLength)...)

		headerLength := field(func(p []byte, n int) { p[0] = 0x40 | byte(n) })
		b.add("ip_header_length", each(count(0, 4), headerLength)...)
		short := ipv4(port.source, port.target, protocolUDP, udp(40000, 9, nil))
		b.add("ip_header_length", each(count(8, 15), func(n int) []byte {
			return frame(changed(short, func(p []byte) { p[0] = 0x40 | byte(n) }))
		})...)

		versions := slices.DeleteFunc(count(0, 15), func(n int) bool { return n == 4 })
		b.add("ip_version", each(versions, field(func(p []byte, n int) { p[0] = byte(n)<<4 | 5 }))...)

		b.add("ip_checksum", each(count(0, 15), func(bit int) []byte {
			p := slices.Clone(packet)
			p[10+bit/8] ^= 1 << (bit % 8)
			return frame(p)
		})...)
		r.drops(t, port.name, b)
	}
}

// testKinds: frames and packets of kinds that an IPv4 gateway does not forward, all well made.
func testKinds(t *testing.T, r *hostileRig) {
	for _, port := range r.ports() {
		var b batch
		packet := ipv4(port.source, port.target, protocolUDP, marked())
		frame := func(p []byte) []byte { return ether(port.mac, etherIPv4, p) }
		options := func(o []byte) []byte { return frame(ipv4(port.source, port.target, protocolUDP, marked(), o...)) }
		b.add("ip_options", each([][]byte{
			{131, 7, 4, 198, 51, 100, 1}, // loose source route
			{137, 7, 4, 198, 51, 100, 1}, // strict
			{1, 1, 131, 3, 4},            // a source route behind padding
			{7, 0, 0, 0},                 // record route without length
			{7, 1, 0, 0},                 // length below its own header
			{7, 9, 4, 0, 0, 0, 0, 0},     // and beyond the packet's
			{1, 1, 1, 7},                 // no room for the length
			{148, 255, 0, 0},
		}, options)...)

		for _, protocol := range []byte{protocolTCP, protocolUDP, protocolDCCP, protocolSCTP, protocolUDPLite} {
			b.add("no_payload", frame(ipv4(port.source, port.target, protocol, nil)))
			b.add("l4_truncated", each(count(1, 3), func(n int) []byte {
				return frame(ipv4(port.source, port.target, protocol, make([]byte, n)))
			})...)
		}

		b.add("other_mac",
			ether(attackerMAC, etherIPv4, packet), ether(net.HardwareAddr{0, 0, 0, 0, 0, 0}, etherIPv4, packet), ether(attackerMAC, etherARP, make([]byte, 28)))
		b.add("link_broadcast",
			ether(broadcastMAC, etherIPv4, packet), ether(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, etherIPv4, packet))

		vlan := func(id uint16) []byte {
			return slices.Concat(append16(nil, id), []byte{etherIPv4 >> 8, etherIPv4 & 0xff}, packet)
		}
		// a tag with VLAN 0 only has a priority: such a frame is as good as untagged (IEEE 802.1Q)
		b.add("unknown_vlan", each([]uint16{1, 5, 4095, 0xe005}, func(id uint16) []byte { return ether(port.mac, etherVLAN, vlan(id)) })...)
		b.add("unknown_vlan", ether(port.mac, etherVLAN, slices.Concat([]byte{0, 5, 0x81, 0}, vlan(6))), ether(port.mac, 0x88a8, vlan(5)))
		b.add("ether_type", each([]int{0, 0x26, 0x0600, 0x0801, 0x8035, 0x8847, 0x8863, 0x88e5, 0xffff}, func(etherType int) []byte {
			return ether(port.mac, uint16(etherType), packet)
		})...)

		// S-022: IPv6 is dropped in a frame of its own and inside IPv4, and each has its counter.
		b.add("ipv6", each([]byte{0, protocolTCP, protocolUDP, 58, 59, 43, 44}, func(next byte) []byte {
			return ether(port.mac, etherIPv6, ipv6(next))
		})...)
		b.add("ipv6", ether(port.mac, etherIPv6, nil), ether(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, etherIPv6, ipv6(58)))
		b.add("protocol_41", frame(ipv4(port.source, port.target, protocolIPv6, ipv6(protocolTCP))),
			frame(ipv4(port.source, port.target, protocolIPv6, nil)))
		r.drops(t, port.name, b)
	}
}

// ipv6 is a packet with the marker between two documentation addresses (RFC 3849).
func ipv6(next byte) []byte {
	source, destination := ip("2001:db8:1::10").As16(), ip("2001:db8:2::10").As16()
	header := []byte{0x60, 0, 0, 0, 0, byte(len(attackMarker)), next, 64}
	return slices.Concat(header, source[:], destination[:], []byte(attackMarker))
}

// Addresses that no packet comes from, and none goes to (RFC 1122 section 3.2.1.3), on either port.
var (
	impossibleSources      = []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "10.1.0.255", "192.0.2.255"}
	impossibleDestinations = []string{"0.0.0.0", "0.0.0.1", "127.0.0.1", "240.0.0.1", "255.255.255.254"}
	groups                 = []string{"224.0.0.1", "224.0.0.251", "239.255.255.250"}
	broadcasts             = []string{"255.255.255.255", "10.1.0.255", "192.0.2.255"}
	subnetOf               = map[string]string{"10.1.0.255": lanPort, "192.0.2.255": wanPort} // that a broadcast is for
)

// commonAddresses is what neither port lets by. The neighbour is somebody on the port's own link.
func commonAddresses(r *hostileRig, port attackedPort, neighbour string) (b batch) {
	send := func(source, destination string, protocol byte, payload []byte) []byte {
		return ether(port.mac, etherIPv4, ipv4(ip(source), ip(destination), protocol, payload))
	}
	source, target := port.source.String(), port.target.String()
	own := []string{r.A.LANAddress.String(), r.A.WANAddress.String()}

	b.add("bad_source", each(impossibleSources, func(s string) []byte { return send(s, target, protocolUDP, marked()) })...)
	for _, address := range own { // land: our own address as the source
		b.add("bad_source", send(address, address, protocolTCP, tcpSYN()), send(address, address, protocolICMP, echo()),
			send(address, address, protocolUDP, udp(500, 500, []byte(attackMarker))), send(address, target, protocolUDP, marked()))
	}
	b.add("no_filter", send(source, source, protocolTCP, tcpSYN()), send(target, target, protocolTCP, tcpSYN()))
	b.add("bad_destination", each(impossibleDestinations, func(d string) []byte { return send(source, d, protocolUDP, marked()) })...)

	// S-031: of multicast, broadcast, RSVP, Kerberos and IKE, only IKE passes.
	b.add("tcp_multicast", each(slices.Concat(groups, broadcasts), func(d string) []byte { return send(source, d, protocolTCP, tcpSYN()) })...)
	toAll := func(d string) []byte {
		return ether(broadcastMAC, etherIPv4, ipv4(port.source, ip(d), protocolUDP, marked()))
	}
	for _, d := range slices.Concat(groups, broadcasts) {
		reason := "no_filter"
		if subnet := subnetOf[d]; subnet != "" && subnet != port.name { // S-107
			reason = "directed_broadcast"
		}
		b.add(reason, send(source, d, protocolUDP, marked()), toAll(d))
	}

	for _, address := range own {
		b.add("no_filter", send(neighbour, address, protocolICMP, echo()), send(neighbour, address, protocolTCP, tcpSYN()),
			send(neighbour, address, protocolRSVP, []byte(attackMarker)), send(neighbour, address, protocolUDP, udp(88, 40000, []byte(attackMarker))),
			send(neighbour, address, protocolUDP, udp(40000, 88, []byte(attackMarker))),
			send(neighbour, address, protocolUDP, udp(501, 500, []byte(attackMarker))), send(neighbour, address, protocolUDP, udp(500, 501, []byte(attackMarker)))) // S-034
		b.add("protocol_41", send(neighbour, address, protocolIPv6, ipv6(protocolTCP)))
	}
	b.add("no_filter", send(source, "198.51.100.7", protocolUDP, marked()), send("203.0.113.9", target, protocolUDP, marked()),
		send(source, "198.51.100.7", protocolUDP, udp(500, 500, []byte(attackMarker))), // S-033: IKE that passes by is traffic like any other
		send(source, "198.51.100.7", protocolESP, []byte(attackMarker)))
	return b
}

// echo is an ICMP echo request with the marker.
func echo() []byte {
	b := append([]byte{8, 0, 0, 0, 0x66, 0x66, 0, 1}, attackMarker...)
	put16(b[2:], ^lab.OnesSum(0, b))
	return b
}

// testLANAddresses: addresses that do not belong on the LAN.
func testLANAddresses(t *testing.T, r *hostileRig) {
	port := r.ports()[0]
	b := commonAddresses(r, port, r.A.HostAddress.String())
	spoofed := ether(port.mac, etherIPv4, ipv4(r.B.HostAddress, r.A.HostAddress, protocolUDP, marked()))
	b.add("clear_on_protected", slices.Repeat([][]byte{spoofed}, 100)...)
	r.drops(t, lanPort, b)
}

// testWANAddresses: traffic of the tunnel without a tunnel, in both directions.
func testWANAddresses(t *testing.T, r *hostileRig) {
	port := r.ports()[1]
	b := commonAddresses(r, port, r.B.WANAddress.String())
	clear := func(source, destination netip.Addr, protocol byte, payload []byte) []byte {
		return ether(port.mac, etherIPv4, ipv4(source, destination, protocol, payload))
	}
	// S-025: each packet of 1,000 that claims to come from the other LAN.
	fromPeer := [][]byte{
		clear(r.B.HostAddress, r.A.HostAddress, protocolUDP, marked()), clear(r.B.HostAddress, r.A.HostAddress, protocolTCP, tcpSYN()),
		clear(r.B.HostAddress, r.A.HostAddress, protocolICMP, echo()), clear(ip("10.2.0.77"), ip("10.1.0.77"), protocolUDP, udp(500, 500, []byte(attackMarker))),
	}
	b.add("clear_on_protected", slices.Repeat(fromPeer, 250)...)
	ownSide := clear(r.A.HostAddress, r.B.HostAddress, protocolUDP, marked())
	b.add("protect_from_unprotected", slices.Repeat([][]byte{ownSide}, 100)...)
	b.add("no_filter", clear(r.B.WANAddress, r.A.HostAddress, protocolTCP, tcpSYN()), clear(r.B.WANAddress, r.B.HostAddress, protocolTCP, tcpSYN()))
	r.drops(t, wanPort, b)
}

// randomFrames is how many frames each port gets, a quarter of each kind.
const randomFrames = 25_000

// testFragments: pieces that overlap, that leave holes and that reach beyond 65,535 octets. The kernel reassembles
// what net_af_packet receives (PACKET_FANOUT_FLAG_DEFRAG), so that the gateway sees none of these, or what came of
// them; that it drops fragments itself is proven in package pipeline. Nothing may come out here either way.
func testFragments(t *testing.T, r *hostileRig) {
	const more = 0x2000
	for _, port := range r.ports() {
		packet := ipv4(port.source, port.target, protocolUDP, marked())
		raw := r.raw(port.name)
		for _, word := range []int{more, more | 1, 1, 2, 3, more | 100, 100, 0x1fff, more | 0x1fff, 0x4000 | more} {
			f := ether(port.mac, etherIPv4, changed(packet, func(p []byte) { put16(p[6:], uint16(word)) }))
			if err := raw.Send(f); err != nil {
				t.Fatal(err)
			}
		}
		var last batch
		last.add("ip_version", ether(port.mac, etherIPv4, changed(packet, func(p []byte) { p[0] = 0x55 })))
		r.drops(t, port.name, last)
	}
}

// testRandomFrames: noise of four depths, from frames of random octets to a good packet with some octets changed.
// What becomes of each is not known beforehand; that all are accounted for is, and that nothing gets through.
func testRandomFrames(t *testing.T, r *hostileRig) {
	random := rand.New(rand.NewPCG(2026, 11))
	for _, port := range r.ports() {
		var frames [][]byte
		for range randomFrames / 4 {
			frames = append(frames, randomOctets(random, etherLen+random.IntN(200)),
				// of a VLAN tag without a packet behind it the kernel does not tell
				ether(port.mac, randomEtherType(random), randomOctets(random, 6+random.IntN(200))),
				ether(port.mac, etherIPv4, randomPacket(random, r)),
				ether(port.mac, etherIPv4, damaged(random, ipv4(port.source, port.target, protocolUDP, marked()))))
		}
		before := r.counters(t, port.name)
		r.inject(t, port.name, frames)
		after := r.counters(t, port.name)
		if n := after.Received - before.Received; n < uint64(len(frames)) || n > uint64(len(frames))+10 { // ARP of the hosts beside it
			t.Errorf("port %s received %d of %d frames", port.name, n, len(frames))
		}
		if n := after.Forwarded - before.Forwarded; n != 0 {
			t.Errorf("port %s forwarded %d of the frames", port.name, n)
		}
		reasons := 0
		for reason, n := range after.Drops {
			if n > before.Drops[reason] {
				reasons++
			}
		}
		if reasons < 15 {
			t.Errorf("port %s dropped for %d reasons, want 15 or more: the noise does not reach deep: %v", port.name, reasons, after.Drops)
		}
	}
}

func randomOctets(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func randomEtherType(random *rand.Rand) uint16 {
	return []uint16{etherIPv4, etherIPv4, etherIPv4, etherARP, etherIPv6, etherVLAN}[random.IntN(6)]
}

// randomPacket has a good header with addresses, protocol and flags from those that mean something somewhere, and
// a payload that need not fit the protocol. Traffic of the tunnel is not among it.
func randomPacket(random *rand.Rand, r *hostileRig) []byte {
	hosts := []netip.Addr{r.A.HostAddress, r.B.HostAddress, r.A.LANAddress, r.B.LANAddress, r.A.WANAddress, r.B.WANAddress,
		ip("224.0.0.5"), ip("255.255.255.255"), ip("10.1.0.255"), ip("127.0.0.1"), ip("0.0.0.0"), ip("198.51.100.9")}
	protocols := []byte{protocolICMP, protocolTCP, protocolUDP, protocolIPv6, protocolESP, 51, protocolSCTP, byte(random.Uint32())}
	source, destination := hosts[random.IntN(len(hosts))], hosts[random.IntN(len(hosts))]
	if r.A.LAN.Contains(source) && r.B.LAN.Contains(destination) {
		source = ip("198.51.100.8")
	}
	payload := randomOctets(random, random.IntN(64))
	if random.IntN(2) == 0 {
		ports := []uint16{500, 4500, 53, uint16(random.Uint32())}
		payload = udp(ports[random.IntN(4)], ports[random.IntN(4)], payload)
	}
	p := ipv4(source, destination, protocols[random.IntN(len(protocols))], payload)
	if random.IntN(4) == 0 {
		p = changed(p, func(p []byte) {
			p[1], p[6], p[8] = byte(random.Uint32()), byte(random.IntN(4)<<6), byte(random.Uint32())
		})
	}
	return p
}

// damaged changes an octet of the header and leaves its checksum as it was, and some of the payload. The fragment
// offset stays: see testFragments.
func damaged(random *rand.Rand, packet []byte) []byte {
	p := slices.Clone(packet)
	at := []int{0, 1, 2, 3, 4, 5, 8, 9}[random.IntN(8)]
	p[at] ^= byte(1 + random.IntN(255)) // one octet alone cannot leave the sum as it was
	for range random.IntN(8) {
		p[ipv4Len+random.IntN(len(p)-ipv4Len)] ^= byte(random.Uint32())
	}
	return p[:len(p)-random.IntN(2)*random.IntN(len(p))]
}
