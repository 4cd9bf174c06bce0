package pipeline

/*
#include "fastpath.h"
*/
import "C"

import "time"

// A peer may send by a new SA as soon as it has the keys (RFC 7296 section 2.8): what it sends then may come before its answer
// that gives them to us. Workers hand over, in bounded number, what has an SPI that is reserved and has no SA; it waits here.

// earlyLifetime is how long a packet waits for its SA. IKE repeats a request after 0.5 s and after 1.4 s: the answer may be lost
// twice.
const earlyLifetime = 2 * time.Second

// earlyLimit is how many packets may wait for inbound SAs, of all together: a small part of the packet buffers.
func (cfg *Config) earlyLimit() uint32 { return min(512, cfg.Pool.Size()/20) }

// earlyQueue keeps packets of reserved SPIs in order of arrival. P is a packet handle: what the methods return belongs to the
// caller again.
type earlyQueue[P any] map[uint32][]heldPacket[P]

func (q earlyQueue[P]) push(now time.Time, spi uint32, packet P) {
	q[spi] = append(q[spi], heldPacket[P]{packet: packet, until: now.Add(earlyLifetime)})
}

// take empties the queue of an SPI, oldest packet first.
func (q earlyQueue[P]) take(spi uint32) (packets []P) {
	for _, h := range q[spi] {
		packets = append(packets, h.packet)
	}
	delete(q, spi)
	return packets
}

// takeAll empties all queues.
func (q earlyQueue[P]) takeAll() (all []P) {
	for spi := range q {
		all = append(all, q.take(spi)...)
	}
	return all
}

// each visits the packets of all queues.
func (q earlyQueue[P]) each(visit func(*P)) {
	for _, packets := range q {
		for i := range packets {
			visit(&packets[i].packet)
		}
	}
}

// expire returns the packets of an SPI that have waited too long.
func (q earlyQueue[P]) expire(now time.Time, spi uint32) (expired []P) {
	left := q[spi]
	for len(left) > 0 && !now.Before(left[0].until) {
		expired = append(expired, left[0].packet)
		left = left[1:]
	}
	if q[spi] = left; len(left) == 0 {
		delete(q, spi)
	}
	return expired
}

// earlyCounts counts the packets of a port that came before their SA: all that waited, and those that went on.
type earlyCounts struct{ kept, passed uint64 }

// awaitInbound keeps a packet until its SA is there. The SA may have come, or its SPI gone, while the packet was in the ring.
func (d *Dataplane) awaitInbound(now time.Time, spi uint32, packet heldMbuf) {
	d.slow.earlyCounts[packet.port].kept++
	switch sa := d.sad.having(spi); {
	case sa != nil:
		d.passEarly(spi, sa.owner, []heldMbuf{packet})
	case !d.sad.spis.used[spi]:
		d.dropEarly(spi, []heldMbuf{packet}, dropNoInboundSA)
	default:
		d.slow.early.push(now, spi, packet)
	}
}

// passEarly gives packets to the worker that has their SA now.
func (d *Dataplane) passEarly(spi uint32, owner int, packets []heldMbuf) {
	for _, p := range packets {
		C.sp_early_left(d.c, C.uint32_t(spi))
		p.worker = owner
		if d.releaseOne(p) {
			d.slow.earlyCounts[p.port].passed++
		}
	}
}

func (d *Dataplane) dropEarly(spi uint32, packets []heldMbuf, reason slowDrop) {
	for range packets {
		C.sp_early_left(d.c, C.uint32_t(spi))
	}
	d.discard(packets, reason)
}

func (d *Dataplane) expireEarly(now time.Time) {
	for spi := range d.slow.early {
		d.dropEarly(spi, d.slow.early.expire(now, spi), dropEarlyTimeout)
	}
}
