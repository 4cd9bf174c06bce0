package ikev1

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// childState says where a pair of IPsec SAs is in its life.
//
//	message 1 answered      message 3
//	────────> childPending ──────────> childActive ──────────────> childReplaced ──────────────> childGone
//	          (responder)   ──────────>     │    another has taken              a delete, ours
//	                        message 2       │    its place                      or the peer's
//	                        (initiator)     └────────────────────────────────────────────>│
//
// How a rekey loses no packet. The responder installs its inbound half before it answers message 1, and the initiator its own before it sends
// message 3. The responder sends by the new pair from message 3 on. There are such as strongSwan that install both halves only then, so that the initiator
// goes on by the old pair until packets come by the new one, or for RekeyGrace (takeOver): neither sends by an SA that the other lacks. The initiator deletes the old pair, when packets by the new one show that message 3 has come through, and no sooner than RekeyGrace after it;
// without packets RekeyGuard after. An inbound SA whose place another has takes packets for RekeyGrace beyond its delete.
//
// Two quick modes may cross. Both ends keep the pair with the lower nonce; where the peer has another rule its packets show which one it keeps (prefer).
type childState uint8

const (
	childPending childState = iota
	childActive
	childReplaced
	childGone
)

var childStateNames = [...]string{"pending", "installed", "replaced", "gone"}

func (s childState) String() string { return childStateNames[s] }

// sending says what has become of the outbound half.
type sending uint8

const (
	sendNotYet  sending = iota
	sendCurrent         // installed, and in the data plane's cell until another takes its place
	sendOver            // removed, or never to be installed
)

// childSA is a pair of IPsec SAs made by one quick mode.
type childSA struct {
	slot  *slot
	role  ike.Role // who began the quick mode
	state childState

	layer                     // ESP or AH: the pair goes by its SPIs
	around        *layer      // of a bundle the AH, which comes and goes with it
	group         crypto.DHID // of perfect forward secrecy; 0: none
	transport     bool
	selector      policy.Selector
	local, remote netip.AddrPort
	udp           bool // ESP in UDP
	behindNAT     bool
	nonce         []byte // the initiator's: it settles which of two stays
	agreed        isakmp.Lifetime

	sending    sending
	notInbound bool // the data plane has refused the inbound half

	lifetime
	began     time.Time // the quick mode, as seen from here
	begunIn   uint64    // the Step of that: finer than time
	upIn      uint64    // the Step that activated it
	awaited   bool      // the peer's CONNECTED has been, which the commit bit asks for
	saidSince time.Time // message 3 was last sent, for the initiator: until it has come through the peer sends by the old pair
	idleFrom  time.Time // idleness counts from here at the earliest

	life  deadline.Timer // rekey, then the end
	watch deadline.Timer // idle; replaced: until its delete
	move  deadline.Timer // until packets leave by it
}

func (c *childSA) engine() *Engine { return c.slot.peer.engine }

// install puts a new pair into its slot and its inbound half into the data plane.
func (c *childSA) install() {
	e, s := c.engine(), c.slot
	s.children = append(s.children, c)
	e.children[c.spiIn] = c
	e.ledger.Install(&s.peer.account, 1)
	e.most.ofRule = max(e.most.ofRule, len(s.children))
	e.effect(ike.InstallInbound{Peer: s.peer.cfg.Name, Child: s.cfg.Name, SA: c.half(true)})
}

// activate begins the life of a pair that both ends have: it takes the place of what the slot had.
func (c *childSA) activate() {
	e, s := c.engine(), c.slot
	prior := s.live()
	c.state, c.lifetime, c.idleFrom, c.upIn = childActive, e.lifetimeFrom(e.now, c.agreed.Seconds, c.role), e.now, e.steps
	e.timers.Set(&c.life, c.rekeyAt, c.rekeyDue)
	c.watchIdle()
	s.succeeded()
	kind := ike.ChildEstablished
	if prior != nil {
		kind = ike.ChildRekeyed
	}
	f := c.fact(kind)
	f.Selectors = []policy.Selector{c.selector}
	e.fact(f)
	switch {
	case prior == nil:
		c.installOutbound()
	case c.crossed(prior) && string(prior.nonce) < string(c.nonce):
		c.replace(ike.DeletedRedundant, prior)
	default:
		c.takeOver()
		reason := ike.DeletedRekeyed
		if c.crossed(prior) {
			reason = ike.DeletedRedundant
		}
		prior.replace(reason, c)
	}
	s.peer.touch()
}

// crossed reports whether two pairs come of quick modes that both ends began for the same purpose at the same time: then both ends keep the one whose
// initiator's nonce is the lower. What we begin when the peer's is done has not crossed it, but one of the peer's that crosses ours may be seen to begin when
// that is done already, for a short while.
func (c *childSA) crossed(prior *childSA) bool {
	switch {
	case c.role == prior.role:
		return false
	case c.role == ike.RoleInitiator:
		return c.begunIn < prior.upIn
	}
	return c.began.Before(prior.established.Add(c.engine().limits.RekeyGrace))
}

// takeOver makes packets leave by this pair, in the place of another: at once when the peer is known to have it, and of two that crossed not while it goes on by
// the other.
func (c *childSA) takeOver() {
	e := c.engine()
	known := c.role == ike.RoleResponder || c.awaited || e.cfg.LastInbound == nil
	until := c.established.Add(e.limits.RekeyGrace)
	var look func()
	look = func() {
		former := c.slot.outbound
		switch {
		case c.state != childActive || c.sending != sendNotYet:
		case known || former == nil || !e.cfg.LastInbound(c.spiIn).IsZero():
			c.installOutbound()
		case !e.now.Before(until) && !(c.crossed(former) && e.heardSince(former, e.now.Add(-e.limits.RekeyGrace))):
			c.installOutbound()
		default:
			e.timers.Set(&c.move, e.now.Add(takenPause), look)
		}
	}
	look()
}

// takenPause lies between two looks whether the peer sends by a new pair.
const takenPause = 200 * time.Millisecond

// installOutbound makes packets leave by this pair. It happens once in its life.
func (c *childSA) installOutbound() {
	if c.sending != sendNotYet {
		return
	}
	c.sending = sendCurrent
	c.slot.former, c.slot.outbound = c.slot.outbound, c
	c.engine().effect(ike.InstallOutbound{Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, SA: c.half(false)})
}

// half describes one direction and hands its keys over.
func (c *childSA) half(inbound bool) ike.ChildSA {
	e := c.engine()
	sa := ike.ChildSA{PairSPI: c.spiIn, Protocol: c.protocol, Transport: c.transport, Suite: c.suite, Local: c.local, Remote: c.remote,
		UDPEncap: c.udp, BehindNAT: c.behindNAT, Selectors: []policy.Selector{c.selector}, ReplayWindow: c.slot.cfg.ReplayWindow, ESN: c.esn}
	sa.SPI, sa.Keymat = c.hand(inbound)
	if c.around != nil {
		sa.AH = &ike.AHLayer{Suite: c.around.suite, ESN: c.around.esn}
		sa.AH.SPI, sa.AH.Keymat = c.around.hand(inbound)
	}
	sa.Soft, sa.Hard = e.volumes(c.slot.cfg.Life.Packets, c.agreed)
	if log := e.cfg.KeyLog; log != nil {
		log(ike.KeyLog{Version: ike.V1, Suite: sa.Suite, Child: &sa, Inbound: inbound})
	}
	return sa
}

// replace marks a pair as one whose place another has. Whoever began the other deletes it, or of two that crossed whoever began the one that goes. The
// other end does so itself when that does not happen.
func (c *childSA) replace(reason ike.Reason, by *childSA) {
	e := c.engine()
	c.state = childReplaced
	e.timers.Stop(&c.life)
	ours := by.role == ike.RoleInitiator
	if reason == ike.DeletedRedundant {
		ours = c.role == ike.RoleInitiator
	}
	since := e.now
	var check func()
	check = func() {
		patience := e.limits.RekeyGuard
		if !ours {
			patience *= 2
		}
		crossed := reason == ike.DeletedRedundant
		if heir := c.slot.live(); crossed && heir != nil && heir != by {
			by, since = heir, later(since, heir.established)
		}
		settled := later(since, by.saidSince)
		quiet := e.now.Sub(settled)
		taken := e.cfg.LastInbound != nil && !e.cfg.LastInbound(by.spiIn).IsZero()
		switch {
		case crossed && c.preferred(by, settled):
			c.prefer(by)
		case quiet >= patience || ours && taken && quiet >= e.limits.RekeyGrace && !(crossed && c.usedAfter(by)):
			c.delete(reason)
		}
		if c.state == childReplaced {
			e.timers.Set(&c.watch, e.now.Add(time.Second), check)
		}
	}
	e.timers.Set(&c.watch, e.now.Add(e.limits.RekeyGrace), check)
}

// usedAfter reports whether the peer's last packet came by this pair and not by the other.
func (c *childSA) usedAfter(by *childSA) bool {
	last := c.engine().cfg.LastInbound
	return last != nil && last(c.spiIn).After(last(by.spiIn))
}

// preferred reports whether the peer goes on by this pair of two: it has a rule of its own, as strongSwan, which keeps what it has installed last, or has taken for
// crossed what we have not. One that agrees with us has done what our rule says by then. The end that has the pair with the higher nonce finds out
// first, so that two do not follow each other.
func (c *childSA) preferred(by *childSA, settled time.Time) bool {
	e := c.engine()
	pause := 2 * e.limits.RekeyGrace
	if string(by.nonce) < string(c.nonce) {
		pause *= 2
	}
	return c.usedAfter(by) && e.heardSince(c, settled.Add(pause)) && e.heardSince(c, e.now.Add(-e.limits.RekeyGrace)) && e.now.Before(c.ends)
}

// prefer has this pair stay, and the other go. When packets have left by this one and do so no longer both stay until another has the place of both: an outbound
// SA is installed once in its life.
func (c *childSA) prefer(by *childSA) {
	switch {
	case by.state != childActive: // that has happened
	case c.sending == sendNotYet || c.slot.outbound == c:
		c.revive()
		by.replace(ike.DeletedRekeyed, c)
		c.installOutbound()
	default:
		by.rekey()
	}
}

// revive lets a replaced pair live on to its own end, for what took its place has gone.
func (c *childSA) revive() {
	e := c.engine()
	c.state = childActive
	e.timers.Set(&c.life, later(c.rekeyAt, e.now), c.rekeyDue)
	e.timers.Stop(&c.watch)
	c.watchIdle()
}

// delete ends a pair and tells the peer. Without an ISAKMP SA the peer finds out when the pair ends there.
func (c *childSA) delete(reason ike.Reason) {
	if c.state == childGone {
		return
	}
	grace := time.Duration(0)
	if c.state == childReplaced {
		grace = c.engine().limits.RekeyGrace
	}
	sa := c.slot.peer.carrier()
	c.remove(reason, grace)
	if sa == nil {
		return
	}
	if b := sa.inform(c.deletes()...); b != nil {
		c.insist(sa, b, grace > 0)
	}
}

// remove ends a pair. Its inbound half lives on for the grace time.
func (c *childSA) remove(reason ike.Reason, grace time.Duration) {
	if c.state == childGone {
		return
	}
	e, s := c.engine(), c.slot
	was := c.state
	c.state = childGone
	for _, t := range []*deadline.Timer{&c.life, &c.watch, &c.move} {
		e.timers.Stop(t)
	}
	s.children = forget(s.children, c)
	if s.former == c {
		s.former = nil
	}
	if e.children[c.spiIn] == c {
		delete(e.children, c.spiIn)
		e.ledger.Install(&s.peer.account, -1)
	}
	c.stopSending()
	switch gone := (ike.RemoveInbound{Peer: s.peer.cfg.Name, Child: s.cfg.Name, SPI: c.spiIn}); {
	case c.notInbound:
		e.release(c.spisIn())
	case grace > 0:
		s.peer.outlast(e.now.Add(grace), gone)
	default:
		e.effect(gone)
	}
	if was != childPending {
		f := c.fact(ike.ChildDeleted)
		f.Reason = reason
		e.fact(f)
	}
	s.peer.touch()
}

// stopSending takes the outbound half out of use. What else the slot has takes its place first.
func (c *childSA) stopSending() {
	e, was := c.engine(), c.sending
	c.sending = sendOver
	for _, l := range c.layers() {
		l.keyOut.Wipe()
	}
	if c.slot.outbound == c {
		c.slot.outbound = nil
		c.slot.elect()
	}
	if was == sendCurrent {
		e.effect(ike.RemoveOutbound{Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, SPI: c.spiOut})
	}
}

// rekeyDue renews the pair, and ends it later if that does not come about.
func (c *childSA) rekeyDue() {
	c.engine().timers.Set(&c.life, c.ends, func() { c.expire(true) })
	c.rekey()
}

// rekey asks for another pair in the place of this one.
func (c *childSA) rekey() {
	if c.state == childActive {
		c.slot.due = true
		c.slot.peer.touch()
	}
}

// expire handles the end of a lifetime, in time or in packets and octets.
func (c *childSA) expire(hard bool) {
	e, s := c.engine(), c.slot
	soon := c.established.Add(leastAge)
	switch {
	case hard:
		if c.delete(ike.DeletedExpired); e.now.Before(soon) {
			s.peer.wait(&s.retry, 1)
		}
	case e.now.Before(soon): // the peer has asked for a volume that is full in no time
		if c.state == childActive {
			e.timers.Set(&c.life, soon, c.rekeyDue)
		}
	default:
		c.rekey()
	}
}

// installFailed gives up a pair that the data plane does not take. The cell keeps the outbound SA that it had, if that is still there.
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
				s.former.revive()
			}
		}
	}
	s.failed(ike.FailInstall, detail, nil)
	f := c.fact(ike.Failed)
	f.Reason, f.Detail, f.NextAttempt = ike.FailInstall, detail, s.nextAttempt()
	c.engine().fact(f)
	c.delete(ike.DeletedFailed)
	s.elect()
}

// watchIdle deletes a pair that nobody uses (S-081).
func (c *childSA) watchIdle() {
	e, limit := c.engine(), c.slot.cfg.IdleTimeout
	if limit < 0 || e.cfg.LastInbound == nil && e.cfg.LastOutbound == nil {
		return
	}
	last := c.idleFrom
	for _, used := range []func(uint32) time.Time{e.cfg.LastInbound, e.cfg.LastOutbound} {
		if used != nil {
			last = later(last, used(c.spiIn))
		}
	}
	if due := last.Add(limit); due.After(e.now) {
		e.timers.Set(&c.watch, due, c.watchIdle)
		return
	}
	c.delete(ike.DeletedIdle)
}

// fact begins a Fact about the pair.
func (c *childSA) fact(kind ike.FactKind) ike.Fact {
	f := ike.Fact{Kind: kind, Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, Local: c.local, Remote: c.remote, Role: c.role, SPIIn: c.spiIn, SPIOut: c.spiOut,
		Suite: c.describe()}
	if c.around != nil {
		f.AHSPIIn, f.AHSPIOut = c.around.spiIn, c.around.spiOut
	}
	if sa := c.slot.peer.carrier(); sa != nil {
		f.SPIi, f.SPIr = sa.cookies.Initiator, sa.cookies.Responder
	}
	return f
}

// describe is the algorithms in the words of the configuration.
func (c *childSA) describe() string {
	named := agreedAlgorithms{protocol: c.protocol, suite: c.suite, esn: c.esn, group: c.group}
	if c.around != nil {
		named.around, named.aroundESN = c.around.suite, c.around.esn
	}
	return c.engine().described.of(named, func() string {
		text := c.proposal(c.group).String()
		if c.around != nil {
			text = fmt.Sprintf("AH by %s around %s", c.around.proposal(crypto.DHNone), text)
		}
		return text
	})
}

// agreedAlgorithms are those of a pair, and of a bundle those of the AH around it.
type agreedAlgorithms struct {
	protocol  crypto.Protocol
	suite     crypto.Suite
	esn       bool
	group     crypto.DHID
	around    crypto.Suite
	aroundESN bool
}

// byPeerSPI finds the pair of which the peer names one SA by its own inbound SPI.
func (p *peer) byPeerSPI(protocol isakmp.ProtocolID, spi uint32) *childSA {
	all := p.children()
	if i := slices.IndexFunc(all, func(c *childSA) bool { return c.named(protocol, spi) }); i >= 0 {
		return all[i]
	}
	return nil
}
