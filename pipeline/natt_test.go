package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
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
		if err := r.d.RemoveOutbound(r.cell("site"), far[1].child.SPI); err != nil {
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
