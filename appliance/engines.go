package appliance

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/ikev1"
)

// engine is IKE of one version: package ike or package ikev1.
type engine interface {
	Step(now time.Time, event ike.Event) []ike.Effect
	Snapshot() []ike.SAInfo
	NotBefore(peer, child string) time.Time
	Carries(peer string) bool
	Begins(peer string) bool
	Retired() int
	LimitUses(now time.Time) []ike.LimitUse
}

// The engines by what their versions are called in effects: their place in engines.by.
const (
	byV2 = iota
	byV1
	versions // how many there are
)

// engines is IKE of both versions as if it were one engine. Which of them has to do with an event:
//
//	a datagram               that of the major version in its header, if a peer at its addresses speaks that; the other hears of it (ike.Heard)
//	a peer of one version    that one
//	a peer of both           that of IKEv1 while it carries the peer, or begins with it after IKEv2 has met silence; else that of IKEv2
//	a dynamic peer           the one that has let it in
//	an SPI                   both: SPIs are the data plane's, so only one of them knows it
//	certificates             the one that has asked
//	time, configuration      both
//
// With a peer of both versions, and with dynamic peers, each engine hears when the other has it (ike.Carried).
type engines struct {
	by    [versions]engine
	armed [versions]time.Time // what each has asked for
	next  time.Time           // the earlier of the two

	spoken  map[string]ike.Version        // by each peer of the configuration
	at      map[pathOf][versions]bool     // which versions are spoken between two addresses
	from    map[netip.Addr][versions]bool // the same by the peer's alone
	place   map[string]int                // of peers in the configuration
	carried map[string][versions]bool     // of peers of both versions: who has them, as the other engine knows
	dynamic map[string]int                // who has let in each dynamic peer
	ledger  *ike.Ledger                   // of both
	wishes  map[string][]wish             // of peers of both with fallback: what IKEv2 is asked for, and IKEv1 after it
}

// pathOf is what a datagram tells of a peer before it is read.
type pathOf struct{ local, remote netip.Addr }

func newEngines(cfg ike.Config) *engines {
	cfg.Ledger = ike.NewLedger(cfg.Limits)
	e := &engines{ledger: cfg.Ledger, by: [versions]engine{byV2: ike.NewEngine(cfg), byV1: ikev1.NewEngine(cfg)}, dynamic: map[string]int{}}
	e.learn(cfg.Peers)
	return e
}

// learn notes which versions are spoken with whom, and where.
func (e *engines) learn(peers []ike.Peer) {
	e.spoken, e.at, e.place, e.carried = map[string]ike.Version{}, map[pathOf][versions]bool{}, map[string]int{}, map[string][versions]bool{}
	e.from = map[netip.Addr][versions]bool{}
	wishes := map[string][]wish{}
	for i, p := range peers {
		path := pathOf{p.Local, p.Remote}
		e.at[path], e.from[p.Remote] = speaks(e.at[path], p), speaks(e.from[p.Remote], p)
		e.spoken[p.Name], e.place[p.Name] = p.Version, i
		if p.Version == ike.VAny {
			e.carried[p.Name] = [versions]bool{}
		}
		if p.Version == ike.VAny && p.Fallback {
			wishes[p.Name] = e.wishes[p.Name]
		}
	}
	e.wishes = wishes
}

// speaks adds the versions that a peer speaks.
func speaks(at [versions]bool, p ike.Peer) [versions]bool {
	return [versions]bool{byV2: at[byV2] || p.Version != ike.V1, byV1: at[byV1] || p.Version != ike.V2}
}

// Step gives an event to whom it concerns. One Arm is for both.
func (e *engines) Step(now time.Time, event ike.Event) (effects []ike.Effect) {
	switch ev := event.(type) {
	case ike.Datagram:
		of := e.ofDatagram(ev)
		if from := ev.Remote.Addr().Unmap(); e.from[from][versions-1-of] {
			effects = e.step(now, versions-1-of, ike.Heard{From: from})
		}
		effects = append(effects, e.step(now, of, ev)...)
	case ike.Initiate:
		effects = e.ask(now, ev.Peer, ev.Child, ev)
	case ike.Acquire:
		effects = e.ask(now, ev.Peer, ev.Child, ev)
	case ike.Rekey:
		effects = e.step(now, e.ofPeer(ev.Peer), ev)
	case ike.Reauthenticate:
		effects = e.step(now, e.ofPeer(ev.Peer), ev)
	case ike.CertificatesChecked:
		var of int
		of, ev.Ticket = int(ev.Ticket%versions), ev.Ticket/versions
		effects = e.step(now, of, ev)
	case ike.Reconfigure:
		e.learn(ev.Peers)
		effects = e.both(now, ev)
		for _, p := range ev.Peers {
			effects = append(effects, e.notice(now, byV1, p.Name)...) // what it has may be older than that it is a peer of both
			effects = append(effects, e.notice(now, byV2, p.Name)...)
		}
	default:
		effects = e.both(now, ev)
	}
	return e.rearm(effects)
}

func (e *engines) both(now time.Time, event ike.Event) (effects []ike.Effect) {
	for of := range e.by {
		effects = append(effects, e.step(now, of, event)...)
	}
	return effects
}

// step steps one engine, and then the other where that has to hear what has become of a peer of both.
func (e *engines) step(now time.Time, of int, event ike.Event) (effects []ike.Effect) {
	var told []string
	var dynamic []ike.Carried
	var silent []string
	for _, effect := range e.by[of].Step(now, event) {
		switch ef := effect.(type) {
		case ike.Arm:
			e.armed[of] = ef.At
			continue
		case ike.CheckCertificates:
			ef.Ticket = ef.Ticket*versions + uint64(of)
			effect = ef
		case ike.AddPeer:
			e.dynamic[ef.Peer] = of
			dynamic = append(dynamic, ike.Carried{Peer: ef.Peer, On: true})
		case ike.RemovePeer:
			delete(e.dynamic, ef.Peer)
			dynamic = append(dynamic, ike.Carried{Peer: ef.Peer})
		case ike.Fact:
			told = append(told, ef.Peer)
			if e.halfSilent(of, &ef) {
				silent, effect = append(silent, ef.Peer), ef
			}
		}
		effects = append(effects, effect)
	}
	for _, ev := range dynamic {
		effects = append(effects, e.step(now, versions-1-of, ev)...)
	}
	for _, peer := range told {
		effects = append(effects, e.notice(now, of, peer)...)
	}
	for _, peer := range silent {
		effects = append(effects, e.lastTry(now, peer)...)
	}
	return effects
}

// notice tells the other engine when one has a peer of both, or has it no longer.
func (e *engines) notice(now time.Time, of int, peer string) []ike.Effect {
	has, both := e.carried[peer]
	if !both || has[of] == e.by[of].Carries(peer) {
		return nil
	}
	has[of] = !has[of]
	e.carried[peer] = has
	return e.step(now, versions-1-of, ike.Carried{Peer: peer, On: has[of]})
}

// rearm adds when the next tick is due, if that is news.
func (e *engines) rearm(effects []ike.Effect) []ike.Effect {
	next := e.armed[byV2]
	if at := e.armed[byV1]; next.IsZero() || !at.IsZero() && at.Before(next) {
		next = at
	}
	if next.Equal(e.next) {
		return effects
	}
	e.next = next
	return append(effects, ike.Arm{At: next})
}

// versionAt is where the version stands in a header of either (RFC 2408 3.1, RFC 7296 3.1): major in the upper four bits.
const versionAt = 17

// ofDatagram is the engine of a datagram's version. Where all peers at its addresses speak the other, that one counts it as theirs, so that the peer's
// failure is told in its own place; and whatever is of neither version is dropped by that of IKEv2.
func (e *engines) ofDatagram(d ike.Datagram) int {
	of := byV2
	if len(d.Payload) > versionAt && d.Payload[versionAt]>>4 == 1 {
		of = byV1
	}
	if at := e.at[pathOf{d.Local.Addr().Unmap(), d.Remote.Addr().Unmap()}]; !at[of] && at[versions-1-of] {
		return versions - 1 - of
	}
	return of
}

// ofPeer is the engine that begins what there is to begin with a peer.
func (e *engines) ofPeer(name string) int {
	if e.spoken[name] == ike.V1 || e.carried[name][byV1] || e.dynamic[name] == byV1 || e.triesLast(name) {
		return byV1
	}
	return byV2
}

// NotBefore is that of the engine which would begin.
func (e *engines) NotBefore(peer, child string) time.Time {
	return e.by[e.ofPeer(peer)].NotBefore(peer, child)
}

// Retired is that of both together.
func (e *engines) Retired() (n int) {
	for _, engine := range e.by {
		n += engine.Retired()
	}
	return n
}

// Snapshot is that of both, in the order of the configuration. Of a peer of both that has no IKE SA only what its next engine says is there.
func (e *engines) Snapshot() (list []ike.SAInfo) {
	for of, engine := range e.by {
		for _, info := range engine.Snapshot() {
			empty := info.SPIi == 0 && len(info.Children) == 0
			if _, both := e.carried[info.Peer]; both && empty && e.ofPeer(info.Peer) != of {
				continue
			}
			list = append(list, info)
		}
	}
	slices.SortStableFunc(list, func(a, b ike.SAInfo) int { return e.placeOf(a.Peer) - e.placeOf(b.Peer) })
	return list
}

// LimitUses are the limits of both together, and then those that each has for itself.
func (e *engines) LimitUses(now time.Time) []ike.LimitUse {
	list := e.ledger.LimitUses(now)
	for _, engine := range e.by {
		list = append(list, engine.LimitUses(now)...)
	}
	return list
}

// placeOf is behind the configuration for a dynamic peer.
func (e *engines) placeOf(peer string) int {
	if i, configured := e.place[peer]; configured {
		return i
	}
	return len(e.place)
}
