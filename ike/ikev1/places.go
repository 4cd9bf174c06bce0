package ikev1

import (
	"net/netip"
	"slices"

	"sallyport/ike"
)

// places.go: where a peer is, and where it may begin main mode. A NAT before the peer may give it another port at any time, or another address; main mode then
// comes from there too, for it is how an ISAKMP SA is renewed.

// moved follows a peer whose NAT gave it another address or port, as long as the NAT is before the peer alone. IPsec SAs belong to the peer and follow
// it, as they are: their sequence numbers go on.
func (p *peer) moved(remote netip.AddrPort) {
	e, sa := p.engine, p.carrier()
	if sa == nil || !sa.nat.remote || sa.nat.local || remote == sa.remote {
		return
	}
	if remote.Addr() != sa.remote.Addr() && (e.cfg.MayMove != nil && !e.cfg.MayMove(sa.remote, remote) || e.taken(p, remote.Addr())) {
		f := sa.fact(ike.Refused)
		f.Remote, f.Reason = remote, ike.RefuseAddress
		e.fact(f)
		return
	}
	sa.remote = remote
	e.fact(ike.FactOfMove(sa.fact(ike.AddressChanged), &p.moves, e.now))
	sa.gather()
}

// gather has all that there is with a peer behind a NAT be where this ISAKMP SA has it.
func (sa *isakmpSA) gather() {
	e, p := sa.engine, sa.peer
	if !sa.nat.remote || sa.nat.local {
		return
	}
	for _, other := range p.sas {
		if other.nat.remote && !other.nat.local && other.state >= stateEstablished {
			other.remote = sa.remote
		}
	}
	for _, c := range p.children() {
		if !c.udp || c.remote == sa.remote {
			continue
		}
		if c.remote = sa.remote; c.sending == sendCurrent {
			e.effect(ike.MoveOutbound{Peer: p.cfg.Name, Child: c.slot.cfg.Name, SPI: c.spiOut, Local: c.local, Remote: c.remote})
		}
	}
	p.at = sa.remote.Addr()
	e.place(p)
}

// places is between which addresses a peer may begin main mode: those of its configuration, and where it has moved, as long as there is something of it. With
// no rule there is nothing to negotiate, and no answer (S-040).
func (p *peer) places() []path {
	if p.retired || len(p.slots) == 0 {
		return nil
	}
	list := []path{{p.cfg.Local, p.cfg.Remote}}
	if p.at.IsValid() && p.at != p.cfg.Remote {
		list = append(list, path{p.cfg.Local, p.at})
	}
	return list
}

// place has a peer found at its places, and no longer where it was. A list that changes is another one from then on: half-open ISAKMP SAs have the former one
// for whom they may be with.
func (e *Engine) place(p *peer) {
	now := p.places()
	for _, at := range p.placed {
		if slices.Contains(now, at) {
			continue
		}
		if e.byPath[at] = forget(slices.Clone(e.byPath[at]), p); len(e.byPath[at]) == 0 {
			delete(e.byPath, at)
			delete(e.untaken, at)
		}
	}
	for _, at := range now {
		if !slices.Contains(e.byPath[at], p) {
			e.byPath[at] = append(slices.Clip(e.byPath[at]), p)
		}
	}
	p.placed = now
}

// left forgets where a peer had moved of which there is nothing any more.
func (p *peer) left() {
	if p.at.IsValid() && len(p.sas) == 0 && len(p.children()) == 0 {
		p.at = netip.Addr{}
		p.engine.place(p)
	}
}

// taken reports whether an address is that of another peer: the one that says to be there could have us send it the other's packets.
func (e *Engine) taken(p *peer, remote netip.Addr) bool {
	return slices.ContainsFunc(e.byPath[path{p.cfg.Local, remote}], func(other *peer) bool {
		return other != p && other.cfg.Remote != p.cfg.Remote
	})
}
