package ikev1

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/internal/silence"
	"sallyport/ike/isakmp"
)

// saState says where an ISAKMP SA is in its life.
//
//	   we initiate                          the peer initiates
//	        │ message 1 sent                        │ message 1 answered by 2
//	stateProposing                           stateHalfOpen
//	        │ message 2, 3 sent                     │ message 3 answered by 4
//	stateKeying                              stateKeyed
//	        │ message 4, 5 sent                     │ message 5 answered by 6
//	stateProving                                    │
//	        │ message 6                             │
//	        └─────────> stateEstablished <──────────┘
//	                           │
//	                           │ another took its place
//	                     stateReplaced
//	                           │ its own end, or a delete by either side
//	                      stateClosed
//
// Every state goes to stateClosed at a failure. A replaced ISAKMP SA begins no quick mode; it answers the peer, who may not know yet, until one of the
// two ends deletes it (leave), or until others have been replaced after it (prune). When the peer deletes the one that took its place it comes back. An
// ISAKMP SA has no IPsec SAs: those belong to the peer and outlive it (S-077).
type saState uint8

const (
	stateProposing saState = iota
	stateKeying
	stateProving
	stateHalfOpen
	stateKeyed
	stateEstablished
	stateReplaced
	stateClosed
)

var stateNames = [...]string{"proposing", "keying", "proving", "half-open", "keyed", "established", "replaced", "closed"}

func (s saState) String() string { return stateNames[s] }

// isakmpSA is one ISAKMP SA.
type isakmpSA struct {
	engine   *Engine
	peer     *peer           // nil until a responder knows who the initiator is
	among    []*peer         // until then: who it may be
	stranger bool            // at whose address no peer of the configuration is
	place    admission.Place // of one that the peer began, while it is half-open
	state    saState
	role     ike.Role // who began the main mode

	cookies       isakmp.Cookies
	asker         asker // of one that the peer began
	local, remote netip.AddrPort
	nat           nat
	can           capabilities
	parts         reassembly // of a message of the peer's that comes in fragments

	chosen phase1Choice
	keys   *phase1Keys
	last   []byte // block of ciphertext of main mode, from which the IVs of phase 2 come

	call     silence.Call // of one that we began: whether anything has come of it
	main     *exchange
	question *question            // about the certificates in message 5 or 6
	quick    map[uint32]*exchange // quick modes under way, and those whose last message may be asked for again
	used     map[uint32]bool      // message IDs, by either side

	lifetime
	began     time.Time
	begunIn   uint64 // the Step of that: finer than time
	upIn      uint64 // the Step that established it
	made      int    // quick modes
	due       bool   // another is wanted in its place
	vain      int    // of ours that the peer has refused, in a row
	lastHeard time.Time
	probe     probe
	word      string           // what an unauthenticated notification said last, for people
	no        string           // by which we have refused the peer, for people
	shown     []isakmp.Payload // of the peer's message 5 or 6: who it says that it is, and its certificates

	life  deadline.Timer // rekey, then the end
	watch deadline.Timer // liveness; half-open: how long it may wait
	alive deadline.Timer // the mapping of a NAT before us
	wait  deadline.Timer // for the rest of parts
}

// maxMessageIDs is how many exchanges an ISAKMP SA takes: all their IDs are remembered, so that none is replayed. Another takes its place long before.
const maxMessageIDs = 1 << 14

func newSA(e *Engine, role ike.Role, local, remote netip.AddrPort) *isakmpSA {
	sa := &isakmpSA{engine: e, role: role, local: local, remote: remote, began: e.now, begunIn: e.steps, lastHeard: e.now,
		quick: map[uint32]*exchange{}, used: map[uint32]bool{}}
	sa.main = &exchange{sa: sa, kind: isakmp.ExchangeMain, role: role}
	return sa
}

// newInitiator begins main mode with a peer.
func newInitiator(p *peer) {
	e := p.engine
	local, remote := netip.AddrPortFrom(p.cfg.Local, portIKE), netip.AddrPortFrom(p.cfg.Remote, portIKE)
	if sa := p.carrier(); sa != nil && sa.nat.across() {
		local, remote = sa.local, sa.remote // a NAT before the peer lets nothing else in
	}
	sa := newSA(e, ike.RoleInitiator, local, remote)
	sa.peer, sa.state, sa.cookies.Initiator = p, stateProposing, e.newCookie()
	e.begun[sa.cookies.Initiator] = sa
	e.calls.Begin(&sa.call, remote.Addr(), e.now)
	p.sas = append(p.sas, sa)
	p.starts++
	e.fact(sa.fact(ike.NegotiationStarted))
	t := &mainInitiator{sa: sa}
	sa.main.task = t
	if err := t.propose(); err != nil {
		sa.fail(err)
	}
}

// receive takes a message with the cookies of this ISAKMP SA.
func (sa *isakmpSA) receive(d ike.Datagram, h isakmp.Header) {
	e := sa.engine
	switch {
	case h.NextPayload == isakmp.PayloadFragment:
		sa.fragment(d, h)
	case h.Exchange == isakmp.ExchangeMain:
		sa.main.receive(d, h)
	case !h.Encrypted():
		e.drop(d, h, ike.DropCleartext)
		sa.hint(d)
	case sa.state == stateProving && h.Exchange == isakmp.ExchangeInformational:
		sa.rejected(d, h)
	case sa.state != stateEstablished && sa.state != stateReplaced:
		e.drop(d, h, ike.DropExchange) // nothing of phase 2 before phase 1 is done
	case h.Exchange == isakmp.ExchangeInformational:
		sa.informed(d, h)
	case sa.quick[h.MessageID] != nil:
		sa.quick[h.MessageID].receive(d, h)
	default:
		sa.quickRequest(d, h)
	}
}

// established begins the life of an ISAKMP SA whose peer has proved who it is.
func (sa *isakmpSA) establish() {
	e, p := sa.engine, sa.peer
	if sa.role == ike.RoleResponder {
		sa.countHalfOpen(-1)
		p.sas = append(p.sas, sa)
	}
	e.timers.Stop(&sa.watch)
	sa.state, sa.upIn, sa.last, sa.shown = stateEstablished, e.steps, sa.main.iv, nil
	sa.lifetime = e.lifetimeFrom(e.now, sa.agreedLife().Seconds, sa.role)
	e.ledger.Establish(&p.account, 1)
	p.known = true
	f := sa.fact(ike.IKEEstablished)
	f.Suite = e.described.of(ageless(sa.chosen.Phase1), sa.chosen.String)
	e.fact(f)
	for _, former := range p.sas {
		former.giveWay(sa)
	}
	p.prune()
	sa.gather()
	e.timers.Set(&sa.life, sa.rekeyAt, sa.rekeyDue)
	sa.watchLiveness()
	sa.keepMapping()
	p.succeeded()
	p.touch()
}

// giveWay makes room for a younger ISAKMP SA with the same peer. Of two that were made at the same time from both ends both keep the same one, that
// with the lower initiator's cookie, as of pairs of IPsec SAs (childSA.crossed).
//
// Whether two have crossed only the end knows that began the later one: it had the other by then, or had not. The other end goes by the time, and may be
// wrong. So the end that knows has the last word (leave): who began the one that stays, and had the other when it did, deletes the other; who began
// the one that goes deletes that. Whatever the two ends make of it, one of the two is deleted.
func (sa *isakmpSA) giveWay(younger *isakmpSA) {
	if sa == younger || sa.state != stateEstablished || younger.state != stateEstablished {
		return
	}
	former, heir := sa, younger
	crossed := sa.role != younger.role && younger.began.Before(sa.established.Add(sa.engine.limits.RekeyGrace))
	if younger.role == ike.RoleInitiator {
		crossed = crossed && younger.begunIn < sa.upIn
	}
	if crossed && sa.cookies.Initiator < younger.cookies.Initiator {
		former, heir = younger, sa
	}
	former.state = stateReplaced
	if former.probe.tries > doubtful { // the peer answers, and not on this one
		former.probe.tries = former.engine.limits.Retransmit.Tries
	}
	reason := ike.DeletedRekeyed
	if crossed {
		reason = ike.DeletedRedundant
	}
	f := heir.fact(ike.IKEReplaced)
	f.Reason = reason
	sa.engine.fact(f)
	former.leave(heir.role == ike.RoleInitiator && !crossed || former.role == ike.RoleInitiator && crossed, reason)
}

// leave deletes an ISAKMP SA whose place another has, when the peer has had its time to know and no quick mode is left of it. The end whose part that
// is not does so itself when it has not happened, unless the peer goes on with this one.
func (sa *isakmpSA) leave(ours bool, reason ike.Reason) {
	e, since := sa.engine, sa.engine.now
	var check func()
	check = func() {
		due := since.Add(e.limits.RekeyGuard)
		if !ours {
			due = later(since, sa.lastHeard).Add(2 * e.limits.RekeyGuard)
		}
		switch {
		case sa.peer.carrier() == nil: // nothing has its place
		case due.After(e.now):
			e.timers.Set(&sa.watch, due, check)
			return
		case len(sa.quick) == 0:
			sa.delete(reason)
			return
		}
		e.timers.Set(&sa.watch, e.now.Add(e.limits.RekeyGuard), check)
	}
	check()
}

// comeBack has the youngest ISAKMP SA that another has replaced take its place again, when the peer has ended that one and not this.
func (p *peer) comeBack() {
	for _, sa := range slices.Backward(p.sas) {
		if p.carrier() == nil && sa.state == stateReplaced {
			sa.state = stateEstablished
			p.engine.timers.Set(&sa.life, later(sa.rekeyAt, p.engine.now), sa.rekeyDue)
			sa.watchLiveness()
		}
	}
}

// maxReplaced is how many ISAKMP SAs of a peer are kept whose place another has. With a master key for each quick mode there are as many as quick modes
// in a lifetime, and a peer has room for IKEPerPeer.
const maxReplaced = 4

// prune ends the oldest of those that others have replaced: the peer has had its time to know.
func (p *peer) prune() {
	replaced := slices.DeleteFunc(slices.Clone(p.sas), func(sa *isakmpSA) bool { return sa.state != stateReplaced })
	for _, sa := range replaced[:max(0, len(replaced)-maxReplaced)] {
		sa.delete(ike.DeletedRekeyed)
	}
}

// rekeyDue renews the ISAKMP SA, or lets it end when nobody uses it (S-076).
func (sa *isakmpSA) rekeyDue() {
	e := sa.engine
	e.timers.Set(&sa.life, sa.ends, func() { sa.delete(ike.DeletedExpired) })
	if sa.state != stateEstablished {
		return
	}
	if !sa.peer.inUse() {
		sa.delete(ike.DeletedIdle)
		return
	}
	sa.due = true
	sa.peer.touch()
}

// spent reports whether another quick mode needs another ISAKMP SA first: as many as it may make are made (S-077), or every one is to have a master key
// of its own (S-083).
func (sa *isakmpSA) spent() bool {
	limit := sa.peer.cfg.ChildLimit
	if sa.peer.cfg.MasterPFS {
		limit = 1
	}
	return limit > 0 && sa.made >= limit || len(sa.used) >= maxMessageIDs/2
}

// heard notes an authenticated message: the peer lives, and where it is.
func (sa *isakmpSA) heard(m *message) {
	sa.lastHeard = sa.engine.now
	sa.engine.timers.Stop(&sa.probe.retry)
	sa.probe.tries = 0
	if m.local == sa.local && m.remote == sa.remote {
		return
	}
	switch {
	case sa.state == stateKeyed && (m.remote.Addr() == sa.remote.Addr() || sa.nat.remote):
		// Message 5: the initiator has moved to port 4500 (RFC 3947 4).
		sa.local, sa.remote = m.local, m.remote
	case sa.state >= stateEstablished && sa.nat.remote && !sa.nat.local:
		sa.peer.moved(m.remote)
	}
}

// fail ends an ISAKMP SA that did not come about.
func (sa *isakmpSA) fail(err error) {
	f := asFailure(err)
	fact := sa.fact(ike.Failed)
	fact.Reason, fact.Detail = f.reason, f.detail
	if sa.word != "" {
		fact.Detail += "; somebody, it may be the peer, said " + sa.word
	}
	attempt := sa.main.attempt()
	attempt.NextSending = time.Time{}
	if f.told {
		attempt.Answer = f.word
	}
	if p := sa.peer; p != nil && sa.role == ike.RoleInitiator {
		fact.NextAttempt = p.failed(fact.Reason, fact.Detail, attempt)
	} else {
		sa.noteAmong(fact.Reason, fact.Detail, attempt)
	}
	sa.engine.fact(fact)
	sa.close(ike.DeletedFailed)
}

// delete ends an ISAKMP SA and tells the peer. That comes before what else has ended: strongSwan reads the first DELETE of a message only.
func (sa *isakmpSA) delete(reason ike.Reason) {
	if sa.state == stateEstablished || sa.state == stateReplaced {
		if b := sa.inform(append([]isakmp.Payload{isakmp.DeleteISAKMP(sa.cookies)}, sa.peer.lastWords()...)...); b != nil {
			sa.engine.farewells.keep(sa.engine.now, sa, b)
		}
	}
	sa.close(reason)
}

// close ends an ISAKMP SA here and now, with its exchanges and its keys. Its IPsec SAs stay.
func (sa *isakmpSA) close(reason ike.Reason) {
	if sa.state == stateClosed {
		return
	}
	e, was := sa.engine, sa.state
	sa.state = stateClosed
	for _, t := range []*deadline.Timer{&sa.life, &sa.watch, &sa.alive, &sa.wait, &sa.probe.retry} {
		e.timers.Stop(t)
	}
	sa.parts.forget(&e.room)
	sa.unask()
	e.calls.End(&sa.call)
	sa.main.stop()
	if t, ok := sa.main.task.(interface{ wipe() }); ok {
		t.wipe()
	}
	for _, x := range sa.exchanges() {
		x.task.fail(failf(ike.FailTemporary, "the ISAKMP SA has ended: %s", reason))
	}
	sa.unregister(was)
	if sa.keys != nil {
		sa.keys.wipe()
	}
	if was == stateEstablished || was == stateReplaced {
		f := sa.fact(ike.IKEDeleted)
		f.Reason = reason
		e.fact(f)
		e.ledger.Establish(&sa.peer.account, -1)
	}
	if sa.peer != nil {
		sa.peer.lost(sa)
	}
}

// exchanges are the quick modes in the order of their message IDs, so that equal events have equal effects.
func (sa *isakmpSA) exchanges() []*exchange {
	var list []*exchange
	for _, x := range sa.quick {
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *exchange) int { return int(int64(a.id) - int64(b.id)) })
	return list
}

// unregister makes an ISAKMP SA unknown.
func (sa *isakmpSA) unregister(was saState) {
	e := sa.engine
	delete(e.sas, sa.cookies)
	if sa.role == ike.RoleInitiator {
		delete(e.begun, sa.cookies.Initiator)
		return
	}
	if was < stateEstablished {
		sa.countHalfOpen(-1)
		e.unanswered = forget(e.unanswered, sa)
	}
	if e.asked[sa.asker] == sa {
		delete(e.asked, sa.asker)
	}
}

func (sa *isakmpSA) peerName() string {
	switch {
	case sa.peer != nil:
		return sa.peer.cfg.Name
	case len(sa.among) == 1 || len(sa.among) > 0 && sa.stranger:
		return sa.among[len(sa.among)-1].cfg.Name // of a stranger the template's
	}
	return ""
}

// fact begins a Fact about the ISAKMP SA.
func (sa *isakmpSA) fact(kind ike.FactKind) ike.Fact {
	return ike.Fact{Kind: kind, Peer: sa.peerName(), Local: sa.local, Remote: sa.remote, Role: sa.role, SPIi: sa.cookies.Initiator, SPIr: sa.cookies.Responder}
}
