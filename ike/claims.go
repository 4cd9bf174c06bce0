package ike

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/ike/wire"
)

// claims are the responses to one IKE_SA_INIT request of ours. Nobody has signed them: whoever sees the request can answer it in the peer's name, before
// the peer does and as often as he likes (RFC 7296 2.4). Each claims to be the peer's, and IKE_AUTH proves it or does not:
//
//	          a response                       it proves to be the peer's
//	stateInit ───────────> stateAuth ────────────────────────────────────> stateEstablished
//	     ^                     │
//	     └─────────────────────┘ it has failed, or others wait and it takes too long: the next of them
//
// They are tried one after the other, and of one that is given up nothing is kept: there is one IKE SA with the peer under way, whoever answers. The attempt
// fails with the last of them. What it gives up to a forger is time, and more of it the oftener attempts fail: the first is quick to believe, the next ones
// leave more time for the peer's own response and for its proof (carefulness).
//
// What keys come from is in a response once only (unheardOf): a response that was given up and comes again, by itself or with other words around it, ends the attempt with what it has proved before.
type claims struct {
	opening       *exchange      // our IKE_SA_INIT, with its private values
	local, remote netip.AddrPort // between which it went: a response may find a NAT
	until         time.Time      // the peer's own response may still be on its way
	began         time.Time      // the present one
	failed        bool           // the present one, and no other has come yet
	from          netip.AddrPort // where the present one came from, invalid: there is none
	seen          []digest       // of those that were or will be tried
	waiting       []Datagram
}

// What strangers can make one request cost: responses that are tried, each for a computation of Diffie-Hellman and an IKE_AUTH request with its
// retransmissions, and octets of one that waits. IKE_SA_INIT is not divided by IKE, and real ones fit in two datagrams.
const (
	maxClaims      = 8
	maxClaimOctets = 4096
)

// carefulness counts the attempts in a row that failed, as far as they make the next one wait for longer.
func (p *peer) carefulness() int { return min(p.failures, maxCarefulness) }

const maxCarefulness = 3

// disbelief is how often IKE_SA_INIT is sent, with the pause that follows, before an answer counts that ends the attempt or leads it elsewhere.
func (p *peer) disbelief() int { return 1 + p.carefulness() }

// patience is how long a response has to prove to be the peer's while others wait: 1 s, and doubled with each failure up to 16 s.
func (p *peer) patience() time.Duration {
	return 2 * p.engine.limits.Retransmit.Base << min(p.failures, 4)
}

// claimed notes that IKE_AUTH begins, or what comes before it, with who has answered IKE_SA_INIT.
func (sa *ikeSA) claimed(response *message) {
	c := sa.claims
	if c.until.IsZero() {
		c.opening.refused, c.asked().hints = nil, nil // what was said before has not kept this one from coming
		c.until = sa.engine.now
		for i := range sa.peer.carefulness() { // as if it was sent on
			c.until = c.until.Add(sa.engine.limits.Retransmit.Wait(c.opening.tries - 1 + i))
		}
	}
	c.began, c.failed, c.from = sa.engine.now, false, response.remote
	c.see(response.digest)
	sa.hurry()
}

// see notes a response that is or will be tried.
func (c *claims) see(d digest) {
	if !slices.Contains(c.seen, d) {
		c.seen = append(c.seen, d)
	}
}

func (c *claims) asked() *initInitiator { return c.opening.tasks[0].(*initInitiator) }

// contested reports whether there is something to go on with that another response has said.
func (c *claims) contested() bool {
	return len(c.waiting) > 0 || c.opening.refused != nil || len(c.asked().hints) > 0
}

// hurry limits the time of the present response, if it is not the only one.
func (sa *ikeSA) hurry() {
	if len(sa.claims.seen) > 1 || sa.claims.contested() {
		at := later(sa.engine.now, sa.claims.began.Add(sa.peer.patience()))
		sa.engine.timers.Set(&sa.watch, at, sa.overdue)
	}
}

// overdue gives up a response that has not proved to be the peer's. The check of its certificates has a limit of its own.
func (sa *ikeSA) overdue() {
	if sa.tasks.held != nil {
		sa.engine.timers.Set(&sa.watch, sa.engine.now.Add(sa.peer.patience()), sa.overdue)
		return
	}
	sa.fail(failf(FailTimeout, "one of %d that answered IKE_SA_INIT has not proved within %v to be the peer", len(sa.claims.seen), sa.peer.patience()))
}

// claimant is the IKE SA that a further response to IKE_SA_INIT is for, or nil.
func (e *Engine) claimant(h wire.Header) *ikeSA {
	sa := e.sas[h.InitiatorSPI]
	if h.Exchange != wire.ExchangeIKESAInit || !h.Response() || h.FromInitiator() || h.MessageID != 0 || sa == nil || sa.claims == nil || sa.state != stateAuth {
		return nil
	}
	return sa
}

// another takes a further response to IKE_SA_INIT. It may be the peer that asks for something else, or wants nothing of it.
func (sa *ikeSA) another(d Datagram, h wire.Header) {
	e, c := sa.engine, sa.claims
	m, err := sa.open(d)
	switch {
	case err != nil:
		e.drop(d, h, err.(*unauthenticated).reason)
		return
	case slices.Contains(c.seen, m.digest):
		e.drop(d, h, DropMessageID)
		return
	case wire.Find[*wire.SA](m.Payloads) == nil:
		c.remember(sa, m)
	case len(c.seen) >= maxClaims || len(c.waiting) >= maxClaims || len(d.Payload) > maxClaimOctets:
		sa.unproven(d.Remote)
		return
	default:
		c.see(m.digest)
		c.waiting = append(c.waiting, d)
	}
	switch {
	case !c.failed:
		sa.hurry()
	case c.contested():
		sa.tryNext()
	}
}

// remember keeps what a response without a choice says for the time when no other is left.
func (c *claims) remember(sa *ikeSA, m *message) {
	t := c.asked()
	if h, found, _ := t.asksFor(sa, m); found {
		t.remember(h)
	} else if n := wire.FindError(m.Payloads); n != nil && c.opening.refused == nil {
		c.opening.refused = t.refusal(sa, n)
	}
}

// reopened notes that IKE_SA_INIT is sent as it was not sent before: other responses follow.
func (c *claims) reopened(x *exchange) { c.opening, c.until, c.seen = x, time.Time{}, nil }

// disproved handles the failure of the present response, and reports whether the attempt goes on: with another one, or waiting for another.
func (sa *ikeSA) disproved(end func()) bool {
	c := sa.claims
	switch {
	case c == nil || sa.state != stateAuth || sa.endedFor != "":
		return false
	case c.contested():
		sa.tryNext()
		return true
	case sa.engine.now.Before(c.until):
		sa.tasks.stop()
		c.failed = true
		sa.engine.timers.Set(&sa.watch, c.until, end)
		return true
	}
	return false
}

// tryNext goes on with the next response that may be the peer's.
func (sa *ikeSA) tryNext() {
	c, tm := sa.claims, &sa.tasks
	sa.unproven(c.from)
	sa.takeLeave()
	sa.reopen()
	for len(c.waiting) > 0 && sa.state == stateInit {
		d := c.waiting[0]
		c.waiting = c.waiting[1:]
		if h, err := wire.ParseHeader(d.Payload); err == nil {
			tm.response(d, h)
		}
	}
}

// takeLeave tells who is given up that this IKE SA is no more. Were he the peer after all, he may have it by now. Nobody waits for an answer.
func (sa *ikeSA) takeLeave() {
	tm := &sa.tasks
	m := tm.newMessage(wire.ExchangeInformational, tm.nextSend, false)
	m.add(&wire.Delete{Protocol: wire.ProtocolIKE})
	if sealed, err := sa.seal(m); err == nil {
		sa.transmit(sealed, Datagram{Local: sa.local, Remote: sa.remote})
	}
}

// reopen puts an IKE SA back to where it waits for a response to IKE_SA_INIT.
func (sa *ikeSA) reopen() {
	c, tm := sa.claims, &sa.tasks
	sa.engine.timers.Stop(&sa.watch)
	tm.stop()
	sa.forgetClaim()
	sa.state, sa.remoteSPI, sa.local, sa.remote = stateInit, 0, c.local, c.remote
	sa.nr, sa.initResponse, sa.peerHashes, sa.path = nil, nil, nil, 0
	sa.natLocal, sa.natRemote = false, false
	if t := sa.traces[RoleInitiator]; t != nil {
		t.theirs = said{}
	}
	c.from, tm.nextSend, tm.active = netip.AddrPort{}, 1, c.opening
	sa.engine.timers.Set(&tm.retry, c.until, tm.transmit)
}

// forgetClaim wipes what came of a response.
func (sa *ikeSA) forgetClaim() {
	sa.intermediate.forget()
	sa.ppk.drop()
	sa.keys.wipe()
	sa.keys, sa.intermediate, sa.ppk = nil, intermediate{}, ppkUse{}
}

// unproven counts a response that was not found to be the peer's.
func (sa *ikeSA) unproven(from netip.AddrPort) {
	f := sa.fact(Dropped)
	f.Remote, f.Reason = from, DropUnproven
	sa.engine.fact(f)
	sa.peer.unproven = Note{Reason: DropUnproven, Remote: from, At: sa.engine.now, Count: sa.peer.unproven.Count + 1}
}

// proved ends the search: the present response is the peer's.
func (sa *ikeSA) proved() {
	if sa.claims != nil {
		sa.engine.timers.Stop(&sa.watch)
		sa.claims.from = netip.AddrPort{}
		sa.dropClaims()
	}
}

// dropClaims ends it, whether the peer was found or not. The private values go.
func (sa *ikeSA) dropClaims() {
	c := sa.claims
	if c == nil {
		return
	}
	if c.from.IsValid() && len(c.seen) > 1 {
		sa.unproven(c.from)
	}
	for _, d := range c.waiting {
		sa.unproven(d.Remote)
	}
	if c.opening != nil {
		c.opening.abandon()
	}
	sa.claims = nil
}
