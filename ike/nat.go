package ike

import (
	"net/netip"

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
// packet.
func (sa *ikeSA) mayMove(remote netip.AddrPort) bool {
	e := sa.engine
	if remote.Addr() == sa.remote.Addr() || e.cfg.MayMove == nil || e.cfg.MayMove(sa.remote, remote) {
		return true
	}
	f := sa.fact(Refused)
	f.Remote, f.Reason = remote, RefuseAddress
	e.fact(f)
	return false
}

// peerMoved takes the data plane's word for where the peer is.
func (sa *ikeSA) peerMoved(remote netip.AddrPort) {
	if sa.follows() && remote != sa.remote && sa.mayMove(remote) {
		sa.moved(sa.local, remote)
	}
}

// moved follows a peer whose NAT gave it another address or port.
func (sa *ikeSA) moved(local, remote netip.AddrPort) {
	sa.relocate(local, remote)
	sa.moveChildren()
}

// relocate notes where the two ends of an IKE SA are.
func (sa *ikeSA) relocate(local, remote netip.AddrPort) {
	sa.local, sa.remote = local, remote
	sa.engine.fact(sa.fact(AddressChanged))
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
