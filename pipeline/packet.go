package pipeline

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Wire constants that the slow path and the reference share. Lengths are in bytes.
const (
	etherHeaderLen = 14
	etherTagLen    = 4 // of IEEE 802.1Q
	etherTypeIPv4  = 0x0800
	etherTypeARP   = 0x0806
	etherTypeIPv6  = 0x86dd
	etherTypeVLAN  = 0x8100 // IEEE 802.1Q customer tag
	etherTypeQinQ  = 0x88a8 // and service tag

	ipv4HeaderLen = 20
	udpHeaderLen  = 8
	icmpHeaderLen = 8
	espHeaderLen  = 8

	protocolICMP = 1
	protocolIPv4 = 4
	protocolTCP  = 6
	protocolUDP  = 17
	protocolESP  = 50
	protocolAH   = 51

	portIKE     = 500
	portIKENATT = 4500 // RFC 3948 section 2: ESP and IKE share this port

	flagDontFragment  = 0x4000
	flagMoreFragments = 0x2000
	fragmentOffset    = 0x1fff // mask, in units of 8 bytes
)

// ipv4 is an IPv4 packet, header first. Accessors assume that parseIPv4 accepted it.
type ipv4 []byte

func (p ipv4) headerLen() int          { return int(p[0]&0x0f) * 4 }
func (p ipv4) totalLen() int           { return int(binary.BigEndian.Uint16(p[2:])) }
func (p ipv4) fragment() uint16        { return binary.BigEndian.Uint16(p[6:]) }
func (p ipv4) ttl() uint8              { return p[8] }
func (p ipv4) protocol() uint8         { return p[9] }
func (p ipv4) source() netip.Addr      { return netip.AddrFrom4([4]byte(p[12:16])) }
func (p ipv4) destination() netip.Addr { return netip.AddrFrom4([4]byte(p[16:20])) }
func (p ipv4) payload() []byte         { return p[p.headerLen():p.totalLen()] }

// later reports a fragment other than the first: it has no transport header.
func (p ipv4) later() bool { return p.fragment()&fragmentOffset != 0 }

// fragmented reports any fragment, the first one included.
func (p ipv4) fragmented() bool { return p.fragment()&(fragmentOffset|flagMoreFragments) != 0 }

// sum adds b to an Internet checksum accumulator (RFC 1071).
func sum(acc uint32, b []byte) uint32 {
	// whole words of 32 bits: a one's complement sum of them, folded, is that of their halves
	wide := uint64(acc)
	for ; len(b) >= 8; b = b[8:] {
		wide += uint64(binary.BigEndian.Uint32(b)) + uint64(binary.BigEndian.Uint32(b[4:]))
	}
	for ; len(b) >= 2; b = b[2:] {
		wide += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		wide += uint64(b[0]) << 8
	}
	for wide > 0xffff {
		wide = wide>>16 + wide&0xffff
	}
	return uint32(wide)
}

// fold turns an accumulator into the checksum that goes on the wire.
func fold(acc uint32) uint16 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return ^uint16(acc)
}

// checksum is the Internet checksum of b; zero over data that includes a right checksum.
func checksum(b []byte) uint16 { return fold(sum(0, b)) }

// setHeaderChecksum fills the header checksum of an IPv4 packet.
func setHeaderChecksum(p ipv4) {
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], checksum(p[:p.headerLen()]))
}

// putIPv4 writes a 20-byte header at the start of b, whose length is the total length.
func putIPv4(b []byte, tos, ttl, protocol uint8, flags uint16, source, destination netip.Addr) {
	b[0], b[1] = 0x45, tos
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[4:], 0) // RFC 6864 section 4.1: the ID of an atomic datagram means nothing
	binary.BigEndian.PutUint16(b[6:], flags)
	b[8], b[9] = ttl, protocol
	s, d := source.As4(), destination.As4()
	copy(b[12:], s[:])
	copy(b[16:], d[:])
	setHeaderChecksum(ipv4(b[:ipv4HeaderLen]))
}

// etherFrame puts an Ethernet header in front of payload.
func etherFrame(destination, source net.HardwareAddr, etherType uint16, payload []byte) []byte {
	f := make([]byte, etherHeaderLen, etherHeaderLen+len(payload))
	copy(f, destination)
	copy(f[6:], source)
	binary.BigEndian.PutUint16(f[12:], etherType)
	return append(f, payload...)
}

// udpDatagram builds an IP packet, of the version of its addresses, with one UDP datagram. The checksum is filled: IKE is
// small and a wrong address in the header must not go unseen.
func udpDatagram(source, destination netip.AddrPort, payload ...[]byte) []byte {
	header := ipv4HeaderLen
	if source.Addr().Is6() {
		header = ipv6HeaderLen
	}
	b := make([]byte, header+udpHeaderLen)
	for _, p := range payload {
		b = append(b, p...)
	}
	if source.Addr().Is6() {
		putIPv6(b, protocolUDP, 64, source.Addr(), destination.Addr())
	} else {
		putIPv4(b, 0, 64, protocolUDP, flagDontFragment, source.Addr(), destination.Addr())
	}
	u := b[header:]
	binary.BigEndian.PutUint16(u, source.Port())
	binary.BigEndian.PutUint16(u[2:], destination.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	if c := udpChecksum(b, u); c != 0 {
		binary.BigEndian.PutUint16(u[6:], c)
	} else {
		binary.BigEndian.PutUint16(u[6:], 0xffff) // RFC 768: zero means no checksum
	}
	return b
}

// udpChecksum is the checksum of a datagram with the pseudo-header of its packet; zero over one that includes a right checksum.
func udpChecksum(ip, udp []byte) uint16 {
	if isIPv6(ip) {
		return checksum6(ip, protocolUDP, udp)
	}
	return fold(pseudoSum(ip, len(udp)) + sum(0, udp))
}

// udpChecksumRight accepts a datagram without a checksum over IPv4 only (RFC 768, RFC 8200 section 8.1).
func udpChecksumRight(ip, udp []byte) bool {
	if binary.BigEndian.Uint16(udp[6:]) == 0 {
		return !isIPv6(ip)
	}
	return udpChecksum(ip, udp) == 0
}

// upperPayload is what a packet carries behind its headers.
func upperPayload(ip []byte) []byte {
	if isIPv6(ip) {
		_, payload := ipv6(ip).upper()
		return payload
	}
	return ipv4(ip).payload()
}

// pseudoSum is the pseudo-header part of a UDP or TCP checksum (RFC 768, RFC 9293 section 3.1).
func pseudoSum(p ipv4, length int) uint32 {
	return sum(uint32(p.protocol())+uint32(length), p[12:20])
}
