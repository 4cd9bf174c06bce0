package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

// S-022: IPv6 through an IPv4 tunnel of every suite, out and in, with every padding.
func TestIPv6ThroughTheTunnel(t *testing.T) {
	for _, suite := range allSuites {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/udp=%v", suite, udp), func(t *testing.T) {
				r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
				out, in := r.child6(suite, false), r.child6(suite, true)
				out.UDPEncap, in.UDPEncap, out.ESN, in.ESN = udp, udp, udp, udp
				r.outbound(out)
				far := r.inbound(in)
				for i := range 40 {
					sent := ipv4(r.wantForward(lan, fromHost6(ofLength6(lanHost6, farHost6, 40+i)), wan)[etherHeaderLen:])
					if sent.fragment() != flagDontFragment {
						t.Fatalf("outer header % x: want DF", sent[:20])
					}
					far.sequence++
					r.wantForward(wan, fromPeer(far.encapsulate(ofLength6(farHost6, lanHost6, 40+i), far.sequence)), lan)
					far.sequence++ // and IPv4 through the same SA
					r.wantForward(wan, fromPeer(far.encapsulate(packetOfLength(farHost, lanHost, 253, 40+i), far.sequence)), lan)
					r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, 40+i)), wan)
				}
			})
		}
	}
}

// Both IP versions in one burst out of one SA.
func TestMixedBurstFromTheTunnel(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	far := r.inbound(r.child6("aes128gcm16", true))
	var frames [][]byte
	want := map[string]bool{}
	for i := range 64 {
		inner := []byte(packetOfLength(farHost, lanHost, 253, 60+i))
		if i%3 != 0 {
			inner = ofLength6(farHost6, lanHost6, 60+i)
		}
		far.sequence++
		frames = append(frames, fromPeer(far.encapsulate(inner, far.sequence)))
		want[string(etherFrame(hostMAC[:], lanMAC[:], etherTypeOf(inner), decrementHops(inner)))] = true
	}
	r.enqueue(0, wan, frames...)
	r.settle()
	got := map[string]bool{}
	for _, f := range r.sent(lan) {
		got[string(f)] = true
	}
	same(t, "packets", got, want)
}

// S-065 for IPv6: what an SA did not negotiate does not pass it, in either direction, and one version's selectors say nothing
// of the other's.
func TestIPv6Selectors(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, siteRule}})
	narrow := siteSelector6
	narrow.Local = policy.AddrRange{First: netip.MustParseAddr("2001:db8:1::5"), Last: netip.MustParseAddr("2001:db8:1:0:1::")}
	narrow.Protocol, narrow.RemotePort = protocolUDP, policy.PortRange{First: 10, Last: 20}
	out, in := r.child("site", "aes128gcm16", false), r.child("site", "aes128gcm16", true)
	out.Selectors, in.Selectors = []policy.Selector{narrow}, []policy.Selector{narrow}
	r.outbound(out)
	far := r.inbound(in)
	for _, c := range []struct {
		host             string
		protocol         uint8
		local, remote    uint16
		passes, outbound bool
	}{
		{"2001:db8:1::5", protocolUDP, 9, 10, true, true},
		{"2001:db8:1::7", protocolUDP, 9, 20, true, true},
		{"2001:db8:1:0:0:ffff:ffff:ffff", protocolUDP, 9, 15, true, true},
		{"2001:db8:1:0:1::", protocolUDP, 9, 15, true, true},
		{"2001:db8:1::4", protocolUDP, 9, 15, false, true},
		{"2001:db8:1:0:1::1", protocolUDP, 9, 15, false, true},
		{"2001:db8:1::7", protocolUDP, 9, 9, false, true},
		{"2001:db8:1::7", protocolUDP, 9, 21, false, true},
		{"2001:db8:1::7", protocolTCP, 9, 15, false, true},
		{"2001:db8:1::7", protocolUDP, 9, 15, true, false},
		{"2001:db8:1::4", protocolUDP, 9, 15, false, false},
		{"2001:db8:1::7", protocolUDP, 9, 9, false, false},
		{"2001:db8:1::7", protocolTCP, 9, 15, false, false},
	} {
		host := netip.MustParseAddr(c.host)
		var p ipv6
		if c.outbound {
			p = udp6(host, farHost6, c.local, c.remote, 8)
		} else {
			p = udp6(farHost6, host, c.remote, c.local, 8)
		}
		p[6] = c.protocol
		far.sequence++
		switch {
		case c.outbound && c.passes:
			r.wantForward(lan, fromHost6(p), wan)
		case c.outbound:
			r.wantDrop(lan, fromHost6(p), "selector_mismatch")
		case c.passes:
			r.wantForward(wan, fromPeer(far.encapsulate(p, far.sequence)), lan)
		default:
			r.wantDrop(wan, fromPeer(far.encapsulate(p, far.sequence)), "selector_mismatch")
		}
	}
	r.wantDrop(lan, fromHost(tcp(lanHost, farHost)), "selector_mismatch")
	far.sequence++
	r.wantDrop(wan, fromPeer(far.encapsulate(tcp(farHost, lanHost), far.sequence)), "selector_mismatch")
}

// What comes out of a tunnel malformed, or is named wrongly by the trailer.
func TestIPv6InnerGarbage(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, siteRule}})
	child := r.child6("aes128gcm16", true)
	r.inbound(child)
	inner := ofLength6(farHost6, lanHost6, 60)
	with := func(p []byte, tail ...byte) []byte { return append(slices.Clone(p), tail...) }
	fragment := packet6(farHost6, lanHost6, 253, make([]byte, 4), extension{nextFragment, []byte{0, 0, 1, 0, 0, 0, 1}})
	longer := slices.Clone(inner)
	longer[5]++
	for i, c := range []struct {
		plaintext []byte
		reason    string
	}{
		{with(inner, 1, 2, 2, 41), ""},
		{with(inner, 1, 2, 3, 4, 5, 6, 6, 41), ""},
		{with(inner, 1, 2, 2, 4), "inner_header"}, // IPv6 under the name of IPv4
		{with(inner, 2, 2, 2, 41), "bad_padding"},
		{with(inner, 1, 2, 255, 41), "bad_padding"},
		{with(inner[:36], 1, 2, 2, 41), "inner_header"},
		{with(longer, 1, 2, 2, 41), "inner_header"},
		{[]byte{1, 2, 2, 41}, "no_payload"},
		{with(fragment, 1, 2, 2, 41), "fragment_length"},
	} {
		if o, _ := r.check(wan, sealRaw(t, child, uint32(i+1), c.plaintext)); o.Reason != c.reason {
			t.Errorf("case %d: %q, want %q", i, o.Reason, c.reason)
		}
	}
}

// RFC 4443 section 3.2: a packet that is too long for the tunnel is dropped and its sender told what fits, through every suite.
func TestPacketTooBig(t *testing.T) {
	for _, suite := range allSuites {
		t.Run(suite, func(t *testing.T) { packetTooBigOnTheWire(t, suite) })
	}
}

func packetTooBigOnTheWire(t *testing.T, suite string) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, allRule}})
	child := r.child6(suite, false)
	r.outbound(child)
	fits := child.largest(1500, 0)
	r.wantForward(lan, fromHost6(ofLength6(lanHost6, farHost6, fits)), wan)
	for destination, mtu := range map[netip.Addr]int{farHost6: fits, outside6: 1500} {
		p := ofLength6(lanHost6, destination, mtu+1)
		o, answers := r.check(lan, fromHost6(p))
		if o.Reason != "mtu_exceeded" || o.MTU != mtu || len(answers[lan]) != 1 {
			t.Fatalf("%+v, %d answers", o, len(answers[lan]))
		}
		got := ipv6(answers[lan][0][etherHeaderLen:])
		body, ok := icmp6Body(got)
		if !ok || got.source() != lanOwn6 || got.destination() != lanHost6 || body[0] != icmp6TooBig || int(binary.BigEndian.Uint32(body[4:])) != mtu ||
			len(got) != ipv6MinMTU || !slices.Equal(body[8:], []byte(p[:len(body)-8])) {
			t.Errorf("%s: % x", suite, got)
		}
	}
}

// An IPv6 packet asks for its tunnel and waits, and leaves when the SA is there.
func TestIPv6Acquire(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6}})
	r.setCell("site", CellHold)
	p := udp6(lanHost6, farHost6, 7, 8, 4)
	if o, _ := r.check(lan, fromHost6(p)); o.Disposition != packetAcquire {
		t.Fatalf("%+v", o)
	}
	same(t, "asked for", r.seen.packets, []policy.Packet{{Source: lanHost6, Destination: farHost6, Protocol: protocolUDP, SourcePort: 7, DestinationPort: 8, HasPorts: true}})
	far := r.outbound(r.child6("aes128gcm16", false))
	r.settle()
	frames := r.sent(wan)
	if len(frames) != 1 {
		t.Fatalf("%d frames", len(frames))
	}
	same(t, "released", []byte(r.reveal(far, frames[0])), decrementHops(p))
}

// Hop limits end on the way in clear, into the tunnel and out of it; the sender is told by the way it came.
func TestIPv6TimeExceeded(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, allRule}})
	far := r.outbound(r.child6("aes128gcm16", false))
	near := r.inbound(r.child6("aes128gcm16", true))
	for _, destination := range []netip.Addr{farHost6, outside6} {
		p := tcp6(lanHost6, destination)
		p[7] = 1
		o, answers := r.check(lan, fromHost6(p))
		if o.Reason != "ttl_expired" || len(answers[lan]) != 1 || len(answers[wan]) != 0 {
			t.Fatalf("%+v, %d answers", o, len(answers[lan]))
		}
		body, ok := icmp6Body(answers[lan][0][etherHeaderLen:])
		if !ok || body[0] != icmp6TimeExceeded || !slices.Equal(body[8:], []byte(p)) {
			t.Errorf("% x", body)
		}
	}
	p := tcp6(farHost6, lanHost6)
	p[7] = 1
	o, answers := r.check(wan, fromPeer(near.encapsulate(p, 1)))
	if o.Reason != "ttl_expired" || len(answers[wan]) != 1 || len(answers[lan]) != 0 {
		t.Fatalf("%+v, %d answers", o, len(answers[wan]))
	}
	inner := ipv6(r.reveal(far, answers[wan][0]))
	if body, ok := icmp6Body(inner); !ok || inner.source() != lanOwn6 || inner.destination() != farHost6 || body[0] != icmp6TimeExceeded {
		t.Errorf("% x", inner)
	}
}
