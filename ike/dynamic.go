package ike

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// The default response rule (S-009): who is at an address that no peer of the configuration has is a stranger, and is answered by templates. Without
// any, strangers get silence (S-040).
//
//	IKE_SA_INIT of a stranger      COOKIE, always: no state and no Diffie-Hellman computation for an address that is not proven
//	the same with the cookie       a half-open IKE SA with the templates, of which strangers have half the places
//	IKE_AUTH that proves who it is a dynamic peer: AddPeer. One for each address, Limits.Dynamic in all
//	...                            it lives as any peer does; we begin no IKE SA with it but in place of one that there is
//	an IKE SA without Child SAs    ends after RekeyGuard
//	its last IKE SA is gone        RemovePeer
//
// What it may have is between the two hosts: its address and the one of ours that it spoke to, in transport mode where it asks for that, never a network.
// Whoever holds a key that is for many speaks with the gateway and not past it. So there is no NAT between the two either: whose traffic it would be that
// comes from the NAT's address cannot be told.
type strangers struct {
	Strangers
	templates []*peer
	peers     []*peer // the dynamic ones, in the order they came
}

// DynamicName is the name of the dynamic peer at an address, and of its one child. No name of a configuration has a colon.
func DynamicName(remote netip.Addr) string { return dynamicPrefix + remote.String() }

// IsDynamic reports whether a name is that of a dynamic peer.
func IsDynamic(peer string) bool { return strings.HasPrefix(peer, dynamicPrefix) }

const dynamicPrefix = "dynamic:"

func newStrangers(e *Engine, cfg Config) strangers {
	s := strangers{Strangers: NewStrangers(e.limits, cfg.Peers)}
	for _, t := range spoken(cfg.DefaultResponse) {
		s.templates = append(s.templates, newTemplate(e, t))
	}
	return s
}

// newTemplate makes a template, which is its own.
func newTemplate(e *Engine, cfg Peer) *peer {
	p := newPeer(e, cfg)
	p.template = p
	return p
}

// ValidateDefaultResponse reports everything that keeps templates from serving, joined. NewEngine and Reconfigure rely on it having passed.
func ValidateDefaultResponse(templates []Peer) error {
	var errs []error
	for _, p := range templates {
		p = p.withDefaults()
		where := fmt.Sprintf("default response %q", p.Name)
		if p.Local.IsValid() || p.Remote.IsValid() || !p.RemoteID.IsZero() || p.MOBIKE || p.Redirect || p.PPK != nil {
			errs = append(errs, fmt.Errorf("%s: expected no address, no identity of the peer, no mobike, no redirect and no PPK: it is for whoever comes", where))
		}
		if len(p.Children) != 1 || len(p.Children[0].Selectors) > 0 || p.Children[0].PerCore > 1 {
			errs = append(errs, fmt.Errorf("%s: expected one child without selectors, which are those of the two hosts, and without more for workers", where))
			continue
		}
		errs = append(errs, validateAuth(p)...)
		errs = append(errs, validateNegotiation(where, p.RekeyTime, p.IKEProposals)...)
		errs = append(errs, validateNegotiation(where, p.Children[0].RekeyTime, p.Children[0].Proposals)...)
	}
	return errors.Join(errs...)
}

// stranger reports whether a datagram comes from where no peer of the configuration is, and somebody is to answer it.
func (e *Engine) stranger(d Datagram) bool {
	return len(e.strangers.templates) > 0 && !e.strangers.Configured(d.Remote.Addr()) &&
		!slices.ContainsFunc(e.candidates(d), func(p *peer) bool { return p.template == nil }) // one that has moved there
}

// Met is a template of Config.DefaultResponse made out for somebody.
func (p Peer) Met(local, remote netip.Addr, id Identity) Peer {
	cfg := p
	cfg.Name, cfg.Local, cfg.Remote, cfg.RemoteID = DynamicName(remote), local, remote, id
	if cfg.LocalID.IsZero() {
		cfg.LocalID = AddressIdentity(local)
	}
	child := cfg.Children[0]
	child.Name, child.Start = cfg.Name, StartOnDemand
	child.Selectors = []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
	cfg.Children = []Child{child}
	return cfg
}

// expects reports whether somebody may be the peer, and asks for our identity toward it.
func (p *peer) expects(sa *ikeSA, found, asked Identity) bool {
	ours := p.cfg.LocalID
	switch {
	case p.retired || len(p.slots) == 0:
		return false
	case p.isTemplate() && ours.IsZero():
		ours = AddressIdentity(sa.local.Addr())
	}
	return (p.isTemplate() || found.Equal(p.cfg.RemoteID)) && (asked.IsZero() || asked.Equal(ours))
}

func (p *peer) isTemplate() bool { return p.template == p }

// describe says whom the peer is, and who we are to it, for people.
func (p *peer) describe() string {
	if p.isTemplate() {
		return "anybody by the default response rule"
	}
	return fmt.Sprintf("%v for %v", p.cfg.RemoteID, p.cfg.LocalID)
}

// meet is the peer that a stranger says to be, for as long as it has not proved that: the engine does not know it.
func (p *peer) meet(sa *ikeSA, id Identity) *peer {
	dynamic := newPeer(p.engine, p.cfg.Met(sa.local.Addr(), sa.remote.Addr(), id))
	dynamic.template = p
	return dynamic
}

// left reports whether a peer has gone since somebody began to prove that he is it. Of a template, the settings may be others now.
func (p *peer) left() bool {
	if p.template != nil && !p.welcomed {
		p.cfg = p.template.cfg.Met(p.cfg.Local, p.cfg.Remote, p.cfg.RemoteID)
		return p.template.retired
	}
	return p.retired || len(p.slots) == 0
}

// welcome lets a stranger in that has proved who it is.
func (e *Engine) welcome(sa *ikeSA, p *peer) error {
	s := &e.strangers
	if p.template == nil || p.welcomed {
		return nil
	}
	if reason, why := s.Objection(p.cfg, sa.acrossNAT()); reason != "" {
		if reason == FailNoAdditionalSAs {
			f := sa.fact(Refused)
			f.Reason = RefuseDynamic
			e.fact(f)
		}
		notify := map[Reason]wire.NotifyType{AuthIdentity: wire.NotifyAuthenticationFailed, FailAddress: wire.NotifyUnexpectedNATDetected,
			FailNoAdditionalSAs: wire.NotifyNoAdditionalSAs}
		return refuse(notify[reason], reason, "%s", why)
	}
	p.welcomed = true
	s.Admit(p.cfg)
	s.peers = append(s.peers, p)
	e.byName[p.cfg.Name] = p
	e.rehome(p, path{})
	e.effect(AddPeer{Peer: p.cfg.Name, Local: p.cfg.Local, Remote: p.cfg.Remote})
	return nil
}

// dismiss forgets a dynamic peer. Its IKE SAs may still be waiting for the answers to their deletes.
func (e *Engine) dismiss(p *peer) {
	if !p.welcomed {
		return
	}
	at := path{p.cfg.Local, p.cfg.Remote}
	p.welcomed, p.retired = false, true
	e.timers.Stop(&p.empty)
	e.timers.Stop(&p.retry)
	e.strangers.Dismiss(p.cfg.Name)
	e.strangers.peers = slices.DeleteFunc(e.strangers.peers, func(other *peer) bool { return other == p })
	delete(e.byName, p.cfg.Name)
	e.rehome(p, at)
	delete(e.untaken, at)
	e.effect(RemovePeer{Peer: p.cfg.Name})
}

// linger ends the IKE SAs of a dynamic peer that has had no Child SA for a while: it would keep its place from others.
func (p *peer) linger() {
	e := p.engine
	switch {
	case !p.welcomed:
	case slices.ContainsFunc(p.slots, func(s *slot) bool { return len(s.children) > 0 || s.negotiating != nil }):
		e.timers.Stop(&p.empty)
	case !p.empty.Pending():
		e.timers.Set(&p.empty, e.now.Add(e.limits.RekeyGuard), func() { p.endAll(DeletedIdle) })
	}
}

// adapt gives a dynamic peer's child the mode that the peer asks for: its configuration has none.
func (p *peer) adapt(transport bool) {
	if p.template != nil {
		p.slots[0].cfg.Transport = transport
	}
}

// reconfigure goes over to other templates. Dynamic peers stay if theirs does, in what matters to an SA.
func (s *strangers) reconfigure(e *Engine, to Reconfigure) {
	s.Know(to.Peers)
	before := s.templates
	s.templates = Templates(before, spoken(to.DefaultResponse), func(t *peer) *Peer { return &t.cfg }, (*peer).reconfigure, func(cfg Peer) *peer { return newTemplate(e, cfg) })
	for _, t := range before {
		t.retired = !slices.Contains(s.templates, t)
	}
	for _, p := range slices.Clone(s.peers) {
		if p.template.retired || !s.Stays(&p.cfg, to) {
			p.retire()
			e.dismiss(p)
			continue
		}
		p.reconfigure(p.cfg.MetAgain(p.template.cfg, p.slots[0].cfg.Transport))
	}
}

// SameTemplate reports whether what an SA was made from by the one holds by the other. Both have their defaults.
func (p Peer) SameTemplate(other Peer) bool {
	return sameIdentity(p, other) && sameProtection(p.Children[0], other.Children[0])
}

// ResponseStays reports whether Reconfigure keeps the dynamic peers that templates have let in, wherever they are.
func ResponseStays(old, configured []Peer) bool {
	return !slices.ContainsFunc(old, func(was Peer) bool {
		return !slices.ContainsFunc(configured, func(is Peer) bool { return was.withDefaults().SameTemplate(is.withDefaults()) })
	})
}
