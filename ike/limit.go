package ike

import (
	"slices"
	"time"

	"sallyport/ike/internal/admission"
)

// limit sets other limits, nil: none.
func (e *Engine) limit(limits *Limits) {
	if limits == nil {
		return
	}
	e.limits = limits.Complete()
	e.ledger.Limit(e.limits)
	e.strangers.Limit(e.limits)
	e.limitRates()
	for _, list := range [][]*peer{e.peers, e.strangers.peers, e.strangers.templates} {
		for _, p := range list {
			p.limitRates()
		}
	}
}

func (e *Engine) limitRates() {
	e.replies.Limit(e.limits.UnprotectedReplies, 0)
	e.unproven.Limit(e.limits.CookieThreshold, 0)
}

func (p *peer) limitRates() {
	limits := &p.engine.limits
	p.proven.Limit(limits.ProvenInits, limits.HalfOpenPerAddress)
	p.requests.Limit(limits.Requests, requestBurst)
}

// accountOf is that of the peer whom something refused is about, or in whose name it came.
func (e *Engine) accountOf(f Fact) *Account {
	if p := e.byName[f.Peer]; p != nil {
		return &p.account
	}
	if there := e.byPath[path{f.Local.Addr(), f.Remote.Addr()}]; f.Peer == "" && len(there) > 0 {
		return &there[0].account
	}
	return nil
}

// towardCookies is what there is of what has a cookie demanded: half-open IKE SAs, or first messages in a second, whichever are more.
func (e *Engine) towardCookies(now time.Time) admission.Gauge {
	halfOpen, _, _ := e.halfOpen.Gauges()
	messages := e.unproven.Gauge(now)
	return admission.Gauge{Now: max(halfOpen.Now, messages.Now), Most: max(halfOpen.Most, messages.Most)}
}

// mosts are the most there ever were of what is counted elsewhere.
type mosts struct{ onIKE, ofRule, checks, peerChecks, fragments int }

// LimitUses are the limits that IKEv2 has for itself.
func (e *Engine) LimitUses(now time.Time) []LimitUse {
	u := NewUses(V2, now, e.limits, e.ledger)
	u.HalfOpen(&e.halfOpen)
	u.AddRate(LimitCookieThreshold, e.limits.CookieThreshold, e.towardCookies(now), false)
	u.Strangers(&e.strangers.Strangers)
	var peers []PeerUse
	onIKE, ofRule, checks := 0, 0, 0
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		peers = append(peers, PeerUse{Name: p.cfg.Name, At: p.cfg.Remote, Account: &p.account, Rate: &p.proven, Requests: &p.requests, Moves: &p.moves})
		for _, s := range p.slots {
			ofRule = max(ofRule, len(s.children))
		}
		for _, sa := range p.sas {
			onIKE = max(onIKE, len(sa.children))
		}
		checks = max(checks, e.checks.byPeer[p])
	}
	u.Peers(peers, &e.strangers.Strangers, &e.halfOpen)
	u.Add(LimitChildrenPerIKE, e.limits.ChildrenPerIKE, admission.Gauge{Now: onIKE, Most: e.most.onIKE}, true)
	u.Add(LimitChildrenPerRule, e.limits.ChildrenPerChild, admission.Gauge{Now: ofRule, Most: e.most.ofRule}, true)
	u.Add(LimitChecks, e.limits.Checks, admission.Gauge{Now: e.checks.byRole[RoleResponder], Most: e.most.checks}, false)
	u.Add(LimitChecksPerPeer, e.limits.ChecksPerPeer, admission.Gauge{Now: checks, Most: e.most.peerChecks}, true)
	u.Add(LimitFragmentKB, e.limits.FragmentOctetsAll>>10, admission.Gauge{Now: e.queued >> 10, Most: e.most.fragments >> 10}, false)
	u.AddRate(LimitUnprotectedReplies, e.limits.UnprotectedReplies, e.replies.Gauge(now), false)
	return u.List
}
