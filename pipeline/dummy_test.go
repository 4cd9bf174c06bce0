package pipeline

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"sallyport/pmd/mempool"
)

const dummyInterval = 50 * time.Millisecond

// dummyRig has one outbound SA with dummy packets.
func dummyRig(t *testing.T, f form, workers int, change func(*ChildSA)) (r *rig, far *referenceIn) {
	r = newRig6(t, rigOptions{workers: workers, rules: []rule{siteRule, siteRule6}})
	c := r.formed(f, false)
	c.Encapsulation.DummyEvery = dummyInterval
	if change != nil {
		change(&c)
	}
	return r, r.outbound(c)
}

// pass lets time pass, and returns what left by the wan.
func (r *rig) pass(d time.Duration) [][]byte {
	r.t.Helper()
	r.now = r.now.Add(d)
	r.serveAll()
	r.settle()
	return r.sent(wan)
}

// Dummy packets leave in time by an ESP SA of every form, numbered as its others, of lengths that vary; the far end finds nothing in
// them, and takes the packets between them. RFC 4303 section 2.6.
func TestDummyPackets(t *testing.T) {
	for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128gcm16", udp: true, esn: true}, {suite: "aes256-sha256"}, {suite: "aes128gcm16", outer6: true},
		{suite: "chacha20poly1305", outer6: true, udp: true}, {suite: "aes128gcm16", transport: true}, {suite: "aes128-sha1", transport: true, outer6: true},
		{suite: "aes128gcm16", ah: "sha256"}} {
		t.Run(f.String(), func(t *testing.T) {
			r, far := dummyRig(t, f, 1, nil)
			const n = 12
			lengths, dummies := map[int]bool{}, 0
			for range n {
				for _, frame := range r.pass(dummyInterval) {
					if inner, reason := far.unwrap(frame[etherHeaderLen:]); reason != "dummy" || inner != nil {
						t.Fatalf("the far end found %q, % x", reason, inner)
					}
					lengths[len(frame)] = true
					dummies++
				}
				if early := r.pass(dummyInterval - 1); len(early) != 0 {
					t.Fatalf("%d packets before the time has come", len(early))
				}
				r.now = r.now.Add(1 - dummyInterval)
				version := f.versions()[0]
				out := inner(version, 300, true)
				r.ref.cells[r.cell("site")].out.sequence++
				r.opened(far, r.wantForward(lan, fromLAN(out), wan), len(out))
			}
			sa := r.d.SACounters()[0]
			if dummies != n || len(lengths) < n/2 || sa.Dummies != n || sa.Packets != 2*n || sa.Sequence != 2*n || len(sa.Drops) != 0 {
				t.Errorf("%d dummy packets of %d lengths, %+v", dummies, len(lengths), sa)
			}
		})
	}
}

// A dummy packet that comes in is counted, and goes no further, in tunnel and in transport mode.
func TestDummyPacketsReceived(t *testing.T) {
	for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256"}, {suite: "aes128gcm16", transport: true}} {
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		c := r.formed(f, true)
		near := r.inbound(c)
		packet := near.encapsulate(dummyPacket(c.Remote.Addr(), c.Local.Addr(), 333), 1)
		if !f.transport {
			esp, err := near.esp.Seal(1, nil, make([]byte, 333), noNextHeader)
			if err != nil {
				t.Fatal(err)
			}
			packet = lead(append(near.child.outerHeader(packet, 1), esp...), ipv4HeaderLen, protocolESP)
		}
		r.wantDrop(wan, fromWAN(packet), "dummy")
		if sa := r.d.SACounters()[0]; sa.Drops["dummy"] != 1 || sa.Packets != 0 || sa.Sequence != 1 {
			t.Errorf("%s: %+v", f, sa)
		}
	}
}

// Dummy packets use up an SA as others do, wait for their next hop, do not pile up, and end with the SA. A worker that alone sends by
// an SA sends its dummy packets too.
func TestDummyPacketsAreLikeOthers(t *testing.T) {
	r, _ := dummyRig(t, form{suite: "aes128gcm16"}, 1, func(c *ChildSA) { c.Hard.Packets = 3 })
	for range 5 {
		r.pass(dummyInterval)
	}
	r.serveAll()
	sa := r.d.SACounters()[0]
	if sa.Dummies != 3 || sa.Drops["lifetime_expired"] != 2 || len(r.seen.expired) != 1 {
		t.Errorf("lifetime of 3 packets: %+v, %v", sa, r.seen.expired)
	}

	elsewhere := netip.MustParseAddr("192.0.2.99")
	r, _ = dummyRig(t, form{suite: "aes128gcm16"}, 1, func(c *ChildSA) { c.Remote = netip.AddrPortFrom(elsewhere, 0) })
	r.pass(0) // asks for the next hop, whose address nobody knows
	r.pass(0)
	r.enqueue(0, wan, arpMessage{op: arpReplyOp, senderMAC: peerMAC, senderAddr: elsewhere, targetMAC: wanMAC, targetAddr: wanOwn}.frame(wanMAC))
	r.settle()
	if sent := r.pass(0); len(sent) != 1 || ipv4(sent[0][etherHeaderLen:]).destination() != elsewhere {
		t.Errorf("%d packets to a next hop that is known now", len(sent))
	}
	if sent := r.pass(10 * time.Second); len(sent) < dummyBurst || len(sent) > dummyBurst+1 { // the neighbour is asked whether it is there
		t.Errorf("%d packets after 10 s in which nobody sent any", len(sent))
	}
	if _, err := r.d.RemoveOutbound(r.cell("site"), r.d.SACounters()[0].SPI); err != nil {
		t.Fatal(err)
	}
	if r.pass(time.Second); len(r.d.sad.dummies.turns) != 0 || r.d.Counters().Ports[2].Drops["no_outbound_sa"] != 0 {
		t.Error("dummy packets of an SA that is gone")
	}

	r, _ = dummyRig(t, form{suite: "aes128gcm16"}, 2, func(c *ChildSA) { c.Worker = 2 })
	r.pass(0)
	if sa := r.d.SACounters()[0]; sa.Dummies != 1 {
		t.Errorf("SA of the second worker: %+v", sa)
	}
	ah := r.formed(form{ah: "sha256"}, false)
	ah.Encapsulation.DummyEvery = time.Second
	if err := r.d.InstallOutbound(ah); err == nil {
		t.Error("dummy packets by AH were accepted")
	}
}

// AH that libIPSec_MB cannot work on, because there is no room behind it for the upper half of its number, is no forgery.
func TestFailureOfTheLibraryIsNoForgery(t *testing.T) {
	r := newRig6(t, rigOptions{})
	near := r.inbound(r.formed(form{ah: "sha256", esn: true}, true))
	longest := int(DataRoom(9000)) - mempool.Headroom - etherHeaderLen
	for _, test := range []struct {
		room   int // bytes behind the packet
		reason string
	}{{2, "crypto_error"}, {16, "auth_failed"}} {
		packet := make(ipv4, longest-test.room)
		putIPv4(packet, 0, 64, protocolAH, 0, peer, wanOwn)
		header := packet.payload()
		header[0], header[1] = protocolIPv4, uint8(ahLen(near.child.Suite, false)/4-2)
		binary.BigEndian.PutUint32(header[4:], near.child.SPI)
		binary.BigEndian.PutUint32(header[8:], 1)
		r.enqueue(0, wan, fromPeer(packet))
		r.settle()
		if drops := r.d.Counters().Ports[wan].Drops; drops[test.reason] != 1 {
			t.Errorf("packet with room for %d bytes behind it: %v, want %s", test.room, drops, test.reason)
		}
	}
}
