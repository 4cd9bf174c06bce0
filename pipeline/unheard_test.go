package pipeline

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/pmd/ethdev"
)

// An IKE message of ours whose next hop does not answer has not left, and neither has what waits for one: that is told, and of the peer it was for alone.
// Once the next hop answers messages leave.
// S-043, S-044
func TestUnsentIKE(t *testing.T) {
	for version, peers := range map[string]struct{ own, deaf, hears netip.Addr }{
		"IPv4": {wanOwn, wanOwn.Next().Next().Next(), peer},
		"IPv6": {wanOwn6, wanOwn6.Next().Next().Next(), peer6},
	} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{})
			from := netip.AddrPortFrom(peers.own, portIKE)
			pass := func(seconds int) {
				for range seconds {
					r.serveAll()
					r.settle()
					r.now = r.now.Add(time.Second)
				}
			}
			for _, to := range []netip.Addr{peers.deaf, peers.hears} {
				if err := r.d.SendUDP(from, netip.AddrPortFrom(to, portIKE), []byte("IKE"), false); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.d.SendUDP(from, netip.AddrPortFrom(peers.deaf.Next(), 53), []byte("no IKE, were it not for its port here"), false); err != nil {
				t.Fatal(err)
			}
			r.settle()
			pass(1)
			if to := r.d.UnsentIKE(); len(to) != 0 || r.d.Reaches(peers.deaf, epoch) || !r.reaches(peers.hears) {
				t.Fatalf("while it waits: unsent to %v", to)
			}
			pass(4)
			if to := r.d.UnsentIKE(); !slices.Contains(to, peers.deaf) || slices.Contains(to, peers.hears) || r.d.Reaches(peers.deaf, epoch) {
				t.Errorf("unsent to %v, expected %s among them", to, peers.deaf)
			}
			if to := r.d.UnsentIKE(); len(to) != 0 {
				t.Errorf("%v are told twice", to)
			}
			if r.d.LostIKE() != 0 {
				t.Error("what did not leave was lost on its way in")
			}
		})
	}
}

// A message of IKE that a worker drops is told of, with its receiver and that alone: the port does not take it, nor one of its fragments, tagged or not; or there is no route, or no room
// to wait for a next hop. Of what there is no room to tell it is known that there was something.
// S-043, S-044
func TestWhatAWorkerDropsOfIKE(t *testing.T) {
	const ring = 1023 // frames behind a port
	for version, addresses := range map[string][2]netip.Addr{"IPv4": {wanOwn, peer}, "IPv6": {wanOwn6, peer6}} {
		from, to := netip.AddrPortFrom(addresses[0], portIKE), addresses[1]
		send := func(t *testing.T, r *rig, to netip.Addr, length int) {
			if err := r.d.SendUDP(from, netip.AddrPortFrom(to, portIKE), make([]byte, length), false); err != nil {
				t.Fatal(err)
			}
			r.settle()
		}
		wantUnsent := func(t *testing.T, r *rig, want ...netip.Addr) {
			r.serveAll()
			if got := r.d.UnsentIKE(); !slices.Equal(got, want) {
				t.Errorf("unsent to %v, expected %v", got, want)
			}
		}
		for name, vlans := range map[string][2]uint16{"": {}, ", tagged": {7, 8}} {
			t.Run(version+name, func(t *testing.T) {
				r := newRig6(t, rigOptions{vlans: vlans})
				for range ring - 1 {
					send(t, r, to, 100)
				}
				wantUnsent(t, r)
				send(t, r, to, 4000) // in three, one of which finds room
				wantUnsent(t, r, to)
				send(t, r, to, 100)
				wantUnsent(t, r, to)
				r.sent(wan)
				send(t, r, to, 4000)
				wantUnsent(t, r)
				if r.d.LostIKE() != 0 {
					t.Error("what did not leave was lost on its way in")
				}
				r.sent(wan)
			})
		}
		t.Run(version+", no route", func(t *testing.T) {
			r := newRig6(t, rigOptions{})
			s := r.snapshot(siteRule)
			s.Routes = nil
			r.publish(s)
			far := netip.MustParseAddr("198.51.100.9")
			if to.Is6() {
				far = netip.MustParseAddr("2001:db8:ffff::9")
			}
			send(t, r, far, 100)
			wantUnsent(t, r, far)
		})
		t.Run(version+", no room", func(t *testing.T) {
			r := newRig6(t, rigOptions{punts: 1})
			deaf := to.Next().Next().Next()
			for range 3 { // one waits, of one it is told, and for the last there is no room
				send(t, r, deaf, 100)
			}
			if lost := r.d.LostIKE(); lost != 1 {
				t.Errorf("%d messages untold, expected 1", lost)
			}
			wantUnsent(t, r, deaf)
			if n := r.d.Counters().Ports[2].Drops["punt_full"]; n != 2 {
				t.Errorf("%d dropped for want of room, expected 2", n)
			}
		})
	}
}

// There is room for so many of them: beyond that nobody's silence is certain.
func TestUnsentIKEIsBounded(t *testing.T) {
	var u unsentIKE
	to := netip.MustParseAddr("10.0.0.0")
	for range mostUnsent + 5 {
		u.note(to)
		to = to.Next()
	}
	u.note(netip.MustParseAddr("10.0.0.0"))
	if len(u.to) != mostUnsent || u.untold != 5 {
		t.Errorf("%d are noted, and %d untold", len(u.to), u.untold)
	}
}

// What a port has missed, or had no buffer for, may have been a message to IKE.
// S-043, S-045
func TestPortsThatMissMayLoseIKE(t *testing.T) {
	r := newRig(t, rigOptions{})
	var missed ethdev.Stats
	r.d.cfg.portStats = func(p ethdev.Port) (ethdev.Stats, error) {
		if p == r.d.cfg.Ports[wan].Port {
			return missed, nil
		}
		return ethdev.Stats{RxPackets: 7, RxErrors: 7, TxErrors: 7}, nil
	}
	before := r.d.LostIKE()
	for _, missed = range []ethdev.Stats{{RxMissed: 1}, {RxMissed: 1, RxNoBuffer: 1}} {
		if now := r.d.LostIKE(); now != before+1 {
			t.Errorf("%+v: %d messages may be lost, expected %d", missed, now, before+1)
		}
		before = r.d.LostIKE()
	}
}

// IKE in fragments that a flood pushes out, or whose other fragments never come, has come all the same: the first one says from whom and is heard, and another of a peer's leaves its silence
// in doubt. Of nobody else's fragments is anything made.
// S-045, S-051
func TestDroppedFragmentsAreNoSilence(t *testing.T) {
	for version, c := range map[string]struct{ own, peer, stranger, host netip.Addr }{
		"IPv4": {wanOwn, peer, stranger, lanHost},
		"IPv6": {wanOwn6, peer6, outside6, lanHost6},
	} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{memory: 1 << 20})
			if err := r.d.KnowPeers([]netip.Addr{c.peer}, nil); err != nil {
				t.Fatal(err)
			}
			number := 0
			cut := func(from, to netip.Addr, port uint16) [][]byte {
				number++
				ip := udpDatagram(netip.AddrPortFrom(from, 500), netip.AddrPortFrom(to, port), make([]byte, 2000))
				if isIPv6(ip) {
					return cutIPv6(ip, 1280, ipv6HeaderLen, uint32(number))
				}
				binary.BigEndian.PutUint16(ip[4:], uint16(number))
				ip[6] = 0
				setHeaderChecksum(ip)
				return cutIPv4(ip, 1280)
			}
			timeout := func() { r.d.advance(fragmentTimeout + time.Second) }
			flood := func() {
				for range 40 {
					var burst [][]byte
					for range 100 {
						burst = append(burst, fromPeer(cut(c.stranger, c.host, 9)[0]))
					}
					for i := range burst {
						binary.BigEndian.PutUint16(burst[i][12:], etherTypeOf(burst[i][etherHeaderLen:]))
					}
					r.enqueue(0, wan, burst...)
					r.settle()
				}
			}
			for _, x := range []struct {
				what     string
				from, to netip.Addr
				port     uint16
				piece    int
				end      func()
				heard    bool
				lost     uint64
			}{
				{"first, timeout", c.peer, c.own, 500, 0, timeout, true, 0},
				{"first, flood", c.peer, c.own, 4500, 0, flood, true, 0},
				{"second, timeout", c.peer, c.own, 500, 1, timeout, false, 1},
				{"second, flood", c.peer, c.own, 500, 1, flood, false, 1},
				{"another port", c.peer, c.own, 53, 0, timeout, false, 0},
				{"a host's", c.peer, c.host, 500, 0, timeout, false, 0},
				{"the second of a host's", c.peer, c.host, 500, 1, timeout, false, 0},
				{"a stranger's", c.stranger, c.own, 500, 0, timeout, false, 0},
				{"the second of a stranger's", c.stranger, c.own, 500, 1, timeout, false, 0},
			} {
				r.now = r.now.Add(slowPathTick)
				r.serveAll()
				r.seen.heard = nil
				before := r.d.LostIKE()
				f := fromPeer(cut(x.from, x.to, x.port)[x.piece])
				binary.BigEndian.PutUint16(f[12:], etherTypeOf(f[etherHeaderLen:]))
				r.enqueue(0, wan, f)
				r.settle()
				if len(r.seen.heard) != 0 {
					t.Fatalf("%s: heard while it waits", x.what)
				}
				x.end()
				r.settle()
				r.serveAll()
				if lost := r.d.LostIKE() - before; (len(r.seen.heard) == 1) != x.heard || x.heard && r.seen.heard[0] != x.from || lost != x.lost {
					t.Errorf("%s: heard %v, %d lost, want heard %v and %d lost", x.what, r.seen.heard, lost, x.heard, x.lost)
				}
				timeout() // what is left of the flood
				r.settle()
				r.serveAll()
			}
		})
	}
}

// A next hop that was there a moment ago, and whose link still says so, does not count as reached: it has to answer after what was sent. One that leaves a request without an answer while
// it is in doubt makes what was sent meanwhile unsent, though it answer again. Its link counts too.
// S-043, S-044
func TestANextHopHasToAnswer(t *testing.T) {
	for version, to := range map[string]netip.Addr{"IPv4": peer, "IPv6": peer6} {
		t.Run(version, func(t *testing.T) {
			r := newRig6(t, rigOptions{})
			var link ethdev.Link
			var failed error
			r.d.cfg.Ports[wan].Link = func() (ethdev.Link, error) { return link, failed }
			link.Up = true
			wantUnsent := func(what string, want ...netip.Addr) {
				t.Helper()
				if got := r.d.UnsentIKE(); !slices.Equal(got, want) {
					t.Errorf("%s: unsent to %v, expected %v", what, got, want)
				}
			}
			r.pass(2 * time.Second)
			if r.d.Reaches(to, r.now) {
				t.Error("it has not been asked")
			}
			if !r.reaches(to) {
				t.Error("it has answered")
			}
			answered := r.now
			wantUnsent("it has answered")

			link.Up = false
			if r.d.Reaches(to, epoch) {
				t.Error("its link is down")
			}
			link.Up, failed = true, errClosed
			if r.d.Reaches(to, epoch) {
				t.Error("nobody knows of its link")
			}
			failed = nil

			sent := answered.Add(slowPathTick) // and there it dies
			r.d.Doubt(to, sent.Add(10*time.Second))
			r.silent(1500 * time.Millisecond)
			if r.d.Reaches(to, sent) {
				t.Error("it has answered before the message")
			}
			r.silent(500 * time.Millisecond)
			wantUnsent("it answers nothing", to)
			if !r.reaches(to) {
				t.Error("it answers again")
			}
			r.d.UnsentIKE()
			r.d.Doubt(to, r.now.Add(10*time.Second))
			r.silent(20 * time.Second)
			if r.d.Reaches(to, epoch) {
				t.Error("it is given up")
			}
		})
	}
}

// reaches has the next hop toward an address asked, which answers, and says whether that is reached now.
func (r *rig) reaches(to netip.Addr) bool {
	r.t.Helper()
	since := r.now
	r.d.Doubt(to, since.Add(2*time.Second))
	for range 20 {
		r.now = r.now.Add(slowPathTick)
		r.serveAll()
		r.settle()
		for _, f := range r.sent(wan) {
			if m, ok := parseARP(f); ok && m.op == arpRequestOp && m.targetAddr == to {
				r.arp(wan, arpMessage{op: arpReplyOp, senderMAC: peerMAC, senderAddr: m.targetAddr, targetMAC: m.senderMAC, targetAddr: m.senderAddr}, m.senderMAC)
			} else if ip := ipv6(f[etherHeaderLen:]); !ok && isIPv6(ip) {
				if m, ok := parseDiscovery(f, ip); ok && !m.advert && m.target == to {
					r.discover(wan, advertisement(peerMAC, m))
				}
			}
		}
	}
	return r.d.Reaches(to, since)
}

// silent lets time pass in which no next hop answers.
func (r *rig) silent(d time.Duration) {
	r.t.Helper()
	for range int(d / slowPathTick) {
		r.now = r.now.Add(slowPathTick)
		r.serveAll()
		r.settle()
	}
	r.sent(wan)
}

// A peer that the workers' table has no room for is no peer to them, which may drop its answer unheard: it does not count as reached until it has room, though its next hop answers.
// S-045, S-051
func TestAPeerWithoutRoomIsNotReached(t *testing.T) {
	r := newRig(t, rigOptions{cells: 16})
	many := make([]netip.Addr, 0, 1000)
	for a := netip.MustParseAddr("10.9.0.0"); len(many) < cap(many); a = a.Next() {
		many = append(many, a)
	}
	if err := r.d.KnowPeers(many, nil); err == nil {
		t.Fatal("there is room for all of them")
	}
	if err := r.d.KnowPeers([]netip.Addr{peer}, nil); err == nil {
		t.Fatal("there is room for one more")
	}
	if r.reaches(peer) {
		t.Error("there is no room for it")
	}
	if err := r.d.KnowPeers(nil, many); err != nil {
		t.Fatal(err)
	}
	if !r.reaches(peer) {
		t.Error("there is room for it")
	}
}

// Frames that a driver has taken and failed to send may have been messages of ours: at the port toward the peer, while its next hop is in doubt. It is told once.
// S-043, S-044
func TestAPortThatFailsToSendDoesNotReach(t *testing.T) {
	r := newRig(t, rigOptions{})
	var failed [2]uint64 // frames, by port
	r.d.cfg.portStats = func(p ethdev.Port) (s ethdev.Stats, err error) {
		for i := range failed {
			if p == r.d.cfg.Ports[i].Port {
				s.TxErrors = failed[i]
			}
		}
		return s, nil
	}
	failed[wan] = 3
	if !r.reaches(peer) {
		t.Fatal("nothing has failed since it is in doubt")
	}
	since, until := epoch, r.now.Add(time.Hour)
	r.d.Doubt(peer, until)
	failed[lan]++
	if !r.d.Reaches(peer, since) {
		t.Error("another port has failed")
	}
	failed[wan]++
	r.d.Doubt(peer, until) // the next message
	if r.d.Reaches(peer, since) {
		t.Error("its port has failed")
	}
	if !r.d.Reaches(peer, since) {
		t.Error("it is told twice")
	}
}
