package ikev1

import (
	"slices"

	"sallyport/ike"
)

// reconfigure replaces the list of peers while everything runs. What is the same notices nothing:
//
//	a peer that is gone, or is somebody else now    its SAs end by delete
//	a peer that lives, dies or renews otherwise     keeps them; new times count for the SAs made from now on
//	a child that is gone, or protects otherwise     its IPsec SAs end by delete
//	a child that is new, or protects otherwise      is negotiated
func (e *Engine) reconfigure(configured []ike.Peer) {
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
	before := p.slots
	p.cfg, p.slots = cfg, nil
	for _, c := range cfg.Children {
		i := slices.IndexFunc(before, func(s *slot) bool { return s.cfg.Name == c.Name && s.cfg.SameProtection(c) })
		if i < 0 {
			p.slots = append(p.slots, &slot{peer: p, cfg: c})
			continue
		}
		before[i].cfg = c
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
	p.touch()
}

// retire ends what serves a child that is no longer configured so. No SA of it becomes the one that packets leave by.
func (s *slot) retire() {
	s.retired, s.wanted = true, false
	s.peer.engine.timers.Stop(&s.retry)
	for _, c := range slices.Clone(s.children) {
		c.delete(ike.DeletedReconfig)
	}
}
