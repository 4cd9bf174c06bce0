package ike

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/ike/internal/admission"
	"sallyport/ike/wire"
)

// addNATDetection lets the peer see whether the addresses and ports it finds are those that we know (RFC 7296 2.23).
func (m *message) addNATDetection() {
	m.add(wire.NATDetectionSource(m.InitiatorSPI, m.ResponderSPI, m.sa.local),
		wire.NATDetectionDestination(m.InitiatorSPI, m.ResponderSPI, m.sa.remote))
}

// detectNAT reads the same of the peer's and says whether a NAT was found. A peer that wants ESP inside UDP without a NAT pretends one.
func (sa *ikeSA) detectNAT(m *message) bool {
	_, sa.natRemote, sa.natLocal = wire.NATDetected(&m.Message, m.remote, m.local)
	return sa.natLocal || sa.natRemote
}

func onPort(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

// follows reports whether the peer's address may change: it stands behind a NAT and we do not (RFC 7296 2.23).
func (sa *ikeSA) follows() bool { return sa.natRemote && !sa.natLocal && sa.state >= stateEstablished }

// mayMove reports whether the peer may be at an address, authentic as the news may be: anybody on the path can write another source into a genuine
// packet. It is never where we are, inside, or another peer.
func (sa *ikeSA) mayMove(remote netip.AddrPort) bool {
	if remote.Addr() == sa.remote.Addr() || sa.canBe(remote) {
		return true
	}
	f := sa.fact(Refused)
	f.Remote, f.Reason = remote, RefuseAddress
	sa.engine.fact(f)
	return false
}

// canBe is mayMove of another address, without a word about it.
func (sa *ikeSA) canBe(remote netip.AddrPort) bool {
	e := sa.engine
	return (e.cfg.MayMove == nil || e.cfg.MayMove(sa.remote, remote)) && !sa.peer.owns(remote.Addr()) && !e.taken(sa.peer, remote)
}

// peerMoved takes the data plane's word for where the peer is. One that tells by itself when it moves is not followed with IKE (RFC 4555 3.8).
func (sa *ikeSA) peerMoved(remote netip.AddrPort) {
	if sa.follows() && !sa.mobike.on && remote != sa.remote && sa.mayMove(remote) {
		sa.moved(sa.local, remote)
	}
}

// moved follows a peer whose NAT gave it another address or port.
func (sa *ikeSA) moved(local, remote netip.AddrPort) {
	sa.relocate(local, remote)
	sa.moveChildren()
}

// keepaliveInterval is how long a NAT before us may see nothing of an IKE SA (RFC 3948 4).
const keepaliveInterval = 20 * time.Second

// keepMapping keeps a NAT before us from forgetting where the peer finds us. Child SAs do so by themselves: the data plane knows when a packet has left.
func (sa *ikeSA) keepMapping() {
	e := sa.engine
	if !sa.natLocal || sa.nat.Pending() {
		return
	}
	e.timers.Set(&sa.nat, e.now.Add(keepaliveInterval), func() {
		if sa.natLocal && !slices.ContainsFunc(sa.children, func(c *childSA) bool { return c.sending == sendCurrent && c.udp }) {
			e.effect(Send{Local: sa.local, Remote: sa.remote, Payload: []byte{0xff}})
		}
		sa.keepMapping()
	})
}

// relocate notes where the two ends of an IKE SA are.
func (sa *ikeSA) relocate(local, remote netip.AddrPort) {
	was := path{sa.local.Addr(), sa.remote.Addr()}
	sa.local, sa.remote, sa.mobike.home = local, remote, remote.Addr()
	sa.engine.rehome(sa.peer, was)
	sa.engine.fact(FactOfMove(sa.fact(AddressChanged), &sa.peer.moves, sa.engine.now))
}

// Moves limits how often a second it is told that a peer has moved: anybody on the path can have it move with each of its packets, and each would be a line of
// the log. It is for the engines.
func Moves() admission.Bucket { return admission.Bucket{PerSecond: 1, Burst: 16} }

// FactOfMove is what is told of a move: above the limit it is counted alone.
func FactOfMove(f Fact, moves *admission.Bucket, now time.Time) Fact {
	if !moves.Take(now) {
		f.Kind, f.Reason = Refused, RefuseMoves
	}
	return f
}

// moveChildren has the Child SAs follow, as they are: an outbound SA is installed once and never again, for a second time would begin its sequence
// numbers, and so its nonces, anew. Where a NAT has come on the way or gone, so that ESP goes in UDP or no longer, they get new keys.
func (sa *ikeSA) moveChildren() {
	for _, c := range sa.children {
		if c.sending == sendCurrent {
			sa.engine.effect(MoveOutbound{Peer: c.slot.peer.cfg.Name, Child: c.slot.cfg.Name, SPI: c.spiOut, Local: sa.local, Remote: sa.remote})
		}
		if c.udp != (sa.natLocal || sa.natRemote) && c.state == childActive {
			c.rekey()
		}
	}
}
