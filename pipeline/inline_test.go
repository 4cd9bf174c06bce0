package pipeline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"sallyport/crypto"
	"sallyport/pmd/mbuf"
)

// card is a NIC that does ESP, between the rings of a rig's ports and the wires: the reference does its work. Fast path and card together
// must be what the reference is by itself.
type card struct {
	r        *rig
	protocol bool                    // its sessions are of inline protocol
	refuse   error                   // what Open answers
	bare     func(port uint16) bool  // ports that are no such card, nil: none
	leave    func(frame []byte) bool // leaves received packets as they are
	tamper   func(m unsafe.Pointer)  // after it has received a packet, whatever that is
	sessions map[int]*cardSession
	made     int
	past     []*cardSession // that were closed: what was left to them before may not have been sent
	probes   int            // how often it was asked whether it is back
	gone     bool           // it is out of the machine, and no probe finds it
	left     int            // packets that it was left to send
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

func (c *card) Probe(uint16) error {
	c.probes++
	if c.gone {
		return errors.New("it is gone")
	}
	return c.refuse
}

func (c *card) Close(session InlineSession) error {
	n := int(uintptr(session.Handle) - uintptr(session.Context))
	if c.sessions[n] == nil {
		return fmt.Errorf("session %d is closed twice", n)
	}
	c.past = append(c.past, c.sessions[n])
	delete(c.sessions, n)
	return nil
}

// session is that of an SA in one direction, or nil; SPI 0 is for the newest.
func (c *card) session(outbound bool, spi uint32) (found *cardSession) {
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
	for i := 0; s == nil && i < len(c.past); i++ {
		if was := c.past[i]; was.outbound && !was.protocol && was.port == port && was.sa.SPI == binary.BigEndian.Uint32(frame[max(at, 0):]) {
			s = was
		}
	}
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

// inlineForms are the forms in which SAs can be inline.
func inlineForms(protocol bool) (forms []form) {
	for _, f := range everyForm() {
		if f.suite == "" || f.ah != "" || protocol && f.transport {
			continue
		}
		forms = append(forms, f)
		f.esn = true
		forms = append(forms, f)
	}
	return forms
}

// eachCard runs a test with inline crypto and with inline protocol.
func eachCard(t *testing.T, run func(t *testing.T, protocol bool)) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []bool{false, true} {
		t.Run(map[bool]string{false: "crypto", true: "protocol"}[protocol], func(t *testing.T) { run(t, protocol) })
	}
}

// S-103: with a card that does the crypto, or all of ESP, every byte on the wire and behind the gateway is what it is without, in every form
// and size.
func TestInlineIsTheSame(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, f := range inlineForms(protocol) {
			t.Run(f.String(), func(t *testing.T) {
				c := &card{protocol: protocol}
				r := newRig6(t, rigOptions{mtu: 9200, rules: []rule{siteRule, siteRule6}, card: c})
				out, in := r.formed(f, false), r.formed(f, true)
				in.BehindNAT, out.BehindNAT = f.udp, f.udp
				r.outbound(out)
				near := r.inbound(in)
				n := 0
				for _, version := range f.versions() {
					for _, size := range []int{64, 65, 66, 67, 68, 69, 70, 71, 512, 1400, 1500, 8900} {
						n++
						r.wantForward(lan, fromLAN(inner(version, size, true)), wan)
						near.sequence++
						r.wantForward(wan, fromWAN(near.encapsulate(inner(version, size, false), near.sequence)), lan)
					}
				}
				if c.left != n || c.opened != n {
					t.Errorf("the card has sent %d and opened %d packets of %d", c.left, c.opened, n)
				}
				for _, sa := range r.d.SACounters() {
					if sa.Packets != uint64(n) || !sa.Inline.Session || sa.Inline.Protocol != protocol || sa.Inline.Packets != uint64(n) || len(sa.Drops) != 0 {
						t.Errorf("SA %#x: %d packets of %d, %+v, drops %v", sa.SPI, sa.Packets, n, sa.Inline, sa.Drops)
					}
				}
			})
		}
	})
}

// inlineRig is a rig with a card, a pair of SAs in a form, and what their peer sends with.
func inlineRig(t *testing.T, c *card, f form, o rigOptions) (r *rig, near *referenceOut) {
	t.Helper()
	o.card, o.rules = c, []rule{siteRule, siteRule6}
	r = newRig6(t, o)
	out, in := r.formed(f, false), r.formed(f, true)
	in.BehindNAT, out.BehindNAT = f.udp, f.udp
	r.outbound(out)
	return r, r.inbound(in)
}

// sealed is so many packets of the peer's, each longer than the one before, and what comes of them.
func (r *rig) sealed(near *referenceOut, version, n int) (frames, want [][]byte) {
	r.t.Helper()
	for range n {
		near.sequence++
		frames = append(frames, fromWAN(near.encapsulate(inner(version, 60+int(near.sequence), false), near.sequence)))
		want = append(want, r.ref.process(wan, frames[len(frames)-1]).Frame)
	}
	return frames, want
}

// inbounds is what the rig's inbound SAs count.
func (r *rig) inbounds() (list []SACounters) {
	for _, sa := range r.d.SACounters() {
		if !sa.Outbound {
			list = append(list, sa)
		}
	}
	return list
}

// What the card leaves as it came is decrypted by the CPU, and stays where it was among the others of its burst.
func TestInlineLeftUndecrypted(t *testing.T) {
	for _, f := range inlineForms(false) {
		t.Run(f.String(), func(t *testing.T) {
			seen := 0
			c := &card{leave: func([]byte) bool { seen++; return seen%3 != 0 }}
			r, near := inlineRig(t, c, f, rigOptions{})
			frames, want := r.sealed(near, f.versions()[0], 30)
			r.enqueue(0, wan, frames...)
			r.settle()
			same(t, "to the lan", r.sent(lan), want)
			if sa := r.inbounds()[0]; sa.Packets != 30 || sa.Inline.Packets != 10 || len(sa.Drops) != 0 {
				t.Errorf("%d packets, %d by the card, drops %v", sa.Packets, sa.Inline.Packets, sa.Drops)
			}
			for _, frame := range frames { // by software too the numbers are used up
				if o, _ := r.check(wan, frame); o.Reason != "replay_duplicate" {
					t.Fatalf("once more: %+v", o)
				}
			}
		})
	}
}

// The window of an SA with inline protocol is the card's: what comes past it is dropped, authentic or not, and what is authentic has IKE asked for
// another SA, once.
func TestInlineWindowIsTheCards(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	for _, f := range inlineForms(true) {
		t.Run(f.String(), func(t *testing.T) {
			leave := false
			r, near := inlineRig(t, &card{protocol: true, leave: func([]byte) bool { return leave }}, f, rigOptions{})
			frames, want := r.sealed(near, f.versions()[0], 4)
			r.enqueue(0, wan, frames...)
			r.settle()
			same(t, "to the lan", r.sent(lan), want)
			leave = true
			before := r.tally()
			forged := slices.Clone(frames[0])
			forged[len(forged)-1] ^= 1
			r.enqueue(0, wan, forged)
			r.settle()
			r.serveAll()
			same(t, "told of a forged packet", len(r.seen.expired), 0)
			r.enqueue(0, wan, frames[0], frames[1])
			later, _ := r.sealed(near, f.versions()[0], 2)
			r.enqueue(0, wan, later...)
			r.settle()
			r.serveAll()
			r.settle()
			r.wantEnds("past the card", before, map[string]int{"auth_failed": 1, "inline_window": 4})
			same(t, "told", r.seen.expired, []string{fmt.Sprintf("cell %d spi %d outbound false hard false", near.child.Cell, near.child.SPI)})
			leave = false
			frames, want = r.sealed(near, f.versions()[0], 2)
			r.enqueue(0, wan, frames...)
			r.settle()
			same(t, "to the lan by the card again", r.sent(lan), want)
		})
	}
}

// What the card finds forged is dropped for its ICV.
func TestInlineForged(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, f := range inlineForms(protocol) {
			t.Run(f.String(), func(t *testing.T) {
				r, near := inlineRig(t, &card{protocol: protocol}, f, rigOptions{})
				frames, _ := r.sealed(near, f.versions()[0], 2)
				frames[0][len(frames[0])-1] ^= 1
				before := r.tally()
				r.enqueue(0, wan, frames...)
				r.settle()
				r.wantEnds("a forged and a good one", before, map[string]int{"auth_failed": 1, "forwarded": 1})
				r.sent(lan)
				if sa := r.inbounds()[0]; sa.Drops["auth_failed"] != 1 {
					t.Errorf("drops of the SA: %v", sa.Drops)
				}
			})
		}
	})
}

// A mark is believed of no SA that has no session on the very port, and of nothing that is no ESP: dropped and counted.
func TestInlineMarksAreNotBelieved(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, version := range []int{4, 6} {
			c := &card{protocol: protocol, refuse: errors.New("no room")}
			r, cpu := inlineRig(t, c, form{suite: "aes128gcm16", outer6: version == 6}, rigOptions{memory: 1 << 20})
			cbc := r.inbound(r.formed(form{suite: "aes128-sha256", outer6: version == 6}, true))
			c.refuse = nil
			near := r.inbound(r.formed(form{suite: "aes128gcm16", outer6: version == 6}, true))
			next := func(sa *referenceOut) []byte {
				sa.sequence++
				return fromWAN(sa.encapsulate(inner(version, 64, false), sa.sequence))
			}
			clear := fromWAN(inner(version, 64, false))
			fragments := pieces(near.encapsulate(inner(version, 900, false), 77), 600)
			userdata := uint64(0)
			c.leave = func([]byte) bool { return true }
			wrong := false
			c.tamper = func(m unsafe.Pointer) { opened(m, wrong, userdata) }
			for _, x := range []struct {
				what     string
				userdata uint64
				frame    []byte
				reason   string
			}{
				{"an SA of the CPU alone", 0, next(cpu), "inline_session"},
				{"an SA of the CPU alone, named", uint64(cpu.child.SPI), next(cpu), "inline_session"},
				{"another suite", uint64(cbc.child.SPI), next(cbc), "inline_session"},
				{"an SA with a session of another port", uint64(near.child.SPI), fromLANSide(next(near)), "inline_session"},
				{"what such an SA's port would have taken apart", uint64(near.child.SPI), fromLANSide(clear), "inline_session"},
				{"a packet in clear", 0, clear, "inline_session"},
				{"a packet in clear, of an SA of the CPU alone", uint64(cpu.child.SPI), clear, "inline_session"},
				{"a packet in clear, of no SA", 4711, clear, "inline_session"},
				{"a packet in clear, by a number that is no SPI", uint64(near.child.SPI) | 1<<32, clear, "inline_session"},
				{"a fragment", 0, fromWAN(fragments[0]), "inline_session"},
				{"no SA", 4711, fromWAN(withSPI(near.encapsulate(inner(version, 64, false), 1), 4711)), "no_inbound_sa"},
				{"no SA, and found forged", 4711, fromWAN(withSPI(near.encapsulate(inner(version, 64, false), 1), 4711)), "auth_failed"},
			} {
				before := r.tally()
				userdata, wrong = x.userdata, x.reason == "auth_failed"
				port := wan
				if bytes.HasPrefix(x.frame, lanMAC[:]) {
					port = lan
				}
				r.enqueue(0, port, x.frame)
				r.settle()
				r.wantEnds(fmt.Sprintf("IPv%d, %s", version, x.what), before, map[string]int{x.reason: 1})
			}
			// ESP that an SA with inline protocol has left, marked, is not that SA's either; and a packet that inline crypto would have taken apart is none
			before := r.tally()
			userdata, wrong = 0, false
			if !protocol {
				userdata = uint64(near.child.SPI)
				r.enqueue(0, wan, clear)
			} else {
				r.enqueue(0, wan, next(near))
			}
			r.settle()
			r.wantEnds("the other kind", before, map[string]int{"inline_session": 1})
			r.serveAll()
		}
	})
}

// fromLANSide is a frame as it would be on the lan.
func fromLANSide(frame []byte) []byte { return fromLAN(frame[etherHeaderLen:]) }

// withSPI is ESP with another SPI.
func withSPI(packet []byte, spi uint32) []byte {
	binary.BigEndian.PutUint32(packet[headersOf(packet):], spi)
	return packet
}

// Without a card in the configuration nobody looks at marks: what is authentic passes and what is not does not.
func TestMarksWithoutInline(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, rigOptions{})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	near.sequence++
	m, err := mbuf.FromBytes(r.pool, fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)))
	if err != nil {
		t.Fatal(err)
	}
	opened(m, true, uint64(near.child.SPI))
	before := r.tally()
	r.wire(wan).rx[0].EnqueueBurst([]unsafe.Pointer{m})
	r.settle()
	r.wantEnds("a marked packet", before, map[string]int{"forwarded": 1})
	r.sent(lan)
}

// Outer packets in fragments, IPv4 options, and what has to be cut after encryption are the CPU's, with the same numbers.
func TestInlineFragments(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		c := &card{}
		r := newRig(t, rigOptions{card: c})
		out := r.child("site", suite, false)
		out.Encapsulation.FragmentAfter, out.Encapsulation.DF = true, DFClear
		r.outbound(out)
		near := r.inbound(r.child("site", suite, true))
		for i, length := range []int{1000, 1500, 1200, 1490} {
			r.wantForward(lan, fromHost(big(false, lanHost, farHost, length, i)), wan)
			near.sequence++
			for _, f := range pieces(near.encapsulate(big(false, farHost, lanHost, length, i), near.sequence), 900) {
				r.check(wan, fromPeer(f))
			}
		}
		if c.left != 2 || c.opened != 0 {
			t.Errorf("%s: the card has sent %d packets, want 2, and opened %d, want 0", suite, c.left, c.opened)
		}
	}
}

// Two ports that are VLANs of one device have its sessions both. A NIC may look at the destination and the SPI alone (ixgbe), or match frames with a tag by a rule without one: what
// it has opened in another VLAN than the session's is as good as what the CPU opens there.
func TestInlineVLAN(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r := newRig(t, rigOptions{vlans: [2]uint16{10, 20}, card: c})
		r.outbound(r.child("site", "aes128gcm16", false))
		near := r.inbound(r.child("site", "aes128gcm16", true))
		for size := range 40 {
			r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, 60+size)), wan)
			near.sequence++
			r.wantForward(wan, fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, 60+size), near.sequence)), lan)
		}
		near.sequence++
		r.wantForward(lan, etherFrame(lanMAC[:], hostMAC[:], etherTypeIPv4, near.encapsulate(tcp(farHost, lanHost), near.sequence)), lan)
		if c.left != 40 || c.opened != 41 {
			t.Errorf("the card has sent %d of 40 packets and opened %d of 41", c.left, c.opened)
		}
		for _, s := range c.sessions {
			if s.sa.VLAN != 20 {
				t.Errorf("a session for VLAN %d, want the wan's", s.sa.VLAN)
			}
		}
		for _, sa := range r.d.SACounters() {
			if sa.Inline.VLAN != 20 {
				t.Errorf("an SA has a session of VLAN %d, want the wan's", sa.Inline.VLAN)
			}
		}
	})
}

// An SA that is rekeyed while packets flow loses none; the former sessions are closed when no worker uses them any more, and all at the end.
func TestInlineRekey(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r := newRig(t, rigOptions{card: c})
		var former *referenceOut
		for range 5 {
			near := r.inbound(r.child("site", "aes128gcm16", true))
			if former != nil {
				frames, want := r.sealed(former, 4, 10)
				r.enqueue(0, wan, frames...)
				r.settle()
				same(t, "by the former SA", r.sent(lan), want)
				r.removeInbound(former.child.SPI)
			}
			r.outbound(r.child("site", "aes128gcm16", false))
			for range 10 {
				r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
			}
			frames, want := r.sealed(near, 4, 10)
			r.enqueue(0, wan, frames...)
			r.settle()
			same(t, "by the new SA", r.sent(lan), want)
			former = near
		}
		if c.made != 10 || len(c.sessions) > 4 || c.left != 50 || c.opened != 90 {
			t.Errorf("%d sessions made, %d open, %d packets sent and %d opened", c.made, len(c.sessions), c.left, c.opened)
		}
		if err := r.d.Close(); err != nil || len(c.sessions) != 0 {
			t.Errorf("%v, and %d sessions are open at the end", err, len(c.sessions))
		}
	})
}

// removeInbound takes an SA away on both sides.
func (r *rig) removeInbound(spi uint32) {
	r.t.Helper()
	if err := r.d.RemoveInbound(spi); err != nil {
		r.t.Fatal(err)
	}
	delete(r.ref.inbound, spi)
}

// The card takes an SA over at any number, and the CPU from the card: no number is used twice, whoever sends (S-080).
func TestInlineTakenOver(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true}
	r := newRig(t, rigOptions{card: c, mtu: 1300})
	far := r.outbound(r.child("site", "aes128gcm16", false))
	numbers := map[uint32]bool{}
	send := func(n int) {
		t.Helper()
		for range n {
			r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
		}
		r.settle()
		for _, frame := range r.sent(wan) {
			_, _, sequence, err := far.esp.Open(ipv4(frame[etherHeaderLen:]).payload(), 0)
			if err != nil || numbers[sequence] {
				t.Fatalf("number %d: %v, twice %t", sequence, err, numbers[sequence])
			}
			numbers[sequence] = true
		}
	}
	send(20)
	r.enqueue(0, lan, fromHost(packetOfLength(lanHost, farHost, 253, 1290))) // too long: a message, and no number
	r.settle()
	r.serveAll()
	r.settle()
	r.sent(lan)
	send(20)
	if c.left != 40 {
		t.Fatalf("the card has sent %d packets of 40", c.left)
	}
	sa := r.d.SACounters()[0]
	if err := r.d.MoveOutbound(sa.Cell, sa.SPI, sa.Local, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2").Next(), 4500)); err != nil {
		t.Fatal(err)
	}
	r.announce(wan, netip.MustParseAddr("192.0.2.3"), peerMAC)
	send(20)
	sa = r.d.SACounters()[0]
	if c.left != 40 || len(numbers) != 60 || !sa.Inline.Stopped || sa.Inline.Packets != 40 || sa.Sequence != 60 {
		t.Errorf("the card has sent %d packets, %d numbers are used, %+v, sequence %d", c.left, len(numbers), sa.Inline, sa.Sequence)
	}
}

// Packets that a card has opened wait for their SA, and go to its owner, as any others.
func TestInlineEarlyAndElsewhere(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, f := range inlineForms(protocol) {
			t.Run(f.String(), func(t *testing.T) { earlyAndElsewhere(t, &card{protocol: protocol}, f) })
		}
	})
}

func earlyAndElsewhere(t *testing.T, c *card, f form) {
	r := newRig6(t, rigOptions{workers: 2, rules: []rule{siteRule, siteRule6}, card: c})
	r.inbound(r.formed(f, true)) // worker 0's
	child := r.formed(f, true)
	child.BehindNAT = f.udp
	sa := child.inlineSA(false, 0)
	session, err := c.Open(uint16(r.wire(wan).port), &sa) // there before the SA is
	if err != nil {
		t.Fatal(err)
	}
	near := r.farEnd(child)
	before := r.tally()
	frames := r.early(0, near, f.versions()[0], 5)
	r.serveAll()
	r.settle()
	r.wantEnds("before the SA", before, map[string]int{"waiting": 5})
	r.inbound(child)
	r.settle()
	r.wantEnds("with the SA", before, map[string]int{"forwarded": 5})
	frames = append(frames, r.early(0, near, f.versions()[0], 5)...)
	var want [][]byte
	for _, frame := range frames {
		want = append(want, r.ref.process(wan, frame).Frame)
	}
	same(t, "to the lan", r.sent(lan), want)
	if n := r.d.Counters().Ports[wan].HandedOver; n != 5 {
		t.Errorf("%d packets handed over, want 5", n)
	}
	if err := c.Close(session); err != nil {
		t.Error(err)
	}
}

// Why an SA has no session is said, and it works without.
func TestInlineRefused(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		for _, x := range []struct {
			what   string
			change func(*ChildSA)
			form   form
			kind   bool // of inline protocol only
			want   string
		}{
			{"AH", func(*ChildSA) {}, form{ah: "sha256"}, false, "a NIC does ESP, not AH"},
			{"a bundle", func(*ChildSA) {}, form{suite: "aes128gcm16", ah: "sha256"}, false, "a NIC does ESP, not AH"},
			{"padding", func(c *ChildSA) { c.Encapsulation.TFCPad = 200 }, form{suite: "aes128gcm16"}, true, "no padding and no dummy packets against traffic analysis"},
			{"transport mode", func(*ChildSA) {}, form{suite: "aes128gcm16", transport: true}, true, "for tunnels only"},
			{"fragments", func(c *ChildSA) { c.Encapsulation.FragmentAfter = true }, form{suite: "aes128gcm16"}, true, "no fragments of what is encapsulated: two would number packets"},
		} {
			c := &card{protocol: protocol}
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}, card: c})
			child := r.formed(x.form, false)
			x.change(&child)
			r.outbound(child)
			r.wantForward(lan, fromLAN(inner(x.form.versions()[0], 64, true)), wan)
			got := r.d.SACounters()[0].Inline
			switch {
			case x.kind && (!got.Session || got.Protocol): // the card falls back to inline crypto
				t.Errorf("%s: %+v", x.what, got)
			case x.kind:
				if sa := child.inlineSA(true, 0); sa.NoProtocol != x.want {
					t.Errorf("%s: %q, want %q", x.what, sa.NoProtocol, x.want)
				}
			case got.Session || got.Refused != x.want:
				t.Errorf("%s: %+v, want %q", x.what, got, x.want)
			}
		}
		c := &card{protocol: protocol, refuse: errors.New("no such algorithm")}
		r := newRig(t, rigOptions{card: c})
		r.outbound(r.child("site", "aes128gcm16", false))
		r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
		if got := r.d.SACounters()[0].Inline; got.Session || got.Refused != "no such algorithm" {
			t.Errorf("%+v", got)
		}
	})
	c := &card{}
	r := newRig(t, rigOptions{card: c, crypto: fallbackCrypto})
	r.outbound(r.child("site", "aes128gcm16", false))
	if got := r.d.SACounters()[0].Inline; got.Session || got.Refused == "" || c.made != 0 {
		t.Errorf("beside a device that answers later: %+v", got)
	}
}
