package pipeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"sallyport/crypto/cryptodev"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
	"sallyport/policy"
)

// The rig is a gateway between two sites, with ports in memory:
//
//	host 10.1.0.7 ── lan 10.1.0.1/24 [gateway] wan 192.0.2.1/24 ── peer 192.0.2.2 ── (tunnel "site") host 10.2.0.7
//
// Beside it stands the reference with the same tables. Frames go through both.
const (
	lan = 0
	wan = 1
)

var (
	lanHost  = netip.MustParseAddr("10.1.0.7")
	lanOwn   = netip.MustParseAddr("10.1.0.1")
	wanOwn   = netip.MustParseAddr("192.0.2.1")
	peer     = netip.MustParseAddr("192.0.2.2")
	farHost  = netip.MustParseAddr("10.2.0.7")
	lanMAC   = macAddress{2, 0, 0, 0, 1, 1}
	wanMAC   = macAddress{2, 0, 0, 0, 2, 1}
	hostMAC  = macAddress{2, 0, 0, 0, 1, 7}
	peerMAC  = macAddress{2, 0, 0, 0, 2, 2}
	siteRule = rule{name: "to-site", source: "10.1.0.0/16", destination: "10.2.0.0/16", tunnel: "site"}
)

// rule is a filter of a test's policy. Without a tunnel it permits, unless block is set.
type rule struct {
	name, source, destination string
	protocol                  uint8
	from, port                policy.PortRange // source and destination; the zero value is any
	tunnel                    string
	block, oneWay             bool
	passthrough               bool // S-026
	fallback                  bool // S-025
	ports                     policy.PortGroup
}

type rigOptions struct {
	workers            int
	mtu                int
	crypto             *cryptodev.Pool
	rules              []rule
	permit             bool // default action
	maxSAs             int
	flows              int
	cells              int
	tally              uint32 // Config.tally
	hops               int    // adjacencies
	buffers            int    // packets in memory
	memory             int    // bytes for fragments
	punts              int    // Config.PuntQueue
	soft               int    // Config.MaxSoft
	perSelector, total int    // Config.HoldPerSelector and HoldTotal
	idle               IdleMode
	now                time.Time // of the slow path at the start
	addLAN             []netip.Prefix
	addWAN             []netip.Prefix
	routes             []Route // beside those that every rig has
	level              policy.ExemptionLevel
	noIKE              bool // ike.enabled: false
	portIKE            map[string]bool
	// endpoints is the own outer addresses of tunnels
	endpoints map[string]netip.Addr
	lan, wan  string // own addresses with prefix lengths
	// vlans are those of lan and wan; if there are any, both are on one device
	vlans   [2]uint16
	wanRole policy.PortGroup
	host    netip.Addr // neighbour on the lan
	peer    netip.Addr // neighbour on the wan
	card    *card      // of all ports, nil: none
}

type rig struct {
	t       testing.TB
	d       *Dataplane
	ref     *reference
	pool    *mempool.Mempool
	wholes  *mempool.Mempool // for packets that arrived in fragments
	twins   []twin
	stash   [2][][]byte // taken from a device for another port than the one asked about
	cfg     Config
	now     time.Time
	seen    recorder
	random  *rand.Rand
	options rigOptions
}

// twin is a port in memory: one ring each way for each worker.
type twin struct {
	port   ethdev.Port
	rx, tx []*ring.Ring
}

// recorder is the Handler of the tests.
type recorder struct {
	ike      []Datagram
	asked    []Acquire
	acquired []CellID        // the cells of those that wait
	packets  []policy.Packet // and the packets
	groups   []Group
	heard    []netip.Addr
	expired  []string
	echoes   []Echo
	moved    []string
	offload  []OffloadChange
}

func (r *recorder) IKE(d Datagram) { r.ike = append(r.ike, d) }
func (r *recorder) Acquire(a Acquire) {
	r.asked = append(r.asked, a)
	if a.Inbound {
		return
	}
	r.acquired = append(r.acquired, a.Cell)
	r.packets = append(r.packets, a.Packet)
}
func (r *recorder) Group(g Group)           { r.groups = append(r.groups, g) }
func (r *recorder) Heard(a netip.Addr)      { r.heard = append(r.heard, a) }
func (r *recorder) Offload(c OffloadChange) { r.offload = append(r.offload, c) }
func (r *recorder) Echo(e Echo)             { r.echoes = append(r.echoes, e) }

func (r *recorder) Moved(cell CellID, spi uint32, remote netip.AddrPort) {
	r.moved = append(r.moved, fmt.Sprintf("cell %d spi %d %s", cell, spi, remote))
}
func (r *recorder) Expire(cell CellID, spi uint32, outbound, hard bool) {
	r.expired = append(r.expired, fmt.Sprintf("cell %d spi %d outbound %v hard %v", cell, spi, outbound, hard))
}

var rigNumber atomic.Int32

// fragmentTimeout of all rigs: only rig.advance makes it pass.
const fragmentTimeout = time.Hour

// newRig builds a gateway with its policy applied and its two neighbours known.
func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	o.workers, o.maxSAs, o.flows, o.cells, o.hops, o.buffers = max(o.workers, 1), max(o.maxSAs, 64), max(o.flows, 1024), max(o.cells, 16), max(o.hops, 64), max(o.buffers, 2047)
	if o.soft == 0 {
		o.soft = 64
	}
	if o.wanRole == 0 {
		o.wanRole = policy.PortsWAN
	}
	if o.now.IsZero() {
		o.now = epoch
	}
	if o.mtu == 0 {
		o.mtu = 1500
	}
	if o.lan == "" {
		o.lan, o.wan, o.host, o.peer = "10.1.0.1/24", "192.0.2.1/24", lanHost, peer
	}
	if o.crypto == nil {
		o.crypto = defaultCrypto
	}
	if o.rules == nil {
		o.rules = []rule{siteRule}
	}
	n := rigNumber.Add(1)
	r := &rig{t: t, now: o.now, random: rand.New(rand.NewPCG(uint64(n), 7)), options: o}
	var err error
	r.pool, err = mempool.CreateMbufPool(fmt.Sprintf("rig%d", n), uint32(o.buffers), DataRoom(max(o.mtu, 9000)), mempool.OptPrivateDataSize(MbufPrivateSize))
	if err != nil {
		t.Fatal(err)
	}
	r.wholes, err = mempool.CreateMbufPool(fmt.Sprintf("rig%dlarge", n), 63, LargeDataRoom(max(o.mtu, 9000)), mempool.OptPrivateDataSize(MbufPrivateSize))
	if err != nil {
		t.Fatal(err)
	}
	specs := []PortSpec{
		{Name: "lan", Role: policy.PortsLAN, MAC: lanMAC[:], Addresses: append([]netip.Prefix{netip.MustParsePrefix(o.lan)}, o.addLAN...)},
		{Name: "wan", Role: o.wanRole, MAC: wanMAC[:], Addresses: append([]netip.Prefix{netip.MustParsePrefix(o.wan)}, o.addWAN...)},
	}
	for i := range specs {
		specs[i].MTU, specs[i].VLAN = o.mtu, o.vlans[i]
		if i == 0 || o.vlans == [2]uint16{} {
			r.twins = append(r.twins, newTwin(t, fmt.Sprintf("rig%d_%d", n, i), o, r.pool))
		}
		specs[i].Port = r.wire(i).port
	}
	r.cfg = Config{Ports: specs, Workers: o.workers, FlowEntries: o.flows, MaxSAs: o.maxSAs, MaxCells: o.cells, MaxAdjacencies: o.hops, tally: o.tally, Pool: r.pool, Crypto: o.crypto, Idle: o.idle,
		MaxSoft: o.soft, HoldPerSelector: o.perSelector, HoldTotal: o.total, LargePool: r.wholes, PuntQueue: o.punts, FragmentMemory: o.memory, FragmentTimeout: fragmentTimeout}
	if o.card != nil {
		o.card.r = r
		r.cfg.Inline = o.card
		for _, w := range r.twins {
			for worker := range w.tx {
				descriptorsOf(uint16(w.port), worker, w.tx[worker].Pointer())
			}
		}
	}
	if r.d, err = New(r.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.ref = &reference{ports: specs, own: r.d.policy.own, tunnels: map[string]CellID{}, cells: map[CellID]*referenceCell{},
		inbound: map[uint32]*referenceIn{}, neighbours: map[neighbourKey]macAddress{}, fragments: map[fragmentKey]*partial{}, soft: map[softTraffic]bool{}}
	r.applyRules(o.rules...)
	r.announce(lan, o.host, hostMAC)
	r.announce(wan, o.peer, peerMAC)
	return r
}

func newTwin(t testing.TB, name string, o rigOptions, pool *mempool.Mempool) twin {
	t.Helper()
	var w twin
	for i := range o.workers {
		for _, list := range []*[]*ring.Ring{&w.rx, &w.tx} {
			r, err := ring.Create(fmt.Sprintf("%s_%d_%d", name, i, len(w.rx)+2*len(w.tx)), 1024)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, r)
		}
	}
	var err error
	if w.port, err = ethdev.FromRings(name, w.rx, w.tx); err != nil {
		t.Fatal(err)
	}
	if _, err = ethdev.Setup(w.port, ethdev.PortConfig{Name: name, RxQueues: o.workers, TxQueues: o.workers, MTU: min(o.mtu, ethdev.MaxMTU), Pool: pool}); err != nil {
		t.Fatal(err)
	}
	return w
}

// close ends the rig and checks that every buffer came back and no packet was lost from the counts.
func (r *rig) close() {
	if r.d.c != nil {
		r.settle()
		r.serveAll()
		r.settle()
		c := r.d.Counters()
		if err := c.Conserved(); err != nil {
			r.t.Error(err)
		}
		for _, w := range r.twins {
			for _, q := range w.tx { // what a NIC has to send the data plane waits for
				drainRing(q)
			}
		}
	}
	if err := r.d.Close(); err != nil {
		r.t.Error(err)
	}
	for _, w := range r.twins {
		for i := range w.tx {
			drainRing(w.tx[i])
			drainRing(w.rx[i])
		}
		if err := w.port.Stop(); err != nil {
			r.t.Error(err)
		}
		if err := w.port.Close(); err != nil {
			r.t.Error(err)
		}
		for i := range w.tx {
			w.tx[i].Free()
			w.rx[i].Free()
		}
	}
	for _, pool := range []*mempool.Mempool{r.pool, r.wholes} {
		if n := pool.InUse(); n != 0 {
			r.t.Errorf("%d packet buffers were not freed", n)
		}
		pool.Free()
	}
}

func drainRing(q *ring.Ring) [][]byte { return drainThrough(q, nil) }

// drainThrough empties a ring; what comes out of it is what a card makes of it.
func drainThrough(q *ring.Ring, send func(mbuf unsafe.Pointer, frame []byte) []byte) [][]byte {
	var frames [][]byte
	batch := make([]unsafe.Pointer, 64)
	for {
		n := q.DequeueBurst(batch)
		if n == 0 {
			return frames
		}
		for i, frame := range mbuf.Frames(batch[:n]) {
			if send != nil {
				frame = send(batch[i], frame)
			}
			frames = append(frames, frame)
		}
		mbuf.FreeBulk(batch[:n])
	}
}

// applyRules compiles and publishes a policy to both sides. Its tunnels get cells by their names.
func (r *rig) applyRules(rules ...rule) {
	r.t.Helper()
	r.publish(r.snapshot(rules...))
}

// snapshot compiles a policy for the gateway's present addresses.
func (r *rig) snapshot(rules ...rule) Snapshot {
	r.t.Helper()
	spd := r.compile(rules)
	for _, e := range spd.Entries {
		if e.Tunnel != "" {
			r.cell(e.Tunnel)
		}
	}
	routes := []Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: r.options.peer}, {To: netip.MustParsePrefix("10.1.128.0/17"), Via: r.options.host}}
	routes = append(routes, r.options.routes...)
	s := Snapshot{SPD: spd, Routes: routes, Tunnels: r.ref.tunnels, PortIKE: r.options.portIKE, Addresses: map[string][]netip.Prefix{}}
	for i := range r.cfg.Ports {
		s.Addresses[r.cfg.Ports[i].Name] = r.ref.own[i]
	}
	return s
}

// publish puts a snapshot in force on both sides.
func (r *rig) publish(s Snapshot) {
	r.t.Helper()
	if err := r.d.Apply(s); err != nil {
		r.t.Fatal(err)
	}
	r.rests()
	r.mirror(s)
}

// rejudged lets the packets that waited when a policy was published meet it. It returns what left, by port.
func (r *rig) rejudged() [2][][]byte {
	r.t.Helper()
	r.settle()
	left := [2][][]byte{r.sent(lan), r.sent(wan)}
	r.serveAll()
	r.settle()
	r.sent(lan) // ARP requests
	r.sent(wan)
	return left
}

// mirror gives the reference what has been published.
func (r *rig) mirror(s Snapshot) {
	r.ref.spd, r.ref.withoutIKE = s.SPD, map[int]bool{}
	for i := range r.cfg.Ports {
		on, said := s.PortIKE[r.cfg.Ports[i].Name]
		r.ref.withoutIKE[i] = said && !on
	}
	r.ref.own, _ = r.cfg.addressesOf(&s)
	r.ref.routes, _ = resolveRoutes(r.ref.own, s.Routes)
}

func (r *rig) compile(rules []rule) *policy.SPD {
	r.t.Helper()
	set := &policy.Set{Active: "test", Policies: []policy.Policy{{Name: "test"}}, Exemptions: r.options.level, IKEDisabled: r.options.noIKE, FilterActions: []policy.FilterAction{
		{Name: "permit", Kind: policy.ActionPermit},
		{Name: "block", Kind: policy.ActionBlock},
		{Name: "negotiate", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}},
		{Name: "fallback", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}, FallbackClear: true, FallbackClearOnWAN: true},
		{Name: "passthrough", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}, InboundPassthrough: true},
	}}
	if r.options.permit {
		set.Policies[0].DefaultAction = policy.ActionPermit
	}
	for _, x := range rules {
		filter := policy.Filter{Source: r.addressSpec(x.source), Destination: r.addressSpec(x.destination), Protocol: x.protocol,
			SourcePort: x.from, DestinationPort: x.port, Mirrored: !x.oneWay}
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: x.name, Updated: epoch, Filters: []policy.Filter{filter}})
		set.Policies[0].Rules = append(set.Policies[0].Rules, x.policyRule())
	}
	var environment policy.Environment
	for _, on := range r.ref.own {
		for _, a := range on {
			environment.LocalAddresses = append(environment.LocalAddresses, a.Addr())
			environment.Subnets = append(environment.Subnets, a)
		}
	}
	environment.Endpoints = r.options.endpoints
	spd, _, err := policy.Compile(set, environment)
	if err != nil {
		r.t.Fatal(err)
	}
	return spd
}

func (r *rig) addressSpec(text string) policy.AddressSpec {
	r.t.Helper()
	spec, err := policy.ParseAddressSpec(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return spec
}

func (x *rule) policyRule() policy.Rule {
	rule := policy.Rule{Name: x.name, FilterList: x.name, FilterAction: "permit", Tunnel: x.tunnel, Ports: x.ports}
	switch {
	case x.passthrough:
		rule.FilterAction = "passthrough"
	case x.fallback:
		rule.FilterAction = "fallback"
	case x.tunnel != "":
		rule.FilterAction = "negotiate"
	case x.block:
		rule.FilterAction = "block"
	}
	if x.tunnel != "" {
		rule.AuthMethods = []string{"psk"}
	}
	return rule
}

// cell opens a tunnel on both sides.
func (r *rig) cell(name string) CellID {
	r.t.Helper()
	id, err := r.d.OpenCell(name)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.ref.cells[id] == nil {
		r.ref.tunnels[name] = id
		r.ref.cells[id] = &referenceCell{}
	}
	return id
}

func (r *rig) setCell(name string, state CellState) {
	r.t.Helper()
	id := r.cell(name)
	if err := r.d.SetCellState(id, state); err != nil {
		r.t.Fatal(err)
	}
	r.ref.cells[id].state = state
}

// announce makes a neighbour known as it happens on a link: the neighbour asks for the gateway's address.
func (r *rig) announce(port int, address netip.Addr, mac macAddress) {
	r.t.Helper()
	own, _ := r.d.policy.own.toward(port, address)
	r.enqueue(0, port, arpMessage{op: arpRequestOp, senderMAC: mac, senderAddr: address, targetAddr: own}.frame(broadcastMAC))
	r.settle()
	r.serveAll()
	r.settle()
	want := arpMessage{op: arpReplyOp, senderMAC: macAddress(r.cfg.Ports[port].MAC), senderAddr: own, targetMAC: mac, targetAddr: address}.frame(mac)
	if got := r.sent(port); len(got) != 1 || !bytes.Equal(got[0], want) {
		r.t.Fatalf("ARP on port %d: got % x, want % x", port, got, want)
	}
	r.ref.neighbours[neighbourKey{Port: port, Address: address}] = mac
}

// enqueue delivers frames to a port, tagged if it is a VLAN.
func (r *rig) enqueue(worker, port int, frames ...[]byte) {
	r.t.Helper()
	if vlan := r.options.vlans[port]; vlan != 0 {
		frames = slices.Clone(frames)
		for i := range frames {
			frames[i] = withTag(frames[i], vlan)
		}
	}
	r.enqueueWire(worker, port, frames...)
}

// wire is the device of a port.
func (r *rig) wire(port int) twin { return r.twins[min(port, len(r.twins)-1)] }

// enqueueWire delivers frames as they are on the wire to the device of a port.
func (r *rig) enqueueWire(worker, port int, frames ...[]byte) {
	r.t.Helper()
	mbufs, err := mbuf.FromFrames(r.pool, frames)
	if err != nil {
		r.t.Fatal(err)
	}
	for i, m := range mbufs {
		mbufs[i] = r.options.card.receive(uint16(r.wire(port).port), m)
	}
	if n := r.wire(port).rx[worker].EnqueueBurst(mbufs); n != len(mbufs) {
		r.t.Fatalf("receive ring took %d of %d frames", n, len(mbufs))
	}
}

// settle lets all workers run until nothing moves any more.
func (r *rig) settle() {
	r.t.Helper()
	for idle, turns := 0, 0; idle < 2; turns++ {
		if turns > 10000 {
			r.t.Fatal("the workers find no rest")
		}
		moved := 0
		for w := range r.options.workers {
			n, err := r.d.RunBurst(w)
			if err != nil {
				r.t.Fatal(err)
			}
			moved += n + r.d.InFlight(w)
		}
		if idle++; moved > 0 {
			idle = 0
		}
	}
}

// serveAll runs the slow path until it has nothing to do.
func (r *rig) serveAll() (n int) {
	r.t.Helper()
	for {
		m, _, err := r.d.serve(r.now, &r.seen)
		if err != nil {
			r.t.Fatal(err)
		}
		if r.rests(); m == 0 && !r.untold() {
			return n
		}
		n += m
	}
}

// rests waits until drivers have nothing to do.
func (r *rig) rests() { r.d.AwaitDrivers() }

// untold reports whether the handler has still to hear of something.
func (r *rig) untold() bool {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	return len(r.d.sad.lost) > 0
}

// sent takes what was transmitted on a port.
func (r *rig) sent(port int) [][]byte {
	var frames [][]byte
	for _, q := range r.wire(port).tx {
		frames = append(frames, drainThrough(q, func(m unsafe.Pointer, frame []byte) []byte {
			return r.options.card.send(uint16(r.wire(port).port), m, frame)
		})...)
	}
	if r.options.vlans != [2]uint16{} {
		return r.untagged(port, frames)
	}
	return frames
}
