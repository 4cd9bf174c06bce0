package pipeline

/*
#include "fastpath.h"
*/
import "C"

import "maps"

// tallyEntries is how many drop counts of filters and SAs each worker has room for, at 16 bytes: one for each filter and soft SA
// there can be and two for each SA, since few have more than one reason. Drops beyond that are counted by reason alone.
func (cfg *Config) tallyEntries() uint32 {
	if cfg.tally > 0 {
		return cfg.tally
	}
	entries := uint32(1)
	for entries < cfg.counters()+uint32(4*cfg.MaxSAs) {
		entries *= 2
	}
	return entries
}

// counters is how many counter slots there are: of filters, and behind them of soft SAs.
func (cfg *Config) counters() uint32 { return maxFilters + C.SP_SOFT_COUNTERS*uint32(cfg.MaxSoft) }

// subjects hands out the numbers by which workers count the drops of SAs. Numbers are used again, the last one given back
// first, so that the workers' tables do not fill with those of SAs that are gone.
type subjects struct {
	free []uint32
	next uint32 // one that nobody has had
}

func (s *subjects) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n
	}
	s.next++
	return s.next - 1
}

func (s *subjects) give(n uint32) { s.free = append(s.free, n) }

// dropCounts is packets dropped by reason; reasons that did not occur are left out.
type dropCounts = map[string]uint64

// discarded says which filter had decided a held packet that Go gave up, and why it did.
type discarded struct {
	slot   uint32
	reason slowDrop
}

// drops reads what filters, by slot, and SAs, by subject, have dropped.
func (d *Dataplane) drops() map[uint32]dropCounts {
	all := map[uint32]dropCounts{}
	add := func(subject uint32, reason string, n uint64) {
		if all[subject] == nil {
			all[subject] = dropCounts{}
		}
		all[subject][reason] += n
	}
	var batch [256]C.struct_sp_tally_count
	for worker := range d.cfg.Workers {
		var cursor C.uint32_t
		for {
			n := C.sp_tally_dump(d.c, C.uint32_t(worker), &cursor, &batch[0], C.uint32_t(len(batch)))
			for _, c := range batch[:n] {
				add(uint32(c.subject), dropNames()[c.reason], uint64(c.n))
			}
			if n == 0 {
				break
			}
		}
	}
	for of, n := range d.slow.discardsBy {
		add(of.slot, slowDropNames[of.reason], n)
	}
	return all
}

// unattributed is drops that found no room among those of filters and SAs.
func (d *Dataplane) unattributed() dropCounts {
	drops := dropCounts{}
	for i, reason := range dropNames() {
		if n := uint64(C.sp_tally_unattributed(d.c, C.uint32_t(i))); n > 0 {
			drops[reason] = n
		}
	}
	return drops
}

// since is the counts less those of before.
func since(now, before dropCounts) dropCounts {
	if len(before) == 0 {
		return now
	}
	left := maps.Clone(now)
	for reason, n := range before {
		if left[reason] -= n; left[reason] == 0 {
			delete(left, reason)
		}
	}
	return left
}
