package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike/internal/admission"
)

// Strangers is what an engine knows of those at whose addresses no peer of the configuration is (S-009): the limits that they are held to, and which of them
// are dynamic peers, of this engine or of the other. It is for the engines of both versions.
type Strangers struct {
	limits     Limits
	configured map[netip.Addr]bool // addresses that are no stranger's, whichever IKE is spoken there
	names      []named             // and identities
	met        map[string]guest    // the dynamic peers of both engines, by name
	mostMet    int                 // there ever were
	halfOpen   int
	asking     admission.Networks // computations of Diffie-Hellman, for each network
	inits      admission.Bucket   // and for all strangers
}

// named is who a peer of the configuration is, and where.
type named struct {
	peer   string
	id     Identity
	remote netip.Addr
}

// guest is a dynamic peer.
type guest struct {
	local     netip.Addr
	id        Identity
	elsewhere bool // the other engine's
}

// maxAsking bounds the networks that are kept account of.
const maxAsking = 1024

// NewStrangers knows that nobody has come yet.
func NewStrangers(limits Limits, configured []Peer) Strangers {
	s := Strangers{limits: limits.Complete(), met: map[string]guest{}}
	s.asking.Most = maxAsking
	s.Limit(s.limits)
	s.Know(configured)
	return s
}

// Know takes note of who is no stranger: all peers, of either version.
func (s *Strangers) Know(configured []Peer) {
	s.configured, s.names = map[netip.Addr]bool{}, nil
	for _, p := range configured {
		p = p.withDefaults()
		s.configured[p.Remote] = true
		s.names = append(s.names, named{p.Name, p.RemoteID, p.Remote})
	}
}

// Configured reports whether an address is that of a peer of the configuration.
func (s *Strangers) Configured(remote netip.Addr) bool { return s.configured[remote] }

// Afford says which limit keeps a stranger, of whom nothing is known but that the address is its own, from costing us a computation of Diffie-Hellman, or "".
func (s *Strangers) Afford(now time.Time, from netip.Addr, l *Ledger) Reason {
	switch {
	case !s.asking.Take(now, from):
		return RefuseProven
	case !s.inits.Take(now):
		return RefuseStrangers
	}
	return l.afford(now, from, 1)
}

// Limit sets other limits.
func (s *Strangers) Limit(limits Limits) {
	s.limits = limits
	s.asking.Limit(limits.ProvenInits, limits.HalfOpenPerAddress)
	s.inits.Limit(limits.StrangerInits, burstOf*limits.StrangerInits)
}

// CountHalfOpen counts an IKE SA in (by 1) or out (by -1) that a stranger began and has not authenticated.
func (s *Strangers) CountHalfOpen(by int) { s.halfOpen += by }

// HalfOpen is how many of those there are.
func (s *Strangers) HalfOpen() int { return s.halfOpen }

// Crowded reports whether strangers have all their half-open places: half of all.
func (s *Strangers) Crowded() bool { return s.halfOpen >= s.limits.HalfOpen/2 }

// Elsewhere reports whether the other engine has let in a peer at this address.
func (s *Strangers) Elsewhere(remote netip.Addr) bool { return s.met[DynamicName(remote)].elsewhere }

// Carry takes note of a dynamic peer of the other engine. Other peers are no matter of strangers.
func (s *Strangers) Carry(ev Carried) {
	switch {
	case !IsDynamic(ev.Peer):
	case ev.On:
		s.met[ev.Peer] = guest{elsewhere: true}
		s.mostMet = max(s.mostMet, len(s.met))
	case s.met[ev.Peer].elsewhere:
		delete(s.met, ev.Peer)
	}
}

// Objection is why a stranger that has proved who it is cannot be let in, "" when it can be. FailNoAdditionalSAs is for a limit, which RefuseDynamic counts.
func (s *Strangers) Objection(p Peer, acrossNAT bool) (Reason, string) {
	if s.configured[p.Remote] {
		return AuthIdentity, fmt.Sprintf("%v has a peer of its own since", p.Remote)
	}
	if p.RemoteID.Equal(p.LocalID) { // our own messages, sent back to us, would pass as its
		return AuthIdentity, fmt.Sprintf("%v says to be %v, which is us", p.Remote, p.RemoteID)
	}
	for _, other := range s.names {
		if other.id.Equal(p.RemoteID) {
			return AuthIdentity, fmt.Sprintf("%v is peer %q, which is expected at %v and not at %v", p.RemoteID, other.peer, other.remote, p.Remote)
		}
	}
	if acrossNAT {
		return FailAddress, fmt.Sprintf("there is a NAT on the way to %v: the default response rule is for hosts that have their address to themselves", p.Remote)
	}
	switch here, taken := s.met[DynamicName(p.Remote)]; {
	case here.elsewhere:
		return FailNoAdditionalSAs, fmt.Sprintf("%v has an SA by the other version of IKE", p.Remote)
	case taken:
		return FailNoAdditionalSAs, fmt.Sprintf("%v is %v to %v already, and now says to be %v to %v", p.Remote, here.id, here.local, p.RemoteID, p.Local)
	case len(s.met) >= s.limits.Dynamic:
		return FailNoAdditionalSAs, fmt.Sprintf("%d peers by the default response rule, that is the limit", len(s.met))
	}
	return "", ""
}

// Admit takes note of a dynamic peer, against which there was no Objection.
func (s *Strangers) Admit(p Peer) {
	s.met[p.Name] = guest{local: p.Local, id: p.RemoteID}
	s.mostMet = max(s.mostMet, len(s.met))
}

// Dismiss forgets a dynamic peer of this engine.
func (s *Strangers) Dismiss(name string) { delete(s.met, name) }

// Templates are an engine's for the default response rule of another configuration: those of before that serve as they are go on by keep, the others are made by add.
func Templates[P any](before []P, configured []Peer, config func(P) *Peer, keep func(P, Peer), add func(Peer) P) []P {
	var after []P
	for _, cfg := range configured {
		cfg = cfg.withDefaults()
		i := slices.IndexFunc(before, func(t P) bool { return config(t).SameTemplate(cfg) })
		if i < 0 {
			after = append(after, add(cfg))
			continue
		}
		keep(before[i], cfg)
		after = append(after, before[i])
	}
	return after
}

// Stays reports whether a dynamic peer stays under a configuration that has its template: it does if its address is not a configured peer's now and ours still
// hears it.
func (s *Strangers) Stays(p *Peer, to Reconfigure) bool {
	return !s.configured[p.Remote] && (to.Deaf == nil || !to.Deaf(p.Local))
}

// MetAgain is what a dynamic peer's configuration becomes with that of its template: its child keeps the mode that the peer asked for.
func (p Peer) MetAgain(template Peer, transport bool) Peer {
	cfg := template.Met(p.Local, p.Remote, p.RemoteID)
	cfg.Children[0].Transport = transport
	return cfg
}
