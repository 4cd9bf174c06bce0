package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"sallyport/policy"
)

// SoftSA lets the traffic of one filter between two addresses pass in clear (S-046). It has no keys: no crypto device and no
// port hears of it (S-101).
type SoftSA struct {
	Entry, Mirror uint32 // policy.Entry.ID of the outbound (Protect) and of the inbound (Require) entry
	Local, Remote netip.Addr
}

// SoftCounters is a soft SA and what passed in clear by it.
type SoftCounters struct {
	SoftSA
	Out, In FilterHits
	Ended   bool // by an SA of its tunnel or a policy: nothing passes by it any more, and it is told of until RemoveSoft
}

// DefaultMaxSoft is how many soft SAs there can be where a Config does not say.
const DefaultMaxSoft = 4096

// ErrSoftFull says that there are as many soft SAs as there can be.
var ErrSoftFull = errors.New("pipeline: no room for more soft SAs")

// softTable is the soft SAs there are, as the workers' table has them. It is guarded by Dataplane.mu.
type softTable struct {
	limit   int
	sas     map[SoftSA]*softSA
	over    map[SoftSA]*softSA // ended here, and nobody has asked yet what passed by them
	ways    map[C.struct_sp_soft_key]*softWay
	bySlot  map[uint32]*softWay  // those too that have ended, as long as a worker may count there
	cells   map[CellID]int       // soft SAs of each
	free    []uint32             // counter slots that were used before
	fresh   uint32               // the next one that was not
	ended   map[uint32]slotCount // by filter: what passed by soft SAs that have ended
	skipped uint64               // soft SAs ever added: none was offered to a crypto device or a port
}

type softSA struct {
	SoftSA
	cell    CellID
	out, in *softWay
}

// softWay is one direction of a soft SA.
type softWay struct {
	of    SoftSA
	entry uint32 // policy.Entry.ID of the filter that decides
	key   C.struct_sp_soft_key
	slot  uint32
	final *FilterHits // what it has counted in all, once the slot is another's
}

func newSoftTable(limit int) softTable {
	return softTable{limit: limit, sas: map[SoftSA]*softSA{}, over: map[SoftSA]*softSA{}, ways: map[C.struct_sp_soft_key]*softWay{}, bySlot: map[uint32]*softWay{},
		cells: map[CellID]int{}, fresh: maxFilters, ended: map[uint32]slotCount{}}
}

// take is a counter slot that no worker counts in.
func (t *softTable) take() (slot uint32, ok bool) {
	if last := len(t.free) - 1; last >= 0 {
		slot, t.free = t.free[last], t.free[:last]
		return slot, true
	}
	if t.fresh == maxFilters+C.SP_SOFT_COUNTERS*uint32(t.limit) {
		return 0, false
	}
	t.fresh++
	return t.fresh - 1, true
}

// AddSoft lets traffic pass in clear: all of them or, with an error, none. What was held for them goes on in order. Those
// that are there already stay as they are. They have no effect while their tunnel has an SA or does not wait for one.
func (d *Dataplane) AddSoft(sas []SoftSA) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	d.reclaim()
	var fresh []*softSA
	seen := map[SoftSA]bool{}
	asked := map[selector]bool{} // what waits for them
	for _, s := range sas {
		cell, err := d.admitSoft(&d.policy, d.filters, s)
		if err != nil {
			return err
		}
		asked[selector{cell, s.Entry, s.Local, s.Remote}] = true
		if d.soft.sas[s] == nil && !seen[s] {
			seen[s] = true
			fresh = append(fresh, &softSA{SoftSA: s, cell: cell})
		}
	}
	if len(d.soft.sas)+len(fresh) > d.soft.limit {
		return fmt.Errorf("%w: %d of at most %d, and %d more", ErrSoftFull, len(d.soft.sas), d.soft.limit, len(fresh))
	}
	for i, s := range fresh {
		if err := d.publishSoft(s); err != nil {
			d.endSoft(fresh[:i])
			return err
		}
	}
	if len(fresh) > 0 {
		C.sp_generation_bump(d.c)
	}
	d.soft.skipped += uint64(len(fresh))
	d.release(d.slow.held.takeWhere(func(w selector) bool { return asked[w] }))
	return nil
}

// admitSoft checks a soft SA against a policy, and finds its cell.
func (d *Dataplane) admitSoft(p *published, filters *filterSlots, s SoftSA) (CellID, error) {
	out, in := p.entry(filters, s.Entry), p.entry(filters, s.Mirror)
	switch {
	case out == nil || out.Verdict != policy.VerdictProtect || !out.Fallback:
		return 0, fmt.Errorf("pipeline: soft SA of filter %d: want one of the policy in force that protects and has fallback", s.Entry)
	case in == nil || in.Verdict != policy.VerdictRequire || !in.Fallback || in.Tunnel != out.Tunnel:
		return 0, fmt.Errorf("pipeline: soft SA of filter %d: filter %d is not its mirror image", s.Entry, s.Mirror)
	case !out.Source.Contains(s.Local) || !out.Destination.Contains(s.Remote) || !in.Source.Contains(s.Remote) || !in.Destination.Contains(s.Local):
		return 0, fmt.Errorf("pipeline: soft SA between %s and %s: filter %q does not hold these addresses", s.Local, s.Remote, out.FilterName)
	case s.Local == s.Remote || p.own.has(s.Remote) || isGroup(s.Local) || isGroup(s.Remote):
		return 0, fmt.Errorf("pipeline: soft SA between %s and %s: want two hosts, the remote one another than the gateway", s.Local, s.Remote)
	}
	id, ok := d.cells.byName[out.Tunnel]
	switch {
	case !ok || !p.cells[id]:
		return 0, fmt.Errorf("pipeline: soft SA of tunnel %q, which is closed", out.Tunnel)
	case len(d.sad.outboundOf(id)) > 0:
		return 0, fmt.Errorf("pipeline: soft SA of tunnel %q, which has an SA", out.Tunnel)
	}
	return id, nil
}

// isGroup reports an address that is more than one host's: of a subnet's own broadcast address the classifier knows.
func isGroup(a netip.Addr) bool {
	return a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// entry is a filter of the policy, nil if it has no such one.
func (p *published) entry(filters *filterSlots, id uint32) *policy.Entry {
	s, known := filters.byID[id]
	if !known || !s.active {
		return nil
	}
	return p.bySlot[s.slot].entry
}

// publishSoft puts both directions into the workers' table. On error there is neither.
func (d *Dataplane) publishSoft(s *softSA) (err error) {
	if s.out, err = d.publishWay(s.SoftSA, s.Entry, s.Local, s.Remote); err != nil {
		return err
	}
	if s.in, err = d.publishWay(s.SoftSA, s.Mirror, s.Remote, s.Local); err != nil {
		d.unpublishWay(s.out)
		d.endWays([]*softWay{s.out})
		return err
	}
	d.soft.sas[s.SoftSA] = s
	delete(d.soft.over, s.SoftSA)
	d.soft.cells[s.cell]++
	return nil
}

func (d *Dataplane) publishWay(of SoftSA, entry uint32, source, destination netip.Addr) (*softWay, error) {
	way := &softWay{of: of, entry: entry, key: C.struct_sp_soft_key{addresses: pairToC(source, destination).addresses, filter: C.uint32_t(d.filters.byID[entry].slot)}}
	if other := d.soft.ways[way.key]; other != nil {
		return nil, fmt.Errorf("pipeline: soft SA of filters %d and %d: one of filters %d and %d has the same traffic", of.Entry, of.Mirror, other.of.Entry, other.of.Mirror)
	}
	slot, ok := d.soft.take()
	if !ok {
		return nil, fmt.Errorf("%w: all counters are in use", ErrSoftFull)
	}
	way.slot = slot
	if rc := C.sp_soft_add(d.c, &way.key, C.uint32_t(slot)); rc < 0 {
		d.soft.free = append(d.soft.free, slot)
		return nil, fmt.Errorf("%w: %w", ErrSoftFull, errno(rc))
	}
	d.soft.ways[way.key], d.soft.bySlot[slot] = way, way
	return way, nil
}

// softBatch is how many soft SAs are taken out of the tables while the slow path waits.
const softBatch = 256

// RemoveSoft ends soft SAs at once: when it returns, nothing passes by them any more. Unknown ones are ignored; of the others, those too that have
// ended before by themselves, it tells what passed by them, to the last packet: that takes until every worker has ended its turn.
func (d *Dataplane) RemoveSoft(sas []SoftSA) []SoftCounters {
	removed := make([]SoftCounters, 0, len(sas))
	var gone []*softSA
	var ways []*softWay
	for batch := range slices.Chunk(sas, softBatch) {
		d.mu.Lock()
		if d.c == nil {
			d.mu.Unlock()
			return removed
		}
		for _, s := range batch {
			if known := d.soft.sas[s]; known != nil {
				gone = append(gone, known)
				ways = d.unpublishSoft(ways, known)
			} else if over := d.soft.over[s]; over != nil {
				gone = append(gone, over)
				delete(d.soft.over, s)
			}
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil || len(gone) == 0 {
		return removed
	}
	if len(ways) > 0 {
		C.sp_generation_bump(d.c)
	}
	d.awaitWorkers()
	for _, sa := range gone {
		removed = append(removed, d.softCounters(sa))
	}
	d.buryWays(ways)
	return removed
}

// longestTurn is what is waited for workers at most: one that has packets in a crypto device which says nothing may take longer, and then its last packets are not told of.
const longestTurn = 10 * time.Millisecond

// awaitWorkers waits until workers have ended the turns that they are in.
func (d *Dataplane) awaitWorkers() {
	token := C.sp_grace_start(d.c)
	for limit := time.Now().Add(longestTurn); C.sp_grace_passed(d.c, token) == 0 && time.Now().Before(limit); {
		runtime.Gosched()
	}
}

// softWhere lists some of the soft SAs.
func (d *Dataplane) softWhere(which func(*softSA) bool) (list []*softSA) {
	for _, s := range d.soft.sas {
		if which(s) {
			list = append(list, s)
		}
	}
	return list
}

// endSoft makes soft SAs of no effect.
func (d *Dataplane) endSoft(gone []*softSA) {
	if len(gone) > 0 {
		d.endWays(d.unpublishSoft(nil, gone...))
	}
}

// remember keeps soft SAs whose end nobody has asked for, until RemoveSoft asks what passed by them. As many as there can be: of any more nothing is told.
func (d *Dataplane) remember(gone []*softSA) {
	for _, s := range gone {
		if len(d.soft.over) < d.soft.limit {
			d.soft.over[s.SoftSA] = s
		}
	}
}

// endSoftOf ends the soft SAs of a cell, which gets an SA (S-051).
func (d *Dataplane) endSoftOf(cell CellID) {
	if d.soft.cells[cell] > 0 {
		gone := d.softWhere(func(s *softSA) bool { return s.cell == cell })
		d.endSoft(gone)
		d.remember(gone)
	}
}

// unpublishSoft takes soft SAs out of the tables: whoever bumps the generation then calls buryWays.
func (d *Dataplane) unpublishSoft(ways []*softWay, gone ...*softSA) []*softWay {
	for _, s := range gone {
		delete(d.soft.sas, s.SoftSA)
		if d.soft.cells[s.cell]--; d.soft.cells[s.cell] == 0 {
			delete(d.soft.cells, s.cell)
		}
		for _, way := range []*softWay{s.out, s.in} {
			d.unpublishWay(way)
			ways = append(ways, way)
		}
	}
	return ways
}

func (d *Dataplane) unpublishWay(way *softWay) {
	C.sp_soft_remove(d.c, &way.key)
	delete(d.soft.ways, way.key)
}

// endWays forgets every memo of what is not in the tables any more.
func (d *Dataplane) endWays(ways []*softWay) {
	C.sp_generation_bump(d.c)
	d.buryWays(ways)
}

// waysInGrave is how many directions are settled at a time, each by a look at every reason that a worker may have dropped for.
const waysInGrave = 16

// buryWays keeps what they have counted, and gives their slots away when no worker counts there any more.
func (d *Dataplane) buryWays(ways []*softWay) {
	for grave := range slices.Chunk(ways, waysInGrave) {
		d.dig(func() error {
			for _, way := range grave {
				count := d.settleSlot(way.slot)
				way.final = &count.FilterHits
				d.soft.ended[way.entry] = d.soft.ended[way.entry].plus(count)
				delete(d.soft.bySlot, way.slot)
				d.soft.free = append(d.soft.free, way.slot)
			}
			return nil
		})
	}
	d.reclaim()
}

// settleSlot is what a slot has counted, which counts from zero again.
func (d *Dataplane) settleSlot(slot uint32) slotCount {
	var hits C.struct_sp_filter_counters
	var drops [C.SP_DROP_COUNT]C.uint64_t
	C.sp_soft_settle(d.c, C.uint32_t(slot), &hits, &drops[0])
	c := slotCount{FilterHits: FilterHits{Packets: uint64(hits.packets), Bytes: uint64(hits.bytes)}, drops: dropCounts{}}
	for reason, n := range drops {
		if n > 0 {
			c.drops[dropNames()[reason]] = uint64(n)
		}
	}
	return c
}

// softGone lists the soft SAs that a policy has no place for.
func (d *Dataplane) softGone(p *published, filters *filterSlots) []*softSA {
	return d.softWhere(func(s *softSA) bool {
		cell, err := d.admitSoft(p, filters, s.SoftSA)
		return err != nil || cell != s.cell
	})
}

// softCounts is what passed by soft SAs, those that have ended included, by the ID of the filter.
func (d *Dataplane) softCounts(read func(slot uint32) slotCount) map[uint32]slotCount {
	counts := make(map[uint32]slotCount, len(d.soft.ended))
	for id, c := range d.soft.ended {
		counts[id] = c
	}
	for slot, way := range d.soft.bySlot {
		counts[way.entry] = counts[way.entry].plus(read(slot))
	}
	return counts
}

// SoftCounters lists the soft SAs, in no order, and those that have ended by themselves and were not removed.
func (d *Dataplane) SoftCounters() []SoftCounters {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]SoftCounters, 0, len(d.soft.sas)+len(d.soft.over))
	if d.c == nil {
		return all
	}
	for _, sa := range d.soft.sas {
		all = append(all, d.softCounters(sa))
	}
	for _, sa := range d.soft.over {
		c := d.softCounters(sa)
		c.Ended = true
		all = append(all, c)
	}
	return all
}

func (d *Dataplane) softCounters(sa *softSA) SoftCounters {
	return SoftCounters{SoftSA: sa.SoftSA, Out: d.wayHits(sa.out), In: d.wayHits(sa.in)}
}

func (d *Dataplane) wayHits(way *softWay) FilterHits {
	if way.final != nil {
		return *way.final
	}
	return d.slotHits(way.slot)
}

// decidedBy is the filter that a packet with this counter slot met, and the soft SA that it may pass by, nil for none.
func (d *Dataplane) decidedBy(slot uint32) (counted, *SoftSA) {
	if slot < maxFilters {
		return d.policy.bySlot[slot], nil
	}
	way := d.soft.bySlot[slot]
	if way == nil {
		return counted{}, nil
	}
	return counted{entry: d.policy.entry(d.filters, way.entry)}, &way.of
}

// filterSlot is where a filter counts what Go drops, also of packets that would have passed by a soft SA: it may end while
// they wait.
func (d *Dataplane) filterSlot(slot uint32) uint32 {
	if slot < maxFilters {
		return slot
	}
	if way := d.soft.bySlot[slot]; way != nil {
		return d.filters.byID[way.entry].slot
	}
	return C.SP_COUNTER_NONE
}
