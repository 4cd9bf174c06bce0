package appliance

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// hostMAC is the address of every host beside a test's gateways.
var hostMAC = []byte{2, 0, 0, 0, 9, 9}

const (
	etherIPv4, etherARP = 0x0800, 0x0806
	protoESP, protoUDP  = 50, 17
)

// udpFrame is a UDP datagram in IPv4 (RFC 791, RFC 768) to a gateway's port.
func udpFrame(to []byte, source, destination netip.AddrPort, payload []byte) []byte {
	const ethernet, ip, udp = 14, 20, 8
	f := make([]byte, ethernet+ip+udp, ethernet+ip+udp+len(payload))
	copy(f, to)
	copy(f[6:], hostMAC)
	binary.BigEndian.PutUint16(f[12:], etherIPv4)
	h := f[ethernet:]
	h[0], h[8], h[9] = 0x45, 64, protoUDP
	binary.BigEndian.PutUint16(h[2:], uint16(ip+udp+len(payload)))
	src, dst := source.Addr().As4(), destination.Addr().As4()
	copy(h[12:], src[:])
	copy(h[16:], dst[:])
	binary.BigEndian.PutUint16(h[10:], internetChecksum(h[:ip]))
	u := h[ip:]
	binary.BigEndian.PutUint16(u, source.Port())
	binary.BigEndian.PutUint16(u[2:], destination.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(udp+len(payload))) // no checksum: RFC 768 allows none
	return append(f, payload...)
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
