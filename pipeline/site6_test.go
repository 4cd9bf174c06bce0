package pipeline

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// The rig with IPv6 beside IPv4 on both ports:
//
//	host 2001:db8:1::7 ── lan 2001:db8:1::1/64 [gateway] wan 2001:db8:f::1/64 ── peer 2001:db8:f::2 ── (tunnel "site") 2001:db8:2::7
//
// The tunnel's ends are the IPv4 ones.
var (
	lanHost6  = netip.MustParseAddr("2001:db8:1::7")
	lanOwn6   = netip.MustParseAddr("2001:db8:1::1")
	wanOwn6   = netip.MustParseAddr("2001:db8:f::1")
	peer6     = netip.MustParseAddr("2001:db8:f::2")
	farHost6  = netip.MustParseAddr("2001:db8:2::7")
	outside6  = netip.MustParseAddr("2001:db8:99::9")
	siteRule6 = rule{name: "to-site6", source: "2001:db8:1::/48", destination: "2001:db8:2::/48", tunnel: "site"}
	allRule   = rule{name: "all", source: "any", destination: "any"}

	siteSelector6 = policy.Selector{
		Local:     policy.RangeOf(netip.MustParsePrefix("2001:db8:1::/48")),
		Remote:    policy.RangeOf(netip.MustParsePrefix("2001:db8:2::/48")),
		LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
	}
)

func newRig6(t testing.TB, o rigOptions) *rig {
	t.Helper()
	o.addLAN = append(o.addLAN, netip.PrefixFrom(lanOwn6, 64))
	o.addWAN = append(o.addWAN, netip.PrefixFrom(wanOwn6, 64))
	o.routes = append(o.routes, Route{To: netip.MustParsePrefix("::/0"), Via: peer6}, Route{To: netip.MustParsePrefix("2001:db8:1:8000::/49"), Via: lanHost6})
	r := newRig(t, o)
	r.announce6(lan, lanHost6, hostMAC)
	r.announce6(wan, peer6, peerMAC)
	return r
}

// announce6 makes a neighbour known as it happens on a link: the neighbour asks for the gateway's address.
func (r *rig) announce6(port int, address netip.Addr, mac macAddress) {
	r.t.Helper()
	own, _ := r.ref.own.toward(port, address)
	r.enqueue(0, port, solicitation(mac, address, neighbourRequest{neighbourKey{port, own}, broadcastMAC}))
	r.settle()
	r.serveAll()
	r.settle()
	want := advertisement(macAddress(r.cfg.Ports[port].MAC), discoveryMessage{target: own, source: address, frameSource: mac})
	same(r.t, "advertisements", r.sent(port), [][]byte{want})
	r.ref.neighbours[neighbourKey{Port: port, Address: address}] = mac
}

// child6 is a child SA for IPv6 and IPv4.
func (r *rig) child6(suite string, inbound bool) ChildSA {
	r.t.Helper()
	c := r.child("site", suite, inbound)
	c.Selectors = append(c.Selectors, siteSelector6)
	return c
}

func fromHost6(ip []byte) []byte {
	return etherFrame(lanMAC[:], net.HardwareAddr(hostMAC[:]), etherTypeIPv6, ip)
}

func fromPeer6(ip []byte) []byte {
	return etherFrame(wanMAC[:], net.HardwareAddr(peerMAC[:]), etherTypeIPv6, ip)
}

// packet6 is an IPv6 packet with this payload behind extension headers, each given whole but for its first byte.
func packet6(source, destination netip.Addr, protocol uint8, payload []byte, extensions ...extension) ipv6 {
	b := make([]byte, ipv6HeaderLen)
	next := protocol
	if len(extensions) > 0 {
		next = extensions[0].kind
	}
	for i, x := range extensions {
		follows := protocol
		if i+1 < len(extensions) {
			follows = extensions[i+1].kind
		}
		b = append(append(b, follows), x.rest...)
	}
	b = append(b, payload...)
	putIPv6(b, next, 64, source, destination)
	return b
}

type extension struct {
	kind uint8
	rest []byte // from the length byte on
}

// tcp6 is a TCP segment from port 12345 to 5678, udp6 a datagram with a checksum.
func tcp6(source, destination netip.Addr) ipv6 {
	return packet6(source, destination, protocolTCP, append([]byte{0x30, 0x39, 0x16, 0x2e}, make([]byte, 16)...))
}

func udp6(source, destination netip.Addr, from, to uint16, length int) ipv6 {
	u := make([]byte, udpHeaderLen+length)
	binary.BigEndian.PutUint16(u, from)
	binary.BigEndian.PutUint16(u[2:], to)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	p := packet6(source, destination, protocolUDP, u)
	binary.BigEndian.PutUint16(p[ipv6HeaderLen+6:], checksum6(p, protocolUDP, p[ipv6HeaderLen:]))
	return p
}

// ofLength6 is an IPv6 packet of exactly length bytes in all.
func ofLength6(source, destination netip.Addr, length int) ipv6 {
	return packet6(source, destination, 253, make([]byte, length-ipv6HeaderLen))
}

func echo6(source, destination netip.Addr, length int) ipv6 {
	return icmp6Message(source, destination, 64, icmp6Echo, make([]byte, 4+length))
}
