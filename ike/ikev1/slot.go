package ikev1

import (
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/policy"
)

// slot is the place of one configured child: the pairs of IPsec SAs that serve it, mostly one, for a moment around a rekey two or three, and
// of these the one that packets leave by.
type slot struct {
	peer     *peer
	cfg      ike.Child
	children []*childSA // installed, oldest first
	outbound *childSA   // the one in the data plane's cell
	former   *childSA   // the one before it

	wanted      bool           // by an operator or a waiting packet
	packet      *policy.Packet // that packet
	due         bool           // what there is wants to be replaced
	negotiating *quickInitiator
	groups      int // how many of our groups the peer has turned down

	down     bool // by the operator: it is not begun from here
	retired  bool // the child is no longer configured, or protects other traffic or in another way
	failures int
	brief    int            // pairs in a row that the peer ended soon
	retry    deadline.Timer // pending: not before
	leftTo   *isakmpSA      // whose beginner retry waits for
}

// needed reports whether a quick mode must begin: somebody wants the child, and it is not there and not on its way, or it is to be replaced.
func (s *slot) needed() bool {
	if s.down || s.retired || s.negotiating != nil || s.retry.Pending() {
		return false
	}
	if s.live() != nil {
		return s.due
	}
	return !s.answering() && (s.wanted || s.cfg.Start == ike.StartAlways)
}

// leaves lets the end that began an ISAKMP SA begin the quick mode that it was made for: two ends that keep a child up would each begin one.
func (s *slot) leaves(sa *isakmpSA) bool {
	e := s.peer.engine
	until := sa.established.Add(e.limits.RekeyGrace)
	if sa.role == ike.RoleInitiator || s.wanted || s.live() != nil || !e.now.Before(until) {
		return false
	}
	s.leftTo = sa
	e.timers.Set(&s.retry, until, s.peer.touch)
	return true
}

// resumes ends that wait when an ISAKMP SA of ours has come into use instead, because two crossed: the peer leaves the quick mode to us then.
func (s *slot) resumes() {
	sa := s.peer.carrier()
	if s.leftTo == nil || sa == nil || sa == s.leftTo || sa.role != ike.RoleInitiator {
		return
	}
	s.leftTo = nil
	s.peer.engine.timers.Stop(&s.retry)
}

// keptUp reports whether the child is begun by itself.
func (s *slot) keptUp() bool { return s.cfg.Start == ike.StartAlways && !s.down }

// selector is the traffic that a quick mode of ours is for: that of the pair to be replaced, or the first that two IDs can say, or the first such that
// a waiting packet is of.
func (s *slot) selector() (policy.Selector, bool) {
	if c := s.live(); c != nil {
		return c.selector, true
	}
	can := slices.DeleteFunc(slices.Clone(s.cfg.Selectors), func(sel policy.Selector) bool { return sayable(sel) != nil })
	if s.packet != nil {
		if i := slices.IndexFunc(can, func(sel policy.Selector) bool { return sel.Matches(*s.packet, true) }); i >= 0 {
			return can[i], true
		}
	}
	if len(can) == 0 {
		return policy.Selector{}, false
	}
	return can[0], true
}

// answering reports whether a quick mode of the peer's is on its way to fill the slot.
func (s *slot) answering() bool {
	return slices.ContainsFunc(s.children, func(c *childSA) bool { return c.state == childPending })
}

// end deletes the pairs of the slot, and begins none until an operator wants one again.
func (s *slot) end(reason ike.Reason) {
	s.down, s.wanted = true, false
	s.peer.engine.timers.Stop(&s.retry)
	for _, c := range slices.Clone(s.children) {
		c.delete(reason)
	}
}

// live is the youngest pair that is not on its way in or out, or nil.
func (s *slot) live() *childSA {
	for _, c := range slices.Backward(s.children) {
		if c.state == childActive {
			return c
		}
	}
	return nil
}

// elect fills the data plane's cell when its SA has gone, with the youngest pair that has not been there. None comes back: an outbound SA is installed
// once in its life, for a second time would begin its sequence numbers anew. If only such a one is left it gets new keys.
func (s *slot) elect() {
	if s.outbound != nil || s.retired {
		return
	}
	for _, c := range slices.Backward(s.children) {
		if (c.state == childActive || c.state == childReplaced) && c.sending == sendNotYet {
			if c.state == childReplaced {
				c.revive()
			}
			c.installOutbound()
			return
		}
	}
	if c := s.live(); c != nil {
		c.rekey()
	}
}

// failed notes that a quick mode failed on an ISAKMP SA that is well; the next try waits (peer.failed).
func (s *slot) failed(reason ike.Reason, detail string, attempt *ike.Attempt) {
	s.wanted, s.leftTo = false, nil
	s.failures++
	s.peer.noteFailure(ike.RoleInitiator, reason, detail, attempt)
	s.peer.wait(&s.retry, s.failures)
}

// nextAttempt is when the child is negotiated again after a failure, the zero time if that takes a packet, the peer or an operator.
func (s *slot) nextAttempt() time.Time {
	if !s.keptUp() && !s.due || s.retired || s.peer.down || s.peer.retired {
		return time.Time{}
	}
	return later(s.retry.When(), s.peer.retry.When())
}

// ended notes that the peer has ended the pair of the slot. It has a reason, and may have it again: the next one waits, and the longer the oftener that
// has happened, for two ends must not make and delete for ever.
func (s *slot) ended(established time.Time) {
	s.brief, s.leftTo = s.peer.endedAfter(established, s.brief), nil
	s.peer.wait(&s.retry, s.brief)
}

func (s *slot) succeeded() {
	s.wanted, s.packet, s.due, s.failures, s.groups = false, nil, false, 0, 0
	s.peer.engine.timers.Stop(&s.retry)
}

// full refuses a peer another pair for the slot. Those that others have replaced count until they are deleted: what the data plane has room for is for
// all peers. To renew the only one takes two for a moment, which no limit but that of the slot is to prevent.
func (s *slot) full() (limit ike.Reason, n int) {
	e, n := s.peer.engine, len(s.children)
	switch {
	case n >= e.limits.ChildrenPerChild:
		return ike.RefuseChildren, n
	case n == 1:
	case s.peer.account.Children.Now >= e.limits.ChildrenPerPeer:
		return ike.RefusePeerChildren, s.peer.account.Children.Now
	case e.ledger.FullOfChildSAs():
		return ike.RefuseAllChildren, e.limits.Children
	}
	return "", n
}
