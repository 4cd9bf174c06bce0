package ike

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// SAInfo is one IKE SA as `show ike` prints it, or a peer that has none (State "idle").
type SAInfo struct {
	Peer                       string
	Version                    Version // V1 or V2
	State                      string
	Role                       Role // who began the negotiation of this IKE SA
	SPIi, SPIr                 uint64
	Local, Remote              netip.AddrPort
	LocalID, RemoteID          string
	NATLocal, NATRemote        bool     // a NAT stands before us, before the peer
	MOBIKE                     bool     // either end may change its address
	Vendors                    []string // of IKEv1: the peer's vendor IDs that are known by name
	Proposal                   string
	Established, RekeyAt       time.Time
	NextSend, NextReceive      uint32 // message ids
	Outstanding                string // the exchange that waits for a response
	Children                   []ChildInfo
	Failure, PeerFailure       Failure   // the last of what we began with the peer, and of what it began with us, on any IKE SA
	NextAttempt                time.Time // after a failure, at a child that is kept up; zero when none waits
	Since                      time.Time // it is established, or the peer has no IKE SA; zero where it never had one
	Down                       []string  // children that an operator has taken down
	Attempt                    *Attempt  // of ours that goes on, or nil
	Refused, Dropped           Note      // of what came from the peer's address
	Stray                      Note      // of what came from addresses that no peer has
	Unproven                   Note      // of responses to IKE_SA_INIT that were not found to be the peer's, beside others
	Starts                     uint64    // negotiations that we began with this peer
	RetransmitsOut, Duplicates uint64    // of the peer: requests sent again, requests received again
}

// Failure is why a negotiation ended without result. Its zero value is that none did.
type Failure struct {
	Reason Reason
	Detail string
	At     time.Time
	// Attempt is how far the negotiation had come, nil where none had begun.
	Attempt *Attempt
}

// copy is for a reader in another goroutine.
func (f Failure) copy() Failure {
	if f.Attempt != nil {
		attempt := *f.Attempt
		f.Attempt = &attempt
	}
	return f
}

// ChildInfo is one Child SA as `show sas` prints it.
type ChildInfo struct {
	Name                 string
	State                string
	Role                 Role // who began the exchange that made it
	SPIIn, SPIOut        uint32
	Suite                string
	AHSPIIn, AHSPIOut    uint32 // of the AH around it, 0 without
	AHSuite              string
	Protocol             crypto.Protocol
	Transport            bool
	Worker               int // that alone sends by it, 0 for all (RFC 9611)
	ESN, UDPEncap        bool
	PFS                  string // group of a Diffie-Hellman exchange of its own, or empty
	Selectors            []policy.Selector
	Established, RekeyAt time.Time
	Outbound             bool // packets leave by this SA; after a rekey the older one only receives
}

// Snapshot describes every IKE SA of every peer, and the peers that have none. Half-open ones that a peer has begun are left out.
func (e *Engine) Snapshot() []SAInfo {
	var list []SAInfo
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		if len(p.sas) == 0 {
			list = append(list, p.info())
		}
		for _, sa := range p.sas {
			list = append(list, sa.info())
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

// Begins reports whether an IKE SA with the peer that we have begun is on its way.
func (e *Engine) Begins(peer string) bool {
	p := e.byName[peer]
	return p != nil && slices.ContainsFunc(p.sas, func(sa *ikeSA) bool { return sa.state == stateInit || sa.state == stateAuth })
}

// Carries reports whether an IKE SA with the peer is established (Carried).
func (e *Engine) Carries(peer string) bool {
	p := e.byName[peer]
	return p != nil && p.carrier() != nil
}

// Retired is the number of IKE SAs of peers that are configured no longer, or otherwise. Until it is 0 their keys are needed.
func (e *Engine) Retired() int {
	n := 0
	for _, sa := range e.sas {
		if sa.peer != nil && sa.peer.retired {
			n++
		}
	}
	return n
}

// info is what is known of the peer apart from its IKE SAs.
func (p *peer) info() SAInfo {
	info := SAInfo{Peer: p.cfg.Name, State: "idle", LocalID: p.cfg.LocalID.String(), RemoteID: p.cfg.RemoteID.String(),
		Local: netip.AddrPortFrom(p.cfg.Local, portIKE), Remote: netip.AddrPortFrom(p.cfg.Remote, portIKE),
		Failure: p.failure[RoleInitiator].copy(), PeerFailure: p.failure[RoleResponder].copy(), NextAttempt: p.nextAttempt(),
		Starts: p.starts, RetransmitsOut: p.resent, Duplicates: p.repeats}
	if p.down {
		info.State = "down"
	}
	info.Since, info.Stray, info.Unproven = p.since, p.engine.stray, p.unproven
	for _, s := range p.slots {
		if s.down && !slices.Contains(info.Down, s.cfg.Name) {
			info.Down = append(info.Down, s.cfg.Name)
		}
	}
	if u := p.engine.untaken[path{p.cfg.Local, p.cfg.Remote}]; u != nil {
		info.Refused, info.Dropped = u.refused, u.dropped
	}
	return info
}

func (sa *ikeSA) info() SAInfo {
	info := sa.peer.info()
	info.State, info.Role = sa.state.String(), sa.role
	if sa.state == stateEstablished && sa.heir != nil {
		info.State = stateReplaced.String()
	}
	info.SPIi, info.SPIr = sa.spis()
	info.Local, info.Remote = sa.local, sa.remote
	info.NATLocal, info.NATRemote, info.MOBIKE = sa.natLocal, sa.natRemote, sa.mobike.on
	info.Established, info.RekeyAt = sa.established, sa.rekeyAt
	info.NextSend, info.NextReceive = sa.tasks.nextSend, sa.tasks.nextReceive
	if sa.keys != nil {
		info.Proposal = sa.chosen.String()
	}
	if sa.state >= stateEstablished {
		info.Since = sa.established
	}
	info.Attempt = sa.attempt(RoleInitiator)
	if x := sa.tasks.active; x != nil && sa.tasks.held == nil { // of a response that is held we wait for nothing
		info.Outstanding = x.kind.String()
	}
	for _, c := range sa.children {
		info.Children = append(info.Children, c.info())
	}
	return info
}

func (c *childSA) info() ChildInfo {
	info := ChildInfo{Name: c.slot.cfg.Name, State: c.state.String(), Role: c.role, SPIIn: c.spiIn, SPIOut: c.spiOut,
		Suite: c.chosen.suite.String(), Protocol: c.chosen.protocol, Transport: c.transport, Worker: c.slot.worker, ESN: c.chosen.esn, UDPEncap: c.udp, Selectors: slices.Clone(c.selectors),
		Established: c.established, RekeyAt: c.rekeyAt, Outbound: c.slot.outbound == c}
	if c.chosen.dh != 0 {
		info.PFS = c.chosen.dh.String()
	}
	return info
}
