package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"net/netip"
	"time"
)

// eventBurst is how many events one crossing into C takes from a worker.
const eventBurst = 64

// heed takes what the workers tell of SAs. One that has been replaced or removed meanwhile is nobody's concern.
func (d *Dataplane) heed(now time.Time) (events []event) {
	var batch [eventBurst]C.struct_sp_event
	events, d.sad.lost = d.sad.lost, nil
	for worker := range d.cfg.Workers {
		for n := C.uint32_t(eventBurst); n == eventBurst; {
			n = C.sp_event_dequeue(d.c, C.uint32_t(worker), &batch[0], eventBurst)
			for i := range batch[:n] {
				if e := d.settle(now, &batch[i]); e != nil {
					events = append(events, e)
				}
			}
		}
	}
	return events
}

func (d *Dataplane) settle(now time.Time, e *C.struct_sp_event) event {
	cell, spi, outbound := CellID(e.cell), uint32(e.spi), e.outbound != 0
	sa := d.sad.find(cell, spi, outbound)
	if sa == nil {
		return nil
	}
	switch e.kind {
	case C.SP_EVENT_HARD:
		return func(h Handler) { h.Expire(cell, spi, outbound, true) }
	case C.SP_EVENT_MOVED:
		return d.follow(sa, eventAddress(e))
	case C.SP_EVENT_INLINE:
		if spec, err := d.portToPeer(sa); err == nil && uint16(spec.Port) == sa.inline.Port && spec.VLAN == sa.inline.vlan { // else the next SA is elsewhere anyway
			d.sad.shunned[cell] = now.Add(shunInline)
		}
	}
	if sa.soft { // a lifetime and the sequence numbers may come to their ends one after the other
		return nil
	}
	sa.soft = true
	return func(h Handler) { h.Expire(cell, spi, outbound, false) }
}

// eventAddress is where a peer is that has moved.
func eventAddress(e *C.struct_sp_event) netip.AddrPort {
	var b [16]byte
	for i, octet := range e.address {
		b[i] = byte(octet)
	}
	address := netip.AddrFrom16(b)
	if e.outer == C.SP_IPV4 {
		address = netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrPortFrom(address, uint16(e.port))
}
