package ike

import (
	"bytes"
	"slices"
	"time"
)

// Of two IKE SAs with one peer, authenticated each by itself, one stays: the heir. The other ends when nothing is lost by that.
//
//	begun by an end that had the other one then    it stays: that was authentication anew (RFC 7296 2.8.3)
//	neither was begun so: they crossed             that with the lowest nonce goes, by the rule for rekeys (2.8.1)
//
// What an end had when it began an IKE SA it alone knows for sure: messages overtake one another. But both ends know who began what and with which
// nonces, and that is enough for one of them at least to be sure, and for no two to be sure of different things:
//
//	one end began both                                   it is sure: the younger stays; the other end waits
//	an end has begun its own when it had the other's     it is sure: its own stays. The other end cannot have done the same
//	not so, and its own has the lowest nonce             it is sure: the other's stays, whether that was begun with its own there or crossed it
//	not so, and its own has not the lowest nonce         it waits: the other end is one of the two before
//
// Who is sure makes the likes of the former Child SAs on the heir, and deletes the former IKE SA when each has one there that the peer is known to have
// too. If the heir is the peer's it leaves the making to the peer for RekeyGrace, who may be sure as well. Who waits expects the likelier outcome, and is
// ready for the other: its packets leave by what they left by until that ends. Inbound halves outlive that by RekeyGrace.

// leaveTo has another IKE SA take the place of this one.
func (sa *ikeSA) leaveTo(heir *ikeSA, reason Reason, sure bool) {
	sa.heir, sa.replacedFor, sa.leftAt, sa.sure = heir, reason, sa.engine.now, sure
	f := heir.fact(IKEReplaced)
	f.Reason = reason
	sa.engine.fact(f)
	sa.engine.timers.Set(&sa.guard, sa.engine.now.Add(heirPause), sa.peer.touch)
	sa.peer.touch()
}

// heirPause is how often it is asked whether a packet has come by a Child SA of the heir: the data plane does not tell.
const heirPause = time.Second

// unsurePatience is for how many times RekeyGuard who waits does so: a peer that is sure may have to send its delete again and again.
const unsurePatience = 5

// goesOn reports whether the Child SAs are as good as any although there is an heir: it is for the peer to make what is to take their place.
func (sa *ikeSA) goesOn() bool {
	if sa.state != stateEstablished || sa.heir == nil {
		return false
	}
	return !sa.sure || sa.heir.origin.role == RoleResponder && sa.engine.now.Sub(sa.leftAt) < sa.engine.limits.RekeyGrace
}

// settle decides of each two IKE SAs which stays. Those that a rekey makes of one are settled by that.
func (p *peer) settle() {
	for i, x := range p.sas {
		for _, y := range p.sas[i+1:] {
			if x.stands() && y.stands() && !x.sameLine(y) {
				former, heir, reason, sure := judge(x, y)
				former.leaveTo(heir, reason, sure)
			}
		}
	}
}

// stands reports whether an IKE SA has its place and is not known to share it.
func (sa *ikeSA) stands() bool { return sa.usable() && !sa.apart }

func (sa *ikeSA) sameLine(other *ikeSA) bool {
	return bytes.Equal(sa.origin.lowest, other.origin.lowest)
}

// judge tells which of two IKE SAs goes, which one stays and why, and whether this end is sure of the first two.
func judge(x, y *ikeSA) (former, heir *ikeSA, why Reason, sure bool) {
	own, other := x, y
	if own.origin.role == RoleResponder {
		own, other = y, x
	}
	crossed := !own.origin.knew(other.origin) && !other.origin.knew(own.origin) // as far as we know
	switch {
	case own.origin.role == other.origin.role && x.origin.begun > y.origin.begun:
		return y, x, DeletedReauth, own.origin.role == RoleInitiator
	case own.origin.role == other.origin.role:
		return x, y, DeletedReauth, own.origin.role == RoleInitiator
	case own.origin.knew(other.origin):
		return other, own, DeletedReauth, true
	case loses(own.origin.lowest, other.origin.lowest) && crossed:
		return own, other, DeletedRedundant, true
	case loses(own.origin.lowest, other.origin.lowest):
		return own, other, DeletedReauth, true
	case crossed:
		return other, own, DeletedRedundant, false
	}
	return own, other, DeletedReauth, false
}

// knew reports whether an IKE SA was begun when the other one was there. Of what we began this is so; of what the peer began it is likely: we go by when
// we heard of it.
func (o origin) knew(other origin) bool { return other.authenticated <= o.begun }

// forgetSuspects ends the IKE SAs that seem lost to the peer, who has answered on another.
func (sa *ikeSA) forgetSuspects() {
	for _, other := range slices.Clone(sa.peer.sas) {
		if other.state == stateEstablished && other.suspect && !other.sameLine(sa) {
			other.close(DeletedDead)
		}
	}
}

// bequeath brings on what leaveTo has begun.
func (p *peer) bequeath() {
	for _, sa := range slices.Clone(p.sas) {
		if sa.heir == nil || sa.state != stateEstablished {
			continue
		}
		if sa.inheritance(); sa.heir != nil && !sa.guard.Pending() {
			p.engine.timers.Set(&sa.guard, p.engine.now.Add(heirPause), p.touch)
		}
	}
}

// inheritance takes the next step of handing over to the heir.
func (sa *ikeSA) inheritance() {
	sa.followHeir()
	p, heir, waited := sa.peer, sa.heir, sa.engine.now.Sub(sa.leftAt)
	late := waited >= sa.engine.limits.RekeyGuard
	switch {
	case heir == nil:
	case heir.state != stateEstablished || heir.suspect:
		sa.disinherit()
	case !sa.sure && waited < unsurePatience*sa.engine.limits.RekeyGuard:
	case sa.sure && !heir.confirmed && !late:
		heir.probe() // an answer proves that the peer has the IKE SA, and the Child SA of IKE_AUTH with it
	case p.inherited(sa), sa.sure && late && heir.origin.role == RoleResponder:
		sa.terminate(sa.replacedFor)
	case sa.sure || heir.origin.role == RoleInitiator: // the peer, who should be sure, has another rule
		sa.sure = true
		p.claim(sa)
	default: // a peer that has an IKE SA for each of its Child SAs, as it seems
		sa.heir, sa.replacedFor, sa.apart = nil, "", true
	}
}

// followHeir goes over to the heir's own heir. Of three, each may have the better of another: two by their nonces, one because it authenticated anew. Then
// it waits until there are two.
func (sa *ikeSA) followHeir() {
	last := sa.heir
	for last.heir != nil && last.state == stateEstablished {
		last = last.heir
	}
	if last == sa.heir || last.state != stateEstablished || last.sameLine(sa) {
		return
	}
	former, _, _, sure := judge(sa, last)
	sa.heir, sa.sure = last, sure && former == sa
}

// inherited reports whether each Child SA of an IKE SA has its like on the heir, which the peer is known to have too.
func (p *peer) inherited(sa *ikeSA) bool {
	return !slices.ContainsFunc(sa.children, func(c *childSA) bool {
		return c.heritable() && !slices.ContainsFunc(sa.heir.children, func(other *childSA) bool {
			return other.slot == c.slot && other.state == childActive && other.known()
		})
	})
}

// heritable reports whether a Child SA must not end with its IKE SA: nobody here has ended it or will not begin it.
func (c *childSA) heritable() bool {
	return c.state == childActive && c.doomed == "" && !c.slot.retired && !c.slot.down
}

// claim asks for the Child SAs that the heir lacks: those that are not kept up anyhow, too.
func (p *peer) claim(sa *ikeSA) {
	for _, c := range sa.children {
		if s := c.slot; c.heritable() && s.live() == nil && s.negotiating == nil && !s.retry.Pending() {
			s.wanted = true
		}
	}
}

// disinherit puts an IKE SA into its right again whose heir is gone. What was sent by the Child SAs of that one needs new keys: an outbound SA
// does not come back.
func (sa *ikeSA) disinherit() {
	p := sa.peer
	sa.heir, sa.replacedFor = nil, ""
	if sa.reauthWanted {
		sa.reauthFailures++
		p.wait(&p.retry, sa.reauthFailures)
	}
	for _, c := range slices.Clone(sa.children) {
		if c.doomed != "" {
			c.delete(c.doomed)
		}
	}
	for _, s := range p.slots {
		s.elect()
	}
	p.touch()
}

// passOn has the successor of a rekey take the place of an IKE SA among those that replace one another.
func (sa *ikeSA) passOn(next *ikeSA) {
	for _, other := range sa.peer.sas {
		if other.heir == sa {
			other.heir = next
		}
	}
	sa.moveOn(next)
	next.confirmed, next.apart, next.reauthWanted, next.reauthFailures = sa.confirmed, sa.apart, sa.reauthWanted, sa.reauthFailures
	if heir := sa.heir; heir != nil {
		sa.heir = nil
		next.leaveTo(heir, sa.replacedFor, sa.sure)
		next.leftAt = sa.leftAt
	}
}

// holdsBack reports whether packets had better go on by what they leave by: a Child SA of another IKE SA that may be the one to stay.
func (c *childSA) holdsBack() bool {
	out := c.slot.outbound
	if out == nil || out.ike == c.ike || out.ike.state != stateEstablished || out.ike.suspect {
		return false
	}
	return out.ike.heir != c.ike || !out.ike.sure
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
