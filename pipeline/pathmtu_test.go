package pipeline

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"sallyport/crypto"
)

var router = netip.MustParseAddr("198.51.100.1")

// pathRig is a rig with an SA that has sent a packet of 1,428 bytes, which is returned as it left.
func pathRig(t *testing.T, o rigOptions, change func(*ChildSA)) (r *rig, child ChildSA, outer ipv4) {
	t.Helper()
	r = newRig6(t, o)
	child = r.child6("aes128gcm16", false)
	if change != nil {
		change(&child)
	}
	r.outbound(child)
	return r, child, r.large()
}

// large sends a packet into the tunnel that just fits 1,428 bytes outside, or 1,436 with UDP.
func (r *rig) large() ipv4 {
	r.t.Helper()
	return r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, 1374)), wan)[etherHeaderLen:]
}

// tell delivers a router's word to the wan port.
func (r *rig) tell(message []byte) {
	r.t.Helper()
	if o, _ := r.check(wan, fromPeer(message)); o.Disposition != packetLocal {
		r.t.Fatalf("% x: %+v, want it delivered", message, o)
	}
}

// pathMTU is what the counters show of the only outbound SA.
func (r *rig) pathMTU() int {
	r.t.Helper()
	for _, sa := range r.d.SACounters() {
		if sa.Outbound {
			return sa.PathMTU
		}
	}
	r.t.Fatal("no outbound SA")
	return 0
}

func fragmentationWord(t *testing.T, about ipv4, mtu int) ipv4 {
	t.Helper()
	message, ok := fragmentationNeeded(about, router, mtu)
	if !ok {
		t.Fatalf("no message about % x", about)
	}
	return message
}

// A router's word about a packet that the SA has sent makes larger inner packets, of either IP version, come back to their senders with what fits, though no filter lets ICMP
// in; and it is forgotten after ten minutes.
func TestPathMTU(t *testing.T) {
	for name, change := range map[string]func(*ChildSA){
		"ESP":    nil,
		"in UDP": func(c *ChildSA) { c.UDPEncap = true },
		"ESN":    func(c *ChildSA) { c.ESN, c.FirstSequence = true, 1<<32 },
	} {
		t.Run(name, func(t *testing.T) {
			r, child, outer := pathRig(t, rigOptions{rules: []rule{siteRule, siteRule6}}, change)
			heard := r.now
			r.tell(fragmentationWord(t, outer, 1400))
			if got := r.pathMTU(); got != 1400 {
				t.Fatalf("path MTU %d, want 1400", got)
			}
			fits := child.largest(1400, 0)
			o, answers := r.checkAt(1400, fromHost(packetOfLength(lanHost, farHost, 253, fits+1)))
			if o.MTU != fits || len(answers[lan]) != 1 {
				t.Fatalf("%+v, answers % x", o, answers)
			}
			body := ipv4(answers[lan][0][etherHeaderLen:]).payload()
			if body[0] != icmpUnreachable || body[1] != codeFragmentation || int(binary.BigEndian.Uint16(body[6:])) != fits || checksum(body) != 0 {
				t.Errorf("answer % x, want fragmentation needed, %d bytes", body, fits)
			}
			o, answers = r.checkAt(1400, fromHost6(packet6(lanHost6, farHost6, 253, make([]byte, fits+1-ipv6HeaderLen))))
			if body, ok := icmp6Body(answers[lan][0][etherHeaderLen:]); !ok || o.MTU != fits || body[0] != icmp6TooBig || int(binary.BigEndian.Uint32(body[4:])) != fits {
				t.Errorf("IPv6: %+v, answer % x, want packet too big, %d bytes", o, body, fits)
			}
			if out := r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, fits)), wan); len(out)-etherHeaderLen > 1400 {
				t.Errorf("a packet of %d bytes left", len(out)-etherHeaderLen)
			}
			r.wait(heard.Add(pathMTULifetime - time.Second).Sub(r.now))
			if got := r.pathMTU(); got != 1400 {
				t.Errorf("path MTU %d a second before its end", got)
			}
			r.wait(time.Second)
			if got := r.pathMTU(); got != 0 {
				t.Errorf("path MTU %d after ten minutes", got)
			}
			r.large()
		})
	}
}

// wait lets time pass and what the slow path does meanwhile.
func (r *rig) wait(pass time.Duration) {
	r.t.Helper()
	r.now = r.now.Add(pass)
	r.serveAll()
	r.settle()
	r.sent(lan) // neighbours are asked again
	r.sent(wan)
}

// checkAt is check of a frame from the lan while the tunnel's path takes no more than mtu bytes.
func (r *rig) checkAt(mtu int, frame []byte) (outcome, [2][][]byte) {
	r.t.Helper()
	port := &r.ref.ports[wan]
	before := port.MTU
	port.MTU = mtu
	defer func() { port.MTU = before }()
	return r.check(lan, frame)
}

// A lower MTU is believed, and a higher one is not: that comes with time.
func TestPathMTUFalls(t *testing.T) {
	r, _, outer := pathRig(t, rigOptions{}, nil)
	for _, c := range []struct{ says, want int }{{1400, 1400}, {1420, 1400}, {1300, 1300}, {1300, 1300}, {576, 576}, {575, 576}, {900, 576}} {
		r.tell(fragmentationWord(t, outer, c.says))
		if got := r.pathMTU(); got != c.want {
			t.Errorf("after word of %d: %d, want %d", c.says, got, c.want)
		}
	}
}

// Who cannot see our packets cannot make the path MTU fall: word without the right addresses, protocol, SPI and a recent sequence number changes nothing, nor does any
// word of less than 576 bytes, and of a path that takes what the packet had.
func TestPathMTUForged(t *testing.T) {
	for name, c := range map[string]struct {
		quoted  func(q ipv4)
		message func(m ipv4) ipv4
		mtu     int
	}{
		"another SPI":          {quoted: func(q ipv4) { q[23] ^= 1 }},
		"from elsewhere":       {quoted: func(q ipv4) { copy(q[12:], lanOwn.AsSlice()) }},
		"to another peer":      {quoted: func(q ipv4) { q[19] ^= 1 }},
		"AH":                   {quoted: func(q ipv4) { q[9] = protocolAH }},
		"TCP":                  {quoted: func(q ipv4) { q[9] = protocolTCP }},
		"UDP":                  {quoted: func(q ipv4) { q[9] = protocolUDP }},
		"a later fragment":     {quoted: func(q ipv4) { q[7] = 1 }},
		"before the first":     {quoted: func(q ipv4) { binary.BigEndian.PutUint32(q[24:], 99_989) }},
		"not sent yet":         {quoted: func(q ipv4) { binary.BigEndian.PutUint32(q[24:], 100_001) }},
		"zero":                 {quoted: func(q ipv4) { binary.BigEndian.PutUint32(q[24:], 0) }},
		"a shorter packet":     {quoted: func(q ipv4) { binary.BigEndian.PutUint16(q[2:], 1280) }},
		"IHL beyond":           {quoted: func(q ipv4) { q[0] = 0x4f }, message: func(m ipv4) ipv4 { return cut(m, 56) }},
		"no sequence number":   {message: func(m ipv4) ipv4 { return cut(m, 55) }},
		"half of it":           {message: func(m ipv4) ipv4 { return cut(m, 54) }},
		"a wrong checksum":     {message: func(m ipv4) ipv4 { m[22] ^= 1; return m }},
		"MTU 0":                {mtu: -1},
		"MTU 68":               {mtu: 68},
		"MTU 575":              {mtu: 575},
		"MTU of the link":      {mtu: 1500},
		"MTU above the link's": {mtu: 9000},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, outer := pathRig(t, rigOptions{}, func(c *ChildSA) { c.FirstSequence = 99_990 })
			r.wind(100_000)
			binary.BigEndian.PutUint32(outer[24:], 100_000)
			good := fragmentationWord(t, outer, 1280)
			if c.quoted != nil {
				c.quoted(outer)
			}
			mtu := c.mtu
			switch mtu {
			case 0:
				mtu = 1280
			case -1:
				mtu = 0
			}
			if c.message == nil {
				c.message = func(m ipv4) ipv4 { return m }
			}
			forged := c.message(rawWord(outer, mtu))
			if o, _ := r.check(wan, fromPeer(forged)); o.Disposition == packetForwarded {
				t.Fatalf("%+v", o)
			}
			if got := r.pathMTU(); got != 0 {
				t.Errorf("path MTU fell to %d", got)
			}
			r.tell(good)
			if got := r.pathMTU(); got != 1280 {
				t.Errorf("path MTU %d after a router's own word", got)
			}
		})
	}
}

// Word comes late, but not later than 65,535 packets after the one that it is about.
func TestPathMTUAge(t *testing.T) {
	r, _, outer := pathRig(t, rigOptions{}, nil)
	r.wind(recentSequences + 5)
	for _, c := range []struct {
		sequence uint32
		want     int
	}{{1, 0}, {5, 0}, {6, 1280}} {
		binary.BigEndian.PutUint32(outer[24:], c.sequence)
		r.tell(rawWord(outer, 1280))
		if got := r.pathMTU(); got != c.want {
			t.Errorf("word about packet %d of %d: path MTU %d, want %d", c.sequence, recentSequences+5, got, c.want)
		}
	}
}

// wind makes the SA's sequence number what it would be after many packets, on both sides.
func (r *rig) wind(sequence uint64) {
	r.t.Helper()
	out := r.ref.cells[r.cell("site")].out
	for out.sequence < sequence {
		burst := make([][]byte, min(sequence-out.sequence, 32))
		for i := range burst {
			burst[i] = fromHost(packetOfLength(lanHost, farHost, 253, 60))
		}
		r.enqueue(0, lan, burst...)
		r.settle()
		r.sent(wan)
		out.sequence += uint64(len(burst))
	}
}

// rawWord is a router's message about whatever is given, sound or not.
func rawWord(about []byte, mtu int) ipv4 {
	b := make([]byte, ipv4HeaderLen+icmpHeaderLen, ipv4HeaderLen+icmpHeaderLen+len(about))
	b = append(b, about[:min(len(about), 500)]...)
	putIPv4(b, 0, 64, protocolICMP, 0, router, wanOwn)
	binary.BigEndian.PutUint16(b[ipv4HeaderLen+6:], uint16(mtu))
	putICMP(b[ipv4HeaderLen:], icmpUnreachable, codeFragmentation)
	return b
}

// cut shortens a message and makes it sound again.
func cut(m ipv4, length int) ipv4 {
	m = m[:length]
	binary.BigEndian.PutUint16(m[2:], uint16(length))
	setHeaderChecksum(m)
	putICMP(m[ipv4HeaderLen:], m[ipv4HeaderLen], m[ipv4HeaderLen+1])
	return m
}

// Whatever a stranger sends that knows all but the SPI, or all but the sequence number, and whatever MTU it names: the path MTU never falls below 576 bytes, and without both it
// never falls at all.
func TestPathMTURandomForgery(t *testing.T) {
	r, child, outer := pathRig(t, rigOptions{}, nil)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 20_000 {
		word := append(ipv4(nil), outer...)
		known := true
		if random.IntN(2) == 0 {
			spi := random.Uint32()
			known = spi == child.SPI
			binary.BigEndian.PutUint32(word[20:], spi)
		}
		if random.IntN(2) == 0 {
			sequence := random.Uint32()
			known = known && sequence == 1
			binary.BigEndian.PutUint32(word[24:], sequence)
		}
		if after := r.heard(rawWord(word, random.IntN(1600))); after != 0 && (!known || after < ipv4MinPathMTU) {
			t.Fatalf("message %d: path MTU fell to %d", i, after)
		}
	}
}

// heard is the path MTU of the only SA after a message, which is forgotten again.
func (r *rig) heard(message []byte) (mtu int) {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.d.heardTooBig(r.now, message)
	for _, sa := range r.d.sad.outbound {
		mtu = sa.path.mtu
		r.d.sad.paths.forget(sa)
	}
	return mtu
}

// An SA that succeeds another on the same path need not learn the same again; one to another peer must, and a removed one is no longer heard of.
func TestPathMTURekey(t *testing.T) {
	r, child, outer := pathRig(t, rigOptions{}, nil)
	r.tell(fragmentationWord(t, outer, 1280))
	next := r.child("site", "aes128gcm16", false)
	r.outbound(next)
	if got := r.pathMTU(); got != 1280 {
		t.Errorf("after a rekey the path MTU is %d", got)
	}
	r.wait(pathMTULifetime)
	r.tell(fragmentationWord(t, outer, 1280))
	if got := r.pathMTU(); got != 0 {
		t.Errorf("word about SA %#x, which is gone, made the path MTU %d", child.SPI, got)
	}
	r.tell(fragmentationWord(t, r.large(), 1300))
	moved := r.child("site", "aes128gcm16", false)
	moved.Remote = netip.MustParseAddrPort("192.0.2.99:4500")
	r.outbound(moved)
	if got := r.pathMTU(); got != 0 {
		t.Errorf("the path to another peer has an MTU of %d", got)
	}
}

// Another next hop is another path.
func TestPathMTURoute(t *testing.T) {
	far := netip.MustParseAddr("203.0.113.5")
	r, _, outer := pathRig(t, rigOptions{}, func(c *ChildSA) { c.Remote = netip.AddrPortFrom(far, 4500) })
	r.tell(fragmentationWord(t, outer, 1280))
	r.applyRules(siteRule)
	if got := r.pathMTU(); got != 1280 {
		t.Errorf("a policy made the path MTU %d", got)
	}
	r.options.routes = append(r.options.routes, Route{To: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("192.0.2.9")})
	r.applyRules(siteRule)
	if got := r.pathMTU(); got != 0 {
		t.Errorf("through another router the path MTU is %d", got)
	}
}

// An SA may be told not to listen.
func TestPathMTUOff(t *testing.T) {
	r, _, outer := pathRig(t, rigOptions{}, func(c *ChildSA) { c.Encapsulation.NoPathMTU = true })
	r.tell(fragmentationWord(t, outer, 1280))
	if got := r.pathMTU(); got != 0 {
		t.Errorf("path MTU %d", got)
	}
}

// Other ICMP to the gateway, and word about packets that are not the gateway's, is for the filters, whatever came before from the same router.
func TestPathMTUWordOnly(t *testing.T) {
	r, _, outer := pathRig(t, rigOptions{}, nil)
	word := fragmentationWord(t, outer, 1280)
	unreachable := append(ipv4(nil), word...)
	putICMP(unreachable[ipv4HeaderLen:], icmpUnreachable, 1)
	others := fragmentationWord(t, outer, 1280)
	copy(others[ipv4HeaderLen+icmpHeaderLen+12:], lanHost.AsSlice())
	putICMP(others[ipv4HeaderLen:], icmpUnreachable, codeFragmentation)
	for range 2 {
		r.tell(word)
		r.wantDrop(wan, fromPeer(unreachable), "no_filter")
		r.wantDrop(wan, fromPeer(others), "no_filter")
		r.wantDrop(wan, fromPeer(icmpPacket(router, wanOwn, icmpEcho, 8)), "no_filter")
	}
}

// Quotes as routers make them, of each kind of outer packet, and none of what is cut before the sequence number.
func TestQuotes(t *testing.T) {
	esp := []byte{1, 2, 3, 4, 0, 0, 0, 9}
	ah := append([]byte{50, 4, 0, 0}, esp...)
	udp := append([]byte{0x11, 0x94, 0x11, 0x95, 0, 100, 0, 0}, esp...)
	local6, remote6 := netip.MustParseAddr("2001:db8:f::1"), netip.MustParseAddr("2001:db8:f::2")
	in4 := func(protocol uint8, body []byte) []byte {
		p := make([]byte, ipv4HeaderLen, 100)
		p = append(p, body...)
		putIPv4(p, 0, 64, protocol, 0, wanOwn, peer)
		return p
	}
	in6 := func(protocol uint8, body []byte) []byte {
		p := make([]byte, ipv6HeaderLen, 100)
		p = append(p, body...)
		putIPv6(p, protocol, 64, local6, remote6)
		return p
	}
	for name, c := range map[string]struct {
		packet   []byte
		protocol crypto.Protocol
		ports    string
	}{
		"ESP":                     {in4(protocolESP, esp), crypto.ProtocolESP, "0 0"},
		"AH":                      {in4(protocolAH, ah), crypto.ProtocolAH, "0 0"},
		"UDP":                     {in4(protocolUDP, udp), crypto.ProtocolESP, "4500 4501"},
		"ESP over IPv6":           {in6(protocolESP, esp), crypto.ProtocolESP, "0 0"},
		"AH over IPv6":            {in6(protocolAH, ah), crypto.ProtocolAH, "0 0"},
		"UDP over IPv6":           {in6(protocolUDP, udp), crypto.ProtocolESP, "4500 4501"},
		"ESP in an IPv6 fragment": {in6(nextFragment, append([]byte{protocolESP, 0, 0, 1, 0, 0, 0, 5}, esp...)), crypto.ProtocolESP, "0 0"},
	} {
		q, ok := quoteOf(c.packet)
		if ports := fmt.Sprint(q.source.Port(), " ", q.destination.Port()); !ok || q.protocol != c.protocol || q.spi != 0x01020304 || q.sequence != 9 || q.length != len(c.packet) || ports != c.ports {
			t.Errorf("%s: %+v, %t", name, q, ok)
		}
		for n := range c.packet {
			if q, ok := quoteOf(c.packet[:n:n]); ok {
				t.Errorf("%s, %d bytes of %d: %+v", name, n, len(c.packet), q)
			}
		}
	}
	if q, ok := quoteOf(in6(nextFragment, append([]byte{protocolESP, 0, 0, 8, 0, 0, 0, 5}, esp...))); ok {
		t.Errorf("a later fragment: %+v", q)
	}
}

// IPv6 outside: the same of packet too big, and nothing below 1,280 bytes is believed.
func TestPathMTUOverIPv6(t *testing.T) {
	router6 := netip.MustParseAddr("2001:db8:99::1")
	for _, f := range []form{{suite: "aes128gcm16", outer6: true}, {suite: "aes128gcm16", outer6: true, udp: true}, {ah: "sha256", outer6: true}, {suite: "aes128gcm16", ah: "sha256", outer6: true}} {
		t.Run(f.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			child := r.formed(f, false)
			r.outbound(child)
			outer := ipv6(r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, 1374)), wan)[etherHeaderLen:])
			word := func(mtu int) []byte {
				message, ok := packetTooBig(outer, router6, mtu)
				if !ok {
					t.Fatalf("no message about % x", outer)
				}
				return fromPeer6(message)
			}
			for _, c := range []struct{ says, want int }{{0, 0}, {68, 0}, {1279, 0}, {1500, 0}, {1400, 1400}, {1279, 1400}, {1280, 1280}} {
				if o, _ := r.check(wan, word(c.says)); o.Disposition != packetLocal {
					t.Fatalf("%+v", o)
				}
				if got := r.pathMTU(); got != c.want {
					t.Errorf("after word of %d: path MTU %d, want %d", c.says, got, c.want)
				}
			}
			fits := child.largest(1280, 0)
			o, answers := r.checkAt(1280, fromHost(packetOfLength(lanHost, farHost, 253, fits+1)))
			if o.MTU != fits || len(answers[lan]) != 1 {
				t.Errorf("%+v, %d answers", o, len(answers[lan]))
			}
			r.wantForward(lan, fromHost(packetOfLength(lanHost, farHost, 253, fits)), wan)
			r.wait(pathMTULifetime)
			outer[43] ^= 1 // the SPI or, in UDP, a port
			outer[51] ^= 1
			if _, _ = r.check(wan, word(1280)); r.pathMTU() != 0 {
				t.Errorf("word about a packet that was not ours made the path MTU %d", r.pathMTU())
			}
		})
	}
}

// The path MTU may fall while the fragments of a packet, more than a burst, are on their way into the tunnel: they are cut no second time. With one of the two a packet makes
// so many that it is dropped, with the other not: it goes on until both have been met, since a busy machine may leave one in force for a while.
func TestPathMTUFallsAmongFragments(t *testing.T) {
	r := newRig(t, rigOptions{mtu: 9000})
	r.outbound(r.child("site", "aes128gcm16", false))
	sa := r.d.sad.outboundOf(r.cell("site"))[0]
	p := packetOfLength(lanHost, farHost, 253, 9000)
	p[6] = 0 // no DF
	setHeaderChecksum(p)
	before := r.tally()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				r.d.sad.paths.lower(sa, pathMTU{mtu: []int{260, 200}[i&1]})
			}
		}
	}()
	after, sent, limit := map[string]int{}, 0, time.Now().Add(5*time.Minute)
	for sent < 600 || after["forwarded"] == 0 || after["mtu_exceeded"] == 0 {
		if time.Now().After(limit) {
			t.Errorf("%d packets have met one path MTU only: %v", sent, after)
			break
		}
		r.enqueue(0, lan, fromHost(p), fromHost(p))
		r.settle()
		r.sent(wan)
		sent, after = sent+2, ends(before, r.tally())
		runtime.Gosched() // to whoever changes it
	}
	close(done)
	<-stopped
	if after["forwarded"]+after["mtu_exceeded"] != after["split"]+sent {
		t.Errorf("ends of %d packets: %v", sent, after)
	}
	r.serveAll()
}
