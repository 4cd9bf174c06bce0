package ike

import (
	"net/netip"
	"slices"
	"time"
)

// paths.go: between which addresses the two ends may speak with each other, and which of the ways is taken.

// pathTries is how often a request goes unanswered on one path before another is tried.
const pathTries = 4

// responderPatience is for how long the end that does not decide about the path waits for one that does to find another (RFC 4555 3.11).
const responderPatience = 5 * time.Minute

// owns reports whether an address is one of those that the peer may speak to.
func (p *peer) owns(a netip.Addr) bool {
	return a == p.cfg.Local || slices.Contains(p.cfg.Additional, a)
}

// paths are all ways between the two ends, that which is configured first.
func (sa *ikeSA) paths() (list []path) {
	for _, remote := range append([]netip.Addr{sa.mobike.home}, sa.mobike.others...) {
		for _, local := range append([]netip.Addr{sa.peer.cfg.Local}, sa.peer.cfg.Additional...) {
			if p := (path{local, remote}); remote.Is4() == local.Is4() && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// tryElsewhere sends a request that goes unanswered by the next of the paths. When one gets an answer the peer is told that we mean it.
func (sa *ikeSA) tryElsewhere(x *exchange) {
	if !sa.mobike.on || sa.origin.role != RoleInitiator || x.tries == 0 || x.tries%pathTries != 0 {
		return
	}
	paths := sa.paths()
	now := slices.Index(paths, path{sa.local.Addr(), sa.remote.Addr()})
	for i := range paths {
		next := paths[(now+1+i)%len(paths)]
		remote := sa.remote
		if next.remote != remote.Addr() {
			remote = netip.AddrPortFrom(next.remote, portNATT)
		}
		if sa.mayMove(remote) {
			sa.local, sa.remote, sa.mobike.tried = netip.AddrPortFrom(next.local, sa.local.Port()), remote, true
			return
		}
	}
}

// settlePath follows tryElsewhere when an answer has come. Of several sendings the peer has read one and we do not know which: it is told anew (RFC 4555 3.6).
func (sa *ikeSA) settlePath() {
	if sa.mobike.tried && sa.state == stateEstablished {
		sa.mobike.tried = false
		sa.relocate(sa.local, sa.remote)
		sa.announce()
	}
}

// tries is how often a request is sent before the peer counts as dead.
func (sa *ikeSA) tries() int {
	r := sa.engine.limits.Retransmit
	switch {
	case sa.call.Silent():
		return sa.engine.limits.Attempts
	case sa.mobike.on && sa.origin.role == RoleResponder:
		return r.Tries + int(responderPatience/r.Max)
	case sa.claims != nil && sa.peer.redirection.to.IsValid():
		return min(r.Tries, redirectedTries)
	}
	return r.Tries
}

// rehome keeps a peer findable where it is, and no longer where it was: it may begin another IKE SA there.
func (e *Engine) rehome(p *peer, was path) {
	now := p.places()
	if !slices.Contains(now, was) {
		// A list of its own: half-open IKE SAs have the former one for whom they may be with.
		e.byPath[was] = slices.DeleteFunc(slices.Clone(e.byPath[was]), func(other *peer) bool { return other == p })
		if len(e.byPath[was]) == 0 {
			delete(e.byPath, was)
		}
	}
	for _, at := range now {
		if !slices.Contains(e.byPath[at], p) {
			e.byPath[at] = append(e.byPath[at], p)
		}
	}
}

// places is between which addresses an IKE SA of the peer may begin: those of the configuration, and where it has moved. With no rule there is nothing to
// negotiate, and no answer (S-040).
func (p *peer) places() []path {
	if p.retired || len(p.slots) == 0 {
		return nil
	}
	list := []path{{p.cfg.Local, p.cfg.Remote}}
	if p.redirection.to.IsValid() {
		list = append(list, path{p.cfg.Local, p.redirection.to})
	}
	for _, sa := range p.sas {
		if at := (path{sa.local.Addr(), sa.remote.Addr()}); sa.mobike.on && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list
}

// taken reports whether an address is that of another peer: the one that says to be there could have us send it the other's packets, or the other its own.
func (e *Engine) taken(p *peer, remote netip.AddrPort) bool {
	return slices.ContainsFunc(e.peers, func(other *peer) bool {
		if other == p || other.cfg.Remote == p.cfg.Remote {
			return false
		}
		return other.cfg.Remote == remote.Addr() || slices.ContainsFunc(other.sas, func(sa *ikeSA) bool { return sa.mobike.on && sa.remote == remote })
	})
}
