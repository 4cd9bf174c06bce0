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
