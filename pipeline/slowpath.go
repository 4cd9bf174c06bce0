package pipeline

/*
#include <stdlib.h>
#include "fastpath.h"
*/
import "C"

import (
	"context"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"sallyport/policy"
)

// slowPath is what Go keeps for the packets that workers hand over. It is guarded by Dataplane.mu.
type slowPath struct {
	neighbours  *neighbours[heldMbuf]
	adjacencies adjacencyTable
	held        *holdQueue[heldMbuf]
	early       earlyQueue[heldMbuf]
	icmpErrors  []tokenBucket // by port
	icmpEchoes  []tokenBucket
	discards    [][slowDropCount]uint64 // held packets that Go gave up, by port; the last row is the local pseudo-port
	discardsBy  map[discarded]uint64    // the same by filter counter slot
	decided     map[uint32]FilterHits   // what those filters decided with that: a worker counts what waits when it goes on
	earlyCounts []earlyCounts           // by port, rows as in discards
	exempted    map[uint32]*FilterHits  // by exemption id: what we sent
	mappings    map[natPath]mapping     // of a NAT before us
	identifier  uint16                  // of the last IPv4 packet we made without DF
	lost        uint64                  // packets of our own that found no buffer or no room in a ring
	unsent      unsentIKE
	untold      uint64 // packets to groups that workers could not tell of, as far as the handler knows
	nextTick    time.Time
	peers       peerBook
	batch       []C.struct_sp_exception // in C's memory, which cgo does not search for Go's pointers at every call
	done        []*C.struct_rte_mbuf    // so too: packets of a batch that have had their end
	datagrams   []Datagram              // of IKE, of a round
}

// heldMbuf is a packet that waits. Who discards it says so in the counters of its in-port and of its filter.
type heldMbuf struct {
	mbuf   unsafe.Pointer
	worker int
	port   int        // row of discards
	filter uint32     // counter slot of the one that decided it
	peer   netip.Addr // to whom it is an IKE message of ours; of other packets not valid
	length int        // bytes of the IP packet
}

// event is a call of the Handler, made after the lock is given back.
type event func(Handler)

func newSlowPath(cfg *Config) slowPath {
	s := slowPath{
		neighbours:  newNeighbours[heldMbuf](defaultNeighbourLimits(cfg.MaxAdjacencies), len(cfg.Ports)),
		adjacencies: adjacencyTable{index: map[neighbourKey]uint16{}, shares: newPortShares(cfg.MaxAdjacencies, len(cfg.Ports))},
		held:        newHoldQueue[heldMbuf](cfg.holdLimits()),
		early:       earlyQueue[heldMbuf]{},
		earlyCounts: make([]earlyCounts, len(cfg.Ports)+1),
		discards:    make([][slowDropCount]uint64, len(cfg.Ports)+1),
		discardsBy:  map[discarded]uint64{},
		decided:     map[uint32]FilterHits{},
		exempted:    map[uint32]*FilterHits{},
		mappings:    map[natPath]mapping{},
		peers:       newPeerBook(),
		batch:       unsafe.Slice((*C.struct_sp_exception)(C.malloc(puntBatch*C.sizeof_struct_sp_exception)), puntBatch),
		done:        unsafe.Slice((**C.struct_rte_mbuf)(C.malloc(puntBatch*C.size_t(unsafe.Sizeof(uintptr(0))))), puntBatch),
	}
	for range cfg.Ports {
		s.icmpErrors = append(s.icmpErrors, newTokenBucket(icmpErrorsPerSecond, icmpErrorBurst))
		s.icmpEchoes = append(s.icmpEchoes, newTokenBucket(icmpEchoPerSecond, icmpEchoBurst))
	}
	return s
}

// Exceptions serves what the workers punt until ctx ends: ARP, neighbour discovery, neighbours, ICMP and held packets here, the rest through the
// handler. One goroutine runs it.
func (d *Dataplane) Exceptions(ctx context.Context, handler Handler) error {
	// An idle gateway is looked at 500 times a second; one whose queues are longer than their shares at once again, after whoever else is ready to run.
	const shortest, longest = 50 * time.Microsecond, 2 * time.Millisecond
	pause := shortest
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		n, more, err := d.serve(time.Now(), handler)
		if err != nil {
			return err
		}
		if more {
			if err := ctx.Err(); err != nil {
				return err
			}
			runtime.Gosched()
			continue
		}
		if n > 0 {
			pause = shortest
		} else {
			pause = min(2*pause, longest)
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// serve is one round of Exceptions: it returns the number of packets it took, and whether some class had more than its share.
func (d *Dataplane) serve(now time.Time, handler Handler) (n int, more bool, err error) {
	n, more, events, err := d.drain(now)
	// of this goroutine alone, like the slice: Datagram says to whom the payloads belong
	for _, datagram := range d.slow.datagrams {
		handler.IKE(datagram)
	}
	clear(d.slow.datagrams)
	for _, e := range events {
		e(handler)
	}
	return n, more, err
}

func (d *Dataplane) drain(now time.Time) (total int, more bool, events []event, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow.datagrams = d.slow.datagrams[:0]
	if d.c == nil {
		return 0, false, nil, errClosed
	}
	for worker := range d.cfg.Workers {
		n := d.takePunts(worker)
		more = more || exhausted(d.slow.batch[:n])
		events = append(events, d.dispatchAll(now, worker, d.slow.batch[:n])...)
		total += n
	}
	if !now.Before(d.slow.nextTick) {
		d.slow.nextTick = now.Add(slowPathTick)
		d.tick(now)
		d.watchDevices()
		d.watchPorts(now)
	}
	d.sendDummies(now)
	events = append(events, d.heed(now)...)
	events = append(events, d.missedGroups()...)
	return total, more, events, nil
}

// takePunts takes each class's share of a worker's packets into the batch.
func (d *Dataplane) takePunts(worker int) int {
	first := unsafe.SliceData(d.slow.batch)
	return int(C.sp_punt_dequeue(d.c, C.uint32_t(worker), &puntShares[0], first))
}

// dispatchAll settles what was taken from a worker, and frees what is done with in one go. Packets that wait for a neighbour come first: they arrived before what is taken with them
// tells where it is, and are to leave before those of their flows that need not wait any more.
func (d *Dataplane) dispatchAll(now time.Time, worker int, batch []C.struct_sp_exception) (events []event) {
	done := d.slow.done[:0]
	settle := func(x *C.struct_sp_exception) {
		e, ended := d.dispatch(now, worker, x)
		if ended {
			done = append(done, x.mbuf)
		}
		if e != nil {
			events = append(events, e)
		}
	}
	for i := range batch {
		if batch[i].kind == C.SP_PUNT_NEIGHBOUR {
			settle(&batch[i])
		}
	}
	for i := range batch {
		if batch[i].kind != C.SP_PUNT_NEIGHBOUR {
			settle(&batch[i])
		}
	}
	if len(done) > 0 {
		first := unsafe.SliceData(done)
		C.sp_packets_free(first, C.uint32_t(len(done)))
	}
	return events
}

// exhausted reports whether a class has used up its share of a batch.
func exhausted(batch []C.struct_sp_exception) bool {
	var taken [C.SP_CLASS_COUNT]C.uint16_t
	for i := range batch {
		class := batch[i].punt_class
		if taken[class]++; taken[class] == puntShares[class] {
			return true
		}
	}
	return false
}

// tick ages what the slow path keeps.
func (d *Dataplane) tick(now time.Time) {
	C.sp_notice_tick(d.c)
	d.apply(d.slow.neighbours.tick(now))
	d.discard(d.slow.held.expire(now), dropHoldTimeout)
	d.expireEarly(now)
	if d.slow.adjacencies.left(d.cfg.MaxAdjacencies) < d.cfg.MaxAdjacencies/4 {
		d.reclaimAdjacencies()
	}
	d.reclaim()
	d.settleMoves()
	d.watchLeaving(now, ringTime)
	d.sad.paths.age(now)
	d.sad.endShunning(now)
	d.keepMappings(now)
	d.admitRoomless()
}

// dispatch settles one punted packet. Kinds that are Go's for good have their end here; the others wait, or go on.
func (d *Dataplane) dispatch(now time.Time, worker int, x *C.struct_sp_exception) (e event, ended bool) {
	packet := d.view(x)
	held := heldMbuf{mbuf: unsafe.Pointer(x.mbuf), worker: worker, port: d.row(uint16(x.in_port)), length: ipLength(packet.ip)}
	stale := x.generation != C.sp_generation(d.c)
	if !stale { // else the slot may have been given to another filter or soft SA
		held.filter = d.filterSlot(uint32(x.filter))
	}
	if x.kind == C.SP_PUNT_NEIGHBOUR {
		held.peer = packet.toIKEPeer()
	}
	if stale && (x.kind == C.SP_PUNT_NEIGHBOUR || x.kind == C.SP_PUNT_ACQUIRE) {
		d.release([]heldMbuf{held}) // judged by what is no longer in force: it must not wait for it
		return nil, false
	}
	switch x.kind {
	case C.SP_PUNT_NEIGHBOUR:
		d.awaitNeighbour(now, x, packet, held)
		return nil, false
	case C.SP_PUNT_ACQUIRE:
		return d.awaitSA(now, x, packet, held), false
	case C.SP_PUNT_EARLY:
		d.awaitInbound(now, uint32(x.spi), held)
		return nil, false
	}
	switch x.kind {
	case C.SP_PUNT_ARP:
		d.handleARP(now, packet)
	case C.SP_PUNT_ND:
		d.handleDiscovery(now, packet)
	case C.SP_PUNT_IKE:
		if !d.handleIKE(packet, x) {
			e = d.overheard(packet)
		}
	case C.SP_PUNT_ECHO:
		e = d.handleEcho(packet)
	case C.SP_PUNT_LOCAL:
		d.handleLocal(now, packet)
		e = d.overheard(packet)
	case C.SP_PUNT_HEARD:
		e = d.overheard(packet)
	case C.SP_PUNT_UNSENT:
		d.slow.unsent.note(tupleOf(packet.ip).Destination)
	case C.SP_PUNT_CLEAR:
		e = d.cameClear(x, packet)
	case C.SP_PUNT_GROUPED:
		e = d.cameForGroup(x, packet)
	case C.SP_PUNT_TTL_EXPIRED:
		d.answerError(now, packet, 0)
	case C.SP_PUNT_TOO_BIG:
		if x.mtu > 0 { // else the tunnel has no room for a header on this link, and no length would help
			d.answerError(now, packet, int(x.mtu))
		}
	}
	return e, true
}

// punted is a packet from the punt ring: its bytes stay in the mbuf.
type punted struct {
	frame []byte // from the Ethernet header on; void for a decrypted packet
	ip    []byte // of either version, from its header on; nil when the frame is not IP
	port  int    // in-port, index into Config.Ports; -1 for the local pseudo-port
	clear bool   // arrived in clear
}

func (d *Dataplane) view(x *C.struct_sp_exception) punted {
	p := punted{
		frame: unsafe.Slice((*byte)(unsafe.Pointer(x.data)), int(x.length)),
		port:  -1,
		clear: x.in_cell == C.SP_NO_CELL,
	}
	if i, ok := d.ports[uint16(x.in_port)]; ok {
		p.port = i
	}
	if x.kind != C.SP_PUNT_ARP && int(x.l3_offset) < len(p.frame) {
		p.ip = p.frame[x.l3_offset:]
	}
	return p
}

// row is the row of the discard counters for an in-port.
func (d *Dataplane) row(port uint16) int {
	if i, ok := d.ports[port]; ok {
		return i
	}
	return len(d.cfg.Ports)
}

// awaitNeighbour keeps a packet until its next hop's address is known.
func (d *Dataplane) awaitNeighbour(now time.Time, x *C.struct_sp_exception, packet punted, held heldMbuf) {
	key, ok := d.neighbourOf(x, packet)
	// a scan of a subnet must cost no adjacencies: to find free ones takes a walk over all, and to free them ends every memo
	if ok = ok && d.slow.neighbours.admits(key); ok {
		_, err := d.adjacency(key)
		ok = err == nil
	}
	if !ok {
		d.discard([]heldMbuf{held}, dropNeighbourFull)
		return
	}
	d.apply(d.slow.neighbours.hold(now, key, held))
}

// neighbourOf is the next hop that a held packet waits for. A worker has no room to name one of IPv6: the routes are asked
// again.
func (d *Dataplane) neighbourOf(x *C.struct_sp_exception, packet punted) (key neighbourKey, ok bool) {
	if x.adjacency != C.SP_NO_ADJACENCY && int(x.adjacency) < len(d.slow.adjacencies.keys) {
		return d.slow.adjacencies.keys[x.adjacency], true
	}
	if isIPv6(packet.ip) {
		return nextHop(d.policy.routes, ipv6(packet.ip).destination())
	}
	port, ok := d.ports[uint16(x.out_port)]
	return neighbourKey{Port: port, Address: ipv4Address(x.next_hop)}, ok
}

// apply does what the neighbour table asks for.
func (d *Dataplane) apply(e neighbourEffects[heldMbuf]) {
	for _, r := range e.Requests {
		d.ask(r)
	}
	for _, r := range e.Resolved {
		if d.setAdjacency(r.neighbourKey, &r.MAC) != nil {
			e.Failed, e.Released = append(e.Failed, e.Released...), nil
		}
	}
	for _, key := range e.Cleared {
		// With no memory for the change the neighbour keeps its old header, and the next tick asks it again.
		_ = d.setAdjacency(key, nil)
	}
	for _, to := range e.Unsure {
		d.slow.unsent.note(to)
	}
	d.release(e.Released)
	d.discard(e.Failed, dropNeighbourSilent)
	d.discard(e.Refused, dropNeighbourFull)
}

// awaitSA keeps a packet until its tunnel is up, and asks for the tunnel.
func (d *Dataplane) awaitSA(now time.Time, x *C.struct_sp_exception, packet punted, held heldMbuf) event {
	cell := CellID(x.cell)
	switch {
	case d.sad.sends(cell, held.worker):
		d.release([]heldMbuf{held})
		return nil
	case d.checkCell(cell) != nil || d.cells.cells[cell].state == CellClosed:
		d.discard([]heldMbuf{held}, dropCellClosed)
		return nil
	case d.cells.cells[cell].state == CellFailed:
		d.discard([]heldMbuf{held}, dropNegotiationFailed)
		return nil
	}
	ask := Acquire{Cell: cell, Packet: tupleOf(packet.ip), Protected: !packet.clear || x.answers_tunnel != 0}
	waits := selector{cell: cell}
	if e := d.policy.bySlot[held.filter].entry; e != nil {
		ask.Entry, waits.entry = e.ID, e.ID
		if e.Fallback && !ask.Protected {
			waits.local, waits.remote = ask.Packet.Source, ask.Packet.Destination
		}
	}
	kept, due := d.slow.held.push(now, waits, held)
	if !kept {
		d.discard([]heldMbuf{held}, dropHoldFull)
	}
	if !due {
		return nil
	}
	return func(h Handler) { h.Acquire(ask) }
}

// cameClear asks for the SA of what came in clear from the other side and was dropped (S-044). An error of ICMP asks for none: it is about something else, and any router, or
// whoever forges one, can send it (S-050).
func (d *Dataplane) cameClear(x *C.struct_sp_exception, packet punted) event {
	a := Acquire{Cell: CellID(x.cell), Packet: tupleOf(packet.ip), Inbound: true}
	e := d.policy.bySlot[uint32(x.filter)].entry
	if isICMPError(a.Packet) || x.generation != C.sp_generation(d.c) || e == nil || d.checkCell(a.Cell) != nil || d.cells.cells[a.Cell].state != CellHold || len(d.sad.outboundOf(a.Cell)) > 0 {
		return nil // not so any more: the next one tells
	}
	a.Entry = e.ID
	return func(h Handler) { h.Acquire(a) }
}

// cameForGroup tells who has sent to a group by a filter with fallback (S-052).
func (d *Dataplane) cameForGroup(x *C.struct_sp_exception, packet punted) event {
	e := d.policy.bySlot[uint32(x.filter)].entry
	if x.generation != C.sp_generation(d.c) || e == nil {
		return nil
	}
	tuple := tupleOf(packet.ip)
	g := Group{Cell: CellID(x.cell), Entry: e.ID, Source: netip.AddrPortFrom(tuple.Source, tuple.SourcePort), Protocol: tuple.Protocol}
	return func(h Handler) { h.Group(g) }
}

// overheard tells who has sent to a port of IKE what IKE does not get: a filter has decided it, or it is garbage.
func (d *Dataplane) overheard(packet punted) event {
	tuple := tupleOf(packet.ip)
	if !packet.clear || tuple.Protocol != protocolUDP || tuple.DestinationPort != portIKE && tuple.DestinationPort != portIKENATT || !d.policy.own.has(tuple.Destination) {
		return nil
	}
	return func(h Handler) { h.Heard(tuple.Source) }
}

// missedGroups tells that somebody has sent to a group of whom there was no room to tell.
func (d *Dataplane) missedGroups() []event {
	n := uint64(C.sp_groups_untold(d.c))
	if n == d.slow.untold {
		return nil
	}
	d.slow.untold = n
	return []event{func(h Handler) { h.Group(Group{}) }}
}

// handleIKE takes an IKE datagram out of its packet, for the handler to have when the lock is given back. It reports whether it is one.
func (d *Dataplane) handleIKE(packet punted, x *C.struct_sp_exception) bool {
	tuple := tupleOf(packet.ip)
	if !d.policy.own.has(tuple.Destination) {
		return false // not ours any more since it came
	}
	udp := upperPayload(packet.ip)
	if len(udp) < udpHeaderLen {
		return false
	}
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if length < udpHeaderLen || length > len(udp) {
		return false
	}
	udp = udp[:length]
	if !udpChecksumRight(packet.ip, udp) {
		return false
	}
	payload, marked := udp[udpHeaderLen:], tuple.DestinationPort == portIKENATT
	if marked {
		if len(payload) < 4 || binary.BigEndian.Uint32(payload) != 0 {
			return false
		}
		payload = payload[4:]
	}
	d.slow.datagrams = append(d.slow.datagrams, Datagram{
		Local:        netip.AddrPortFrom(tuple.Destination, tuple.DestinationPort),
		Remote:       netip.AddrPortFrom(tuple.Source, tuple.SourcePort),
		Payload:      slices.Clone(payload),
		NonESPMarker: marked,
		Known:        x.punt_class == C.SP_CLASS_IKE || x.punt_class == C.SP_CLASS_IKE_BEGIN,
		Share:        uint8(x.share),
	})
	return true
}

// countExempt counts a packet of our own at the exemption that lets it out, and says whether one does. What comes in the
// workers count.
func (d *Dataplane) countExempt(tuple policy.Packet, length int) bool {
	if d.policy.spd == nil {
		return false
	}
	e, ok := d.policy.spd.Exempt(tuple)
	if !ok {
		return false
	}
	hits := d.slow.exempted[e.ID]
	if hits == nil {
		hits = &FilterHits{}
		d.slow.exempted[e.ID] = hits
	}
	hits.Packets++
	hits.Bytes += uint64(length)
	return true
}
