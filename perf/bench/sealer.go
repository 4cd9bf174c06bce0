package bench

import (
	"encoding/binary"
	"slices"

	"sallyport/crypto"
)

// sealer makes the packets that one side of the SAs sends with the reference implementation, those of one worker.
type sealer struct {
	load   load
	worker int
	spis   []uint32 // by tunnel
	esp    []*crypto.ESP
	ah     []*crypto.AH
	sent   []uint64 // sequence numbers used
}

func newSealer(l load, worker int, spis []uint32, keymat crypto.Secret) (*sealer, error) {
	s := &sealer{load: l, worker: worker, spis: spis, sent: make([]uint64, len(spis))}
	for _, spi := range spis {
		var err error
		var ah *crypto.AH
		var esp *crypto.ESP
		if l.suite.AH() {
			ah, err = crypto.NewAH(l.suite, spi, keymat)
		} else {
			esp, err = crypto.NewESP(l.suite, spi, keymat)
		}
		if err != nil {
			return nil, err
		}
		s.esp, s.ah = append(s.esp, esp), append(s.ah, ah)
	}
	return s, nil
}

// packet is packet i of the file, protected: the next one of its SA.
func (s *sealer) packet(i int) ([]byte, error) {
	flow := s.worker*s.load.flows + s.load.flow(i)
	tunnel := s.load.tunnel(flow)
	s.sent[tunnel]++
	inner := s.load.innerPacket(s.worker, i)
	if s.load.suite.AH() {
		return s.ah[tunnel].Protect(s.load.outer(inner, s.load.innerProtocol()), s.sent[tunnel])
	}
	esp, err := s.esp[tunnel].Seal(s.sent[tunnel], nil, inner, s.load.innerProtocol())
	if err != nil {
		return nil, err
	}
	if s.load.udp {
		udp := appendUDP(nil, udpLen+len(esp), portNATT, portNATT)
		return s.load.outer(append(udp, esp...), protocolUDP), nil
	}
	return s.load.outer(esp, protocolESP), nil
}

func (l load) innerProtocol() byte {
	if l.inner6 {
		return protocolIPv6
	}
	return protocolIPv4
}

// outer puts the outer IP header in front.
func (l load) outer(payload []byte, protocol byte) []byte {
	local, peer := l.ends()
	if l.direction == Inbound {
		local, peer = peer, local
	}
	return append(appendIP(nil, l.outerLen()+len(payload), protocol, local, peer), payload...)
}

// cryptPacket is a packet as a crypto session gets it: from the first authenticated byte on, with room for an ICV at the end
// of ESP.
type cryptPacket struct {
	octets []byte
	icv    []byte // that it has, or will have
	front  int    // bytes before the inner packet
}

// cryptPacket makes packet i of what the gateway's crypto session sees. Outbound it is clear text, with what an IV is made
// from in the place of the IV.
func (s *sealer) cryptPacket(i int) (p cryptPacket, err error) {
	sealed, err := s.packet(i)
	if err != nil {
		return p, err
	}
	suite := s.load.suite
	if suite.AH() {
		p = blankAH(suite, sealed)
		p.front = len(sealed) - s.load.sizeOf(i)
		return p, nil
	}
	p.octets, p.front = sealed[s.load.inFront():], espHeaderLen+suite.IVLen()
	p.icv = slices.Clone(p.octets[len(p.octets)-suite.ICVLen():])
	if s.load.direction == Outbound {
		p.octets = s.clearESP(i, len(p.octets))
	}
	return p, nil
}

// inFront is what a protected packet has in front of its SPI: outer header, UDP header.
func (l load) inFront() int {
	if l.udp {
		return l.outerLen() + udpLen
	}
	return l.outerLen()
}

func (l load) outerLen() int {
	if l.outer6 {
		return ipv6Len
	}
	return ipv4Len
}

// blankAH takes out of a packet what its ICV does not cover (RFC 4302 section 3.3.3.1): mutable fields of an IPv4 header
// without options, and the ICV.
func blankAH(suite crypto.Suite, packet []byte) cryptPacket {
	icv := packet[ipv4Len+ahFixedLen:][:suite.ICVLen()]
	p := cryptPacket{octets: packet, icv: slices.Clone(icv)}
	clear(icv)
	packet[1], packet[8] = 0, 0 // TOS, TTL
	clear(packet[6:8])          // flags, fragment offset
	clear(packet[10:12])        // checksum
	return p
}

const ahFixedLen = 12 // in front of the ICV

// clearESP is the last packet made of the SA as it stands before encryption.
func (s *sealer) clearESP(i, length int) []byte {
	suite := s.load.suite
	tunnel := s.load.tunnel(s.worker*s.load.flows + s.load.flow(i))
	b := binary.BigEndian.AppendUint32(nil, s.spis[tunnel])
	b = binary.BigEndian.AppendUint32(b, uint32(s.sent[tunnel]))
	iv := make([]byte, suite.IVLen())
	if len(iv) > 0 {
		binary.BigEndian.PutUint64(iv, s.sent[tunnel])
	}
	b = append(append(b, iv...), s.load.innerPacket(s.worker, i)...)
	end := length - suite.ICVLen()
	for pad := byte(1); len(b) < end-2; pad++ {
		b = append(b, pad)
	}
	pad := byte(len(b) - espHeaderLen - len(iv) - s.load.sizeOf(i))
	b = append(b, pad, s.load.innerProtocol())
	return append(b, make([]byte, suite.ICVLen())...)
}
