package pipeline

import (
	"encoding/binary"
	"errors"

	"sallyport/crypto"
	"sallyport/policy"
)

// protect sends a packet into a tunnel: RFC 4301 section 5.1, RFC 4303 section 3.3.
func (r *reference) protect(j *journey, id CellID) outcome {
	cell := r.cells[id]
	switch {
	case j.clear() && j.role == roleUnprotected, !j.clear() && j.inCell == int(id):
		return dropped("protect_from_unprotected")
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
	largest := largestInner(sa.child.Suite, sa.child.UDPEncap, mtu)
	switch {
	case !selected(sa.child.Selectors, j.tuple, true):
		return dropped("selector_mismatch")
	case hopsLeft(j.ip) <= 1 && j.role != roleLocal:
		return dropped("ttl_expired")
	case len(j.ip) > largest:
		return outcome{Disposition: packetDropped, Reason: "mtu_exceeded", MTU: largest}
	case !sa.child.ESN && sa.sequence >= 1<<32-1: // RFC 4303 section 3.3.3
		return dropped("seq_exhausted")
	}
	sa.sequence++
	inner := j.ip
	if j.role != roleLocal {
		inner = decrementHops(inner)
	}
	return r.transmit(key.Port, mac, sa.encapsulate(inner, sa.sequence))
}

func (sa *referenceOut) encapsulate(inner []byte, sequence uint64) []byte {
	next := uint8(protocolIPv4)
	if isIPv6(inner) {
		next = protocolIPv6
	}
	outer := sa.child.Encapsulation.outerFields(inner)
	sealed, err := sa.esp.Seal(sequence, nil, inner, next)
	if err != nil {
		panic(err) // the sequence number was checked
	}
	protocol, header := uint8(protocolESP), ipv4HeaderLen
	if sa.child.UDPEncap {
		protocol, header = protocolUDP, ipv4HeaderLen+udpHeaderLen
	}
	b := make([]byte, header+len(sealed))
	copy(b[header:], sealed)
	putIPv4(b, outer.class, outer.ttl, protocol, outer.df, sa.child.Local.Addr(), sa.child.Remote.Addr())
	if outer.df == 0 { // RFC 6864 section 4: an ID only where routers may fragment
		binary.BigEndian.PutUint16(b[4:], uint16(sequence))
		setHeaderChecksum(b)
	}
	if sa.child.UDPEncap { // RFC 3948 section 2.1: the checksum is zero
		u := b[ipv4HeaderLen:]
		binary.BigEndian.PutUint16(u, sa.child.Local.Port())
		binary.BigEndian.PutUint16(u[2:], sa.child.Remote.Port())
		binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	}
	return b
}

// demultiplex tells apart what arrives on UDP port 4500 (RFC 3948 section 2).
func (r *reference) demultiplex(j *journey) outcome {
	udp := ipv4(j.ip).payload()
	if len(udp) < udpHeaderLen {
		return dropped("l4_truncated")
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeaderLen || length > len(udp) {
		return dropped("l4_truncated")
	}
	body := udp[udpHeaderLen:length]
	switch {
	case len(body) == 1 && body[0] == 0xff:
		return dropped("nat_keepalive")
	case len(body) >= 4 && binary.BigEndian.Uint32(body) == 0:
		return outcome{Disposition: packetIKE}
	}
	return r.decapsulate(j, body, true)
}

// decapsulate takes a packet out of its tunnel: RFC 4301 section 5.2, RFC 4303 section 3.4.
func (r *reference) decapsulate(j *journey, esp []byte, udp bool) outcome {
	if len(esp) < espHeaderLen {
		return dropped("esp_truncated")
	}
	sa := r.inbound[binary.BigEndian.Uint32(esp)]
	if sa == nil {
		return dropped("no_inbound_sa")
	}
	inner, reason := sa.open(j.ip, esp, udp)
	if reason != "" {
		return dropped(reason)
	}
	tuple := tupleOf(inner)
	if !selected(sa.child.Selectors, tuple, false) { // S-065
		return dropped("selector_mismatch")
	}
	return r.judge(&journey{ip: inner, tuple: tuple, port: j.port, role: j.role, inCell: int(sa.child.Cell)})
}

func (sa *referenceIn) open(outer ipv4, esp []byte, udp bool) (inner []byte, reason string) {
	suite := sa.child.Suite
	text := len(esp) - espHeaderLen - suite.IVLen() - suite.ICVLen()
	switch {
	case udp != sa.child.UDPEncap:
		return nil, "encapsulation"
	case text < suite.BlockSize():
		return nil, "esp_truncated"
	case text%suite.BlockSize() != 0:
		return nil, "esp_length"
	}
	sequence := uint64(binary.BigEndian.Uint32(esp[4:]))
	if sa.child.ESN {
		sequence = sa.window.infer(uint32(sequence))
	}
	if reason := sa.window.check(sequence); reason != "" {
		return nil, reason
	}
	payload, next, _, err := sa.esp.Open(esp, uint32(sequence>>32))
	if errors.Is(err, crypto.ErrICV) {
		return nil, "auth_failed"
	}
	sa.window.accept(sequence) // the ICV was right: the number is spent, whatever the rest is like
	switch {
	case err != nil:
		return nil, "bad_padding"
	case next == 59: // RFC 4303 section 2.6
		return nil, "dummy"
	case next != protocolIPv4 && next != protocolIPv6:
		return nil, "next_header"
	}
	if next == protocolIPv6 {
		inner, reason = parseIPv6(payload)
	} else {
		inner, reason = parseIPv4(payload)
	}
	switch {
	case reason == "fragment", reason == "ipv6_fragment":
		return nil, reason
	case reason != "":
		return nil, "inner_header"
	}
	return congestionInside(inner, trafficClassOf(outer))
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
