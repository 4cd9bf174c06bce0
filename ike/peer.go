package ike

import (
	"slices"
	"time"

	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// peer is a configured peer with what it has: IKE SAs and, by child, Child SAs.
type peer struct {
	engine  *Engine
	cfg     Peer
	accepts string   // its IKE proposals as keywords: equal ones are equal
	slots   []*slot  // one for each configured child, and behind it one for each worker that is to have its own
	sas     []*ikeSA // in the order they were begun

	proven   admission.Bucket // IKE_SA_INIT requests with cookies, of all peers of its path if it is the first of them
	requests admission.Bucket
	moves    admission.Bucket // changes of its address that are told

	late []*lateSA

	account Account
	known   bool // it has authenticated since it was configured

	down    bool // by the operator: nothing is begun from here
	retired bool // no longer configured
	carried bool // by IKEv1 (Version VAny): nothing is begun from here
	touched bool // waits for pursue at the end of the Step

	template *peer          // of a dynamic peer: by which it is let in
	welcomed bool           // it has been, and is known by its name
	empty    deadline.Timer // it has no Child SA, and ends then

	since    time.Time      // it has no IKE SA, or was taken down
	failures int            // in a row
	silences int            // attempts that met silence, since the last success
	silent   bool           // the last of all attempts did
	retry    deadline.Timer // pending: not before

	redirection redirection

	failure                 map[Role]Failure // the last one of what we began, and of what the peer began
	unproven                Note             // of responses to IKE_SA_INIT
	starts, resent, repeats uint64           // negotiations begun, requests sent again, requests received again
}

// lateSA is an inbound SA that has been deleted and still takes what is on its way.
type lateSA struct {
	over deadline.Timer
	gone Effect // what ends it
}

func newPeer(e *Engine, cfg Peer) *peer {
	p := &peer{engine: e, cfg: cfg.withDefaults(), failure: map[Role]Failure{}, moves: Moves()}
	p.limitRates()
	p.accepts = describeOurs(p.cfg.IKEProposals)
	for _, c := range p.cfg.Children {
		p.slots = append(p.slots, newSlots(p, c)...)
	}
	p.touch()
	return p
}

// touch asks for pursue at the end of the Step.
func (p *peer) touch() {
	if !p.touched {
		p.touched = true
		p.engine.touched = append(p.engine.touched, p)
	}
}

// pursue begins the negotiations that the peer's children need and lack.
func (p *peer) pursue() {
	p.settle()
	p.bequeath()
	p.linger()
	if p.down || p.retired || p.carried {
		return
	}
	p.reauthenticate()
	needed := slices.DeleteFunc(slices.Clone(p.slots), func(s *slot) bool { return !s.needed() })
	if len(needed) == 0 {
		return
	}
	if sa := p.carrier(); sa != nil {
		if sa.spent() {
			sa.rekey() // its successor comes back here
			return
		}
		for _, s := range needed {
			sa.tasks.enqueue(wire.ExchangeCreateChildSA, newChildInitiator(s, nil))
		}
		return
	}
	if p.retry.Pending() || p.busy() || p.template != nil {
		return
	}
	p.starts++
	newInitiator(p)
}

// carrier is the IKE SA for new exchanges, the youngest established one, or nil.
func (p *peer) carrier() *ikeSA {
	for _, sa := range slices.Backward(p.sas) {
		if sa.usable() {
			return sa
		}
	}
	return nil
}

// busy reports whether an IKE SA of ours is coming, or one is going and a new one had better wait for that.
func (p *peer) busy() bool {
	return slices.ContainsFunc(p.sas, func(sa *ikeSA) bool {
		return sa.state == stateInit || sa.state == stateAuth || sa.state == stateDeleting && sa.endedFor != DeletedRedirected
	})
}

// full refuses a peer another IKE SA. Each rekey and each authentication anew leaves one for a moment; a peer that makes them faster than they
// end would fill our memory. A rekey makes no more of them in all.
func (p *peer) full(sa *ikeSA, rekey bool) *refusal {
	e := p.engine
	f := sa.fact(Refused)
	f.Peer = p.cfg.Name
	var no *refusal
	switch {
	case len(p.sas) >= e.limits.IKEPerPeer:
		f.Reason = RefuseIKESAs
		no = refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "%d IKE SAs with this peer, that is the limit", len(p.sas))
	case !rekey && e.ledger.FullOfIKESAs():
		f.Reason = RefuseAllIKESAs
		no = refuse(wire.NotifyNoAdditionalSAs, FailNoAdditionalSAs, "%d IKE SAs with all peers, that is the limit", e.limits.Established)
	default:
		return nil
	}
	e.fact(f)
	return no
}

func (p *peer) alwaysUp() bool {
	return slices.ContainsFunc(p.slots, func(s *slot) bool { return s.cfg.Start == StartAlways })
}

func (p *peer) slot(name string) *slot {
	if i := slices.IndexFunc(p.slots, func(s *slot) bool { return s.cfg.Name == name }); i >= 0 {
		return p.slots[i]
	}
	return nil
}

// initiate is the operator's wish to have a child up now, whatever failed before.
func (p *peer) initiate(child string) {
	p.down = false
	p.engine.timers.Stop(&p.retry)
	for _, sa := range p.sas {
		if sa.state == stateAuth {
			sa.endedFor = ""
		}
	}
	for _, s := range p.slots {
		if child == "" || s.cfg.Name == child {
			s.wanted, s.down = true, false
			p.engine.timers.Stop(&s.retry)
		}
	}
	p.touch()
}

// carry takes note that the peer has IKEv1 SAs, or none any longer.
func (p *peer) carry(on bool) {
	p.carried = on && p.cfg.Version == VAny
	p.touch()
}

func (p *peer) acquire(child string, packet *policy.Packet) {
	if s := p.slot(child); s != nil && s.outbound == nil && !p.down && !s.down {
		s.wanted, s.packet = true, packet
		p.spareSilent()
		p.touch()
	}
}

func (p *peer) rekey(child string) {
	if child == "" {
		if sa := p.carrier(); sa != nil {
			sa.rekey()
		}
		return
	}
	for _, s := range p.slots {
		if c := s.live(); c != nil && s.cfg.Name == child {
			c.rekey()
		}
	}
}

func (p *peer) terminate(child string) {
	if child == "" {
		p.down, p.since = true, p.engine.now
		p.endAll(DeletedByOperator)
		return
	}
	for _, s := range p.slots {
		if s.cfg.Name == child {
			s.end(DeletedByOperator)
		}
	}
}

// retire ends all that belongs to a peer that is no longer configured, or is somebody else now. It is not trusted to answer the deletes: the
// Child SAs go at once, both halves, and only the IKE SAs wait for an answer.
func (p *peer) retire() {
	p.retired = true
	for _, s := range p.slots {
		s.retired = true
	}
	p.endAll(DeletedReconfig)
	for _, sa := range p.sas {
		for _, c := range slices.Clone(sa.children) {
			c.remove(DeletedReconfig, 0)
		}
	}
	for _, l := range slices.Clone(p.late) {
		p.end(l)
	}
}

// outlast has an inbound SA take packets until then.
func (p *peer) outlast(until time.Time, gone Effect) {
	l := &lateSA{gone: gone}
	p.late = append(p.late, l)
	p.engine.timers.Set(&l.over, until, func() { p.end(l) })
}

func (p *peer) end(l *lateSA) {
	p.late = slices.DeleteFunc(p.late, func(other *lateSA) bool { return other == l })
	p.engine.timers.Stop(&l.over)
	p.engine.effect(l.gone)
}

func (p *peer) endAll(reason Reason) {
	p.engine.timers.Stop(&p.retry)
	for _, s := range p.slots {
		s.wanted = false
		p.engine.timers.Stop(&s.retry)
	}
	for _, sa := range slices.Clone(p.sas) {
		sa.terminate(reason)
	}
}

// failed notes that a negotiation failed and sets the pause before the next: doubled each time, with jitter so that both ends do not meet again.
// It returns when that next one begins, the zero time if none does by itself.
func (p *peer) failed(sa *ikeSA, reason Reason, detail string) time.Time {
	p.noteFailure(sa, RoleInitiator, reason, detail)
	p.comeBack()
	p.countFailure(reason)
	p.wait(&p.retry, p.failures+p.silences)
	for _, s := range p.slots {
		s.wanted = false // a packet that still waits will ask again
	}
	if p.down || p.retired || !p.alwaysUp() {
		return time.Time{}
	}
	return p.retry.When()
}

// noteFailure remembers the last failure of what this side of the peer began, for Snapshot.
func (p *peer) noteFailure(sa *ikeSA, role Role, reason Reason, detail string) {
	p.failure[role] = Failure{Reason: reason, Detail: detail, At: p.engine.now, Attempt: sa.keep(role)}
}

// nextAttempt is when the first of the children that are kept up is negotiated again, the zero time if none waits for that.
func (p *peer) nextAttempt() time.Time {
	var first time.Time
	for _, s := range p.slots {
		if at := s.nextAttempt(); s.live() == nil && !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// wait sets a retry timer for the given number of failures in a row.
func (p *peer) wait(t *deadline.Timer, failures int) {
	e := p.engine
	delay := e.limits.RetryMin << min(max(failures-1, 0), longestPause)
	e.timers.Set(t, e.now.Add(e.jitter(min(delay, e.limits.RetryMax), retryJitter)), p.touch)
}

const retryJitter = 0.5

// longestPause is as many failures as count: the pause is RetryMax long before.
const longestPause = 16

// pause keeps the peer from being called for the least of those times.
func (p *peer) pause() { p.wait(&p.retry, 1) }

func (p *peer) succeeded() {
	p.failures, p.silences, p.silent = 0, 0, false
	p.engine.timers.Stop(&p.retry)
}

// lost takes note that an IKE SA is closed.
func (p *peer) lost(sa *ikeSA) {
	p.sas = slices.DeleteFunc(p.sas, func(other *ikeSA) bool { return other == sa })
	if sa.mobike.on {
		p.engine.rehome(p, path{sa.local.Addr(), sa.remote.Addr()})
	}
	if len(p.sas) == 0 && !sa.established.IsZero() {
		p.since = p.engine.now
	}
	if !sa.established.IsZero() && p.carrier() == nil && !p.retry.Pending() && !p.retired {
		p.pause()
	}
	if len(p.sas) == 0 {
		p.engine.dismiss(p)
	}
	p.touch()
}
