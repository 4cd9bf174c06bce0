package traffic

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
	"sallyport/policy"
)

// The data plane of a gateway stands on the path:
//
//	tester 10.1.0.0/24 ── 10.1.0.1 [gateway] 192.0.2.1 ── 192.0.2.2 tester, the peer of all tunnels
type planeOnPath struct {
	path       *path
	plane      *pipeline.Dataplane
	pool       *mempool.Mempool
	to, from   [2]*ring.Ring
	tunnels    []Tunnel
	cells      map[string]pipeline.CellID
	handler    pipeline.Handler
	negotiated bool          // the tunnels' SAs are whose handler it is
	drops      bool          // the path loses each hundredth packet behind the gateway
	slow       time.Duration // that ARP takes on the way to the gateway
	late       []held        // such frames
	passed     [2]uint64
	dropped    atomic.Int64
}

// quiet is what the gateway asks of whoever negotiates: nothing, for keys are given by hand.
type quiet struct{}

func (quiet) IKE(pipeline.Datagram)                         {}
func (quiet) Expire(pipeline.CellID, uint32, bool, bool)    {}
func (quiet) Acquire(pipeline.Acquire)                      {}
func (quiet) Group(pipeline.Group)                          {}
func (quiet) Heard(netip.Addr)                              {}
func (quiet) Echo(pipeline.Echo)                            {}
func (quiet) Offload(pipeline.OffloadChange)                {}
func (quiet) Moved(pipeline.CellID, uint32, netip.AddrPort) {}

var (
	gatewayLAN, gatewayWAN = netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("192.0.2.1/24")
	peerWAN                = netip.MustParseAddr("192.0.2.2")
)

func newPlaneOnPath(t *testing.T, suites ...string) *planeOnPath {
	t.Helper()
	g := &planeOnPath{path: newPath(t), handler: quiet{}}
	g.open(t, suites)
	g.start(t)
	return g
}

// open makes the data plane.
func (g *planeOnPath) open(t *testing.T, suites []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	name, err := fmt.Sprintf("plane%d", paths.Add(1)), error(nil)
	g.pool, err = mempool.CreateMbufPool(name, 1<<14-1, pipeline.DataRoom(1500), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize))
	must(err)
	t.Cleanup(g.pool.Free)
	var ports []pipeline.PortSpec
	for i, p := range []pipeline.PortSpec{
		{Name: "lan", Role: policy.PortsLAN, Addresses: []netip.Prefix{gatewayLAN}}, {Name: "wan", Role: policy.PortsWAN, Addresses: []netip.Prefix{gatewayWAN}},
	} {
		for way, r := range []**ring.Ring{&g.to[i], &g.from[i]} {
			*r, err = ring.Create(fmt.Sprintf("%s_%d_%d", name, i, way), 1<<12)
			must(err)
			t.Cleanup((*r).Free)
		}
		p.Port, err = ethdev.FromRings(fmt.Sprintf("%s_%d", name, i), []*ring.Ring{g.to[i]}, []*ring.Ring{g.from[i]})
		must(err)
		t.Cleanup(func() { _ = p.Port.Close() })
		_, err = ethdev.Setup(p.Port, ethdev.PortConfig{Name: p.Name, MTU: 1500, Pool: g.pool})
		must(err)
		t.Cleanup(func() { _ = p.Port.Stop() })
		p.MAC, p.MTU = net.HardwareAddr{2, 0, 0, 0, 7, byte(i)}, 1500
		ports = append(ports, p)
	}
	devices, err := cryptodev.Open(cryptodev.Options{Devices: []string{"crypto_aesni_gcm_" + name, "crypto_aesni_mb_" + name}, QueuePairs: 1, Sessions: 8*len(suites) + 8,
		Socket: cryptodev.SocketAny})
	must(err)
	t.Cleanup(func() { _ = devices.Close() })
	g.plane, err = pipeline.New(pipeline.Config{Ports: ports, Workers: 1, FlowEntries: 4096, MaxSAs: 1024, MaxCells: len(suites) + 1, MaxAdjacencies: 1024, Pool: g.pool, Crypto: devices,
		Idle: pipeline.IdleSleep})
	must(err)
	t.Cleanup(func() { _ = g.plane.Close() })
	must(g.install(suites))
}

// install gives each tunnel a filter and a pair of SAs.
func (g *planeOnPath) install(suites []string) error {
	set := &policy.Set{Active: "test", FilterActions: []policy.FilterAction{{Name: "protect", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}}}}
	rules := policy.Policy{Name: "test"}
	cells := map[string]pipeline.CellID{}
	g.cells = cells
	for i, word := range suites {
		suite, err := crypto.ParseSuite(word)
		if err != nil {
			return err
		}
		tunnel := testTunnel(suite, false, false, false)
		tunnel.Name, tunnel.Far = fmt.Sprintf("peer-%d", i), netip.MustParsePrefix(fmt.Sprintf("10.2.%d.0/24", i))
		tunnel.Gateway, tunnel.Peer = gatewayWAN.Addr(), peerWAN
		tunnel.ToGateway.Key, tunnel.FromGateway = keyOf(suite, "to"+tunnel.Name), SA{SPI: uint32(0x5000 + i), Key: keyOf(suite, "from"+tunnel.Name)}
		if g.negotiated {
			tunnel.IKE = Negotiated{tunnel.Name, tunnel.Name}
		} else if tunnel.ToGateway.SPI, err = g.plane.AllocateSPI(); err != nil {
			return err
		}
		if cells[tunnel.Name], err = g.plane.OpenCell(tunnel.Name); err != nil {
			return err
		}
		g.tunnels = append(g.tunnels, tunnel)
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: tunnel.Name, Filters: []policy.Filter{{
			Source: policy.Range(policy.RangeOf(tunnel.Near)), Destination: policy.Range(policy.RangeOf(tunnel.Far))}}})
		rules.Rules = append(rules.Rules, policy.Rule{Name: tunnel.Name, FilterList: tunnel.Name, FilterAction: "protect", Tunnel: tunnel.Name, AuthMethods: []string{"psk"}})
	}
	set.Policies = []policy.Policy{rules}
	spd, _, err := policy.Compile(set, policy.Environment{LocalAddresses: []netip.Addr{gatewayLAN.Addr(), gatewayWAN.Addr()}})
	if err != nil {
		return err
	}
	far := netip.MustParsePrefix("10.2.0.0/16")
	if err := g.plane.Apply(pipeline.Snapshot{SPD: spd, Tunnels: cells, Routes: []pipeline.Route{{To: far, Via: peerWAN}, {To: netip.MustParsePrefix("198.51.100.0/24"), Via: peerWAN}}}); err != nil {
		return err
	}
	for i := range g.tunnels {
		if g.negotiated {
			break
		}
		tunnel := &g.tunnels[i]
		child := pipeline.ChildSA{Cell: cells[tunnel.Name], Suite: tunnel.Suite, Local: netip.AddrPortFrom(tunnel.Gateway, 0), Remote: netip.AddrPortFrom(tunnel.Peer, 0),
			Selectors: []policy.Selector{{Local: policy.RangeOf(tunnel.Near), Remote: policy.RangeOf(tunnel.Far), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}
		child.SPI, child.Keymat = tunnel.ToGateway.SPI, tunnel.ToGateway.Key
		if err := g.plane.InstallInbound(child); err != nil {
			return err
		}
		child.SPI, child.Keymat = tunnel.FromGateway.SPI, tunnel.FromGateway.Key
		if err := g.plane.InstallOutbound(child); err != nil {
			return err
		}
	}
	return nil
}

// carriesTest says whether a frame has a packet of ESP, or one in clear that is no message for a host or a router.
func carriesTest(frame []byte) bool {
	const next = etherLen + 9
	if len(frame) < etherLen+ipv4Len+udpLen || frame[12] != 8 || frame[13] != 0 {
		return false
	}
	return frame[next] == protocolESP || frame[next] == protocolUDP && binary.BigEndian.Uint16(frame[etherLen+ipv4Len+2:]) == listenPort
}

// start has the gateway run, and the path lead through it.
func (g *planeOnPath) start(t *testing.T) {
	t.Helper()
	if err := g.plane.Start([]int{firstCore(t)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = g.plane.Exceptions(ctx, g.handler) }) // ends with ctx
	t.Cleanup(func() { cancel(); running.Wait() })
	toGateway := func(from int, frame []byte) {
		m, err := mbuf.FromBytes(g.pool, frame)
		for err == nil && g.to[from].EnqueueBurst([]unsafe.Pointer{m}) == 0 && !g.path.stopped.Load() {
			time.Sleep(50 * time.Microsecond)
		}
		if err != nil {
			g.path.lost.Add(1)
		}
	}
	g.path.meddle = func(from int, frame []byte) [][]byte {
		if g.slow > 0 && frame[12] == 8 && frame[13] == 6 {
			g.late = append(g.late, held{from, frame, time.Now().Add(g.slow)})
		} else {
			toGateway(from, frame)
		}
		return nil
	}
	g.path.further = func() (moved bool) {
		for len(g.late) > 0 && time.Now().After(g.late[0].until) {
			toGateway(g.late[0].port, g.late[0].frame)
			g.late, moved = g.late[1:], true
		}
		for i, from := range g.from {
			var batch [32]unsafe.Pointer
			n := from.DequeueBurst(batch[:])
			for _, frame := range mbuf.Frames(batch[:n]) {
				if g.drops && carriesTest(frame) {
					if g.passed[i]++; g.passed[i]%100 == 0 {
						g.dropped.Add(1)
						continue
					}
				}
				g.path.hold(i, frame)
			}
			mbuf.FreeBulk(batch[:n])
			moved = moved || n > 0
		}
		return moved
	}
	g.path.start(t)
}

// config is a tester on both sides of the gateway.
func (g *planeOnPath) config(streams ...Stream) Config {
	c := g.path.config(streams...)
	c.Tunnels, c.drained, c.learn = g.tunnels, nil, 5*time.Minute
	c.Protected.Addresses, c.Protected.Gateway = []netip.Addr{netip.MustParseAddr("10.1.0.2")}, gatewayLAN.Addr()
	c.Unprotected.Addresses, c.Unprotected.Gateway = []netip.Addr{peerWAN}, gatewayWAN.Addr()
	return c
}

// Through a gateway and its tunnels both ways: in clear on one side, ESP on the other. The gateway resolves the tester's hosts meanwhile, and the tester the gateway.
func TestThroughAGateway(t *testing.T) {
	g := newPlaneOnPath(t, "aes128gcm16", "aes256-sha256", "chacha20poly1305")
	config := g.config(both(Stream{Flows: 30, Sizes: Sizes{64, 594, 1400}, Rate: Rate{Packets: 3000}})...)
	tester, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer tester.Close()
	limit := time.Now().Add(5 * time.Minute)
	tester.config.drained = func() bool {
		sent, received := tester.counts()
		return received >= sent || time.Now().After(limit)
	}
	for range 2 { // trials of one tester: sequence numbers of SAs go on, all counters begin anew
		r, err := tester.Trial(t.Context(), Load{Packets: 900})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.Streams {
			want(t, s.Name+": sent", s.Sent, 900)
			want(t, s.Name+": received", s.Received, 900)
			want(t, s.Name+": octets", s.Octets, 300*(64+594+1400))
			want(t, s.Name+": duplicates", s.Duplicates, 0)
		}
		if r.Verdict != Forwards {
			t.Errorf("verdict %s, %q", r.Verdict, r.Findings)
		}
		want(t, "frames of the unprotected port that are no ESP of ours", r.Ports[unprotected].Frames-r.Ports[unprotected].ARP-900, 0)
	}
	counters := g.plane.Counters()
	if err := counters.Conserved(); err != nil {
		t.Error(err)
	}
	learned := uint64(len(tester.streams[0].pupils) + len(tester.streams[1].pupils))
	packets := uint64(0)
	for _, sa := range g.plane.SACounters() {
		if packets += sa.Packets; sa.Packets < 600 {
			t.Errorf("packets of SA %#x: %d, want 600 and those to learn by", sa.SPI, sa.Packets)
		}
	}
	if least := 6*600 + learned; packets < least || packets > least+learned {
		t.Errorf("packets of all SAs: %d, want %d, or somewhat more where one to learn by was lost", packets, least)
	}
}
