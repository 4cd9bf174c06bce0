package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"sallyport/policy"
)

// malformed is one kind of packet that no sound sender sends: all frames of the case are dropped, and for this reason.
type malformed struct {
	kind, reason string
	port         int
	frames       [][]byte
}

// Every malformed kind has a drop reason that no other kind has. The frames of a case arrive in one burst.
func TestMalformedKinds(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	kindOf := map[string]string{}
	for _, c := range slices.Concat(malformedIPv4(), malformedIPv6(), malformedFragments(), r.malformedESP(), r.malformedAH()) {
		if other, taken := kindOf[c.reason]; taken && other != c.kind {
			t.Errorf("%q and %q are both dropped for %s", other, c.kind, c.reason)
		}
		kindOf[c.reason] = c.kind
		before := r.tally()
		r.enqueue(0, c.port, c.frames...)
		r.settle()
		same(t, c.kind, ends(before, r.tally()), map[string]int{c.reason: len(c.frames)})
	}
}

// Without a rule that needs IKE, port 4500 is a port like others, and what comes there is not taken apart: a filter that permits it delivers
// even an empty datagram, and to IKE nothing. One rule that needs IKE makes it ESP's and IKE's, whatever else is permitted (C-07).
func TestPort4500IsOursWhenNeeded(t *testing.T) {
	all := rule{name: "all", source: "any", destination: "any"}
	from, to := netip.AddrPortFrom(peer, 4500), netip.AddrPortFrom(wanOwn, 4500)
	empty, message := fromPeer(udpDatagram(from, to)), fromPeer(udpDatagram(from, to, make([]byte, 4), []byte("IKE")))
	r := newRig(t, rigOptions{rules: []rule{all}})
	for _, frame := range [][]byte{empty, message} {
		if o, _ := r.check(wan, frame); o.Disposition != packetLocal || len(r.seen.ike) != 0 {
			t.Errorf("without need: %s %s, %d messages", o.Disposition, o.Reason, len(r.seen.ike))
		}
	}
	r.applyRules(siteRule, all)
	r.wantDrop(wan, empty, "no_payload")
	if o, _ := r.check(wan, message); o.Disposition != packetIKE || len(r.seen.ike) != 1 {
		t.Errorf("with need: %s %s, %d messages", o.Disposition, o.Reason, len(r.seen.ike))
	}
}

func one(frame []byte) [][]byte { return [][]byte{frame} }

// changed is a packet with some bytes changed and its header checksum right again.
func changed(p ipv4, edit func(ipv4)) []byte {
	p = bytes.Clone(p)
	edit(p)
	if n := p.headerLen(); n >= ipv4HeaderLen && n <= len(p) {
		setHeaderChecksum(p)
	}
	return fromHost(p)
}

func malformedIPv4() []malformed {
	sound := tcp(lanHost, peer)
	return []malformed{
		{"IPv4 header length below 5 words", "ip_header_length", lan, one(changed(sound, func(p ipv4) { p[0] = 0x44 }))},
		{"IPv4 total length beyond the frame", "ip_total_length", lan, one(changed(sound, func(p ipv4) { p[2] = 0x10 }))},
		{"IPv4 options past the end", "ip_options", lan, one(fromHost(withOptions(sound, []byte{7, 9, 4, 0, 0, 0, 0, 0})))},
		{"zero payload", "no_payload", lan, one(fromHost(lead(bytes.Clone(sound[:ipv4HeaderLen]), ipv4HeaderLen, protocolTCP)))},
	}
}

func malformedIPv6() []malformed {
	tcp := append([]byte{1, 2, 3, 4}, make([]byte, 16)...)
	build := func(x ...extension) []byte { return fromHost6(packet6(lanHost6, outside6, protocolTCP, tcp, x...)) }
	beyond := build()
	beyond[etherHeaderLen+5]++
	jumbo := build(extension{nextHopByHop, []byte{0, 0xc2, 4, 0, 1, 0, 0}})
	honest := bytes.Clone(jumbo) // RFC 2675 section 3: the header's own length is zero
	binary.BigEndian.PutUint16(honest[etherHeaderLen+4:], 0)
	return []malformed{
		{"IPv6 payload length beyond the frame", "ipv6_length", lan, one(beyond)},
		{"IPv6 options past the end", "ipv6_options", lan, one(build(extension{nextDestination, []byte{0, 5, 5, 0, 0, 0, 0}}))},
		{"IPv6 extension header past the end", "ipv6_extension", lan, one(build(extension{nextDestination, []byte{200, 1, 4, 0, 0, 0, 0}}))},
		{"chain of 100 extension headers", "ipv6_chain", lan, one(build(slices.Repeat([]extension{{nextDestination, []byte{0, 1, 4, 0, 0, 0, 0}}}, 100)...))},
		{"jumbogram", "ipv6_jumbo", lan, [][]byte{jumbo, honest}},
		{"zero payload", "no_payload", lan, one(fromHost6(packet6(lanHost6, outside6, protocolTCP, nil)))},
	}
}

func malformedFragments() []malformed {
	fragment := func(id uint16, offset, length int, more bool) []byte {
		b := make([]byte, ipv4HeaderLen+length)
		field := uint16(offset / 8)
		if more {
			field |= 0x2000
		}
		putIPv4(b, 0, 64, protocolTCP, field, lanHost, peer)
		binary.BigEndian.PutUint16(b[4:], id)
		setHeaderChecksum(b)
		return fromHost(b)
	}
	fragment6 := func(id byte, offset, length int, more byte) []byte {
		return fromHost6(packet6(lanHost6, outside6, protocolTCP, make([]byte, length), extension{nextFragment, []byte{0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, id}}))
	}
	return []malformed{
		{"overlapping fragments", "fragment_overlap", lan, [][]byte{fragment(1, 0, 64, true), fragment(1, 56, 64, false)}},
		{"overlapping fragments", "fragment_overlap", lan, [][]byte{fragment6(1, 0, 64, 1), fragment6(1, 56, 64, 0)}},
		{"tiny fragment", "fragment_tiny", lan, [][]byte{fragment(2, 0, 16, true), fragment(3, 8, 64, false)}}, // RFC 1858, RFC 3128
		{"tiny fragment", "fragment_tiny", lan, one(fragment6(2, 0, 16, 1))},
		{"fragment of nothing", "fragment_length", lan, [][]byte{fragment(4, 64, 0, false), fragment6(4, 64, 0, 0)}},
		{"fragment beyond 65,535 bytes", "fragment_overrun", lan, one(fragment(5, 65528, 64, false))},
	}
}

func (r *rig) malformedESP() []malformed {
	all := []policy.Selector{{Local: policy.AnyIPv4(), Remote: policy.AnyIPv4(), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
	child, job := r.formed(form{suite: "aes128gcm16"}, true), r.formed(form{suite: "aes128-sha256"}, true)
	child.Selectors, job.Selectors = all, all
	near, far := r.inbound(child), r.inbound(job)
	once := near.encapsulate(tcp(peer, wanOwn), 1)
	thrice := near.encapsulate(near.encapsulate(once, 2), 3)
	nothing, err := far.esp.Seal(1, nil, nil, protocolIPv4)
	if err != nil {
		r.t.Fatal(err)
	}
	bare := func(protocol uint8) []byte {
		return fromPeer(lead(bytes.Clone(once[:ipv4HeaderLen]), ipv4HeaderLen, protocol))
	}
	around := func(body []byte) []byte {
		return fromPeer(lead(append(bytes.Clone(once[:ipv4HeaderLen]), body...), ipv4HeaderLen, protocolESP))
	}
	ports := netip.AddrPortFrom(peer, 4500)
	return []malformed{
		{"ESP padding past the packet", "bad_padding", wan, one(sealRaw(r.t, child, 10, append(bytes.Clone(tcp(farHost, lanHost)), 1, 2, 255, protocolIPv4)))},
		{"nested ESP in ESP in ESP", "nested", wan, one(fromPeer(thrice))},
		{"zero payload", "no_payload", wan, [][]byte{
			bare(protocolESP), bare(protocolAH), bare(protocolUDP), // nothing behind the IP header
			fromPeer6(packet6(peer6, wanOwn6, protocolESP, nil)), fromPeer6(packet6(peer6, wanOwn6, protocolAH, nil)),
			fromPeer(udpDatagram(ports, netip.AddrPortFrom(wanOwn, 4500))),          // nothing in UDP
			sealRaw(r.t, child, 11, []byte{1, 2, 2, protocolIPv4}), around(nothing), // nothing in ESP
			sealRaw(r.t, child, 12, []byte{1, 2, 2, protocolIPv6}),
		}},
		{"ESP cut short", "esp_truncated", wan, one(fromPeer(lead(bytes.Clone(once[:ipv4HeaderLen+12]), ipv4HeaderLen, protocolESP)))},
		{"ESP of half a block", "esp_length", wan, one(around(append(bytes.Clone(nothing), 0)))},
	}
}

func (r *rig) malformedAH() []malformed {
	child := r.formed(form{ah: "sha256"}, true)
	near := r.inbound(child)
	whole := near.encapsulate(tcp(farHost, lanHost), 1)
	off := func(length byte) []byte {
		p := bytes.Clone(whole)
		p[ipv4HeaderLen+1] = length
		return fromPeer(p)
	}
	empty := bytes.Clone(whole[:ipv4HeaderLen])
	sealed, err := near.ah.Protect(lead(empty, ipv4HeaderLen, protocolIPv4), 2)
	if err != nil {
		r.t.Fatal(err)
	}
	return []malformed{
		{"AH length off", "ah_length", wan, [][]byte{off(0), off(whole[ipv4HeaderLen+1] - 1), off(whole[ipv4HeaderLen+1] + 2), off(255)}},
		{"AH cut short", "ah_truncated", wan, one(fromPeer(lead(bytes.Clone(whole[:ipv4HeaderLen+20]), ipv4HeaderLen, protocolAH)))},
		{"zero payload", "no_payload", wan, one(fromPeer(sealed))},
	}
}
