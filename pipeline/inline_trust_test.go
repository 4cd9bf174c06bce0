package pipeline

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"unsafe"
)

// What a card says of a packet, and what its bytes say.

// A rule without a VLAN is of frames with any tag: what the card opens behind a tag that is no port's is dropped as it is without a card. Its bytes are no IP packet's from
// where they are without the tag, whoever put it there.
func TestInlineForeignTag(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true}
	r := newRig(t, rigOptions{card: c})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	for _, x := range []struct {
		tci uint16
		end string
	}{{7, "unknown_vlan"}, {0x4500, "unknown_vlan"}, {0x45c0, "unknown_vlan"}, {0x6007, "unknown_vlan"}, {0xefff, "unknown_vlan"}, {0xe000, "forwarded"}} { // the last one is a priority, and no VLAN
		near.sequence++
		before := r.tally()
		r.enqueue(0, wan, withTag(fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), x.tci))
		r.settle()
		r.wantEnds(fmt.Sprintf("behind the tag %#x", x.tci), before, map[string]int{x.end: 1})
	}
	r.sent(lan)
	if c.opened != 6 {
		t.Errorf("the card has opened %d packets of 6", c.opened)
	}
}

// A packet that a card has opened is not taken for one that it has decrypted: what a peer puts into its tunnel is neither another SA's packet, nor IKE or an echo in clear, though
// its own SA be gone before the packet comes.
func TestInlineOpenedIsNotDecrypted(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true, leave: func([]byte) bool { return true }}
	r := newRig(t, rigOptions{card: c})
	gone := r.inbound(r.child("site", "aes128gcm16", true)).child.SPI
	c.protocol = false
	other := r.inbound(r.child("site", "aes128gcm16", true))
	child := r.child("site", "aes128gcm16", true)
	child.UDPEncap, child.BehindNAT = true, true
	otherUDP := r.inbound(child)
	r.removeInbound(gone)
	userdata := uint64(0)
	c.tamper = func(m unsafe.Pointer) { opened(m, false, userdata) }

	// as a card leaves it that has decrypted it
	decrypted := func(near *referenceOut) []byte {
		near.sequence++
		packet := near.encapsulate(tcp(farHost, lanHost), near.sequence)
		esp := packet[headersOf(packet):]
		if near.child.UDPEncap {
			esp = esp[udpHeaderLen:]
		}
		inner := tcp(farHost, lanHost)
		text := esp[espHeaderLen+8 : len(esp)-16]
		copy(text, inner)
		pad := len(text) - len(inner) - 2
		for i := range pad {
			text[len(inner)+i] = byte(i + 1)
		}
		text[len(text)-2], text[len(text)-1] = byte(pad), 4
		return packet
	}
	ike := udpPacket(peer, wanOwn, 4500, 4500)
	ike = append(ike[:ipv4HeaderLen+udpHeaderLen], make([]byte, 40)...)
	binary.BigEndian.PutUint16(ike[ipv4HeaderLen+4:], udpHeaderLen+40)
	binary.BigEndian.PutUint16(ike[ipv4HeaderLen+6:], 0)
	putIPv4(ike, 0, 64, protocolUDP, flagDontFragment, peer, wanOwn)
	for _, x := range []struct {
		what     string
		userdata uint64
		packet   []byte
		end      string
	}{
		{"ESP of another SA, by its card", uint64(other.child.SPI), decrypted(other), "forwarded"},
		{"the same, of a tunnel's that is gone", uint64(gone), decrypted(other), "inline_session"},
		{"by no SA's number", uint64(other.child.SPI) | 1<<32, decrypted(other), "inline_session"},
		{"ESP in UDP of another SA, by its card", uint64(otherUDP.child.SPI), decrypted(otherUDP), "forwarded"},
		{"the same, of a tunnel's that is gone", uint64(gone), decrypted(otherUDP), "inline_session"},
		{"an echo", uint64(gone), withSPI(slices.Clone(decrypted(other)), 7), "inline_session"},
		{"IKE", uint64(gone), ike, "inline_session"},
	} {
		userdata = x.userdata
		before := r.tally()
		r.enqueue(0, wan, fromPeer(x.packet))
		r.settle()
		r.wantEnds(x.what, before, map[string]int{x.end: 1})
		r.sent(lan)
	}
	r.serveAll()
	same(t, "messages for IKE", len(r.seen.ike), 0)
}

// A datagram of ESP may have a checksum, though most have none (RFC 3948 2.1). It is of the ciphertext, so that nothing can be said of it when a card has decrypted that.
func TestInlineUDPChecksum(t *testing.T) {
	eachCard(t, func(t *testing.T, protocol bool) {
		c := &card{protocol: protocol}
		r, near := inlineRig(t, c, form{suite: "aes128gcm16", udp: true}, rigOptions{})
		for _, wrong := range []byte{0, 1} {
			for _, leave := range []bool{false, true} {
				if leave && protocol {
					continue // the window is the card's
				}
				c.leave = func([]byte) bool { return leave }
				near.sequence++
				frame := fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
				ip := ipv4(frame[etherHeaderLen:])
				udp := ip.payload()
				binary.BigEndian.PutUint16(udp[6:], fold(pseudoSum(ip, len(udp))+sum(0, udp)))
				udp[7] ^= wrong
				before := r.tally()
				r.enqueue(0, wan, frame)
				r.settle()
				end := "forwarded" // the ICV is right
				if wrong != 0 && leave {
					end = "udp_checksum"
				}
				r.wantEnds("a datagram with a checksum", before, map[string]int{end: 1})
				r.sent(lan)
			}
		}
	})
}
