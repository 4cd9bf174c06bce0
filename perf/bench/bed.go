package bench

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/policy"
)

const (
	mtu             = 1500
	bufferCache     = mempool.MaxCacheSize / 2 // as the gateway has it
	sparePackets    = 4096                     // buffers beside those of the file
	leastFlowMemos  = 1 << 16
	flowMemosToFlow = 4 // flow-cache entries for each flow, so that few share a bucket of two
)

// bed is one row's gateway: a port that repeats a file, a data plane with one worker, a port that swallows everything.
type bed struct {
	load   load
	source ethdev.Port // of the file: protected for an outbound load
	plane  *pipeline.Dataplane
	crypto *cryptoFloor
	saSize float64 // bytes of DPDK memory for an SA beside its session, the allocator's own included

	site pipeline.CellID // the tunnel of a site

	undo []func() error // in reverse order
}

// newBed makes the gateway with its traffic in folder, up to the point where RunFor finds packets.
func newBed(l load, folder string) (*bed, error) {
	b := &bed{load: l}
	if err := b.build(filepath.Join(folder, "source.pcap")); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: %s: %w", l, err), b.close())
	}
	return b, nil
}

func (b *bed) close() error {
	var errs []error
	for i := len(b.undo) - 1; i >= 0; i-- {
		errs = append(errs, b.undo[i]())
	}
	b.undo = nil
	return errors.Join(errs...)
}

func (b *bed) onClose(f func() error) { b.undo = append(b.undo, f) }

func (b *bed) build(file string) error {
	// The pool is freed last, because the source holds its file in buffers of the pool.
	pool, err := mempool.CreateMbufPool("bench", uint32(b.load.pass()+sparePackets), ethdev.DataRoom(mtu),
		mempool.OptCacheSize(bufferCache), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize))
	if err != nil {
		return err
	}
	b.onClose(func() error { pool.Free(); return nil })
	devices, err := cryptodev.Open(cryptodev.Options{QueuePairs: floorQueue + 1, Sessions: 2*b.load.tunnels + 1, Socket: cryptodev.SocketAny})
	if err != nil {
		return err
	}
	b.onClose(devices.Close)

	// The file can be written only when the SPIs are known, which the data plane gives, which wants to know its ports: the
	// source begins with an empty file and reads it again when its queue is set up.
	if err := createFile(file); err != nil {
		return err
	}
	if b.source, err = b.attach("net_pcap,rx_pcap=" + file + ",infinite_rx=1"); err != nil {
		return err
	}
	sink, err := b.attach("net_null,no-rx=1")
	if err != nil {
		return err
	}
	if err := b.newPlane(sink, pool, devices); err != nil {
		return err
	}
	return b.start(file, sink, pool, devices)
}

func (b *bed) attach(device string) (ethdev.Port, error) {
	port, err := ethdev.Attach(device)
	if err == nil {
		b.onClose(port.Close)
	}
	return port, err
}

// newPlane makes the data plane with its policy and neighbours.
func (b *bed) newPlane(sink ethdev.Port, pool *mempool.Mempool, devices *cryptodev.Pool) error {
	lan, wan := b.source, sink
	if b.load.direction == Inbound {
		lan, wan = sink, b.source
	}
	var ports []pipeline.PortSpec
	for _, p := range []pipeline.PortSpec{
		{Name: "lan", Port: lan, Role: policy.PortsLAN, MTU: mtu, Addresses: []netip.Prefix{lanAddress}},
		{Name: "wan", Port: wan, Role: policy.PortsWAN, MTU: mtu, Addresses: []netip.Prefix{wanAddress}},
	} {
		mac, err := p.Port.MAC()
		if err != nil {
			return err
		}
		p.MAC = mac
		ports = append(ports, p)
	}
	plane, err := pipeline.New(pipeline.Config{
		Ports: ports, Workers: 1, FlowEntries: powerOfTwo(max(flowMemosToFlow*b.load.flows, leastFlowMemos)), MaxSAs: powerOfTwo(b.load.tunnels + 1),
		MaxCells: b.load.tunnels, MaxAdjacencies: 64, Pool: pool, Crypto: devices,
	})
	if err != nil {
		return err
	}
	b.plane = plane
	b.onClose(plane.Close)
	now := time.Now()
	if err := plane.LearnNeighbour(now, "lan", lanRouter, neighbourMAC); err != nil {
		return err
	}
	return plane.LearnNeighbour(now, "wan", wanPeer, neighbourMAC)
}

// start applies the policy, installs the SAs, writes the file and starts the ports.
func (b *bed) start(file string, sink ethdev.Port, pool *mempool.Mempool, devices *cryptodev.Pool) error {
	cells, err := b.apply()
	if err != nil {
		return err
	}
	octets := make([]byte, b.load.suite.KeymatLen())
	if _, err := rand.Read(octets); err != nil {
		return err
	}
	keymat := crypto.NewSecret(octets)
	defer keymat.Wipe()
	spis, err := b.install(cells, keymat)
	if err != nil {
		return err
	}
	var peer *sealer
	if b.load.direction == Inbound {
		if peer, err = newSealer(b.load, spis, keymat); err != nil {
			return err
		}
	}
	mac, err := b.source.MAC()
	if err != nil {
		return err
	}
	if err := b.load.appendFrames(file, mac, peer); err != nil {
		return err
	}
	for _, port := range []ethdev.Port{b.source, sink} {
		if _, err := ethdev.Setup(port, ethdev.PortConfig{Name: "bench", MTU: mtu, Pool: pool}); err != nil {
			return err
		}
		b.onClose(port.Stop)
	}
	if b.load.site != nil {
		return nil
	}
	return b.newFloor(pool, devices, spis[0], keymat)
}

// floorSession is of jobs where the gateway has them too, and of the device where it calls libIPSec_MB for each packet.
func (b *bed) floorSession(devices *cryptodev.Pool, keymat crypto.Secret) (*cryptodev.Session, error) {
	session, err := devices.NewSession(b.load.suite, keymat, b.load.direction == Outbound)
	if err != nil || !session.Direct {
		return session, err
	}
	if err := devices.Free(session); err != nil {
		return nil, err
	}
	return devices.NewSession(b.load.suite, keymat, b.load.direction == Outbound, cryptodev.ViaDevice())
}

// newFloor gives the crypto session the same packets without a gateway around it.
func (b *bed) newFloor(pool *mempool.Mempool, devices *cryptodev.Pool, spi uint32, keymat crypto.Secret) error {
	session, err := b.floorSession(devices, keymat)
	if err != nil {
		return err
	}
	b.onClose(func() error { return devices.Free(session) })
	if b.crypto, err = newCryptoFloor(pool, session, b.load, spi, keymat); err != nil {
		return err
	}
	b.onClose(func() error { b.crypto.free(); return nil })
	return nil
}

// apply publishes a policy with a rule for each tunnel and returns the tunnels' cells. A site has one tunnel, and its policies
// come with their measurements.
func (b *bed) apply() ([]pipeline.CellID, error) {
	if b.load.site != nil {
		cell, err := b.plane.OpenCell(siteTunnel)
		b.site = cell
		return []pipeline.CellID{cell}, err
	}
	set := &policy.Set{Active: "bench", FilterActions: []policy.FilterAction{
		{Name: "protect", Kind: policy.ActionNegotiate, Methods: []string{b.load.suite.String()}},
	}}
	site := policy.Policy{Name: "bench"}
	cells, tunnels := make([]pipeline.CellID, b.load.tunnels), map[string]pipeline.CellID{}
	for t := range cells {
		name := fmt.Sprintf("tunnel-%d", t)
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: name, Filters: []policy.Filter{{
			Source: policy.Range(policy.RangeOf(lanHosts)), Destination: policy.Range(policy.RangeOf(remoteNetwork(t))),
		}}})
		site.Rules = append(site.Rules, policy.Rule{Name: name, FilterList: name, FilterAction: "protect", Tunnel: name, AuthMethods: []string{"psk"}})
		cell, err := b.plane.OpenCell(name)
		if err != nil {
			return nil, err
		}
		cells[t], tunnels[name] = cell, cell
	}
	set.Policies = []policy.Policy{site}
	spd, _, err := policy.Compile(set, ownAddresses)
	if err != nil {
		return nil, err
	}
	return cells, b.plane.Apply(pipeline.Snapshot{SPD: spd, Tunnels: tunnels, Routes: routes()})
}

func routes() []pipeline.Route {
	return []pipeline.Route{{To: lanHosts, Via: lanRouter}, {To: remoteHosts, Via: wanPeer}}
}

// applySite compiles a policy, builds its tables and puts them in force, and returns how long that took.
func (b *bed) applySite(set *policy.Set) (time.Duration, error) {
	start := time.Now()
	spd, _, err := policy.Compile(set, ownAddresses)
	if err != nil {
		return 0, err
	}
	err = b.plane.Apply(pipeline.Snapshot{SPD: spd, Tunnels: map[string]pipeline.CellID{siteTunnel: b.site}, Routes: routes()})
	return time.Since(start), err
}

var ownAddresses = policy.Environment{LocalAddresses: []netip.Addr{lanAddress.Addr(), wanAddress.Addr()}}

// install puts the SAs of the measured direction in and weighs them.
func (b *bed) install(cells []pipeline.CellID, keymat crypto.Secret) ([]uint32, error) {
	var spis []uint32
	before := heapBytes()
	for t, cell := range cells {
		spi, err := b.plane.AllocateSPI()
		if err != nil {
			return nil, err
		}
		spis = append(spis, spi)
		child := pipeline.ChildSA{
			Cell: cell, SPI: spi, Suite: b.load.suite, Keymat: keymat,
			Local: netip.AddrPortFrom(wanAddress.Addr(), 0), Remote: netip.AddrPortFrom(wanPeer, 0),
			Selectors: []policy.Selector{{
				Local: policy.RangeOf(lanHosts), Remote: policy.RangeOf(b.load.remote(t)), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
			}},
		}
		install := b.plane.InstallOutbound
		if b.load.direction == Inbound {
			install = b.plane.InstallInbound
		}
		if err := install(child); err != nil {
			return nil, err
		}
	}
	b.saSize = float64(heapBytes()-before) / float64(len(cells))
	return spis, nil
}

// check proves that every packet of the measurement was forwarded: none dropped, and all counted by the SAs unless the load
// is a permitted one.
func (b *bed) check(sent uint64) error {
	counters := b.plane.Counters()
	errs := []error{counters.Conserved()}
	var carried uint64
	for _, sa := range counters.SAs {
		carried += sa.Packets
	}
	if protected := b.load.site == nil || b.load.site.tunnel; protected && carried != sent {
		errs = append(errs, fmt.Errorf("the SAs carried %d packets, expected all %d of the measurement", carried, sent))
	}
	var forwarded uint64
	for _, p := range counters.Ports {
		forwarded += p.Forwarded
		for reason, n := range p.Drops {
			errs = append(errs, fmt.Errorf("%d packets of port %s dropped for %s, expected none", n, p.Name, reason))
		}
	}
	if forwarded != sent {
		errs = append(errs, fmt.Errorf("%d packets forwarded, expected all %d of the measurement", forwarded, sent))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bench: %s: the figures are void: %w", b.load, err)
	}
	return nil
}

// powerOfTwo is the lowest one from n on, at least 2.
func powerOfTwo(n int) int {
	p := 2
	for p < n {
		p *= 2
	}
	return p
}
