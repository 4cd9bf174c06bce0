package pipeline

import (
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A neighbour is a host on an attached link, of either IP version. Its states (RFC 4861 section 7.3.2 for the idea; its
// messages are discovery.go's, those of RFC 826 are here):
//
//	          packet waits                 answer
//	(absent) ──────────────► incomplete ───────────► reachable ◄───┐
//	   ▲                         │                       │ age,    │ answer from
//	   │                         │                       │ dispute │ the known MAC
//	   └── no answer, attempts ──┘                       ▼         │
//	   └── no answer, attempts ───────────────────── probing ──────┘
//
// An address is learned only from an answer that was asked for, or from a request for one of the port's own addresses:
// nobody can plant a neighbour by sending unasked announcements. Nor can anybody take a known neighbour's place while that
// answers: who asks in its name from another MAC starts a dispute, the known MAC is asked, and keeps its place unless it
// is silent.
type neighbourState uint8

const (
	neighbourIncomplete neighbourState = iota
	neighbourReachable
	neighbourProbing
)

// neighbourLimits bounds what strangers can make the table hold and send. Of the first three each port has a share that no other can take: a LAN
// host that answers for thousands of addresses, or a scan of its subnet, must not keep the next hop of another port from being learned again.
type neighbourLimits struct {
	entries    int           // neighbours in all
	incomplete int           // of these, unresolved ones: a scan of an attached subnet must not push the known out
	total      int           // packets that wait for any: a scan must not take all buffers from the ports
	held       int           // packets that wait for one neighbour; RFC 1122 section 2.3.2.2 asks for at least one
	attempts   int           // requests before a neighbour is given up
	retry      time.Duration // between requests
	reachable  time.Duration // age at which a known neighbour is asked again, by unicast
}

func defaultNeighbourLimits(entries int) neighbourLimits {
	return neighbourLimits{
		entries:    entries,
		incomplete: max(entries/2, 1),
		held:       32,
		total:      1024,
		attempts:   3,
		retry:      time.Second,
		reachable:  60 * time.Second,
	}
}

// neighbourKey names a neighbour: addresses are only unique on their link. Port is an index into Config.Ports.
type neighbourKey struct {
	Port    int
	Address netip.Addr
}

type macAddress [6]byte

var broadcastMAC = macAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

type neighbour[P any] struct {
	state    neighbourState
	mac      macAddress
	held     []P
	attempts int
	next     time.Time            // when the entry next does something by itself
	answered time.Time            // when it last answered a request: what it says unasked proves less
	doubts   map[netip.Addr]doubt // by destinations behind it, for which it is asked all the time
}

// doubt is that of a destination.
type doubt struct {
	until  time.Time
	failed uint64 // frames that the port had failed to send when it began
}

// neighbours is the state of ARP and of neighbour discovery of all ports. P is a packet handle: the caller owns what the effects hand back.
type neighbours[P any] struct {
	limits     neighbourLimits
	table      map[neighbourKey]*neighbour[P]
	entries    portShares
	incomplete portShares
	held       portShares // packets that wait, of all neighbours
}

// neighbourEffects is what the caller has to do, in this order.
type neighbourEffects[P any] struct {
	Requests []neighbourRequest // to send
	Resolved []resolved         // adjacencies to publish
	Cleared  []neighbourKey     // adjacencies to withdraw
	Released []P                // packets that can go on
	Failed   []P                // packets to drop: nobody answered
	Refused  []P                // packets to drop: no room to wait
	Unsure   []netip.Addr       // destinations that what has been sent by a silent neighbour may not have reached
}

type neighbourRequest struct {
	neighbourKey
	To macAddress // broadcast, or the known address when a neighbour is asked again
}

type resolved struct {
	neighbourKey
	MAC macAddress
}

func newNeighbours[P any](limits neighbourLimits, ports int) *neighbours[P] {
	return &neighbours[P]{
		limits:     limits,
		table:      map[neighbourKey]*neighbour[P]{},
		entries:    newPortShares(limits.entries, ports),
		incomplete: newPortShares(limits.incomplete, ports),
		held:       newPortShares(limits.total, ports),
	}
}

// admits reports whether a packet for the neighbour would find an entry, or room for one.
func (t *neighbours[P]) admits(key neighbourKey) bool {
	return t.table[key] != nil || t.entries.room(key.Port) && t.incomplete.room(key.Port)
}

// hold takes a packet that has no link-layer address to go to. A neighbour known by now lets it go on at once.
func (t *neighbours[P]) hold(now time.Time, key neighbourKey, packet P) (e neighbourEffects[P]) {
	n := t.table[key]
	switch {
	case !t.admits(key):
		e.Refused = []P{packet}
	case n == nil:
		n = &neighbour[P]{state: neighbourIncomplete, attempts: 1, next: now.Add(t.limits.retry)}
		t.table[key] = n
		t.entries.take(key.Port)
		t.incomplete.take(key.Port)
		e.Requests = []neighbourRequest{{key, broadcastMAC}}
		t.keep(key.Port, n, packet, &e)
	case n.state != neighbourIncomplete:
		e.Resolved = []resolved{{key, n.mac}}
		e.Released = []P{packet}
	default:
		t.keep(key.Port, n, packet, &e)
	}
	return e
}

// keep lets a packet wait if there is room. The neighbour is asked in either case: the next packet will know the way.
func (t *neighbours[P]) keep(port int, n *neighbour[P], packet P, e *neighbourEffects[P]) {
	if len(n.held) >= t.limits.held || !t.held.room(port) {
		e.Refused = []P{packet}
		return
	}
	n.held = append(n.held, packet)
	t.held.take(port)
}

// answer takes the sender of an ARP reply or of an advertisement. It counts only when a request is outstanding, and only from the one who was
// asked.
func (t *neighbours[P]) answer(now time.Time, key neighbourKey, mac macAddress) (e neighbourEffects[P]) {
	n := t.table[key]
	if n != nil && unicastMAC(mac) && (n.state == neighbourIncomplete || n.state == neighbourProbing && n.mac == mac) {
		t.learn(now, key, n, mac, &e)
		n.answered = now
	}
	return e
}

// asked takes the sender of a request for one of our addresses: it is about to talk to us (RFC 826, packet
// reception), so it is worth an entry while there is room. RFC 826 would also have it replace what is known.
func (t *neighbours[P]) asked(now time.Time, key neighbourKey, mac macAddress) (e neighbourEffects[P]) {
	if !unicastMAC(mac) {
		return e
	}
	n := t.table[key]
	if n == nil {
		if !t.entries.room(key.Port) {
			return e
		}
		n = &neighbour[P]{state: neighbourReachable, mac: mac}
		t.table[key] = n
		t.entries.take(key.Port)
		e.Resolved = []resolved{{key, mac}}
	}
	if n.state != neighbourIncomplete && n.mac != mac {
		if n.state == neighbourReachable { // else the known one has been asked already
			t.ask(now, key, n, &e)
		}
		return e
	}
	t.learn(now, key, n, mac, &e)
	return e
}

// ask sends a neighbour one request: to all while its address is unknown, and then to that address alone.
func (t *neighbours[P]) ask(now time.Time, key neighbourKey, n *neighbour[P], e *neighbourEffects[P]) {
	to := broadcastMAC
	if n.state != neighbourIncomplete {
		n.state, to = neighbourProbing, n.mac
	}
	n.attempts++
	n.next = now.Add(t.limits.retry)
	e.Requests = append(e.Requests, neighbourRequest{key, to})
}

func (t *neighbours[P]) learn(now time.Time, key neighbourKey, n *neighbour[P], mac macAddress, e *neighbourEffects[P]) {
	if n.state == neighbourIncomplete {
		t.incomplete.give(key.Port, 1)
	}
	if n.mac != mac {
		e.Resolved = []resolved{{key, mac}}
	}
	e.Released = n.held
	t.held.give(key.Port, len(n.held))
	n.state, n.mac, n.held, n.attempts = neighbourReachable, mac, nil, 0
	n.next = now.Add(t.limits.reachable)
}

// doubt has a known neighbour asked until a time, at intervals of retry: it counts for the destination whether each is answered. Failed is
// how many frames the port has failed to send by now.
func (n *neighbour[P]) doubt(to netip.Addr, until time.Time, failed uint64) {
	if n.doubts == nil {
		n.doubts = map[netip.Addr]doubt{}
	}
	if before, begun := n.doubts[to]; begun {
		failed = before.failed
	}
	n.doubts[to] = doubt{until, failed}
}

// failed takes how many frames the port has failed to send by now, and reports whether any was since the doubt of a destination began, or since it was last reported.
func (n *neighbour[P]) failed(to netip.Addr, failed uint64) bool {
	d, doubted := n.doubts[to]
	if !doubted || d.failed == failed {
		return false
	}
	d.failed = failed
	n.doubts[to] = d
	return true
}

// doubted reports whether a known neighbour is to be asked before it has aged.
func (t *neighbours[P]) doubted(now time.Time, n *neighbour[P]) bool {
	if len(n.doubts) == 0 || n.state != neighbourReachable || now.Before(n.answered.Add(t.limits.retry)) {
		return false
	}
	maps.DeleteFunc(n.doubts, func(_ netip.Addr, d doubt) bool { return !now.Before(d.until) })
	return len(n.doubts) > 0
}

// tick repeats requests, asks aged and doubted neighbours again and gives up on silent ones.
func (t *neighbours[P]) tick(now time.Time) (e neighbourEffects[P]) {
	for key, n := range t.table {
		if now.Before(n.next) && !t.doubted(now, n) {
			continue
		}
		if n.state == neighbourProbing {
			e.Unsure = slices.AppendSeq(e.Unsure, maps.Keys(n.doubts))
		}
		if n.attempts >= t.limits.attempts {
			t.remove(key, n, &e)
			continue
		}
		t.ask(now, key, n, &e)
	}
	return e
}

// takeHeld empties all queues; the neighbours go on being asked.
func (t *neighbours[P]) takeHeld() []P {
	var all []P
	for key, n := range t.table {
		all = append(all, n.held...)
		t.held.give(key.Port, len(n.held))
		n.held = nil
	}
	return all
}

// forget removes the neighbours that match, because their link or the port's addresses changed.
func (t *neighbours[P]) forget(match func(neighbourKey) bool) (e neighbourEffects[P]) {
	for key, n := range t.table {
		if match(key) {
			t.remove(key, n, &e)
		}
	}
	return e
}

func (t *neighbours[P]) remove(key neighbourKey, n *neighbour[P], e *neighbourEffects[P]) {
	t.entries.give(key.Port, 1)
	if n.state == neighbourIncomplete {
		t.incomplete.give(key.Port, 1)
	} else {
		e.Cleared = append(e.Cleared, key)
	}
	e.Failed = append(e.Failed, n.held...)
	t.held.give(key.Port, len(n.held))
	delete(t.table, key)
}

func unicastMAC(m macAddress) bool { return m[0]&1 == 0 && m != macAddress{} }

// ARP operations (RFC 826) and the length of an ARP packet for Ethernet and IPv4.
const (
	arpRequestOp = 1
	arpReplyOp   = 2
	arpLen       = 28
)

// arpMessage is an ARP packet for Ethernet and IPv4.
type arpMessage struct {
	op                     uint16
	senderMAC, targetMAC   macAddress
	senderAddr, targetAddr netip.Addr
}

// parseARP reads an ARP packet. It refuses other address families, and a sender whose ARP and Ethernet addresses differ.
func parseARP(frame []byte) (m arpMessage, ok bool) {
	if len(frame) < etherHeaderLen+arpLen {
		return m, false
	}
	b := frame[etherHeaderLen:]
	if binary.BigEndian.Uint16(frame[etherHeaderLen-2:]) != etherTypeARP || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != etherTypeIPv4 || b[4] != 6 || b[5] != 4 {
		return m, false
	}
	m = arpMessage{
		op:         binary.BigEndian.Uint16(b[6:]),
		senderMAC:  macAddress(b[8:14]),
		senderAddr: netip.AddrFrom4([4]byte(b[14:18])),
		targetMAC:  macAddress(b[18:24]),
		targetAddr: netip.AddrFrom4([4]byte(b[24:28])),
	}
	return m, m.senderMAC == macAddress(frame[6:12])
}

// frame is the message as an Ethernet frame to the given address.
func (m arpMessage) frame(to macAddress) []byte {
	b := make([]byte, arpLen)
	binary.BigEndian.PutUint16(b, 1)
	binary.BigEndian.PutUint16(b[2:], etherTypeIPv4)
	b[4], b[5] = 6, 4
	binary.BigEndian.PutUint16(b[6:], m.op)
	s, t := m.senderAddr.As4(), m.targetAddr.As4()
	copy(b[8:], m.senderMAC[:])
	copy(b[14:], s[:])
	copy(b[18:], m.targetMAC[:])
	copy(b[24:], t[:])
	return etherFrame(to[:], net.HardwareAddr(m.senderMAC[:]), etherTypeARP, b)
}
