package ikev1

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// Snapshot describes every ISAKMP SA of every peer, and the peers that have none. Half-open ones that a peer has begun are left out. The IPsec SAs
// belong to the peer: they stand with its youngest ISAKMP SA.
func (e *Engine) Snapshot() []ike.SAInfo {
	var list []ike.SAInfo
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		first := len(list)
		for _, sa := range p.sas {
			list = append(list, sa.info())
		}
		if len(p.sas) == 0 {
			list = append(list, p.info())
		}
		at := first
		if sa := p.carrier(); sa != nil {
			at += slices.Index(p.sas, sa)
		}
		for _, c := range p.children() {
			list[at].Children = append(list[at].Children, c.info())
		}
	}
	return list
}

// NotBefore is until when nothing is negotiated for a child, whoever asks for it, because a try failed; the zero time where nothing stands in
// the way.
func (e *Engine) NotBefore(peer, child string) time.Time {
	p := e.byName[peer]
	if p == nil || p.slot(child) == nil {
		return time.Time{}
	}
	return later(p.slot(child).retry.When(), p.notBefore())
}

// Begins reports whether a main mode that we have begun with the peer is on its way.
func (e *Engine) Begins(peer string) bool {
	p := e.byName[peer]
	return p != nil && slices.ContainsFunc(p.sas, func(sa *isakmpSA) bool { return sa.state < stateEstablished })
}

// Carries reports whether an ISAKMP SA with the peer is established, or IPsec SAs of its are left (ike.Carried).
func (e *Engine) Carries(peer string) bool {
	p := e.byName[peer]
	return p != nil && (p.carrier() != nil || len(p.children()) > 0)
}

// Retired is the number of ISAKMP SAs of peers that are configured no longer, or otherwise. They are all gone at once, for nobody acknowledges a delete; it
// is here for whoever asks both engines.
func (e *Engine) Retired() int {
	n := 0
	for _, sa := range e.sas {
		if sa.peer != nil && sa.peer.retired {
			n++
		}
	}
	return n
}

// info is what is known of the peer apart from its ISAKMP SAs.
func (p *peer) info() ike.SAInfo {
	info := ike.SAInfo{Peer: p.cfg.Name, Version: ike.V1, State: "idle", LocalID: p.cfg.LocalID.String(), RemoteID: p.cfg.RemoteID.String(),
		Local: netip.AddrPortFrom(p.cfg.Local, portIKE), Remote: netip.AddrPortFrom(p.cfg.Remote, portIKE),
		Failure: p.failure[ike.RoleInitiator], PeerFailure: p.peerFailure(), Since: p.since, Stray: p.engine.stray,
		Starts: p.starts, RetransmitsOut: p.resent, Duplicates: p.repeats}
	if p.down {
		info.State = "down"
	}
	if u := p.engine.untaken[path{p.cfg.Local, p.cfg.Remote}]; u != nil {
		info.Refused, info.Dropped = u.refused, u.dropped
	}
	for _, s := range p.slots {
		if s.down {
			info.Down = append(info.Down, s.cfg.Name)
		}
		if at := s.nextAttempt(); s.live() == nil && !at.IsZero() && (info.NextAttempt.IsZero() || at.Before(info.NextAttempt)) {
			info.NextAttempt = at
		}
	}
	return info
}

func (sa *isakmpSA) info() ike.SAInfo {
	info := sa.peer.info()
	info.State, info.Role = sa.state.String(), sa.role
	info.SPIi, info.SPIr = sa.cookies.Initiator, sa.cookies.Responder
	info.Local, info.Remote = sa.local, sa.remote
	info.NATLocal, info.NATRemote = sa.nat.local, sa.nat.remote
	info.Vendors, info.Attempt = slices.Clone(sa.can.names), sa.attempt(ike.RoleInitiator)
	info.Established, info.RekeyAt = sa.established, sa.rekeyAt
	if sa.keys != nil {
		info.Proposal = sa.chosen.String()
	}
	if sa.state >= stateEstablished {
		info.Since = sa.established
	}
	for _, x := range append([]*exchange{sa.main}, sa.exchanges()...) {
		if x.asks {
			info.Outstanding = x.kind.String()
		}
	}
	return info
}

func (c *childSA) info() ike.ChildInfo {
	info := ike.ChildInfo{Name: c.slot.cfg.Name, State: c.state.String(), Role: c.role, SPIIn: c.spiIn, SPIOut: c.spiOut,
		Suite: c.suite.String(), Protocol: c.protocol, Transport: c.transport, ESN: c.esn, UDPEncap: c.udp, Selectors: []policy.Selector{c.selector},
		Established: c.established, RekeyAt: c.rekeyAt, Outbound: c.slot.outbound == c}
	if c.around != nil {
		info.AHSPIIn, info.AHSPIOut, info.AHSuite = c.around.spiIn, c.around.spiOut, c.around.suite.String()
	}
	if c.group != crypto.DHNone {
		info.PFS = c.group.String()
	}
	return info
}
