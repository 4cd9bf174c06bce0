package ike

import (
	"bytes"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// reconfigure replaces the list of peers while everything runs. What is the same notices nothing:
//
//	a peer that is gone, or is somebody else now        its IKE SAs end by delete, their Child SAs at once
//	a peer that lives, dies or renews otherwise         keeps its IKE SAs; the new times count from now on
//	a peer toward which our certificate was renewed     keeps its IKE SAs; the next authentication is by the new one
//	a child that is gone, or protects otherwise         its Child SAs end by delete (RFC 7296 1.4.1)
//	a child that is new, or protects otherwise          is negotiated on the IKE SA that there is
//	a child that starts, idles or renews otherwise      keeps its Child SAs
//
// Where the old configuration has an exchange on its way the peer may already hold its half of what comes of it. Then its response is
// awaited and what it made is deleted: dropping it here would leave an SA on one side only.
func (e *Engine) reconfigure(configured []Peer) {
	before, kept := e.peers, map[*peer]bool{}
	e.peers = nil
	for _, cfg := range spoken(configured) {
		cfg = cfg.withDefaults()
		p := e.byName[cfg.Name]
		switch {
		case p == nil:
			p = newPeer(e, cfg)
		case sameIdentity(p.cfg, cfg):
			kept[p] = true
			p.reconfigure(cfg)
		default:
			down := p.down
			p = newPeer(e, cfg)
			p.down = down
			p.pause() // lets the delete of the old SAs reach the peer first
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

// closeDeaf ends the IKE SAs that wait for an answer to their delete where none can arrive. The peer has the delete, or finds out by its
// liveness checks.
func (e *Engine) closeDeaf(deaf func(local netip.Addr) bool) {
	if deaf == nil {
		return
	}
	for _, spi := range slices.Sorted(maps.Keys(e.sas)) {
		if sa := e.sas[spi]; sa != nil && sa.endedFor != "" && deaf(sa.local.Addr()) {
			sa.close(sa.endedFor)
		}
	}
}

// SameIdentity reports what reconfigure goes by, for the engine of IKEv1: whether all that an IKE SA with the peer was made from holds still.
// Both have their defaults.
func (p Peer) SameIdentity(other Peer) bool { return sameIdentity(p, other) }

// SameProtection reports whether what a Child SA was made from is the same.
func (c Child) SameProtection(other Child) bool { return sameProtection(c, other) }

// sameIdentity reports whether what an IKE SA was made from holds still, without telling where the keys differ. A renewed certificate of
// ours serves the next authentication and ends nothing, and neither does one more authority; whom an authority vouched for that is
// no longer trusted has to prove itself anew. The configurations have their defaults.
func sameIdentity(a, b Peer) bool {
	same := a.PSK.Equal(b.PSK) && a.PPK.Equal(b.PPK) && stillTrusts(a, b)
	if a.MOBIKE && b.MOBIKE {
		a.Local, a.Remote = b.Local, b.Remote
	}
	for _, p := range []*Peer{&a, &b} {
		p.MOBIKE, p.Additional, p.Redirect = false, nil, false
		p.PSK, p.PPK, p.Credential, p.Authorities, p.Children = crypto.Secret{}, nil, nil, nil, nil
		p.DPDDelay, p.RekeyTime, p.ReauthTime, p.FragmentSize, p.ChildLimit = 0, 0, 0, 0, 0
		p.MasterPFS, p.Fallback = false, false
	}
	return same && reflect.DeepEqual(a, b)
}

// stillTrusts reports whether every authority that was trusted is.
func stillTrusts(was, is Peer) bool {
	return !slices.ContainsFunc(was.Authorities, func(name []byte) bool {
		return !slices.ContainsFunc(is.Authorities, func(other []byte) bool { return bytes.Equal(name, other) })
	})
}

// sameProtection reports whether what a Child SA was made from is the same.
func sameProtection(a, b Child) bool {
	return covers(a.Selectors, b.Selectors) && covers(b.Selectors, a.Selectors) && a.Transport == b.Transport && reflect.DeepEqual(a.Proposals, b.Proposals)
}

// reconfigure gives a peer that stays its new times and children.
func (p *peer) reconfigure(cfg Peer) {
	was, before := p.cfg, p.slots
	if was.Remote != cfg.Remote || !cfg.Redirect {
		p.comeBack()
	}
	p.cfg, p.slots = cfg, nil
	for _, c := range cfg.Children {
		i := slices.IndexFunc(before, func(s *slot) bool { return s.worker == 0 && s.cfg.Name == c.Name && sameProtection(s.cfg, c) })
		if i < 0 {
			p.slots = append(p.slots, newSlots(p, c)...)
			continue
		}
		all := before[i]
		all.reconfigure(c)
		for _, w := range all.workers {
			w.reconfigure(c)
		}
		all.staff()
		p.slots = append(append(p.slots, all), all.workers...)
	}
	for _, s := range before {
		if !slices.Contains(p.slots, s) {
			s.retire()
		}
	}
	if len(p.slots) == 0 {
		p.endAll(DeletedReconfig)
	}
	if was.Local != cfg.Local || was.Remote != cfg.Remote {
		p.migrate(was)
	} else if !slices.Equal(was.Additional, cfg.Additional) {
		p.readdress()
	}
	for _, sa := range p.sas {
		if sa.state == stateEstablished {
			sa.reconfigured(was)
		}
	}
	p.touch()
}

// reconfigured applies the peer's new times to an established IKE SA.
func (sa *ikeSA) reconfigured(was Peer) {
	e, cfg := sa.engine, &sa.peer.cfg
	if cfg.RekeyTime != was.RekeyTime {
		sa.lifetime = e.lifetimeFrom(sa.established, cfg.RekeyTime)
		e.timers.Set(&sa.life, sa.rekeyAt, sa.rekeyDue)
	}
	if cfg.ReauthTime != was.ReauthTime {
		sa.limitAuthentication()
		if sa.origin.role == RoleResponder {
			sa.tasks.enqueue(wire.ExchangeInformational, announceLifetime{})
		}
	}
	if cfg.DPDDelay != was.DPDDelay {
		e.timers.Stop(&sa.watch)
		sa.watchLiveness()
	}
}

// reconfigure applies new times to a child whose Child SAs stay. The replay window counts from the next SA on.
func (s *slot) reconfigure(cfg Child) {
	was := s.cfg
	s.cfg = cfg
	for _, c := range s.children {
		if c.state != childActive {
			continue // its watch and its life serve its end
		}
		e := c.engine()
		if cfg.RekeyTime != was.RekeyTime {
			c.lifetime = e.lifetimeFrom(c.established, cfg.RekeyTime)
			e.timers.Set(&c.life, c.rekeyAt, c.rekeyDue)
		}
		if cfg.IdleTimeout != was.IdleTimeout {
			e.timers.Stop(&c.watch)
			c.idleFrom = e.now // an SA that was idle for longer than the new limit is not taken by surprise
			c.watchIdle()
		}
	}
}

// retire ends what serves a child that is no longer configured so. No SA of it becomes the one that packets leave by.
func (s *slot) retire() {
	s.retired, s.wanted, s.packet = true, false, nil
	s.peer.engine.timers.Stop(&s.retry)
	for _, c := range slices.Clone(s.children) {
		c.delete(DeletedReconfig)
	}
}

// disown handles the response to an exchange of ours whose child was retired in the meantime: what the peer has made is deleted, unseen.
func (t *childInitiator) disown(m *message) {
	if wire.Find[*wire.SA](m.Payloads) == nil {
		t.abandon()
		return
	}
	spi := t.spi
	t.spi = 0
	t.done()
	m.sa.tasks.enqueue(wire.ExchangeInformational, &deleteUnused{engine: m.sa.engine, protocol: protocolMade(m), spi: spi})
}
