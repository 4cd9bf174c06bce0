package pipeline

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var stranger6 = netip.MustParseAddr("2001:db8:1::99")

// discover delivers a message of neighbour discovery and returns what the gateway sends on the port.
func (r *rig) discover(port int, frame []byte) [][]byte {
	r.t.Helper()
	r.enqueue(0, port, frame)
	r.settle()
	r.serveAll()
	r.settle()
	return r.sent(port)
}

// advert is an advertisement of a neighbour as it sends it, to the gateway's lan address.
func advert(from macAddress, target netip.Addr, flags uint8) []byte {
	return discoveryFrame(from, lanMAC, target, lanOwn6, icmp6Advertisement, flags, target, optionTargetMAC)
}

// S-022: IPv6 reaches hosts by neighbour discovery. A packet for an unknown neighbour waits while the gateway asks, once, by the
// neighbour's group; the answer lets the packets go in their order.
func TestDiscoveryOnTheWire(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	request := solicitation(lanMAC, lanOwn6, neighbourRequest{neighbourKey{lan, stranger6}, broadcastMAC})
	if !bytes.Equal(request[:6], []byte{0x33, 0x33, 0xff, 0, 0, 0x99}) {
		t.Errorf("asked at % x", request[:6])
	}
	var want [][]byte
	for i, expected := range [][][]byte{{request}, nil, nil} {
		p := ofLength6(outside6, stranger6, 60+i)
		o, answers := r.check(wan, fromPeer6(p))
		if o.Disposition != packetNeighbour {
			t.Fatalf("packet %d: %+v", i, o)
		}
		same(t, "request", answers[lan], expected)
		want = append(want, etherFrame(macB[:], lanMAC[:], etherTypeIPv6, decrementHops(p)))
	}
	same(t, "released", r.discover(lan, advert(macB, stranger6, advertSolicited|advertOverride)), want)
	r.ref.neighbours[neighbourKey{lan, stranger6}] = macB
	r.wantForward(wan, fromPeer6(tcp6(outside6, stranger6)), lan)
}

// Nobody takes a known neighbour's place, or the gateway's, by what nobody asked for (the rules of ARP).
func TestDiscoveryHostile(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	claim := func(flags uint8) []byte { return advert(macB, lanHost6, flags) }
	toAll := discoveryFrame(macB, groupMAC(allNodes), lanHost6, allNodes, icmp6Advertisement, advertOverride, lanHost6, optionTargetMAC)
	ask := func(source, target netip.Addr) []byte {
		return discoveryFrame(macB, lanMAC, source, lanOwn6, icmp6Solicitation, 0, target, optionSourceMAC)
	}
	for name, frame := range map[string][]byte{
		"an answer nobody asked for":       claim(advertSolicited | advertOverride),
		"an announcement":                  claim(advertOverride),
		"an announcement to all":           toAll,
		"a router's":                       claim(advertRouter | advertSolicited | advertOverride),
		"of our own address":               advert(macB, lanOwn6, advertSolicited|advertOverride),
		"a question in our own name":       ask(lanOwn6, lanOwn6),
		"a question for somebody else":     ask(lanHost6, stranger6),
		"a question for another port's":    ask(lanHost6, wanOwn6),
		"a question from another's subnet": nil,
	} {
		if frame == nil {
			// answered, as any is, but the sender is not learned
			frame = ask(outside6, lanOwn6)
			if got := r.discover(lan, frame); len(got) != 1 {
				t.Errorf("%s: %d answers", name, len(got))
			}
			continue
		}
		if got := r.discover(lan, frame); len(got) != 0 {
			t.Errorf("%s was answered: % x", name, got)
		}
	}
	if _, known := r.d.slow.neighbours.table[neighbourKey{lan, outside6}]; known || len(r.d.slow.neighbours.table) != 4 {
		t.Errorf("%d neighbours are known", len(r.d.slow.neighbours.table))
	}
	r.wantForward(wan, fromPeer6(tcp6(outside6, lanHost6)), lan) // still to hostMAC
	// Who asks for us in a neighbour's name is answered; the neighbour is asked where it was, and keeps its place.
	question := solicitation(lanMAC, lanOwn6, neighbourRequest{neighbourKey{lan, lanHost6}, hostMAC})
	if got := r.discover(lan, ask(lanHost6, lanOwn6)); len(got) != 2 || !bytes.Equal(got[1], question) {
		t.Errorf("after a claim % x was sent, want an answer and % x", got, question)
	}
	r.discover(lan, claim(advertSolicited|advertOverride)) // the claimant answers in its stead
	r.wantForward(wan, fromPeer6(tcp6(outside6, lanHost6)), lan)
	r.discover(lan, advert(hostMAC, lanHost6, advertSolicited))
	if n := r.d.slow.neighbours.table[neighbourKey{lan, lanHost6}]; n.state != neighbourReachable || n.mac != hostMAC {
		t.Errorf("%+v", n)
	}
}

// A neighbour that has moved and is silent where it was is followed.
func TestDiscoveryNeighbourMoves(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	r.discover(lan, solicitation(macB, lanHost6, neighbourRequest{neighbourKey{lan, lanOwn6}, broadcastMAC}))
	for range 4 {
		r.serveAll()
		r.settle()
		r.now = r.now.Add(time.Second)
	}
	r.sent(lan)
	r.announce6(lan, lanHost6, macB)
	r.wantForward(wan, fromPeer6(tcp6(outside6, lanHost6)), lan)
}

// A silent neighbour costs the packets that waited; a queue has an end.
func TestDiscoverySilent(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	const sent = 50
	for range sent {
		r.enqueue(0, wan, fromPeer6(tcp6(outside6, stranger6)))
	}
	r.settle()
	for range 5 {
		r.serveAll()
		r.settle()
		r.now = r.now.Add(time.Second)
	}
	requests := len(r.sent(lan))
	drops := r.d.Counters().Ports[wan].Drops
	held := uint64(defaultNeighbourLimits(1).held)
	if requests != 3 || drops["neighbour_silent"] != held || drops["neighbour_full"] != sent-held {
		t.Errorf("%d requests, drops %v", requests, drops)
	}
}

// A message that RFC 4861 section 7.1 calls invalid is no message: each such change to a sound one keeps it from being
// answered or learned from.
func TestDiscoveryValidation(t *testing.T) {
	sound := solicitation(macB, stranger6, neighbourRequest{neighbourKey{lan, lanOwn6}, broadcastMAC})
	// change works on a copy of the frame and makes its checksum right again.
	change := func(frame []byte, f func(ip ipv6)) []byte {
		frame = slices.Clone(frame)
		ip := ipv6(frame[etherHeaderLen:])
		f(ip)
		body := ip[ipv6HeaderLen:]
		body[2], body[3] = 0, 0
		binary.BigEndian.PutUint16(body[2:], checksum6(ip, protocolICMPv6, body))
		return frame
	}
	wrong := map[string][]byte{
		"checksum":              nil,
		"hop limit":             change(sound, func(ip ipv6) { ip[7] = 254 }),
		"code":                  change(sound, func(ip ipv6) { ip[41] = 1 }),
		"target is a group":     change(sound, func(ip ipv6) { ip[48] = 0xff }),
		"option of no length":   change(sound, func(ip ipv6) { ip[65] = 0 }),
		"option of two units":   change(sound, func(ip ipv6) { ip[65] = 2 }),
		"another's address":     change(sound, func(ip ipv6) { ip[71]++ }),
		"unspecified with one":  change(sound, func(ip ipv6) { clear(ip[8:24]) }),
		"cut off":               change(sound[:len(sound)-12], func(ip ipv6) { ip[5] -= 12 }),
		"a router solicitation": change(sound, func(ip ipv6) { ip[40] = 133 }),
		"a redirect":            change(sound, func(ip ipv6) { ip[40] = 137 }),
	}
	wrong["checksum"] = slices.Clone(sound)
	wrong["checksum"][60]++
	for name, frame := range wrong {
		r := newRig6(t, rigOptions{})
		if got := r.discover(lan, frame); len(got) != 0 || r.d.slow.neighbours.table[neighbourKey{lan, stranger6}] != nil {
			t.Errorf("%s: answered with % x", name, got)
		}
	}
	r := newRig6(t, rigOptions{})
	if got := r.discover(lan, sound); len(got) != 1 {
		t.Errorf("%d answers to a sound one", len(got))
	}
}

// A station that looks for a duplicate of its address (RFC 4862) is told, along with everyone, that the address is the
// gateway's, and is not learned.
func TestDuplicateAddressDetection(t *testing.T) {
	r := newRig6(t, rigOptions{})
	target := lanOwn6.As16()
	probe := icmp6Message(netip.IPv6Unspecified(), solicitedNode(lanOwn6), 255, icmp6Solicitation, make([]byte, 4), target[:])
	group := groupMAC(solicitedNode(lanOwn6))
	got := r.discover(lan, etherFrame(group[:], macB[:], etherTypeIPv6, probe))
	if len(got) != 1 {
		t.Fatalf("%d answers", len(got))
	}
	m, ok := parseDiscovery(got[0], got[0][etherHeaderLen:])
	if !ok || !m.advert || m.flags&advertSolicited != 0 || m.destination != allNodes || m.target != lanOwn6 || m.link != lanMAC || !bytes.Equal(got[0][:6], []byte{0x33, 0x33, 0, 0, 0, 1}) {
		t.Errorf("%+v", m)
	}
	if n := len(r.d.slow.neighbours.table); n != 4 {
		t.Errorf("%d neighbours", n)
	}
}

// An echo request to an own address is answered by the way it came, and none to a group (RFC 4443 section 4.2 leaves that open).
func TestEcho6OnTheWire(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule6, {name: "ping", source: "2001:db8:1::7", destination: "my", protocol: protocolICMPv6}, {name: "group", source: "any", destination: "ff02::1"}}})
	near := r.inbound(r.child6("aes128gcm16", true))
	far := r.outbound(r.child6("aes128gcm16", false))
	_, answers := r.check(lan, fromHost6(echo6(lanHost6, lanOwn6, 56)))
	want := icmp6Message(lanOwn6, lanHost6, 64, icmp6EchoReply, make([]byte, 60))
	same(t, "in clear", answers[lan], [][]byte{etherFrame(hostMAC[:], lanMAC[:], etherTypeIPv6, want)})
	_, answers = r.check(wan, fromPeer(near.encapsulate(echo6(farHost6, lanOwn6, 56), 1)))
	if len(answers[wan]) != 1 || len(answers[lan]) != 0 {
		t.Fatalf("%d answers through the tunnel", len(answers[wan]))
	}
	same(t, "through the tunnel", []byte(r.reveal(far, answers[wan][0])), []byte(icmp6Message(lanOwn6, farHost6, 64, icmp6EchoReply, make([]byte, 60))))
	damaged := echo6(lanHost6, lanOwn6, 56)
	damaged[50]++
	for want, p := range map[disposition]ipv6{packetLocal: damaged, packetGroup: echo6(lanHost6, allNodes, 56)} {
		if o, answers := r.check(lan, fromHost6(p)); o.Disposition != want || len(answers[lan]) != 0 {
			t.Errorf("%+v, answers % x", o, answers[lan])
		}
	}
}

// RFC 4443 section 2.4 e: no error about an error, a group's packet or a sender that is not one host.
func TestICMP6ErrorsAreNotSent(t *testing.T) {
	packetAbout := func(typ uint8) ipv6 { return icmp6Message(lanHost6, outside6, 64, typ, make([]byte, 4)) }
	for name, p := range map[string]ipv6{
		"destination unreachable": packetAbout(1),
		"packet too big":          packetAbout(icmp6TooBig),
		"unknown error":           packetAbout(127),
		"redirect":                packetAbout(icmp6Redirect),
		"cut off":                 packet6(lanHost6, outside6, protocolICMPv6, nil),
		"to a group":              tcp6(lanHost6, allNodes),
		"from nobody":             tcp6(netip.IPv6Unspecified(), outside6),
		"from a group":            tcp6(allNodes, outside6),
	} {
		if m, ok := timeExceeded6(p, lanOwn6); ok {
			t.Errorf("%s: % x", name, m)
		}
		if m, ok := packetTooBig(p, lanOwn6, 1400); ok {
			t.Errorf("%s: % x", name, m)
		}
	}
	for _, p := range []ipv6{packetAbout(icmp6Echo), tcp6(lanHost6, outside6)} {
		if _, ok := timeExceeded6(p, lanOwn6); !ok {
			t.Errorf("no answer to % x", p)
		}
	}
}
