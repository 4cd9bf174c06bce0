package pipeline

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// reference is the data plane once more, in plain Go and with no thought of speed: every packet function of the C fast path
// has its mirror here. Tests send the same frames through both and compare outputs byte for byte and drop reasons by name.
// It keeps no cache: each packet is judged anew.
type reference struct {
	ports      []PortSpec
	own        addresses
	withoutIKE map[int]bool // ports
	spd        *policy.SPD
	routes     []hop
	tunnels    map[string]CellID
	cells      map[CellID]*referenceCell
	inbound    map[uint32]*referenceIn
	neighbours map[neighbourKey]macAddress // the resolved ones
	soft       map[softTraffic]bool
	fragments  map[fragmentKey]*partial
	now        time.Duration // of fragments
}

// softTraffic is one direction of a soft SA.
type softTraffic struct {
	entry               uint32
	source, destination netip.Addr
}

// clearBySoft reports whether a soft SA lets a packet pass that a filter decides, in place of the filter's tunnel.
func (r *reference) clearBySoft(j *journey, e *policy.Entry) bool {
	cell := r.cells[r.tunnels[e.Tunnel]]
	return e.Fallback && cell.out == nil && cell.state == CellHold && r.soft[softTraffic{e.ID, j.tuple.Source, j.tuple.Destination}]
}

type referenceCell struct {
	state CellState
	out   *referenceOut
}

type referenceOut struct {
	child    ChildSA
	esp      *crypto.ESP // nil in AH alone
	ah       *crypto.AH  // nil in ESP alone
	sequence uint64      // last used, of both layers
}

type referenceIn struct {
	child    ChildSA
	esp      *crypto.ESP
	ah       *crypto.AH
	window   referenceWindow // ESP's
	ahWindow referenceWindow
}

// disposition is where a packet ends.
type disposition string

const (
	packetForwarded disposition = "forwarded"
	packetDropped   disposition = "dropped"
	packetARP       disposition = "arp"
	packetDiscovery disposition = "discovery"
	packetIKE       disposition = "ike"
	packetEcho      disposition = "echo"
	packetLocal     disposition = "local"
	packetGroup     disposition = "group"     // delivered: to a group that the gateway is in
	packetNeighbour disposition = "neighbour" // held
	packetAcquire   disposition = "acquire"   // held

	packetReassembling disposition = "reassembling" // a fragment, waits for others
)

// outcome is everything that can be seen of a packet's end.
type outcome struct {
	Disposition disposition
	Reason      string // of a drop
	Port        int    // egress, when forwarded
	Frame       []byte // when forwarded
	MTU         int    // with the reason mtu_exceeded

	More   [][]byte // when forwarded in fragments: those after the first
	Merged int      // fragments that arrived earlier and are part of the packet
	With   int      // fragments that arrived earlier and were dropped with this one
}

func dropped(reason string) outcome { return outcome{Disposition: packetDropped, Reason: reason} }

// journey is a packet on its way through the reference.
type journey struct {
	ip     []byte // of either version
	tuple  policy.Packet
	port   int // it arrived by, -1 for the gateway itself
	role   uint8
	inCell int    // the tunnel that brought it, or arrivedClear
	whole  *whole // if it arrived in fragments
}

const arrivedClear = -1

func (j *journey) clear() bool { return j.inCell == arrivedClear }

func (p *PortSpec) referenceRole() uint8 {
	if p.Role == policy.PortsLAN {
		return roleProtected
	}
	return roleUnprotected
}

// process takes a frame received on a port to its end.
func (r *reference) process(port int, frame []byte) outcome {
	if len(frame) < etherHeaderLen {
		return dropped("truncated")
	}
	frame = untagPriority(frame)
	group := frame[0]&1 != 0
	if !group && string(frame[:6]) != string(r.ports[port].MAC) {
		return dropped("other_mac")
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeARP:
		return r.arp(port, frame)
	case etherTypeIPv6:
		return r.process6(port, frame)
	case etherTypeIPv4:
	case etherTypeVLAN, etherTypeQinQ:
		return dropped("unknown_vlan")
	default:
		return dropped("ether_type")
	}
	ip, reason := parseIPv4(frame[etherHeaderLen:])
	switch {
	case reason != "" && !isFragment(reason):
		return dropped(reason)
	case group && !r.groupDestination(ip.destination()):
		return dropped("link_broadcast")
	case isFragment(reason):
		return r.fragment(port, ip)
	}
	return r.received(&journey{ip: ip, tuple: packetOf(ip), port: port, role: r.ports[port].referenceRole(), inCell: arrivedClear})
}

// arp is for the slow path if it asks for an address of the port, or is from a neighbour that was asked for.
func (r *reference) arp(port int, frame []byte) outcome {
	m, ok := parseARP(frame)
	_, known := r.neighbours[neighbourKey{Port: port, Address: m.senderAddr}]
	switch {
	case !ok || m.op != arpRequestOp && m.op != arpReplyOp:
		return dropped("arp_nd_invalid")
	case r.own.on(port, m.senderAddr):
		return dropped("bad_source")
	case !r.own.on(port, m.targetAddr):
		return dropped("arp_nd_other")
	case m.op == arpReplyOp && !known:
		return dropped("arp_nd_unasked")
	}
	return outcome{Disposition: packetARP}
}

// fragment takes a fragment that arrived in clear to its end, or its packet if that is now complete.
func (r *reference) fragment(port int, ip []byte) outcome {
	w, end := r.reassemble(port, arrivedClear, ip)
	if w == nil {
		return end
	}
	ip, reason := parseIP(w.ip)
	if reason != "" {
		end = dropped(reason)
	} else {
		end = r.received(&journey{ip: ip, tuple: tupleOf(ip), port: port, role: r.ports[port].referenceRole(), inCell: arrivedClear, whole: w})
	}
	end.Merged = w.others
	return end
}

// received takes a packet that arrived in clear to its end.
func (r *reference) received(j *journey) outcome {
	if j.tuple.Protocol == protocolESP && r.own.on(j.port, j.tuple.Destination) {
		return r.decapsulate(j, j.ip[headersOf(j.ip):], false) // before its addresses are judged
	}
	return r.judge(j)
}

// untagPriority takes off a tag that has only a priority (IEEE 802.1Q section 6.7).
func untagPriority(frame []byte) []byte {
	if len(frame) < etherHeaderLen+4 || binary.BigEndian.Uint16(frame[12:]) != etherTypeVLAN || binary.BigEndian.Uint16(frame[14:])&0xfff != 0 {
		return frame
	}
	return append(frame[:12:12], frame[16:]...)
}

// parseIPv4 checks a header and cuts the packet to its length. The reason is empty when nothing speaks against it.
func parseIPv4(b []byte) (p ipv4, reason string) {
	if len(b) < ipv4HeaderLen {
		return nil, "truncated"
	}
	p = ipv4(b)
	switch {
	case b[0]>>4 != 4:
		return nil, "ip_version"
	case p.headerLen() < ipv4HeaderLen || p.headerLen() > len(b):
		return nil, "ip_header_length"
	case !optionsSound(b[ipv4HeaderLen:p.headerLen()]):
		return nil, "ip_options"
	case p.totalLen() < p.headerLen() || p.totalLen() > len(b):
		return nil, "ip_total_length"
	case checksum(b[:p.headerLen()]) != 0:
		return nil, "ip_checksum"
	case p.fragmented():
		return p[:p.totalLen()], "fragment"
	case hasPorts(p.protocol()) && p.totalLen() == p.headerLen():
		return nil, "no_payload"
	case hasPorts(p.protocol()) && p.totalLen()-p.headerLen() < 4:
		return nil, "l4_truncated"
	}
	return p[:p.totalLen()], ""
}

// optionsSound refuses source routes and options whose lengths do not fit (RFC 791 section 3.1).
func optionsSound(b []byte) bool {
	for len(b) > 0 {
		switch {
		case b[0] == 0:
			return true
		case b[0] == 1:
			b = b[1:]
		case b[0] == 131, b[0] == 137, len(b) < 2, b[1] < 2, int(b[1]) > len(b):
			return false
		default:
			b = b[b[1]:]
		}
	}
	return true
}

// target is what a destination is to the gateway.
type target int

const (
	elsewhere         target = iota
	ownAddress               // of the gateway
	multicast                // S-104
	broadcast                // limited, or of the subnet that the packet came from
	directedBroadcast        // of another attached subnet (RFC 2644)
)

// targetOf a packet. A /31 or /32 has no broadcast address (RFC 3021). What came out of a tunnel came from no subnet.
func (r *reference) targetOf(j *journey) target {
	to := j.tuple.Destination
	switch {
	case to.IsMulticast():
		return multicast
	case to == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return broadcast
	case r.subnetBroadcast(to, func(port int) bool { return port == j.port && j.clear() }):
		return broadcast
	case r.subnetBroadcast(to, func(int) bool { return true }):
		return directedBroadcast
	case r.own.has(to):
		return ownAddress
	}
	return elsewhere
}

func (r *reference) subnetBroadcast(a netip.Addr, of func(port int) bool) bool {
	for port := range r.own {
		for _, p := range r.own[port] {
			if of(port) && p.Bits() < 31 && a == policy.RangeOf(p).Last {
				return true
			}
		}
	}
	return false
}

// judge finds the verdict of a packet and carries it out.
func (r *reference) judge(j *journey) outcome {
	if isIPv6(j.ip) {
		return r.judge6(j)
	}
	to := r.targetOf(j)
	if reason := r.badAddress(j, to); reason != "" {
		return dropped(reason)
	}
	if o, settled := r.settle(j, to); settled {
		return o
	}
	e, ok := r.spd.Match(j.tuple, portGroup(j.role))
	if j.tuple.Protocol == 41 && (!ok || e.Protocol != 41) { // S-022
		return dropped("protocol_41")
	}
	if !ok {
		if r.spd.DefaultAction != policy.ActionPermit { // S-008
			return dropped("no_filter")
		}
		return r.deliver(j, to, false)
	}
	return r.obey(j, e, to)
}

// settle is what becomes of a packet before the filters are asked: ESP, AH and what is exempt.
func (r *reference) settle(j *journey, to target) (outcome, bool) {
	if to == ownAddress {
		if o, settled := r.settleProtected(j); settled {
			return o, true
		}
	}
	if !j.clear() || j.role == roleLocal {
		return outcome{}, false
	}
	if to == elsewhere {
		if !r.transit(j) {
			return outcome{}, false
		}
		return r.settleProtected(j)
	}
	x := r.exempt(j)
	switch {
	case to == ownAddress && r.isTooBig(j.ip):
		return outcome{Disposition: packetLocal}, true
	case x == nil && r.takesUDP(j, to):
		return r.demultiplex(j, false), true
	case x == nil:
		return outcome{}, false
	case x.Kind != policy.ExemptIKE:
		return r.deliver(j, to, false), true
	case j.tuple.DestinationPort == portIKENATT:
		return r.demultiplex(j, true), true
	}
	return outcome{Disposition: packetIKE}, true
}

// transit reports whether an SA in transport mode is between the packet's addresses: one for a host behind the gateway.
func (r *reference) transit(j *journey) bool {
	for _, sa := range r.inbound {
		if c := &sa.child; c.Transport && c.Remote.Addr() == j.tuple.Source && c.Local.Addr() == j.tuple.Destination {
			return true
		}
	}
	return false
}

// obey carries out what a filter says of a packet.
func (r *reference) obey(j *journey, e *policy.Entry, to target) outcome {
	switch e.Verdict {
	case policy.VerdictPermit:
		return r.deliver(j, to, false)
	case policy.VerdictStale: // S-011
		return dropped("stale_endpoint")
	case policy.VerdictProtect, policy.VerdictRequire:
	default:
		return dropped("filter_block")
	}
	switch {
	case to == multicast: // S-105
		return dropped("multicast")
	case to == broadcast:
		return dropped("broadcast")
	case e.Verdict == policy.VerdictProtect:
		return r.protect(j, e, to)
	}
	return r.require(j, e, to)
}

// exempt is the exemption of a packet that arrived in clear for the gateway or a group (S-028 to S-036, S-041).
func (r *reference) exempt(j *journey) *policy.Exemption {
	for i := range r.spd.Exemptions {
		x := &r.spd.Exemptions[i]
		toUs := x.Inbound || x.Kind == policy.ExemptIPv6
		if toUs && x.Matches(j.tuple) && !(x.Kind == policy.ExemptIKE && r.withoutIKE[j.port]) {
			return x
		}
	}
	return nil
}

func (r *reference) require(j *journey, e *policy.Entry, to target) outcome {
	cell := r.tunnels[e.Tunnel]
	switch {
	case !j.clear() && j.inCell == int(cell):
		return r.deliver(j, to, true)
	case j.role == roleLocal:
		return dropped("reply_unprotected")
	case j.clear() && r.clearBySoft(j, e): // S-046
		return r.deliver(j, to, true)
	case j.clear() && e.Passthrough && r.cells[cell].out == nil && r.cells[cell].state == CellHold: // S-026
		return r.deliver(j, to, true)
	case j.clear() && e.Passthrough && r.cells[cell].out == nil && r.cells[cell].state == CellFailed: // S-024
		return dropped("blocked_negotiation_failed")
	case j.clear():
		return dropped("clear_on_protected")
	}
	return dropped("selector_mismatch")
}

// badAddress is why the addresses of a packet cannot be, empty when they can.
func (r *reference) badAddress(j *journey, to target) string {
	s, d := j.tuple.Source.As4(), j.tuple.Destination.As4()
	source := j.tuple.Source
	if j.role != roleLocal && (s[0] == 0 || s[0] == 127 || s[0] >= 224 || r.own.has(source) || r.subnetBroadcast(source, func(int) bool { return true })) {
		return "bad_source"
	}
	switch {
	case to >= multicast && j.tuple.Protocol == protocolTCP: // S-106
		return "tcp_multicast"
	case to == directedBroadcast: // S-107
		return "directed_broadcast"
	case to < multicast && (d[0] == 0 || d[0] == 127 || d[0] >= 240):
		return "bad_destination"
	}
	return ""
}

func (r *reference) groupDestination(a netip.Addr) bool {
	return a.As4()[0] >= 224 || r.subnetBroadcast(a, func(int) bool { return true })
}

// deliver hands a permitted packet to the gateway itself or sends it on.
func (r *reference) deliver(j *journey, to target, onlyProtected bool) outcome {
	switch {
	case j.role == roleLocal:
		return dropped("reply_unprotected")
	case to == ownAddress:
		return outcome{Disposition: packetLocal}
	case to != elsewhere:
		return outcome{Disposition: packetGroup}
	}
	return r.forward(j, onlyProtected)
}

// forward sends a packet on in clear.
func (r *reference) forward(j *journey, onlyProtected bool) outcome {
	key, ok := nextHop(r.routes, j.tuple.Destination)
	switch {
	case !ok:
		return dropped("no_route")
	case onlyProtected && r.ports[key.Port].Role != policy.PortsLAN:
		return dropped("clear_to_unprotected")
	}
	mac, ok := r.neighbours[key]
	switch {
	case !ok:
		return outcome{Disposition: packetNeighbour}
	case hopsLeft(j.ip) <= 1:
		return dropped("ttl_expired")
	case len(j.ip) <= r.ports[key.Port].MTU:
		return r.transmit(key.Port, mac, decrementHops(j.ip))
	}
	list := j.cut(decrementHops(j.ip), r.ports[key.Port].MTU)
	if list == nil {
		return outcome{Disposition: packetDropped, Reason: "mtu_exceeded", MTU: r.ports[key.Port].MTU}
	}
	return r.transmit(key.Port, mac, list...)
}

func (r *reference) transmit(port int, mac macAddress, packets ...[]byte) outcome {
	var frames [][]byte
	for _, ip := range packets {
		frames = append(frames, etherFrame(mac[:], r.ports[port].MAC, etherTypeOf(ip), ip))
	}
	return outcome{Disposition: packetForwarded, Port: port, Frame: frames[0], More: frames[1:]}
}

func decrementTTL(p ipv4) ipv4 {
	p = append(ipv4(nil), p...)
	p[8]--
	setHeaderChecksum(p)
	return p
}

// isTooBig reports word of a router that a packet of ours was too big, which no filter is asked about (RFC 1191, RFC 8201).
func (r *reference) isTooBig(ip []byte) bool {
	var source netip.Addr // of the packet that is quoted
	if isIPv6(ip) {
		protocol, message := ipv6(ip).upper()
		if protocol != protocolICMPv6 || len(message) < icmpHeaderLen+ipv6HeaderLen || message[0] != icmp6TooBig {
			return false
		}
		source = netip.AddrFrom16([16]byte(message[icmpHeaderLen+8:][:16]))
	} else {
		message := ipv4(ip).payload()
		if ipv4(ip).protocol() != protocolICMP || len(message) < icmpHeaderLen+ipv4HeaderLen || message[0] != icmpUnreachable || message[1] != codeFragmentation {
			return false
		}
		source = netip.AddrFrom4([4]byte(message[icmpHeaderLen+12:][:4]))
	}
	return r.own.has(source)
}
