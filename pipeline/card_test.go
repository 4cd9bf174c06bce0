package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"sallyport/crypto"
	"sallyport/pmd/mbuf"
)

// card is a NIC that does ESP, between the rings of a rig's ports and the wires: the reference does its work. Fast path and card together
// must be what the reference is by itself.
type card struct {
	r        *rig
	mu       sync.Mutex              // of sessions, which others than the test make and end
	protocol bool                    // its sessions are of inline protocol
	refuse   error                   // what Open answers
	bare     func(port uint16) bool  // ports that are no such card, nil: none
	leave    func(frame []byte) bool // leaves received packets as they are
	tamper   func(m unsafe.Pointer)  // after it has received a packet, whatever that is
	sessions map[int]*cardSession
	made     int
	probes   int  // how often it was asked whether it is back
	gone     bool // it is out of the machine, and no probe finds it
	left     int  // packets that it was left to send
	opened   int
}

type cardSession struct {
	port     uint16
	outbound bool
	protocol bool
	sa       InlineSA
	out      *referenceOut
	in       *referenceIn
}

func (c *card) Offers(port uint16) bool { return c.bare == nil || !c.bare(port) }

func (c *card) Open(port uint16, sa *InlineSA) (InlineSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return InlineSession{}, c.refuse
	}
	if !c.Offers(port) {
		return InlineSession{}, errors.New("the port has no inline IPsec")
	}
	if c.sessions == nil {
		c.sessions = map[int]*cardSession{}
	}
	protocol := c.protocol && sa.NoProtocol == ""
	if !protocol && sa.NoCrypto != "" {
		return InlineSession{}, errors.New(sa.NoCrypto)
	}
	child := ChildSA{SPI: sa.SPI, Transport: sa.Transport, UDPEncap: sa.UDPEncap, ESN: sa.ESN, Suite: sa.Suite, Keymat: crypto.NewSecret(sa.Keymat.Bytes()),
		Local: sa.Local, Remote: sa.Remote, Encapsulation: sa.Encapsulation, ReplayWindow: sa.ReplayWindow, FirstSequence: sa.Sequence}
	s := &cardSession{port: port, outbound: sa.Outbound, protocol: protocol, sa: *sa}
	if sa.Outbound {
		s.out = c.r.newReferenceOut(child)
	} else {
		s.in = c.r.newReferenceIn(child)
	}
	c.made++
	c.sessions[c.made] = s
	return InlineSession{Handle: unsafe.Add(c.r.pool.Pointer(), c.made), Context: c.r.pool.Pointer(), Protocol: protocol, Port: port}, nil
}

func (c *card) Removed(port uint16) bool { return c.gone && port == uint16(c.r.wire(wan).port) }

func (c *card) Lose(uint16) {}

func (c *card) Probe(uint16) error {
	c.probes++
	if c.gone {
		return errors.New("it is gone")
	}
	return c.refuse
}

func (c *card) Close(session InlineSession) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := int(uintptr(session.Handle) - uintptr(session.Context))
	if c.sessions[n] == nil {
		return fmt.Errorf("session %d is closed twice", n)
	}
	delete(c.sessions, n)
	return nil
}

// session is that of an SA in one direction, or nil; SPI 0 is for the newest.
func (c *card) session(outbound bool, spi uint32) (found *cardSession) {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := 0
	for n, s := range c.sessions {
		if s.outbound == outbound && (s.sa.SPI == spi || spi == 0 && n > newest) {
			found, newest = s, n
		}
	}
	return found
}

// linkLayer is the length of a frame's.
func linkLayer(frame []byte) int {
	if len(frame) > etherHeaderLen && binary.BigEndian.Uint16(frame[12:]) == 0x8100 {
		return etherHeaderLen + 4
	}
	return etherHeaderLen
}

// espAt is where ESP begins in a frame and how long the IP packet is, 0 where there is none that a card would see.
func espAt(frame []byte) (at, end int) {
	l2 := linkLayer(frame)
	if len(frame) < l2+ipv4HeaderLen {
		return 0, 0
	}
	ip := frame[l2:]
	var protocol uint8
	var reason string
	if isIPv6(ip) {
		_, reason = parseIPv6(ip)
	} else {
		_, reason = parseIPv4(ip)
	}
	if reason != "" {
		return 0, 0
	}
	if isIPv6(ip) {
		protocol, _ = ipv6(ip).upper()
		end = l2 + ipv6HeaderLen + int(binary.BigEndian.Uint16(ip[4:]))
	} else {
		protocol = ip[9]
		end = l2 + int(binary.BigEndian.Uint16(ip[2:]))
	}
	at = l2 + headersOf(ip)
	if protocol == protocolUDP && end-at > udpHeaderLen+espHeaderLen && binary.BigEndian.Uint16(frame[at+2:]) == 4500 {
		at, protocol = at+udpHeaderLen, protocolESP
	}
	if protocol != protocolESP || end-at < espHeaderLen {
		return 0, 0
	}
	return at, end
}

// receive is a packet as the card hands it over that a port has.
func (c *card) receive(port uint16, m unsafe.Pointer) unsafe.Pointer {
	if c == nil {
		return m
	}
	frame := mbuf.Bytes(m)
	if at, end := espAt(frame); at != 0 && (c.leave == nil || !c.leave(frame)) {
		if s := c.session(false, binary.BigEndian.Uint32(frame[at:])); s != nil && s.port == port {
			m = c.open(s, m, frame, at, end)
		}
	}
	if c.tamper != nil {
		c.tamper(m)
	}
	return m
}

func (c *card) open(s *cardSession, m unsafe.Pointer, frame []byte, at, end int) unsafe.Pointer {
	body, suite := frame[at:end], s.sa.Suite
	if len(body) < espHeaderLen+suite.IVLen()+suite.ICVLen()+suite.BlockSize() {
		return m
	}
	l2 := linkLayer(frame)
	if s.protocol {
		inner, reason := s.in.openBare(frame[l2:end], body, s.sa.UDPEncap)
		if reason != "" && !isFragment(reason) {
			opened(m, true, s.sa.Userdata)
			return m
		}
		etherType := uint16(etherTypeIPv4)
		if isIPv6(inner) {
			etherType = etherTypeIPv6
		}
		frame = append(binary.BigEndian.AppendUint16(slices.Clone(frame[:l2-2]), etherType), inner...)
	} else {
		sequence := uint64(binary.BigEndian.Uint32(body[4:]))
		if s.sa.ESN {
			sequence = s.in.window.infer(uint32(sequence))
		}
		payload, next, _, err := s.in.esp.Open(body, uint32(sequence>>32))
		if errors.Is(err, crypto.ErrICV) {
			opened(m, true, s.sa.Userdata)
			return m
		}
		s.in.window.accept(sequence)
		text := body[espHeaderLen+suite.IVLen() : len(body)-suite.ICVLen()]
		copy(text, payload)
		pad := len(text) - len(payload) - 2
		for i := range pad {
			text[len(payload)+i] = byte(i + 1)
		}
		text[len(text)-2], text[len(text)-1] = byte(pad), next
		if err != nil {
			text[0] = 0 // the padding is wrong: so is all else
		}
	}
	c.opened++
	return c.replace(m, frame, s.sa.Userdata)
}

// replace is another packet in place of one, marked.
func (c *card) replace(m unsafe.Pointer, frame []byte, userdata uint64) unsafe.Pointer {
	c.r.t.Helper()
	made, err := mbuf.FromBytes(c.r.pool, frame)
	if err != nil {
		c.r.t.Fatal(err)
	}
	mbuf.Free(m)
	opened(made, false, userdata)
	return made
}

// send is a packet as it is on the wire of a port.
func (c *card) send(port uint16, m unsafe.Pointer, frame []byte) []byte {
	l2 := 0
	if c != nil {
		l2 = leftToNIC(m)
	}
	if l2 == 0 {
		return frame
	}
	c.left++
	if l2 != linkLayer(frame) {
		c.r.t.Fatalf("frame with %d bytes of link layer is left as one with %d", linkLayer(frame), l2)
	}
	if at, _ := espAt(frame); at == 0 {
		s := c.session(true, 0)
		if s == nil || !s.protocol || s.port != port {
			c.r.t.Fatalf("% x is left to a card that has no session of inline protocol for it", frame)
		}
		s.out.sequence++
		outer := s.out.wrap(frame[l2:], s.out.sequence, 0)
		return append(slices.Clone(frame[:l2]), outer...)
	}
	at, end := espAt(frame)
	s := c.session(true, binary.BigEndian.Uint32(frame[max(at, 0):]))
	if at == 0 || s == nil || s.port != port {
		c.r.t.Fatalf("% x is left to a card that has no session for it", frame)
	}
	suite := s.sa.Suite
	sequence := uint64(binary.BigEndian.Uint32(frame[at+4:]))
	if s.sa.ESN {
		window := referenceWindow{size: 1024, top: s.out.sequence}
		sequence = window.infer(uint32(sequence))
	}
	s.out.sequence = sequence
	iv := frame[at+espHeaderLen:][:suite.IVLen()]
	text := frame[at+espHeaderLen+suite.IVLen() : end-suite.ICVLen()]
	payload := text[:len(text)-2-int(text[len(text)-2])]
	sealed, err := s.out.esp.Seal(sequence, iv, payload, text[len(text)-1])
	if err != nil || len(sealed) != end-at {
		c.r.t.Fatalf("% x is left to the card and is no packet to be encrypted: %v, %d bytes", frame, err, len(sealed))
	}
	return append(slices.Clone(frame[:at]), sealed...)
}
