package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sallyport/policy"
)

// published is what the data plane goes by at present.
type published struct {
	spd    *policy.SPD
	routes []hop
	own    addresses
	cells  map[CellID]bool    // those that the policy's entries name
	bySlot map[uint32]counted // who counts in a slot
}

// counted is a filter or an exemption: one of the two is set.
type counted struct {
	entry     *policy.Entry
	exemption *policy.Exemption
}

// hop is a route with its port worked out. A via that is not valid means the destination itself: an attached subnet.
type hop struct {
	to   netip.Prefix
	via  netip.Addr
	port int // index into Config.Ports
}

// Prepared is a snapshot with everything that can fail behind it: it is published or discarded, once.
type Prepared struct {
	d       *Dataplane
	built   *C.struct_sp_snapshot // nil when it has had its end
	next    published
	filters *filterSlots
}

// Prepare checks a snapshot and builds its tables, while the present one stays in force and nobody waits. One snapshot at a
// time can be prepared. On error nothing has changed.
func (d *Dataplane) Prepare(s Snapshot) (*Prepared, error) {
	d.alive.RLock() // Close waits for the build
	defer d.alive.RUnlock()
	p, cells, err := d.reserve(&s)
	if err != nil {
		return nil, err
	}
	built, err := d.build(p, cells, s.PortIKE)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.prepared = nil
		return nil, err
	}
	p.built = built
	return p, nil
}

// reserve checks all but the tables, and keeps others from preparing a snapshot until this one has had its end.
func (d *Dataplane) reserve(s *Snapshot) (*Prepared, []uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.c == nil:
		return nil, nil, errClosed
	case d.prepared != nil:
		return nil, nil, errors.New("pipeline: another snapshot is prepared: publish or discard that first")
	case s.SPD == nil:
		return nil, nil, errors.New("pipeline: a snapshot without an SPD: compile a policy first")
	}
	own, err := d.cfg.addressesOf(s)
	if err != nil {
		return nil, nil, err
	}
	routes, err := resolveRoutes(own, s.Routes)
	if err != nil {
		return nil, nil, err
	}
	if err := d.cfg.knowsPorts(s.PortIKE); err != nil {
		return nil, nil, err
	}
	cells, err := d.cellsOf(s)
	if err != nil {
		return nil, nil, err
	}
	p := &Prepared{d: d, next: published{spd: s.SPD, routes: routes, own: own, cells: map[CellID]bool{}}, filters: d.filters.clone()}
	if err := p.filters.use(countedIDs(s.SPD)); err != nil {
		return nil, nil, err
	}
	for _, cell := range cells {
		if cell != C.SP_NO_CELL {
			p.next.cells[CellID(cell)] = true
		}
	}
	p.next.bySlot = p.filters.bySlot(s.SPD)
	d.prepared = p
	return p, cells, nil
}

// knowsPorts refuses names of ports that are none.
func (cfg *Config) knowsPorts(ike map[string]bool) error {
	for name := range ike {
		if !slices.ContainsFunc(cfg.Ports, func(p PortSpec) bool { return p.Name == name }) {
			return fmt.Errorf("pipeline: IKE on port %q: there is no such port", name)
		}
	}
	return nil
}

// bySlot is who counts where.
func (f *filterSlots) bySlot(spd *policy.SPD) map[uint32]counted {
	all := make(map[uint32]counted, len(spd.Exemptions)+len(spd.Entries))
	for i := range spd.Exemptions {
		all[f.byID[spd.Exemptions[i].ID].slot] = counted{exemption: &spd.Exemptions[i]}
	}
	for i := range spd.Entries {
		all[f.byID[spd.Entries[i].ID].slot] = counted{entry: &spd.Entries[i]}
	}
	return all
}

// Publish puts the snapshot in force. Every packet is judged by the old or by the new one, never by a mixture, and no memo
// of an old verdict survives. Packets that wait, for an SA or for a neighbour, are judged anew.
func (p *Prepared) Publish() {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.built == nil {
		return
	}
	// before a filter counts in the slot of another one: by the former policy their traffic waits for an SA until then
	gone := d.softGone(&p.next, p.filters)
	ended := d.unpublishSoft(nil, gone...)
	d.remember(gone)
	former := C.sp_snapshot_publish(d.c, p.built)
	p.built, d.prepared = nil, nil
	p.filters.begin(d.slotCounter())
	d.policy, d.filters = p.next, p.filters
	d.buryWays(ended)
	maps.DeleteFunc(d.soft.ended, func(id uint32, _ slotCount) bool { _, known := d.filters.byID[id]; return !known })
	if former != nil {
		d.retire(func() error { C.sp_snapshot_free(former); return nil })
	}
	d.rejudge(d.slow.held.takeAll())
	d.rejudge(d.slow.neighbours.takeHeld())
	d.slow.early.each(func(p *heldMbuf) { p.filter = C.SP_COUNTER_NONE })
	d.apply(d.slow.neighbours.forget(func(key neighbourKey) bool { return !d.policy.own.attached(key.Port, key.Address) }))
	d.routeSAs()
}

// rejudge releases packets that a former policy held. Whatever becomes of them, their former filters' slots may be others' now.
func (d *Dataplane) rejudge(packets []heldMbuf) {
	for i := range packets {
		packets[i].filter = C.SP_COUNTER_NONE
	}
	d.release(packets)
}

// Discard gives up a snapshot that is not to be published.
func (p *Prepared) Discard() {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	p.discard()
}

func (p *Prepared) discard() {
	if p.built != nil {
		C.sp_snapshot_free(p.built) // no worker has seen it
		p.built, p.d.prepared = nil, nil
	}
}

// Apply prepares a snapshot and publishes it.
func (d *Dataplane) Apply(s Snapshot) error {
	p, err := d.Prepare(s)
	if err != nil {
		return err
	}
	p.Publish()
	return nil
}

// cellsOf finds the cell of each entry, in the order of the entries.
func (d *Dataplane) cellsOf(s *Snapshot) ([]uint16, error) {
	cells := make([]uint16, len(s.SPD.Entries))
	for i := range s.SPD.Entries {
		e := &s.SPD.Entries[i]
		cells[i] = C.SP_NO_CELL
		if e.Verdict != policy.VerdictProtect && e.Verdict != policy.VerdictRequire {
			continue
		}
		id, ok := s.Tunnels[e.Tunnel]
		if !ok {
			return nil, fmt.Errorf("pipeline: rule %q needs tunnel %q, which has no cell in the snapshot", e.Rule, e.Tunnel)
		}
		if err := d.checkCell(id); err != nil {
			return nil, err
		}
		cells[i] = uint16(id)
	}
	return cells, nil
}
