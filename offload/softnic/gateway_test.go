package softnic_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload/softnic"
	"sallyport/offload/softnic/internal/program"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
	"sallyport/policy"
)

// gateway is a data plane between a lan and a wan in memory, with the software NIC at its wan or without. "a" and "b" are the two ends of a
// tunnel:
//
//	10.1.0.0/24, 2001:db8:1::/64 ── a ══ 192.0.2.0/24, 2001:db8::/64 ══ b ── 10.2.0.0/24, 2001:db8:2::/64
type gateway struct {
	t        *testing.T
	site     int // 1 or 2, the last octet of its addresses too
	d        *pipeline.Dataplane
	nic      *softnic.NIC
	protocol bool // which sessions it asks the NIC for
	sessions *program.Sessions
	open     map[*program.Session]*program.Rule
	rx, tx   [2]*ring.Ring
	pool     *mempool.Mempool
	cell     pipeline.CellID
	wan      uint16 // DPDK port id
	vlans    []uint16
}

const (
	lan = 0
	wan = 1
)

var gateways int

func (g *gateway) address(what string) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(map[string]string{"wan": "192.0.2.%d", "wan6": "2001:db8::%d", "peer": "192.0.2.%d", "peer6": "2001:db8::%d",
		"wan2": "198.51.100.%d", "wan26": "2001:db8:ff::%d", "peer2": "198.51.100.%d", "peer26": "2001:db8:ff::%d",
		"lan": "10.%d.0.1", "lan6": "2001:db8:%d::1", "host": "10.%d.0.7", "host6": "2001:db8:%d::7", "far": "10.%d.0.7", "far6": "2001:db8:%d::7"}[what],
		map[bool]int{false: g.site, true: 3 - g.site}[what[0] == 'p' || what[0] == 'f']))
}

// mac is that of a port, or of the neighbour behind it.
func (g *gateway) mac(port int, neighbour bool) net.HardwareAddr {
	if neighbour && port == wan {
		return net.HardwareAddr{2, 0, 0, 0, byte(3 - g.site), byte(port)}
	}
	if neighbour {
		return net.HardwareAddr{2, 0, 0, 0, byte(g.site), 7}
	}
	return net.HardwareAddr{2, 0, 0, 0, byte(g.site), byte(port)}
}

// newGateway makes one, with a NIC if there are options for it.
func newGateway(t *testing.T, site int, o *softnic.Options, protocol bool, pool *cryptodev.Pool) *gateway {
	t.Helper()
	return newGatewayBy(t, site, o, protocol, pool, func(g *gateway) pipeline.Inline { return g })
}

// newGatewayBy makes one whose sessions of the NIC somebody makes. VLANs are those of its wan, and of wan2 on the same device; without any there is a wan without a tag.
func newGatewayBy(t *testing.T, site int, o *softnic.Options, protocol bool, pool *cryptodev.Pool, by func(*gateway) pipeline.Inline, vlans ...uint16) *gateway {
	t.Helper()
	gateways++
	g := &gateway{t: t, site: site, protocol: protocol, vlans: vlans, open: map[*program.Session]*program.Rule{}}
	name := fmt.Sprintf("gw%d", gateways)
	var err error
	if g.pool, err = mempool.CreateMbufPool(name, 1023, pipeline.DataRoom(1500), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := g.pool.InUse(); n != 0 {
			t.Errorf("%d buffers were not freed", n)
		}
		g.pool.Free()
	})
	specs := []pipeline.PortSpec{{Name: "lan", Role: policy.PortsLAN}, {Name: "wan", Role: policy.PortsWAN}}
	for i := range specs {
		specs[i].Port, specs[i].MAC, specs[i].MTU = g.port(fmt.Sprintf("%s_%d", name, i), i), g.mac(i, false), 1500
	}
	for i, vlan := range vlans {
		if i > 0 {
			specs = append(specs, specs[wan])
			specs[wan+i].Name = "wan2"
		}
		specs[wan+i].VLAN = vlan
	}
	for i, s := range specs {
		specs[i].Addresses = []netip.Prefix{netip.PrefixFrom(g.address(s.Name), 24), netip.PrefixFrom(g.address(s.Name+"6"), 64)}
	}
	g.wan = uint16(specs[wan].Port)
	cfg := pipeline.Config{Ports: specs, Workers: 1, FlowEntries: 1024, MaxSAs: 64, MaxCells: 16, MaxAdjacencies: 64, Pool: g.pool, Crypto: pool}
	if o != nil {
		g.attach(*o)
		cfg.Inline = by(g)
	}
	if g.d, err = pipeline.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		counters := g.d.Counters()
		check(t, counters.Conserved())
		check(t, g.d.Close())
		if len(g.open) != 0 {
			t.Errorf("%d sessions were not closed", len(g.open))
		}
	})
	g.configure()
	return g
}

func (g *gateway) port(name string, i int) ethdev.Port {
	g.t.Helper()
	for what, to := range map[string]**ring.Ring{"rx": &g.rx[i], "tx": &g.tx[i]} {
		made, err := ring.Create(name+what, wireLength)
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(made.Free)
		*to = made
	}
	port, err := ethdev.FromRings(name, []*ring.Ring{g.rx[i]}, []*ring.Ring{g.tx[i]})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { check(g.t, port.Close()) })
	if _, err := ethdev.Setup(port, ethdev.PortConfig{Name: name, Pool: g.pool}); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { check(g.t, port.Stop()) })
	return port
}

func (g *gateway) attach(o softnic.Options) {
	g.t.Helper()
	var err error
	if g.nic, err = softnic.Attach(g.wan, 1, o); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { check(g.t, g.nic.Detach()) })
	if g.sessions, err = program.NewSessions(g.wan, rigSessions); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if n := g.sessions.InUse(); n != 0 {
			g.t.Errorf("%d sessions were not freed", n)
		}
		g.sessions.Free()
	})
}

// configure has everything between the sites go by the tunnel.
func (g *gateway) configure() {
	g.t.Helper()
	set := &policy.Set{Active: "test", Policies: []policy.Policy{{Name: "test"}},
		FilterActions: []policy.FilterAction{{Name: "negotiate", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}}}}
	for i, net := range []string{"10.%d.0.0/24", "2001:db8:%d::/64"} {
		name := fmt.Sprint("net", i)
		var sides []policy.AddressSpec
		for _, site := range []int{g.site, 3 - g.site} {
			side, err := policy.ParseAddressSpec(fmt.Sprintf(net, site))
			if err != nil {
				g.t.Fatal(err)
			}
			sides = append(sides, side)
		}
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: name, Updated: time.Unix(0, 0),
			Filters: []policy.Filter{{Source: sides[0], Destination: sides[1], Mirrored: true}}})
		set.Policies[0].Rules = append(set.Policies[0].Rules, policy.Rule{Name: name, FilterList: name, FilterAction: "negotiate", Tunnel: "site", AuthMethods: []string{"psk"}})
	}
	environment := policy.Environment{LocalAddresses: []netip.Addr{g.address("wan"), g.address("wan6"), g.address("lan"), g.address("lan6")}}
	neighbours := map[string]string{"peer": "wan", "peer6": "wan", "host": "lan", "host6": "lan"}
	if len(g.vlans) > 1 {
		environment.LocalAddresses = append(environment.LocalAddresses, g.address("wan2"), g.address("wan26"))
		neighbours["peer2"], neighbours["peer26"] = "wan2", "wan2"
	}
	spd, _, err := policy.Compile(set, environment)
	if err != nil {
		g.t.Fatal(err)
	}
	if g.cell, err = g.d.OpenCell("site"); err != nil {
		g.t.Fatal(err)
	}
	routes := []pipeline.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: g.address("peer")}, {To: netip.MustParsePrefix("::/0"), Via: g.address("peer6")}}
	if err := g.d.Apply(pipeline.Snapshot{SPD: spd, Routes: routes, Tunnels: map[string]pipeline.CellID{"site": g.cell}}); err != nil {
		g.t.Fatal(err)
	}
	for what, port := range neighbours {
		device := wan
		if port == "lan" {
			device = lan
		}
		check(g.t, g.d.LearnNeighbour(time.Unix(0, 0), port, g.address(what), g.mac(device, true)))
	}
	g.turn()
	for port := range g.tx {
		g.take(port)
	}
}

// Offers is pipeline.Inline's.
func (g *gateway) Offers(uint16) bool { return true }

// Removed is pipeline.Inline's.
func (g *gateway) Removed(uint16) bool { return false }

// Lose is pipeline.Inline's.
func (g *gateway) Lose(uint16) {}

// Probe is pipeline.Inline's.
func (g *gateway) Probe(uint16) error { return errors.New("nobody has looked") }

// Open is pipeline.Inline's.
func (g *gateway) Open(port uint16, sa *pipeline.InlineSA) (pipeline.InlineSession, error) {
	e := &sa.Encapsulation
	made := program.SA{Protocol: g.protocol && sa.NoProtocol == "", Outbound: sa.Outbound, Transport: sa.Transport, UDPEncap: sa.UDPEncap, ESN: sa.ESN,
		ECN: !e.ECNOff, CopyDSCP: e.DSCP == nil, CopyDF: e.DF == pipeline.DFCopy, DF: e.DF == pipeline.DFSet, TTL: 64, SPI: sa.SPI, Suite: sa.Suite, Keymat: sa.Keymat,
		Source: sa.Local, Destination: sa.Remote, Window: sa.ReplayWindow, Sequence: sa.Sequence, Userdata: sa.Userdata}
	if !sa.Outbound {
		made.Source, made.Destination = sa.Remote, sa.Local
		made.CopyDSCP, made.CopyDF, made.DF = false, false, false
	}
	if !made.Protocol { // what is outside of ESP, and what numbers are new, is the gateway's
		made.ECN, made.CopyDSCP, made.CopyDF, made.DF, made.Window, made.Sequence = false, false, false, false, 0, 0
	}
	if !made.Protocol && (sa.NoCrypto != "" || sa.ESN) {
		return pipeline.InlineSession{}, errors.New("not by inline crypto " + sa.NoCrypto)
	}
	session, err := g.sessions.Open(made)
	if err != nil {
		return pipeline.InlineSession{}, err
	}
	var rule *program.Rule
	if !sa.Outbound {
		if rule, err = session.Rule(); err != nil {
			return pipeline.InlineSession{}, errors.Join(err, session.Close())
		}
	}
	g.open[session] = rule
	return pipeline.InlineSession{Handle: session.Handle(), Context: program.Context(port), Protocol: made.Protocol, Metadata: sa.Outbound, Port: port}, nil
}

func closeBoth(session *program.Session, rule *program.Rule) error {
	if rule != nil {
		if err := rule.Remove(); err != nil {
			return err
		}
	}
	return session.Close()
}

// Close is pipeline.Inline's.
func (g *gateway) Close(s pipeline.InlineSession) error {
	for session, rule := range g.open {
		if session.Handle() != s.Handle {
			continue
		}
		delete(g.open, session)
		err := closeBoth(session, rule)
		if err != nil {
			g.t.Cleanup(func() { check(g.t, closeBoth(session, rule)) }) // the NIC is back by then
		}
		return err
	}
	return errors.New("no such session is open")
}

// install makes an SA from this gateway to another, at both.
func (g *gateway) install(to *gateway, sa pipeline.ChildSA) {
	g.t.Helper()
	selectors := func(near, far int) (list []policy.Selector) {
		for _, net := range []string{"10.%d.0.0/24", "2001:db8:%d::/64"} {
			list = append(list, policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix(fmt.Sprintf(net, near))),
				Remote: policy.RangeOf(netip.MustParsePrefix(fmt.Sprintf(net, far))), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort})
		}
		return list
	}
	in := sa
	in.Cell, in.Selectors = to.cell, selectors(to.site, g.site)
	in.Local, in.Remote = sa.Remote, sa.Local
	check(g.t, to.d.ReserveSPI(sa.SPI))
	if err := to.d.InstallInbound(in); err != nil {
		g.t.Fatal(err)
	}
	sa.Cell, sa.Selectors = g.cell, selectors(g.site, to.site)
	if err := g.d.InstallOutbound(sa); err != nil {
		g.t.Fatal(err)
	}
}

// turn lets the worker run until nothing moves.
func (g *gateway) turn() {
	g.t.Helper()
	for {
		n, err := g.d.RunBurst(0)
		if err != nil {
			g.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// rest lets the sessions of SAs go that have ended.
func (g *gateway) rest() {
	g.t.Helper()
	for minute := range int64(3) { // they end, are asked about, and have had their time
		g.turn()
		g.d.EndSessions(time.Unix(60*minute, 0))
		g.d.AwaitDrivers()
	}
}

// take is what was sent on a port.
func (g *gateway) take(port int) [][]byte {
	rig := rig{t: g.t, tx: g.tx[port]}
	return rig.wire()
}

// pass delivers frames to one port and returns what leaves by the other.
func (g *gateway) pass(port int, frames ...[]byte) [][]byte {
	g.t.Helper()
	packets, err := mbuf.FromFrames(g.pool, frames)
	if err != nil {
		g.t.Fatal(err)
	}
	if g.rx[port].EnqueueBurst(packets) != len(frames) {
		g.t.Fatal("the wire is full")
	}
	g.turn()
	return g.take(1 - port)
}

// frame is one from a host behind this gateway to one behind the other.
func (g *gateway) frame(version, size int) []byte {
	frame := append(append(slices.Clone(g.mac(lan, false)), g.mac(lan, true)...), map[int][]byte{4: {8, 0}, 6: {0x86, 0xdd}}[version]...)
	ip := make([]byte, size)
	for i := range ip {
		ip[i] = byte(i * 5)
	}
	if version == 6 {
		copy(ip, []byte{0x60, 0, 0, 0, byte((size - 40) >> 8), byte(size - 40), 253, 64})
		copy(ip[8:], g.address("host6").AsSlice())
		copy(ip[24:], g.address("far6").AsSlice())
		return append(frame, ip...)
	}
	copy(ip, []byte{0x45, 0, byte(size >> 8), byte(size), 0, 0, 0, 0, 64, 253, 0, 0})
	copy(ip[12:], g.address("host").AsSlice())
	copy(ip[16:], g.address("far").AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	return append(frame, ip...)
}

// burst is so many frames of different sizes.
func (g *gateway) burst(version, n int) (frames [][]byte) {
	for i := range n {
		frames = append(frames, g.frame(version, 60+i*37%1340))
	}
	return frames
}

// join makes both directions of a tunnel between gateways of the sites 1 and 2.
func join(a, b *gateway, suite crypto.Suite, spi uint32, change func(*pipeline.ChildSA)) {
	a.t.Helper()
	joinBy(a, b, "wan", suite, spi, change)
}

// joinBy makes one between ports of theirs.
func joinBy(a, b *gateway, port string, suite crypto.Suite, spi uint32, change func(*pipeline.ChildSA)) {
	a.t.Helper()
	for i, ends := range [][2]*gateway{{a, b}, {b, a}} {
		from, to := ends[0], ends[1]
		sa := pipeline.ChildSA{SPI: spi + uint32(i), Suite: suite, Keymat: keymat(suite),
			Local: netip.AddrPortFrom(from.address(port), 4500), Remote: netip.AddrPortFrom(to.address(port), 4500)}
		change(&sa)
		if sa.Local.Addr() != from.address(port) { // by IPv6
			sa.Local, sa.Remote = netip.AddrPortFrom(from.address(port+"6"), 4500), netip.AddrPortFrom(to.address(port+"6"), 4500)
		}
		from.install(to, sa)
	}
}

func newCrypto(t *testing.T) *cryptodev.Pool {
	t.Helper()
	pool, err := cryptodev.Open(cryptodev.Options{QueuePairs: 1, Sessions: 64, Socket: cryptodev.SocketAny})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, pool.Close()) })
	return pool
}

func suiteOf(t *testing.T, name string) crypto.Suite {
	t.Helper()
	suite, err := crypto.ParseSuite(name)
	if err != nil {
		t.Fatal(err)
	}
	return suite
}

// sameFrames compares lists of frames.
func sameFrames(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Fatalf("%s: %d frames, want %d:\n%x\n%x", what, len(got), len(want), got, want)
	}
}

// S-103: a gateway whose NIC does the crypto, or all of ESP, puts on the wire what one does whose CPU does it, byte for byte, and lets out to its hosts the
// same, in order. The other end is a CPU.
func TestGatewayOnTheNIC(t *testing.T) {
	pool := newCrypto(t)
	for _, protocol := range []bool{false, true} {
		for _, suite := range []string{"aes128gcm16", "aes256gcm16", "aes128-sha1", "aes256-sha256"} {
			for _, x := range []struct {
				name   string
				change func(*pipeline.ChildSA)
				esn    bool
			}{
				{"IPv4", func(*pipeline.ChildSA) {}, false},
				{"IPv6", func(sa *pipeline.ChildSA) { sa.Local = netip.AddrPort{} }, false},
				{"UDP", func(sa *pipeline.ChildSA) { sa.UDPEncap, sa.BehindNAT = true, true }, false},
				{"ESN", func(sa *pipeline.ChildSA) { sa.ESN, sa.FirstSequence = true, 1<<32-20 }, true},
			} {
				t.Run(fmt.Sprintf("protocol=%t/%s/%s", protocol, suite, x.name), func(t *testing.T) {
					inline := newGateway(t, 1, &softnic.Options{InlineCrypto: !protocol, InlineProtocol: protocol}, protocol, pool)
					plain, far, near := newGateway(t, 1, nil, false, pool), newGateway(t, 2, nil, false, pool), newGateway(t, 2, nil, false, pool)
					join(inline, far, suiteOf(t, suite), 0x10001000, x.change)
					join(plain, near, suiteOf(t, suite), 0x10001000, x.change)
					const n = 64
					for _, version := range []int{4, 6} {
						for range 2 {
							outward := inline.burst(version, n/4)
							wire := inline.pass(lan, outward...)
							sameFrames(t, "on the wire", wire, plain.pass(lan, outward...))
							if got := far.pass(wan, wire...); len(got) != n/4 {
								t.Fatalf("the far end got %d packets of %d", len(got), n/4)
							}
							inward := far.pass(lan, far.burst(version, n/4)...)
							sameFrames(t, "to the host", inline.pass(wan, inward...), plain.pass(wan, inward...))
						}
					}
					c := inline.nic.Counters()
					if want := uint64(n); x.esn && !protocol {
						if c.SessionsMade != 0 {
							t.Errorf("%+v, with ESN, which its inline crypto has not", c)
						}
					} else if c.TxSecured != want || c.RxSecured != want || c.TxFailed != 0 || c.RxFailed != 0 {
						t.Errorf("%+v, want %d packets each way", c, want)
					}
				})
			}
		}
	}
}

// Packets that the NIC leaves as they came are the CPU's, in their place among the others; those that it damages are dropped. What a NIC that has
// vanished should send does not leave, in clear or otherwise, until the data plane is told; then it is the CPU's (S-102).
func TestGatewayOfAFaultyNIC(t *testing.T) {
	pool := newCrypto(t)
	for _, suite := range []string{"aes128gcm16", "aes128-sha256"} {
		t.Run(suite, func(t *testing.T) {
			inline, far := newGateway(t, 1, &softnic.Options{InlineCrypto: true}, false, pool), newGateway(t, 2, nil, false, pool)
			join(inline, far, suiteOf(t, suite), 0x10001000, func(*pipeline.ChildSA) {})
			both := func(there, here int) {
				t.Helper()
				out, back := inline.burst(4, 32), far.burst(4, 32)
				got, returned := far.pass(wan, inline.pass(lan, out...)...), inline.pass(wan, far.pass(lan, back...)...)
				if len(got) != there || len(returned) != here {
					t.Fatalf("%d packets of 32 have arrived there and %d here, want %d and %d", len(got), len(returned), there, here)
				}
				for i, f := range returned {
					if here == 32 && len(f) != len(back[i]) {
						t.Fatalf("packet %d of %d bytes has %d", i, len(back[i]), len(f))
					}
				}
			}
			both(32, 32)
			check(t, inline.nic.Inject(softnic.Fault{Undecrypted: 3}))
			both(32, 32)
			check(t, inline.nic.Inject(softnic.Fault{Mangle: 4}))
			both(24, 24)
			check(t, inline.nic.Inject(softnic.Fault{Vanished: true}))
			both(0, 32)
			inline.d.LoseInline(inline.wan, "the test says so")
			inline.d.AwaitDrivers() // its SAs have moved
			both(32, 32)
			check(t, inline.nic.Inject(softnic.Fault{}))
			both(32, 32)
			c := inline.d.Counters()
			if c.Ports[wan].Drops["auth_failed"] != 8 || c.Ports[lan].Drops["tx_full"] != 32 {
				t.Errorf("drops: %v", c.Ports)
			}
		})
	}
}

// With inline protocol the CPU goes on behind the numbers of a NIC that has vanished. What comes in past it is refused, for want of its window (S-102).
func TestGatewayOfAVanishedNIC(t *testing.T) {
	pool := newCrypto(t)
	inline, far := newGateway(t, 1, &softnic.Options{InlineProtocol: true}, true, pool), newGateway(t, 2, nil, false, pool)
	join(inline, far, suiteOf(t, "aes128gcm16"), 0x10001000, func(*pipeline.ChildSA) {})
	arrive := func(want int) {
		t.Helper()
		if got := far.pass(wan, inline.pass(lan, inline.burst(4, 32)...)...); len(got) != want {
			t.Fatalf("%d packets of 32 have arrived, want %d: %v", len(got), want, far.d.Counters().Ports[wan].Drops)
		}
	}
	arrive(32)
	check(t, inline.nic.Inject(softnic.Fault{Vanished: true}))
	arrive(0)
	inline.d.LoseInline(inline.wan, "the test says so")
	inline.d.AwaitDrivers() // its SAs have moved
	arrive(32)
	check(t, inline.nic.Inject(softnic.Fault{}))
	arrive(32)
	for _, sa := range inline.d.SACounters() {
		if sa.Outbound && (sa.Inline.Session || sa.Inline.Packets != 64 || sa.Sequence != 128) {
			t.Errorf("%+v, sequence %d", sa.Inline, sa.Sequence)
		}
	}
	check(t, inline.nic.Inject(softnic.Fault{Vanished: true}))
	if got := inline.pass(wan, far.pass(lan, far.burst(4, 8)...)...); len(got) != 0 || inline.d.Counters().Ports[wan].Drops["inline_window"] != 8 {
		t.Errorf("%d packets came in past the NIC: %v", len(got), inline.d.Counters().Ports[wan].Drops)
	}
	check(t, inline.nic.Inject(softnic.Fault{}))
}

// A rekey under traffic loses nothing, and the NIC has no more sessions than there are SAs.
func TestGatewayRekeys(t *testing.T) {
	pool := newCrypto(t)
	for _, protocol := range []bool{false, true} {
		inline, far := newGateway(t, 1, &softnic.Options{InlineCrypto: !protocol, InlineProtocol: protocol}, protocol, pool), newGateway(t, 2, nil, false, pool)
		suite := suiteOf(t, "aes128gcm16")
		for i := range uint32(5) {
			late := far.pass(lan, far.burst(4, 16)...) // still by the former SA, on its way while both are made
			join(inline, far, suite, 0x10001000+i<<8|2*i, func(*pipeline.ChildSA) {})
			if got := inline.pass(wan, late...); i > 0 && len(got) != 16 {
				t.Errorf("%d packets of the former SA arrived, want 16", len(got))
			}
			if got := far.pass(wan, inline.pass(lan, inline.burst(4, 32)...)...); len(got) != 32 {
				t.Errorf("%d packets arrived there, want 32", len(got))
			}
			if got := inline.pass(wan, far.pass(lan, far.burst(4, 32)...)...); len(got) != 32 {
				t.Errorf("%d packets arrived here, want 32", len(got))
			}
			if i > 0 {
				check(t, inline.d.RemoveInbound(0x10001000+(i-1)<<8|2*(i-1)+1))
				check(t, far.d.RemoveInbound(0x10001000+(i-1)<<8|2*(i-1)))
			}
		}
		inline.rest()
		if c := inline.nic.Counters(); c.SessionsMade != 10 || c.SessionsLive > 4 {
			t.Errorf("protocol %t: %+v", protocol, c)
		}
	}
}
