package pipeline

import (
	"bytes"
	"testing"
)

// S-022: each way in which an IPv6 packet can be malformed, or go where filters do not see, is a drop of its own.
func TestIPv6Headers(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	options := func(b ...byte) []byte { // of a header of the least length that holds them
		n := (2 + len(b) + 7) / 8
		return append(append([]byte{byte(n - 1)}, b...), make([]byte, 8*n-2-len(b))...)
	}
	routing := func(kind, left byte) extension { return extension{nextRouting, []byte{0, kind, left, 0, 0, 0, 0}} }
	hopByHop, destination := extension{nextHopByHop, options(5, 2, 0, 0)}, extension{nextDestination, options(1, 0)}
	build := func(x ...extension) ipv6 {
		return packet6(lanHost6, outside6, protocolTCP, append([]byte{1, 2, 3, 4}, make([]byte, 16)...), x...)
	}
	many := make([]extension, maxExtensions+1)
	for i := range many {
		many[i] = destination
	}
	cut := func(p ipv6, n int) ipv6 { // honest about its length
		p = bytes.Clone(p[:n])
		p[4], p[5] = byte((n-ipv6HeaderLen)>>8), byte(n-ipv6HeaderLen)
		return p
	}
	version := build()
	version[0] = 0x40
	for _, c := range []struct {
		name   string
		packet ipv6
		reason string
	}{
		{"plain", build(), ""},
		{"every extension header", build(hopByHop, destination, routing(4, 0), destination), ""},
		{"as many as there may be", build(many[:maxExtensions]...), ""},
		{"one more", build(many...), "ipv6_chain"},
		{"hop-by-hop options not first", build(destination, hopByHop), "ipv6_extension"},
		{"hop-by-hop options twice", build(hopByHop, hopByHop), "ipv6_extension"},
		{"option beyond its header", build(extension{nextDestination, options(5, 5, 0, 0)}), "ipv6_options"},
		{"option without a length", build(extension{nextDestination, options(0, 0, 0, 0, 0, 5)}), "ipv6_options"},
		{"jumbogram", build(extension{nextHopByHop, options(0xc2, 4, 0, 1, 0, 0)}), "ipv6_jumbo"},
		{"extension beyond the packet", build(extension{nextDestination, []byte{200, 1, 0, 0, 0, 0, 0}}), "ipv6_extension"},
		{"extension cut off", cut(build(destination), ipv6HeaderLen+4), "ipv6_extension"},
		{"source route", build(routing(0, 1)), "ipv6_routing"},
		{"source route at its end", build(routing(0, 0)), "ipv6_routing"},
		{"mobile route", build(routing(2, 0)), "ipv6_routing"},
		{"segments left", build(routing(4, 1)), "ipv6_routing"},
		{"fragment header of a whole packet", build(hopByHop, extension{nextFragment, []byte{0xff, 0, 6, 0, 0, 0, 1}}, destination), ""}, // RFC 6946
		{"fragment header twice", build(extension{nextFragment, make([]byte, 7)}, extension{nextFragment, make([]byte, 7)}), "ipv6_extension"},
		{"fragment header cut off", cut(build(extension{nextFragment, make([]byte, 7)}), ipv6HeaderLen+7), "ipv6_extension"},
		{"no room for ports", cut(build(), ipv6HeaderLen+3), "l4_truncated"},
		{"no payload at all", cut(build(), ipv6HeaderLen), "no_payload"},
		{"no next header", packet6(lanHost6, outside6, 59, nil), ""},
		{"payload beyond the frame", build()[:50], "ipv6_length"},
		{"header cut off", build()[:39], "truncated"},
		{"version 4", version, "ip_version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &rig{t: t, d: r.d, ref: r.ref, pool: r.pool, twins: r.twins, cfg: r.cfg, now: r.now, options: r.options}
			for range 2 { // a miss and a hit of the flow cache
				if c.reason == "" {
					r.wantForward(lan, fromHost6(c.packet), wan)
				} else {
					r.wantDrop(lan, fromHost6(c.packet), c.reason)
				}
			}
		})
	}
}

// Random damage to sound packets, and every length: both sides agree on where it ends.
func TestIPv6Mutations(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule, siteRule6, {name: "ping", source: "any", destination: "my", protocol: protocolICMPv6}}})
	r.outbound(r.child6("aes128gcm16", false))
	seeds := [][]byte{
		tcp6(lanHost6, outside6), tcp6(lanHost6, farHost6), echo6(lanHost6, lanOwn6, 8),
		packet6(lanHost6, outside6, protocolUDP, make([]byte, 8), extension{nextHopByHop, []byte{0, 1, 4, 0, 0, 0, 0}}, extension{nextRouting, []byte{0, 4, 0, 0, 0, 0, 0}}),
	}
	for i := range 4000 {
		p := bytes.Clone(seeds[i%len(seeds)])
		for range 1 + r.random.IntN(3) {
			// never the addresses: neighbours that do not answer would fill the table
			at := r.random.IntN(len(p) - 32)
			if at >= 8 {
				at += 32
			}
			p[at] ^= byte(1 << r.random.IntN(8))
		}
		frame := fromHost6(p[:len(p)-r.random.IntN(2)*r.random.IntN(len(p))])
		r.check(lan, frame)
	}
}

// Every frame of EtherType IPv6 in a burst among IPv4 ones keeps its place in its own flow and is judged once.
func TestMixedBurst(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	outside := peer
	var frames, want4, want6 [][]byte
	for i := range 40 {
		p4, p6 := packetOfLength(lanHost, outside, 253, 60+i), ofLength6(lanHost6, outside6, 60+i)
		frames = append(frames, fromHost(p4), fromHost6(p6))
		want4 = append(want4, etherFrame(peerMAC[:], wanMAC[:], etherTypeIPv4, decrementTTL(p4)))
		want6 = append(want6, etherFrame(peerMAC[:], wanMAC[:], etherTypeIPv6, decrementHops(p6)))
	}
	r.enqueue(0, lan, frames...)
	r.settle()
	var got4, got6 [][]byte
	for _, f := range r.sent(wan) {
		if f[12] == 0x08 {
			got4 = append(got4, f)
		} else {
			got6 = append(got6, f)
		}
	}
	same(t, "IPv4", got4, want4)
	same(t, "IPv6", got6, want6)
}
