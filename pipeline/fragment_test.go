package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"sallyport/crypto/cryptodev"
)

// Outer packets in fragments are put together before IPsec sees them, with and without UDP, through every way to crypto.
func TestOuterFragments(t *testing.T) {
	eachWay(t, []string{"aes128gcm16", "aes128-sha256"}, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		for _, udp := range []bool{false, true} {
			r := newRig(t, rigOptions{crypto: pool})
			child := r.child("site", suite, true)
			child.UDPEncap = udp
			near := r.inbound(child)
			for i, length := range []int{400, 1460, 1500, 4000} {
				near.sequence++
				outer := near.encapsulate(big(false, farHost, lanHost, length, i), near.sequence)
				list := pieces(outer, 1200)
				if length == 400 {
					list = pieces(outer, 300)
				}
				for j, f := range list {
					o, _ := r.check(wan, fromPeer(f))
					if j == len(list)-1 && o.Disposition != packetForwarded {
						t.Fatalf("%d bytes: %+v", length, o)
					}
				}
			}
		}
	})
}

// That an outer packet came in fragments is no leave to cut what was in it: not IPv6, and not IPv4 with DF.
func TestOuterFragmentsGiveNoLeave(t *testing.T) {
	eachWay(t, []string{"aes128gcm16", "aes128-sha256"}, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		r := newRig6(t, rigOptions{crypto: pool, rules: []rule{siteRule, siteRule6}})
		child := r.child6(suite, true)
		child.ESN = true
		near := r.inbound(child)
		for _, p := range [][]byte{packetOfLength(farHost, lanHost, 253, 2000), ofLength6(farHost6, lanHost6, 2000)} {
			near.sequence++
			list := pieces(near.encapsulate(p, near.sequence), 1200)
			r.check(wan, fromPeer(list[0]))
			r.wantDrop(wan, fromPeer(list[1]), "mtu_exceeded")
		}
	})
}

// IKE in fragments reaches IKE whole.
func TestIKEFragments(t *testing.T) {
	r := newRig(t, rigOptions{})
	message := bytes.Repeat([]byte("certificate "), 400)
	p := udpDatagram(peerPort, wanPort, message)
	p[6] = 0
	setHeaderChecksum(p)
	for _, f := range pieces(p, 1500) {
		r.check(wan, fromPeer(f))
	}
	if len(r.seen.ike) != 1 || !bytes.Equal(r.seen.ike[0].Payload, message) {
		t.Errorf("%d messages", len(r.seen.ike))
	}
}

// What IKE sends and the link has no room for goes in fragments: there is no other way for an IKE_SA_INIT.
func TestIKESentInFragments(t *testing.T) {
	r := newRig6(t, rigOptions{})
	message := bytes.Repeat([]byte("key exchange "), 140) // 1820 bytes
	for _, local := range []netip.Addr{wanOwn, wanOwn6} {
		remote := peer
		if local.Is6() {
			remote = peer6
		}
		if err := r.d.SendUDP(netip.AddrPortFrom(local, 500), netip.AddrPortFrom(remote, 500), message, false); err != nil {
			t.Fatal(err)
		}
		r.settle()
		frames := r.sent(wan)
		if len(frames) != 2 {
			t.Fatalf("%s: %d frames, expected 2", local, len(frames))
		}
		var payload []byte
		ids := map[uint32]bool{}
		for i, f := range frames {
			p, reason := takeApart(f[etherHeaderLen:])
			if reason != "" || p.offset != len(payload) || p.more != (i == 0) || len(f) > 1500+etherHeaderLen {
				t.Errorf("%s: fragment %d: %s %+v", local, i, reason, p)
			}
			ids[p.id] = true
			payload = append(payload, p.payload...)
		}
		if len(ids) != 1 || len(payload) < udpHeaderLen || !bytes.Equal(payload[udpHeaderLen:], message) {
			t.Errorf("%s: %d bytes of %d, identifiers %v", local, len(payload), len(message), ids)
		}
	}
}

// Fragments inside a tunnel come together behind it: selectors and filters that name ports are asked about the whole.
func TestInnerFragments(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256", "chacha20poly1305"} {
		for _, wide := range []bool{false, true} {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			child := r.child6(suite, true)
			for i := range child.Selectors {
				s := &child.Selectors[i]
				s.Protocol, s.LocalPort.First, s.LocalPort.Last = protocolUDP, 5678, 5678
			}
			near := r.inbound(child)
			from, to := farHost, lanHost
			if wide {
				from, to = farHost6, lanHost6
			}
			for i, c := range []struct {
				port   uint16
				reason string
			}{{5678, ""}, {5679, "selector_mismatch"}} {
				p := big(wide, from, to, 2500, i)
				at := len(p) - (2500 - ipv4HeaderLen)
				if wide {
					at = ipv6HeaderLen
				}
				binary.BigEndian.PutUint16(p[at+2:], c.port)
				list := pieces(p, 1400-8*i)
				for j, f := range list {
					near.sequence++
					o, _ := r.check(wan, fromPeer(near.encapsulate(f, near.sequence)))
					if j == len(list)-1 && (o.Reason != c.reason || o.Merged != j) {
						t.Errorf("%s, IPv6 %v, port %d: %+v", suite, wide, c.port, o)
					}
				}
			}
		}
	}
}

// What came in fragments goes into its tunnel in fragments that fit, also of IPv6 and with DF; the far end gets what was sent.
func TestFragmentsIntoTheTunnel(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256", "chacha20poly1305"} {
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		far := r.outbound(r.child6(suite, false))
		for i, length := range []int{1500, 3000, 9000} {
			for _, c := range []struct{ wide, df bool }{{false, false}, {false, true}, {true, false}} {
				from, to := lanHost, farHost
				if c.wide {
					from, to = lanHost6, farHost6
				}
				p := big(c.wide, from, to, length, i)
				if c.df {
					p[6] = 0x40
					setHeaderChecksum(p)
				}
				list := pieces(p, 1280)
				var last outcome
				for _, f := range list {
					last, _ = r.check(lan, fromLAN(f))
				}
				if last.Disposition != packetForwarded || len(last.More)+1 < len(list) {
					t.Fatalf("%s, %d bytes, %+v: %s %s in %d", suite, length, c, last.Disposition, last.Reason, len(last.More)+1)
				}
				got := gather(t, r, far, append([][]byte{last.Frame}, last.More...))
				if want := decrementHops(p); !bytes.Equal(got, want) {
					t.Errorf("%s, %d bytes, %+v: % x, want % x", suite, length, c, got[:60], want[:60])
				}
			}
		}
	}
}

// IPv6 in fragments of 1280 bytes goes into a tunnel with less room in smaller ones, and so does what may not be cut by routers where
// other packets are cut after encapsulation: never whole, because of links behind the far end. Transport mode ends where the packet does.
func TestFragmentsOfTheLeastSize(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, after := range []bool{false, true} {
			r := newRig6(t, rigOptions{mtu: 1290, rules: []rule{siteRule, siteRule6}})
			child := r.child6(suite, false)
			child.Encapsulation = Encapsulation{FragmentAfter: after, DF: DFClear}
			far := r.outbound(child)
			for i, wide := range []bool{true, false} {
				from, to := hostsOfSites(wide)
				p := big(wide, from, to, 4000, i)
				size := ipv6MinMTU
				if !wide {
					p[6], size = 0x40, 1200
					setHeaderChecksum(p)
				}
				var last outcome
				for _, f := range pieces(p, size) {
					last, _ = r.check(lan, fromLAN(f))
				}
				frames := append([][]byte{last.Frame}, last.More...)
				if last.Disposition != packetForwarded || len(frames) < 4 {
					t.Fatalf("%s, after %v, IPv6 %v: %s %s in %d", suite, after, wide, last.Disposition, last.Reason, len(frames))
				}
				if got, want := gather(t, r, far, frames), decrementHops(p); !bytes.Equal(got, want) {
					t.Errorf("%s, after %v, IPv6 %v: % x, want % x", suite, after, wide, got[:60], want[:60])
				}
			}
		}
	}
}

// What transport mode adds to IPv6 of the least size is cut off again in fragments, behind the headers that routers read.
func TestTransportFragments(t *testing.T) {
	for _, f := range []form{{suite: "aes128gcm16", transport: true, outer6: true}, {suite: "aes128-sha256", ah: "sha256", transport: true, outer6: true},
		{suite: "aes128gcm16", transport: true, outer6: true, udp: true}, {ah: "sha256", transport: true, outer6: true}, {suite: "aes128gcm16", transport: true}} {
		r := newRig6(t, rigOptions{mtu: ipv6MinMTU, rules: []rule{siteRule, siteRule6}})
		far := r.outbound(r.formed(f, false))
		p := big(f.outer6, lanHost, farHost, ipv6MinMTU, 1)
		if f.outer6 {
			payload := make([]byte, ipv6MinMTU-ipv6HeaderLen-8)
			p = packet6(lanHost6, farHost6, 253, payload, extension{nextHopByHop, []byte{1, 4, 0, 0, 0, 0, 0}})
		}
		o, _ := r.check(lan, fromLAN(p))
		if o.Disposition != packetForwarded || len(o.More) != 1 {
			t.Fatalf("%v: %s %s in %d", f, o.Disposition, o.Reason, len(o.More)+1)
		}
		at, whole := &reference{fragments: map[fragmentKey]*partial{}}, (*whole)(nil)
		for _, frame := range append([][]byte{o.Frame}, o.More...) {
			ip, reason := parseIP(frame[etherHeaderLen:])
			if !isFragment(reason) || len(ip) > ipv6MinMTU {
				t.Fatalf("%v: %d bytes, %s", f, len(ip), reason)
			}
			whole, _ = at.reassemble(wan, arrivedClear, ip)
		}
		if whole == nil {
			t.Fatalf("%v: a fragment is missing", f)
		}
		if got, reason := far.unwrap(whole.ip); reason != "" || !bytes.Equal(got, decrementHops(p)) {
			t.Errorf("%v: %s % x", f, reason, got)
		}
	}
}

// hostsOfSites are one on each side of the tunnel.
func hostsOfSites(wide bool) (near, far netip.Addr) {
	if wide {
		return lanHost6, farHost6
	}
	return lanHost, farHost
}

// gather opens ESP at the far end and puts together what was inside.
func gather(t *testing.T, r *rig, far *referenceIn, frames [][]byte) []byte {
	t.Helper()
	at := &reference{fragments: map[fragmentKey]*partial{}}
	for _, f := range frames {
		inner, reason := far.unwrap(f[etherHeaderLen:])
		switch {
		case reason == "":
			return inner
		case !isFragment(reason):
			t.Fatalf("the far end refuses % x: %s", f[:60], reason)
		}
		if w, _ := at.reassemble(lan, 0, inner); w != nil {
			return w.ip
		}
	}
	t.Fatal("the far end never got all")
	return nil
}

// A clear packet without DF is cut for a link with less room, its options as RFC 791 section 3.1 says; with DF its sender is told. The whole burst behind it leaves too.
func TestClearFragmentation(t *testing.T) {
	r := newRig(t, rigOptions{mtu: 700, permit: true, rules: []rule{}})
	// a timestamp, which only the first fragment has; a router alert, which all have
	options := []byte{68, 8, 5, 0, 0, 0, 0, 0, 1, 148, 4, 0, 0, 0, 0, 0}
	for _, o := range [][]byte{nil, options} {
		for _, length := range []int{701, 1377, 9000} {
			p := withOptions(big(false, lanHost, outside4, length-len(o), 3), o)
			out, _ := r.check(lan, fromHost(p))
			if out.Disposition != packetForwarded || len(out.More) == 0 {
				t.Fatalf("%d bytes, options % x: %+v", length, o, out)
			}
			if f := ipv4(out.More[0][etherHeaderLen:]); o != nil && f.headerLen() != 24 {
				t.Errorf("the second fragment's header has %d bytes, want 24", f.headerLen())
			}
		}
	}
	p := big(false, lanHost, outside4, 800, 4)
	p[6] = 0x40
	setHeaderChecksum(p)
	if o, answers := r.check(lan, fromHost(p)); o.Reason != "mtu_exceeded" || len(answers[lan]) != 1 {
		t.Errorf("with DF: %+v", o)
	}
	var burst [][]byte
	for i := range 60 {
		burst = append(burst, fromHost(big(false, lanHost, outside4, 100+i%3*4000, i)))
	}
	before := r.tally()
	r.enqueue(0, lan, burst...)
	r.settle()
	want := 0
	for _, f := range burst {
		want += 1 + len(r.ref.process(lan, f).More)
	}
	if got := len(r.sent(wan)); got != want || ends(before, r.tally())["split"] != want-len(burst) {
		t.Errorf("%d frames of a burst, want %d; %v", got, want, ends(before, r.tally()))
	}
}

// What arrived in fragments too large for the way on is refused with the length that fits; the error is about the whole packet.
func TestFragmentsTooLarge(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	r.outbound(r.child6("aes128gcm16", false))
	for _, wide := range []bool{false, true} {
		from, to := lanHost, farHost
		if wide {
			from, to = lanHost6, farHost6
		}
		p := big(wide, from, to, 4000, 5)
		if !wide {
			p[6] = 0x40
			setHeaderChecksum(p)
		}
		list := pieces(p, 1500)
		for i, f := range list {
			o, answers := r.check(lan, fromLAN(f))
			if i < len(list)-1 {
				if len(answers[lan]) != 0 {
					t.Errorf("IPv6 %v: an error about fragment %d", wide, i)
				}
				continue
			}
			if o.Reason != "mtu_exceeded" || len(answers[lan]) != 1 || o.MTU == 0 {
				t.Errorf("IPv6 %v: %+v, %d answers", wide, o, len(answers[lan]))
			}
		}
	}
}

// A packet put together from fragments waits for its neighbour like any other, and is not taken for fragments again.
func TestWholePacketIsHeld(t *testing.T) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{}})
	host := lanHost.Next()
	for i, f := range pieces(big(false, outside4, host, 2900, 6), 1500) {
		if o, _ := r.check(wan, fromPeer(f)); i == 1 && (o.Disposition != packetNeighbour || o.Merged != 1) {
			t.Fatalf("%+v", o)
		}
	}
	r.enqueue(0, lan, arpMessage{op: arpReplyOp, senderMAC: hostMAC, senderAddr: host, targetMAC: lanMAC, targetAddr: lanOwn}.frame(lanMAC))
	r.settle()
	r.serveAll()
	r.settle()
	if got := r.sent(lan); len(got) != 2 || len(got[0]) != etherHeaderLen+1500 {
		t.Errorf("%d frames left once the neighbour was known", len(got))
	}
}

// Congestion that one fragment met is the packet's (RFC 3168 section 5.3).
func TestFragmentECN(t *testing.T) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{}})
	p := big(false, lanHost, outside4, 1400, 8)
	p[1] = ect0
	setHeaderChecksum(p)
	list := pieces(p, 800)
	list[1][1] = markCE
	setHeaderChecksum(list[1])
	r.check(lan, fromHost(list[0]))
	if o, _ := r.check(lan, fromHost(list[1])); o.Disposition != packetForwarded || o.Frame[etherHeaderLen+1]&ecnMask != markCE {
		t.Errorf("%+v", o)
	}
}

// RFC 6980 section 5: neighbour discovery in fragments, or with a fragment header at all, is none.
func TestDiscoveryInFragments(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	frame := solicitation(hostMAC, lanHost6, neighbourRequest{neighbourKey{lan, lanOwn6}, broadcastMAC})
	p := ipv6(frame[etherHeaderLen:])
	_, body := p.upper()
	q := packet6(p.source(), p.destination(), protocolICMPv6, body, extension{nextFragment, make([]byte, 7)})
	q[7] = discoveryHopLimit
	if o, _ := r.check(lan, append(bytes.Clone(frame[:etherHeaderLen]), q...)); o.Disposition == packetDiscovery {
		t.Errorf("%+v", o)
	}
}

// Fragmentation after encapsulation: one outer packet in fragments, which the far end puts together before it decrypts. Inner packets with DF are refused as ever, but IPv6 has no
// packets smaller than 1280 bytes to ask for.
func TestFragmentAfter(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, c := range []struct{ outer6, after bool }{{false, true}, {true, true}, {false, false}} {
			r := newRig6(t, rigOptions{mtu: 1300, rules: []rule{siteRule, siteRule6}})
			child := r.child6(suite, false)
			child.Encapsulation.FragmentAfter = c.after
			if c.outer6 {
				child.Local, child.Remote = netip.AddrPortFrom(wanOwn6, 0), netip.AddrPortFrom(peer6, 0)
			}
			far := r.outbound(child)
			for i, p := range [][]byte{
				big(false, lanHost, farHost, 1290, 1), big(false, lanHost, farHost, 7000, 2), // without DF
				ofLength6(lanHost6, farHost6, 1280),
			} {
				o, _ := r.check(lan, fromLAN(p))
				if before := i < 2 && !c.after; o.Disposition != packetForwarded || len(o.More) == 0 {
					t.Fatalf("%s, %+v, packet %d: %+v", suite, c, i, o)
				} else if before {
					continue
				}
				at := &reference{fragments: map[fragmentKey]*partial{}}
				var w *whole
				for _, f := range append([][]byte{o.Frame}, o.More...) {
					ip, reason := parseIP(f[etherHeaderLen:])
					if !isFragment(reason) || len(ip) > 1300 {
						t.Fatalf("%s, %+v, packet %d: %d bytes, %s", suite, c, i, len(ip), reason)
					}
					w, _ = at.reassemble(wan, arrivedClear, ip)
				}
				if w == nil {
					t.Fatalf("%s, %+v, packet %d: some fragment is missing", suite, c, i)
				}
				if got, reason := far.unwrap(w.ip); reason != "" || !bytes.Equal(got, decrementHops(p)) {
					t.Errorf("%s, %+v, packet %d: %s % x", suite, c, i, reason, got)
				}
			}
			p := packetOfLength(lanHost, farHost, 253, 1290) // with DF
			if o, answers := r.check(lan, fromHost(p)); o.Reason != "mtu_exceeded" || len(answers[lan]) != 1 {
				t.Errorf("%s, %+v, with DF: %+v", suite, c, o)
			}
			if o, answers := r.check(lan, fromHost6(ofLength6(lanHost6, farHost6, 1281))); o.Reason != "mtu_exceeded" || len(answers[lan]) != 1 {
				t.Errorf("%s, %+v, IPv6: %+v", suite, c, o)
			}
		}
	}
}
