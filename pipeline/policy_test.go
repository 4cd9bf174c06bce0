package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sallyport/policy"
)

func tcp(source, destination netip.Addr) ipv4 {
	return packetOfLength(source, destination, protocolTCP, 60)
}

// udpPacket is a UDP datagram with 20 bytes of data.
func udpPacket(source, destination netip.Addr, from, to uint16) ipv4 {
	return udpDatagram(netip.AddrPortFrom(source, from), netip.AddrPortFrom(destination, to), make([]byte, 1), []byte("20 bytes of payload"))
}

// S-008: what no filter matches is dropped; only words in the policy change that.
func TestUnmatched(t *testing.T) {
	for _, permit := range []bool{false, true} {
		r := newRig(t, rigOptions{permit: permit, rules: []rule{}})
		outside := netip.MustParseAddr("198.51.100.9")
		for range 3 { // a miss, then hits of the flow cache
			if permit {
				r.wantForward(lan, fromHost(tcp(lanHost, outside)), wan)
			} else {
				r.wantDrop(lan, fromHost(tcp(lanHost, outside)), "no_filter")
			}
		}
		if c := r.d.Counters(); c.Filters[0].Packets != 3 || c.Filters[0].Name != "default action" {
			t.Errorf("default action: %+v", c.Filters[0])
		}
	}
}

// S-025 and RFC 4301 section 5.2: protected traffic in clear is dropped on either port, and a forged local source too.
func TestClearOnProtected(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "all", source: "any", destination: "any"}}})
	r.outbound(r.child("site", "aes128gcm16", false))
	for range 2 {
		r.wantDrop(wan, fromPeer(tcp(farHost, lanHost)), "clear_on_protected")
		r.wantDrop(lan, fromHost(tcp(farHost, lanHost)), "clear_on_protected")
		r.wantDrop(wan, fromPeer(tcp(lanHost, farHost)), "protect_from_unprotected")
		r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
	}
}

// S-021: a memo of a flow is no state: the reverse packet is judged by the filters alone.
func TestFlowCacheNeverGrantsTheReverse(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "out", source: "10.1.0.0/24", destination: "any", oneWay: true}}})
	outside := netip.MustParseAddr("198.51.100.9")
	for range 3 {
		r.wantForward(lan, fromHost(tcp(lanHost, outside)), wan)
		r.wantDrop(wan, fromPeer(tcp(outside, lanHost)), "no_filter")
	}
	flows := r.d.Flows(100)
	actions := map[string]string{}
	for _, f := range flows {
		actions[f.Source.String()] = f.Role + " " + f.Action + " " + f.Reason + " " + f.Filter.Rule
	}
	same(t, "flows", actions, map[string]string{"10.1.0.7": "protected forward  out", "198.51.100.9": "unprotected drop no_filter "})
}

// S-006: a rule for one role of ports does not speak for the other: one and the same packet, injected on both.
func TestPortRoles(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "lan-only", source: "any", destination: "any", ports: policy.PortsLAN}}})
	p := tcp(netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.9"))
	for range 2 { // a miss, then a hit of the flow cache
		r.wantForward(lan, fromHost(p), wan)
		r.wantDrop(wan, fromPeer(p), "no_filter")
	}
	r.applyRules(rule{name: "wan-only", source: "any", destination: "any", ports: policy.PortsWAN})
	r.wantDrop(lan, fromHost(p), "no_filter")
	r.wantForward(wan, fromPeer(p), wan)
}

// S-022: IPv6, and IPv6 inside IPv4, do not slip past IPv4 filters. Without an IPv6 filter or address a frame of IPv6 is not
// even read.
func TestIPv6IsDropped(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "0.0.0.0/0", destination: "0.0.0.0/0"}}})
	r.wantDrop(lan, etherFrame(lanMAC[:], hostMAC[:], etherTypeIPv6, make([]byte, 60)), "ipv6")
	outside := netip.MustParseAddr("198.51.100.9")
	r.wantDrop(lan, fromHost(packetOfLength(lanHost, outside, 41, 60)), "protocol_41")
	r.applyRules(rule{name: "all", source: "any", destination: "any"}, rule{name: "6in4", source: "any", destination: "any", protocol: 41})
	r.wantForward(lan, fromHost(packetOfLength(lanHost, outside, 41, 60)), wan)
}

// The IKE exemption in each cell of ports and need (S-034, C-07): own addresses only (S-033), its ports only, and only when
// the policy needs it.
func TestIKEExemption(t *testing.T) {
	outside := netip.MustParseAddr("198.51.100.9")
	for _, needed := range []bool{true, false} {
		rules := []rule{siteRule, {name: "deny", source: "any", destination: "any", block: true}}
		if !needed {
			rules = rules[1:]
		}
		r := newRig(t, rigOptions{rules: rules})
		for _, c := range []struct {
			from, to    uint16
			destination netip.Addr
			exempt      bool
		}{
			{500, 500, wanOwn, true},
			{4500, 4500, wanOwn, true},
			{1024, 4500, wanOwn, true}, // behind a NAT
			{500, 500, lanOwn, true},   // an own address too
			{500, 4500, wanOwn, true},
			{500, 501, wanOwn, false},
			{501, 500, wanOwn, false},
			{4500, 500, wanOwn, false},
			{4500, 4501, wanOwn, false},
			{1024, 500, wanOwn, false},
			{88, 88, wanOwn, false},    // Kerberos
			{500, 500, lanHost, false}, // S-033: transit
			{4500, 4500, lanHost, false},
			{500, 500, outside, false},
		} {
			p := udpPacket(peer, c.destination, c.from, c.to)
			clear(p[ipv4HeaderLen+udpHeaderLen:][:4]) // on 4500 this is the non-ESP marker
			u := p[ipv4HeaderLen:]
			u[6], u[7] = 0, 0
			r.seen = recorder{}
			o, _ := r.check(wan, fromPeer(p))
			wantIKE := c.exempt && needed
			if (o.Disposition == packetIKE) != wantIKE || (len(r.seen.ike) == 1) != wantIKE {
				t.Errorf("needed %v, %d to %d for %s: %+v, %d datagrams", needed, c.from, c.to, c.destination, o, len(r.seen.ike))
			}
			if !wantIKE && o.Reason != "filter_block" {
				t.Errorf("needed %v, %d to %d for %s: %+v, want filter_block", needed, c.from, c.to, c.destination, o)
			}
		}
	}
}

// S-034: the datagram reaches IKE with its addresses, without the marker of port 4500; a wrong checksum stops it.
func TestIKEDatagrams(t *testing.T) {
	r := newRig(t, rigOptions{})
	message := []byte("an IKE message of some length")
	local, remote := netip.AddrPortFrom(wanOwn, 4500), netip.AddrPortFrom(peer, 61000)
	r.check(wan, fromPeer(udpDatagram(remote, local, make([]byte, 4), message)))
	r.check(wan, fromPeer(udpDatagram(netip.AddrPortFrom(peer, 500), netip.AddrPortFrom(wanOwn, 500), message)))
	bad := udpDatagram(netip.AddrPortFrom(peer, 500), netip.AddrPortFrom(wanOwn, 500), message)
	bad[len(bad)-1]++
	r.check(wan, fromPeer(bad))
	for i := range r.seen.ike {
		if share := &r.seen.ike[i].Share; *share < PuntShares {
			*share = 0 // whichever it was
		}
	}
	same(t, "datagrams", r.seen.ike, []Datagram{
		{Local: local, Remote: remote, Payload: message, NonESPMarker: true},
		{Local: netip.AddrPortFrom(wanOwn, 500), Remote: netip.AddrPortFrom(peer, 500), Payload: message},
	})
	r.wantDrop(wan, fromPeer(udpDatagram(remote, local, []byte{0xff})), "nat_keepalive")

	for _, marker := range []bool{false, true} {
		if err := r.d.SendUDP(local, remote, message, marker); err != nil {
			t.Fatal(err)
		}
		r.settle()
		var prefix []byte
		if marker {
			prefix = make([]byte, 4)
		}
		want := ipv4(udpDatagram(local, remote, prefix, message))
		want[6] = 0 // routers may cut it
		binary.BigEndian.PutUint16(want[4:], r.d.slow.identifier)
		setHeaderChecksum(want)
		same(t, "sent", r.sent(wan), [][]byte{etherFrame(peerMAC[:], wanMAC[:], etherTypeIPv4, want)})
	}
	hits := map[string]uint64{}
	c := r.d.Counters()
	for _, f := range c.Filters {
		hits[f.Name] += f.Packets
	}
	if hits["ike-inbound"] != 4 || hits["ike-outbound"] != 2 { // the keepalive and the wrong checksum too came in
		t.Errorf("exemptions: %v", hits)
	}
}

// S-035: IKE between hosts behind the gateways is traffic like any other: it goes into the tunnel.
func TestIKEOfHostsIsProtected(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.outbound(r.child("site", "aes128gcm16", false))
	if out := r.wantForward(lan, fromHost(udpPacket(lanHost, farHost, 500, 500)), wan); out[etherHeaderLen+9] != protocolESP {
		t.Errorf("left as protocol %d", out[etherHeaderLen+9])
	}
	near := r.inbound(r.child("site", "aes128gcm16", true))
	r.wantForward(wan, fromPeer(near.encapsulate(udpPacket(farHost, lanHost, 500, 500), 1)), lan)
}

// Frames and headers that are wrong in each field, and addresses that cannot be.
func TestBadFrames(t *testing.T) {
	r := newRig(t, rigOptions{permit: true, rules: []rule{}})
	good := fromHost(tcp(lanHost, farHost))
	change := func(name, reason string, edit func([]byte)) {
		t.Helper()
		f := append([]byte(nil), good...)
		edit(f)
		if o, _ := r.check(lan, f); o.Reason != reason {
			t.Errorf("%s: %+v, want %q", name, o, reason)
		}
	}
	header := func(edit func(ipv4)) func([]byte) {
		return func(f []byte) {
			p := ipv4(f[etherHeaderLen:])
			edit(p)
			setHeaderChecksum(p)
		}
	}
	change("sound", "", func([]byte) {})
	change("other station", "other_mac", func(f []byte) { f[5]++ })
	change("link broadcast", "link_broadcast", func(f []byte) { copy(f, broadcastMAC[:]) })
	change("EtherType", "ether_type", func(f []byte) { f[12] = 0x88 })
	change("VLAN", "unknown_vlan", func(f []byte) { f[12], f[13] = 0x81, 0 })
	change("version", "ip_version", header(func(p ipv4) { p[0] = 0x55 }))
	change("header length", "ip_header_length", func(f []byte) { f[14] = 0x44 })
	change("total length", "ip_total_length", header(func(p ipv4) { p[2] = 9 }))
	change("total length below header", "ip_total_length", header(func(p ipv4) { p[2], p[3] = 0, 19 }))
	change("checksum", "ip_checksum", func(f []byte) { f[24]++ })
	change("no room for ports", "l4_truncated", header(func(p ipv4) { p[2], p[3] = 0, 22 }))
	change("to all", "tcp_multicast", header(func(p ipv4) { copy(p[16:], "\xff\xff\xff\xff") }))
	for source, reason := range map[string]string{"0.1.2.3": "bad_source", "127.0.0.1": "bad_source", "224.0.0.1": "bad_source", "255.255.255.255": "bad_source",
		"10.1.0.1": "bad_source", "192.0.2.1": "bad_source", "10.1.0.255": "bad_source", "240.0.0.1": "bad_source"} {
		change("source "+source, reason, header(func(p ipv4) { a := netip.MustParseAddr(source).As4(); copy(p[12:], a[:]) }))
	}
	for destination, reason := range map[string]string{"0.1.2.3": "bad_destination", "127.0.0.1": "bad_destination", "240.0.0.1": "bad_destination",
		"10.1.0.255": "", "192.0.2.255": "directed_broadcast", "255.255.255.255": "", "224.0.0.5": ""} {
		change("destination "+destination, reason, header(func(p ipv4) { p[9] = 253; a := netip.MustParseAddr(destination).As4(); copy(p[16:], a[:]) }))
	}
	for n := range len(good) {
		r.check(lan, good[:n])
	}
}

// Options: a source route and a malformed list are dropped, a sound one passes and survives both directions.
func TestOptions(t *testing.T) {
	r := newRig(t, rigOptions{})
	far := r.outbound(r.child("site", "aes128gcm16", false))
	near := r.inbound(r.child("site", "aes128-sha256", true))
	for name, c := range map[string]struct {
		options []byte
		reason  string
	}{
		"no operation":        {[]byte{1, 1, 1, 0}, ""},
		"router alert":        {[]byte{148, 4, 0, 0}, ""},
		"loose source route":  {[]byte{131, 3, 4, 0}, "ip_options"},
		"strict source route": {[]byte{137, 3, 4, 0}, "ip_options"},
		"length 0":            {[]byte{7, 0, 0, 0}, "ip_options"},
		"length 1":            {[]byte{7, 1, 0, 0}, "ip_options"},
		"beyond the header":   {[]byte{7, 5, 0, 0}, "ip_options"},
		"cut off":             {[]byte{1, 1, 1, 7}, "ip_options"},
	} {
		build := func(source, destination netip.Addr) ipv4 {
			p := append(ipv4(nil), tcp(source, destination)...)
			p = append(p[:20:20], append(append([]byte(nil), c.options...), p[20:]...)...)
			p[0] = 0x46
			binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
			setHeaderChecksum(p)
			return p
		}
		o, _ := r.check(lan, fromHost(build(lanHost, farHost)))
		if o.Reason != c.reason {
			t.Errorf("%s: %+v, want %q", name, o, c.reason)
		}
		if c.reason == "" {
			r.opened(far, o.Frame, 64)
		}
		near.sequence++
		inner, _ := r.check(wan, fromPeer(near.encapsulate(build(farHost, lanHost), near.sequence)))
		if (inner.Reason == "") != (c.reason == "") {
			t.Errorf("%s inside: %+v", name, inner)
		}
	}
}

// Random policies and random packets: the compiled classifier, the flow cache and the naive reference agree. Frames repeat,
// so that cached verdicts are compared as well.
func TestRandomPolicies(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{}, flows: 64})
	random := r.random
	for range 25 {
		r.applyRules(randomRules(random)...)
		r.rejudged()
		for range 150 {
			p := packetOfLength(randomHost(random), randomHost(random), []uint8{6, 17, 253, 41, 1, 47}[random.IntN(6)], 60)
			for range 2 {
				if random.IntN(2) == 0 {
					r.check(lan, fromHost(p))
				} else {
					r.check(wan, fromPeer(p))
				}
			}
		}
	}
}

// The universe of random policies is small, so that filters overlap and packets meet them.
var randomNets = []string{"10.1.0.", "10.2.0.", "198.51.100.", "203.0.113."}

func randomHost(random *rand.Rand) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("%s%d", randomNets[random.IntN(4)], random.IntN(10)+1))
}

func randomSpec(random *rand.Rand) string {
	base := randomNets[random.IntN(4)]
	switch random.IntN(4) {
	case 0:
		return fmt.Sprintf("%s%d", base, random.IntN(8)+2)
	case 1:
		return fmt.Sprintf("%s%d-%s%d", base, random.IntN(4), base, 4+random.IntN(8))
	case 2:
		return base + "0/24"
	}
	return "any"
}

func randomRules(random *rand.Rand) []rule {
	var rules []rule
	for i := range 1 + random.IntN(12) {
		x := rule{name: fmt.Sprintf("r%d", i), source: randomSpec(random), destination: randomSpec(random), block: random.IntN(3) == 0, oneWay: random.IntN(2) == 0,
			protocol: []uint8{0, 0, 6, 17, 253, 41}[random.IntN(6)], ports: policy.PortGroup(1 + random.IntN(3))}
		if x.protocol == 6 || x.protocol == 17 {
			x.port.First = uint16(5676 + random.IntN(4))
			x.port.Last = x.port.First + uint16(random.IntN(3))
		}
		rules = append(rules, x)
	}
	return rules
}

// Frames of every kind, damaged at random, on either port.
func TestRandomFrames(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "dmz", source: "10.1.0.0/24", destination: "198.51.100.0/24"}, {name: "ping", source: "any", destination: "10.1.0.1", protocol: 1}}})
	r.outbound(r.child("site", "aes128gcm16", false))
	near := r.inbound(r.child("site", "aes128gcm16", true))
	random := r.random
	for range 6000 {
		near.sequence++
		kinds := []func() []byte{
			func() []byte { return fromHost(tcp(lanHost, farHost)) },
			func() []byte { return fromHost(udpPacket(lanHost, netip.MustParseAddr("198.51.100.7"), 1000, 2000)) },
			func() []byte { return fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)) },
			func() []byte { return fromHost(icmpPacket(lanHost, lanOwn, icmpEcho, 20)) },
			func() []byte { return fromPeer(udpPacket(peer, wanOwn, 500, 500)) },
			func() []byte { return fromPeer(udpPacket(peer, wanOwn, 4500, 4500)) },
		}
		f := append([]byte(nil), kinds[random.IntN(len(kinds))]()...)
		for range random.IntN(4) {
			f[random.IntN(min(len(f), 50))] = byte(random.Uint32())
		}
		if random.IntN(2) == 0 && len(f) > 34 && f[14]>>4 == 4 && f[14]&15 >= 5 && int(f[14]&15)*4 <= len(f)-14 {
			setHeaderChecksum(ipv4(f[etherHeaderLen:]))
		}
		if random.IntN(8) == 0 {
			f = f[:random.IntN(len(f)+1)]
		}
		r.check(random.IntN(2), f)
	}
}
