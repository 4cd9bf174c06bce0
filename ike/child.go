package ike

import (
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// childState says where a Child SA is in its life.
//
//	installed ──> childActive ──> childReplaced ──> childDeleting ──> childGone
//	                   │     rekeyed,         our delete      its response,
//	                   │     or redundant                     or the peer's delete
//	                   └────────────────────────>│
//
// How a rekey loses no packet. The side that begins it installs both directions of the new SA when the response comes: the peer has
// its inbound half since before it answered. Then it deletes the old SA. The side that answers installs its inbound half before it answers
// and keeps sending by the old SA, which its peer still takes; it moves to the new one when the peer shows that it has it installed, by
// the delete of the old one or by a packet through the new one. A replaced inbound SA takes packets for RekeyGrace beyond its delete, for those that
// overtake or lag behind on their way.
type childState uint8

const (
	childActive childState = iota
	childReplaced
	childDeleting
	childGone
)

var childStateNames = [...]string{"installed", "replaced", "deleting", "gone"}

func (s childState) String() string { return childStateNames[s] }

// sending says what has become of the outbound half.
type sending uint8

const (
	sendNotYet  sending = iota
	sendCurrent         // installed, and in the data plane's cell until another takes its place
	sendOver            // removed, or never to be installed
)

// childSA is one Child SA: an SA of ESP or AH in each direction.
type childSA struct {
	slot  *slot
	ike   *ikeSA // the one that controls it; changes when that is rekeyed
	role  Role   // who began the exchange that made it
	state childState

	spiIn, spiOut uint32
	chosen        chosen
	selectors     []policy.Selector
	keyIn, keyOut crypto.Secret // until installed
	lowestNonce   []byte        // of the two that made it (RFC 7296 2.8.1)
	udp           bool          // ESP in UDP
	transport     bool
	perWorker     bool // of the slot of all: the peer takes others beside it for workers (RFC 9611)

	sending     sending
	notInbound  bool // the data plane has refused the inbound half
	first       bool // made by IKE_AUTH
	confirmed   bool // the peer has shown that it has its half
	replacedFor Reason
	doomed      Reason   // it is not to be inherited (heir.go)
	successor   *childSA // set by the peer's rekey: the one that takes over when this one is deleted

	lifetime
	idleFrom time.Time // idleness counts from here at the earliest

	life  deadline.Timer // rekey, then the end
	again deadline.Timer // a rekey that was put off
	watch deadline.Timer // idle; replaced: how long the delete may take
}

// lastReservedSPI is the last of those that no packet may carry (RFC 4303 2.1).
const lastReservedSPI = 255

// mayUse reports whether the peer may name a Child SA so: a delete by an SPI that names two could end the wrong one.
func (sa *ikeSA) mayUse(protocol crypto.Protocol, spiOut uint32) bool {
	return spiOut > lastReservedSPI && sa.childBySPI(protocol, spiOut) == nil
}

// install puts a new Child SA into its slot and its inbound half into the data plane.
func (c *childSA) install() {
	e, s := c.engine(), c.slot
	c.lifetime, c.idleFrom = e.lifetimeFrom(e.now, s.cfg.RekeyTime), e.now
	c.ike.children = append(c.ike.children, c)
	c.ike.made++
	s.children = append(s.children, c)
	e.children[c.spiIn] = c
	e.ledger.Install(&s.peer.account, 1)
	e.most.onIKE, e.most.ofRule = max(e.most.onIKE, len(c.ike.children)), max(e.most.ofRule, len(s.children))
	e.effect(InstallInbound{Peer: s.peer.cfg.Name, Child: s.cfg.Name, SA: c.half(c.spiIn, &c.keyIn)})
	e.timers.Set(&c.life, c.rekeyAt, c.rekeyDue)
	c.watchIdle()
	s.shared(c)
	s.succeeded()
	s.peer.touch()
}

// installOutbound makes packets leave by this Child SA. It happens once in its life.
func (c *childSA) installOutbound() {
	c.sending = sendCurrent
	c.slot.former, c.slot.outbound = c.slot.outbound, c
	c.engine().effect(InstallOutbound{Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, SA: c.half(c.spiOut, &c.keyOut)})
}

// half describes one direction and hands its key over.
func (c *childSA) half(spi uint32, key *crypto.Secret) ChildSA {
	sa := ChildSA{SPI: spi, PairSPI: c.spiIn, Protocol: c.chosen.protocol, Transport: c.transport, Suite: c.chosen.suite, Keymat: *key,
		Local: c.ike.local, Remote: c.ike.remote, UDPEncap: c.udp, BehindNAT: c.ike.natLocal,
		Selectors: slices.Clone(c.selectors), ReplayWindow: c.slot.cfg.ReplayWindow, ESN: c.chosen.esn}
	sa.Worker = c.slot.worker
	sa.Soft, sa.Hard = c.engine().volumes(c.slot.cfg.Life)
	if log := c.engine().cfg.KeyLog; log != nil {
		log(KeyLog{Suite: sa.Suite, Child: &sa, Inbound: key == &c.keyIn})
	}
	*key = crypto.Secret{}
	return sa
}

// stopSending takes the outbound half out of use. What else the slot has takes its place first.
func (c *childSA) stopSending() {
	e, was := c.engine(), c.sending
	c.sending = sendOver
	c.keyOut.Wipe()
	if c.slot.outbound == c {
		c.slot.outbound = nil
		c.slot.elect()
	}
	if was == sendCurrent {
		e.effect(RemoveOutbound{Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, SPI: c.spiOut})
	}
}

// remove ends a Child SA. Its inbound half lives on for the grace time.
func (c *childSA) remove(reason Reason, grace time.Duration) {
	if c.state == childGone {
		return
	}
	e, s := c.engine(), c.slot
	c.state = childGone
	for _, t := range []*deadline.Timer{&c.life, &c.again, &c.watch} {
		e.timers.Stop(t)
	}
	s.children = slices.DeleteFunc(s.children, func(other *childSA) bool { return other == c })
	if s.former == c {
		s.former = nil
	}
	c.ike.children = slices.DeleteFunc(c.ike.children, func(other *childSA) bool { return other == c })
	if e.children[c.spiIn] == c {
		delete(e.children, c.spiIn)
		e.ledger.Install(&s.peer.account, -1)
	}
	c.stopSending()
	gone := Effect(RemoveInbound{Peer: s.peer.cfg.Name, Child: s.cfg.Name, SPI: c.spiIn})
	if c.notInbound {
		gone = ReleaseSPI{SPI: c.spiIn}
	}
	if grace > 0 {
		s.peer.outlast(e.now.Add(grace), gone)
	} else {
		e.effect(gone)
	}
	f := c.fact(ChildDeleted)
	f.Reason = reason
	e.fact(f)
	s.left(reason)
	s.peer.touch()
}

// replace marks a Child SA as one whose place another has taken. Ours says that its delete is ours to send, at once; otherwise the peer has
// RekeyGuard for it.
func (c *childSA) replace(reason Reason, ours bool) {
	if c.state != childActive {
		return
	}
	e := c.engine()
	c.state, c.replacedFor = childReplaced, reason
	e.timers.Stop(&c.again)
	if ours {
		c.delete(reason)
		return
	}
	since := e.now
	var check func()
	check = func() {
		switch heard := e.cfg.LastInbound; {
		case e.now.Sub(since) >= e.limits.RekeyGuard:
			c.delete(reason)
			return
		case heard != nil && c.successor != nil && c.successor.state == childActive && !heard(c.successor.spiIn).IsZero():
			if c.slot.outbound == c && c.successor.sending == sendNotYet {
				c.successor.installOutbound()
			}
		}
		e.timers.Set(&c.watch, e.now.Add(time.Second), check)
	}
	e.timers.Set(&c.watch, e.now.Add(time.Second), check)
}

// delete begins the delete of a Child SA with the peer (RFC 7296 1.4.1).
func (c *childSA) delete(reason Reason) {
	if c.state == childDeleting || c.state == childGone {
		return
	}
	switch {
	case c.ike.state == stateEstablished:
	case c.ike.heir != nil:
		c.doomed = reason
		return // the peer sends by it until the delete of the IKE SA, which ends it, has come
	default:
		c.remove(reason, 0) // goes with its IKE SA
		return
	}
	c.state = childDeleting
	c.stopSending()
	c.ike.tasks.enqueue(wire.ExchangeInformational, &deleteChild{child: c, reason: reason})
}

// grace is how long the inbound half must outlive its delete.
func (c *childSA) grace() time.Duration {
	if c.replacedFor != "" || c.slot.worker > 0 && c.slot.all.live() != nil { // packets go by another from then on
		return c.engine().limits.RekeyGrace
	}
	return 0
}

// rekeyDue renews the Child SA, and ends it later if that does not come about.
func (c *childSA) rekeyDue() {
	c.engine().timers.Set(&c.life, c.ends, func() { c.expire(true) })
	c.rekey()
}

// rekey begins to replace the Child SA, once: by another one, or with a master key of its own by another IKE SA (S-083).
func (c *childSA) rekey() {
	switch t := c.slot.negotiating; {
	case c.state != childActive || t != nil && t.old == c:
	case c.ike.state != stateEstablished || c.ike.heir != nil || t != nil:
		c.rekeyLater(0)
	case c.slot.peer.cfg.MasterPFS:
		c.ike.reauthWanted = true
		c.slot.peer.touch()
	default:
		c.ike.tasks.enqueue(wire.ExchangeCreateChildSA, newChildInitiator(c.slot, c))
	}
}

// rekeyLater tries again after a refusal that may pass (RFC 7296 2.25).
func (c *childSA) rekeyLater(failures int) {
	if c.state == childActive {
		e := c.engine()
		delay := min(e.limits.RetryMin<<min(failures, 16), e.limits.RetryMax)
		e.timers.Set(&c.again, e.now.Add(e.jitter(delay, retryJitter)), c.rekey)
	}
}

// expire handles the end of a lifetime, in time or in packets and bytes.
func (c *childSA) expire(hard bool) {
	if hard {
		c.delete(DeletedExpired)
		return
	}
	c.rekey()
}

// installFailed gives up a Child SA that the data plane does not take. The cell keeps the outbound SA that it had, if that is still there.
func (c *childSA) installFailed(inbound bool, detail string) {
	s := c.slot
	switch {
	case inbound:
		c.notInbound = true
	case c.sending == sendCurrent:
		c.sending = sendOver
		if s.outbound == c {
			s.outbound = nil
			if s.former != nil && s.former.sending == sendCurrent {
				s.outbound = s.former
			}
		}
	}
	s.failed(c.ike, FailInstall, detail)
	f := c.fact(Failed)
	f.Reason, f.Detail, f.NextAttempt = FailInstall, detail, s.nextAttempt()
	c.engine().fact(f)
	c.delete(DeletedFailed)
	s.elect()
}

// watchIdle deletes a Child SA that nobody uses (S-081). Those of workers stay as long as the one of all, which any of them keeps.
func (c *childSA) watchIdle() {
	e, limit := c.engine(), c.slot.cfg.IdleTimeout
	if limit < 0 || c.slot.worker > 0 || e.cfg.LastInbound == nil && e.cfg.LastOutbound == nil {
		return
	}
	last := c.idleFrom
	for _, used := range []func(uint32) time.Time{e.cfg.LastInbound, e.cfg.LastOutbound} {
		if used == nil {
			continue
		}
		for _, of := range c.slot.together() {
			last = later(last, used(of.spiIn))
		}
	}
	if due := last.Add(limit); due.After(e.now) {
		e.timers.Set(&c.watch, due, c.watchIdle)
		return
	}
	c.delete(DeletedIdle)
}

func (c *childSA) engine() *Engine { return c.slot.peer.engine }

// fact begins a Fact about the Child SA.
func (c *childSA) fact(kind FactKind) Fact {
	f := c.ike.fact(kind)
	f.Child, f.Role, f.SPIIn, f.SPIOut, f.Suite, f.Worker = c.slot.cfg.Name, c.role, c.spiIn, c.spiOut, c.engine().describe(c.chosen), c.slot.worker
	return f
}
