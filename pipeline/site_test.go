package pipeline

import (
	"net"
	"net/netip"

	"sallyport/crypto"
	"sallyport/policy"
)

// outbound installs an SA that sends, on both sides; the peer's end of it is returned, with its own replay window.
func (r *rig) outbound(child ChildSA) *referenceIn {
	r.t.Helper()
	if err := r.d.InstallOutbound(child); err != nil {
		r.t.Fatal(err)
	}
	out := r.newReferenceOut(child)
	r.ref.cells[child.Cell].out = out
	return &referenceIn{child: child, esp: out.esp, window: newReferenceWindow(DefaultReplayWindow)}
}

func (r *rig) newReferenceOut(child ChildSA) *referenceOut {
	return &referenceOut{child: child, esp: r.newESP(child), sequence: max(child.FirstSequence, 1) - 1}
}

func (r *rig) newESP(child ChildSA) *crypto.ESP {
	r.t.Helper()
	esp, err := crypto.NewESP(child.Suite, child.SPI, child.Keymat, crypto.WithESN(child.ESN))
	if err != nil {
		r.t.Fatal(err)
	}
	return esp
}

// inbound installs an SA that receives, on both sides; what the peer sends with is returned.
func (r *rig) inbound(child ChildSA) *referenceOut {
	r.t.Helper()
	if err := r.d.InstallInbound(child); err != nil {
		r.t.Fatal(err)
	}
	window := child.ReplayWindow
	if window == 0 {
		window = DefaultReplayWindow
	}
	r.ref.inbound[child.SPI] = &referenceIn{child: child, esp: r.newESP(child), window: newReferenceWindow(window)}
	far := child
	far.Local, far.Remote = child.Remote, child.Local
	return r.newReferenceOut(far)
}

// child describes an SA of a tunnel between the sites with fresh keys. For an inbound one the SPI is allocated.
func (r *rig) child(tunnel, suite string, inbound bool) ChildSA {
	r.t.Helper()
	s, err := crypto.ParseSuite(suite)
	if err != nil {
		r.t.Fatal(err)
	}
	keymat := make([]byte, s.KeymatLen())
	for i := range keymat {
		keymat[i] = byte(r.random.Uint32())
	}
	c := ChildSA{Cell: r.cell(tunnel), SPI: r.random.Uint32() | 1<<31, Suite: s, Keymat: crypto.NewSecret(keymat),
		Local: netip.AddrPortFrom(wanOwn, 4500), Remote: netip.AddrPortFrom(peer, 4500),
		Selectors: []policy.Selector{siteSelector}}
	if inbound {
		if c.SPI, err = r.d.AllocateSPI(); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}

var siteSelector = policy.Selector{
	Local:     policy.RangeOf(netip.MustParsePrefix("10.1.0.0/16")),
	Remote:    policy.RangeOf(netip.MustParsePrefix("10.2.0.0/16")),
	LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
}

// fromHost and fromPeer are frames as the two neighbours send them.
func fromHost(ip []byte) []byte {
	return etherFrame(lanMAC[:], net.HardwareAddr(hostMAC[:]), etherTypeIPv4, ip)
}
func fromPeer(ip []byte) []byte {
	return etherFrame(wanMAC[:], net.HardwareAddr(peerMAC[:]), etherTypeIPv4, ip)
}

// packetOfLength is an IPv4 packet of exactly length bytes in all, from 20 on, of the protocol.
func packetOfLength(source, destination netip.Addr, protocol uint8, length int) ipv4 {
	p := make(ipv4, length)
	for i := range p {
		p[i] = byte(i * 7)
	}
	if length >= ipv4HeaderLen+udpHeaderLen && hasPorts(protocol) {
		copy(p[ipv4HeaderLen:], []byte{0x30, 0x39, 0x16, 0x2e, byte((length - 20) >> 8), byte(length - 20), 0, 0}) // 12345 to 5678
	}
	putIPv4(p, 0, 64, protocol, flagDontFragment, source, destination)
	return p
}

var (
	peerPort = netip.AddrPortFrom(peer, 500)
	wanPort  = netip.AddrPortFrom(wanOwn, 500)
)
