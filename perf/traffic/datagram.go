package traffic

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"sallyport/ike"
	"sallyport/perf/lab"
)

const (
	portIKE = 500
	ttl     = 64
)

// nonESPMarker stands before IKE on port 4500 (RFC 3948 section 2.2).
var nonESPMarker = make([]byte, 4)

// readDatagram takes a frame apart that has a message of IKE. The receiver in C has sorted it out, and looked at its checksums; lengths are compared again.
func readDatagram(frame []byte) (d ike.Datagram, ok bool) {
	if len(frame) < etherLen+ipv4Len {
		return d, false
	}
	var from, to netip.Addr
	packet := frame[etherLen:]
	switch kind := binary.BigEndian.Uint16(frame[etherLen-2:]); {
	case kind == etherTypeIPv4 && packet[0]>>4 == 4 && packet[9] == protocolUDP:
		header, total := int(packet[0]&15)*4, int(binary.BigEndian.Uint16(packet[2:]))
		if header < ipv4Len || total < header || total > len(packet) {
			return d, false
		}
		from, to = netip.AddrFrom4([4]byte(packet[12:])), netip.AddrFrom4([4]byte(packet[16:]))
		packet = packet[header:total]
	case kind == etherTypeIPv6 && len(packet) >= ipv6Len && packet[6] == protocolUDP:
		total := ipv6Len + int(binary.BigEndian.Uint16(packet[4:]))
		if total > len(packet) {
			return d, false
		}
		from, to = netip.AddrFrom16([16]byte(packet[8:])), netip.AddrFrom16([16]byte(packet[24:]))
		packet = packet[ipv6Len:total]
	default:
		return d, false
	}
	if len(packet) < udpLen {
		return d, false
	}
	if length := int(binary.BigEndian.Uint16(packet[4:])); length < udpLen || length > len(packet) {
		return d, false
	} else {
		packet = packet[:length]
	}
	d.Remote = netip.AddrPortFrom(from, binary.BigEndian.Uint16(packet))
	d.Local = netip.AddrPortFrom(to, binary.BigEndian.Uint16(packet[2:]))
	d.Payload = bytes.Clone(packet[udpLen:])
	if d.Local.Port() != portIKE {
		d.Payload, ok = bytes.CutPrefix(d.Payload, nonESPMarker)
		return d, ok
	}
	return d, true
}

// writeDatagram is the packet of a message, without an Ethernet header.
func writeDatagram(s ike.Send) (kind uint16, packet []byte) {
	var marker []byte
	if s.NonESPMarker {
		marker = nonESPMarker
	}
	length := udpLen + len(marker) + len(s.Payload)
	var udp []byte
	for _, field := range []uint16{s.Local.Port(), s.Remote.Port(), uint16(length), 0} {
		udp = binary.BigEndian.AppendUint16(udp, field)
	}
	udp = append(append(udp, marker...), s.Payload...)
	from, to := s.Local.Addr().AsSlice(), s.Remote.Addr().AsSlice()
	sum := ^lab.OnesSum(uint32(length)+protocolUDP, from, to, udp)
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	if s.Remote.Addr().Is4() {
		packet = []byte{0x45, 0, 0, 0, 0, 0, 0, 0, ttl, protocolUDP, 0, 0}
		packet = append(append(packet, from...), to...)
		binary.BigEndian.PutUint16(packet[2:], uint16(ipv4Len+length))
		binary.BigEndian.PutUint16(packet[10:], lab.HeaderChecksum(packet))
		return etherTypeIPv4, append(packet, udp...)
	}
	packet = []byte{0x60, 0, 0, 0, 0, 0, protocolUDP, ttl}
	binary.BigEndian.PutUint16(packet[4:], uint16(length))
	return etherTypeIPv6, append(append(append(packet, from...), to...), udp...)
}
