package hostile

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"sallyport/ike"
	"sallyport/perf/lab"
)

// Offsets in a frame of UDP over IPv4.
const (
	ipAt       = 14
	sourceAt   = ipAt + 12
	checksumAt = ipAt + 10
	udpAt      = ipAt + 20
	payloadAt  = udpAt + 8
)

const (
	portIKE      = 500
	portNATT     = 4500
	markerLength = 4 // octets of the non-ESP marker
)

// origin chooses where a message says that it comes from. By another port than IKE's it goes to that of NAT traversal, for which alone the gateway takes any.
type origin func(random *rand.Rand) (netip.Addr, uint16)

// anywhere is any address on the Internet that is nobody's here.
func anywhere(random *rand.Rand) (netip.Addr, uint16) {
	for {
		a := random.Uint32()
		switch first := a >> 24; {
		case first == 0, first == 10, first == 127, a>>8 == 192<<16|2, first >= 224: // 192.0.2.0/24
		default:
			return netip.AddrFrom4([4]byte{byte(first), byte(a >> 16), byte(a >> 8), byte(a)}), anyPort(random)
		}
	}
}

// inNames is one of the gateway's peers that speak a version.
func inNames(version ike.Version) origin {
	var list []netip.Addr
	for _, m := range members {
		if m.version == version {
			list = append(list, m.address)
		}
	}
	return oneOf(list)
}

func oneOf(list []netip.Addr) origin {
	return func(random *rand.Rand) (netip.Addr, uint16) { return list[random.IntN(len(list))], anyPort(random) }
}

// anyPort is IKE's half of the time.
func anyPort(random *rand.Rand) uint16 {
	const least = 1024
	if n := random.Uint32(); n&1 == 0 {
		return uint16(least + n>>1%(1<<16-least))
	}
	return portIKE
}

// flood is acceptable first messages, each with an SPI of its own, as fast as the link takes them.
func flood(version ike.Version, from origin) func(context.Context, *bed) (attack, error) {
	return func(_ context.Context, b *bed) (attack, error) {
		first, err := firstMessage(version, b.psk)
		if err != nil {
			return nil, err
		}
		first.To = netip.AddrPortFrom(b.target, portIKE)
		plain := b.wire.Frame(first, false)
		first.To = netip.AddrPortFrom(first.To.Addr(), portNATT)
		marked := b.wire.Frame(first, true)
		random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
		next := func(frame []byte) int {
			address, port := from(random)
			pattern, spi := plain, payloadAt
			if port != portIKE {
				pattern, spi = marked, payloadAt+markerLength
			}
			n := copy(frame, pattern)
			a := address.As4()
			copy(frame[sourceAt:], a[:])
			binary.BigEndian.PutUint16(frame[checksumAt:], 0)
			binary.BigEndian.PutUint16(frame[checksumAt:], lab.HeaderChecksum(frame[ipAt:udpAt]))
			binary.BigEndian.PutUint16(frame[udpAt:], port)
			binary.BigEndian.PutUint64(frame[spi:], random.Uint64()|1)
			return n
		}
		return b.volley(next), nil
	}
}

// firstMessage is what a peer begins with.
func firstMessage(version ike.Version, psk string) (d lab.Datagram, err error) {
	m := member{name: "first", version: version, address: peerAddress(0), host: hostAddress(0)}
	p, err := m.peer(psk)
	if err != nil {
		return d, err
	}
	e := newEngine(version, ike.Config{Peers: []ike.Peer{p}, AllocateSPI: func(_, _ string) (uint32, error) { return 0x1000, nil }})
	for _, effect := range e.Step(time.Now(), ike.Initiate{Peer: p.Name}) {
		if send, ok := effect.(ike.Send); ok {
			return lab.Datagram{From: send.Local, To: send.Remote, Payload: send.Payload}, nil
		}
	}
	return d, fmt.Errorf("hostile: expected a first message of IKE%s, the engine sends none", version)
}

// What the tunnel that is measured carries: datagrams of 1400 octets.
const tunnelLength = 1400

// tunnelFrame is what a host of the LAN sends through the tunnel.
func (b *bed) tunnelFrame() []byte {
	payload := make([]byte, tunnelLength-(payloadAt-ipAt))
	return b.lan.Frame(lab.Datagram{From: netip.AddrPortFrom(sourceHost, 2000), To: netip.AddrPortFrom(members[0].host, 2000), Payload: payload}, false)
}
