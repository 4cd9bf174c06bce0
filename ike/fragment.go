package ike

import (
	"fmt"
	"slices"

	"sallyport/ike/wire"
)

// sealed is a message of ours as it leaves: one datagram, or the fragments of RFC 7383. What it was sealed from is kept where it can be sealed anew
// in shorter ones.
type sealed struct {
	header    wire.Header
	first     wire.PayloadType
	plain     []byte // nil: as short as it gets
	keys      *ikeKeys
	datagrams [][]byte
}

// DefaultFragmentSize is the length in octets, IP header included, beyond which a message is sent in fragments. RFC 7383 2.5.1 has 1280 for IPv6
// and as little as 576 for IPv4, which nearly doubles the datagrams for paths that hardly exist: if 1280 does not get through, we go on with 576.
const DefaultFragmentSize = wire.FragmentIPv6

// leastFragmentSize is the shortest that a fragment is worth to be cut: every IPv4 path is expected to carry as much (RFC 7383 2.5.1).
const leastFragmentSize = wire.FragmentIPv4

// Octets of a datagram before its IKE message.
const (
	ipv4Header   = 20
	ipv6Header   = 40
	udpHeader    = 8
	nonESPMarker = 4
)

// outside is how many octets of a datagram are not its IKE message.
func (sa *ikeSA) outside() int {
	n := udpHeader
	if sa.local.Port() != portIKE {
		n += nonESPMarker
	}
	if sa.remote.Addr().Is4() {
		return n + ipv4Header
	}
	return n + ipv6Header
}

// room is how long an IKE message may be to travel in one piece.
func (sa *ikeSA) room() int {
	size := DefaultFragmentSize
	if p := sa.anyPeer(); p.cfg.FragmentSize > 0 {
		size = p.cfg.FragmentSize
	}
	if sa.path > 0 {
		size = min(size, sa.path)
	}
	return size - sa.outside()
}

// anyPeer is the peer, or as long as that is not known one that it may be: those at one address had better agree on what its path is like.
func (sa *ikeSA) anyPeer() *peer {
	if sa.peer != nil {
		return sa.peer
	}
	return sa.among[0]
}

// shortestPath is the IP datagram that the path must carry whatever it is like. IPv6 has no shorter ones.
func (sa *ikeSA) shortestPath() int {
	if sa.remote.Addr().Is4() {
		return leastFragmentSize
	}
	return wire.FragmentIPv6
}

// narrowPath notes that datagrams longer than size octets may not get through.
func (sa *ikeSA) narrowPath(size int) {
	if size = max(size, sa.shortestPath()); sa.path == 0 || size < sa.path {
		sa.path = size
	}
}

// seal turns a message of ours into datagrams: IKE_SA_INIT in clear, all else inside SK (RFC 7296 3.14) or in fragments.
func (sa *ikeSA) seal(m *message) (*sealed, error) {
	if m.Exchange == wire.ExchangeIKESAInit {
		b, err := m.Marshal()
		return &sealed{header: m.Header, datagrams: [][]byte{b}}, err
	}
	var err error
	if m.first, m.plain, err = wire.MarshalPayloads(m.Payloads); err != nil {
		return nil, err
	}
	s := &sealed{header: m.Header, first: m.first, plain: m.plain, keys: sa.keys}
	return s, sa.cut(s)
}

// cut seals a message into as many datagrams as the path asks for.
func (sa *ikeSA) cut(s *sealed) error {
	whole := wire.EncryptedOverhead + len(s.plain) + s.keys.out.Overhead(len(s.plain))
	if !sa.fragmentation || whole <= sa.room() {
		b, err := sa.sealWhole(s)
		s.datagrams = [][]byte{b}
		if !sa.fragmentation || whole <= sa.shortestPath()-sa.outside() {
			s.plain = nil
		}
		return err
	}
	s.datagrams = nil
	size := sa.pieceLen(s.keys)
	total := (len(s.plain) + size - 1) / size
	for i := range total {
		f := wire.Fragment{Number: uint16(i + 1), Total: uint16(total)}
		if i == 0 {
			f.FirstPayload = s.first
		}
		b, err := sa.sealPiece(s, f, s.plain[i*size:min((i+1)*size, len(s.plain))])
		if err != nil {
			return err
		}
		s.datagrams = append(s.datagrams, b)
	}
	return nil
}

// pieceLen is how many octets of plaintext a fragment takes, with padding at its worst.
func (sa *ikeSA) pieceLen(keys *ikeKeys) int {
	n := sa.room() - wire.FragmentOverhead
	for n > 1 && n+keys.out.Overhead(n) > sa.room()-wire.FragmentOverhead {
		n--
	}
	return n
}

func (sa *ikeSA) sealWhole(s *sealed) ([]byte, error) {
	prefix, err := wire.EncryptedPrefix(s.header, s.first, len(s.plain)+s.keys.out.Overhead(len(s.plain)))
	if err != nil {
		return nil, err
	}
	return s.keys.out.Seal(prefix, prefix, s.plain, sa.engine.cfg.Random)
}

func (sa *ikeSA) sealPiece(s *sealed, f wire.Fragment, piece []byte) ([]byte, error) {
	prefix, err := wire.FragmentPrefix(s.header, f, len(piece)+s.keys.out.Overhead(len(piece)))
	if err != nil {
		return nil, err
	}
	return s.keys.out.Seal(prefix, prefix, piece, sa.engine.cfg.Random)
}

// shorten seals a message anew for a path that is narrower than we thought (RFC 7383 2.5.2). A message that fits anyway stays as it is: what comes
// again must be the same octets wherever it can be (RFC 7296 2.1).
func (sa *ikeSA) shorten(s *sealed, size int) error {
	if s.plain == nil {
		return nil
	}
	sa.narrowPath(size)
	if tooLong := func(b []byte) bool { return len(b) > sa.room() }; !slices.ContainsFunc(s.datagrams, tooLong) {
		return nil
	}
	return sa.cut(s)
}

// transmit sends all datagrams of a message.
func (sa *ikeSA) transmit(s *sealed, d Datagram) {
	for _, b := range s.datagrams {
		sa.engine.send(d.Local, d.Remote, b)
	}
}

// announceFragmentation says that we understand fragments (RFC 7383 2.3), if the configuration does not forbid them.
func (m *message) announceFragmentation() {
	if m.sa.mayFragment() {
		m.add(wire.NewNotify(wire.NotifyFragmentationSupported, nil))
	}
}

// agreeOnFragmentation reads the same of the peer's. It is covered by AUTH, as all of IKE_SA_INIT is.
func (sa *ikeSA) agreeOnFragmentation(m *message) {
	sa.fragmentation = sa.mayFragment() && m.notify(wire.NotifyFragmentationSupported) != nil
}

func (sa *ikeSA) mayFragment() bool { return sa.anyPeer().cfg.FragmentSize >= 0 }

// validateFragmentSize checks the octets of Peer.FragmentSize.
func validateFragmentSize(p Peer) error {
	if p.FragmentSize > 0 && (p.FragmentSize < leastFragmentSize || p.FragmentSize > wire.MaxMessage) {
		return fmt.Errorf("peer %q: fragment size %d, expected %d to %d octets", p.Name, p.FragmentSize, leastFragmentSize, wire.MaxMessage)
	}
	return nil
}
