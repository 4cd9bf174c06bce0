package traffic

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"

	"sallyport/perf/lab"
)

// station speaks ARP (RFC 826) and neighbour discovery (RFC 4861) on one port: it asks for the gateway, and answers for the hosts that are played there.
type station struct {
	mac     net.HardwareAddr
	own     netip.Addr            // asks
	gateway netip.Addr            // is asked for
	plays   func(netip.Addr) bool // an address that is answered for

	learned net.HardwareAddr // of the gateway, nil until it has answered
	rivals  int              // answers for the gateway by another MAC address than the first
	usurped int              // answers by others for hosts that are played here
}

const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	arpLen     = 28
	arpRequest = 1
	arpReply   = 2

	protocolICMP6  = 58
	solicitation   = 135 // RFC 4861 section 4.3
	advertisement  = 136
	sourceLink     = 1 // options of them
	targetLink     = 2
	discoveryLen   = 32   // with an option
	hopsOnLink     = 255  // who was not on the link has less
	solicitedFlags = 0x60 // of an advertisement: solicited, override
)

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// request asks for the MAC address of the gateway, or of who else has an address of ours.
func (s *station) request(target netip.Addr) []byte {
	if target.Is4() {
		return s.arp(broadcast, arpRequest, make(net.HardwareAddr, 6), target)
	}
	b := target.As16()
	group := append([]byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff}, b[13:]...) // solicited-node (RFC 4291 section 2.7.1)
	to, _ := netip.AddrFromSlice(group)
	return s.discovery(net.HardwareAddr{0x33, 0x33, 0xff, b[13], b[14], b[15]}, s.own, to, solicitation, 0, target, sourceLink)
}

// hear takes a frame of the port and says what to answer, nil for nothing.
func (s *station) hear(frame []byte) []byte {
	if len(frame) < etherLen {
		return nil
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		return s.hearARP(frame[etherLen:])
	case etherTypeIPv6:
		return s.hearDiscovery(frame[etherLen:])
	}
	return nil
}

func (s *station) hearARP(b []byte) []byte {
	if len(b) < arpLen || !bytes.Equal(b[:6], []byte{0, 1, 8, 0, 6, 4}) {
		return nil
	}
	sender, senderMAC := netip.AddrFrom4([4]byte(b[14:18])), net.HardwareAddr(bytes.Clone(b[8:14]))
	target := netip.AddrFrom4([4]byte(b[24:28]))
	switch binary.BigEndian.Uint16(b[6:]) {
	case arpReply:
		s.learn(sender, senderMAC)
	case arpRequest:
		if s.answers(target) {
			reply := s.arp(senderMAC, arpReply, senderMAC, sender)
			copy(reply[etherLen+14:], target.AsSlice())
			return reply
		}
	}
	return nil
}

// answers for hosts that are played, and never for the gateway.
func (s *station) answers(target netip.Addr) bool { return target != s.gateway && s.plays(target) }

func (s *station) learn(who netip.Addr, mac net.HardwareAddr) {
	switch {
	case mac[0]&1 != 0 || bytes.Equal(mac, s.mac):
	case who != s.gateway:
		if s.plays(who) {
			s.usurped++
		}
	case s.learned == nil:
		s.learned = mac
	case !bytes.Equal(s.learned, mac):
		s.rivals++
	}
}

func (s *station) arp(to net.HardwareAddr, operation uint16, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	b := s.ether(to, etherTypeARP)
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, s.mac...), asFour(s.own)...)
	b = append(append(b, targetMAC...), target.AsSlice()...)
	return pad(b)
}

// asFour is an address of a port, or zeros where it has none of IPv4: a port that answers only needs none.
func asFour(a netip.Addr) []byte {
	if a.Is4() {
		return a.AsSlice()
	}
	return make([]byte, 4)
}

func (s *station) ether(to net.HardwareAddr, kind uint16) []byte {
	b := append(append(make([]byte, 0, minFrame), to...), s.mac...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// pad fills up to the shortest frame, without the check sequence.
func pad(frame []byte) []byte {
	return append(frame, make([]byte, max(0, minFrame-4-len(frame)))...)
}

func (s *station) hearDiscovery(b []byte) []byte {
	if len(b) < ipv6Len+24 || b[0]>>4 != 6 || b[6] != protocolICMP6 || b[7] != hopsOnLink || b[ipv6Len+1] != 0 {
		return nil
	}
	message := b[ipv6Len:]
	if length := int(binary.BigEndian.Uint16(b[4:])); length < 24 || length > len(message) {
		return nil
	} else {
		message = message[:length]
	}
	from, target := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(message[8:24]))
	if lab.OnesSum(uint32(len(message))+protocolICMP6, b[8:ipv6Len], message) != 0xffff {
		return nil
	}
	switch message[0] {
	case advertisement:
		if mac := linkOption(message[24:], targetLink); mac != nil {
			s.learn(target, mac)
		}
	case solicitation:
		mac := linkOption(message[24:], sourceLink)
		if mac != nil && !from.IsUnspecified() && s.answers(target) {
			return s.discovery(mac, target, from, advertisement, solicitedFlags, target, targetLink)
		}
	}
	return nil
}

// linkOption is the address in an option of the kind, nil if there is none (RFC 4861 section 4.6).
func linkOption(options []byte, kind byte) net.HardwareAddr {
	for len(options) >= 8 && options[1] != 0 {
		length := int(options[1]) * 8
		if length > len(options) {
			return nil
		}
		if options[0] == kind {
			return bytes.Clone(options[2:8])
		}
		options = options[length:]
	}
	return nil
}

func (s *station) discovery(mac net.HardwareAddr, from, to netip.Addr, kind, flags byte, target netip.Addr, option byte) []byte {
	b := s.ether(mac, etherTypeIPv6)
	b = append(b, 0x60, 0, 0, 0, 0, discoveryLen, protocolICMP6, hopsOnLink)
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	message := append([]byte{kind, 0, 0, 0, flags, 0, 0, 0}, target.AsSlice()...)
	message = append(append(message, option, 1), s.mac...)
	sum := ^lab.OnesSum(uint32(len(message))+protocolICMP6, b[etherLen+8:], message)
	binary.BigEndian.PutUint16(message[2:], sum)
	return append(b, message...)
}
