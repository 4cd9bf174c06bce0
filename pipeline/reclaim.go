package pipeline

/*
#include "fastpath.h"
*/
import "C"

import "errors"

// graveyard holds what workers may still be reading. A grave is freed when its grace period is over; nobody waits for it.
type graveyard struct {
	graves []grave
	failed error // of freeing; Close reports it
}

type grave struct {
	token uint64
	free  func() error
}

// bury frees the graves whose grace period has passed, in the order in which they were dug, and so many of them at most.
func (g *graveyard) bury(most int, passed func(token uint64) bool) {
	for ; most > 0 && len(g.graves) > 0 && passed(g.graves[0].token); most-- {
		first := g.graves[0]
		g.graves = g.graves[1:]
		g.failed = errors.Join(g.failed, first.free())
	}
}

// retire frees something once no worker can be using it, and now what has come of age. Call it after the thing has been
// unpublished.
func (d *Dataplane) retire(free func() error) {
	d.dig(free)
	d.reclaim()
}

func (d *Dataplane) dig(free func() error) {
	d.graves.graves = append(d.graves.graves, grave{uint64(C.sp_grace_start(d.c)), free})
}

// gravesAtOnce bounds how long the slow path waits for what thousands of SAs leave behind that have ended at one stroke. Each that ends digs one grave
// and has this many emptied, so that they do not pile up.
const gravesAtOnce = 32

func (d *Dataplane) reclaim() {
	d.graves.bury(gravesAtOnce, func(token uint64) bool { return C.sp_grace_passed(d.c, C.uint64_t(token)) != 0 })
}
