package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/policy"
)

var newPeer = netip.MustParseAddrPort("198.51.100.77:30500")

// fromAddress puts an IPv4 packet's UDP source elsewhere, as a NAT does.
func fromAddress(frame []byte, source netip.AddrPort) []byte {
	moved := bytes.Clone(frame)
	ip := ipv4(moved[etherHeaderLen:])
	copy(ip[12:16], source.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip.payload(), source.Port())
	setHeaderChecksum(ip)
	return moved
}

// natRig is a tunnel in UDP.
func natRig(t *testing.T, suite string, behind bool) (r *rig, far *referenceIn, near *referenceOut) {
	r = newRig(t, rigOptions{})
	out, in := r.child("site", suite, false), r.child("site", suite, true)
	out.UDPEncap, in.UDPEncap = true, true
	out.BehindNAT, in.BehindNAT = behind, behind
	return r, r.outbound(out), r.inbound(in)
}

// sentTo is where the next packet of the tunnel goes, as its headers say, which must be sound.
func (r *rig) sentTo(far *referenceIn) netip.AddrPort {
	r.t.Helper()
	r.enqueue(0, lan, fromHost(tcp(lanHost, farHost)))
	r.settle()
	sent := r.sent(wan)
	if len(sent) != 1 {
		r.t.Fatalf("%d packets sent, want 1", len(sent))
	}
	ip := ipv4(sent[0][etherHeaderLen:])
	udp := ip.payload()
	if checksum(ip[:ipv4HeaderLen]) != 0 || binary.BigEndian.Uint16(udp) != 4500 {
		r.t.Errorf("header % x", ip[:28])
	}
	if _, _, _, err := far.esp.Open(udp[udpHeaderLen:], 0); err != nil {
		r.t.Error(err)
	}
	return netip.AddrPortFrom(ip.destination(), binary.BigEndian.Uint16(udp[2:]))
}

// S-091: a peer whose NAT gave it another address or port is followed by the first authentic packet that is newer than all before; a
// forged or a replayed one moves nothing, and neither does any for a gateway that is itself behind the NAT (RFC 7296 section 2.23).
func TestPeerMoves(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r, far, near := natRig(t, suite, false)
		next := func() []byte {
			near.sequence++
			return fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence))
		}
		home := netip.AddrPortFrom(peer, 4500)
		receive := func(frames ...[]byte) {
			r.enqueue(0, wan, frames...)
			r.settle()
			r.serveAll()
			r.settle()
			r.sent(lan)
		}
		old, skipped := next(), next()
		receive(old)
		forged := fromAddress(next(), newPeer)
		forged[len(forged)-1] ^= 1
		receive(forged, fromAddress(old, newPeer))
		if to := r.sentTo(far); to != home || len(r.seen.moved) != 0 {
			t.Fatalf("%s: a forged or replayed packet moves the peer to %s: %v", suite, to, r.seen.moved)
		}
		receive(fromAddress(next(), newPeer), fromAddress(next(), newPeer))
		same(t, suite, r.seen.moved, []string{fmt.Sprintf("cell %d spi %d %s", near.child.Cell, near.child.SPI, newPeer)})
		if to := r.sentTo(far); to != newPeer {
			t.Fatalf("%s: sent to %s, the peer is at %s", suite, to, newPeer)
		}
		receive(skipped) // authentic, but older
		if to := r.sentTo(far); to != newPeer {
			t.Errorf("%s: an older packet moves the peer to %s", suite, to)
		}
		receive(fromAddress(next(), netip.MustParseAddrPort("224.0.0.9:4500"))) // dropped before it is decrypted
		r.d.advance(time.Second)
		receive(next())
		if to := r.sentTo(far); to != home || len(r.seen.moved) != 2 {
			t.Errorf("%s: sent to %s after the peer came home: %v", suite, to, r.seen.moved)
		}
		for _, sa := range r.d.SACounters() {
			if sa.Remote != home {
				t.Errorf("%s: SA %#x is shown with %s", suite, sa.SPI, sa.Remote)
			}
		}
	}
	r, far, near := natRig(t, "aes128gcm16", true)
	r.enqueue(0, wan, fromAddress(fromPeer(near.encapsulate(tcp(farHost, lanHost), 1)), newPeer))
	r.settle()
	r.serveAll()
	r.sent(lan)
	if to := r.sentTo(far); to.Addr() != peer || len(r.seen.moved) != 0 {
		t.Errorf("behind the NAT: sent to %s, %v", to, r.seen.moved)
	}
}

// A peer whose every packet comes from another port, be it that somebody on the path writes it so, moves ten times a second and no more: the
// workers' events, IKE's inbox and the log are for others too. The last move is never lost: the next packet tells it.
func TestRestlessPeer(t *testing.T) {
	const movesPerSecond = 10 // of events.c
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r, far, near := natRig(t, suite, false)
		from := func(port uint16) {
			near.sequence++
			r.enqueue(0, wan, fromAddress(fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), netip.AddrPortFrom(peer, port)))
			r.settle()
			r.serveAll()
			r.sent(lan)
		}
		begin := time.Now()
		for port := range uint16(200) {
			from(20000 + port)
		}
		if n, most := len(r.seen.moved), 1+int(time.Since(begin)*movesPerSecond/time.Second); n == 0 || n > most {
			t.Errorf("%s: %d moves in %s, want up to %d", suite, n, time.Since(begin), most)
		}
		r.d.advance(time.Second / movesPerSecond)
		from(30000)
		if to := r.sentTo(far); to.Port() != 30000 {
			t.Errorf("%s: sent to %s a tenth of a second later", suite, to)
		}
	}
}

// A peer that says it is behind a protected port would have the gateway send to hosts there what no filter was asked about.
func TestPeerDoesNotMoveInside(t *testing.T) {
	r, far, near := natRig(t, "aes128gcm16", false)
	r.enqueue(0, wan, fromAddress(fromPeer(near.encapsulate(tcp(farHost, lanHost), 1)), netip.AddrPortFrom(lanHost, 53)))
	r.settle()
	r.serveAll()
	r.sent(lan)
	if to := r.sentTo(far); to.Addr() != peer || len(r.seen.moved) != 0 {
		t.Errorf("sent to %s, %v", to, r.seen.moved)
	}
}

// A gateway behind a NAT sends one octet on each path that has been silent for 20 s (RFC 3948 sections 2.3 and 4), and none else.
func TestKeepalives(t *testing.T) {
	for _, behind := range []bool{true, false} {
		r, far, _ := natRig(t, "aes128gcm16", behind)
		second := r.child("other", "aes128gcm16", false)
		second.UDPEncap, second.BehindNAT = true, behind
		r.outbound(second)
		keepalives := 0
		wait := func(d time.Duration) int {
			for range int(d / slowPathTick) {
				r.now = r.now.Add(slowPathTick)
				r.serveAll()
				r.settle()
				for _, frame := range r.sent(wan) {
					if binary.BigEndian.Uint16(frame[etherHeaderLen-2:]) != etherTypeIPv4 {
						r.announce(wan, peer, peerMAC) // the gateway asks whether the peer is still there
						continue
					}
					udp := ipv4(frame[etherHeaderLen:]).payload()
					if !bytes.Equal(udp[udpHeaderLen:], []byte{0xff}) || binary.BigEndian.Uint16(udp) != 4500 || binary.BigEndian.Uint16(udp[2:]) != 4500 {
						t.Fatalf("sent % x", udp)
					}
					keepalives++
				}
			}
			n := keepalives
			keepalives = 0
			return n
		}
		want := 0
		if behind {
			want = 1
		}
		wait(time.Second)
		if n := wait(20 * time.Second); n != want {
			t.Errorf("behind %v: %d keepalives in 20 s of silence, want %d", behind, n, want)
		}
		for range 6 {
			r.sentTo(far)
			if n := wait(10 * time.Second); n != 0 {
				t.Errorf("behind %v: %d keepalives beside traffic", behind, n)
			}
		}
		if n := wait(60 * time.Second); n < 2*want || n > 3*want {
			t.Errorf("behind %v: %d keepalives in a minute of silence", behind, n)
		}
	}
}

// ESP in UDP with a checksum of zero or a right one is taken; with a wrong one it is not (RFC 3948 section 2.1).
func TestUDPChecksum(t *testing.T) {
	r, _, near := natRig(t, "aes128gcm16", false)
	for i, size := range []int{60, 61, 1300} {
		frame := fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, size), uint64(3*i+1)))
		r.wantForward(wan, frame, lan)
		frame = fromPeer(near.encapsulate(packetOfLength(farHost, lanHost, 253, size), uint64(3*i+2)))
		ip := ipv4(frame[etherHeaderLen:])
		udp := ip.payload()
		right := fold(pseudoSum(ip, len(udp)) + sum(0, udp))
		binary.BigEndian.PutUint16(udp[6:], right+1)
		r.wantDrop(wan, frame, "udp_checksum")
		binary.BigEndian.PutUint16(udp[6:], right)
		r.wantForward(wan, frame, lan)
	}
}

// Two workers send by one SA each: the flows of one tunnel need no counter in common. What arrives at the worker that does not own its
// SA is handed over, both ways, and one window judges all.
func TestSAsByWorker(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		r := newRig(t, rigOptions{workers: 2, idle: IdleSleep})
		var far [2]*referenceIn
		var near [2]*referenceOut
		for w := range 2 {
			out, in := r.child("site", suite, false), r.child("site", suite, true)
			out.Worker, in.Worker = w+1, w+1
			far[w], near[w] = r.outbound(out), r.inbound(in)
			if owner := r.d.sad.inbound[in.SPI].owner; owner != w {
				t.Errorf("inbound SA of worker %d is owned by %d", w, owner)
			}
		}
		cores := allowedCores(t)
		if err := r.d.Start([]int{cores[0], cores[len(cores)-1]}); err != nil {
			t.Fatal(err)
		}
		const n = 300
		for i := range n {
			for w := range 2 {
				r.enqueue(w, lan, fromHost(packetOfLength(lanHost, farHost, 253, 60+i)))
				near[w].sequence++
				r.enqueue((w+i)%2, wan, fromPeer(near[w].encapsulate(packetOfLength(farHost, lanHost, 253, 60+i), near[w].sequence)))
			}
		}
		waitFor(t, "all packets to leave", func() bool {
			c := r.d.Counters()
			return c.Ports[lan].Forwarded == 2*n && c.Ports[wan].Forwarded == 2*n && c.Conserved() == nil
		})
		r.d.Stop()
		for w := range 2 {
			for i, frame := range drainRing(r.twins[wan].tx[w]) {
				esp := ipv4(frame[etherHeaderLen:]).payload()
				_, _, sequence, err := far[w].esp.Open(esp, 0)
				if err != nil || binary.BigEndian.Uint32(esp) != far[w].child.SPI || sequence != uint32(i+1) {
					t.Fatalf("%s: worker %d, packet %d: number %d, %v", suite, w, i, sequence, err)
				}
			}
		}
		for _, sa := range r.d.SACounters() {
			if sa.Packets != n || sa.Sequence != n || len(sa.Drops) != 0 {
				t.Errorf("%s: %+v", suite, sa)
			}
		}
		r.ref.cells[r.cell("site")].out = nil
		if _, err := r.d.RemoveOutbound(r.cell("site"), far[1].child.SPI); err != nil {
			t.Fatal(err)
		}
		r.enqueue(1, lan, fromHost(tcp(lanHost, farHost)))
		r.settle()
		if drops := r.d.Counters().Ports[lan].Drops["no_outbound_sa"]; drops != 1 {
			t.Errorf("%s: the other worker's SA was taken: %d drops", suite, drops)
		}
		r.sent(lan)
		r.sent(wan)
	}
}

// nattForms are all ways in which an SA can be in UDP, fast path and general path.
var nattForms = []form{{suite: "aes128gcm16", udp: true}, {suite: "aes128-sha256", udp: true}, {suite: "aes128gcm16", udp: true, outer6: true},
	{suite: "aes128gcm16", udp: true, transport: true}, {suite: "aes128-sha256", udp: true, transport: true, outer6: true}}

// gateways is a rig with an SA each way, in transport mode between the gateways themselves.
func gateways(t *testing.T, f form) (r *rig, far *referenceIn, near *referenceOut) {
	r = newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6, {name: "peer", source: "my", destination: "192.0.2.2", tunnel: "site"}, {name: "peer6", source: "my", destination: "2001:db8:f::2", tunnel: "site"}}})
	child := func(inbound bool) ChildSA {
		c := r.formed(f, inbound)
		if f.transport {
			local, remote := wanOwn, peer
			if f.outer6 {
				local, remote = wanOwn6, peer6
			}
			c.Local, c.Remote = netip.AddrPortFrom(local, 4500), netip.AddrPortFrom(remote, 4500)
			c.Selectors = []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
		}
		return c
	}
	return r, r.outbound(child(false)), r.inbound(child(true))
}

// acrossNAT is a packet of ESP in UDP from another address and port, as a NAT makes it.
func acrossNAT(ip []byte, source netip.AddrPort) []byte {
	moved := bytes.Clone(ip)
	if isIPv6(ip) {
		copy(moved[8:24], source.Addr().AsSlice())
		_, udp := ipv6(moved).upper()
		binary.BigEndian.PutUint16(udp, source.Port())
		binary.BigEndian.PutUint16(udp[6:], 0)
		return moved
	}
	return fromAddress(fromWAN(moved), source)[etherHeaderLen:]
}

// S-091: an SA in UDP of every form goes on where its peer is now, both outer IP versions, in transport mode too, where packets keep
// the addresses that were agreed on. A new path starts with no path MTU of the former one.
func TestEveryFormMoves(t *testing.T) {
	for _, f := range nattForms {
		r, far, near := gateways(t, f)
		version, home := f.versions()[0], near.child.Local
		away := []netip.AddrPort{newPeer, netip.MustParseAddrPort("198.51.100.78:30501")}
		if f.outer6 {
			away = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8:77::9]:30500"), netip.MustParseAddrPort("[2001:db8:77::a]:30501")}
		}
		for _, at := range append(away, home) {
			r.d.advance(time.Second) // since it moved last
			r.d.sad.paths.lower(r.d.sad.outboundOf(near.child.Cell)[0], pathMTU{mtu: 1300, until: r.now.Add(time.Hour)})
			near.sequence++
			packet := []byte(inner(version, 100, false))
			switch {
			case f.transport && f.outer6:
				packet = echo6(peer6, wanOwn6, 8)
			case f.transport:
				packet = icmpPacket(peer, wanOwn, icmpEcho, 8)
			}
			r.enqueue(0, wan, fromWAN(acrossNAT(near.encapsulate(packet, near.sequence), at)))
			r.settle()
			r.serveAll()
			if !f.transport { // else there is an answer
				r.enqueue(0, lan, fromLAN(inner(version, 100, true)))
			}
			r.settle()
			r.sent(lan)
			sent := r.sent(wan)
			if len(sent) != 1 {
				t.Fatalf("%s: %d packets sent", f, len(sent))
			}
			ip := sent[0][etherHeaderLen:]
			tuple := tupleOf(ip)
			if to := netip.AddrPortFrom(tuple.Destination, tuple.DestinationPort); to != at || r.pathMTU() != 0 {
				t.Errorf("%s: sent to %s with a path MTU of %d, the peer is at %s", f, to, r.pathMTU(), at)
			}
			if isIPv6(ip) {
				if _, udp := ipv6(ip).upper(); checksum6(ip, protocolUDP, udp) != 0 {
					t.Errorf("%s: UDP checksum % x", f, udp[:8])
				}
			}
			if _, reason := far.unwrap(ip); reason != "" {
				t.Errorf("%s: %s", f, reason)
			}
		}
		if len(r.seen.moved) != 3 {
			t.Errorf("%s: moved %v", f, r.seen.moved)
		}
	}
}

// A NAT changes addresses that checksums cover. What comes out of an SA in transport mode has the address that was agreed on, and a
// checksum that is right with it (RFC 3948 section 3.1.2); a datagram without one has none still. In a tunnel nothing is touched.
func TestChecksumsAcrossNAT(t *testing.T) {
	private, elsewhere := netip.MustParseAddr("10.99.0.5"), netip.MustParseAddrPort("198.51.100.77:30500")
	private6, elsewhere6 := netip.MustParseAddr("fd00::5"), netip.MustParseAddrPort("[2001:db8:77::9]:30500")
	for _, f := range []form{{suite: "aes128gcm16", udp: true, transport: true}, {suite: "aes128-sha256", udp: true, transport: true, outer6: true}} {
		r, _, near := gateways(t, f)
		inside, own, agreed, nat := private, wanOwn, peer, elsewhere
		if f.outer6 {
			inside, own, agreed, nat = private6, wanOwn6, peer6, elsewhere6
		}
		for name, original := range natCases(inside, own) {
			near.sequence++
			natted := acrossNAT(near.encapsulate(original, near.sequence), nat)
			r.enqueue(0, wan, fromWAN(natted))
			r.settle()
			want := bytes.Clone(original)
			behindNAT(want, agreed)
			got := r.d.takePunted()
			if len(got) != 1 || !bytes.Equal(got[0], want) {
				t.Errorf("%s, %s: got % x, want % x (%v)", f, name, got, want, r.d.Counters().Ports[wan].Drops)
			}
			if protocol := tupleOf(want).Protocol; !hasChecksum(want, protocol) {
				t.Errorf("%s, %s: the reference itself is wrong: % x", f, name, want)
			}
			r.serveAll()
			r.settle()
			r.sent(wan)
		}
	}
}

// natCases are packets with right checksums, or none.
func natCases(source, destination netip.Addr) map[string][]byte {
	from, to := netip.AddrPortFrom(source, 7), netip.AddrPortFrom(destination, 9)
	cases := map[string][]byte{"UDP": udpDatagram(from, to, []byte("some data")), "UDP, odd": udpDatagram(from, to, []byte("some data!")), "UDP of nothing": udpDatagram(from, to)}
	bare := udpDatagram(from, to, []byte("no checksum"))
	binary.BigEndian.PutUint16(bare[headersOf(bare)+6:], 0)
	cases["UDP without checksum"] = bare
	if source.Is6() {
		cases["ICMPv6"] = echo6(source, destination, 8)
		wide := tcp6(source, destination)
		binary.BigEndian.PutUint16(wide[ipv6HeaderLen+16:], 0)
		binary.BigEndian.PutUint16(wide[ipv6HeaderLen+16:], checksum6(wide, protocolTCP, wide[ipv6HeaderLen:]))
		cases["TCP"] = wide
		return cases
	}
	segment := tcp(source, destination)
	cases["ICMP"] = icmpPacket(source, destination, icmpEcho, 8)
	binary.BigEndian.PutUint16(segment[ipv4HeaderLen+16:], 0)
	binary.BigEndian.PutUint16(segment[ipv4HeaderLen+16:], fold(sum(sum(protocolTCP+uint32(len(segment.payload())), segment[12:20]), segment.payload())))
	cases["TCP"] = segment
	cases["TCP behind options"] = withOptions(segment, routerAlert)
	return cases
}

// hasChecksum reports a checksum that is right, or none at all.
func hasChecksum(ip []byte, protocol uint8) bool {
	upper, addresses := ip[headersOf(ip):], ip[12:20]
	switch {
	case protocol == protocolUDP && binary.BigEndian.Uint16(upper[6:]) == 0:
		return true
	case isIPv6(ip):
		addresses = ip[8:40]
	case protocol == protocolICMP:
		return checksum(upper) == 0
	}
	return fold(sum(sum(uint32(protocol)+uint32(len(upper)), addresses), upper)) == 0
}

// An IPv6 packet in transport mode keeps its extension headers in front of UDP, whose checksum is right behind them.
func TestTransportInUDPBehindExtensionHeaders(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	f := form{suite: "aes128gcm16", transport: true, outer6: true, udp: true}
	far := r.outbound(r.formed(f, false))
	for _, p := range carried(true, true) {
		sent := r.wantForward(lan, fromLAN(p), wan)[etherHeaderLen:]
		protocol, udp := ipv6(sent).upper()
		if protocol != protocolUDP || checksum6(sent, protocolUDP, udp) != 0 {
			t.Fatalf("% x became % x", p, sent)
		}
		far.child.Remote = netip.AddrPortFrom(lanHost6, 4500)
		if _, reason := far.openBare(sent, udp[udpHeaderLen:], true); reason != "" {
			t.Error(reason)
		}
	}
}

// S-092: an SA in UDP receives although nothing is to be negotiated and no IKE is exempt, on every port but those without IKE (S-041);
// what is no ESP there has no SA. Without such an SA filters speak of port 4500 as of others.
func TestESPInUDPWithoutIKE(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		for _, outer6 := range []bool{false, true} {
			f, unfiltered := form{suite: suite, udp: true, outer6: outer6}, "no_filter"
			if outer6 {
				unfiltered = "ipv6" // S-022
			}
			r := newRig6(t, rigOptions{noIKE: true, rules: []rule{siteRule, siteRule6}})
			marked := udpDatagram(netip.AddrPortFrom(peer, 4500), netip.AddrPortFrom(wanOwn, 4500), make([]byte, 4), []byte("an IKE message"))
			r.wantDrop(wan, fromWAN(marked), "no_filter")
			near := r.inbound(r.formed(f, true))
			in := inner(4, 100, false)
			r.wantForward(wan, fromWAN(near.encapsulate(in, 1)), lan)
			r.wantForward(wan, fromWAN(near.encapsulate(in, 2)), lan)
			r.wantDrop(wan, fromWAN(near.encapsulate(in, 2)), "replay_duplicate")
			r.wantDrop(wan, fromWAN(marked), "no_inbound_sa")
			r.options.portIKE = map[string]bool{"wan": false}
			r.applyRules(siteRule, siteRule6)
			r.wantDrop(wan, fromWAN(near.encapsulate(in, 3)), unfiltered)
			r.options.portIKE = nil
			r.applyRules(siteRule, siteRule6)
			r.wantForward(wan, fromWAN(near.encapsulate(in, 4)), lan)
			delete(r.ref.inbound, near.child.SPI)
			if err := r.d.RemoveInbound(near.child.SPI); err != nil {
				t.Fatal(err)
			}
			r.wantDrop(wan, fromWAN(near.encapsulate(in, 5)), unfiltered)
		}
	}
}
