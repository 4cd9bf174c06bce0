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
	r.ref.cells[child.Cell].out = r.newReferenceOut(child)
	far := child
	far.Local, far.Remote = child.Remote, child.Local
	return r.newReferenceIn(far)
}

func (r *rig) newReferenceOut(child ChildSA) *referenceOut {
	esp, ah := r.newLayers(child)
	return &referenceOut{child: child, esp: esp, ah: ah, sequence: max(child.FirstSequence, 1) - 1}
}

func (r *rig) newReferenceIn(child ChildSA) *referenceIn {
	window := func(size int) referenceWindow {
		if size == 0 {
			size = DefaultReplayWindow
		}
		return newReferenceWindow((size + 31) / 32 * 32)
	}
	esp, ah := r.newLayers(child)
	return &referenceIn{child: child, esp: esp, ah: ah, window: window(child.ReplayWindow), ahWindow: window(child.ahLayer().ReplayWindow)}
}

// newLayers is the ESP and the AH of an SA, of which one may be missing.
func (r *rig) newLayers(child ChildSA) (esp *crypto.ESP, ah *crypto.AH) {
	r.t.Helper()
	var err error
	if !child.isAH() {
		if esp, err = crypto.NewESP(child.Suite, child.SPI, child.Keymat, crypto.WithESN(child.ESN)); err != nil {
			r.t.Fatal(err)
		}
	}
	if layer := child.ahLayer(); child.isAH() || child.AH != nil {
		if ah, err = crypto.NewAH(layer.Suite, layer.SPI, layer.Keymat, crypto.WithESN(layer.ESN)); err != nil {
			r.t.Fatal(err)
		}
	}
	return esp, ah
}

// inbound installs an SA that receives, on both sides; what the peer sends with is returned.
func (r *rig) inbound(child ChildSA) *referenceOut {
	r.t.Helper()
	if err := r.d.InstallInbound(child); err != nil {
		r.t.Fatal(err)
	}
	in := r.newReferenceIn(child)
	for _, spi := range child.spis() {
		r.ref.inbound[spi] = in
	}
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
