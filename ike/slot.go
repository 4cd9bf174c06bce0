package ike

import (
	"slices"
	"time"

	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// slot is the place of one configured child: the Child SAs that serve it, mostly one, for a moment around a rekey two or three, and of
// these the one that packets leave by.
type slot struct {
	peer     *peer
	cfg      Child
	children []*childSA // installed, oldest first
	outbound *childSA   // the one in the data plane's cell
	former   *childSA   // the one before it

	wanted      bool           // by an operator or a waiting packet
	packet      *policy.Packet // that packet
	negotiating *childInitiator

	worker  int            // of the data plane, counted from 1, that alone sends by the slot's Child SAs; 0: all without their own (percore.go)
	all     *slot          // of a worker's slot: the one of all
	workers []*slot        // of the slot of all: those of workers
	surplus bool           // of a worker's: the peer has no Child SA for it
	fill    deadline.Timer // of the slot of all: until then the peer asks for those of workers

	down     bool // by the operator: it is not begun from here
	retired  bool // the child is no longer configured, or protects other traffic or in another way
	failures int
	silences int            // rekeys in a row because nothing came
	retry    deadline.Timer // pending: not before
}

// needed reports whether a negotiation must begin: somebody wants the child, it is not there and not on its way.
func (s *slot) needed() bool {
	switch {
	case s.down || s.live() != nil || s.negotiating != nil || s.retry.Pending():
		return false
	case s.worker > 0:
		return s.all.sharing() && !s.surplus
	}
	return s.wanted || s.cfg.Start == StartAlways
}

// end deletes the Child SAs of the slot, and begins none until an operator wants one again.
func (s *slot) end(reason Reason) {
	s.down, s.wanted = true, false
	s.peer.engine.timers.Stop(&s.retry)
	for _, c := range slices.Clone(s.children) {
		c.delete(reason)
	}
}

// live is the youngest Child SA that is not on its way out, or nil.
func (s *slot) live() *childSA {
	for _, c := range slices.Backward(s.children) {
		if c.state == childActive && (c.ike.usable() || c.ike.goesOn()) {
			return c
		}
	}
	return nil
}

// liveOn is the same of one IKE SA.
func (s *slot) liveOn(sa *ikeSA) *childSA {
	for _, c := range slices.Backward(s.children) {
		if c.state == childActive && sa.controls(c) {
			return c
		}
	}
	return nil
}

// elect fills the data plane's cell when its SA has gone or stopped, with the youngest Child SA that has not been there. None comes back: an
// outbound SA is installed once in its life (see moved). If only such a one is left it gets new keys.
func (s *slot) elect() {
	if s.outbound != nil || s.retired {
		return
	}
	if c := s.live(); c != nil && s.worker > 0 && s.all.outbound != nil && c.sending == sendNotYet {
		c.await()
		return
	}
	for _, fit := range []func(*childSA) bool{
		func(c *childSA) bool { return (c.ike.usable() || c.ike.goesOn()) && c.known() },
		func(c *childSA) bool { return c.ike.usable() || c.ike.goesOn() },
		func(c *childSA) bool { return c.ike.suspect || c.ike.heir != nil || c.ike.state == stateReplaced },
	} {
		for _, c := range slices.Backward(s.children) {
			if c.state == childActive && c.sending == sendNotYet && fit(c) {
				c.installOutbound()
				return
			}
		}
	}
	if c := s.live(); c != nil && c.sending == sendCurrent {
		c.rekey()
	}
}

// failed notes that a Child SA could not be made on an IKE SA that is well; the next try waits (peer.failed).
func (s *slot) failed(sa *ikeSA, reason Reason, detail string) {
	s.wanted = false
	s.failures++
	s.peer.noteFailure(sa, RoleInitiator, reason, detail)
	s.peer.wait(&s.retry, s.failures)
}

// nextAttempt is when the child is negotiated again after a failure, the zero time if that takes a packet, the peer or an operator.
func (s *slot) nextAttempt() time.Time {
	if s.cfg.Start != StartAlways || s.retired || s.down || s.peer.down || s.peer.retired {
		return time.Time{}
	}
	return later(s.retry.When(), s.peer.retry.When())
}

func (s *slot) succeeded() {
	s.wanted, s.packet, s.failures = false, nil, 0
	s.peer.engine.timers.Stop(&s.retry)
}

// full refuses a peer another Child SA for the slot. Those that others have replaced count until they are deleted: what the data plane has room for is for
// all peers. To renew the only one takes two for a moment, which no limit but that of the slot is to prevent.
func (s *slot) full(sa *ikeSA) *refusal {
	e, n := sa.engine, len(s.children)
	var limit Reason
	switch {
	case n >= e.limits.ChildrenPerChild:
		limit = RefuseChildren
	case n == 1:
	case s.peer.account.Children.Now >= e.limits.ChildrenPerPeer:
		limit, n = RefusePeerChildren, s.peer.account.Children.Now
	case e.ledger.FullOfChildSAs():
		limit, n = RefuseAllChildren, e.limits.Children
	}
	if limit == "" {
		return nil
	}
	f := sa.fact(Refused)
	f.Child, f.Reason = s.cfg.Name, limit
	e.fact(f)
	return refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "%d Child SAs %s, that is the limit", n, OfChildren(limit, s.cfg.Name))
}
