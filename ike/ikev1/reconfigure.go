package ikev1

import (
	"slices"

	"sallyport/ike"
)

// reconfigure replaces the list of peers while everything runs. What is the same notices nothing:
//
//	a peer that is gone, or is somebody else now    its SAs end by delete
//	a peer that lives, dies or renews otherwise     keeps them; the new times count from now on, as far as the peer has agreed to them
//	a child that is gone, or protects otherwise     its IPsec SAs end by delete
//	a child that is new, or protects otherwise      is negotiated
func (e *Engine) reconfigure(configured []ike.Peer) {
	e.openings = openings{} // their answers may be others now
	before, kept := e.peers, map[*peer]bool{}
	e.peers = nil
	for _, cfg := range spoken(configured) {
		p := e.byName[cfg.Name]
		switch {
		case p == nil:
			p = newPeer(e, cfg)
		case p.cfg.SameIdentity(cfg):
			kept[p] = true
			p.reconfigure(cfg)
		default:
			down := p.down
			p = newPeer(e, cfg)
			p.down = down
			p.wait(&p.retry, 1) // lets the delete of the old SAs reach the peer first
		}
		e.peers = append(e.peers, p)
	}
	e.index()
	for _, p := range before {
		if !kept[p] {
			p.retire()
		}
	}
}

// reconfigure gives a peer that stays its new times and children.
func (p *peer) reconfigure(cfg ike.Peer) {
	was, before := p.cfg, p.slots
	p.cfg, p.slots, p.accepts = cfg, nil, describeTerms(&cfg)
	for _, c := range cfg.Children {
		i := slices.IndexFunc(before, func(s *slot) bool { return s.cfg.Name == c.Name && s.cfg.SameProtection(c) })
		if i < 0 {
			p.slots = append(p.slots, &slot{peer: p, cfg: c})
			continue
		}
		before[i].reconfigure(c)
		p.slots = append(p.slots, before[i])
	}
	for _, s := range before {
		if !slices.Contains(p.slots, s) {
			s.retire()
		}
	}
	if len(p.slots) == 0 {
		p.endAll(ike.DeletedReconfig)
	}
	for _, sa := range p.sas {
		if sa.state == stateEstablished {
			sa.reconfigured(was)
		}
	}
	p.touch()
}

// reconfigured applies the peer's new times to an established ISAKMP SA.
func (sa *isakmpSA) reconfigured(was ike.Peer) {
	e, cfg := sa.engine, &sa.peer.cfg
	if cfg.RekeyTime != was.RekeyTime {
		sa.lifetime = e.lifetimeFrom(sa.established, sa.agreedLife().Seconds, sa.role)
		e.timers.Set(&sa.life, sa.rekeyAt, sa.rekeyDue)
	}
	if cfg.DPDDelay != was.DPDDelay {
		e.timers.Stop(&sa.watch)
		sa.watchLiveness()
	}
}

// reconfigure applies new times to a child whose pairs stay. Volumes and the replay window count from the next pair on.
func (s *slot) reconfigure(cfg ike.Child) {
	e, was := s.peer.engine, s.cfg
	s.cfg = cfg
	for _, c := range s.children {
		if c.state != childActive {
			continue // its watch serves its end
		}
		if cfg.RekeyTime != was.RekeyTime {
			c.agreed, _ = agreeLifetime(s.life(), c.agreed)
			c.lifetime = e.lifetimeFrom(c.established, c.agreed.Seconds, c.role)
			e.timers.Set(&c.life, c.rekeyAt, c.rekeyDue)
		}
		if cfg.IdleTimeout != was.IdleTimeout {
			e.timers.Stop(&c.watch)
			c.idleFrom = e.now // a pair that was idle for longer than the new limit is not taken by surprise
			c.watchIdle()
		}
	}
}

// retire ends what serves a child that is no longer configured so. No SA of it becomes the one that packets leave by.
func (s *slot) retire() {
	s.retired, s.wanted = true, false
	s.peer.engine.timers.Stop(&s.retry)
	for _, c := range slices.Clone(s.children) {
		c.delete(ike.DeletedReconfig)
	}
}
