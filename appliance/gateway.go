package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/appliance/config"
	"sallyport/crypto/cryptodev"
	"sallyport/ike"
	"sallyport/offload"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
)

// goodbye bounds how long a gateway that stops waits for peers to answer its
// deletes; one that does not answer finds out by its liveness checks.
const goodbye = 2 * time.Second

// Gateway is a running gateway: every part in the order in which it starts.
type Gateway struct {
	loaded  *Loaded
	cfg     *config.Config // what cannot change while it runs; for the rest see running
	log     *slog.Logger
	started time.Time

	env     *eal.Environment
	pool    *mempool.Mempool
	wholes  *mempool.Mempool // for what is put together from fragments and is longer than any link takes
	crypto  *cryptodev.Pool
	offload *offload.Planner
	devices []*ethdev.Device
	plane   *pipeline.Dataplane

	control      *control
	certificates *certificates
	negotiator   *negotiator
	manager      *manager
	facts        *prometheus.CounterVec
	events       *eventLog
	logLimit     logLimit
	keyLog       *keyLog // nil but in a lab that wants it
	ikeLog       *ikeLog

	// undo ends, last first, what has been started.
	undo []func() error
}

// Run starts the gateway of a configuration and carries traffic until ctx ends,
// then says goodbye to its peers and gives everything back. A signal on hangup
// (SIGHUP), and where the policy says so a change of the file, loads the
// configuration again.
func Run(ctx context.Context, loaded *Loaded, hangup <-chan os.Signal, log *slog.Logger) (err error) {
	g := &Gateway{loaded: loaded, cfg: loaded.Config, log: log, started: time.Now(), facts: newFactCounter(), events: newEventLog()}
	served := false
	defer func() {
		err = errors.Join(err, g.stop())
		if served {
			log.Info("gateway stopped", "name", g.cfg.Name)
		}
	}()
	for _, warning := range g.cfg.Warnings {
		log.Warn(warning)
	}
	for _, start := range []func() error{forbidCoreDumps, g.openKeyLog, g.openControl, g.startDPDK, g.openPorts, g.openPlane, g.startWorkers} {
		if err := start(); err != nil {
			return err
		}
	}
	served = true
	return g.serve(ctx, hangup)
}

// openKeyLog begins to write keys, where a lab wants that.
func (g *Gateway) openKeyLog() (err error) {
	if g.loaded.KeyLog == "" {
		return nil
	}
	if g.keyLog, err = openKeyLog(g.loaded.KeyLog, g.log); err != nil {
		return err
	}
	g.log.Warn(g.keyLog.warning())
	g.onStop(g.keyLog.close)
	return nil
}

// stop undoes what was started, last first.
func (g *Gateway) stop() error {
	var errs []error
	for i := len(g.undo) - 1; i >= 0; i-- {
		errs = append(errs, g.undo[i]())
	}
	g.undo = nil
	return errors.Join(errs...)
}

func (g *Gateway) onStop(undo func() error) { g.undo = append(g.undo, undo) }

// openControl binds the control socket before anything else is touched: a second
// gateway by mistake must end before it takes packets from the ports of the first.
// Requests wait until the gateway serves.
func (g *Gateway) openControl() (err error) {
	g.control, err = listenControl(g.cfg.Control.Socket, g.controlHandler(), g.log)
	if err != nil {
		return err
	}
	g.onStop(g.control.close)
	return nil
}

// startDPDK keeps Go's threads off the data cores, then starts the EAL.
func (g *Gateway) startDPDK() error {
	shared, err := pipeline.KeepOff(g.cfg.Dataplane.Workers)
	if err != nil {
		return err
	}
	if shared {
		g.log.Warn("no core is left for the slow path: workers share theirs with it; give dataplane.workers fewer cores",
			"workers", g.cfg.Dataplane.Workers)
	}
	d := &g.cfg.Dataplane
	g.env, err = eal.Start(eal.Config{
		HugePages: d.HugePages, MemoryMB: d.MemoryMB, MainCore: d.MainCore, LogLevel: d.LogLevel, AllowPCI: g.pciDevices(),
	}, g.log)
	if err != nil {
		return err
	}
	g.onStop(g.env.Stop)
	return nil
}

// pciDevices are the ports and crypto devices that DPDK has to take from the kernel at start.
func (g *Gateway) pciDevices() []string {
	var list []string
	for _, p := range g.cfg.Ports {
		list = append(list, p.Device)
	}
	list = append(list, g.cfg.Dataplane.CryptoDevices...)
	list = slices.DeleteFunc(list, func(device string) bool { return !eal.IsPCIAddress(device) })
	slices.Sort(list)
	return slices.Compact(list)
}

// openPorts makes the buffer pool, sized by the largest MTU, and the ports.
func (g *Gateway) openPorts() (err error) {
	mtu := 0
	for _, p := range g.cfg.Ports {
		mtu = max(mtu, p.MTU)
	}
	g.pool, err = mempool.CreateMbufPool("packets", g.buffers(int(ethdev.DataRoom(mtu))), ethdev.DataRoom(mtu),
		mempool.OptCacheSize(mempool.MaxCacheSize/2), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize))
	if err != nil {
		return err
	}
	g.onStop(func() error { g.pool.Free(); return nil })
	g.wholes, err = mempool.CreateMbufPool("wholes", wholeBuffers, pipeline.LargeDataRoom(mtu), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize))
	if err != nil {
		return err
	}
	g.onStop(func() error { g.wholes.Free(); return nil })
	opened := map[string]*ethdev.Device{}
	for _, p := range g.cfg.Ports {
		if device := opened[p.Device]; device != nil { // another VLAN of it
			g.devices = append(g.devices, device)
			continue
		}
		device, err := ethdev.Open(ethdev.PortConfig{
			Name: p.Name, Device: p.Device, MTU: g.deviceMTU(p.Device), Pool: g.pool,
			RxQueues: g.workers(), TxQueues: g.workers(), RxDescriptors: descriptors, TxDescriptors: descriptors,
			Security: usesPorts(g.cfg.Dataplane.Offload),
		})
		if err != nil {
			return err
		}
		g.onStop(device.Close)
		opened[p.Device] = device
		g.devices = append(g.devices, device)
		g.log.Info("port", "port", p.Name, "device", device.Name, "driver", device.Driver, "mac", device.MAC.String(),
			"mtu", device.MTU, "queues", device.RxQueues, "rss", device.RSS, "rx_ipv4_checksum", device.Offloads.RxIPv4Checksum)
		if err := g.warnShared(p, device); err != nil {
			return err
		}
	}
	return nil
}

// warnShared warns of addresses of a port that the kernel has on its interface too: it answers beside the gateway, for example that nobody listens on UDP port 500.
func (g *Gateway) warnShared(p config.Port, device *ethdev.Device) error {
	kernels, err := device.KernelAddresses()
	if err != nil {
		return err
	}
	for _, k := range kernels {
		if slices.ContainsFunc(p.Addresses, func(ours netip.Prefix) bool { return ours.Addr() == k.Addr() }) {
			g.log.Warn(fmt.Sprintf("port %s (%s): the kernel has %v too and answers for it beside the gateway: take it away with \"ip address del\", and from what configures the machine's network",
				p.Name, p.Device, k))
		}
	}
	return nil
}

// deviceMTU is the largest MTU of the ports of a device. A VLAN's tag is no part of it: it belongs to the frame.
func (g *Gateway) deviceMTU(device string) (mtu int) {
	for _, p := range g.cfg.Ports {
		if p.Device == device {
			mtu = max(mtu, p.MTU)
		}
	}
	return mtu
}

// descriptors of each receive and transmit queue.
const descriptors = 1024

// wholeBuffers is how many such packets can be under way at once.
const wholeBuffers = 255

// buffers is how many packets the gateway can hold at once: full queues of every
// port, full queues to the slow path, what waits there for SAs and neighbours and
// what comes back from it, as many fragments as have room to wait, in bytes of a buffer, and what crypto
// devices that were asked for may hold.
func (g *Gateway) buffers(size int) uint32 {
	const besideQueues = 8192
	punted := pipeline.PuntClasses * g.cfg.Dataplane.PuntQueue * g.workers()
	waiting := g.cfg.Fragments.MemoryMB << 20 / size
	crypto := queuedDevices(&g.cfg.Dataplane) * g.workers() * pipeline.DeviceRoom
	return uint32(2*descriptors*len(g.cfg.Ports)*g.workers() + punted + besideQueues + waiting + crypto - 1)
}

// queuedDevices is how many crypto devices were asked for: by name, or those that every machine has, by an order with lookaside. Without either SAs are
// the CPU's, and the few that an operator moves to a device, which is software then, find what they hold beside the queues.
func queuedDevices(d *config.Dataplane) int {
	if len(d.CryptoDevices) == 0 && slices.Contains(d.Offload, string(offload.Lookaside)) {
		return len(cryptodev.DefaultDevices())
	}
	return len(d.CryptoDevices)
}

func (g *Gateway) workers() int { return len(g.cfg.Dataplane.Workers) }

// openPlane builds the data plane and puts the configuration in force.
func (g *Gateway) openPlane() (err error) {
	d := &g.cfg.Dataplane
	if err := g.openOffload(); err != nil {
		return err
	}
	idle, err := pipeline.ParseIdleMode(d.Idle)
	if err != nil {
		return err
	}
	g.plane, err = pipeline.New(pipeline.Config{
		Ports: g.portSpecs(), Workers: g.workers(), FlowEntries: d.FlowEntries, MaxSAs: d.MaxSAs,
		MaxCells: d.MaxTunnels, MaxAdjacencies: d.MaxNeighbours, PuntQueue: d.PuntQueue, Pool: g.pool, Crypto: g.crypto, Inline: g.offload, Idle: idle,
		LargePool: g.wholes, FragmentMemory: g.cfg.Fragments.MemoryMB << 20, FragmentTimeout: g.cfg.Fragments.Timeout,
		MaxSoft: g.cfg.Soft.Max, HoldPerSelector: g.cfg.Soft.QueueMax,
	})
	if err != nil {
		return err
	}
	g.onStop(g.plane.Close)
	return g.manage()
}

func (g *Gateway) portSpecs() []pipeline.PortSpec {
	specs := make([]pipeline.PortSpec, 0, len(g.devices))
	for i, device := range g.devices {
		p := g.cfg.Ports[i]
		specs = append(specs, pipeline.PortSpec{
			Name: p.Name, Port: device.Port, VLAN: p.VLAN, Role: p.Role, MAC: device.MAC, MTU: min(p.MTU, device.MTU),
			Addresses: p.Addresses, RxChecksum: device.Offloads.RxIPv4Checksum, Link: device.Link,
		})
	}
	return specs
}

// manage makes the negotiator and the manager, and puts the first policy in force.
func (g *Gateway) manage() error {
	g.certificates = newCertificates(g.cfg.State, g.log)
	cfg := ike.Config{Random: rand.Reader, LastInbound: g.plane.LastInbound, LastOutbound: g.plane.LastOutbound, MayMove: g.plane.Plausible, NameSPI: g.plane.IKESPI}
	if g.keyLog != nil {
		cfg.KeyLog = g.keyLog.write
	}
	g.ikeLog = newIKELog(g.cfg.State, g.log)
	g.onStop(g.ikeLog.close)
	cfg.Observe = g.ikeLog.observe
	g.negotiator = newNegotiator(cfg, g.plane, g.observe, g.certificates, g.log)
	g.negotiator.offload = g.offloadChanged
	g.manager = newManager(g.log, g.loaded, g.negotiator, func(s pipeline.Snapshot) (prepared, error) { return g.plane.Prepare(s) })
	return g.manager.start(g.loaded)
}

// running is the configuration in force.
func (g *Gateway) running() *running { return g.manager.running.Load() }

// observe takes every IKE fact to the log, the metrics and whoever follows the stream.
func (g *Gateway) observe(f ike.Fact) {
	g.events.add(f)
	g.logLimit.write(g.log, f)
	countFact(g.facts, f)
}

func (g *Gateway) startWorkers() error {
	if err := g.plane.Start(g.cfg.Dataplane.Workers); err != nil {
		return err
	}
	g.onStop(func() error { g.plane.Stop(); return nil })
	return nil
}

// serve runs the slow path, IKE, the control API and the metrics until ctx ends.
func (g *Gateway) serve(ctx context.Context, hangup <-chan os.Signal) error {
	defer g.control.close() // before the data plane, whose counters it reads
	if g.cfg.Metrics.Listen != (netip.AddrPort{}) {
		metrics, err := listenMetrics(g.cfg.Metrics.Listen.String(), g, g.log)
		if err != nil {
			return err
		}
		defer metrics.close()
		go metrics.serve()
	}

	// The slow path outlives ctx: deletes and their answers travel through it.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	broken := make(chan error, 1)
	running.Go(func() { g.negotiator.run(background) })
	running.Go(func() { g.manager.watch(ctx, hangup) })
	running.Go(func() { g.manager.follow(ctx) })
	running.Go(func() { g.watchExpiry(ctx) })
	defer g.certificates.close()
	running.Go(func() {
		if err := g.plane.Exceptions(background, g.negotiator); err != nil && background.Err() == nil {
			broken <- fmt.Errorf("slow path: %w", err)
		}
	})
	go g.control.serve()
	g.log.Info("gateway runs", "name", g.cfg.Name, "policy", g.running().spd.Policy, "control", g.cfg.Control.Socket, "version", Version())

	select {
	case err := <-broken:
		return err
	case <-ctx.Done():
	}
	g.log.Info("stopping: deleting SAs", "within", goodbye)
	leaving, cancel := context.WithTimeout(background, goodbye)
	defer cancel()
	g.negotiator.closeAll(leaving)
	return nil
}
