package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
)

// Path MTU discovery for outer packets (RFC 1191, RFC 8201, RFC 4301 section 8.2). A router that cannot pass one tells its sender: us.
// Anybody can say so, so it is believed only about a packet that an SA may have sent a moment ago: whoever cannot see that packet would
// have to guess its SPI and sequence number. The SA then takes no larger packets, senders of larger inner ones are told what fits, and after a
// while larger ones are tried again.

const (
	ipv4MinPathMTU = 576 // bytes: RFC 791 section 3.1, what every host takes. A path that carries less is not worth being lied to about

	pathMTULifetime = 10 * time.Minute // RFC 1191 section 6.3
	recentSequences = 1 << 16          // sequence numbers: how late a router's word may come
)

// pathMTU is what an SA has heard of its path.
type pathMTU struct {
	mtu   int       // bytes of the largest outer packet, 0: nothing heard
	until time.Time // when that is forgotten
}

// paths finds outbound SAs by what a router quotes, and those that have heard of a smaller MTU.
type paths struct {
	bySPI   map[uint32][]*outboundSA // the SPI is the peer's choice: several SAs may have it
	lowered map[*outboundSA]bool
}

func newPaths() paths {
	return paths{bySPI: map[uint32][]*outboundSA{}, lowered: map[*outboundSA]bool{}}
}

// outerSPI is the SPI that follows the outer IP header.
func (c *ChildSA) outerSPI() uint32 {
	if c.AH != nil {
		return c.AH.SPI
	}
	return c.SPI
}

// add begins to listen for an SA. One that succeeds another on the same path knows what that one knew.
func (p *paths) add(sa, former *outboundSA) {
	spi := sa.child.outerSPI()
	p.bySPI[spi] = append(p.bySPI[spi], sa)
	if former != nil && former.path.mtu != 0 && former.child.Remote == sa.child.Remote && former.adjacency == sa.adjacency && !sa.child.Encapsulation.NoPathMTU {
		p.lower(sa, former.path)
	}
}

func (p *paths) remove(sa *outboundSA) {
	spi := sa.child.outerSPI()
	p.bySPI[spi] = slices.DeleteFunc(p.bySPI[spi], func(other *outboundSA) bool { return other == sa })
	if len(p.bySPI[spi]) == 0 {
		delete(p.bySPI, spi)
	}
	delete(p.lowered, sa)
}

func (p *paths) lower(sa *outboundSA, to pathMTU) {
	sa.path = to
	p.lowered[sa] = true
	C.sp_sa_out_set_path_mtu(sa.c, C.uint16_t(to.mtu))
}

// forget lets an SA try what its link takes.
func (p *paths) forget(sa *outboundSA) {
	sa.path = pathMTU{}
	delete(p.lowered, sa)
	C.sp_sa_out_set_path_mtu(sa.c, 0)
}

func (p *paths) age(now time.Time) {
	for sa := range p.lowered {
		if !now.Before(sa.path.until) {
			p.forget(sa)
		}
	}
}

// heardTooBig takes a router's word that a packet of ours was too big. It reports whether the packet is such a message, believed or not.
func (d *Dataplane) heardTooBig(now time.Time, ip []byte) bool {
	mtu, original, ok := tooBig(ip)
	if !ok {
		return false
	}
	q, ok := quoteOf(original)
	if !ok || mtu < q.lowestMTU() || q.length <= mtu {
		return true
	}
	for _, sa := range d.sad.paths.bySPI[q.spi] {
		if d.maySent(sa, &q) && mtu < d.outerMTU(sa) {
			d.sad.paths.lower(sa, pathMTU{mtu: mtu, until: now.Add(pathMTULifetime)})
		}
	}
	return true
}

// tooBig reads an ICMP message that a packet is longer than a link's MTU: that MTU, and what is quoted of the packet.
func tooBig(ip []byte) (mtu int, original []byte, ok bool) {
	if isIPv6(ip) {
		body, sound := icmp6Body(ip)
		if !sound || body[0] != icmp6TooBig || body[1] != 0 {
			return 0, nil, false
		}
		return int(min(binary.BigEndian.Uint32(body[4:]), 0xffff)), body[icmpHeaderLen:], true
	}
	p := ipv4(ip)
	if p.protocol() != protocolICMP {
		return 0, nil, false
	}
	body := p.payload()
	if len(body) < icmpHeaderLen || body[0] != icmpUnreachable || body[1] != codeFragmentation || checksum(body) != 0 {
		return 0, nil, false
	}
	return int(binary.BigEndian.Uint16(body[6:])), body[icmpHeaderLen:], true
}

// quote is what an ICMP error tells of the packet that it is about.
type quote struct {
	source, destination netip.AddrPort // ports of UDP encapsulation, else 0
	protocol            crypto.Protocol
	udp                 bool
	spi, sequence       uint32
	length              int // of the packet
}

// quoteOf reads the beginning of an ESP or AH packet as far as its sequence number. A router may quote too little of it (RFC 792 asks for 8 bytes behind the
// IP header): then it tells nothing.
func quoteOf(b []byte) (q quote, ok bool) {
	source, destination, protocol, body, length := outerOf(b)
	if body == nil {
		return q, false
	}
	q = quote{source: netip.AddrPortFrom(source, 0), destination: netip.AddrPortFrom(destination, 0), protocol: crypto.ProtocolESP, length: length}
	switch protocol {
	case protocolUDP:
		if len(body) < udpHeaderLen {
			return q, false
		}
		q.udp = true
		q.source = netip.AddrPortFrom(source, binary.BigEndian.Uint16(body))
		q.destination = netip.AddrPortFrom(destination, binary.BigEndian.Uint16(body[2:]))
		body = body[udpHeaderLen:]
	case protocolAH:
		if len(body) < 4 {
			return q, false
		}
		q.protocol = crypto.ProtocolAH
		body = body[4:]
	case protocolESP:
	default:
		return q, false
	}
	if len(body) < 8 {
		return q, false
	}
	q.spi, q.sequence = binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
	return q, true
}

// outerOf takes the IP header off a quoted packet, whose end is missing; body is nil where there is none or the rest is not its beginning.
func outerOf(b []byte) (source, destination netip.Addr, protocol uint8, body []byte, length int) {
	switch {
	case len(b) >= ipv6HeaderLen && isIPv6(b):
		p := ipv6(b)
		protocol, body = b[6], b[ipv6HeaderLen:]
		if protocol == nextFragment && len(body) >= 8 { // we fragment outer packets where the configuration says so
			if binary.BigEndian.Uint16(body[2:])&^7 != 0 {
				return source, destination, 0, nil, 0
			}
			protocol, body = body[0], body[8:]
		}
		return p.source(), p.destination(), protocol, body, p.totalLen()
	case len(b) >= ipv4HeaderLen && b[0]>>4 == 4:
		p := ipv4(b)
		if p.headerLen() < ipv4HeaderLen || p.headerLen() > len(b) || p.later() {
			return source, destination, 0, nil, 0
		}
		return p.source(), p.destination(), p.protocol(), b[p.headerLen():], p.totalLen()
	}
	return source, destination, 0, nil, 0
}

// lowestMTU is what an MTU is not believed to be below.
func (q *quote) lowestMTU() int {
	if q.source.Addr().Is6() {
		return ipv6MinMTU // RFC 8201 section 4
	}
	return ipv4MinPathMTU
}

// maySent reports whether a quoted packet can be one that the SA has sent lately and still may hear of.
func (d *Dataplane) maySent(sa *outboundSA, q *quote) bool {
	child := &sa.child
	local, remote := child.Local, child.Remote
	if !child.UDPEncap {
		local, remote = netip.AddrPortFrom(local.Addr(), 0), netip.AddrPortFrom(remote.Addr(), 0)
	}
	if child.Encapsulation.NoPathMTU || child.outerProtocol() != q.protocol || child.UDPEncap != q.udp || local != q.source || remote != q.destination {
		return false
	}
	var c C.struct_sp_sa_counters
	C.sp_sa_out_counters(sa.c, &c)
	last, first := uint64(c.sequence), max(child.FirstSequence, 1)
	age := uint64(uint32(last) - q.sequence) // of 64 bits the packet carries the lower 32
	return last >= first && age <= last-first && age < recentSequences
}

// outerProtocol is the protocol that follows the outer IP header.
func (c *ChildSA) outerProtocol() crypto.Protocol {
	if c.AH != nil || c.Protocol == crypto.ProtocolAH {
		return crypto.ProtocolAH
	}
	return crypto.ProtocolESP
}

// outerMTU is the largest outer packet that an SA sends at present.
func (d *Dataplane) outerMTU(sa *outboundSA) int {
	switch {
	case sa.path.mtu != 0:
		return sa.path.mtu
	case int(sa.adjacency) < len(d.slow.adjacencies.keys):
		return d.cfg.Ports[d.slow.adjacencies.keys[sa.adjacency].Port].MTU
	}
	return 0 // without a next hop it sends none
}
