package joined

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/ike"
	"sallyport/ike/wire"
	"sallyport/perf/ikebench"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
	"sallyport/policy"
)

const (
	mtu        = 1500
	buffers    = 1<<14 - 1
	ringSize   = 1 << 12
	inboxSize  = 1 << 13
	tunnelName = "site" // the tunnel that a policy leads to: the first peer's
)

// place is where a gateway stands.
type place struct {
	name     string
	behind   netip.Prefix
	own, far netip.Prefix // on the unprotected side
	number   byte
	workers  int // with several, each has Child SAs of its own
}

// end is one gateway: what the appliance does between engine and data plane, without configuration and display.
type end struct {
	place
	pool   *mempool.Mempool
	plane  *pipeline.Dataplane
	engine *ike.Engine
	cells  map[string]pipeline.CellID
	ports  [2]port
	inbox  chan ike.Event

	up, rekeyed atomic.Int64 // Child SAs that came up; IKE SAs and Child SAs that took over
	failed      atomic.Pointer[string]
	full        atomic.Bool // it has room for one inbound SA only, and refusals are no failure
	spis        atomic.Int64
	owners      sync.Map // by inbound SPI: the number of the worker whose it is
	undo        []func() error
}

type port struct {
	mac    net.HardwareAddr
	rx, tx []*ring.Ring // by worker
}

const (
	lan = 0
	wan = 1
)

func macOf(number byte, port int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, number, byte(port)}
}

func newEnd(at place, peers int, devices *cryptodev.Pool) (*end, error) {
	e := &end{place: at, cells: map[string]pipeline.CellID{}, inbox: make(chan ike.Event, inboxSize)}
	if err := e.newPlane(peers, devices); err != nil {
		return e, err
	}
	var list []ike.Peer
	for i := range peers {
		p, err := e.peer(i)
		if err != nil {
			return e, err
		}
		list = append(list, p)
	}
	if err := ike.ValidatePeers(list[:min(len(list), 2)]); err != nil {
		return e, err
	}
	limits := ikebench.Unlimited()
	limits.RetryMax = time.Second // as RetryMin: an end that was full is soon asked again
	cfg := ike.Config{Random: rand.Reader, Peers: list, Limits: limits, AllocateSPI: e.allocate}
	if e.workers > 1 {
		cfg.LastInbound = e.lastInbound
	}
	e.engine = ike.NewEngine(cfg)
	return e, nil
}

func (e *end) allocate(_, _ string) (uint32, error) {
	if e.spis.Add(1) > 1 && e.full.Load() {
		return 0, errors.New("full for this test")
	}
	return e.plane.AllocateSPI()
}

// lastInbound is when a packet last came by an SA. With few SAs a list will do.
func (e *end) lastInbound(spi uint32) time.Time {
	for _, sa := range e.plane.SACounters() {
		if sa.SPI == spi && !sa.Outbound && sa.Packets > 0 {
			return time.Now().Add(-sa.Idle)
		}
	}
	return time.Time{}
}

// tunnel is the name of a peer and of its child.
func tunnel(number int) string {
	if number == 0 {
		return tunnelName
	}
	return fmt.Sprintf("%s-%d", tunnelName, number)
}

func (e *end) peer(number int) (ike.Peer, error) {
	proposal, err := crypto.ParseIKEProposal("aes128gcm16-prfsha256-curve25519")
	esp, espErr := crypto.ParseESPProposal("aes128gcm16")
	identity := func(of byte) ike.Identity {
		return ike.Identity{Type: wire.IDFQDN, Data: fmt.Sprintf("%d.gw%d.example", number, of)}
	}
	there := netB
	if e.behind == netB {
		there = netA
	}
	return ike.Peer{
		Name: tunnel(number), Local: e.own.Addr(), Remote: e.far.Addr(), LocalID: identity(e.number), RemoteID: identity(3 - e.number),
		PSK: crypto.NewSecret([]byte("a key for measurements only")), IKEProposals: []crypto.IKEProposal{proposal}, DPDDelay: -1,
		Children: []ike.Child{{Name: tunnel(number), Start: ike.StartOnDemand, IdleTimeout: -1, PerCore: e.workers, Proposals: []crypto.Proposal{esp}, Selectors: []policy.Selector{{
			Local: policy.RangeOf(e.behind), Remote: policy.RangeOf(there), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
		}}}},
	}, errors.Join(err, espErr)
}

var pools atomic.Int32 // names them apart

func (e *end) newPlane(peers int, devices *cryptodev.Pool) (err error) {
	name := fmt.Sprintf("joined%d", pools.Add(1))
	if e.pool, err = mempool.CreateMbufPool(name, buffers, pipeline.DataRoom(mtu), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize)); err != nil {
		return err
	}
	e.undo = append(e.undo, func() error { e.pool.Free(); return nil })
	var specs []pipeline.PortSpec
	for i, p := range []struct {
		name    string
		role    policy.PortGroup
		address netip.Prefix
	}{{"lan", policy.PortsLAN, netip.PrefixFrom(e.behind.Addr().Next(), e.behind.Bits())}, {"wan", policy.PortsWAN, e.own}} {
		opened, err := e.openPort(i, fmt.Sprintf("%s_%d", name, i))
		if err != nil {
			return err
		}
		specs = append(specs, pipeline.PortSpec{Name: p.name, Port: opened, Role: p.role, MAC: e.ports[i].mac, MTU: mtu, Addresses: []netip.Prefix{p.address}})
	}
	room := 1024 // a replaced SA stays for the grace time, and rekeys come fast
	for room < 4*(peers+2) {
		room *= 2
	}
	if e.plane, err = pipeline.New(pipeline.Config{Ports: specs, Workers: e.workers, FlowEntries: 4096, MaxSAs: room, MaxCells: peers + 1, MaxAdjacencies: 16,
		Pool: e.pool, Crypto: devices, Idle: pipeline.IdleSleep}); err != nil {
		return err
	}
	e.undo = append(e.undo, e.plane.Close)
	for i := range peers {
		if e.cells[tunnel(i)], err = e.plane.OpenCell(tunnel(i)); err != nil {
			return err
		}
	}
	err = e.plane.LearnNeighbour(time.Now(), "wan", e.far.Addr(), macOf(3-e.number, wan))
	return errors.Join(err, e.plane.LearnNeighbour(time.Now(), "lan", e.host(), hostMAC), e.publish())
}

// host is the one host behind the gateway.
func (e *end) host() netip.Addr { return e.behind.Addr().Next().Next() }

var hostMAC = net.HardwareAddr{2, 0, 0, 0, 9, 9}

func (e *end) openPort(number int, name string) (opened ethdev.Port, err error) {
	p := &e.ports[number]
	p.mac = macOf(e.number, number)
	for way, rings := range []*[]*ring.Ring{&p.rx, &p.tx} {
		for worker := range e.workers {
			r, err := ring.Create(fmt.Sprintf("%s_%d_%d", name, way, worker), ringSize)
			if err != nil {
				return opened, err
			}
			e.undo = append(e.undo, func() error { r.Free(); return nil })
			*rings = append(*rings, r)
		}
	}
	if opened, err = ethdev.FromRings(name, p.rx, p.tx); err != nil {
		return opened, err
	}
	e.undo = append(e.undo, opened.Close)
	_, err = ethdev.Setup(opened, ethdev.PortConfig{Name: name, RxQueues: e.workers, TxQueues: e.workers, MTU: mtu, Pool: e.pool})
	e.undo = append(e.undo, opened.Stop)
	return opened, err
}

// publish protects what the hosts of both sides have for each other by the first tunnel.
func (e *end) publish() error {
	far := netB
	if e.behind == netB {
		far = netA
	}
	set := &policy.Set{Active: "joined", FilterActions: []policy.FilterAction{{Name: "protect", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}}},
		FilterLists: []policy.FilterList{{Name: tunnelName, Filters: []policy.Filter{{Source: policy.Range(policy.RangeOf(e.behind)), Destination: policy.Range(policy.RangeOf(far))}}}},
		Policies: []policy.Policy{{Name: "joined", Rules: []policy.Rule{{Name: tunnelName, FilterList: tunnelName, FilterAction: "protect",
			Tunnel: tunnelName, AuthMethods: []string{"psk"}}}}}}
	spd, _, err := policy.Compile(set, policy.Environment{LocalAddresses: []netip.Addr{e.own.Addr(), e.behind.Addr().Next()}})
	if err != nil {
		return err
	}
	return e.plane.Apply(pipeline.Snapshot{SPD: spd, Tunnels: map[string]pipeline.CellID{tunnelName: e.cells[tunnelName]},
		Routes: []pipeline.Route{{To: far, Via: e.far.Addr()}}})
}

func (e *end) close() error {
	var errs []error
	for i := len(e.undo) - 1; i >= 0; i-- {
		errs = append(errs, e.undo[i]())
	}
	e.undo = nil
	return errors.Join(errs...)
}

// run steps the engine until ctx ends.
func (e *end) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.inbox:
			e.step(event, timer)
		case <-timer.C:
			e.step(ike.Tick{}, timer)
		}
	}
}

func (e *end) step(event ike.Event, timer *time.Timer) {
	for _, effect := range e.engine.Step(time.Now(), event) {
		if err := e.carryOut(effect, timer); err != nil {
			e.fail(err.Error())
		}
	}
}

func (e *end) fail(text string) { e.failed.CompareAndSwap(nil, &text) }

func (e *end) carryOut(effect ike.Effect, timer *time.Timer) error {
	switch x := effect.(type) {
	case ike.Send:
		return e.plane.SendUDP(x.Local, x.Remote, x.Payload, x.NonESPMarker)
	case ike.Arm:
		if !x.At.IsZero() {
			timer.Reset(time.Until(x.At))
		}
	case ike.InstallInbound:
		if x.SA.Worker > 0 {
			e.owners.Store(x.SA.SPI, x.SA.Worker-1)
		}
		return e.install(x.Child, x.SA, e.plane.InstallInbound)
	case ike.InstallOutbound:
		return e.install(x.Child, x.SA, e.plane.InstallOutbound)
	case ike.RemoveInbound:
		return e.plane.RemoveInbound(x.SPI)
	case ike.RemoveOutbound:
		_, err := e.plane.RemoveOutbound(e.cells[x.Child], x.SPI)
		return err
	case ike.ReleaseSPI:
		e.plane.ReleaseSPI(x.SPI)
	case ike.Fact:
		switch x.Kind {
		case ike.ChildEstablished:
			e.up.Add(1)
		case ike.IKERekeyed, ike.ChildRekeyed:
			e.rekeyed.Add(1)
		case ike.Failed, ike.Refused:
			if x.Reason == ike.FailNoAdditionalSAs || x.Reason == ike.RefuseSPI {
				return nil // one of the ends is full
			}
			return fmt.Errorf("%v: %v %s", x.Kind, x.Reason, x.Detail)
		}
	}
	return nil
}

func (e *end) install(child string, sa ike.ChildSA, into func(pipeline.ChildSA) error) error {
	defer sa.Keymat.Wipe()
	return into(pipeline.ChildSA{Cell: e.cells[child], SPI: sa.SPI, Suite: sa.Suite, Keymat: sa.Keymat, Local: sa.Local, Remote: sa.Remote,
		UDPEncap: sa.UDPEncap, Selectors: sa.Selectors, ReplayWindow: sa.ReplayWindow, ESN: sa.ESN, Worker: sa.Worker})
}

// IKE and the methods after it make the end a pipeline.Handler.
func (e *end) IKE(d pipeline.Datagram) {
	e.offer(ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: d.Payload})
}

// Expire passes on what an SA has used up; none lives that long here.
func (e *end) Expire(_ pipeline.CellID, spi uint32, _, hard bool) {
	e.offer(ike.Expire{SPI: spi, Hard: hard})
}

// Acquire is not answered: tunnels are brought up in order.
func (e *end) Acquire(pipeline.Acquire) {}

// Group does not happen: nothing is sent to groups.
func (e *end) Group(pipeline.Group) {}

// Heard is of soft SAs too.
func (e *end) Heard(netip.Addr) {}

// Offload takes word of a device that is lost.
func (e *end) Offload(pipeline.OffloadChange) {}

// Echo is not answered.
func (e *end) Echo(pipeline.Echo) {}

// Moved does not happen without a NAT.
func (e *end) Moved(pipeline.CellID, uint32, netip.AddrPort) {}

func (e *end) offer(event ike.Event) {
	select {
	case e.inbox <- event:
	default: // IKE sends it again
	}
}
