package pipeline

import (
	"encoding/binary"
	"net/netip"
)

// The reference for IPv6.

// process6 takes a received frame of EtherType IPv6 to its end.
func (r *reference) process6(port int, frame []byte) outcome {
	if !r.speaksIPv6() {
		return dropped("ipv6")
	}
	ip, reason := parseIPv6(frame[etherHeaderLen:])
	switch {
	case reason != "" && !isFragment(reason):
		return dropped(reason)
	case frame[0]&1 != 0 && !ip.destination().IsMulticast():
		return dropped("link_broadcast")
	case isFragment(reason):
		return r.fragment(port, ip)
	case r.isDiscovery(port, ip):
		return r.discovery(port, ip)
	}
	return r.received(&journey{ip: ip, tuple: tupleOf(ip), port: port, role: r.ports[port].referenceRole(), inCell: arrivedClear})
}

// speaksIPv6 reports whether a filter or an address of the gateway is of IPv6.
func (r *reference) speaksIPv6() bool {
	for i := range r.spd.Entries {
		if !r.spd.Entries[i].Source.Is4() {
			return true
		}
	}
	for i := range r.own {
		for _, a := range r.own[i] {
			if a.Addr().Is6() {
				return true
			}
		}
	}
	return false
}

// isDiscovery reports a solicitation or an advertisement for an address of the port, which no filter is asked about. None has
// a fragment header (RFC 6980 section 5).
func (r *reference) isDiscovery(port int, p ipv6) bool {
	protocol, body := p.upper()
	if p.fragmentHeader() != len(p)-len(body) || protocol != protocolICMPv6 || len(body) < 4 || p.hopLimit() != discoveryHopLimit || body[0] != icmp6Solicitation && body[0] != icmp6Advertisement {
		return false
	}
	for _, a := range r.own[port] {
		if d := p.destination(); a.Addr().Is6() && (d == a.Addr() || d == solicitedNode(a.Addr())) {
			return true
		}
	}
	return false
}

// discovery is arp for IPv6.
func (r *reference) discovery(port int, p ipv6) outcome {
	_, body := p.upper()
	if len(body) < discoveryLen || body[1] != 0 || body[8] == 0xff {
		return dropped("arp_nd_invalid")
	}
	target := netip.AddrFrom16([16]byte(body[8:24]))
	_, known := r.neighbours[neighbourKey{Port: port, Address: target}]
	switch {
	case r.own.on(port, p.source()):
		return dropped("bad_source")
	case body[0] == icmp6Solicitation && !r.own.on(port, target):
		return dropped("arp_nd_other")
	case body[0] == icmp6Advertisement && !known:
		return dropped("arp_nd_unasked")
	}
	return outcome{Disposition: packetDiscovery}
}

// parseIPv6 checks a fixed header and the extension headers behind it, and cuts the packet to its length.
func parseIPv6(b []byte) (p ipv6, reason string) {
	if len(b) < ipv6HeaderLen {
		return nil, "truncated"
	}
	p = ipv6(b)
	switch {
	case b[0]>>4 != 6:
		return nil, "ip_version"
	case p.totalLen() > len(b):
		return nil, "ipv6_length"
	case p.totalLen() == ipv6HeaderLen && b[6] == nextHopByHop: // RFC 2675 section 3
		return nil, "ipv6_jumbo"
	}
	p = p[:p.totalLen()]
	next, rest := b[6], p[ipv6HeaderLen:]
	atomic := false // a fragment header of a packet that is whole (RFC 6946)
	for n := 0; isExtension(next) || next == nextFragment; n++ {
		if n == maxExtensions {
			return nil, "ipv6_chain"
		}
		if next == nextHopByHop && n > 0 || len(rest) < 8 || next == nextFragment && atomic {
			return nil, "ipv6_extension"
		}
		if next == nextFragment {
			if binary.BigEndian.Uint16(rest[2:])&^6 != 0 {
				return p, "fragment"
			}
			next, rest, atomic = rest[0], rest[fragmentHeaderLen:], true
			continue
		}
		if len(rest) < 8+8*int(rest[1]) {
			return nil, "ipv6_extension"
		}
		header := rest[:8+8*int(rest[1])]
		if next != nextRouting {
			reason = checkOptions6(header[2:])
		} else if header[2] == 0 || header[2] == 2 || header[3] != 0 { // RFC 5095
			reason = "ipv6_routing"
		}
		if reason != "" {
			return nil, reason
		}
		next, rest = header[0], rest[len(header):]
	}
	switch {
	case hasPorts(next) && len(rest) == 0:
		return nil, "no_payload"
	case hasPorts(next) && len(rest) < 4:
		return nil, "l4_truncated"
	}
	return p, ""
}

// checkOptions6 says why options are refused: lengths that do not fit, and jumbograms (RFC 8200 section 4.2, RFC 2675).
func checkOptions6(b []byte) (reason string) {
	for len(b) > 0 {
		switch {
		case b[0] == 0:
			b = b[1:]
		case b[0] == 0xc2:
			return "ipv6_jumbo"
		case len(b) < 2, int(b[1]) > len(b)-2:
			return "ipv6_options"
		default:
			b = b[2+int(b[1]):]
		}
	}
	return ""
}

func (r *reference) judge6(j *journey) outcome {
	to := elsewhere
	switch {
	case j.tuple.Destination.IsMulticast():
		to = multicast
	case r.own.has(j.tuple.Destination):
		to = ownAddress
	}
	if reason := r.badAddress6(j, to); reason != "" {
		return dropped(reason)
	}
	if o, settled := r.settle(j, to); settled {
		return o
	}
	e, ok := r.spd.Match(j.tuple, portGroup(j.role))
	switch { // S-022
	case !ok:
		return dropped("ipv6")
	case j.tuple.Protocol == protocolIPv6 && e.Protocol != protocolIPv6:
		return dropped("protocol_41")
	}
	return r.obey(j, e, to)
}

// badAddress6 is why the addresses of a packet cannot be or cannot be forwarded, empty when they can (RFC 4291 section 2.5).
func (r *reference) badAddress6(j *journey, to target) string {
	source, destination := j.tuple.Source, j.tuple.Destination
	unusable := func(b [16]byte) bool {
		head := [12]byte(b[:12])
		return head == [12]byte{} || head == [12]byte{10: 0xff, 11: 0xff}
	}
	switch {
	case j.role != roleLocal && (unusable(source.As16()) || source.IsMulticast() || r.own.has(source)):
		return "bad_source"
	case to == multicast && j.tuple.Protocol == protocolTCP: // S-106
		return "tcp_multicast"
	case to == multicast:
		return ""
	case unusable(destination.As16()):
		return "bad_destination"
	case to == elsewhere && (source.IsLinkLocalUnicast() || destination.IsLinkLocalUnicast()):
		return "link_local"
	}
	return ""
}

func hopsLeft(ip []byte) uint8 {
	if isIPv6(ip) {
		return ipv6(ip).hopLimit()
	}
	return ipv4(ip).ttl()
}

func decrementHops(ip []byte) []byte {
	if !isIPv6(ip) {
		return decrementTTL(ip)
	}
	ip = append([]byte(nil), ip...)
	ip[7]--
	return ip
}
