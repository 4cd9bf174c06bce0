package pipeline

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// Whole bursts of one flow leave in order, whatever their length, and a bad packet in the middle takes no other with it.
func TestBursts(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes256gcm16", "aes128-sha1", "aes256-sha512"} {
		t.Run(suite, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			r.outbound(r.child("site", suite, false))
			near := r.inbound(r.child("site", suite, true))
			for n := 1; n <= 97; n += 4 {
				var out, in [][]byte
				for range n {
					size := 20 + r.random.IntN(1300)
					out = append(out, fromHost(packetOfLength(lanHost, farHost, 253, size)))
					near.sequence++
					e := near.encapsulate(packetOfLength(farHost, lanHost, 253, size), near.sequence)
					if r.random.IntN(8) == 0 {
						e[ipv4HeaderLen+espHeaderLen+r.random.IntN(len(e)-ipv4HeaderLen-espHeaderLen)] ^= 0x40
					}
					in = append(in, fromPeer(e))
				}
				r.compareBurst(lan, out)
				r.compareBurst(wan, in)
			}
		})
	}
}

// Bursts in which the packets of several tunnels alternate.
func TestInterleavedTunnels(t *testing.T) {
	second := rule{name: "to-second", source: "10.1.0.0/16", destination: "10.3.0.0/16", tunnel: "second"}
	r := newRig(t, rigOptions{rules: []rule{siteRule, second}})
	other := farHost.As4()
	other[1] = 3
	third := address4(addressOf(other[:])[0])
	wide := siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
	var nears []*referenceOut
	for tunnel, suite := range map[string]string{"site": "aes128gcm16", "second": "aes256gcm16"} {
		in, out := r.child(tunnel, suite, true), r.child(tunnel, suite, false)
		in.Selectors, out.Selectors = wide, wide
		nears = append(nears, r.inbound(in))
		r.outbound(out)
	}
	for range 40 {
		var out, in [][]byte
		for range 32 {
			far := farHost
			if r.random.IntN(2) == 0 {
				far = third
			}
			out = append(out, fromHost(tcp(lanHost, far)))
			near := nears[r.random.IntN(2)]
			near.sequence++
			in = append(in, fromPeer(near.encapsulate(tcp(far, lanHost), near.sequence)))
		}
		r.compareBurst(lan, out)
		r.compareBurst(wan, in) // about half come through the wrong tunnel
	}
}

// Bursts in which packets of tunnels of every form and transform alternate: those that take the same steps go through crypto together,
// each with its own key and number, and a forged one in their middle takes no other with it. No SA's packets overtake each other.
func TestMixedTunnels(t *testing.T) {
	forms := []form{
		{suite: "aes128-sha256"}, {suite: "aes256-sha512", esn: true}, {suite: "null-sha1"}, {suite: "aes128gcm16"}, {suite: "aes256gcm16", outer6: true},
		{suite: "chacha20poly1305", esn: true}, {suite: "aes128ccm8"}, {suite: "aes256gmac", esn: true}, {suite: "aes192ctr-sha384", outer6: true}, {ah: "sha256"},
		{ah: "sha512", esn: true, outer6: true}, {ah: "aes128gmac"}, {suite: "aes128-sha1", ah: "sha384"}, {suite: "aes128gcm16", ah: "sha1", esn: true},
	}
	var rules []rule
	for i := range forms {
		rules = append(rules, rule{name: fmt.Sprint("to ", i), source: "10.1.0.0/16", destination: fmt.Sprintf("10.%d.0.0/16", 100+i), tunnel: fmt.Sprint("tunnel ", i)})
	}
	r := newRig6(t, rigOptions{rules: rules, maxSAs: 64})
	wide := siteSelectors(func(s *policySelector) { s.Local, s.Remote = anyIPv4, anyIPv4 })
	var nears []*referenceOut
	for i, f := range forms {
		in, out := r.formed(f, true), r.formed(f, false)
		for _, c := range []*ChildSA{&in, &out} {
			c.Cell, c.Selectors = r.cell(rules[i].tunnel), wide
		}
		nears = append(nears, r.inbound(in))
		r.outbound(out)
	}
	spi := func(frame []byte) string {
		ip := frame[etherHeaderLen:]
		at, protocol := headersOf(ip), ip[9]
		if isIPv6(ip) {
			protocol = ip[6]
		}
		if protocol == protocolAH {
			at += 4
		}
		return string(ip[at:][:4])
	}
	tunnel := func(frame []byte) string { // of the packet that came out of it
		return string(frame[etherHeaderLen+12:][:2])
	}
	for range 60 {
		var out, in [][]byte
		for range 1 + r.random.IntN(40) {
			i, size := r.random.IntN(len(forms)), 20+r.random.IntN(1300)
			far := farHost.As4()
			far[1] = byte(100 + i)
			out = append(out, fromHost(packetOfLength(lanHost, netip.AddrFrom4(far), 253, size)))
			nears[i].sequence++
			e := nears[i].encapsulate(packetOfLength(netip.AddrFrom4(far), lanHost, 253, size), nears[i].sequence)
			if r.random.IntN(6) == 0 {
				e[len(e)-1] ^= 1
			}
			in = append(in, fromWAN(e))
		}
		r.compareBurstBy(lan, out, spi)
		r.compareBurstBy(wan, in, tunnel)
	}
}

// A packet whose next hop is not known yet waits for it, whatever has become of the packet before it in its burst: here one that came
// out of the same tunnel and may leave by the other port, but whose time is over.
func TestUnknownNextHopBehindARejected(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, allRule}})
	child := r.child("site", "aes128gcm16", true)
	child.Selectors = siteSelectors(func(s *policySelector) { s.Local = anyIPv4 })
	near := r.inbound(child)
	late := packetOfLength(farHost, netip.MustParseAddr("203.0.113.9"), 253, 60)
	late[8] = 1
	setHeaderChecksum(late)
	unknown := packetOfLength(farHost, lanHost.Next(), 253, 60)
	before := r.tally()
	r.enqueue(0, wan, fromPeer(near.encapsulate(late, 1)), fromPeer(near.encapsulate(unknown, 2)))
	r.settle()
	same(t, "ends", ends(before, r.tally()), map[string]int{"ttl_expired": 1, "waiting": 1})
	if sent := r.sent(wan); len(sent) != 0 {
		t.Errorf("left in clear: % x", sent)
	}
	r.serveAll()
	r.settle()
	r.sent(lan)
	r.sent(wan)
}

// compareBurst sends frames at once and compares what left, in order, and the drop reasons in all.
func (r *rig) compareBurst(port int, frames [][]byte) {
	r.t.Helper()
	r.compareBurstBy(port, frames, func([]byte) string { return "" })
}

// compareBurstBy is compareBurst where the order matters only among frames that are in one queue.
func (r *rig) compareBurstBy(port int, frames [][]byte, queue func(frame []byte) string) {
	r.t.Helper()
	before := r.tally()
	r.enqueue(0, port, frames...)
	r.settle()
	after := ends(before, r.tally())
	expected := map[string]int{}
	var want [2][][]byte
	for _, f := range frames {
		o := r.ref.process(port, f)
		if o.Disposition == packetForwarded {
			expected["forwarded"]++
			want[o.Port] = append(want[o.Port], o.Frame)
		} else {
			expected[o.Reason]++
		}
	}
	same(r.t, "ends", after, expected)
	for i := range want {
		got := r.sent(i)
		for _, list := range [][][]byte{got, want[i]} {
			slices.SortStableFunc(list, func(a, b []byte) int { return cmp.Compare(queue(a), queue(b)) })
		}
		if len(got) != len(want[i]) {
			r.t.Fatalf("%d frames left by port %d, want %d", len(got), i, len(want[i]))
		}
		for j := range got {
			if !bytes.Equal(got[j], want[i][j]) {
				r.t.Fatalf("frame %d of port %d:\n got  % x\n want % x", j, i, got[j], want[i][j])
			}
		}
	}
}

// An SA with extended sequence numbers sends across 2^32.
func TestESNAcrossTheWrap(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{})
		child := r.child("site", suite, false)
		child.ESN, child.FirstSequence = true, 1<<32-3
		far := r.outbound(child)
		far.window.accept(1<<32 - 4)
		for range 8 {
			r.opened(far, r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan), 60)
		}
	}
}

// What strangers can send to the Go side must not stop it: no input makes a parser panic, and an answer is always sound.
func FuzzPackets(f *testing.F) {
	f.Add([]byte(tcp(lanHost, farHost)))
	f.Add([]byte(icmpPacket(lanHost, lanOwn, icmpEcho, 8)))
	f.Add(udpDatagram(peerPort, wanPort, []byte("IKE")))
	f.Add(arpMessage{op: arpRequestOp, senderMAC: macA, senderAddr: lanHost, targetAddr: lanOwn}.frame(broadcastMAC))
	esp := packetOfLength(wanOwn, peer, protocolESP, 60)
	f.Add([]byte(rawWord(esp, 1400)))
	f.Add([]byte(esp))
	f.Add([]byte(tcp6(lanHost6, farHost6)))
	f.Add([]byte(echo6(lanHost6, lanOwn6, 8)))
	if word, ok := packetTooBig(packet6(wanOwn6, peer6, protocolESP, make([]byte, 40)), outside6, 1400); ok {
		f.Add([]byte(word))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := parseARP(b); ok && !bytes.Equal(m.frame(macAddress(b[:6])), b[:etherHeaderLen+arpLen]) {
			t.Errorf("ARP % x is not what was parsed from % x", m.frame(macAddress(b[:6])), b)
		}
		quoteOf(b) // what a router says that we have sent
		if p, reason := parseIPv4(b); reason == "" {
			tooBig(p)
			packetOf(p)
			fuzzAnswers(t, b, p.source(), func(a []byte) (netip.Addr, bool) {
				p, reason := parseIPv4(a)
				return p.destination(), reason == "" && checksum(p.payload()) == 0
			}, func() ([]byte, bool) { return echoReply(p) }, func() ([]byte, bool) { return timeExceeded(p, lanOwn) },
				func() ([]byte, bool) { return fragmentationNeeded(p, lanOwn, 1400) })
		}
		if p, reason := parseIPv6(b); reason == "" {
			tooBig(p)
			parseDiscovery(append(make([]byte, etherHeaderLen), p...), p)
			fuzzAnswers(t, b, p.source(), func(a []byte) (netip.Addr, bool) {
				p, reason := parseIPv6(a)
				_, sound := icmp6Body(p)
				return p.destination(), reason == "" && sound
			}, func() ([]byte, bool) { return echoReply6(p) }, func() ([]byte, bool) { return timeExceeded6(p, lanOwn6) },
				func() ([]byte, bool) { return packetTooBig(p, lanOwn6, 1400) })
		}
	})
}

// fuzzAnswers wants each answer to a packet to be sound and to go to its sender.
func fuzzAnswers(t *testing.T, packet []byte, sender netip.Addr, read func([]byte) (to netip.Addr, sound bool), answers ...func() ([]byte, bool)) {
	t.Helper()
	for _, build := range answers {
		if answer, ok := build(); ok {
			if to, sound := read(answer); !sound || to != sender {
				t.Errorf("answer % x to % x", answer, packet)
			}
		}
	}
}
