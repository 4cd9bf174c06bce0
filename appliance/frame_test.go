package appliance

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"sallyport/policy"
)

// hostMAC is the address of every host beside a test's gateways.
var hostMAC = []byte{2, 0, 0, 0, 9, 9}

const (
	etherIPv4, etherARP = 0x0800, 0x0806
	protoESP, protoUDP  = 50, 17
	protoAH             = 51
)

// udpFrame is a UDP datagram to a gateway's port.
func udpFrame(to []byte, source, destination netip.AddrPort, payload []byte) []byte {
	const header = 8
	u := make([]byte, header, header+len(payload))
	binary.BigEndian.PutUint16(u, source.Port())
	binary.BigEndian.PutUint16(u[2:], destination.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(header+len(payload))) // no checksum: RFC 768 allows none
	return ipv4Frame(to, source.Addr(), destination.Addr(), protoUDP, append(u, payload...))
}

// packetFrame is a packet of any protocol; its first octets are the ports where it has any.
func packetFrame(to []byte, p policy.Packet) []byte {
	if p.Protocol == protoUDP {
		return udpFrame(to, netip.AddrPortFrom(p.Source, p.SourcePort), netip.AddrPortFrom(p.Destination, p.DestinationPort), nil)
	}
	body := make([]byte, 20)
	if p.HasPorts {
		binary.BigEndian.PutUint16(body, p.SourcePort)
		binary.BigEndian.PutUint16(body[2:], p.DestinationPort)
		body[12] = 5 << 4 // words of a TCP header (RFC 9293 section 3.1)
	}
	return ipv4Frame(to, p.Source, p.Destination, p.Protocol, body)
}

// ipv4Frame is an IPv4 packet (RFC 791) in an Ethernet frame.
func ipv4Frame(to []byte, source, destination netip.Addr, protocol uint8, body []byte) []byte {
	const ethernet, ip = 14, 20
	f := make([]byte, ethernet+ip, ethernet+ip+len(body))
	copy(f, to)
	copy(f[6:], hostMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	h := f[ethernet:]
	h[0], h[8], h[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(ip+len(body)))
	src, dst := source.As4(), destination.As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[10:], internetChecksum(h[:ip]))
	return append(f, body...)
}

// internetChecksum is that of RFC 1071.
func internetChecksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// packetView is what a tap reads of a frame.
type packetView struct {
	source, destination netip.Addr
	protocol            uint8
	sourcePort, port    uint16
	payload             []byte // of UDP
	spi, sequence       uint32 // of ESP
	packet              []byte // all of it
}

// readIPv4 reads an IPv4 packet; ok is false for anything else.
func readIPv4(frame []byte) (p packetView, ok bool) {
	if len(frame) < 34 || binary.BigEndian.Uint16(frame[12:]) != etherIPv4 {
		return p, false
	}
	h := frame[14:]
	p.source, p.destination = netip.AddrFrom4([4]byte(h[12:16])), netip.AddrFrom4([4]byte(h[16:20]))
	p.protocol = h[9]
	if length := int(binary.BigEndian.Uint16(h[2:])); p.protocol == protoUDP && length >= 28 && len(h) >= length {
		p.sourcePort, p.port = binary.BigEndian.Uint16(h[20:]), binary.BigEndian.Uint16(h[22:])
		p.payload = h[28:length]
	}
	p.packet = h[:min(int(binary.BigEndian.Uint16(h[2:])), len(h))]
	if p.protocol == protoESP && len(h) >= 28 {
		p.spi = binary.BigEndian.Uint32(h[20:])
		p.sequence = binary.BigEndian.Uint32(h[24:])
	}
	return p, true
}

// answerARP is the reply of a host to an ARP request (RFC 826), nil for any other frame.
func answerARP(frame []byte) []byte {
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[12:]) != etherARP || binary.BigEndian.Uint16(frame[20:]) != 1 {
		return nil
	}
	reply := bytes.Clone(frame[:42])
	copy(reply, frame[6:12])
	copy(reply[6:], hostMAC)
	binary.BigEndian.PutUint16(reply[20:], 2)
	copy(reply[22:], hostMAC)
	copy(reply[28:32], frame[38:42])
	copy(reply[32:42], frame[22:32])
	return reply
}
