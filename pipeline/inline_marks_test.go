package pipeline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"unsafe"

	"sallyport/pmd/mbuf"
)

// What a card says of a packet, and when that is believed.

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
