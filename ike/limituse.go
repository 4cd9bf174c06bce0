package ike

import (
	"net/netip"
	"time"

	"sallyport/ike/internal/admission"
)

// LimitUse is a limit, what there is now of what it limits, the most there ever was, and how often it has refused something.
type LimitUse struct {
	Name      string // its key in ike.limits of the configuration, but for LimitMoves, which cannot be set, and LimitQuickModes, which a rule sets
	Version   int    // 1 or 2 where each version of IKE has the limit for itself; 0: both have it together
	PerSecond bool
	Each      bool   // for each peer, address, prefix or port by itself: Used and Most are of the one that has the most
	Peer      string // whose; empty: all peers'
	Limit     int
	Used      int
	Most      int
	Refused   uint64
}

// Names of limits.
const (
	LimitHalfOpen           = "half_open"
	LimitHalfOpenPerAddress = "half_open_per_address"
	LimitHalfOpenPerPort    = "half_open_per_port"
	LimitCookieThreshold    = "cookie_threshold"
	LimitRate               = "rate"
	LimitRatePerPrefix      = "rate_per_prefix"
	LimitRatePerAddress     = "rate_per_address"
	LimitRateOfStrangers    = "rate_of_strangers"
	LimitEstablished        = "max_established"
	LimitEstablishedPerPeer = "max_established_per_peer"
	LimitChildren           = "max_children"
	LimitChildrenPerPeer    = "max_children_per_peer"
	LimitChildrenPerIKE     = "max_children_per_ike_sa"
	LimitChildrenPerRule    = "max_children_per_rule"
	LimitRequestsPerPeer    = "requests_per_peer"
	LimitDynamicPeers       = "dynamic_peers"
	LimitChecks             = "certificate_checks"
	LimitChecksPerPeer      = "certificate_checks_per_peer"
	LimitFragmentKB         = "fragment_kb"
	LimitUnprotectedReplies = "replies_to_strangers"
	LimitMoves              = "moves"
	LimitQuickModes         = "child_limit"
)

// limitOf is which limit refuses something by a reason. Other reasons for Refused are no limits.
var limitOf = map[Reason]string{
	RefuseHalfOpen: LimitHalfOpen, RefuseNew: LimitHalfOpenPerAddress, RefuseEstablished: LimitHalfOpenPerPort, RefuseCookie: LimitCookieThreshold,
	RefuseInits: LimitRate, RefusePrefix: LimitRatePerPrefix, RefuseProven: LimitRatePerAddress, RefuseStrangers: LimitRateOfStrangers,
	RefuseAllIKESAs: LimitEstablished, RefuseIKESAs: LimitEstablishedPerPeer, RefuseAllChildren: LimitChildren, RefusePeerChildren: LimitChildrenPerPeer,
	RefuseIKEChildren: LimitChildrenPerIKE, RefuseChildren: LimitChildrenPerRule, RefuseRequests: LimitRequestsPerPeer, RefuseDynamic: LimitDynamicPeers,
	RefuseChecks: LimitChecks, RefusePeerChecks: LimitChecksPerPeer, RefuseFragments: LimitFragmentKB, RefuseRate: LimitUnprotectedReplies,
	RefuseMoves: LimitMoves, RefuseSpent: LimitQuickModes,
}

// LimitOf is the name of the limit that refuses something by a reason, "" where no limit does.
func LimitOf(reason Reason) string { return limitOf[reason] }

// OfChildren says whose Child SAs a limit is about, for people.
func OfChildren(limit Reason, child string) string {
	switch limit {
	case RefusePeerChildren:
		return "with this peer"
	case RefuseAllChildren:
		return "with all peers"
	}
	return "for child " + child
}

// Uses collects what there is of what is limited, for the engine of one version.
type Uses struct {
	List []LimitUse

	version Version
	now     time.Time
	limits  Limits
	refused func(limit string) uint64
}

// NewUses begins a list.
func NewUses(v Version, now time.Time, limits Limits, l *Ledger) Uses {
	return Uses{version: v, now: now, limits: limits, refused: func(limit string) uint64 { return sumOf(l.refused[v], limit) }}
}

func sumOf(refused map[Reason]uint64, limit string) (sum uint64) {
	for reason, n := range refused {
		if limitOf[reason] == limit {
			sum += n
		}
	}
	return sum
}

// Add adds a limit in all; of one for each of something the gauge is of that which has the most.
func (u *Uses) Add(name string, limit int, g admission.Gauge, each bool) {
	u.List = append(u.List, LimitUse{Name: name, Version: u.version.Number(), Each: each, Limit: limit, Used: g.Now, Most: g.Most, Refused: u.refused(name)})
}

// AddRate is Add of what may happen so often a second.
func (u *Uses) AddRate(name string, limit int, g admission.Gauge, each bool) {
	u.Add(name, limit, g, each)
	u.List[len(u.List)-1].PerSecond = true
}

// HalfOpen adds the limits of half-open IKE SAs.
func (u *Uses) HalfOpen(h *admission.HalfOpen) {
	total, address, port := h.Gauges()
	u.Add(LimitHalfOpen, u.limits.HalfOpen, total, false)
	u.Add(LimitHalfOpenPerAddress, u.limits.HalfOpenPerAddress, address, true)
	u.Add(LimitHalfOpenPerPort, u.limits.HalfOpenEstablished, port, true)
}

// Strangers adds the limits of those whom no peer of the configuration is.
func (u *Uses) Strangers(s *Strangers) {
	u.AddRate(LimitRateOfStrangers, u.limits.StrangerInits, s.inits.Gauge(u.now), false)
	u.Add(LimitDynamicPeers, u.limits.Dynamic, admission.Gauge{Now: len(s.met), Most: s.mostMet}, false)
}

// PeerUse is what one peer has.
type PeerUse struct {
	Name                  string
	At                    netip.Addr
	Account               *Account
	Rate, Requests, Moves *admission.Bucket
}

// Peers adds the limits of each peer: a row of the one that has the most, and one for each that has something or had.
func (u *Uses) Peers(peers []PeerUse, strangers *Strangers, h *admission.HalfOpen) {
	none := func(PeerUse) admission.Gauge { return admission.Gauge{} }
	for _, r := range []struct {
		name  string
		limit int
		rate  bool
		of    func(PeerUse) admission.Gauge
		added bool // the row of all, by HalfOpen
	}{
		{LimitEstablishedPerPeer, u.limits.IKEPerPeer, false, func(p PeerUse) admission.Gauge { return p.Account.Established }, false},
		{LimitChildrenPerPeer, u.limits.ChildrenPerPeer, false, func(p PeerUse) admission.Gauge { return p.Account.Children }, false},
		{LimitRatePerAddress, u.limits.ProvenInits, true, func(p PeerUse) admission.Gauge { return p.Rate.Gauge(u.now) }, false},
		{LimitRequestsPerPeer, u.limits.Requests, true, func(p PeerUse) admission.Gauge { return p.Requests.Gauge(u.now) }, false},
		{LimitMoves, Moves().PerSecond, true, func(p PeerUse) admission.Gauge { return p.Moves.Gauge(u.now) }, false},
		{LimitHalfOpenPerAddress, u.limits.HalfOpenPerAddress, false, func(p PeerUse) admission.Gauge { return admission.Gauge{Now: h.OfAddress(p.At)} }, true},
		{LimitHalfOpenPerPort, u.limits.HalfOpenEstablished, false, none, true},
		{LimitCookieThreshold, u.limits.CookieThreshold, true, none, true}, // demanded in the peer's name
	} {
		var most admission.Gauge
		if r.name == LimitRatePerAddress {
			most = strangers.asking.Gauge(u.now)
		}
		for _, p := range peers {
			g, refused := r.of(p), sumOf(p.Account.refused, r.name)
			most.Now, most.Most = max(most.Now, g.Now), max(most.Most, g.Most)
			if g == (admission.Gauge{}) && refused == 0 {
				continue
			}
			u.List = append(u.List, LimitUse{Name: r.name, Version: u.version.Number(), Each: r.name != LimitCookieThreshold, PerSecond: r.rate, Peer: p.Name, Limit: r.limit, Used: g.Now, Most: max(g.Now, g.Most), Refused: refused})
		}
		switch {
		case r.added:
		case r.rate:
			u.AddRate(r.name, r.limit, most, true)
		default:
			u.Add(r.name, r.limit, most, true)
		}
	}
}

// LimitUses are the limits that both versions have together.
func (l *Ledger) LimitUses(now time.Time) (list []LimitUse) {
	add := func(name string, limit int, g admission.Gauge) {
		u := LimitUse{Name: name, Limit: limit, Used: g.Now, Most: g.Most}
		for _, refused := range l.refused {
			u.Refused += sumOf(refused, name)
		}
		list = append(list, u)
	}
	add(LimitEstablished, l.limits.Established, l.established)
	add(LimitChildren, l.limits.Children, l.children)
	add(LimitRate, l.limits.Inits, l.firsts.Gauge(now))
	list[2].PerSecond = true
	configured, strangers := l.prefixes[0].Gauge(now), l.prefixes[1].Gauge(now)
	add(LimitRatePerPrefix, l.limits.InitsPerPrefix, admission.Gauge{Now: max(configured.Now, strangers.Now), Most: max(configured.Most, strangers.Most)})
	list[3].PerSecond, list[3].Each = true, true
	return list
}
