package cryptodev

/*
#include <rte_cryptodev.h>
#include "device.h"
*/
import "C"

import "errors"

// loss is a device that has stopped working. It may still read a session that it was given, and write to it, so sessions stay
// in memory until it is stopped.
type loss struct {
	declared, stopped bool
	why               string
	limbo             []*Session // that their users are done with
}

// keeps takes a session that may not be freed yet.
func (p *Pool) keeps(s *Session) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &s.device.lost
	if !l.declared || l.stopped {
		return false
	}
	kept := *s
	l.limbo = append(l.limbo, &kept)
	return true
}

// Descriptors is how many operations each queue pair has room for.
func (p *Pool) Descriptors() int { return p.queueLen }

// Lose says that a device has stopped working, and why: it gets no more sessions.
func (p *Pool) Lose(id uint8, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if dev := p.deviceOf(id); dev != nil {
		dev.lost.declared, dev.lost.why = true, why
	}
}

// Stop stops a device that is lost, when nobody gives it operations or asks for them any more, and clears the keys of the
// sessions that were freed since. What it was given it does not touch afterwards. It may take its time over that.
func (p *Pool) Stop(id uint8) error {
	p.mu.Lock()
	dev := p.deviceOf(id)
	p.mu.Unlock()
	if dev != nil {
		return p.stop(dev)
	}
	return nil
}

func (p *Pool) stop(dev *device) error {
	dev.busy.Lock()
	defer dev.busy.Unlock()
	if !p.mayStop(dev) {
		return nil
	}
	C.rte_cryptodev_stop(C.uint8_t(dev.id))
	var errs []error
	for _, session := range p.stopped(dev) {
		errs = append(errs, dev.freeSession(session, &p.memory))
	}
	return errors.Join(errs...)
}

func (p *Pool) mayStop(dev *device) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return dev.lost.declared && !dev.lost.stopped
}

// stopped takes the sessions that a device kept, which does not touch them any more.
func (p *Pool) stopped(dev *device) []*Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	limbo := dev.lost.limbo
	dev.lost.stopped, dev.lost.limbo = true, nil
	p.live -= len(limbo)
	return limbo
}

// inLimbo is how many sessions wait for their device to be stopped.
func (p *Pool) inLimbo() (n int) {
	for _, dev := range p.devices {
		n += len(dev.lost.limbo)
	}
	return n
}

func (p *Pool) deviceOf(id uint8) *device {
	for _, dev := range p.devices {
		if dev.id == id {
			return dev
		}
	}
	return nil
}
