package ikev1

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/policy"
)

// peer is a configured peer with what it has: ISAKMP SAs and, by child, pairs of IPsec SAs.
type peer struct {
	engine  *Engine
	cfg     ike.Peer
	accepts string // its IKE proposals as keywords, and its authentication method: equal ones are equal
	slots   []*slot
	sas     []*isakmpSA // those we began and those that are established, in that order
	untold  []*childSA  // deleted a moment ago: the peer may have missed it

	computations admission.Bucket // Diffie-Hellman in main modes that it began, of all peers of its path if it is the first of them
	requests     admission.Bucket // quick modes that it began
	exchanges    admission.Bucket // of them, those with a Diffie-Hellman exchange of their own
	deletes      admission.Bucket // messages with deletes of what is not there
	moves        admission.Bucket // changes of its address that are told

	account ike.Account
	known   bool // it has authenticated since it was configured

	down    bool // by the operator: nothing is begun from here
	retired bool // no longer configured
	carried bool // by IKEv2 (ike.VAny): main modes of the peer are refused
	touched bool // waits for pursue at the end of the Step

	template *peer          // of a dynamic peer: by which it is let in
	welcomed bool           // it has been, and is known by its name
	empty    deadline.Timer // it has no pair, and ends then

	late []*lateSA

	at     netip.Addr // where it has moved
	placed []path     // where it is found

	since    time.Time // it has no ISAKMP SA, or was taken down
	failures int       // in a row
	silent   bool      // the last main mode of ours has met silence
	lastTry  bool      // IKEv2 has met silence, and main mode may follow now (ike.VAny)
	brief    int       // ISAKMP SAs in a row that the peer ended soon
	retry    deadline.Timer

	hearsay ike.Failure // the last one of what somebody began who has not shown to be where the peer is

	opening []byte // message 1 of the main mode by which the last peer of its path was let in, if it is the first of them

	failure                 map[ike.Role]ike.Failure // the last one of what we began, and of what the peer began
	starts, resent, repeats uint64                   // main modes begun, messages sent again, messages received again
}

// lateSA is an inbound SA that has been deleted and still takes what is on its way.
type lateSA struct {
	over deadline.Timer
	gone ike.Effect // what ends it
}

// requestBurst is how many quick modes an authenticated peer may begin before Limits.Requests holds it back, and exchangeBurst how many of them with perfect
// forward secrecy: each of those takes the engine, which is there for all peers, a millisecond and more.
const (
	requestBurst  = 1024
	exchangeBurst = 128
)

func newPeer(e *Engine, cfg ike.Peer) *peer {
	p := &peer{engine: e, cfg: cfg, failure: map[ike.Role]ike.Failure{}, moves: ike.Moves()}
	p.limitRates()
	p.accepts = describeTerms(&p.cfg)
	for _, c := range p.cfg.Children {
		p.slots = append(p.slots, &slot{peer: p, cfg: c})
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
	p.linger()
	p.left()
	if p.down || p.retired {
		return
	}
	if sa := p.carrier(); sa != nil && sa.due {
		p.renew() // again, when it has failed
	}
	for _, s := range p.slots {
		s.resumes()
		if !s.needed() {
			continue
		}
		sa := p.carrier()
		if sa == nil || sa.spent() {
			p.renew() // what comes of it comes back here
			return
		}
		if !s.leaves(sa) {
			newQuickInitiator(sa, s)
		}
	}
}

// renew begins an ISAKMP SA, unless one of ours is coming, a pause is due, or the peer is one whom IKEv1 is not begun with.
func (p *peer) renew() {
	coming := slices.ContainsFunc(p.sas, func(sa *isakmpSA) bool { return sa.state < stateEstablished })
	if coming || p.down || p.retired || p.retry.Pending() || !p.calls() && p.carrier() == nil {
		return
	}
	newInitiator(p)
}

// carrier is the ISAKMP SA for new exchanges, the youngest established one, or nil.
func (p *peer) carrier() *isakmpSA {
	for _, sa := range slices.Backward(p.sas) {
		if sa.state == stateEstablished {
			return sa
		}
	}
	return nil
}

// inUse reports whether another ISAKMP SA is worth its while.
func (p *peer) inUse() bool {
	return slices.ContainsFunc(p.slots, func(s *slot) bool { return s.cfg.Start == ike.StartAlways || len(s.children) > 0 })
}

func (p *peer) slot(name string) *slot {
	if i := slices.IndexFunc(p.slots, func(s *slot) bool { return s.cfg.Name == name }); i >= 0 {
		return p.slots[i]
	}
	return nil
}

// children are those of all slots, oldest first within each.
func (p *peer) children() (list []*childSA) {
	for _, s := range p.slots {
		list = append(list, s.children...)
	}
	return list
}

// initiate is the operator's wish to have a child up now, whatever failed before. A main mode that goes unanswered behind its first message begins
// anew: nobody says that he has forgotten it, so that it would go on for minutes.
func (p *peer) initiate(child string) {
	p.down = false
	for _, sa := range slices.Clone(p.sas) {
		if sa.role == ike.RoleInitiator && sa.state > stateProposing && sa.state < stateEstablished && sa.main.tries > doubtful {
			sa.close(ike.DeletedByOperator)
		}
	}
	p.engine.timers.Stop(&p.retry)
	for _, s := range p.slots {
		if child == "" || s.cfg.Name == child {
			s.wanted, s.down = true, false
			p.engine.timers.Stop(&s.retry)
		}
	}
	p.touch()
}

// carry ends what there is with a peer that IKEv2 has taken over.
func (p *peer) carry(on bool) {
	if p.carried = on && p.cfg.Version == ike.VAny; !p.carried {
		return
	}
	for _, c := range p.children() {
		c.delete(ike.DeletedReauth)
	}
	for _, sa := range slices.Clone(p.sas) {
		sa.delete(ike.DeletedReauth)
	}
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
		p.renew()
		return
	}
	if s := p.slot(child); s != nil && s.live() != nil {
		s.live().rekey()
	}
}

func (p *peer) terminate(child string) {
	if child == "" {
		p.down, p.since = true, p.engine.now
		p.endAll(ike.DeletedByOperator)
		return
	}
	if s := p.slot(child); s != nil {
		s.end(ike.DeletedByOperator)
	}
}

// retire ends all that belongs to a peer that is no longer configured, or is somebody else now. It is not trusted to heed the deletes: nothing is taken from
// it any more.
func (p *peer) retire() {
	p.retired = true
	for _, s := range p.slots {
		s.retired = true
	}
	p.endAll(ike.DeletedReconfig)
	for _, sa := range p.engine.sas {
		if sa.peer == nil && slices.Contains(sa.among, p) {
			sa.close(ike.DeletedReconfig) // main mode with whoever it was then
		}
	}
	for _, l := range slices.Clone(p.late) {
		p.end(l)
	}
}

// outlast has an inbound SA take packets until then.
func (p *peer) outlast(until time.Time, gone ike.Effect) {
	l := &lateSA{gone: gone}
	p.late = append(p.late, l)
	p.engine.timers.Set(&l.over, until, func() { p.end(l) })
}

func (p *peer) end(l *lateSA) {
	p.late = forget(p.late, l)
	p.engine.timers.Stop(&l.over)
	p.engine.effect(l.gone)
}

// endAll deletes the IPsec SAs first: the ISAKMP SA has to say so.
func (p *peer) endAll(reason ike.Reason) {
	p.engine.timers.Stop(&p.retry)
	for _, s := range p.slots {
		s.wanted = false
		p.engine.timers.Stop(&s.retry)
	}
	for _, c := range p.children() {
		c.delete(reason)
	}
	for _, sa := range slices.Clone(p.sas) {
		sa.delete(reason)
	}
}

// startsOver ends what there was when a main mode began whose messages 5 or 6 say that the peer has nothing else (RFC 2407 4.6.3.3). What has begun since
// may be in the peer's hands: message 5 waits for message 4, and may come late.
func (p *peer) startsOver(with *isakmpSA) {
	for _, c := range p.children() {
		if c.begunIn < with.begunIn {
			c.remove(ike.DeletedInitial, 0)
		}
	}
	for _, sa := range slices.Clone(p.sas) {
		if sa.state >= stateEstablished && sa.upIn < with.begunIn {
			sa.close(ike.DeletedInitial)
		}
	}
	p.comeBack()
}

// fresh reports whether there is nothing with the peer but this ISAKMP SA, as far as either end can know: then we say INITIAL-CONTACT in it. To a peer
// that has our message 5 another one is established.
func (p *peer) fresh(sa *isakmpSA) bool {
	return len(p.children()) == 0 && !slices.ContainsFunc(p.sas, func(other *isakmpSA) bool { return other != sa && other.state >= stateProving })
}

// dead ends all that there is with a peer that no longer answers.
func (p *peer) dead() {
	for _, c := range p.children() {
		c.remove(ike.DeletedDead, 0)
	}
	for _, sa := range slices.Clone(p.sas) {
		sa.close(ike.DeletedDead)
	}
}

// failed notes that a main mode failed and sets the pause before the next: doubled each time, with jitter so that both ends do not meet again. It returns
// when that next one begins, the zero time if none does by itself.
func (p *peer) failed(reason ike.Reason, detail string, attempt *ike.Attempt) time.Time {
	p.noteFailure(ike.RoleInitiator, reason, detail, attempt)
	p.failures, p.silent = p.failures+1, reason == ike.FailSilent
	p.wait(&p.retry, p.failures)
	for _, s := range p.slots {
		s.wanted = false // a packet that still waits will ask again
	}
	if p.down || p.retired || p.cfg.Version != ike.V1 || !slices.ContainsFunc(p.slots, (*slot).keptUp) {
		return time.Time{}
	}
	return p.retry.When()
}

// noteFailure remembers the last failure of what this side of the peer began, for Snapshot.
func (p *peer) noteFailure(role ike.Role, reason ike.Reason, detail string, attempt *ike.Attempt) {
	p.failure[role] = ike.Failure{Reason: reason, Detail: detail, At: p.engine.now, Attempt: attempt}
}

// noteAmong remembers the failure of a main mode that a peer began at all whom it may have been with. Of one that has come no further than message 1 the peer
// need not know anything.
func (sa *isakmpSA) noteAmong(reason ike.Reason, detail string, attempt *ike.Attempt) {
	for _, p := range sa.among {
		if sa.state != stateHalfOpen {
			p.noteFailure(ike.RoleResponder, reason, detail, attempt)
			continue
		}
		p.hearsay = ike.Failure{Reason: reason, Detail: detail, At: p.engine.now, Attempt: attempt}
	}
}

// peerFailure is the last failure of what the peer began. What anybody may have begun does not hide one of which that is not so.
func (p *peer) peerFailure() ike.Failure {
	if certain := p.failure[ike.RoleResponder]; p.hearsay.At.Sub(certain.At) <= hearsayTime {
		return certain
	}
	return p.hearsay
}

// hearsayTime is how much later than a failure one in the peer's name takes its place.
const hearsayTime = 10 * time.Minute

// wait sets a retry timer for the given number of failures in a row.
func (p *peer) wait(t *deadline.Timer, failures int) {
	e := p.engine
	delay := e.limits.RetryMin << min(max(failures-1, 0), longestPause)
	e.timers.Set(t, e.now.Add(e.jitter(min(delay, e.limits.RetryMax), retryJitter)), p.touch)
}

// endedAfter counts SAs in a row that the peer ended sooner than after the longest pause between tries, with the one that it ends now.
func (p *peer) endedAfter(established time.Time, before int) int {
	if p.engine.now.Sub(established) >= p.engine.limits.RetryMax {
		return 1
	}
	return before + 1
}

const retryJitter = 0.5

// longestPause is as many failures as count: the pause is RetryMax long before.
const longestPause = 16

func (p *peer) succeeded() {
	p.failures, p.silent = 0, false
	p.engine.timers.Stop(&p.retry)
}

// lost takes note that an ISAKMP SA is closed.
func (p *peer) lost(sa *isakmpSA) {
	p.sas = forget(p.sas, sa)
	if len(p.sas) == 0 && !sa.established.IsZero() {
		p.since = p.engine.now
	}
	p.touch()
}

// describeTerms are what main mode with a peer may choose: equal ones of equal peers.
func describeTerms(p *ike.Peer) string {
	methods, _ := authMethods(p) // none: nothing is chosen with it
	return fmt.Sprint(methods, describeProposals(p.IKEProposals))
}

// describeProposals are proposals in the words of the configuration.
func describeProposals(proposals []crypto.Proposal) string {
	var list []string
	for _, proposal := range proposals {
		list = append(list, proposal.String())
	}
	return strings.Join(list, ", ")
}
