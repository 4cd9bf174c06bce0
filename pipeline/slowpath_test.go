package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/policy"
)

var stranger = netip.MustParseAddr("10.1.0.99")

// A packet for an unknown neighbour waits while the gateway asks, once, and more packets wait silently.
func TestNeighbourOnTheWire(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	request := arpMessage{op: arpRequestOp, senderMAC: lanMAC, senderAddr: lanOwn, targetAddr: stranger}.frame(broadcastMAC)
	for i, want := range [][][]byte{{request}, nil, nil} {
		o, answers := r.check(wan, fromPeer(packetOfLength(outside, stranger, 253, 60)))
		if o.Disposition != packetNeighbour {
			t.Fatalf("packet %d: %+v", i, o)
		}
		same(t, "request", answers[lan], want)
	}
	if w := r.d.Counters().Ports[wan].Waiting; w != 3 {
		t.Errorf("%d packets wait, want 3", w)
	}
}

// Held packets leave in the order in which they came.
func TestNeighbourReleaseOrder(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	var want [][]byte
	for i := range 10 {
		p := packetOfLength(outside, stranger, 253, 60+i)
		r.enqueue(0, wan, fromPeer(p))
		want = append(want, etherFrame(macB[:], lanMAC[:], etherTypeIPv4, decrementTTL(p)))
	}
	r.settle()
	r.serveAll()
	r.settle()
	if got := r.sent(lan); len(got) != 1 || got[0][13] != 0x06 {
		t.Fatalf("%d frames, want one ARP request", len(got))
	}
	r.arp(lan, arpMessage{op: arpReplyOp, senderMAC: macB, senderAddr: stranger, targetMAC: lanMAC, targetAddr: lanOwn}, lanMAC)
	same(t, "released", r.sent(lan), want)
}

// What follows packets that wait leaves behind them: what came before the answer is in the same round of the slow path, or has just been released when the next one is received.
func TestNeighbourKeepsOrder(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	var want [][]byte
	send := func(packets int) {
		for range packets {
			p := packetOfLength(outside, stranger, 253, 60+len(want))
			r.enqueue(0, wan, fromPeer(p))
			want = append(want, etherFrame(macB[:], lanMAC[:], etherTypeIPv4, decrementTTL(p)))
		}
	}
	send(3)
	r.settle()
	r.serveAll()
	r.settle()
	r.sent(lan) // the request
	send(4)     // and nobody serves them before the answer comes
	r.settle()
	r.enqueue(0, lan, arpMessage{op: arpReplyOp, senderMAC: macB, senderAddr: stranger, targetMAC: lanMAC, targetAddr: lanOwn}.frame(lanMAC))
	r.settle()
	if _, _, err := r.d.serve(r.now, &r.seen); err != nil {
		t.Fatal(err)
	}
	send(5) // there before the worker looks at what was released
	r.settle()
	same(t, "in order", r.sent(lan), want)
}

// arp delivers an ARP message and lets the gateway react.
func (r *rig) arp(port int, m arpMessage, to macAddress) {
	r.t.Helper()
	r.enqueue(0, port, m.frame(to))
	r.settle()
	r.serveAll()
	r.settle()
}

// A neighbour that never answers costs the packets that waited, under a reason of their own; a queue has an end.
func TestNeighbourSilent(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	const sent = 50
	for range sent {
		r.enqueue(0, wan, fromPeer(packetOfLength(outside, stranger, 253, 60)))
	}
	r.settle()
	for range 5 {
		r.serveAll()
		r.settle()
		r.now = r.now.Add(time.Second)
	}
	requests := 0
	for _, f := range r.sent(lan) {
		if m, ok := parseARP(f); ok && m.targetAddr == stranger {
			requests++
		}
	}
	drops := r.d.Counters().Ports[wan].Drops
	held := uint64(defaultNeighbourLimits(1).held)
	if requests != 3 || drops["neighbour_silent"] != held || drops["neighbour_full"] != sent-held {
		t.Errorf("%d requests, drops %v", requests, drops)
	}
}

// Announcements that nobody asked for change nothing, and our own address is not to be had.
func TestARPUnsolicited(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	for _, m := range []arpMessage{
		{op: arpReplyOp, senderMAC: macB, senderAddr: lanHost, targetMAC: lanMAC, targetAddr: lanOwn},
		{op: arpReplyOp, senderMAC: macB, senderAddr: lanHost, targetAddr: lanHost},
		{op: arpRequestOp, senderMAC: macB, senderAddr: lanHost, targetAddr: lanHost}, // gratuitous
		{op: arpRequestOp, senderMAC: macB, senderAddr: lanOwn, targetAddr: lanOwn},
		{op: arpRequestOp, senderMAC: macB, senderAddr: lanHost, targetAddr: stranger}, // for somebody else
	} {
		r.arp(lan, m, broadcastMAC)
		if got := r.sent(lan); len(got) != 0 {
			t.Errorf("%+v was answered: % x", m, got)
		}
	}
	r.wantForward(wan, fromPeer(packetOfLength(outside, lanHost, 253, 60)), lan) // still to hostMAC
}

// Who asks for us in a neighbour's name from another station does not get its traffic. The neighbour is asked first; when it
// has moved, and is silent where it was, it is followed.
func TestNeighbourMoves(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	p := fromPeer(packetOfLength(netip.MustParseAddr("198.51.100.9"), lanHost, 253, 60))
	r.wantForward(wan, p, lan)
	r.arp(lan, arpMessage{op: arpRequestOp, senderMAC: macB, senderAddr: lanHost, targetAddr: lanOwn}, broadcastMAC)
	question := arpMessage{op: arpRequestOp, senderMAC: lanMAC, senderAddr: lanOwn, targetAddr: lanHost}.frame(hostMAC)
	if got := r.sent(lan); len(got) != 2 || !bytes.Equal(got[1], question) {
		t.Errorf("after a claim % x was sent, want an answer and % x", got, question)
	}
	r.wantForward(wan, p, lan) // still to hostMAC
	for range 4 {
		r.serveAll()
		r.settle()
		r.now = r.now.Add(time.Second)
	}
	r.sent(lan)
	r.announce(lan, lanHost, macB)
	r.wantForward(wan, p, lan)
}

// Indices of neighbours that are gone are used again, and no flow is sent to the wrong station.
func TestAdjacenciesAreReused(t *testing.T) {
	r := newRig(t, rigOptions{hops: 8, rules: []rule{{name: "all", source: "any", destination: "any"}}})
	outside := netip.MustParseAddr("198.51.100.9")
	for i := range byte(40) {
		host := netip.AddrFrom4([4]byte{10, 1, 0, 100 + i})
		r.announce(lan, host, macAddress{2, 9, 9, 9, 9, i})
		r.wantForward(wan, fromPeer(packetOfLength(outside, host, 253, 60)), lan)
		r.now = r.now.Add(61 * time.Second) // it is asked again, does not answer, and is forgotten
		for range 4 {
			r.serveAll()
			r.settle()
			r.now = r.now.Add(time.Second)
		}
		r.sent(lan)
		r.sent(wan)
		clear(r.ref.neighbours)
		r.announce(lan, lanHost, hostMAC)
		r.announce(wan, peer, peerMAC)
	}
	r.wantForward(wan, fromPeer(packetOfLength(outside, lanHost, 253, 60)), lan)
}

// A scan of an attached subnet takes no adjacencies beyond those of the neighbours that are asked, and ends no memo.
func TestScanTakesNoAdjacencies(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	generation, known := r.d.Generation(), len(r.d.slow.adjacencies.index)
	for i := range byte(100) {
		r.enqueue(0, wan, fromPeer(packetOfLength(netip.MustParseAddr("198.51.100.9"), netip.AddrFrom4([4]byte{10, 1, 0, 100 + i}), 253, 60)))
		r.settle()
		r.serveAll()
	}
	r.settle()
	r.sent(lan)
	asked := newPortShares(defaultNeighbourLimits(r.cfg.MaxAdjacencies).incomplete, len(r.cfg.Ports))
	if n := len(r.d.slow.adjacencies.index); n != known+asked.most() || r.d.Generation() != generation {
		t.Errorf("%d adjacencies, want the %d that were known and %d, generation %d, want %d", n, known, asked.most(), r.d.Generation(), generation)
	}
	r.wantForward(wan, fromPeer(packetOfLength(netip.MustParseAddr("198.51.100.9"), lanHost, 253, 60)), lan)
}

// An echo request to an own address is answered in clear where it came from.
func TestEchoOnTheWire(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "ping", source: "any", destination: "my", protocol: 1}}})
	for port, c := range map[int]struct {
		from, own netip.Addr
		wrap      func([]byte) []byte
		mac       macAddress
	}{lan: {lanHost, lanOwn, fromHost, hostMAC}, wan: {peer, wanOwn, fromPeer, peerMAC}} {
		request := icmpPacket(c.from, c.own, icmpEcho, 56)
		o, answers := r.check(port, c.wrap(request))
		if o.Disposition != packetLocal || len(answers[port]) != 1 || len(answers[1-port]) != 0 {
			t.Fatalf("port %d: %+v, answers %d", port, o, len(answers[port]))
		}
		got := ipv4(answers[port][0][etherHeaderLen:])
		if macAddress(answers[port][0][:6]) != c.mac || got.source() != c.own || got.destination() != c.from || checksum(got[:20]) != 0 || checksum(got.payload()) != 0 || got.payload()[0] != icmpEchoReply {
			t.Errorf("port %d: % x", port, answers[port][0])
		}
	}
	r.wantDrop(lan, fromHost(tcp(lanHost, lanOwn)), "no_filter")
}

// An echo request that a tunnel brought is answered through a tunnel, never in clear.
func TestEchoThroughTheTunnel(t *testing.T) {
	r := newRig(t, rigOptions{})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	send := func() []([]byte) {
		near.sequence++
		o, answers := r.check(wan, fromPeer(near.encapsulate(icmpPacket(farHost, lanOwn, icmpEcho, 56), near.sequence)))
		if o.Disposition != packetLocal || len(answers[lan]) != 0 {
			t.Fatalf("%+v", o)
		}
		return answers[wan]
	}
	if got := send(); len(got) != 0 {
		t.Errorf("no SA to answer with, yet % x was sent", got)
	}
	far := r.outbound(r.child("site", "aes128gcm16", false))
	got := send()
	if len(got) != 1 {
		t.Fatalf("%d answers, want 1", len(got))
	}
	inner := r.reveal(far, got[0])
	if inner.source() != lanOwn || inner.destination() != farHost || inner.payload()[0] != icmpEchoReply || inner.ttl() != 64 {
		t.Errorf("answer % x", inner)
	}
}

// reveal decrypts a frame at the far end of an SA.
func (r *rig) reveal(far *referenceIn, frame []byte) ipv4 {
	r.t.Helper()
	outer := ipv4(frame[etherHeaderLen:])
	inner, reason := far.unwrap(outer)
	if reason != "" {
		r.t.Fatalf("the far end: %s", reason)
	}
	return inner
}

// A packet whose time is up is dropped and its sender told, in clear when it came in clear and through the tunnel when not.
func TestTimeExceededOnTheWire(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, {name: "out", source: "10.1.0.0/16", destination: "198.51.100.0/24"}}})
	far := r.outbound(r.child("site", "aes128gcm16", false))
	near := r.inbound(r.child("site", "aes128gcm16", true))
	for _, destination := range []netip.Addr{farHost, netip.MustParseAddr("198.51.100.9")} {
		p := packetOfLength(lanHost, destination, 253, 60)
		p[8] = 1
		setHeaderChecksum(p)
		o, answers := r.check(lan, fromHost(p))
		if o.Reason != "ttl_expired" || len(answers[lan]) != 1 || len(answers[wan]) != 0 {
			t.Fatalf("to %s: %+v, %d answers", destination, o, len(answers[lan]))
		}
		got := ipv4(answers[lan][0][etherHeaderLen:])
		if got.source() != lanOwn || got.destination() != lanHost || got.payload()[0] != icmpTimeExceeded || !slices.Equal(got.payload()[8:], []byte(p)) || checksum(got.payload()) != 0 {
			t.Errorf("to %s: % x", destination, got)
		}
	}
	p := packetOfLength(farHost, lanHost, 253, 60)
	p[8] = 1
	setHeaderChecksum(p)
	o, answers := r.check(wan, fromPeer(near.encapsulate(p, 1)))
	if o.Reason != "ttl_expired" || len(answers[wan]) != 1 || len(answers[lan]) != 0 {
		t.Fatalf("from the tunnel: %+v, %d answers", o, len(answers[wan]))
	}
	inner := r.reveal(far, answers[wan][0])
	if inner.source() != lanOwn || inner.destination() != farHost || inner.payload()[0] != icmpTimeExceeded || !slices.Equal(inner.payload()[8:], []byte(p)) {
		t.Errorf("from the tunnel: % x", inner)
	}
}

// A packet that is too long for the tunnel is cut; with DF it is dropped and its sender is told the length that fits.
func TestFragmentationNeededOnTheWire(t *testing.T) {
	for _, suite := range allSuites {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/udp=%v", suite, udp), func(t *testing.T) { fragmentationNeededOnTheWire(t, suite, udp) })
		}
	}
}

func fragmentationNeededOnTheWire(t *testing.T, suite string, udp bool) {
	r := newRig(t, rigOptions{})
	child := r.child("site", suite, false)
	child.UDPEncap = udp
	r.outbound(child)
	fits := child.largest(1500, 0)
	if out := r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, fits)), wan); len(out) > etherHeaderLen+1500 || len(out) <= etherHeaderLen+1500-child.Suite.BlockSize() {
		t.Errorf("%d bytes for %d", len(out), fits)
	}
	o, answers := r.check(lan, fromHost(packetOfLength(lanHost, farHost, 253, fits+1)))
	if o.Reason != "mtu_exceeded" || o.MTU != fits || len(answers[lan]) != 1 {
		t.Fatalf("%+v, %d answers", o, len(answers[lan]))
	}
	got := ipv4(answers[lan][0][etherHeaderLen:]).payload()
	if got[0] != icmpUnreachable || got[1] != codeFragmentation || int(binary.BigEndian.Uint32(got[4:])) != fits {
		t.Errorf("% x", got)
	}
	p := packetOfLength(lanHost, farHost, 253, fits+1)
	p[6] = 0
	setHeaderChecksum(p)
	if o, answers := r.check(lan, fromHost(p)); o.Disposition != packetForwarded || len(o.More) != 1 || len(answers[lan]) != 0 {
		t.Errorf("without DF: %+v, %d answers", o, len(answers[lan]))
	}
}

// A link too small for the tunnel's own headers: no length that the sender could choose would fit, so there is no answer.
func TestTunnelWithoutRoom(t *testing.T) {
	r := newRig(t, rigOptions{mtu: 80})
	r.outbound(r.child("site", "aes256-sha512", false))
	if o, answers := r.check(lan, fromHost(packetOfLength(lanHost, farHost, 253, 40))); o.Reason != "mtu_exceeded" || o.MTU != 0 || len(answers[lan]) != 0 {
		t.Errorf("%+v, answers % x", o, answers[lan])
	}
}

// Errors are rate limited: a flood of dying packets is no flood of messages (RFC 1812 section 4.3.2.8).
func TestICMPErrorsAreLimited(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{{name: "all", source: "any", destination: "any"}}})
	p := packetOfLength(lanHost, netip.MustParseAddr("198.51.100.9"), 253, 60)
	p[8] = 1
	setHeaderChecksum(p)
	flood := func() (answers int) {
		for range 4 * icmpErrorBurst {
			_, a := r.check(lan, fromHost(p))
			answers += len(a[lan])
		}
		return answers
	}
	if n := flood(); n != icmpErrorBurst {
		t.Errorf("%d answers, want %d", n, icmpErrorBurst)
	}
	r.now = r.now.Add(100 * time.Millisecond)
	if n := flood(); n != icmpErrorsPerSecond/10 {
		t.Errorf("%d answers after 100 ms, want %d", n, icmpErrorsPerSecond/10)
	}
}

// An answer needs no filter of its own but obeys one that blocks it.
func TestAnswersObeyFilters(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{
		{name: "ping", source: "any", destination: "my", protocol: 1, oneWay: true},
		{name: "silent", source: "my", destination: "10.1.0.7", protocol: 1, block: true, oneWay: true},
	}})
	if _, answers := r.check(lan, fromHost(icmpPacket(lanHost, lanOwn, icmpEcho, 8))); len(answers[lan]) != 0 {
		t.Error("a blocked answer was sent")
	}
	if _, answers := r.check(wan, fromPeer(icmpPacket(peer, wanOwn, icmpEcho, 8))); len(answers[wan]) != 1 {
		t.Error("an answer that no filter blocks was not sent")
	}
}

// A tunnel on demand: closed drops, hold keeps and asks, the SA releases in order (S-054's bounded queue).
func TestHoldAndRelease(t *testing.T) {
	r := newRig(t, rigOptions{})
	cell := r.cell("site")
	r.wantDrop(lan, fromHost(tcp(lanHost, farHost)), "no_outbound_sa")
	r.setCell("site", CellHold)
	limits := r.d.slow.held.limits
	var inner []ipv4
	for i := range limits.perSelector + 10 {
		p := packetOfLength(lanHost, farHost, 253, 60+i)
		inner = append(inner, p)
		r.enqueue(0, lan, fromHost(p))
		r.settle()
		r.serveAll()
	}
	same(t, "asked once", r.seen.acquired, []CellID{cell})
	same(t, "for this packet", r.seen.packets[0], policy.Packet{Source: lanHost, Destination: farHost, Protocol: 253})
	c := r.d.Counters()
	if c.Ports[lan].Waiting != uint64(limits.perSelector) || c.Ports[lan].Drops["hold_full"] != 10 {
		t.Errorf("%+v", c.Ports[lan])
	}
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.settle()
	frames := r.sent(wan)
	if len(frames) != limits.perSelector {
		t.Fatalf("%d packets released, want %d", len(frames), limits.perSelector)
	}
	for i, f := range frames {
		same(t, "released", []byte(r.reveal(far, f)), []byte(decrementTTL(inner[i])))
	}
	r.ref.cells[cell].out.sequence = uint64(limits.perSelector)
	r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
}

// What waits too long, or whose tunnel is closed meanwhile, is dropped under its own reason.
func TestHoldEnds(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.setCell("site", CellHold)
	hold := func() {
		t.Helper()
		if o, _ := r.check(lan, fromHost(tcp(lanHost, farHost))); o.Disposition != packetAcquire {
			t.Fatalf("%+v", o)
		}
	}
	hold()
	r.now = r.now.Add(r.d.slow.held.limits.lifetime)
	r.serveAll()
	hold()
	r.setCell("site", CellClosed)
	drops := r.d.Counters().Ports[lan].Drops
	if drops["hold_timeout"] != 1 || drops["tunnel_closed"] != 1 || len(r.seen.acquired) != 2 {
		t.Errorf("drops %v, asked %d times", drops, len(r.seen.acquired))
	}
}
