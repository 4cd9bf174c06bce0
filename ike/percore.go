package ike

import (
	"encoding/binary"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// A child may have a Child SA for each worker of the data plane (RFC 9611), so that none shares its sequence numbers with another. It then has a
// slot for the Child SA that serves all who have none of their own, and behind that a slot for each worker:
//
//	slot of all: up, and the peer agreed ──> slots of workers: needed ──> up, rekeyed and deleted each by itself
//	         │                                                  └── TS_MAX_QUEUE: not before another ends
//	         └── gone ──> theirs are deleted
//
// The end that began the Child SA of all begins those of workers. The other end waits for RekeyGrace and asks for what it still lacks: the two
// may have different numbers of workers.
//
// A worker sends by the Child SA of all while it has none of its own, so none waits and nothing is lost: the end that answers sends by a new one
// when the peer is known to have it (await), and one that is deleted takes for RekeyGrace what is still on its way.

// newSlots makes the places of one configured child, that of all first.
func newSlots(p *peer, cfg Child) []*slot {
	all := &slot{peer: p, cfg: cfg}
	all.staff()
	return append([]*slot{all}, all.workers...)
}

// staff gives the slot of all as many slots of workers as it is configured with, and returns those that it has no more.
func (s *slot) staff() (former []*slot) {
	wanted := s.cfg.PerCore
	if wanted < 2 {
		wanted = 0
	}
	for len(s.workers) < wanted {
		s.workers = append(s.workers, &slot{peer: s.peer, cfg: s.cfg, all: s, worker: len(s.workers) + 1})
	}
	former = s.workers[wanted:]
	s.workers = s.workers[:wanted:wanted]
	return former
}

// sharing reports whether the workers' Child SAs are to be asked for: the one of all is up, on the IKE SA that is to make them, and the peer takes more
// beside it.
func (s *slot) sharing() bool {
	c := s.live()
	return c != nil && c.perWorker && c.ike == s.peer.carrier() && !s.fill.Pending()
}

// shared puts off our asking where the peer made the Child SA of all: it is about to ask.
func (s *slot) shared(c *childSA) {
	if e := s.peer.engine; c.perWorker && s.worker == 0 && c.role == RoleResponder {
		e.timers.Set(&s.fill, e.now.Add(e.limits.RekeyGrace), s.peer.touch)
	}
}

// left takes note that a Child SA of the slot has gone. Without one for all, those of workers go too; and where one has gone, the peer may have
// room for another.
func (s *slot) left(reason Reason) {
	if slices.ContainsFunc(s.children, func(c *childSA) bool { return c.state == childActive }) {
		return // a rekey
	}
	group := s.workers
	if s.all != nil {
		group = s.all.workers
	}
	for _, w := range group {
		w.surplus = false
	}
	for _, w := range s.workers {
		for _, c := range slices.Clone(w.children) {
			c.delete(reason)
		}
	}
}

// terms are what a Child SA beside others is asked for with, and agreed to: those of a worker have the traffic and the algorithms that the one of all
// has (RFC 9611 4). How keys are exchanged is not among them: that one may come from IKE_AUTH, where they are not.
func (s *slot) terms() (proposals []crypto.Proposal, selectors []policy.Selector) {
	if s.worker > 0 {
		if c := s.all.live(); c != nil {
			return alike(s.cfg.Proposals, c.chosen), c.selectors
		}
	}
	return s.cfg.Proposals, s.cfg.Selectors
}

// same refuses a Child SA for less traffic than the one of all has: what its worker would have to send beyond would be lost.
func (s *slot) same(selectors []policy.Selector) error {
	if s.worker == 0 {
		return nil
	}
	if _, wanted := s.terms(); !covers(selectors, wanted) {
		return refuse(wire.NotifyTSUnacceptable, FailSelectors, "Child SA beside others for %s, expected their traffic, %s", describeSelectors(selectors), describeSelectors(wanted))
	}
	return nil
}

// await has a worker send by a Child SA that the peer asked for once the peer has shown that it has it, by a packet or by another request; after
// RekeyGuard too, for a peer that has nothing to say.
func (c *childSA) await() {
	e, since := c.engine(), c.engine().now
	var check func()
	check = func() {
		switch {
		case c.state != childActive || c.sending != sendNotYet || c.slot.outbound != nil:
		case c.known() || e.now.Sub(since) >= e.limits.RekeyGuard:
			c.installOutbound()
		default:
			e.timers.Set(&c.watch, e.now.Add(time.Second), check)
		}
	}
	check()
}

// pauseAfterDelete is how long a Child SA is not brought back that the peer has deleted, in failures of peer.wait: it has a reason, and may have it
// again. A worker without its own loses nothing by waiting for as long as it can, and two ends must not make and delete for ever (RFC 9611 6).
func (s *slot) pauseAfterDelete() int {
	if s.worker > 0 {
		return longestPause
	}
	return 1
}

// together lists the Child SAs of a child, those of workers included.
func (s *slot) together() []*childSA {
	list := slices.Clone(s.children)
	for _, w := range s.workers {
		list = append(list, w.children...)
	}
	return list
}

// resourceInfo asks for a Child SA beside others for the same traffic, or agrees to one. Its data is for people (RFC 9611 5.1).
func (s *slot) resourceInfo() *wire.Notify {
	var data []byte
	if s.worker > 0 {
		data = binary.BigEndian.AppendUint32(nil, uint32(s.worker))
	}
	return wire.NewNotify(wire.NotifySAResourceInfo, data)
}

// asksForWorker picks the worker whose Child SA the peer asks for, if it is one beside that of all.
func (t *childResponder) asksForWorker(m *message, all *slot) (*slot, error) {
	c := all.liveOn(m.sa)
	switch {
	case t.first || t.old != nil || m.notify(wire.NotifySAResourceInfo) == nil:
		return all, nil
	case c == nil && slices.ContainsFunc(all.children, func(c *childSA) bool { return c.perWorker && m.sa.controls(c) }):
		return nil, refuse(wire.NotifyTemporaryFailure, FailTemporary, "the Child SA of all is being deleted") // the peer may not know, and mean one beside it
	case c == nil || !c.perWorker:
		return all, nil
	}
	busy := false
	for _, w := range all.workers {
		switch {
		case w.liveOn(m.sa) != nil: // one of another IKE SA goes on until that is replaced
		case w.negotiating != nil:
			busy = true
		default:
			return w, nil
		}
	}
	if busy {
		return nil, refuse(wire.NotifyTemporaryFailure, FailTemporary, "the last Child SAs of workers are on their way")
	}
	r := refuse(wire.NotifyTSMaxQueue, FailMaxQueue, "each of %d workers has a Child SA for %s", len(all.workers), all.cfg.Name)
	r.goesOn = true
	return nil, r
}
