package pipeline

import (
	"fmt"
	"slices"

	"sallyport/policy"
)

// filterSlots gives each filter of the SPD a counter in the data plane. A filter keeps its slot over policy changes, so its
// count survives; the slot of a filter that is gone is given away only when there is no fresh one left.
type filterSlots struct {
	byID   map[uint32]*filterSlot
	bySlot map[uint32]*filterSlot
	fresh  uint32   // the next slot that nobody has had
	size   uint32   // slots in all, the reserved ones included
	gone   []uint32 // ids that are not in the policy, the longest gone first
}

type filterSlot struct {
	slot   uint32
	entry  policy.Entry
	active bool
	base   FilterHits // what the slot counted for a former owner
}

// FilterHits is how many packets a filter decided, and their bytes from the IP header on.
type FilterHits struct {
	Packets, Bytes uint64
}

// The slots below firstFilterSlot are the default action's and the IKE exemption's.
const (
	defaultActionSlot = 0
	ikeExemptionSlot  = 1
	firstFilterSlot   = 2
)

func newFilterSlots(size uint32) *filterSlots {
	return &filterSlots{byID: map[uint32]*filterSlot{}, bySlot: map[uint32]*filterSlot{}, fresh: firstFilterSlot, size: size}
}

// clone is a copy that can change while this one stays what the published policy counts in.
func (f *filterSlots) clone() *filterSlots {
	c := &filterSlots{byID: make(map[uint32]*filterSlot, len(f.byID)), bySlot: make(map[uint32]*filterSlot, len(f.bySlot)), fresh: f.fresh, size: f.size, gone: slices.Clone(f.gone)}
	for id, s := range f.byID {
		own := *s
		c.byID[id], c.bySlot[s.slot] = &own, &own
	}
	return c
}

// use makes the entries the active ones. count reads what a slot has counted so far.
func (f *filterSlots) use(entries []policy.Entry, count func(slot uint32) FilterHits) error {
	if uint64(len(entries)) > uint64(f.size-firstFilterSlot) {
		return fmt.Errorf("pipeline: %d specific filters, at most %d can be counted", len(entries), f.size-firstFilterSlot)
	}
	wanted := make(map[uint32]bool, len(entries))
	for i := range entries {
		wanted[entries[i].ID] = true
	}
	f.settleGone(wanted)
	for i := range entries {
		id := entries[i].ID
		s := f.byID[id]
		if s == nil {
			s = &filterSlot{slot: f.take()}
			s.base = count(s.slot)
			f.byID[id], f.bySlot[s.slot] = s, s
		}
		s.entry, s.active = entries[i], true
	}
	return nil
}

// settleGone moves ids between active and gone as the wanted set says.
func (f *filterSlots) settleGone(wanted map[uint32]bool) {
	kept := f.gone[:0]
	for _, id := range f.gone {
		if !wanted[id] {
			kept = append(kept, id)
		}
	}
	f.gone = kept
	for id, s := range f.byID {
		if s.active && !wanted[id] {
			s.active = false
			f.gone = append(f.gone, id)
		}
	}
}

// take is a slot that nobody has had, else the one of the filter that has been gone longest.
func (f *filterSlots) take() uint32 {
	if f.fresh < f.size {
		f.fresh++
		return f.fresh - 1
	}
	id := f.gone[0]
	f.gone = f.gone[1:]
	slot := f.byID[id].slot
	delete(f.byID, id)
	return slot
}
