package pipeline

/*
#include "fastpath.h"
*/
import "C"

import "errors"

// A driver may take its time over a session. It is asked without the lock, so that nobody waits for it but who needs that session; what thousands of SAs need when a device is lost, or
// routes change, is done for one SA after the other, and the lock is free for others in between.

// drivers is what drivers are to be asked for beside all else.
type drivers struct {
	errands   []func() // with the lock
	closings  []closing
	onErrand  bool
	onClosing bool
	ending    bool // Close does what is left, and nobody begins anything
}

// closing is what drivers are to take back.
type closing struct {
	ask  func() error // without the lock, which it does not take
	then func()       // with it, afterwards
}

// unlocked asks a driver while others have the lock: afterwards all may be different. Who comes here has `alive`, or is an errand: Close waits for both.
func (d *Dataplane) unlocked(ask func()) {
	d.mu.Unlock()
	defer d.mu.Lock()
	ask()
}

// later has something done for an SA that nobody waits for.
func (d *Dataplane) later(errand func()) {
	if d.drivers.ending {
		return
	}
	d.drivers.errands = append(d.drivers.errands, errand)
	if !d.drivers.onErrand {
		d.drivers.onErrand = true
		d.background.Go(d.runErrands)
	}
}

func (d *Dataplane) runErrands() {
	for d.runErrand() {
	}
}

// endErrands lets nobody begin anything: who is on the way comes to his end.
func (d *Dataplane) endErrands() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drivers.ending = true
}

// runErrand reports whether there may be another.
func (d *Dataplane) runErrand() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.drivers.errands) == 0 {
		d.drivers.onErrand = false
		return false
	}
	first := d.drivers.errands[0]
	d.drivers.errands = d.drivers.errands[1:]
	first()
	return true
}

// giveBack has drivers asked for what nobody uses any more, in the order of the calls.
func (d *Dataplane) giveBack(ask func() error, then func()) {
	d.drivers.closings = append(d.drivers.closings, closing{ask, then})
	if !d.drivers.onClosing && !d.drivers.ending {
		d.drivers.onClosing = true
		d.background.Go(d.runClosings)
	}
}

// AwaitDrivers returns when nothing is left of SAs that are gone, as far as their grace periods are over: for tests, and for who measures what that takes.
func (d *Dataplane) AwaitDrivers() { d.background.Wait() }

// giveAllBack is for Close, which lets nobody else have the lock.
func (d *Dataplane) giveAllBack() {
	for _, c := range d.drivers.closings {
		d.graves.failed = errors.Join(d.graves.failed, c.ask())
		if c.then != nil {
			c.then()
		}
	}
	d.drivers.closings = nil
}

func (d *Dataplane) runClosings() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.runClosing() {
	}
	d.drivers.onClosing = false
}

// runClosing reports whether there was one.
func (d *Dataplane) runClosing() bool {
	if len(d.drivers.closings) == 0 {
		return false
	}
	first := d.drivers.closings[0]
	d.drivers.closings = d.drivers.closings[1:]
	var failed error
	d.unlocked(func() { failed = first.ask() })
	d.graves.failed = errors.Join(d.graves.failed, failed)
	if first.then != nil {
		first.then()
	}
	return true
}

// freeSessions takes back what newSessions gave.
func (sa *association) freeSessions(d *Dataplane, then func()) {
	d.sad.subjects.give(sa.subject)
	sa.key.Wipe()
	d.giveSessionsBack(sa, then)
}

// discard frees what no worker can be using, and does something afterwards.
func (sa *inboundSA) discard(d *Dataplane, then func()) {
	C.sp_sa_in_free(sa.c)
	C.sp_sa_in_free(sa.outer)
	sa.freeSessions(d, then)
}
