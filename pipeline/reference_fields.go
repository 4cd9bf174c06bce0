package pipeline

// The reference for the fields that an outer header takes from the inner one, and for what it gives back.

// outerFields is what of an outer header the configuration of an SA and the inner packet decide: RFC 4301 section 5.1.2.
type outerFields struct {
	class uint8  // TOS or traffic class
	ttl   uint8  // or hop limit
	df    uint16 // flags of an IPv4 header
}

// Code points of ECN (RFC 3168 section 5).
const (
	ecnMask = 3
	notECT  = 0
	ect1    = 1
	ect0    = 2
	markCE  = 3
)

func trafficClassOf(ip []byte) uint8 {
	if isIPv6(ip) {
		return ipv6(ip).trafficClass()
	}
	return ip[1]
}

func (e *Encapsulation) outerFields(inner []byte) outerFields {
	class := trafficClassOf(inner)
	dscp, ecn := class>>2, class&ecnMask
	if e.DSCP != nil { // RFC 2983
		dscp = *e.DSCP
	}
	if e.ECNOff { // RFC 6040 section 4.1
		ecn = notECT
	}
	f := outerFields{class: dscp<<2 | ecn, ttl: 64}
	if e.TTL != 0 {
		f.ttl = e.TTL
	}
	switch {
	case e.DF == DFSet, e.DF == DFCopy && isIPv6(inner): // routers may not fragment IPv6
		f.df = flagDontFragment
	case e.DF == DFCopy:
		f.df = ipv4(inner).fragment() & flagDontFragment
	}
	return f
}

// congestionInside gives an inner packet, of either version, the ECN field of RFC 6040 section 4.2. The reason is why it is dropped instead.
func congestionInside(inner []byte, outerClass uint8) ([]byte, string) {
	class := trafficClassOf(inner)
	ecn := class & ecnMask
	switch outer := outerClass & ecnMask; {
	case ecn == notECT && outer == markCE:
		return nil, "ecn"
	case ecn == notECT, ecn == markCE:
	case outer == markCE:
		ecn = markCE
	case outer == ect1:
		ecn = ect1
	}
	return withClass(inner, class&^ecnMask|ecn), ""
}

// withClass is the packet with another TOS or traffic class.
func withClass(ip []byte, class uint8) []byte {
	ip = append([]byte(nil), ip...)
	if isIPv6(ip) {
		ip[0], ip[1] = ip[0]&0xf0|class>>4, ip[1]&0x0f|class<<4
		return ip
	}
	ip[1] = class
	setHeaderChecksum(ip)
	return ip
}
