package pipeline

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"sallyport/policy"
)

// exemptKinds is one packet of each kind that a level may exempt, from the peer to the gateway or to a group.
func exemptKinds() map[string]ipv4 {
	return map[string]ipv4{
		"multicast": udpPacket(peer, netip.MustParseAddr("224.0.0.251"), 5353, 5353),
		"broadcast": udpPacket(peer, netip.MustParseAddr("192.0.2.255"), 138, 138),
		"rsvp":      packetOfLength(peer, wanOwn, 46, 60),
		"kerberos":  udpPacket(peer, wanOwn, 88, 1024),
		"ike":       udpPacket(peer, wanOwn, 500, 500),
	}
}

var denyAll = rule{name: "deny", source: "any", destination: "any", block: true}

// Of one packet of each of the five kinds exactly those pass a block-all policy that the level exempts, each counted at a
// row of its own. S-028, S-029, S-030, S-031.
func TestExemptionLevels(t *testing.T) {
	for level, exempt := range map[policy.ExemptionLevel][]string{
		policy.Level0: {"multicast", "broadcast", "rsvp", "kerberos", "ike"},
		policy.Level1: {"multicast", "broadcast", "ike"},
		policy.Level2: {"rsvp", "kerberos", "ike"},
		policy.Level3: {"ike"},
	} {
		r := newRig(t, rigOptions{level: level, rules: []rule{siteRule, denyAll}})
		passed := map[string]bool{}
		for kind, p := range exemptKinds() {
			o, _ := r.check(wan, fromPeer(p))
			if o.Disposition != packetDropped {
				passed[kind] = true
			} else if o.Reason != "filter_block" {
				t.Errorf("level %s, %s: %+v", level, kind, o)
			}
		}
		want := map[string]bool{}
		for _, kind := range exempt {
			want[kind] = true
		}
		same(t, fmt.Sprintf("level %s", level), passed, want)
		counted := 0
		for _, f := range r.d.Counters().Filters {
			if f.Name != "" && f.ID != 0 && f.Packets > 0 {
				counted++
				if f.Packets != 1 {
					t.Errorf("level %s: %s counted %d packets", level, f.Name, f.Packets)
				}
			}
		}
		if counted != len(exempt) {
			t.Errorf("level %s: %d rows counted, want %d", level, counted, len(exempt))
		}
	}
}

// Level 0 has 17 rows, each with a counter, and 10 IKE packets raise the IKE row by 10 (S-032).
func TestExemptionCounters(t *testing.T) {
	r := newRig(t, rigOptions{level: policy.Level0, rules: []rule{siteRule, denyAll}})
	hits := func() map[string]uint64 {
		counts := map[string]uint64{}
		for _, f := range r.d.Counters().Filters {
			if f.Name != "" && f.ID != 0 {
				counts[f.Name] = f.Packets
			}
		}
		return counts
	}
	if rows := hits(); len(rows) != 17 {
		t.Errorf("%d rows: %v", len(rows), rows)
	}
	for i := range 10 {
		if i%2 == 0 {
			r.check(wan, fromPeer(udpPacket(peer, wanOwn, 500, 500)))
		} else {
			r.check(wan, fromPeer(udpDatagram(netip.AddrPortFrom(peer, 33000), netip.AddrPortFrom(wanOwn, 4500), make([]byte, 4), []byte("IKE behind a NAT"))))
		}
	}
	if rows := hits(); rows["ike-inbound"] != 10 {
		t.Errorf("after 10 IKE packets: %v", rows)
	}
	if len(r.seen.ike) != 10 {
		t.Errorf("%d datagrams reached IKE", len(r.seen.ike))
	}
}

// Between other hosts nothing is exempt, at any level (S-033); nor is what a tunnel brought (S-035).
func TestTransitIsNeverExempt(t *testing.T) {
	outside := netip.MustParseAddr("198.51.100.9")
	for _, level := range []policy.ExemptionLevel{policy.Level0, policy.Level1, policy.Level2, policy.Level3} {
		r := newRig(t, rigOptions{level: level, rules: []rule{siteRule, denyAll}})
		transit := func(source, destination netip.Addr) []ipv4 {
			return []ipv4{
				udpPacket(source, destination, 500, 500), udpPacket(source, destination, 4500, 4500),
				udpPacket(source, destination, 88, 1024), udpPacket(source, destination, 1024, 88),
				packetOfLength(source, destination, 46, 60),
			}
		}
		for _, p := range transit(outside, lanHost) {
			r.wantDrop(wan, fromPeer(p), "filter_block")
		}
		for _, p := range transit(lanHost, outside) {
			r.wantDrop(lan, fromHost(p), "filter_block")
		}
		near := r.inbound(r.child("site", "aes128gcm16", true))
		for _, p := range transit(farHost, lanHost) {
			near.sequence++
			r.wantForward(wan, fromPeer(near.encapsulate(p, near.sequence)), lan)
		}
		for _, p := range transit(farHost, lanOwn) {
			near.sequence++
			if o, _ := r.check(wan, fromPeer(near.encapsulate(p, near.sequence))); o.Disposition != packetLocal {
				t.Errorf("level %s: from the tunnel to an own address: %+v, want no more than local", level, o)
			}
		}
		if len(r.seen.ike) != 0 {
			t.Errorf("level %s: IKE got %d datagrams out of a tunnel", level, len(r.seen.ike))
		}
	}
}

// With one-way inbound block and level 3 a sweep from source port 88, or to port 88, finds nothing (S-036).
func TestKerberosSweep(t *testing.T) {
	inbound := rule{name: "inbound", source: "any", destination: "my", block: true, oneWay: true}
	outbound := rule{name: "outbound", source: "my", destination: "any", oneWay: true}
	r := newRig(t, rigOptions{rules: []rule{inbound, outbound}})
	for _, protocol := range []uint8{protocolTCP, protocolUDP} {
		for _, toward := range []bool{false, true} {
			var frames [][]byte
			for port := 1; port <= 65535; port++ {
				p := packetOfLength(peer, wanOwn, protocol, 40)
				from, to := uint16(88), uint16(port)
				if toward {
					from, to = to, from
				}
				setPorts(p, from, to)
				frames = append(frames, fromPeer(p))
			}
			before := r.tally()
			r.flood(wan, frames)
			same(t, fmt.Sprintf("protocol %d, to port 88: %v", protocol, toward), ends(before, r.tally()), map[string]int{"filter_block": len(frames)})
		}
	}
}

// RSVP needs an explicit permit (S-037): without one it is dropped by default, and it is never negotiated.
func TestRSVP(t *testing.T) {
	p := packetOfLength(lanHost, netip.MustParseAddr("198.51.100.9"), 46, 60)
	r := newRig(t, rigOptions{})
	r.wantDrop(lan, fromHost(p), "no_filter")
	r.applyRules(siteRule, rule{name: "rsvp", source: "10.1.0.7", destination: "198.51.100.9", protocol: 46})
	r.wantForward(lan, fromHost(p), wan)
}

// A flow that was exempt is filtered from the first packet after the level has changed, while the gateway goes on (S-039).
func TestLevelChangeFlushesTheCache(t *testing.T) {
	r := newRig(t, rigOptions{level: policy.Level0, rules: []rule{siteRule, denyAll}})
	frame := fromPeer(packetOfLength(peer, wanOwn, 46, 60))
	for range 3 {
		if o, _ := r.check(wan, frame); o.Disposition != packetLocal {
			t.Fatalf("%+v", o)
		}
	}
	if flows := r.d.Flows(10); len(flows) != 1 || flows[0].Exemption != "rsvp-inbound" {
		t.Errorf("flow cache: %+v", flows)
	}
	plane := r.d.c
	r.options.level = policy.Level3
	r.applyRules(siteRule, denyAll)
	r.wantDrop(wan, frame, "filter_block")
	if r.d.c != plane {
		t.Error("the data plane was started anew")
	}
}

// A port that takes no IKE filters it like anything else while another of the same role takes it; a memo of the one does not
// speak for the other. With IKE off altogether no port takes any. Filters and other traffic work as before (S-041).
func TestIKEOff(t *testing.T) {
	o := rigOptions{wanRole: policy.PortsLAN, portIKE: map[string]bool{"lan": false}, rules: []rule{
		{name: "protect", source: "192.0.2.0/24", destination: "10.2.0.0/16", tunnel: "site", ports: policy.PortsLAN},
		{name: "out", source: "10.1.0.0/24", destination: "198.51.100.0/24", ports: policy.PortsLAN},
	}}
	r := newRig(t, o)
	elsewhere := netip.MustParseAddr("172.16.0.9")
	for _, port := range []uint16{500, 4500} {
		p := udpDatagram(netip.AddrPortFrom(elsewhere, port), netip.AddrPortFrom(wanOwn, port), make([]byte, 4), []byte("IKE"))
		for range 2 {
			r.wantDrop(lan, fromHost(p), "no_filter")
			if o, _ := r.check(wan, fromPeer(p)); o.Disposition != packetIKE {
				t.Errorf("port %d on the port with IKE: %+v", port, o)
			}
		}
	}
	r.wantForward(lan, fromHost(tcp(lanHost, netip.MustParseAddr("198.51.100.9"))), wan)
	r.options.noIKE = true
	r.applyRules(o.rules...)
	for _, port := range []uint16{500, 4500} {
		p := udpPacket(elsewhere, wanOwn, port, port)
		r.wantDrop(lan, fromHost(p), "no_filter")
		r.wantDrop(wan, fromPeer(p), "no_filter")
	}
	r.wantForward(lan, fromHost(tcp(lanHost, netip.MustParseAddr("198.51.100.9"))), wan)
	r.wantDrop(wan, fromPeer(tcp(peer, farHost)), "no_outbound_sa")
	if err := r.d.Apply(Snapshot{SPD: r.ref.spd, Tunnels: r.ref.tunnels, PortIKE: map[string]bool{"dmz": false}}); err == nil {
		t.Error("IKE off on a port that is not there")
	}
}

// setPorts changes the ports of a TCP or UDP packet.
func setPorts(p ipv4, from, to uint16) {
	body := p[p.headerLen():]
	body[0], body[1], body[2], body[3] = byte(from>>8), byte(from), byte(to>>8), byte(to)
}

// flood sends many frames, as many at a time as a receive ring holds.
func (r *rig) flood(port int, frames [][]byte) {
	r.t.Helper()
	for len(frames) > 0 {
		n := min(len(frames), 512)
		r.enqueue(0, port, frames[:n]...)
		r.settle()
		frames = frames[n:]
	}
}

// The IPv6 row of level 0 lets the gateway's own answers out as it lets the requests in, whatever a filter says.
func TestExemptEcho6(t *testing.T) {
	for level, answered := range map[policy.ExemptionLevel]int{policy.Level0: 1, policy.Level3: 0} {
		r := newRig6(t, rigOptions{level: level, rules: []rule{denyAll}})
		_, answers := r.check(lan, fromHost6(echo6(lanHost6, lanOwn6, 56)))
		if len(answers[lan]) != answered {
			t.Errorf("level %s: %d answers, want %d", level, len(answers[lan]), answered)
		}
	}
}

// What comes in clear from a peer's address to a port of IKE is no silence, also where it is no IKE: from another port than 500, which is filtered like anything else (S-034),
// by a port without IKE, or cut off. The handler hears of it, once in a tick for each peer. Of nobody else does it.
func TestPeersAreHeard(t *testing.T) { // S-051
	for _, permitted := range []bool{false, true} {
		rules := []rule{siteRule, siteRule6}
		if permitted {
			rules = append(rules, rule{name: "all", source: "any", destination: "any"})
		}
		r := newRig6(t, rigOptions{rules: rules, portIKE: map[string]bool{"lan": false}})
		another := peer.Next()
		if err := r.d.KnowPeers([]netip.Addr{peer, peer6, another, lanHost}, nil); err != nil {
			t.Fatal(err)
		}
		from := func(source, own netip.Addr, sourcePort, port uint16, payload ...byte) []byte {
			return udpDatagram(netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(own, port), payload)
		}
		for _, c := range []struct {
			what  string
			port  int
			ip    []byte
			heard netip.Addr
		}{
			{"from another port", wan, from(peer, wanOwn, 501, 500, ikeMessage(0)...), peer},
			{"of IPv6", wan, from(peer6, wanOwn6, 501, 500, ikeMessage(0)...), peer6},
			{"from another port, of another peer", wan, from(another, wanOwn, 40000, 500), another},
			{"by a port without IKE", lan, from(lanHost, lanOwn, 500, 500, ikeMessage(0)...), lanHost},
			{"a keepalive", wan, from(peer, wanOwn, 4500, 4500, 0xff), peer},
			{"another port of ours", wan, from(peer, wanOwn, 500, 501), netip.Addr{}},
			{"a host behind", wan, from(peer, lanHost, 501, 500), netip.Addr{}},
		} {
			r.now = r.now.Add(slowPathTick)
			r.serveAll()
			r.seen.heard, r.seen.ike = nil, nil
			mac, station := wanMAC, peerMAC
			if c.port == lan {
				mac, station = lanMAC, hostMAC
			}
			for range 5 {
				r.enqueue(0, c.port, etherFrame(mac[:], station[:], etherTypeOf(c.ip), c.ip))
				r.settle()
			}
			r.serveAll()
			var want []netip.Addr
			if c.heard.IsValid() {
				want = append(want, c.heard)
			}
			if n := len(r.seen.heard); permitted && n > 1 { // each was delivered
				r.seen.heard = r.seen.heard[:1]
			}
			same(t, fmt.Sprintf("permitted %v: %s", permitted, c.what), r.seen.heard, want)
			if len(r.seen.ike) != 0 {
				t.Errorf("%s: %d datagrams", c.what, len(r.seen.ike))
			}
			r.settle()
			r.sent(lan)
			r.sent(wan)
		}
		if permitted {
			continue
		}
		r.seen.heard = nil
		r.enqueue(0, wan, fromPeer(from(stranger, wanOwn, 501, 500)))
		r.settle()
		r.serveAll()
		if len(r.seen.heard) != 0 {
			t.Errorf("heard a stranger: %v", r.seen.heard)
		}
	}
}

// So it is where a filter lets it through to the gateway, whose queue for such packets somebody else has filled.
func TestPeersAreHeardBehindAFullQueue(t *testing.T) { // S-051
	for version, c := range map[string]struct{ peer, own netip.Addr }{"IPv4": {peer, wanOwn}, "IPv6": {peer6, wanOwn6}} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{punts: 4, rules: []rule{{name: "all", source: "any", destination: "any"}}})
			if err := r.d.KnowPeers([]netip.Addr{c.peer}, nil); err != nil {
				t.Fatal(err)
			}
			r.now = r.now.Add(slowPathTick)
			r.serveAll()
			for range 8 {
				r.enqueue(0, lan, fromHost(udpDatagram(netip.AddrPortFrom(lanHost, 7), netip.AddrPortFrom(lanOwn, 7), nil)))
			}
			r.settle()
			ip := udpDatagram(netip.AddrPortFrom(c.peer, 501), netip.AddrPortFrom(c.own, portIKE), ikeMessage(0))
			for range 5 {
				r.enqueue(0, wan, etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip))
			}
			r.settle()
			r.serveAll()
			same(t, "heard", r.seen.heard, []netip.Addr{c.peer})
			if n := r.d.Counters().Ports[wan].Drops["punt_full"]; n != 5 {
				t.Errorf("%d dropped for want of room, expected 5", n)
			}
		})
	}
}

// So it is where a filter of a tunnel has it, with fallback or without: a peer whose IKE comes from another port, because a NAT has rewritten it, or by a port without IKE, is heard, and no
// clear traffic that asks for an SA. Nor is an error of ICMP about our own messages, from whomever (S-050); other traffic does ask.
func TestPeersAreHeardThroughATunnelsFilter(t *testing.T) { // S-051
	for version, c := range map[string]struct {
		own, peer    netip.Addr
		far, unasked []byte // of the peer's: what asks, and what does not
	}{
		"IPv4": {wanOwn, peer, tcp(peer, wanOwn), errorOf(peer, wanOwn, icmpUnreachable, 3)},
		"IPv6": {wanOwn6, peer6, echo6(peer6, wanOwn6, 56), errorOf6(peer6, wanOwn6, 1)},
	} {
		for _, fallback := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, fallback %v", version, fallback), func(t *testing.T) {
				all := rule{name: "all", source: c.own.String(), destination: c.peer.String(), tunnel: "site", fallback: fallback}
				r := newRig6(t, rigOptions{rules: []rule{all}, portIKE: map[string]bool{"wan": false}})
				r.setCell("site", CellHold)
				if err := r.d.KnowPeers([]netip.Addr{c.peer}, nil); err != nil {
					t.Fatal(err)
				}
				send := func(ip []byte) {
					t.Helper()
					r.now = r.now.Add(slowPathTick)
					r.serveAll()
					r.seen.heard, r.seen.asked = nil, nil
					for range 3 { // the drop is remembered, too
						r.enqueue(0, wan, etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip))
						r.settle()
					}
					r.serveAll()
				}
				for _, ports := range [][2]uint16{{1024, 500}, {500, 500}, {4500, 4500}} {
					send(udpDatagram(netip.AddrPortFrom(c.peer, ports[0]), netip.AddrPortFrom(c.own, ports[1]), ikeMessage(0)))
					same(t, fmt.Sprintf("heard, %d to %d", ports[0], ports[1]), r.seen.heard, []netip.Addr{c.peer})
					if len(r.seen.asked) != 0 {
						t.Errorf("%d to %d: asked %+v", ports[0], ports[1], r.seen.asked)
					}
				}
				send(c.unasked)
				if len(r.seen.asked) != 0 || len(r.seen.heard) != 0 {
					t.Errorf("an ICMP error: asked %+v, heard %v", r.seen.asked, r.seen.heard)
				}
				send(c.far)
				if len(r.seen.asked) != 1 || !r.seen.asked[0].Inbound || len(r.seen.heard) != 0 {
					t.Errorf("other traffic: asked %+v, heard %v", r.seen.asked, r.seen.heard)
				}
			})
		}
	}
}

func errorOf(source, destination netip.Addr, typ, code uint8) []byte {
	p := packetOfLength(source, destination, protocolICMP, ipv4HeaderLen+icmpHeaderLen+ipv4HeaderLen+8)
	putICMP(p[ipv4HeaderLen:], typ, code)
	return p
}

func errorOf6(source, destination netip.Addr, typ uint8) []byte {
	p := udp6(source, destination, 7, 7, 48)
	p[6] = protocolICMPv6
	p[ipv6HeaderLen], p[ipv6HeaderLen+1] = typ, 4
	return p
}

// Datagrams to port 4500 that are too short for ESP, or of an SPI that no SA has, are heard.
func TestStrayDatagramsAreHeard(t *testing.T) { // S-051
	for version, c := range map[string]struct{ own, peer netip.Addr }{"IPv4": {wanOwn, peer}, "IPv6": {wanOwn6, peer6}} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{})
			if err := r.d.KnowPeers([]netip.Addr{c.peer}, nil); err != nil {
				t.Fatal(err)
			}
			near := r.child("site", "aes128gcm16", true)
			near.UDPEncap, near.Local, near.Remote = true, netip.AddrPortFrom(wanOwn, 4500), netip.AddrPortFrom(stranger, 4500)
			r.inbound(near)
			for _, length := range []int{0, 1, 2, 7, 8, 40} {
				r.now = r.now.Add(slowPathTick)
				r.serveAll()
				r.seen.heard = nil
				ip := udpDatagram(netip.AddrPortFrom(c.peer, 4500), netip.AddrPortFrom(c.own, 4500), bytes.Repeat([]byte{0xa5}, length))
				r.enqueue(0, wan, etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip))
				r.settle()
				r.serveAll()
				same(t, fmt.Sprintf("%d bytes", length), r.seen.heard, []netip.Addr{c.peer})
			}
		})
	}
}
