package ikev1

import (
	"fmt"
	"slices"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// The default response rule (S-009), by IKEv1. Who is at an address that no peer of the configuration has is answered by templates, as package ike does,
// within the limits that the two have together:
//
//	message 1 of a stranger            a half-open ISAKMP SA with the templates, of which strangers have half the places: there are no cookies without
//	                                   state, and whoever forges addresses keeps other strangers out for as long, and nobody else
//	message 3                          comes from where message 2 went: so many computations of Diffie-Hellman a second for each network, and for all
//	message 5 that proves who it is    a dynamic peer: AddPeer
//	...                                we begin no ISAKMP SA with it but in place of one that there is
//	an ISAKMP SA without pairs         ends after RekeyGuard
//	its last ISAKMP SA and pair gone   RemovePeer: pairs may outlive the ISAKMP SA (S-077)
type strangers struct {
	ike.Strangers
	templates []*peer
	peers     []*peer // the dynamic ones, in the order they came
}

func newStrangers(e *Engine, cfg ike.Config) strangers {
	s := strangers{Strangers: ike.NewStrangers(e.limits, cfg.Peers)}
	for _, t := range spoken(cfg.DefaultResponse) {
		s.templates = append(s.templates, newTemplate(e, t))
	}
	return s
}

// newTemplate makes a template, which is its own.
func newTemplate(e *Engine, cfg ike.Peer) *peer {
	p := newPeer(e, cfg)
	p.template = p
	return p
}

func (p *peer) isTemplate() bool { return p.template == p }

// stranger reports whether a datagram comes from where no peer of the configuration is, and somebody is to answer it.
func (e *Engine) stranger(d ike.Datagram) bool {
	return len(e.strangers.templates) > 0 && !e.strangers.Configured(d.Remote.Addr())
}

// countHalfOpen counts an ISAKMP SA in (by 1) or out (by -1), as one of its address and as a stranger's.
func (sa *isakmpSA) countHalfOpen(by int) {
	sa.engine.halfOpen.Add(sa.place, by)
	if sa.stranger {
		sa.engine.strangers.CountHalfOpen(by)
	}
}

// affords says which limit keeps the initiator, who is where it says, from costing a computation of Diffie-Hellman, or "".
func (sa *isakmpSA) affords() ike.Reason {
	e := sa.engine
	if known := anyKnown(sa.among); known || !sa.stranger {
		return e.ledger.Afford(e.now, sa.remote.Addr(), &sa.among[0].computations, known)
	}
	return e.strangers.Afford(e.now, sa.remote.Addr(), e.ledger)
}

// meet is the dynamic peer that a stranger has proved to be. It is let in, or told why not.
func (p *peer) meet(sa *isakmpSA, id ike.Identity) (*peer, error) {
	e, s := p.engine, &p.engine.strangers
	dynamic := newPeer(e, p.cfg.Met(sa.local.Addr(), sa.remote.Addr(), id))
	if reason, why := s.Objection(dynamic.cfg, sa.nat.across()); reason != "" {
		if reason == ike.FailNoAdditionalSAs {
			f := sa.fact(ike.Refused)
			f.Reason = ike.RefuseDynamic
			e.fact(f)
		}
		return nil, failf(reason, "%s", why)
	}
	dynamic.template, dynamic.welcomed = p, true
	s.Admit(dynamic.cfg)
	s.peers = append(s.peers, dynamic)
	e.know(dynamic)
	e.effect(ike.AddPeer{Peer: dynamic.cfg.Name, Local: dynamic.cfg.Local, Remote: dynamic.cfg.Remote})
	return dynamic, nil
}

// linger ends what a dynamic peer has that keeps its place from others: an ISAKMP SA that has had no pair for a while, and with the last of both the peer.
func (p *peer) linger() {
	e := p.engine
	switch {
	case !p.welcomed:
	case len(p.sas) == 0 && len(p.children()) == 0:
		e.dismiss(p)
	case slices.ContainsFunc(p.slots, func(s *slot) bool { return len(s.children) > 0 || s.negotiating != nil }):
		e.timers.Stop(&p.empty)
	case !p.empty.Pending():
		e.timers.Set(&p.empty, e.now.Add(e.limits.RekeyGuard), func() { p.endAll(ike.DeletedIdle) })
	}
}

// dismiss forgets a dynamic peer, which has nothing any more.
func (e *Engine) dismiss(p *peer) {
	p.welcomed, p.retired = false, true
	e.timers.Stop(&p.empty)
	e.timers.Stop(&p.retry)
	for _, s := range p.slots {
		e.timers.Stop(&s.retry)
	}
	e.strangers.Dismiss(p.cfg.Name)
	e.strangers.peers = forget(e.strangers.peers, p)
	delete(e.byName, p.cfg.Name)
	e.place(p)
	e.effect(ike.RemovePeer{Peer: p.cfg.Name})
}

// adapt gives a dynamic peer's child the mode that the peer asks for: its configuration has none.
func (p *peer) adapt(offered *isakmp.SA) {
	if p.template == nil {
		return
	}
	for _, proposal := range offered.Proposals {
		for i := range proposal.Transforms {
			if t, err := proposal.Transforms[i].Phase2(); err == nil && t.Encapsulation != 0 {
				p.slots[0].cfg.Transport = t.Encapsulation == isakmp.EncapsulationTransport
				return
			}
		}
	}
}

// reconfigure goes over to other templates. Dynamic peers stay if theirs does, in what matters to an SA.
func (s *strangers) reconfigure(e *Engine, to ike.Reconfigure) {
	s.Know(to.Peers)
	before := s.templates
	s.templates = ike.Templates(before, spoken(to.DefaultResponse), func(t *peer) *ike.Peer { return &t.cfg }, (*peer).reconfigure,
		func(cfg ike.Peer) *peer { return newTemplate(e, cfg) })
	for _, t := range before {
		if !slices.Contains(s.templates, t) {
			t.retire() // and half-open ISAKMP SAs with it
		}
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

// isHost reports whether an identity is one that a host can have: RFC 2407 has networks among them.
func isHost(id *isakmp.ID) bool {
	switch id.Type {
	case isakmp.IDIPv4Address, isakmp.IDIPv6Address, isakmp.IDFQDN, isakmp.IDUserFQDN, isakmp.IDDERASN1DN, isakmp.IDKeyID:
		return true
	}
	return false
}

// describePeer says whom a peer is expected to be, for people.
func describePeer(p *ike.Peer) string {
	if p.RemoteID.IsZero() {
		return "any host by the default response rule"
	}
	return fmt.Sprintf("%v for %v", p.RemoteID, p.LocalID)
}
