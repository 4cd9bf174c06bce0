package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"errors"
	"sync/atomic"
)

// retired is something that loops may still look at, and how many rounds each of them had gone when nobody could find it any more.
type retired struct {
	rounds  []uint64
	release func() error
}

// retire gives something back when all loops have gone round.
func (t *Tester) retire(release func() error) {
	t.retired = append(t.retired, retired{t.rounds(), release})
}

func (t *Tester) rounds() (list []uint64) {
	for _, l := range t.loops {
		list = append(list, atomic.LoadUint64((*uint64)(&l.rounds)))
	}
	return list
}

// reclaim gives back what no loop looks at: with stopped none does at anything.
func (t *Tester) reclaim(stopped bool) error {
	var errs []error
	for len(t.retired) > 0 {
		first := t.retired[0]
		for i, now := range t.rounds() {
			if !stopped && now < first.rounds[i]+2 { // the round that was under way, and a whole one
				return errors.Join(errs...)
			}
		}
		errs = append(errs, first.release())
		t.retired = t.retired[1:]
	}
	return errors.Join(errs...)
}
