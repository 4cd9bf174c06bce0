package pipeline

import (
	"fmt"
	"maps"
	"slices"

	"sallyport/policy"
)

// filterSlots gives each filter and each exemption of the SPD a counter in the data plane, by ID. One keeps its slot over
// policy changes, so its count survives; the slot of one that is gone is given away only when there is no fresh one left.
type filterSlots struct {
	byID  map[uint32]filterSlot
	fresh uint32   // the next slot that nobody has had
	size  uint32   // slots in all, the reserved ones included
	gone  []uint32 // ids that are not in the policy, the longest gone first
	taken []uint32 // ids that take over a slot with this policy
}

type filterSlot struct {
	slot   uint32
	active bool
	base   slotCount // what the slot counted for a former owner
}

// slotCount is what a slot has counted.
type slotCount struct {
	FilterHits
	drops dropCounts
}

// plus is the sum of two.
func (c slotCount) plus(more slotCount) slotCount {
	drops := maps.Clone(c.drops)
	for reason, n := range more.drops {
		if drops == nil {
			drops = dropCounts{}
		}
		drops[reason] += n
	}
	return slotCount{c.FilterHits.plus(more.FilterHits), drops}
}

// FilterHits is how many packets a filter decided, and their bytes from the IP header on.
type FilterHits struct {
	Packets, Bytes uint64
}

func (h FilterHits) plus(more FilterHits) FilterHits {
	return FilterHits{Packets: h.Packets + more.Packets, Bytes: h.Bytes + more.Bytes}
}

// The slots below firstFilterSlot are nobody's, for what no filter is asked about, and the default action's.
const (
	defaultActionSlot = 1
	firstFilterSlot   = 2
)

func newFilterSlots(size uint32) *filterSlots {
	return &filterSlots{byID: map[uint32]filterSlot{}, fresh: firstFilterSlot, size: size}
}

// clone is a copy that can change while this one stays what the published policy counts in.
func (f *filterSlots) clone() *filterSlots {
	return &filterSlots{byID: maps.Clone(f.byID), fresh: f.fresh, size: f.size, gone: slices.Clone(f.gone)}
}

// countedIDs is everything of an SPD that has a counter.
func countedIDs(spd *policy.SPD) []uint32 {
	ids := make([]uint32, 0, len(spd.Exemptions)+len(spd.Entries))
	for i := range spd.Exemptions {
		ids = append(ids, spd.Exemptions[i].ID)
	}
	for i := range spd.Entries {
		ids = append(ids, spd.Entries[i].ID)
	}
	return ids
}

// use makes these ids the active ones.
func (f *filterSlots) use(ids []uint32) error {
	if uint64(len(ids)) > uint64(f.size-firstFilterSlot) {
		return fmt.Errorf("pipeline: %d specific filters and exemptions, at most %d can be counted", len(ids), f.size-firstFilterSlot)
	}
	wanted := make(map[uint32]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	f.settleGone(wanted)
	for _, id := range ids {
		s, known := f.byID[id]
		if !known {
			s.slot = f.take(id)
		}
		s.active = true
		f.byID[id] = s
	}
	return nil
}

// begin lets the ids that took over a slot count from zero; count reads what a slot has counted so far. Until the policy
// is published the former owner goes on counting.
func (f *filterSlots) begin(count func(slot uint32) slotCount) {
	for _, id := range f.taken {
		s := f.byID[id]
		s.base = count(s.slot)
		f.byID[id] = s
	}
	f.taken = nil
}

// settleGone moves ids between active and gone as the wanted set says.
func (f *filterSlots) settleGone(wanted map[uint32]bool) {
	f.gone = slices.DeleteFunc(f.gone, func(id uint32) bool { return wanted[id] })
	for id, s := range f.byID {
		if s.active && !wanted[id] {
			s.active = false
			f.byID[id] = s
			f.gone = append(f.gone, id)
		}
	}
}

// take is a slot that nobody has had, else the one of the filter that has been gone longest.
func (f *filterSlots) take(id uint32) uint32 {
	if f.fresh < f.size {
		f.fresh++
		return f.fresh - 1
	}
	former := f.gone[0]
	f.gone = f.gone[1:]
	slot := f.byID[former].slot
	delete(f.byID, former)
	f.taken = append(f.taken, id)
	return slot
}

// count is what an active filter or exemption has counted.
func (f *filterSlots) count(id uint32, count func(slot uint32) slotCount) slotCount {
	s := f.byID[id]
	c := count(s.slot)
	c.Packets -= s.base.Packets
	c.Bytes -= s.base.Bytes
	c.drops = since(c.drops, s.base.drops)
	return c
}
