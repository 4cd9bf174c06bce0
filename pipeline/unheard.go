package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"net/netip"
	"time"

	"sallyport/pmd/ethdev"
)

// What tells a peer that says nothing from one that we could not hear, or that could not hear us: who makes something of silence asks here.

// LostIKE grows whenever a message to the IKE ports may have come that nobody has heard: it, or the notice of it, found no room in the queues to the slow path, or, of whatever
// kind it was, none where a port receives; or a fragment of a peer's was dropped that does not say for which port it was. Drivers that do not count what they miss, such as net_af_packet, are silent about it.
func (d *Dataplane) LostIKE() (lost uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return 0
	}
	for _, class := range []C.uint32_t{C.SP_CLASS_IKE, C.SP_CLASS_IKE_BEGIN, C.SP_CLASS_IKE_STRANGER, C.SP_CLASS_IKE_BEGIN_STRANGER, C.SP_CLASS_NOTICE} {
		var c C.struct_sp_punt_counters
		C.sp_punt_counters_read(d.c, class, &c)
		lost += uint64(c.full)
	}
	for i := range d.cfg.Ports {
		s := d.statsOf(i)
		lost += s.RxMissed + s.RxNoBuffer
	}
	return lost + d.slow.unsent.untold + uint64(C.sp_fragments_unheard(d.c))
}

// statsOf is what the driver of a port counts, nothing where it does not say.
func (d *Dataplane) statsOf(port int) ethdev.Stats {
	read := d.cfg.portStats
	if read == nil {
		read = ethdev.Port.Stats
	}
	s, err := read(d.cfg.Ports[port].Port)
	if err != nil {
		return ethdev.Stats{}
	}
	return s
}

// unsentIKE is to whom IKE messages of ours were dropped, by a worker or while they waited for a next hop: nobody there can have answered them.
type unsentIKE struct {
	to     map[netip.Addr]bool
	untold uint64 // beyond what there is room for
}

const mostUnsent = 4096

func (u *unsentIKE) note(to netip.Addr) {
	switch {
	case u.to[to]:
	case len(u.to) == mostUnsent:
		u.untold++
	default:
		if u.to == nil {
			u.to = map[netip.Addr]bool{}
		}
		u.to[to] = true
	}
}

// UnsentIKE lists to whom IKE messages of ours, or fragments of them, have been dropped since the last call: no next hop on the way there has answered in time, or there
// was no room to wait for it, or the port did not take them.
func (d *Dataplane) UnsentIKE() (to []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for a := range d.slow.unsent.to {
		to = append(to, a)
	}
	d.slow.unsent.to = nil
	return to
}

// Doubt has the next hop toward an address asked every second until a time. When it leaves a request without an answer UnsentIKE lists the address: what was sent meanwhile went to nobody.
func (d *Dataplane) Doubt(to netip.Addr, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, ok := nextHop(d.policy.routes, to)
	if n := d.slow.neighbours.table[key]; ok && n != nil && n.state != neighbourIncomplete { // else what is sent waits, and is told of by itself
		n.doubt(to, until, d.statsOf(key.Port).TxErrors)
	}
}

// Reaches reports whether what was sent to an address until a time has left, as far as anybody can know: there is a route, its link is up, its next hop has answered since, and the port has not
// failed to send anything since the doubt began (Doubt). That an answer would be known for a peer's is part of it.
func (d *Dataplane) Reaches(to netip.Addr, since time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	key, ok := nextHop(d.policy.routes, to)
	n := d.slow.neighbours.table[key]
	if !ok || n == nil || n.failed(to, d.statsOf(key.Port).TxErrors) || n.state == neighbourIncomplete || n.answered.Before(since) || d.slow.peers.roomless[to] {
		return false
	}
	link, err := d.cfg.Ports[key.Port].link()
	return err == nil && link.Up
}

// toIKEPeer is to whom a packet is an IKE message of ours; not valid for any other.
func (p *punted) toIKEPeer() netip.Addr {
	if p.port >= 0 || p.ip == nil {
		return netip.Addr{}
	}
	t := tupleOf(p.ip)
	if t.Protocol != protocolUDP || !t.HasPorts || t.SourcePort != portIKE && t.SourcePort != portIKENATT {
		return netip.Addr{}
	}
	return t.Destination
}
