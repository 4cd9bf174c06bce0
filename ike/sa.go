package ike

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/internal/silence"
	"sallyport/ike/wire"
)

// saState says where an IKE SA is in its life.
//
//	       we initiate                                   the peer initiates
//	            │                                                │ IKE_SA_INIT request
//	      stateInit                                        stateHalfOpen
//	            │ IKE_SA_INIT response                           │ perhaps IKE_INTERMEDIATE
//	      stateAuth                                              │ IKE_AUTH request
//	            │ IKE_AUTH response                              │
//	            └────────────> stateEstablished <────────────────┤
//	                             │          │                    │ CREATE_CHILD_SA that rekeys
//	another IKE SA took its place│          │ our delete         │ an established IKE SA begins
//	                    stateReplaced ──> stateDeleting          │ here, for both sides
//	                             │          │
//	          the peer's delete, │          │ its response
//	                             └> stateClosed
//
// From stateAuth it goes back to stateInit when several have answered IKE_SA_INIT and the first of them is not the peer (claims.go).
//
// Every state goes to stateClosed at a failure. A replaced IKE SA answers requests and begins none but its delete: it lost to a rekey or is the
// redundant one of two that were made at once (RFC 7296 2.8.2), and the side that began the winner or the loser deletes it. One whose place another takes
// that was authenticated by itself stays in stateEstablished until its delete (heir.go).
type saState uint8

const (
	stateInit saState = iota
	stateAuth
	stateHalfOpen
	stateEstablished
	stateReplaced
	stateDeleting
	stateClosed
)

var stateNames = [...]string{"init", "auth", "half-open", "established", "replaced", "deleting", "closed"}

func (s saState) String() string { return stateNames[s] }

// ikeSA is one IKE SA.
type ikeSA struct {
	engine   *Engine
	peer     *peer           // nil until a responder knows who the initiator is
	among    []*peer         // until then: who it may be
	stranger bool            // no peer of the configuration has its address
	place    admission.Place // of a responder's, while it is half-open
	state    saState
	role     Role // who began the exchange that made it
	tasks    taskManager

	// processing is set while tasks read a message: what they order must wait until all of them have, and until the answer has left.
	processing bool

	localSPI, remoteSPI uint64
	local, remote       netip.AddrPort
	natLocal, natRemote bool // a NAT stands before us, before the peer

	fragmentation bool // both ends understand fragments (RFC 7383)
	path          int  // octets of the IP datagrams that have been found to get through; 0: as configured

	call   silence.Call // of one that we began: whether anything has come of it
	claims *claims      // from our IKE_SA_INIT until the peer is authenticated

	intermediate intermediate
	ppk          ppkUse
	unfinished   *unfinished

	childless bool // the peer takes IKE_AUTH without a Child SA (RFC 6023)

	chosen chosen
	keys   *ikeKeys
	ni, nr []byte

	// origin is the first IKE SA of a line of rekeys: what settles duplicates must be the same at both ends, however far either has come with
	// a rekey.
	origin origin

	initRequest, initResponse []byte         // until IKE_AUTH has covered them
	initDigest                digest         // of the request, for a responder
	initFrom                  netip.AddrPort // where that came from
	peerHashes                []hashID       // what the peer takes signatures with (RFC 7427), nil if it did not say

	children    []*childSA
	made        int    // Child SAs by its keys
	predecessor *ikeSA // whose rekey of ours will tell whether this one, the peer's, is its successor

	createdIn, establishedIn uint64 // the Steps: finer than time
	lifetime
	lastHeard   time.Time // an authenticated message
	lastHint    time.Time // a liveness check begun at a stranger's word
	replacedFor Reason    // why another took its place

	// heir is the IKE SA, authenticated by itself, that takes over from this one (heir.go), leftAt since when; sure that it is for us to bring about.
	heir      *ikeSA
	leftAt    time.Time
	sure      bool
	apart     bool // the peer is found to keep it beside another
	confirmed bool // the peer is known to have it established

	mobike         mobike
	authentication lifetime // when the two have proved who they are, and must do so anew
	given          lifetime // of it, by the peer (RFC 4478)
	reauthWanted   bool
	reauthFailures int // in a row

	endedFor Reason // why we delete it

	rekeyFailures int // in a row

	// suspect is set while a request goes unanswered and somebody says that the peer does not know this IKE SA. It is then still kept, but
	// another is begun beside it; if that gets through, the peer has started anew.
	suspect bool

	traces [RoleResponder + 1]*trace // of negotiations that go on, by who began them

	// unseen is set from our answer to a rekey until the peer's first message on the IKE SA that it made: the answer may not have got through, and
	// then the peer does not know the IKE SA yet, which is no reason to suspect it.
	unseen bool

	life   deadline.Timer // rekey, then the end
	again  deadline.Timer // a rekey that was put off
	watch  deadline.Timer // liveness; not yet established or replaced: how long it may wait
	reauth deadline.Timer // authentication anew, then the end
	guard  deadline.Timer // with an heir: another look
	nat    deadline.Timer // the mapping of a NAT before us
}

// timers are all that an IKE SA has of its own.
func (sa *ikeSA) timers() []*deadline.Timer {
	return []*deadline.Timer{&sa.life, &sa.again, &sa.watch, &sa.reauth, &sa.guard, &sa.nat}
}

type origin struct {
	role                 Role
	lowest               []byte // nonce
	begun, authenticated uint64 // the Steps
}

func newIKESA(e *Engine, role Role, local, remote netip.AddrPort) *ikeSA {
	sa := &ikeSA{engine: e, role: role, local: local, remote: remote, createdIn: e.steps, lastHeard: e.now}
	sa.tasks.sa = sa
	return sa
}

// newInitiator begins an IKE SA with a peer.
func newInitiator(p *peer) *ikeSA {
	local, remote := p.whereabouts()
	sa := newIKESA(p.engine, RoleInitiator, netip.AddrPortFrom(local, portIKE), netip.AddrPortFrom(remote, portIKE))
	sa.peer, sa.state = p, stateInit
	sa.claims = &claims{local: sa.local, remote: sa.remote}
	sa.localSPI = p.engine.newSPI()
	sa.register()
	p.engine.calls.Begin(&sa.call, remote, p.engine.now)
	sa.engine.fact(sa.fact(NegotiationStarted))
	sa.tasks.enqueue(wire.ExchangeIKESAInit, &initInitiator{})
	return sa
}

// newResponder prepares an IKE SA for a peer's first request. It becomes known to the engine when the request proves acceptable.
func newResponder(e *Engine, d Datagram, h wire.Header, among []*peer) *ikeSA {
	sa := newIKESA(e, RoleResponder, d.Local, d.Remote)
	sa.among, sa.state, sa.remoteSPI = among, stateHalfOpen, h.InitiatorSPI
	return sa
}

// register makes an IKE SA known under its SPI.
func (sa *ikeSA) register() {
	sa.engine.sas[sa.localSPI] = sa
	if sa.peer != nil {
		sa.peer.sas = append(sa.peer.sas, sa)
	}
}

// halfOpened registers a responder's IKE SA and counts it until it is authenticated or given up.
func (sa *ikeSA) halfOpened() {
	e := sa.engine
	sa.register()
	e.inits[sa.initDigest] = sa
	sa.countHalfOpen(1)
	sa.awaitAuth()
	e.fact(sa.fact(NegotiationStarted))
}

// awaitAuth gives the initiator its time for the IKE_AUTH request. While the certificates in that are being checked it waits for us, and the check has an end of its own.
func (sa *ikeSA) awaitAuth() {
	e := sa.engine
	e.timers.Set(&sa.watch, e.now.Add(e.limits.HalfOpenTimeout), func() {
		if e.checks.has(sa) {
			sa.awaitAuth()
			return
		}
		sa.fail(failf(FailTimeout, "no IKE_AUTH request within %v", e.limits.HalfOpenTimeout))
	})
}

// countHalfOpen counts it in (by 1) or out (by -1), as one of its address and as a stranger's.
func (sa *ikeSA) countHalfOpen(by int) {
	sa.engine.halfOpen.Add(sa.place, by)
	if sa.stranger {
		sa.engine.strangers.CountHalfOpen(by)
	}
}

func (sa *ikeSA) spis() (initiator, responder uint64) {
	if sa.role == RoleInitiator {
		return sa.localSPI, sa.remoteSPI
	}
	return sa.remoteSPI, sa.localSPI
}

// expects says which requests of the peer make sense in the present state.
func (sa *ikeSA) expects(kind wire.ExchangeType) bool {
	switch sa.state {
	case stateHalfOpen:
		if len(sa.intermediate.pending) > 0 {
			return kind == wire.ExchangeIntermediate
		}
		return kind == wire.ExchangeIKEAuth
	case stateEstablished, stateReplaced, stateDeleting:
		return kind == wire.ExchangeCreateChildSA || kind == wire.ExchangeInformational || kind == wire.ExchangeFollowupKE
	}
	return false
}

// responders are the tasks that answer a request.
func (sa *ikeSA) responders(m *message) []task {
	switch m.Exchange {
	case wire.ExchangeIKESAInit:
		return []task{&initResponder{}}
	case wire.ExchangeIntermediate:
		return []task{&intermediateResponder{}}
	case wire.ExchangeIKEAuth:
		if wire.Find[*wire.SA](m.Payloads) == nil { // RFC 6023 4
			return []task{&authResponder{}}
		}
		return []task{&authResponder{}, &childResponder{first: true}}
	case wire.ExchangeFollowupKE:
		return []task{&followupResponder{}}
	case wire.ExchangeCreateChildSA:
		sa.forgetUnfinished()
		if wire.Find[*wire.SA](m.Payloads).Proposals[0].Protocol == wire.ProtocolIKE {
			return []task{&rekeyResponder{}}
		}
		return []task{&childResponder{}}
	}
	return []task{&informationalResponder{}}
}

// establish begins the life of an IKE SA whose peer is authenticated.
func (sa *ikeSA) establish() {
	e := sa.engine
	if sa.state == stateHalfOpen {
		sa.countHalfOpen(-1)
		e.timers.Stop(&sa.watch)
	}
	sa.state, sa.lifetime, sa.establishedIn = stateEstablished, e.lifetimeFrom(e.now, sa.peer.cfg.RekeyTime), e.steps
	sa.initRequest, sa.initResponse, sa.peerHashes = nil, nil, nil
	sa.keys.wipeAuth()
	sa.intermediate.forget()
	e.ledger.Establish(&sa.peer.account, 1)
	sa.peer.known = true
	e.timers.Set(&sa.life, sa.rekeyAt, sa.rekeyDue)
	sa.watchLiveness()
	sa.watchAuthentication()
	sa.keepMapping()
	sa.peer.succeeded()
	sa.peer.touch()
}

// rekeyDue renews the IKE SA, or lets it end when nobody uses it (S-076).
func (sa *ikeSA) rekeyDue() {
	e := sa.engine
	e.timers.Set(&sa.life, sa.ends, func() { sa.terminate(DeletedExpired) })
	if sa.state != stateEstablished {
		return
	}
	if len(sa.children) == 0 && !sa.peer.alwaysUp() {
		sa.terminate(DeletedIdle)
		return
	}
	sa.rekey()
}

// rekey begins to replace the IKE SA, once. It waits for the peer to finish what it has begun with a Child SA: peers have been seen to forget
// that over a rekey of the IKE SA, where RFC 7296 2.25.2 has them refuse it.
func (sa *ikeSA) rekey() {
	switch e := sa.engine; {
	case sa.state != stateEstablished || sa.tasks.pending(isRekeyIKE):
	case sa.heir != nil || slices.ContainsFunc(sa.children, func(c *childSA) bool { return c.state == childReplaced }):
		e.timers.Set(&sa.again, e.now.Add(e.jitter(e.limits.RetryMin, retryJitter)), sa.rekey)
	default:
		sa.tasks.enqueue(wire.ExchangeCreateChildSA, &rekeyInitiator{})
	}
}

// heard notes an authenticated message: the peer lives, and where it is (RFC 7296 2.23).
func (sa *ikeSA) heard(d Datagram, request bool) {
	sa.lastHeard, sa.suspect, sa.unseen = sa.engine.now, false, false
	sa.confirm(request)
	if d.Local == sa.local && d.Remote == sa.remote {
		return
	}
	switch {
	case sa.state == stateHalfOpen && request && (d.Remote.Addr() == sa.remote.Addr() || sa.natRemote):
		// IKE_AUTH: the initiator has moved to port 4500, with or without a NAT.
		sa.local, sa.remote = d.Local, d.Remote
	case sa.follows() && !sa.mobike.on && sa.mayMove(d.Remote):
		sa.moved(d.Local, d.Remote)
	}
}

// spent reports whether another Child SA needs another IKE SA first (S-077).
func (sa *ikeSA) spent() bool {
	limit := sa.peer.cfg.ChildLimit
	return limit > 0 && sa.made >= limit
}

// usable reports whether new exchanges may begin here.
func (sa *ikeSA) usable() bool { return sa.state == stateEstablished && !sa.suspect && sa.heir == nil }

// unanswered ends an IKE SA whose peer does not answer.
func (sa *ikeSA) unanswered(x *exchange) {
	if sa.state == stateInit || sa.state == stateAuth {
		sa.fail(failf(sa.unansweredFor(), "no response to %v after %d sendings", x.kind, x.tries))
		return
	}
	if sa.state == stateDeleting {
		sa.close(sa.endedFor)
		return
	}
	sa.close(DeletedDead)
}

// fail ends an IKE SA without telling the peer, who knows or cannot be told.
func (sa *ikeSA) fail(err error) {
	if sa.state == stateClosed || sa.disproved(func() { sa.fail(err) }) {
		return
	}
	f := sa.fact(Failed)
	f.Reason, f.Detail = reasonOf(err)
	switch p := sa.peer; {
	case p == nil: // anybody may have made it fail
		sa.noteAmong(f.Reason, f.Detail)
	case sa.role == RoleInitiator || !sa.established.IsZero():
		f.NextAttempt = p.failed(sa, f.Reason, f.Detail)
	default:
		p.noteFailure(sa, RoleResponder, f.Reason, f.Detail)
	}
	sa.engine.fact(f)
	sa.close(DeletedFailed)
}

// noteAmong remembers a failure at all whom the peer may have been, unless it was found out who.
func (sa *ikeSA) noteAmong(reason Reason, detail string) {
	if t := sa.traces[RoleResponder]; t != nil && t.kept != nil {
		return
	}
	for _, p := range sa.among {
		p.noteFailure(sa, RoleResponder, reason, detail)
	}
}

// abort ends an IKE SA after an answer of the peer's that we cannot accept. If the peer takes the IKE SA for established it is told
// (RFC 7296 2.21.2 and 2.21.3).
func (sa *ikeSA) abort(err error) {
	if sa.disproved(func() { sa.abort(err) }) {
		return
	}
	var f *failure
	if sa.keys == nil || errors.As(err, &f) && f.fromPeer || sa.state == stateDeleting {
		sa.fail(err)
		return
	}
	fact := sa.fact(Failed)
	fact.Reason, fact.Detail = reasonOf(err)
	fact.NextAttempt = sa.peer.failed(sa, fact.Reason, fact.Detail)
	sa.engine.fact(fact)
	why := wire.NotifyInvalidSyntax
	if fact.Reason.Authentication() {
		why = wire.NotifyAuthenticationFailed
	}
	sa.delete(&deleteIKE{reason: DeletedFailed, why: why})
}

// terminate ends an established IKE SA with a delete; one under negotiation is dropped, unless the peer may have it already: then it
// is deleted when the response to IKE_AUTH has come.
func (sa *ikeSA) terminate(reason Reason) {
	switch sa.state {
	case stateEstablished, stateReplaced:
		sa.delete(&deleteIKE{reason: reason})
	case stateAuth:
		sa.endedFor = reason
	case stateInit, stateHalfOpen:
		sa.close(reason)
	}
}

func (sa *ikeSA) delete(t *deleteIKE) {
	sa.state, sa.endedFor = stateDeleting, t.reason
	for _, t := range sa.timers() {
		sa.engine.timers.Stop(t)
	}
	for _, c := range slices.Clone(sa.children) {
		c.stopSending()
	}
	sa.tasks.flush()
	sa.tasks.enqueue(wire.ExchangeInformational, t)
	sa.peer.touch()
}

// close ends an IKE SA here and now, with its children and its keys.
func (sa *ikeSA) close(reason Reason) {
	if sa.state == stateClosed {
		return
	}
	e, halfOpen := sa.engine, sa.state == stateHalfOpen
	sa.state, sa.predecessor = stateClosed, nil
	sa.tasks.stop()
	sa.dropClaims()
	e.calls.End(&sa.call)
	for _, t := range sa.timers() {
		e.timers.Stop(t)
	}
	for _, c := range slices.Clone(sa.children) {
		grace := time.Duration(0)
		if sa.heir != nil || c.slot.live() != nil {
			grace = e.limits.RekeyGrace // for packets that overtake or lag behind its delete: another takes its place
		}
		c.remove(DeletedWithIKE, grace)
	}
	sa.heir = nil
	delete(e.sas, sa.localSPI)
	if e.inits[sa.initDigest] == sa {
		delete(e.inits, sa.initDigest)
		if halfOpen {
			sa.countHalfOpen(-1)
		}
	}
	if sa.tasks.lastResponse != nil {
		e.departed.add(e.now, sa.tasks.lastRequest, sa.tasks.lastResponse.datagrams, sa.remote)
	}
	sa.intermediate.forget()
	sa.ppk.drop()
	sa.forgetUnfinished()
	if sa.keys != nil {
		sa.keys.wipe()
	}
	if !sa.established.IsZero() {
		f := sa.fact(IKEDeleted)
		f.Reason = reason
		e.fact(f)
		e.ledger.Establish(&sa.peer.account, -1)
	}
	if p := sa.peer; p != nil {
		p.lost(sa)
	}
}

// countRepeat counts a request that came again.
func (sa *ikeSA) countRepeat() {
	if sa.peer != nil {
		sa.peer.repeats++
	}
}

func (sa *ikeSA) peerName() string {
	switch {
	case sa.peer != nil:
		return sa.peer.cfg.Name
	case len(sa.among) == 1 || len(sa.among) > 0 && sa.stranger:
		return sa.among[len(sa.among)-1].cfg.Name // of a stranger the template's
	}
	return ""
}

// fact begins a Fact about the IKE SA.
func (sa *ikeSA) fact(kind FactKind) Fact {
	f := Fact{Kind: kind, Peer: sa.peerName(), Local: sa.local, Remote: sa.remote, Role: sa.role}
	f.SPIi, f.SPIr = sa.spis()
	return f
}
