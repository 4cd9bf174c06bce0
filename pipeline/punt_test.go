package pipeline

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// The classes of what waits for the slow path, as operators see them.
const (
	classLink             = "arp_nd"
	classIKE              = "ike"
	classEarly            = "early"
	classAcquire          = "acquire"
	classNeighbour        = "neighbour"
	classIKEStranger      = "ike_stranger"
	classIKEBegin         = "ike_begin"
	classLocal            = "local"
	classIKEBeginStranger = "ike_begin_stranger"
)

var somebody = netip.MustParseAddr("198.51.100.9")

// ikeMessage is the beginning of an IKE header, with the SPIs of both ends.
func ikeMessage(responder byte) []byte {
	b := make([]byte, 28)
	b[7], b[15] = 1, responder
	return b
}

// ourIKE is the same of an IKE SA of the gateway's, whose SPI it has given.
func (r *rig) ourIKE(initiator bool) []byte {
	b := ikeMessage(1)
	at := 8
	if initiator {
		at = 0
	}
	binary.BigEndian.PutUint64(b[at:], r.d.IKESPI(r.random.Uint64()))
	return b
}

// ikeFrom is an IKE datagram to the gateway from an address on the WAN.
func ikeFrom(source netip.Addr, payload ...[]byte) []byte {
	return fromWAN(udpDatagram(netip.AddrPortFrom(source, portIKE), netip.AddrPortFrom(wanOwn, portIKE), payload...))
}

// siege is a gateway with traffic that it can forward and something of every class that it cannot.
type siege struct {
	*rig
	in    *referenceOut   // the peer's end of the SA in use
	early []*referenceOut // and of some that have reserved SPIs and are not there yet
	sent  int             // of the latter
	sas   [][]byte        // messages for IKE SAs of the gateway's
}

func newSiege(t *testing.T) *siege {
	r := newRig(t, rigOptions{punts: 96, buffers: 4095, rules: []rule{
		{name: "all", source: "any", destination: "any"},
		{name: "ping", source: "any", destination: "my", protocol: protocolICMP},
		siteRule,
		{name: "cold", source: "10.1.0.0/16", destination: "10.3.0.0/16", tunnel: "cold"},
	}})
	r.setCell("cold", CellHold)
	s := &siege{rig: r, in: r.inbound(r.child("site", "aes128gcm16", true))}
	r.outbound(r.child("site", "aes128gcm16", false)) // by which the peer is known
	for range 3 {
		s.early = append(s.early, r.farEnd(r.child("site", "aes128gcm16", true)))
	}
	return s
}

// frame is the next packet of a class, and the port that it comes by.
func (s *siege) frame(class string, i int) (port int, frame []byte) {
	switch class {
	case classLink:
		return lan, arpMessage{op: arpRequestOp, senderMAC: hostMAC, senderAddr: lanHost, targetAddr: lanOwn}.frame(broadcastMAC)
	case classIKE:
		return wan, ikeFrom(peer, s.ourIKE(i%2 == 0))
	case classIKEBegin:
		return wan, ikeFrom(peer, ikeMessage(0))
	case classIKEStranger: // in whoever's name
		return wan, ikeFrom([]netip.Addr{somebody, peer}[i%2], ikeMessage(1))
	case classIKEBeginStranger:
		return wan, ikeFrom(somebody, ikeMessage(0))
	case classEarly:
		near := s.early[s.sent%len(s.early)]
		s.sent++
		near.sequence++
		return wan, fromWAN(near.encapsulate(inner(4, 60, false), near.sequence))
	case classAcquire:
		return lan, fromHost(tcp(lanHost, netip.MustParseAddr("10.3.0.7")))
	case classNeighbour:
		return wan, fromPeer(packetOfLength(somebody, netip.AddrFrom4([4]byte{10, 1, 0, byte(128 + i%64)}), 253, 60))
	}
	return lan, fromHost(icmpPacket(lanHost, lanOwn, icmpEcho, 8))
}

// send delivers so many packets of a class, in bursts.
func (s *siege) send(class string, n int) {
	var frames [2][][]byte
	for i := range n {
		port, frame := s.frame(class, i)
		frames[port] = append(frames[port], frame)
	}
	for port := range frames {
		s.flood(port, frames[port])
	}
}

// classes is what became of the packets of each class since an earlier look.
func (s *siege) classes(before []PuntCounters) (since map[string]PuntCounters) {
	since = map[string]PuntCounters{}
	for i, c := range s.d.Counters().Punts {
		if before != nil {
			c.Queued -= before[i].Queued
			c.Full -= before[i].Full
		}
		since[c.Class] = c
	}
	return since
}

// allClasses is those that somebody can make a flood of.
func (s *siege) allClasses() (all []string) {
	for _, c := range s.d.Counters().Punts {
		if c.Class != "notice" { // of which a cell has one in a tick: no flood can be made of it
			all = append(all, c.Class)
		}
	}
	return all
}

// A flood of one class costs no other a packet, and delays none by more than the share that one round gives it (S-089).
func TestFloodOfAClassCostsNoOther(t *testing.T) {
	const few = 20 // of each other class: more than the smallest share, less than a queue
	rounds := (few + shareOfMost/2 - 1) / (shareOfMost / 2)
	all := newSiege(t).allClasses()
	if len(all) != PuntClasses-1 {
		t.Fatalf("%d classes, want %d", len(all), PuntClasses)
	}
	for _, flooded := range all {
		t.Run(flooded, func(t *testing.T) {
			s := newSiege(t)
			s.send(flooded, 1000)
			before := s.d.Counters().Punts
			class := slices.IndexFunc(before, func(c PuntCounters) bool { return c.Class == flooded })
			flood, share := before[class], int(puntShares[class])
			for _, other := range all {
				if other != flooded {
					s.send(other, few)
				}
			}
			since := s.classes(before)
			for _, other := range all {
				if c := since[other]; other != flooded && (c.Queued != few || c.Full != 0 || c.Waiting != few) {
					t.Errorf("%+v, want %d in its queue and none refused", c, few)
				}
			}
			for range rounds {
				if _, more, err := s.d.serve(s.now, &s.seen); err != nil || !more && int(flood.Waiting) > rounds*share {
					t.Fatalf("a round: more is left: %v, %v", more, err)
				}
			}
			for class, c := range s.classes(before) {
				if class != flooded && c.Waiting != 0 {
					t.Errorf("after %d rounds %d packets of class %s wait", rounds, c.Waiting, class)
				}
			}
			if c := s.classes(nil)[flooded]; c.Full == 0 && s.d.Counters().Ports[wan].Drops["early_full"] == 0 {
				t.Errorf("the flood found room for all: %+v", c)
			}
			room, least := s.d.cfg.puntQueue(), s.d.cfg.puntQueue()
			if flooded == classLink || strings.HasPrefix(flooded, classIKE) { // what one port, or one sender, can fill
				least = room / 2
			}
			if n := int(flood.Waiting); flooded != classEarly && (n < least || n > room) {
				t.Errorf("%d packets of the flood found room, want %d to %d", n, least, room)
			}
			if n, want := int(s.classes(nil)[flooded].Waiting), max(int(flood.Waiting)-rounds*share, 0); n != want {
				t.Errorf("%d packets of the flood wait after %d rounds, want %d", n, rounds, want)
			}
			if lost := s.d.LostIKE(); (lost > 0) != strings.HasPrefix(flooded, "ike") {
				t.Errorf("%d messages of IKE lost", lost)
			}
			s.serveAll()
		})
	}
}

// A flood in one address's name, or of messages for one IKE SA, wherever they come from, fills half of its queue, and what others send finds room in the same one (S-088, S-089).
func TestFloodOfASenderCostsNoOther(t *testing.T) {
	ours := newSiege(t).ourIKE(true)
	for class, frame := range map[string]func(s *siege, sender, i int) []byte{
		classIKE: func(s *siege, sender, i int) []byte {
			return ikeFrom([]netip.Addr{somebody, peer}[i%2], s.sas[sender])
		},
		classIKEStranger:      func(_ *siege, sender, _ int) []byte { return ikeFrom(farFrom(sender), ikeMessage(1)) },
		classIKEBegin:         func(_ *siege, sender, _ int) []byte { return ikeFrom(farFrom(sender), ikeMessage(0)) },
		classIKEBeginStranger: func(_ *siege, sender, _ int) []byte { return ikeFrom(farFrom(sender), ours[:8]) },
	} {
		t.Run(class, func(t *testing.T) {
			s := newSiege(t)
			if class == classIKEBegin {
				var peers []netip.Addr
				for i := range 8 {
					peers = append(peers, farFrom(i))
				}
				if err := s.d.KnowPeers(peers, nil); err != nil {
					t.Fatal(err)
				}
			}
			for range 8 {
				s.sas = append(s.sas, s.ourIKE(false))
			}
			send := func(sender, n int) (queued uint64) {
				var frames [][]byte
				before := s.d.Counters().Punts
				for i := range n {
					frames = append(frames, frame(s, sender, i))
				}
				s.flood(wan, frames)
				return s.classes(before)[class].Queued
			}
			half := uint64(s.d.cfg.puntQueue() / 2)
			if n := send(0, 1000); n != half {
				t.Fatalf("a flood found room for %d, want %d", n, half)
			}
			// Whoever happens to have the flood's share has another one a second later.
			const few, seconds = 4, 6
			for sender := 1; sender < 8; sender++ {
				for second := 0; send(sender, few) != few; second++ {
					if second == seconds {
						t.Fatalf("sender %d: no room", sender)
					}
					s.now = s.now.Add(time.Second)
					s.d.mu.Lock()
					for range 10 {
						s.d.tick(s.now)
					}
					s.d.mu.Unlock()
				}
			}
			s.serveAll()
			if n := send(0, 1000); n != half {
				t.Errorf("the flood found room for %d once the queue was empty, want %d", n, half)
			}
		})
	}
}

func farFrom(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}) }

// S-089: a slow path that stands still, and one that runs beside floods of every class, cost no packet that can be forwarded: neither ESP, of either
// direction, nor clear traffic. What the floods lose is counted, what waits is bounded, and packet buffers are left.
func TestStalledSlowPathForwards(t *testing.T) {
	const rounds, each, flood = 30, 16, 48
	for _, stalled := range []bool{true, false} {
		t.Run(fmt.Sprintf("stalled=%v", stalled), func(t *testing.T) {
			s := newSiege(t)
			all := s.allClasses()
			before := s.tally()
			waits := 0
			for round := range rounds {
				var frames [2][][]byte
				add := func(port int, frame []byte) { frames[port] = append(frames[port], frame) }
				for i := range flood {
					for _, class := range all {
						add(s.frame(class, round*flood+i))
					}
					if i%(flood/each) == 0 {
						s.in.sequence++
						add(wan, fromPeer(s.in.encapsulate(tcp(farHost, lanHost), s.in.sequence)))
						add(lan, fromHost(tcp(lanHost, farHost)))
						add(wan, fromPeer(packetOfLength(somebody, lanHost, 253, 60)))
					}
				}
				for port := range frames {
					s.flood(port, frames[port])
				}
				if !stalled {
					s.serveAll()
					s.settle()
				}
				if want, got := (round+1)*each*3, ends(before, s.tally())["forwarded"]; got != want {
					t.Fatalf("round %d: %d packets were forwarded, want %d", round, got, want)
				}
				s.rig.sent(lan)
				s.rig.sent(wan)
			}
			limits, c := s.d.cfg.holdLimits(), s.d.Counters()
			for _, p := range c.Punts {
				waits += int(p.Waiting)
				if slices.Contains(all, p.Class) && p.Queued+p.Full+c.Ports[wan].Drops["early_full"] < rounds*flood {
					t.Errorf("%+v, want %d packets accounted for", p, rounds*flood)
				}
			}
			if stalled && c.Ports[wan].Drops["punt_full"]+c.Ports[lan].Drops["punt_full"] == 0 {
				t.Error("nothing was refused")
			}
			most := PuntClasses*s.d.cfg.puntQueue() + limits.total + defaultNeighbourLimits(s.cfg.MaxAdjacencies).total + int(s.d.cfg.earlyLimit())
			if used := s.pool.InUse(); waits > PuntClasses*s.d.cfg.puntQueue() || int(used) > most || most >= int(s.pool.Size()) {
				t.Errorf("%d packets wait in the queues, %d buffers are used, want at most %d of %d", waits, used, most, s.pool.Size())
			}
			if err := c.Conserved(); err != nil {
				t.Error(err)
			}
			s.serveAll()
			s.settle()
			s.rig.sent(lan)
			s.send(classLocal, 1) // and the slow path answers again
			s.now = s.now.Add(time.Second)
			s.serveAll()
			s.settle()
			answers := 0
			for _, f := range s.rig.sent(lan) { // beside ARP requests
				if f[13] == etherTypeIPv4&0xff && ipv4(f[etherHeaderLen:]).protocol() == protocolICMP {
					answers++
				}
			}
			if answers != 1 {
				t.Errorf("%d answers to an echo request after the floods, want 1", answers)
			}
		})
	}
}

// The queue of an IKE datagram. What goes on with an exchange is ours if it names an IKE SA of ours, from wherever it comes; nobody's if not, in a peer's name too: a flood of
// forged later messages costs no peer a place (S-089). What begins one is a peer's by its address. Peers are those that are named and those that SAs send to, wherever these have
// moved.
func TestClassesOfIKE(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
	named, moved := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.113.8")
	named6 := netip.MustParseAddr("2001:db8:77::7")
	marker := make([]byte, 4)
	at := func(source, own netip.Addr, port uint16, payload ...[]byte) []byte {
		return fromWAN(udpDatagram(netip.AddrPortFrom(source, port), netip.AddrPortFrom(own, port), payload...))
	}
	want := func(what string, frame []byte, class string) {
		t.Helper()
		before := r.d.Counters().Punts
		r.seen.ike = nil
		r.enqueue(0, wan, frame)
		r.settle()
		for i, c := range r.d.Counters().Punts {
			if n := c.Queued - before[i].Queued; (n == 1) != (c.Class == class) {
				t.Errorf("%s: %d more of class %s, want one of %s", what, n, c.Class, class)
			}
		}
		r.serveAll()
		known := class == classIKE || class == classIKEBegin
		if len(r.seen.ike) != 1 || r.seen.ike[0].Known != known {
			t.Errorf("%s: the handler got %+v, want one datagram, known %v", what, r.seen.ike, known)
		}
	}
	own := []netip.Addr{wanOwn, wanOwn6}
	for i, a := range []netip.Addr{named, named6} {
		for _, known := range []bool{false, true, false} {
			begin := classIKEBeginStranger
			if known {
				begin = classIKEBegin
			}
			what := fmt.Sprintf("%s known %v", a, known)
			for port, front := range map[uint16][]byte{portIKE: nil, portIKENATT: marker} {
				want(what, at(a, own[i], port, front, ikeMessage(0)), begin)
				want(what+", forged", at(a, own[i], port, front, ikeMessage(1)), classIKEStranger)
				for _, initiator := range []bool{false, true} {
					want(what+", ours", at(a, own[i], port, front, r.ourIKE(initiator)), classIKE)
					want(what+", ours, as short as can be", at(a, own[i], port, front, r.ourIKE(initiator)[:16]), classIKE)
				}
				answer := r.ourIKE(true) // as one that wants a cookie: its sender has no SPI yet
				clear(answer[8:16])
				want(what+", to our first message", at(a, own[i], port, front, answer), classIKE)
				want(what+", cut off", at(a, own[i], port, front, r.ourIKE(true)[:15]), begin)
			}
			want(what+", empty", at(a, own[i], portIKE), begin)
			come, gone := []netip.Addr{a}, []netip.Addr(nil)
			if known {
				come, gone = gone, come
			}
			if err := r.d.KnowPeers(come, gone); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.d.KnowPeers(nil, []netip.Addr{named, named6}); err != nil {
		t.Fatal(err)
	}
	child := r.child("site", "aes128gcm16", false)
	child.UDPEncap, child.Local, child.Remote = true, netip.AddrPortFrom(wanOwn, 4500), netip.AddrPortFrom(peer, 4500)
	r.outbound(child)
	want("an SA's end", at(peer, wanOwn, portIKE, ikeMessage(0)), classIKEBegin)
	r.outbound(child) // a rekey
	want("after a rekey", at(peer, wanOwn, portIKE, ikeMessage(0)), classIKEBegin)
	if err := r.d.MoveOutbound(child.Cell, child.SPI, child.Local, netip.AddrPortFrom(moved, 4501)); err != nil {
		t.Fatal(err)
	}
	want("where it was", at(peer, wanOwn, portIKE, ikeMessage(0)), classIKEBeginStranger)
	want("where it is", at(moved, wanOwn, portIKE, ikeMessage(0)), classIKEBegin)
	if _, err := r.d.RemoveOutbound(child.Cell, child.SPI); err != nil {
		t.Fatal(err)
	}
	want("and is gone", at(moved, wanOwn, portIKE, ikeMessage(0)), classIKEBeginStranger)
	if len(r.d.slow.peers.reasons) != 0 {
		t.Errorf("still known: %v", r.d.slow.peers.reasons)
	}
}

// The hash under the SPIs is SipHash-2-4, by its authors' vectors. An SPI keeps 48 random bits; another gateway's is not ours, and of those that somebody guesses one of 65,536
// is.
func TestIKESPI(t *testing.T) {
	key := [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	same(t, "8 bytes", keyedHash(key, key[0]), uint64(0x93f5f5799a932462))
	same(t, "16 bytes", keyedHash(key, key[0], key[1]), uint64(0x3f2acc7f57c29bdb))
	r, other := newRig(t, rigOptions{}), newRig(t, rigOptions{})
	guessed, foreign := 0, 0
	const tries = 20000
	for range tries {
		random := r.random.Uint64()
		spi := r.d.IKESPI(random)
		if spi>>16 != random>>16 || r.d.IKESPI(spi) != spi {
			t.Fatalf("SPI %x of %x", spi, random)
		}
		if r.d.IKESPI(random) == random {
			guessed++
		}
		if other.d.IKESPI(spi) == spi {
			foreign++
		}
	}
	if guessed > 10 || foreign > 10 {
		t.Errorf("of %d SPIs %d were guessed, and %d of another gateway are ours", tries, guessed, foreign)
	}
}

// More peers than the table holds: the rest are strangers, and an error says so.
func TestPeersBeyondTheTable(t *testing.T) {
	r := newRig(t, rigOptions{cells: 16})
	var many []netip.Addr
	for i := range 1000 {
		many = append(many, netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}))
	}
	if err := r.d.KnowPeers(many, nil); err == nil {
		t.Error("no error for more peers than there is room for")
	}
	if err := r.d.KnowPeers(nil, many); err != nil {
		t.Error(err)
	}
	if err := r.d.KnowPeers(many[:32], nil); err != nil {
		t.Errorf("32 peers, with room for that many: %v", err)
	}
	last := many[999]
	if err := r.d.KnowPeers(nil, many[:32]); err != nil {
		t.Error(err)
	}
	if err := r.d.KnowPeers(many, nil); err == nil {
		t.Error("no error for more peers than there is room for")
	}
	if err := r.d.KnowPeers(nil, many[:999]); err != nil {
		t.Error(err)
	}
	r.now = r.now.Add(slowPathTick)
	r.serveAll()
	r.enqueue(0, wan, fromPeer(udpDatagram(netip.AddrPortFrom(last, 501), wanPort, ikeMessage(0))))
	r.settle()
	r.serveAll()
	same(t, "heard once there is room", r.seen.heard, []netip.Addr{last})
	if err := r.d.KnowPeers(many[:31], nil); err != nil {
		t.Errorf("31 more peers: %v", err)
	}
}

// BenchmarkPuntedFirstMessage is what the slow path takes for a first message of a stranger's, from its queue to the handler.
func BenchmarkPuntedFirstMessage(b *testing.B) {
	r := newRig(b, rigOptions{})
	message := ikeFrom(somebody, append(ikeMessage(0), make([]byte, 400)...))
	burst := slices.Repeat([][]byte{message}, 96)
	r.seen.ike = make([]Datagram, 0, len(burst))
	var spent time.Duration
	b.ReportAllocs()
	for taken := 0; taken < b.N; taken += len(burst) {
		r.enqueue(0, wan, burst...)
		r.settle()
		r.seen.ike = r.seen.ike[:0]
		start := time.Now()
		for more := true; more; {
			n, _, err := r.d.serve(r.now, &r.seen)
			if err != nil {
				b.Fatal(err)
			}
			more = n > 0
		}
		spent += time.Since(start)
		if len(r.seen.ike) != len(burst) {
			b.Fatalf("%d of %d messages reached the handler", len(r.seen.ike), len(burst))
		}
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "served-ns/op")
}
