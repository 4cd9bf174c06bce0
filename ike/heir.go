package ike

import (
	"bytes"
	"slices"
	"time"
)

// Of two IKE SAs with one peer, authenticated each by itself, one stays: the heir. The other ends when nothing is lost by that.
//
//	both ends have begun one at the same time    that with the lowest nonce goes, by the rule of RFC 7296 2.8.1 for rekeys
//	one end has begun both                       the older one goes: the younger reauthenticates (2.8.3)
//
// As long as the former IKE SA is there, its Child SAs carry traffic. Who began the heir makes their likes on it, as what a slot lacks
// (peer.pursue), and sends by those at once, because the other end has them since before it answered. The other end goes on sending by the former ones
// until they end. Who is to delete the former IKE SA does so when it has a Child SA on the heir for each of those there, and knows that the
// peer has them too. Inbound halves outlive that by RekeyGrace.

// leaveTo has another IKE SA take the place of this one.
func (sa *ikeSA) leaveTo(heir *ikeSA, reason Reason) {
	sa.heir, sa.replacedFor, sa.leftAt = heir, reason, sa.engine.now
	f := heir.fact(IKEReplaced)
	f.Reason = reason
	sa.engine.fact(f)
	sa.engine.timers.set(&sa.guard, sa.engine.now.Add(heirPause), sa.peer.touch)
	sa.peer.touch()
}

// heirPause is how often it is asked whether a packet has come by a Child SA of the heir: the data plane does not tell.
const heirPause = time.Second

// goesOn reports whether the Child SAs are as good as any although there is an heir: the peer, who began that, makes what is to take their place.
func (sa *ikeSA) goesOn() bool {
	return sa.state == stateEstablished && sa.heir != nil && sa.heir.origin.role == RoleResponder
}

// settleDuplicates decides which of two IKE SAs stays.
func (sa *ikeSA) settleDuplicates() {
	for _, other := range slices.Clone(sa.peer.sas) {
		sameLine := bytes.Equal(other.origin.lowest, sa.origin.lowest) // a rekey, which settles that by itself
		if sameLine || other.state != stateEstablished || sa.state != stateEstablished || other.heir != nil || sa.heir != nil {
			continue
		}
		if other.suspect {
			other.close(DeletedDead) // the peer has answered here, and does not there
			continue
		}
		older, younger := other, sa
		if sa.origin.begun < other.origin.begun {
			older, younger = sa, other
		}
		switch {
		case younger.origin.reauthenticates(older.origin):
			older.leaveTo(younger, DeletedReauth)
		case loses(younger.origin.lowest, older.origin.lowest):
			younger.leaveTo(older, DeletedRedundant)
		default:
			older.leaveTo(younger, DeletedRedundant)
		}
	}
}

// reauthenticates tells a new authentication from two that crossed: it was begun when the older one was there. Of what we began we know
// that. Of what the peer began we know when we heard of it; should it be a crossing for the peer after all, then the peer, who began the younger,
// deletes the one that loses, and we do nothing before: see ours.
func (o origin) reauthenticates(older origin) bool {
	return o.role == older.role || older.authenticated <= o.begun
}

// ours reports whether the delete of an IKE SA that another replaces is ours: that of the loser of two that crossed is for the side that began it, and
// that of one which was authenticated anew for the side that did so.
func (sa *ikeSA) ours() bool {
	if sa.replacedFor == DeletedReauth {
		return sa.heir.origin.role == RoleInitiator
	}
	return sa.origin.role == RoleInitiator
}

// bequeath brings on what leaveTo has begun.
func (p *peer) bequeath() {
	for _, sa := range slices.Clone(p.sas) {
		if sa.heir == nil || sa.state != stateEstablished {
			continue
		}
		for sa.heir.heir != nil && sa.heir.state == stateEstablished {
			sa.heir = sa.heir.heir // which was replaced itself
		}
		late := p.engine.now.Sub(sa.leftAt) >= p.engine.limits.RekeyGuard
		switch heir := sa.heir; {
		case heir.state != stateEstablished || heir.suspect:
			sa.disinherit()
		case sa.ours() && !heir.confirmed && !late:
			heir.probe() // an answer proves that the peer has the IKE SA, and the Child SA of IKE_AUTH with it
		case p.inherited(sa):
			if sa.ours() || late {
				sa.terminate(sa.replacedFor)
				continue
			}
		case heir.origin.role == RoleInitiator:
			p.claim(sa)
		case late && sa.ours():
			sa.terminate(sa.replacedFor)
			continue
		case late: // a peer that has an IKE SA for each of its Child SAs, as it seems
			sa.heir, sa.replacedFor = nil, ""
			continue
		}
		if sa.heir != nil && !sa.guard.pending() {
			p.engine.timers.set(&sa.guard, p.engine.now.Add(heirPause), p.touch)
		}
	}
}

// inherited reports whether each Child SA of an IKE SA has its like on the heir, which the peer is known to have too.
func (p *peer) inherited(sa *ikeSA) bool {
	return !slices.ContainsFunc(sa.children, func(c *childSA) bool {
		return c.state == childActive && !c.slot.retired && !slices.ContainsFunc(sa.heir.children, func(other *childSA) bool {
			return other.slot == c.slot && other.state == childActive && other.known()
		})
	})
}

// claim asks for the Child SAs that the heir lacks: those that are not kept up anyhow, too.
func (p *peer) claim(sa *ikeSA) {
	for _, c := range sa.children {
		if s := c.slot; c.state == childActive && s.live() == nil && s.negotiating == nil && !s.retry.pending() {
			s.wanted = true
		}
	}
}

// disinherit puts an IKE SA into its right again whose heir is gone. What was sent by the Child SAs of that one needs new keys: an outbound SA
// does not come back.
func (sa *ikeSA) disinherit() {
	p := sa.peer
	sa.heir, sa.replacedFor = nil, ""
	sa.reauthFailures++
	p.wait(&p.retry, sa.reauthFailures)
	for _, s := range p.slots {
		s.elect()
	}
}

// passOn has the successor of a rekey take the place of an IKE SA among those that replace one another.
func (sa *ikeSA) passOn(next *ikeSA) {
	for _, other := range sa.peer.sas {
		if other.heir == sa {
			other.heir = next
		}
	}
	sa.moveOn(next)
	next.confirmed, next.reauthWanted, next.reauthFailures = sa.confirmed, sa.reauthWanted, sa.reauthFailures
	if heir := sa.heir; heir != nil {
		sa.heir = nil
		next.leaveTo(heir, sa.replacedFor)
		next.leftAt = sa.leftAt
	}
}

// superseded reports whether packets leave by a Child SA of the heir already.
func (c *childSA) superseded() bool {
	out := c.slot.outbound
	for heir := c.ike.heir; heir != nil && out != nil; heir = heir.heir {
		if out.ike == heir {
			return true
		}
	}
	return false
}

// known reports whether the peer is known to have its half. The answer of a peer says so. To our own answer only what the peer sends next does: a
// packet by the Child SA, or another request, which it begins when it has the answer to the last one.
func (c *childSA) known() bool {
	heard := c.engine().cfg.LastInbound
	return c.role == RoleInitiator || c.confirmed || heard != nil && !heard(c.spiIn).IsZero()
}

// confirm notes that the peer has sent something by an established IKE SA. A request shows that it has our answers to those before.
func (sa *ikeSA) confirm(request bool) {
	if sa.state != stateEstablished {
		return
	}
	for _, c := range sa.children {
		c.confirmed = c.confirmed || request || c.first
		if c.slot.worker > 0 && c.confirmed {
			c.slot.elect() // it awaits this
		}
	}
	if !sa.confirmed {
		sa.confirmed = true
		sa.peer.touch()
	}
}
