package pipeline

import (
	"encoding/binary"
	"errors"

	"sallyport/crypto"
	"sallyport/policy"
)

// protect sends a packet by an SA: RFC 4301 section 5.1, RFC 4302 section 3.3, RFC 4303 section 3.3.
func (r *reference) protect(j *journey, e *policy.Entry, to target) outcome {
	id := r.tunnels[e.Tunnel]
	cell := r.cells[id]
	switch {
	case j.clear() && j.role == roleUnprotected, !j.clear() && j.inCell == int(id):
		return dropped("protect_from_unprotected")
	case to == elsewhere && !j.clear() && r.clearBySoft(j, e): // what came protected
		return dropped("clear_to_unprotected")
	case to == elsewhere && r.clearBySoft(j, e):
		return r.forward(j, false)
	case cell.out == nil && cell.state == CellHold:
		return outcome{Disposition: packetAcquire}
	case cell.out == nil && cell.state == CellFailed: // S-024
		return dropped("blocked_negotiation_failed")
	case cell.out == nil:
		return dropped("no_outbound_sa")
	}
	sa := cell.out
	key, ok := nextHop(r.routes, sa.child.Remote.Addr())
	mac, resolved := r.neighbours[key]
	switch {
	case !ok:
		return dropped("no_route")
	case !resolved:
		return outcome{Disposition: packetNeighbour}
	}
	mtu := r.ports[key.Port].MTU
	largest := sa.child.largest(mtu, sa.child.stays(j.ip))
	after := len(j.ip) > largest && sa.child.cutsAfter(j)
	switch {
	case !selected(sa.child.Selectors, j.tuple, true), sa.child.Transport && !sa.child.between(j.tuple):
		return dropped("selector_mismatch")
	case sa.ah != nil && sa.child.stays(j.ip) > ahHeadersMax:
		return dropped("ah_headers")
	case hopsLeft(j.ip) <= 1 && j.role != roleLocal:
		return dropped("ttl_expired")
	case len(j.ip) > largest && !after && (sa.child.Transport || largest == 0 || j.cut(j.ip, largest) == nil):
		return outcome{Disposition: packetDropped, Reason: "mtu_exceeded", MTU: leastAsked(j.ip, largest)}
	case !sa.child.ESN && sa.sequence >= 1<<32-1: // RFC 4303 section 3.3.3
		return dropped("seq_exhausted")
	}
	parts := [][]byte{r.clampFor(sa.child.Encapsulation, sa, j.ip)}
	switch { // RFC 4301 section 8.1
	case after:
		sa.sequence++
		if j.role != roleLocal {
			parts[0] = decrementHops(parts[0])
		}
		return r.transmit(key.Port, mac, sa.wrapAndCut(parts[0], sa.sequence, min(sa.child.Encapsulation.TFCPad, largest), mtu)...)
	case len(j.ip) > largest:
		parts = j.cut(parts[0], largest)
	}
	for i, inner := range parts {
		sa.sequence++
		if j.role != roleLocal {
			inner = decrementHops(inner)
		}
		parts[i] = sa.wrap(inner, sa.sequence, min(sa.child.Encapsulation.TFCPad, largest))
	}
	return r.transmit(key.Port, mac, parts...)
}

// stays is the length of what of a packet stays in front of ESP or AH: in transport mode the IPv4 header, or the IPv6 header
// with the extension headers that routers read (RFC 4303 section 3.1.1).
func (c *ChildSA) stays(ip []byte) int {
	switch {
	case !c.Transport:
		return 0
	case !isIPv6(ip):
		return ipv4(ip).headerLen()
	}
	end := ipv6HeaderLen
	next, at := ip[6], ipv6HeaderLen
	for next == nextHopByHop || next == nextRouting || next == nextDestination {
		kind := next
		next, at = ip[at], at+8+8*int(ip[at+1])
		if kind != nextDestination { // destination options only in front of a routing header
			end = at
		}
	}
	return end
}

// between reports whether a packet goes from one end of the SA to the other.
func (c *ChildSA) between(p policy.Packet) bool {
	return p.Source == c.Local.Addr() && p.Destination == c.Remote.Addr()
}

// largest is the length of the largest packet that the SA makes fit into mtu bytes, zero when none does. It is the next-hop
// MTU of an ICMP error about a packet that the SA would carry.
func (c *ChildSA) largest(mtu, stays int) int {
	outer, block, trailer := stays, 1, 0
	if !c.Transport {
		outer = c.outerLen()
	}
	if c.UDPEncap {
		outer += udpHeaderLen
	}
	if c.isAH() {
		outer += ahLen(c.Suite, c.Local.Addr().Is6())
	} else {
		outer, trailer = outer+espHeaderLen+c.Suite.IVLen()+c.Suite.ICVLen(), 2
		block = max(c.Suite.BlockSize(), 4) // RFC 4303 section 2.4: pad length and next header end on a 4-byte boundary
	}
	if c.AH != nil {
		outer += ahLen(c.AH.Suite, c.Local.Addr().Is6())
	}
	room := mtu - outer
	if room < block {
		return 0
	}
	if n := stays + room/block*block - trailer; n >= ipv4HeaderLen {
		return n
	}
	return 0
}

func (c *ChildSA) outerLen() int {
	if c.Local.Addr().Is6() {
		return ipv6HeaderLen
	}
	return ipv4HeaderLen
}

// encapsulate is the IP packet around an inner one, without padding.
func (sa *referenceOut) encapsulate(inner []byte, sequence uint64) []byte {
	return sa.wrap(inner, sequence, 0)
}

// wrap is the same, with an inner packet padded to at least so many bytes in tunnel mode (RFC 4303 section 2.7).
func (sa *referenceOut) wrap(inner []byte, sequence uint64, padded int) []byte {
	c := &sa.child
	next, payload := uint8(protocolIPv4), inner
	if isIPv6(inner) {
		next = protocolIPv6
	}
	var packet []byte // up to the payload
	if c.Transport {
		packet, payload = append(packet, inner[:c.stays(inner)]...), inner[c.stays(inner):]
		next = protocolBehind(packet)
	} else {
		packet = c.outerHeader(inner, sequence)
	}
	headers, protocol := len(packet), next
	if sa.esp != nil {
		sealed, err := sa.esp.Seal(sequence, nil, append(append([]byte(nil), payload...), make([]byte, max(0, padded-len(inner)))...), next)
		if err != nil {
			panic(err) // the sequence number was checked
		}
		payload, protocol = sealed, protocolESP
	}
	if c.UDPEncap {
		payload, protocol = append(make([]byte, udpHeaderLen), payload...), protocolUDP
	}
	packet = lead(append(packet, payload...), headers, protocol)
	if c.UDPEncap {
		c.fillUDP(packet, headers)
	}
	if sa.ah != nil {
		var err error
		if packet, err = sa.ah.Protect(packet, sequence); err != nil {
			panic(err)
		}
	}
	return packet
}

// outerHeader is that of a tunnel, but for what it leads to.
func (c *ChildSA) outerHeader(inner []byte, sequence uint64) []byte {
	outer := c.Encapsulation.outerFields(inner)
	b := make([]byte, c.outerLen())
	if c.Local.Addr().Is6() {
		putIPv6(b, 0, outer.ttl, c.Local.Addr(), c.Remote.Addr())
		return withClass(b, outer.class)
	}
	putIPv4(b, outer.class, outer.ttl, 0, outer.df, c.Local.Addr(), c.Remote.Addr())
	if outer.df == 0 { // RFC 6864 section 4: an ID only where routers may fragment
		binary.BigEndian.PutUint16(b[4:], uint16(sequence))
	}
	return b
}

// fillUDP fills in the UDP header behind an IP header. Its checksum is zero over IPv4 (RFC 3948 section 2.1), right over IPv6
// (RFC 8200 section 8.1).
func (c *ChildSA) fillUDP(packet []byte, headers int) {
	u := packet[headers:]
	binary.BigEndian.PutUint16(u, c.Local.Port())
	binary.BigEndian.PutUint16(u[2:], c.Remote.Port())
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	if !isIPv6(packet) {
		return
	}
	if sum := checksum6(packet, protocolUDP, u); sum != 0 {
		binary.BigEndian.PutUint16(u[6:], sum)
	} else {
		binary.BigEndian.PutUint16(u[6:], 0xffff)
	}
}

// namesAt is where a packet whose headers are so long says what they lead to.
func namesAt(packet []byte, headers int) int {
	if !isIPv6(packet) {
		return 9
	}
	return ipv6(packet).nextAt(headers)
}

// protocolBehind is what a packet's headers, which are all of it, lead to.
func protocolBehind(headers []byte) uint8 { return headers[namesAt(headers, len(headers))] }

// lead makes the headers at the start of a packet lead to a protocol, and say its length.
func lead(packet []byte, headers int, protocol uint8) []byte {
	packet[namesAt(packet, headers)] = protocol
	if isIPv6(packet) {
		binary.BigEndian.PutUint16(packet[4:], uint16(len(packet)-ipv6HeaderLen))
		return packet
	}
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	setHeaderChecksum(packet)
	return packet
}

// headersOf is the length of a packet's headers up to what filters see as its protocol.
func headersOf(ip []byte) int {
	if !isIPv6(ip) {
		return ipv4(ip).headerLen()
	}
	_, payload := ipv6(ip).upper()
	return len(ip) - len(payload)
}

// demultiplex tells apart what arrives on UDP port 4500 (RFC 3948 section 2).
func (r *reference) demultiplex(j *journey, takesIKE bool) outcome {
	udp := j.ip[headersOf(j.ip):]
	if len(udp) < udpHeaderLen {
		return dropped("l4_truncated")
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeaderLen || length > len(udp) {
		return dropped("l4_truncated")
	}
	body := udp[udpHeaderLen:length]
	addresses := j.ip[12:20]
	if isIPv6(j.ip) {
		addresses = j.ip[8:40]
	}
	ike := len(body) >= 4 && binary.BigEndian.Uint32(body) == 0
	switch unsummed := binary.BigEndian.Uint16(udp[6:]) == 0; {
	case unsummed && isIPv6(j.ip) && ike, !unsummed && fold(sum(sum(uint32(protocolUDP)+uint32(length), addresses), udp[:length])) != 0:
		return dropped("udp_checksum")
	}
	switch {
	case len(body) == 1 && body[0] == 0xff:
		return dropped("nat_keepalive")
	case ike && !takesIKE:
		return dropped("no_inbound_sa")
	case ike:
		return outcome{Disposition: packetIKE}
	}
	return r.decapsulate(j, body, true)
}

// settleProtected takes ESP and AH for the gateway apart, once; false when the packet is neither.
func (r *reference) settleProtected(j *journey) (outcome, bool) {
	switch {
	case j.tuple.Protocol != protocolESP && j.tuple.Protocol != protocolAH:
		return outcome{}, false
	case !j.clear() || j.role == roleLocal:
		return dropped("nested"), true
	}
	return r.decapsulate(j, j.ip[headersOf(j.ip):], false), true
}

// decapsulate takes a packet out of its SA: RFC 4301 section 5.2. The body begins with ESP or AH.
func (r *reference) decapsulate(j *journey, body []byte, udp bool) outcome {
	var inner []byte
	var reason string
	var sa *referenceIn
	if len(body) == 0 {
		return dropped("no_payload")
	}
	if ah := j.tuple.Protocol == protocolAH; ah {
		if len(body) < ahHeaderLen {
			return dropped("ah_truncated")
		}
		spi := binary.BigEndian.Uint32(body[4:])
		if isEcho(spi) {
			return outcome{Disposition: packetEcho}
		}
		if sa = r.inbound[spi]; sa == nil || sa.ah == nil || spi != sa.child.ahSPI() {
			return dropped("no_inbound_sa")
		}
		inner, reason = sa.openAH(j.ip)
	} else {
		if len(body) < espHeaderLen {
			return dropped("esp_truncated")
		}
		spi := binary.BigEndian.Uint32(body)
		if isEcho(spi) && !udp {
			return outcome{Disposition: packetEcho}
		}
		if sa = r.inbound[spi]; sa == nil || sa.esp == nil || spi != sa.child.SPI {
			return dropped("no_inbound_sa")
		}
		inner, reason = sa.openBare(j.ip, body, udp)
	}
	switch {
	case isFragment(reason):
		w, end := r.reassemble(j.port, int(sa.child.Cell), inner)
		if w == nil {
			return end
		}
		if _, reason = parseIP(w.ip); reason != "" {
			end = dropped(reason)
		} else {
			end = r.decapsulated(j, sa, w.ip, w)
		}
		end.Merged = w.others
		return end
	case reason != "":
		return dropped(reason)
	}
	return r.decapsulated(j, sa, inner, nil)
}

// decapsulated judges what came out of a tunnel; w if it was in fragments there.
func (r *reference) decapsulated(j *journey, sa *referenceIn, inner []byte, w *whole) outcome {
	tuple := tupleOf(inner)
	if !selected(sa.child.Selectors, tuple, false) { // S-065
		return dropped("selector_mismatch")
	}
	inner = r.clampFor(sa.child.Encapsulation, r.cells[sa.child.Cell].out, inner)
	return r.judge(&journey{ip: inner, tuple: tuple, port: j.port, role: j.role, inCell: int(sa.child.Cell), whole: w})
}

// unwrap takes apart a packet that is the SA's.
func (sa *referenceIn) unwrap(ip []byte) (inner []byte, reason string) {
	body := ip[headersOf(ip):]
	if sa.ah != nil {
		return sa.openAH(ip)
	}
	if sa.child.UDPEncap {
		body = body[udpHeaderLen:]
	}
	return sa.openBare(ip, body, sa.child.UDPEncap)
}

// openBare opens ESP that no AH is around.
func (sa *referenceIn) openBare(outer, esp []byte, udp bool) (inner []byte, reason string) {
	switch {
	case sa.ah != nil:
		return nil, "bundle"
	case udp != sa.child.UDPEncap:
		return nil, "encapsulation"
	}
	return sa.openESP(outer, esp)
}

// openESP follows RFC 4303 section 3.4.
func (sa *referenceIn) openESP(outer, esp []byte) (inner []byte, reason string) {
	suite := sa.child.Suite
	text := len(esp) - espHeaderLen - suite.IVLen() - suite.ICVLen()
	switch {
	case text < suite.BlockSize():
		return nil, "esp_truncated"
	case text%suite.BlockSize() != 0:
		return nil, "esp_length"
	}
	sequence, reason := sa.window.expect(binary.BigEndian.Uint32(esp[4:]), sa.child.ESN)
	if reason != "" {
		return nil, reason
	}
	payload, next, _, err := sa.esp.Open(esp, uint32(sequence>>32))
	if errors.Is(err, crypto.ErrICV) {
		return nil, "auth_failed"
	}
	sa.window.accept(sequence) // the ICV was right: the number is spent, whatever the rest is like
	if err != nil {
		return nil, "bad_padding"
	}
	return sa.content(outer, headersOf(outer), payload, next)
}

// content is the packet that was under ESP or AH. In transport mode the outer packet's headers are its own.
func (sa *referenceIn) content(outer []byte, headers int, payload []byte, next uint8) (inner []byte, reason string) {
	wide := next == protocolIPv6
	switch {
	case next == 59: // RFC 4303 section 2.6
		return nil, "dummy"
	case sa.child.Transport:
		payload = lead(append(append([]byte(nil), outer[:headers]...), payload...), headers, next)
		if sa.child.UDPEncap {
			behindNAT(payload, sa.child.Remote.Addr())
		}
		wide = isIPv6(outer)
	case !wide && next != protocolIPv4:
		return nil, "next_header"
	case len(payload) == 0:
		return nil, "no_payload"
	}
	if wide {
		inner, reason = parseIPv6(payload)
	} else {
		inner, reason = parseIPv4(payload)
	}
	switch {
	case reason != "" && (sa.child.Transport || !isFragment(reason)):
		return nil, "inner_header"
	case sa.child.Transport:
		return inner, ""
	}
	inner, lost := congestionInside(inner, trafficClassOf(outer))
	if lost != "" {
		return nil, lost
	}
	return inner, reason
}

func selected(selectors []policy.Selector, p policy.Packet, outbound bool) bool {
	for _, s := range selectors {
		if s.Matches(p, outbound) {
			return true
		}
	}
	return false
}

// referenceWindow is the replay window as RFC 4303 section 3.4.3 describes it: a set of numbers.
type referenceWindow struct {
	size uint64
	top  uint64
	seen map[uint64]bool
}

func newReferenceWindow(size int) referenceWindow {
	return referenceWindow{size: uint64(size), seen: map[uint64]bool{}}
}

func (w *referenceWindow) check(sequence uint64) string {
	switch {
	case sequence == 0, sequence+w.size <= w.top:
		return "replay_old"
	case w.seen[sequence]:
		return "replay_duplicate"
	}
	return ""
}

// expect is the whole sequence number of a packet, and the reason why it cannot be accepted.
func (w *referenceWindow) expect(low uint32, esn bool) (sequence uint64, reason string) {
	sequence = uint64(low)
	if esn {
		sequence = w.infer(low)
	}
	return sequence, w.check(sequence)
}

func (w *referenceWindow) accept(sequence uint64) {
	w.seen[sequence] = true
	w.top = max(w.top, sequence)
}

// infer finds the upper half of an extended sequence number: the one that puts the number nearest the window and not
// below it (RFC 4303 appendix A2.2).
func (w *referenceWindow) infer(low uint32) uint64 {
	bottom := uint64(0)
	if w.top+1 > w.size {
		bottom = w.top + 1 - w.size
	}
	sequence := bottom&^0xffffffff | uint64(low)
	if sequence < bottom {
		sequence += 1 << 32
	}
	return sequence
}
