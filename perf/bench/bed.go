package bench

import (
	"context"
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
	sparePackets    = 4096                     // buffers of each worker beside those of its file
	leastFlowMemos  = 1 << 16
	flowMemosToFlow = 4 // flow-cache entries for each flow, so that few share a bucket of two
)

// bed is one row's gateway: a port that repeats files, one for each worker, a data plane, a port that swallows everything.
type bed struct {
	load    load
	name    string
	devices *cryptodev.Pool // of all beds
	pool    *mempool.Mempool
	files   []string    // by worker
	source  ethdev.Port // of the files: protected for an outbound load
	plane   *pipeline.Dataplane
	crypto  []*cryptoFloor // by worker
	card    *card          // nil: none
	cells   []pipeline.CellID
	spis    [][]uint32 // by worker and tunnel
	saSize  float64    // bytes of DPDK memory for an SA beside its session, the allocator's own included

	site pipeline.CellID // the tunnel of a site

	interrupted func() error   // why it is not to be built any further
	undo        []func() error // in reverse order
}

// newBed makes the gateway with its traffic in folder, up to the point where RunFor finds packets. Beds of one folder have
// different names. When ctx ends there is none.
func newBed(ctx context.Context, l load, name, folder string, devices *cryptodev.Pool) (*bed, error) {
	b := &bed{load: l, name: name, devices: devices, interrupted: ctx.Err}
	for worker := range l.workers {
		b.files = append(b.files, filepath.Join(folder, fmt.Sprintf("%s-%d.pcap", name, worker)))
	}
	if err := b.build(); err != nil {
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

func (b *bed) build() (err error) {
	// The pool is freed last, because the source holds its files in buffers of the pool.
	b.pool, err = mempool.CreateMbufPool(b.name, uint32(b.load.packets()), pipeline.DataRoom(b.load.mtu()),
		mempool.OptCacheSize(bufferCache), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize))
	if err != nil {
		return err
	}
	b.onClose(func() error { b.pool.Free(); return nil })

	// A file can be written only when the SPIs are known, which the data plane gives, which wants to know its ports: the
	// source begins with empty files and reads them again when its queues are set up.
	device := "net_pcap"
	for _, file := range b.files {
		if err := createFile(file); err != nil {
			return err
		}
		device += ",rx_pcap=" + file
	}
	if b.source, err = b.attach(device + ",infinite_rx=1"); err != nil {
		return err
	}
	sink, err := b.attach("net_null,no-rx=1")
	if err != nil {
		return err
	}
	if err := b.newPlane(sink); err != nil {
		return err
	}
	return b.start(sink)
}

func (b *bed) attach(device string) (ethdev.Port, error) {
	port, err := ethdev.Attach(device)
	if err == nil {
		b.onClose(port.Close)
	}
	return port, err
}

// planeDevices are the crypto devices of the data plane: those of all beds, or one of its own.
func (b *bed) planeDevices() (*cryptodev.Pool, error) {
	if b.load.class == 0 {
		return b.devices, nil
	}
	own, err := cryptodev.Open(cryptodev.Options{Devices: []string{"crypto_aesni_mb_" + b.name}, Classes: []cryptodev.Class{b.load.class},
		QueuePairs: b.load.workers, Sessions: b.load.sas() + b.load.workers, Socket: cryptodev.SocketAny})
	if err == nil {
		b.onClose(own.Close)
	}
	return own, err
}

// newPlane makes the data plane with its neighbours.
func (b *bed) newPlane(sink ethdev.Port) error {
	lan, wan := b.source, sink
	if b.load.direction == Inbound {
		lan, wan = sink, b.source
	}
	var ports []pipeline.PortSpec
	for _, p := range []pipeline.PortSpec{
		{Name: "lan", Port: lan, Role: policy.PortsLAN, Addresses: []netip.Prefix{lanAddress, lanAddress6}},
		{Name: "wan", Port: wan, Role: policy.PortsWAN, Addresses: []netip.Prefix{wanAddress, wanAddress6}},
	} {
		mac, err := p.Port.MAC()
		if err != nil {
			return err
		}
		p.MAC, p.MTU = mac, b.load.mtu()
		ports = append(ports, p)
	}
	devices, err := b.planeDevices()
	if err != nil {
		return err
	}
	config := pipeline.Config{
		Ports: ports, Workers: b.load.workers, FlowEntries: b.load.flowMemos(), MaxSAs: powerOfTwo(b.load.sas() + 1),
		MaxCells: b.load.tunnels, MaxAdjacencies: 64, Pool: b.pool, Crypto: devices,
	}
	if b.load.nic != nil {
		b.card = &card{port: uint16(wan)}
		config.Inline = b.card
		b.onClose(b.card.close) // after the data plane, whose SAs have sessions
	}
	plane, err := pipeline.New(config)
	if err != nil {
		return err
	}
	b.plane = plane
	b.onClose(plane.Close)
	for _, neighbour := range []struct {
		port    string
		address netip.Addr
	}{{"lan", lanRouter}, {"lan", lanRouter6}, {"wan", wanPeer}, {"wan", wanPeer6}} {
		if err := plane.LearnNeighbour(time.Now(), neighbour.port, neighbour.address, neighbourMAC); err != nil {
			return err
		}
	}
	return nil
}

// start applies the policy, writes the files, starts the ports and installs the SAs.
func (b *bed) start(sink ethdev.Port) (err error) {
	if b.cells, err = b.apply(); err != nil {
		return err
	}
	octets := make([]byte, b.load.suite.KeymatLen())
	if _, err := rand.Read(octets); err != nil {
		return err
	}
	keymat := crypto.NewSecret(octets)
	defer keymat.Wipe()
	if err := b.allocate(); err != nil {
		return err
	}
	if err := b.writeFiles(keymat); err != nil {
		return err
	}
	for _, port := range []ethdev.Port{b.source, sink} {
		config := ethdev.PortConfig{Name: b.name, MTU: b.load.mtu(), Pool: b.pool, RxQueues: b.load.workers, TxQueues: b.load.workers}
		if _, err := ethdev.Setup(port, config); err != nil {
			return err
		}
		b.onClose(port.Stop)
	}
	if b.card != nil {
		if err := b.card.open(b.load, b.devices); err != nil {
			return err
		}
	}
	before := heapBytes()
	if err := b.install(keymat); err != nil {
		return err
	}
	b.weigh(before)
	if b.load.site != nil || b.card != nil {
		return nil
	}
	return b.newFloors(keymat)
}

func (b *bed) writeFiles(keymat crypto.Secret) error {
	mac, err := b.source.MAC()
	if err != nil {
		return err
	}
	for worker, file := range b.files {
		if err := b.interrupted(); err != nil {
			return err
		}
		var peer *sealer
		if b.load.direction == Inbound {
			if peer, err = newSealer(b.load, worker, b.spis[worker], keymat); err != nil {
				return err
			}
		}
		if err := b.load.appendFrames(file, worker, mac, peer); err != nil {
			return err
		}
	}
	return nil
}

// newFloors gives crypto the same packets without a gateway around it.
func (b *bed) newFloors(keymat crypto.Secret) error {
	var options []cryptodev.SessionOption
	if b.load.viaDevice {
		options = append(options, cryptodev.ViaDevice())
	}
	for worker := range b.load.workers {
		session, err := b.devices.NewSession(b.load.suite, keymat, b.load.direction == Outbound, options...)
		if err != nil {
			return err
		}
		b.onClose(func() error { return b.devices.Free(session) })
		floor, err := newCryptoFloor(b.pool, session, b.load, worker, keymat)
		if err != nil {
			return err
		}
		b.onClose(func() error { floor.free(); return nil })
		b.crypto = append(b.crypto, floor)
	}
	return nil
}

// apply publishes a policy with a rule for each tunnel and returns the tunnels' cells. A site has one tunnel, and its policies
// come with their measurements.
func (b *bed) apply() ([]pipeline.CellID, error) {
	if b.load.site != nil {
		cell, err := b.plane.OpenCell(siteTunnel)
		b.site = cell
		if !b.load.site.tunnel {
			return nil, err // no SA: filters permit, or soft SAs let pass
		}
		return []pipeline.CellID{cell}, err
	}
	set := &policy.Set{Active: "bench", FilterActions: []policy.FilterAction{
		{Name: "protect", Kind: policy.ActionNegotiate, Methods: []string{cheapest.String()}},
	}}
	site := policy.Policy{Name: "bench"}
	cells, tunnels := make([]pipeline.CellID, b.load.tunnels), map[string]pipeline.CellID{}
	for t := range cells {
		if err := b.interrupted(); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("tunnel-%d", t)
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: name, Filters: []policy.Filter{{
			Source: policy.Range(policy.RangeOf(b.load.lan())), Destination: policy.Range(b.load.protected(t)),
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

// allocate takes the SPIs of the SAs, for each worker its own.
func (b *bed) allocate() error {
	b.spis = make([][]uint32, b.load.workers)
	for range b.cells {
		for worker := range b.load.workers {
			spi, err := b.plane.AllocateSPI()
			if err != nil {
				return err
			}
			b.spis[worker] = append(b.spis[worker], spi)
		}
	}
	return nil
}

// install puts the SAs of the measured direction in.
func (b *bed) install(keymat crypto.Secret) error {
	install := b.plane.InstallOutbound
	if b.load.direction == Inbound {
		install = b.plane.InstallInbound
	}
	for t, cell := range b.cells {
		if err := b.interrupted(); err != nil {
			return err
		}
		for worker := range b.load.workers {
			if err := install(b.load.child(cell, t, worker, b.spis[worker][t], keymat)); err != nil {
				return err
			}
		}
	}
	if b.card != nil && int(b.card.live.Load()) != b.load.sas() {
		return fmt.Errorf("%d sessions of the NIC for %d SAs: %s", b.card.live.Load(), b.load.sas(), b.plane.Counters().SAs[0].Inline.Refused)
	}
	return nil
}

// remove takes the SAs away. No worker runs, so their sessions go at once.
func (b *bed) remove() error {
	for t, cell := range b.cells {
		for _, spis := range b.spis {
			var err error
			if b.load.direction == Inbound {
				err = b.plane.RemoveInbound(spis[t])
			} else {
				_, err = b.plane.RemoveOutbound(cell, spis[t])
			}
			if err != nil {
				return err
			}
		}
	}
	b.plane.AwaitDrivers()
	if b.card != nil && b.card.live.Load() != 0 {
		return fmt.Errorf("%d sessions of the NIC are left of %d", b.card.live.Load(), b.load.sas())
	}
	return nil
}

// weigh says what an SA takes, given the heap without them.
func (b *bed) weigh(before uint64) {
	if sas := b.plane.Counters().SAs; len(sas) > 0 {
		// One that stands in the memory of its session takes none of the heap, but of the session what it fills.
		b.saSize = max(float64(heapBytes()-before)/float64(b.load.sas()), float64(sas[0].Memory))
	}
}

// cryptoName says who does the floor's crypto.
func (b *bed) cryptoName() string {
	if b.card != nil {
		return "the software NIC"
	}
	return b.crypto[0].who
}

// nicWork is what the NIC has done so far.
func (b *bed) nicWork() measured {
	if b.card == nil {
		return measured{}
	}
	packets, cycles := b.card.nic.Work()
	return measured{packets, float64(cycles)}
}

// child is the SA of a tunnel and a worker.
func (l load) child(cell pipeline.CellID, tunnel, worker int, spi uint32, keymat crypto.Secret) pipeline.ChildSA {
	local, peer := l.ends()
	child := pipeline.ChildSA{
		Cell: cell, SPI: spi, Suite: l.suite, Keymat: keymat, Local: netip.AddrPortFrom(local, 0), Remote: netip.AddrPortFrom(peer, 0),
		Selectors: []policy.Selector{{
			Local: policy.RangeOf(l.lan()), Remote: l.protected(tunnel), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
		}},
	}
	if l.suite.AH() {
		child.Protocol = crypto.ProtocolAH
	}
	if l.udp {
		child.UDPEncap, child.Local, child.Remote = true, netip.AddrPortFrom(local, portNATT), netip.AddrPortFrom(peer, portNATT)
	}
	if l.workers > 1 {
		child.Worker = worker + 1
	}
	return child
}

// check proves that every packet of the measurement was forwarded: none dropped, and all counted by the SAs unless the load
// is a permitted one, those of each worker by its own. sent counts them by worker.
func (b *bed) check(sent []uint64) error {
	counters := b.plane.Counters()
	errs := []error{counters.Conserved()}
	if b.load.site == nil || b.load.site.tunnel {
		errs = append(errs, b.checkSAs(counters.SAs, sent))
	}
	var total, forwarded uint64
	for _, n := range sent {
		total += n
	}
	for _, p := range counters.Ports {
		forwarded += p.Forwarded
		for reason, n := range p.Drops {
			errs = append(errs, fmt.Errorf("%d packets of port %s dropped for %s, expected none", n, p.Name, reason))
		}
	}
	if forwarded != total {
		errs = append(errs, fmt.Errorf("%d packets forwarded, expected all %d of the measurement", forwarded, total))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("bench: %s: the figures are void: %w", b.load, err)
	}
	return nil
}

func (b *bed) checkSAs(sas []pipeline.SACounters, sent []uint64) error {
	var errs []error
	packets := map[uint32]uint64{}
	for _, sa := range sas {
		packets[sa.SPI] = sa.Packets
	}
	for worker, spis := range b.spis {
		var carried uint64
		for _, spi := range spis {
			carried += packets[spi]
		}
		if carried != sent[worker] {
			errs = append(errs, fmt.Errorf("the SAs of worker %d carried %d packets, expected all %d that it was sent", worker, carried, sent[worker]))
		}
	}
	return errors.Join(errs...)
}

// powerOfTwo is the lowest one from n on, at least 2.
func powerOfTwo(n int) int {
	p := 2
	for p < n {
		p *= 2
	}
	return p
}
