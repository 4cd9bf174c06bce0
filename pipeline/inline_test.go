package pipeline

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

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
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
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
			r.rest()
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
