package pipeline

/*
#include "fastpath.h"
*/
import "C"

import (
	"cmp"
	"slices"
)

// The end of moves: the former halves of SAs are given up when nobody uses them, and an SA that has come to where it cannot stay moves on.

// settleMoves ends the moves whose former halves nobody uses any more.
func (d *Dataplane) settleMoves() {
	under := d.sad.moving
	d.sad.moving = nil
	var left []relocation
	for i := range under {
		r := &under[i]
		older := r.in != nil && slices.ContainsFunc(left, func(l relocation) bool { return l.in == r.in })
		if !d.settleMove(r, older) {
			left = append(left, *r)
		}
	}
	d.sad.moving = append(left, d.sad.moving...) // of one SA the oldest first: what it leaves behind is needed no longer than what a later one does
}

// settleMove reports whether a move has come to its end. While an older one of the same SA has not, what this one leaves behind is needed: its owner may have
// taken all windows over just now.
func (d *Dataplane) settleMove(r *relocation, older bool) bool {
	if C.sp_grace_passed(d.c, C.uint64_t(r.token)) == 0 {
		return false
	}
	switch {
	case r.out != nil:
		var c C.struct_sp_sa_counters
		C.sp_sa_out_counters(r.formerOut, &c)
		r.out.inline.past += uint64(c.inlined - r.carried.inlined)
		C.sp_sa_out_settle(r.out.c, r.formerOut, &r.carried)
		r.out.moving = false
	case r.waits && d.drivers.ending:
		return false
	case r.waits:
		d.later(func() {
			if err := d.replaceInbound(r.in, r.next, r.place); err != nil {
				r.in.inline.refused = err.Error() // the half that is there goes on, without its NIC
			}
		})
		return true
	case r.in.comes:
		return false
	default:
		if !r.free {
			r.free, r.in.moving = true, false
			d.lookAgain(r.in, nil)
		}
		if older || C.sp_sa_in_settled(r.half) == 0 {
			return false
		}
		var c C.struct_sp_sa_counters
		C.sp_sa_in_counters(r.formerIn, &c)
		r.in.inline.past += uint64(c.inlined - r.carried.inlined)
	}
	former := *r
	d.retire(func() error { d.freeFormer(&former); return nil })
	d.lookAgain(r.in, r.out)
	return true
}

// lookAgain has an SA moved on that has come to where it cannot stay: the device is lost meanwhile, no NIC opens its packets after all, or another port leads to the peer.
func (d *Dataplane) lookAgain(in *inboundSA, out *outboundSA) {
	switch {
	case in != nil && in.moving: // again, meanwhile
		in.again = true
	case out != nil && d.onLost(&out.association):
		d.fleeOutbound(out, &OffloadChange{})
	case in != nil && d.onLost(&in.association):
		d.fleeInbound(in, &OffloadChange{})
	case in != nil && in.inline.marks && in.inline.Handle == nil:
		d.later(func() { d.goBack(in) })
	case out != nil:
		d.rerouteOutbound(out)
	default:
		d.rerouteInbound(in)
	}
}

// goBack moves an SA to where it was before it was to go to a NIC that has no session for it after all; without room there to the CPU.
func (d *Dataplane) goBack(sa *inboundSA) {
	refused := sa.inline.refused
	if d.mayMove(&sa.association) != nil || !sa.inline.marks || sa.inline.Handle != nil {
		return
	}
	sa.moving = true
	next, err := d.anew(&sa.association, false, cmp.Or(sa.before, PlaceCPU), 0)
	if err != nil {
		next, err = d.anew(&sa.association, false, PlaceCPU, 0)
	}
	if err != nil {
		_ = d.stays(sa, nil, err)
		return
	}
	next.key.Wipe()
	_ = d.replaceInbound(sa, next, next.place(false))
	sa.inline.refused = refused
}

func (d *Dataplane) freeFormer(r *relocation) {
	switch {
	case r.waits:
		d.freeHalf(&r.next)
		return
	case r.out != nil:
		d.leave(&r.former, r.formerOut)
		C.sp_sa_out_free(r.formerOut)
	default:
		C.sp_sa_in_free(r.formerIn)
	}
	d.freeHalf(&r.former)
}

// endMove forgets the move of an SA that is gone, and returns what frees its former half when no worker uses it.
func (d *Dataplane) endMove(in *inboundSA, out *outboundSA) func() {
	var gone []relocation
	d.sad.moving = slices.DeleteFunc(d.sad.moving, func(r relocation) bool {
		is := r.in == in && r.out == out
		if is {
			gone = append(gone, r)
		}
		return is
	})
	return func() {
		for i := range gone {
			d.freeFormer(&gone[i])
		}
	}
}
