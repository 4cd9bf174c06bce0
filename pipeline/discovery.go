package pipeline

import (
	"net"
	"net/netip"
)

// Neighbour discovery for IPv6 (RFC 4861), as much of it as ARP does for IPv4: solicitations and advertisements of link-layer
// addresses. Routers, prefixes and addresses come from the configuration. The table and its rules are neighbour.go's.

const (
	discoveryHopLimit = 255 // RFC 4861 section 7.1: whoever sent it is on this link
	discoveryLen      = 24  // bytes of the message without options
	optionSourceMAC   = 1
	optionTargetMAC   = 2

	advertRouter    = 0x80
	advertSolicited = 0x40
	advertOverride  = 0x20
)

var allNodes = netip.MustParseAddr("ff02::1")

// discoveryMessage is a neighbour solicitation, or an advertisement, in its frame.
type discoveryMessage struct {
	advert              bool
	flags               uint8 // of an advertisement
	target              netip.Addr
	link                macAddress // of the option that names the sender's, zero when there is none
	source, destination netip.Addr
	frameSource         macAddress
}

// parseDiscovery reads a message and checks it as RFC 4861 sections 7.1.1 and 7.1.2 demand. It refuses, too, a sender whose
// link-layer address differs from the frame's.
func parseDiscovery(frame []byte, ip ipv6) (m discoveryMessage, ok bool) {
	body, ok := icmp6Body(ip)
	if !ok || ip.hopLimit() != discoveryHopLimit || len(body) < discoveryLen || body[1] != 0 {
		return m, false
	}
	m = discoveryMessage{
		advert: body[0] == icmp6Advertisement,
		flags:  body[4],
		target: netip.AddrFrom16([16]byte(body[8:24])),
		source: ip.source(), destination: ip.destination(),
		frameSource: macAddress(frame[6:12]),
	}
	if !m.advert && body[0] != icmp6Solicitation || m.target.IsMulticast() || !m.readOptions(body[discoveryLen:]) {
		return m, false
	}
	named := m.link != macAddress{}
	switch {
	case named && m.link != m.frameSource:
		return m, false
	case m.advert:
		return m, !m.destination.IsMulticast() || m.flags&advertSolicited == 0
	case m.source.IsUnspecified(): // duplicate address detection
		return m, !named && m.destination == solicitedNode(m.target)
	}
	return m, true
}

// readOptions finds the link-layer address; options of other kinds are passed over (RFC 4861 section 4.6).
func (m *discoveryMessage) readOptions(b []byte) bool {
	wanted := byte(optionSourceMAC)
	if m.advert {
		wanted = optionTargetMAC
	}
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < 8*int(b[1]) {
			return false
		}
		if b[0] == wanted {
			if b[1] != 1 {
				return false
			}
			m.link = macAddress(b[2:8])
		}
		b = b[8*int(b[1]):]
	}
	return true
}

// solicitedNode is the group that a host with this address listens to (RFC 4291 section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC is the link-layer address of a group (RFC 2464 section 7).
func groupMAC(a netip.Addr) macAddress {
	b := a.As16()
	return macAddress{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// solicitation asks for a neighbour's link-layer address: all who may have it, or the one known.
func solicitation(own macAddress, source netip.Addr, r neighbourRequest) []byte {
	destination, to := r.Address, r.To
	if to == broadcastMAC {
		destination = solicitedNode(r.Address)
		to = groupMAC(destination)
	}
	return discoveryFrame(own, to, source, destination, icmp6Solicitation, 0, r.Address, optionSourceMAC)
}

// advertisement tells who asked m where its target is: here. A station that looks for a duplicate has no address yet, so
// everyone is told (RFC 4861 section 7.2.4).
func advertisement(own macAddress, m discoveryMessage) []byte {
	if m.source.IsUnspecified() {
		return discoveryFrame(own, groupMAC(allNodes), m.target, allNodes, icmp6Advertisement, advertRouter|advertOverride, m.target, optionTargetMAC)
	}
	return discoveryFrame(own, m.frameSource, m.target, m.source, icmp6Advertisement, advertRouter|advertSolicited|advertOverride, m.target, optionTargetMAC)
}

func discoveryFrame(own, to macAddress, source, destination netip.Addr, typ, flags uint8, target netip.Addr, option uint8) []byte {
	t := target.As16()
	ip := icmp6Message(source, destination, discoveryHopLimit, typ, []byte{flags, 0, 0, 0}, t[:], []byte{option, 1}, own[:])
	return etherFrame(to[:], net.HardwareAddr(own[:]), etherTypeIPv6, ip)
}
