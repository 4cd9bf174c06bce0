package pipeline

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/policy"
)

// form is a way in which SAs carry packets between the sites.
type form struct {
	suite     string
	ah        string // with a suite: around ESP; without: alone
	transport bool
	outer6    bool
	udp, esn  bool
}

func (f form) String() string {
	words := []any{"tunnel", "IPv4", f.suite, f.ah}
	if f.transport {
		words[0] = "transport"
	}
	if f.outer6 {
		words[1] = "IPv6"
	}
	if f.udp {
		words = append(words, "udp")
	}
	if f.esn {
		words = append(words, "esn")
	}
	return fmt.Sprint(words...)
}

// versions are the IP versions of packets that the form can carry.
func (f form) versions() []int {
	switch {
	case !f.transport:
		return []int{4, 6}
	case f.outer6:
		return []int{6}
	}
	return []int{4}
}

// formed describes an SA of this form with fresh keys. Transport mode is between the hosts, tunnel mode between the gateways.
func (r *rig) formed(f form, inbound bool) ChildSA {
	r.t.Helper()
	c := r.child6("aes128gcm16", inbound)
	c.Transport, c.UDPEncap, c.ESN = f.transport, f.udp, f.esn
	local, remote := wanOwn, peer
	switch {
	case f.transport && f.outer6:
		local, remote = lanHost6, farHost6
	case f.transport:
		local, remote = lanHost, farHost
	case f.outer6:
		local, remote = wanOwn6, peer6
	}
	c.Local, c.Remote = netip.AddrPortFrom(local, 4500), netip.AddrPortFrom(remote, 4500)
	if f.suite == "" {
		c.Protocol = crypto.ProtocolAH
		c.Suite, c.Keymat = r.ahKeys(f.ah)
		return c
	}
	var err error
	if c.Suite, err = crypto.ParseSuite(f.suite); err != nil {
		r.t.Fatal(err)
	}
	c.Keymat = r.keymat(c.Suite)
	if f.ah != "" {
		c.AH = &AHLayer{SPI: r.random.Uint32() | 1<<31, ESN: f.esn}
		c.AH.Suite, c.AH.Keymat = r.ahKeys(f.ah)
		if inbound {
			if c.AH.SPI, err = r.d.AllocateSPI(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return c
}

func (r *rig) keymat(s crypto.Suite) crypto.Secret {
	b := make([]byte, s.KeymatLen())
	for i := range b {
		b[i] = byte(r.random.Uint32())
	}
	return crypto.NewSecret(b)
}

func (r *rig) ahKeys(suite string) (crypto.Suite, crypto.Secret) {
	r.t.Helper()
	s, err := crypto.ParseAHSuite(suite)
	if err != nil {
		r.t.Fatal(err)
	}
	return s, r.keymat(s)
}

// inner is a packet of one IP version from one site to the other, of so many bytes if that is enough for its headers.
func inner(version, size int, out bool) []byte {
	hosts := [][2]netip.Addr{{lanHost, farHost}, {lanHost6, farHost6}}[(version-4)/2]
	if !out {
		hosts[0], hosts[1] = hosts[1], hosts[0]
	}
	if version == 6 {
		return ofLength6(hosts[0], hosts[1], max(size, ipv6HeaderLen))
	}
	return packetOfLength(hosts[0], hosts[1], 253, size)
}

// fromWAN and fromLAN are frames of either IP version as the neighbours send them.
func fromWAN(ip []byte) []byte { return etherFrame(wanMAC[:], peerMAC[:], etherTypeOf(ip), ip) }
func fromLAN(ip []byte) []byte { return etherFrame(lanMAC[:], hostMAC[:], etherTypeOf(ip), ip) }

// generalSizes are classes of inner lengths: the short ones, where padding and headers meet, some in the middle, large ones.
func generalSizes() []int {
	var sizes []int
	for n := 20; n < 58; n++ {
		sizes = append(sizes, n)
	}
	return append(sizes, 128, 576, 1279, 1280, 1350, 4000, 8800)
}

// differential sends packets of every size class and version both ways through an SA of this form; both sides agree on every byte.
func (f form) differential(t *testing.T, pool *cryptodev.Pool) {
	r := newRig6(t, rigOptions{mtu: 9200, crypto: pool, rules: []rule{siteRule, siteRule6}})
	far := r.outbound(r.formed(f, false))
	near := r.inbound(r.formed(f, true))
	for _, version := range f.versions() {
		for _, size := range generalSizes() {
			out, in := inner(version, size, true), inner(version, size, false)
			sent := r.wantForward(lan, fromLAN(out), wan)
			r.opened(far, sent, len(out))
			near.sequence++
			got := r.wantForward(wan, fromWAN(near.encapsulate(in, near.sequence)), lan)
			same(t, "decrypted", got[etherHeaderLen:], decrementHops(in)) // S-098
		}
	}
	for _, sa := range r.d.SACounters() {
		if sa.Packets == 0 || sa.Packets != sa.Sequence || len(sa.Drops) != 0 {
			t.Errorf("counters of SA %#x: %+v", sa.SPI, sa)
		}
	}
}

// S-098, S-099: fast path and reference agree on every byte of ESP in tunnel and transport mode, in all combinations of outer and
// inner IP version, plain and in UDP, with 32-bit and extended sequence numbers, by every way to encrypt.
func TestGeneralESPDifferential(t *testing.T) {
	eachWay(t, []string{"aes128gcm16", "aes128-sha1", "aes256-sha512"}, func(t *testing.T, pool *cryptodev.Pool, suite string) {
		for i := range 16 {
			f := form{suite: suite, transport: i&1 != 0, outer6: i&2 != 0, udp: i&4 != 0, esn: i&8 != 0}
			if f.transport && f.udp {
				continue // UDP ends at the gateway itself: TestTransportToTheGateway
			}
			t.Run(f.String(), func(t *testing.T) { f.differential(t, pool) })
		}
	})
}

// S-099: transport mode leaves the IP header in place, options and extension headers with it, and carries TCP, UDP and ICMP from
// and to the addresses that they had.
func TestTransportKeepsTheHeader(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		f := form{suite: "aes128gcm16", transport: true, outer6: outer6}
		r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
		far := r.outbound(r.formed(f, false))
		near := r.inbound(r.formed(f, true))
		for _, p := range carried(outer6, true) {
			sent := r.wantForward(lan, fromLAN(p), wan)[etherHeaderLen:]
			was, is := tupleOf(p), tupleOf(sent)
			if is.Source != was.Source || is.Destination != was.Destination || is.Protocol != protocolESP {
				t.Fatalf("% x became % x", p, sent)
			}
			got, reason := far.unwrap(sent)
			same(t, reason, got, decrementHops(p))
		}
		for _, p := range carried(outer6, false) {
			near.sequence++
			got := r.wantForward(wan, fromWAN(near.encapsulate(p, near.sequence)), lan)
			same(t, "decrypted", got[etherHeaderLen:], decrementHops(p))
		}
	}
}

// carried is TCP, UDP and ICMP between the hosts, and a packet with as much in front of its payload as IP has.
func carried(wide, out bool) [][]byte {
	if !wide {
		a, b := lanHost, farHost
		if !out {
			a, b = b, a
		}
		return [][]byte{tcp(a, b), udpDatagram(netip.AddrPortFrom(a, 7), netip.AddrPortFrom(b, 9), []byte("UDP")), icmpPacket(a, b, icmpEcho, 8), withOptions(tcp(a, b), routerAlert)}
	}
	a, b := lanHost6, farHost6
	if !out {
		a, b = b, a
	}
	return [][]byte{tcp6(a, b), udp6(a, b, 7, 9, 3), echo6(a, b, 8), chained(a, b)}
}

var routerAlert = []byte{148, 4, 0, 0}

// withOptions is an IPv4 packet with options, a multiple of 4 bytes, in its header.
func withOptions(p ipv4, options []byte) ipv4 {
	q := append(append(append(ipv4(nil), p[:ipv4HeaderLen]...), options...), p[ipv4HeaderLen:]...)
	q[0] += byte(len(options) / 4)
	return lead(q, q.headerLen(), q[9])
}

// chained is a UDP datagram behind every extension header that may stand in front of ESP, and one that may stand behind it.
func chained(source, destination netip.Addr) ipv6 {
	return packet6(source, destination, protocolUDP, []byte{0, 7, 0, 9, 0, 8, 0, 0}, extension{nextHopByHop, []byte{0, 5, 2, 0, 0, 1, 0}},
		extension{nextDestination, []byte{0, 1, 4, 0, 0, 0, 0}}, extension{nextRouting, []byte{0, 4, 0, 0, 0, 0, 0}}, extension{nextDestination, []byte{0, 1, 4, 9, 9, 9, 9}})
}

// Transport mode is for packets between the two ends of the SA, and for no others even if a selector has them.
func TestTransportEnds(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.outbound(r.formed(form{suite: "aes128gcm16", transport: true}, false))
	r.wantForward(lan, fromHost(tcp(lanHost, farHost)), wan)
	r.wantDrop(lan, fromHost(tcp(lanHost.Next(), farHost)), "selector_mismatch")
	r.wantDrop(lan, fromHost(tcp(lanHost, farHost.Next())), "selector_mismatch")
}

// ESP between other hosts passes or not as filters say: the gateway takes what is between the ends of an SA of its own, and only in
// transport mode.
func TestTransitESP(t *testing.T) {
	r := newRig(t, rigOptions{rules: []rule{siteRule, allRule}})
	in := r.formed(form{suite: "aes128gcm16", transport: true}, true)
	near := r.inbound(in)
	r.wantForward(wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), 1)), lan)
	other := tcp(peer, lanHost)
	r.wantForward(wan, fromPeer(lead(append(append(ipv4(nil), other[:20]...), near.encapsulate(other, 2)[20:]...), 20, protocolESP)), lan)
	stranger := near.encapsulate(tcp(farHost, lanHost), 3)
	stranger[ipv4HeaderLen] ^= 1
	r.wantDrop(wan, fromPeer(stranger), "no_inbound_sa")
	if err := r.d.RemoveInbound(in.SPI); err != nil {
		t.Fatal(err)
	}
	delete(r.ref.inbound, in.SPI)
	r.wantDrop(wan, fromPeer(near.encapsulate(tcp(farHost, lanHost), 4)), "clear_on_protected")
}

// Of many SAs in transport mode each takes what is between its ends, and none what is between others.
func TestManyTransitPairs(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}, maxSAs: 256})
	third := farHost.As4()
	last := farHost6.As16()
	for i := range 60 {
		third[2], last[15] = byte(i*37), byte(i*37)
		for _, f := range []form{{suite: "aes128gcm16", transport: true}, {suite: "aes128gcm16", transport: true, outer6: true}} {
			child, p := r.formed(f, true), []byte(nil)
			local, remote := lanHost, netip.AddrFrom4(third)
			if f.outer6 {
				local, remote = lanHost6, netip.AddrFrom16(last)
				p = tcp6(remote, local)
			} else {
				p = tcp(remote, local)
			}
			child.Remote = netip.AddrPortFrom(remote, 0)
			near := r.newReferenceOut(ChildSA{Suite: child.Suite, SPI: child.SPI, Keymat: child.Keymat, Transport: true, Local: child.Remote, Remote: child.Local})
			r.wantDrop(wan, fromWAN(near.encapsulate(p, 1)), "clear_on_protected")
			near = r.inbound(child)
			r.wantForward(wan, fromWAN(near.encapsulate(p, 1)), lan)
		}
	}
}

// A tunnel within the tunnel that ends at the gateway again is not taken apart a second time (three times ESP).
func TestNestedESP(t *testing.T) {
	r := newRig6(t, rigOptions{rules: []rule{allRule}})
	wide := policy.Selector{Local: policy.AnyIPv4(), Remote: policy.AnyIPv4(), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
	for _, f := range []form{{suite: "aes128gcm16"}, {suite: "aes128-sha256", transport: true}} {
		child := r.formed(f, true)
		child.Local, child.Remote, child.Selectors = netip.AddrPortFrom(wanOwn, 0), netip.AddrPortFrom(peer, 0), []policy.Selector{wide}
		near := r.inbound(child)
		once := near.encapsulate(tcp(peer, wanOwn), 1)
		twice := near.encapsulate(once, 2)
		r.wantDrop(wan, fromPeer(twice), "nested")
		r.wantDrop(wan, fromPeer(near.encapsulate(near.encapsulate(twice, 3), 4)), "nested")
	}
}

// Every suite of ESP, over both IP versions, out and in.
func TestEverySuite(t *testing.T) {
	for _, s := range crypto.Suites() {
		if s.AH() {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			r := newRig6(t, rigOptions{rules: []rule{siteRule, siteRule6}})
			for i, f := range []form{{suite: s.String()}, {suite: s.String(), outer6: true, esn: true}, {suite: s.String(), outer6: true, transport: true}} {
				far := r.outbound(r.formed(f, false))
				near := r.inbound(r.formed(f, true))
				for _, size := range []int{40, 41, 42, 43, 55, 57, 300, 1300} {
					version := f.versions()[(i+size)%len(f.versions())]
					out := inner(version, size, true)
					r.opened(far, r.wantForward(lan, fromLAN(out), wan), len(out))
					near.sequence++
					forged := near.encapsulate(inner(version, size, false), near.sequence)
					frame := fromWAN(slices.Clone(forged))
					forged[len(forged)-1] ^= 1
					r.wantDrop(wan, fromWAN(forged), "auth_failed")
					r.wantForward(wan, frame, lan)
				}
			}
		})
	}
}

// S-099: transport mode between the gateway itself and its peer, also in UDP: an echo comes in and its answer goes out by it.
func TestTransportToTheGateway(t *testing.T) {
	for _, f := range []form{{suite: "aes128gcm16", transport: true}, {suite: "aes128-sha256", transport: true, udp: true}, {suite: "aes128gcm16", transport: true, outer6: true, udp: true},
		{ah: "sha256", transport: true, outer6: true}} {
		r := newRig6(t, rigOptions{rules: []rule{{name: "peer", source: "my", destination: "192.0.2.2", tunnel: "site"}, {name: "peer6", source: "my", destination: "2001:db8:f::2", tunnel: "site"}}})
		local, remote := wanOwn, peer
		if f.outer6 {
			local, remote = wanOwn6, peer6
		}
		ends := func(c ChildSA) ChildSA {
			c.Local, c.Remote = netip.AddrPortFrom(local, 4500), netip.AddrPortFrom(remote, 4500)
			c.Selectors = []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
			return c
		}
		far := r.outbound(ends(r.formed(f, false)))
		near := r.inbound(ends(r.formed(f, true)))
		echo := []byte(icmpPacket(peer, wanOwn, icmpEcho, 8))
		if f.outer6 {
			echo = echo6(peer6, wanOwn6, 8)
		}
		o, answers := r.check(wan, fromWAN(near.encapsulate(echo, 1)))
		if o.Disposition != packetLocal || len(answers[wan]) != 1 {
			t.Fatalf("%s: %+v, %d answers", f, o, len(answers[wan]))
		}
		answer, reason := far.unwrap(answers[wan][0][etherHeaderLen:])
		if was := tupleOf(echo); reason != "" || tupleOf(answer).Destination != was.Source || tupleOf(answer).Protocol != was.Protocol {
			t.Errorf("%s: %s: % x", f, reason, answer)
		}
	}
}

// IKE between IPv6 addresses: what comes for UDP 500 and 4500 is told from ESP, and what IKE sends finds its way.
func TestIKEOverIPv6(t *testing.T) {
	r := newRig6(t, rigOptions{})
	from := netip.AddrPortFrom(peer6, 500)
	for _, port := range []uint16{500, 4500} {
		local, remote := netip.AddrPortFrom(wanOwn6, port), netip.AddrPortFrom(peer6, port)
		payload := []byte("an IKE message, as good as any")
		if err := r.d.SendUDP(local, remote, payload, port == portIKENATT); err != nil {
			t.Fatal(err)
		}
		r.settle()
		frames := r.sent(wan)
		if len(frames) != 1 {
			t.Fatalf("%d frames from port %d", len(frames), port)
		}
		sent := ipv6(frames[0][etherHeaderLen:])
		_, udp := sent.upper()
		if sent.destination() != from.Addr() || checksum6(sent, protocolUDP, udp) != 0 {
			t.Fatalf("% x", sent)
		}
		// the same message the other way
		marker := []byte{}
		if port == portIKENATT {
			marker = make([]byte, 4)
		}
		if o, _ := r.check(wan, fromPeer6(udpDatagram(remote, local, marker, payload))); o.Disposition != packetIKE {
			t.Fatalf("%+v", o)
		}
		got := r.seen.ike[len(r.seen.ike)-1]
		if string(got.Payload) != string(payload) || got.NonESPMarker != (port == portIKENATT) || got.Remote != remote || got.Local != local {
			t.Errorf("%+v", got)
		}
	}
	if err := r.d.SendUDP(netip.AddrPortFrom(wanOwn6, 500), netip.AddrPortFrom(peer, 500), nil, false); err == nil {
		t.Error("a message from IPv6 to IPv4 was taken")
	}
}

var wanPort6 = netip.AddrPortFrom(wanOwn6, 0)
