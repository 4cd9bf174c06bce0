package pipeline

/*
#include <stdlib.h>
#include "fastpath.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"sallyport/policy"
)

// What the slow path sends: answers to packets, ARP requests, IKE. An answer to a packet that arrived in clear goes back in
// clear to the station that sent it, unless a filter says that it must be protected; an answer to a packet that a
// tunnel brought goes through a tunnel or not at all.

// handleARP answers requests for our addresses and learns from them and from answers to our own.
func (d *Dataplane) handleARP(now time.Time, packet punted) {
	m, ok := parseARP(packet.frame)
	if !ok || packet.port < 0 {
		return
	}
	own := d.policy.own
	// from our own address: another station uses it, or our own frame came back
	if own.on(packet.port, m.senderAddr) || !own.on(packet.port, m.targetAddr) {
		return
	}
	onLink := own.attached(packet.port, m.senderAddr)
	key := neighbourKey{Port: packet.port, Address: m.senderAddr}
	switch {
	case m.op == arpReplyOp && onLink:
		d.apply(d.slow.neighbours.answer(now, key, m.senderMAC))
	case m.op == arpRequestOp:
		mac := macAddress(d.cfg.Ports[packet.port].MAC)
		reply := arpMessage{op: arpReplyOp, senderMAC: mac, senderAddr: m.targetAddr, targetMAC: m.senderMAC, targetAddr: m.senderAddr}
		d.inject(C.SP_INJECT_RAW, packet.port, reply.frame(m.senderMAC))
		if onLink { // not for a probe (RFC 5227), whose sender is 0.0.0.0
			d.apply(d.slow.neighbours.asked(now, key, m.senderMAC))
		}
	}
}

// handleDiscovery is handleARP for IPv6. Workers hand over what is for an address of the port or its solicited-node group.
func (d *Dataplane) handleDiscovery(now time.Time, packet punted) {
	m, ok := parseDiscovery(packet.frame, packet.ip)
	if !ok || packet.port < 0 || d.policy.own.on(packet.port, m.source) {
		return // another station uses our address, or our own frame came back
	}
	ours := d.policy.own.on(packet.port, m.target)
	switch {
	case m.advert && !ours:
		d.advertised(now, packet.port, m)
	case !m.advert && ours:
		d.inject(C.SP_INJECT_RAW, packet.port, advertisement(macAddress(d.cfg.Ports[packet.port].MAC), m))
		if d.policy.own.attached(packet.port, m.source) && m.link != (macAddress{}) {
			d.apply(d.slow.neighbours.asked(now, neighbourKey{Port: packet.port, Address: m.source}, m.link))
		}
	}
}

// advertised learns from an answer to a solicitation of ours. Without an option it can only confirm what is known (RFC 4861
// section 7.2.5): whoever was asked by unicast is known by the frame's source.
func (d *Dataplane) advertised(now time.Time, port int, m discoveryMessage) {
	key := neighbourKey{Port: port, Address: m.target}
	known := d.slow.neighbours.table[key]
	if m.flags&advertSolicited == 0 || known == nil {
		return
	}
	if m.link == (macAddress{}) && known.state != neighbourIncomplete {
		m.link = m.frameSource
	}
	d.apply(d.slow.neighbours.answer(now, key, m.link))
}

// ask sends a neighbour the question that its table wants asked.
func (d *Dataplane) ask(r neighbourRequest) {
	spec := &d.cfg.Ports[r.Port]
	source, ok := d.policy.own.toward(r.Port, r.Address)
	if !ok {
		return
	}
	if r.Address.Is6() {
		d.inject(C.SP_INJECT_RAW, r.Port, solicitation(macAddress(spec.MAC), source, r))
		return
	}
	m := arpMessage{op: arpRequestOp, senderMAC: macAddress(spec.MAC), senderAddr: source, targetAddr: r.Address}
	d.inject(C.SP_INJECT_RAW, r.Port, m.frame(r.To))
}

// handleLocal hears of packets of ours that were too big, and answers an echo request. Nothing else that a filter lets through to
// our own addresses has an answer.
func (d *Dataplane) handleLocal(now time.Time, packet punted) {
	if packet.port < 0 || !d.policy.own.has(tupleOf(packet.ip).Destination) || d.heardTooBig(now, packet.ip) || !d.slow.icmpEchoes[packet.port].take(now) {
		return
	}
	var reply []byte
	var ok bool
	if isIPv6(packet.ip) {
		reply, ok = echoReply6(packet.ip)
	} else {
		reply, ok = echoReply(packet.ip)
	}
	if ok {
		d.answer(packet, reply)
	}
}

// answerError reports a packet that was dropped for its TTL or hop limit (mtu 0) or, unless it might have been fragmented, for
// its length.
func (d *Dataplane) answerError(now time.Time, packet punted, mtu int) {
	if packet.port < 0 || mtu > 0 && !isIPv6(packet.ip) && ipv4(packet.ip).fragment()&flagDontFragment == 0 {
		return
	}
	source, ok := d.errorSource(packet)
	if !ok || !answerable(packet.ip) || !d.slow.icmpErrors[packet.port].take(now) {
		return
	}
	if message, ok := errorMessage(packet.ip, source, mtu); ok {
		d.answer(packet, message)
	}
}

func answerable(ip []byte) bool {
	if isIPv6(ip) {
		return mayAnswerWithError6(ip)
	}
	return mayAnswerWithError(ip)
}

func errorMessage(ip []byte, source netip.Addr, mtu int) (message []byte, ok bool) {
	switch {
	case isIPv6(ip) && mtu > 0:
		message, ok = packetTooBig(ip, source, mtu)
	case isIPv6(ip):
		message, ok = timeExceeded6(ip, source)
	case mtu > 0:
		message, ok = fragmentationNeeded(ip, source, mtu)
	default:
		message, ok = timeExceeded(ip, source)
	}
	return message, ok
}

// errorSource is the address that an ICMP error comes from: one of the port it arrived by (RFC 1812 section 4.3.2.4), or,
// when a tunnel brought the packet, one of ours that a tunnel carries to its sender.
func (d *Dataplane) errorSource(packet punted) (netip.Addr, bool) {
	to := tupleOf(packet.ip).Source
	protocol := uint8(protocolICMP)
	if to.Is6() {
		protocol = protocolICMPv6
	}
	if packet.clear {
		return d.policy.own.toward(packet.port, to)
	}
	for _, on := range d.policy.own {
		for _, a := range on {
			if d.answerVerdict(policy.Packet{Source: a.Addr(), Destination: to, Protocol: protocol}) == policy.VerdictProtect {
				return a.Addr(), true
			}
		}
	}
	return netip.Addr{}, false
}

// answer sends an IP packet back to where packet came from.
func (d *Dataplane) answer(packet punted, ip []byte) {
	if !isIPv6(ip) {
		d.identify(ip)
	}
	tuple := tupleOf(ip)
	verdict := d.answerVerdict(tuple)
	if packet.clear && d.countExempt(tuple, len(ip)) {
		verdict = policy.VerdictPermit
	}
	switch {
	case !packet.clear:
		d.inject(C.SP_INJECT_REPLY_PROTECTED, -1, ip)
	case verdict == policy.VerdictProtect:
		d.inject(C.SP_INJECT_REPLY_TUNNEL, -1, ip)
	case verdict == policy.VerdictPermit:
		d.inject(C.SP_INJECT_RAW, packet.port, etherFrame(packet.frame[6:12], d.cfg.Ports[packet.port].MAC, etherTypeOf(ip), ip))
	}
}

// answerVerdict is what the policy says of a packet of our own. An answer needs no filter of its own, since a filter let
// through what it answers, but it obeys one that blocks or protects it.
func (d *Dataplane) answerVerdict(p policy.Packet) policy.Verdict {
	if d.policy.spd == nil {
		return policy.VerdictPermit
	}
	if e, ok := d.policy.spd.Match(p, portGroup(roleLocal)); ok {
		return e.Verdict
	}
	return policy.VerdictPermit
}

// identify numbers a packet that routers may fragment (RFC 6864 section 4.3).
func (d *Dataplane) identify(ip ipv4) {
	if ip.fragment()&flagDontFragment == 0 {
		d.slow.identifier++
		binary.BigEndian.PutUint16(ip[4:], d.slow.identifier)
		setHeaderChecksum(ip)
	}
}

// SendUDP sends an IKE message. nonESPMarker puts the marker of RFC 3948 section 2.2 in front of it. A message that has no room on the link, or
// somewhere on the path of IPv4, goes in IP fragments: IKE_SA_INIT cannot be divided otherwise. One that no buffer takes is not sent.
func (d *Dataplane) SendUDP(local, remote netip.AddrPort, payload []byte, nonESPMarker bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	return d.sendUDP(local, remote, payload, nonESPMarker)
}

func (d *Dataplane) sendUDP(local, remote netip.AddrPort, payload []byte, nonESPMarker bool) error {
	if !local.IsValid() || local.Addr().Is4In6() || remote.Addr().Is4In6() || local.Addr().Is4() != remote.Addr().Is4() {
		return fmt.Errorf("pipeline: IKE from %s to %s: want two addresses of IPv4 or two of IPv6", local, remote)
	}
	var marker []byte
	if nonESPMarker {
		marker = make([]byte, 4)
	}
	ip := udpDatagram(local, remote, marker, payload)
	if !isIPv6(ip) {
		ip[6] &^= flagDontFragment >> 8
		d.identify(ip)
	}
	d.countExempt(tupleOf(ip), len(ip))
	if !d.inject(C.SP_INJECT_ROUTE_LOCAL, -1, ip) {
		return errNoRoom
	}
	return nil
}

var errNoRoom = errors.New("pipeline: no buffer or no room in a worker's ring: the message was not sent")

// inject hands a frame or packet of ours to worker 0. It counts what finds no room: whoever waits for it asks again.
func (d *Dataplane) inject(kind C.uint8_t, port int, data []byte) bool {
	var pin runtime.Pinner
	defer pin.Unpin()
	in := C.struct_sp_injection{data: (*C.uint8_t)(pinned(&pin, data)), length: C.uint32_t(len(data)), kind: kind}
	if port >= 0 {
		in.port = d.cPort(port)
	}
	return d.hand(0, &in)
}

// hand gives a worker what it is to send.
func (d *Dataplane) hand(worker int, in *C.struct_sp_injection) bool {
	if C.sp_inject(d.c, C.uint32_t(worker), in, 1) != 1 {
		d.slow.lost++
		return false
	}
	return true
}

// release gives held packets back to the workers that punted them.
func (d *Dataplane) release(packets []heldMbuf) {
	for _, p := range packets {
		d.releaseOne(p)
	}
}

// releaseOne reports whether the worker's ring had room.
func (d *Dataplane) releaseOne(p heldMbuf) bool {
	m := (*C.struct_rte_mbuf)(p.mbuf)
	if C.sp_release(d.c, C.uint32_t(p.worker), &m, 1) == 1 {
		return true
	}
	d.discard([]heldMbuf{p}, dropReleaseFull)
	return false
}

// discard drops held packets and counts them at their in-port and their filter.
func (d *Dataplane) discard(packets []heldMbuf, reason slowDrop) {
	for _, p := range packets {
		d.slow.discards[p.port][reason]++
		if p.filter != C.SP_COUNTER_NONE {
			d.slow.discardsBy[discarded{p.filter, reason}]++
			d.slow.decided[p.filter] = d.slow.decided[p.filter].plus(FilterHits{Packets: 1, Bytes: uint64(p.length)})
		}
		if p.peer.IsValid() {
			d.slow.unsent.note(p.peer)
		}
		d.free((*C.struct_rte_mbuf)(p.mbuf))
	}
}

func (d *Dataplane) free(m *C.struct_rte_mbuf) { C.sp_packets_free(&m, 1) }

// freeAll frees what waits, at the end of the data plane's life.
func (s *slowPath) freeAll() {
	all := append(append(s.neighbours.takeHeld(), s.held.takeAll()...), s.early.takeAll()...)
	s.neighbours.table = map[neighbourKey]*neighbour[heldMbuf]{}
	for _, p := range all {
		m := (*C.struct_rte_mbuf)(unsafe.Pointer(p.mbuf))
		C.sp_packets_free(&m, 1)
	}
	C.free(unsafe.Pointer(unsafe.SliceData(s.batch)))
	C.free(unsafe.Pointer(unsafe.SliceData(s.done)))
}
