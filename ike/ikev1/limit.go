package ikev1

import (
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/isakmp"
)

// limit sets other limits, nil: none.
func (e *Engine) limit(limits *ike.Limits) {
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
	e.novel.Limit(mostNovel, 0)
	e.replies.Limit(e.limits.UnprotectedReplies, 0)
	e.room.each, e.room.all = e.limits.FragmentOctets, e.limits.FragmentOctetsAll
}

func (p *peer) limitRates() {
	limits := &p.engine.limits
	p.computations.Limit(limits.ProvenInits, limits.HalfOpenPerAddress)
	p.requests.Limit(limits.Requests, requestBurst)
	p.exchanges.Limit(limits.Requests, exchangeBurst)
	p.deletes.Limit(limits.Requests, requestBurst)
}

// accountOf is that of the peer whom something refused is about, or in whose name it came.
func (e *Engine) accountOf(f ike.Fact) *ike.Account {
	if p := e.byName[f.Peer]; p != nil {
		return &p.account
	}
	if there := e.byPath[path{f.Local.Addr(), f.Remote.Addr()}]; f.Peer == "" && len(there) > 0 {
		return &there[0].account
	}
	return nil
}

// full refuses a peer another ISAKMP SA that it has made with message m. In all there may be as many as the limit says, unless the peer says that those it has are gone.
func (p *peer) full(sa *isakmpSA, m *message) error {
	e := p.engine
	f := sa.fact(ike.Refused)
	var err error
	switch anew := len(p.sas) > 0 && isakmp.FindNotify(m.Payloads, isakmp.NotifyInitialContact) != nil; {
	case len(p.sas) >= e.limits.IKEPerPeer:
		f.Reason, err = ike.RefuseIKESAs, failf(ike.FailNoAdditionalSAs, "%d ISAKMP SAs with this peer, that is the limit", len(p.sas))
	case !anew && p.carrier() == nil && e.ledger.FullOfIKESAs():
		f.Reason, err = ike.RefuseAllIKESAs, failf(ike.FailNoAdditionalSAs, "%d IKE SAs with all peers, that is the limit", e.limits.Established)
	default:
		return nil
	}
	e.fact(f)
	return err
}

// mosts are the most there ever were of what is counted elsewhere.
type mosts struct{ ofRule, quickModes, checks, peerChecks int }

// LimitUses are the limits that IKEv1 has for itself.
func (e *Engine) LimitUses(now time.Time) []ike.LimitUse {
	u := ike.NewUses(ike.V1, now, e.limits, e.ledger)
	u.HalfOpen(&e.halfOpen)
	u.Strangers(&e.strangers.Strangers)
	var peers []ike.PeerUse
	ofRule, checks, byPeer := 0, 0, map[string]int{}
	quickModes, childLimit := 0, 0
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		peers = append(peers, ike.PeerUse{Name: p.cfg.Name, At: p.cfg.Remote, Account: &p.account, Rate: &p.computations, Requests: &p.requests, Moves: &p.moves})
		for _, s := range p.slots {
			ofRule = max(ofRule, len(s.children))
		}
		childLimit = max(childLimit, p.cfg.ChildLimit)
		for _, sa := range p.sas {
			quickModes = max(quickModes, sa.made)
		}
	}
	for _, q := range e.questions {
		if q.sa.role == ike.RoleResponder {
			checks++
			byPeer[q.peer.Name]++
		}
	}
	ofOne := 0
	for _, n := range byPeer {
		ofOne = max(ofOne, n)
	}
	u.Peers(peers, &e.strangers.Strangers, &e.halfOpen)
	u.Add(ike.LimitChildrenPerRule, e.limits.ChildrenPerChild, admission.Gauge{Now: ofRule, Most: e.most.ofRule}, true)
	u.Add(ike.LimitQuickModes, childLimit, admission.Gauge{Now: quickModes, Most: e.most.quickModes}, true)
	u.Add(ike.LimitChecks, e.limits.Checks, admission.Gauge{Now: checks, Most: e.most.checks}, false)
	u.Add(ike.LimitChecksPerPeer, e.limits.ChecksPerPeer, admission.Gauge{Now: ofOne, Most: e.most.peerChecks}, true)
	u.Add(ike.LimitFragmentKB, e.limits.FragmentOctetsAll>>10, admission.Gauge{Now: e.room.used >> 10, Most: e.room.most >> 10}, false)
	u.AddRate(ike.LimitUnprotectedReplies, e.limits.UnprotectedReplies, e.replies.Gauge(now), false)
	return u.List
}
