package pipeline

/*
#include "fastpath.h"
*/
import "C"

// sequenceMargin is how many sequence numbers are left when an outbound SA without ESN counts as soft expired: 72 s of
// traffic at 14.88 Mpps (S-080).
const sequenceMargin = 1 << 30

// expireSAs looks at what each SA has carried and reports those that have used up a lifetime, once each.
func (d *Dataplane) expireSAs() []event {
	var events []event
	report := func(sa *association, outbound bool, c *C.struct_sp_sa_counters) {
		child := &sa.child
		nearEnd := outbound && !child.ESN && uint64(c.sequence) >= 1<<32-sequenceMargin
		if hard := child.Hard.reached(c); hard && !sa.hard {
			sa.soft, sa.hard = true, true
			events = append(events, func(h Handler) { h.Expire(child.Cell, child.SPI, outbound, true) })
		} else if !sa.soft && (nearEnd || child.Soft.reached(c)) {
			sa.soft = true
			events = append(events, func(h Handler) { h.Expire(child.Cell, child.SPI, outbound, false) })
		}
	}
	var counters C.struct_sp_sa_counters
	for _, sa := range d.sad.inbound {
		C.sp_sa_in_counters(sa.c, &counters)
		report(&sa.association, false, &counters)
	}
	for _, sa := range d.sad.outbound {
		C.sp_sa_out_counters(sa.c, &counters)
		report(&sa.association, true, &counters)
	}
	return events
}

func (l Lifetime) reached(c *C.struct_sp_sa_counters) bool {
	return l.Packets > 0 && uint64(c.packets) >= l.Packets || l.Bytes > 0 && uint64(c.bytes) >= l.Bytes
}
