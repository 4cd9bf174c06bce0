package pipeline

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"sallyport/crypto"
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
	port                      policy.PortRange // destination
	tunnel                    string
	block, oneWay             bool
	ports                     policy.PortGroup
}

type rigOptions struct {
	workers  int
	mtu      int
	crypto   *cryptodev.Pool
	rules    []rule
	permit   bool // default action
	maxSAs   int
	flows    int
	cells    int
	hops     int // adjacencies
	addWAN   []netip.Prefix
	lan, wan string     // own addresses with prefix lengths
	host     netip.Addr // neighbour on the lan
	peer     netip.Addr // neighbour on the wan
}

type rig struct {
	t       *testing.T
	d       *Dataplane
	ref     *reference
	pool    *mempool.Mempool
	twins   []twin
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
	acquired []CellID
	packets  []policy.Packet
	expired  []string
}

func (r *recorder) IKE(d Datagram) { r.ike = append(r.ike, d) }
func (r *recorder) Acquire(cell CellID, p policy.Packet) {
	r.acquired = append(r.acquired, cell)
	r.packets = append(r.packets, p)
}
func (r *recorder) Expire(cell CellID, spi uint32, outbound, hard bool) {
	r.expired = append(r.expired, fmt.Sprintf("cell %d spi %d outbound %v hard %v", cell, spi, outbound, hard))
}

var rigNumber atomic.Int32

// newRig builds a gateway with its policy applied and its two neighbours known.
func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	o.workers, o.maxSAs, o.flows, o.cells, o.hops = max(o.workers, 1), max(o.maxSAs, 64), max(o.flows, 1024), max(o.cells, 16), max(o.hops, 64)
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
	r := &rig{t: t, now: epoch, random: rand.New(rand.NewPCG(uint64(n), 7)), options: o}
	var err error
	r.pool, err = mempool.CreateMbufPool(fmt.Sprintf("rig%d", n), 2047, DataRoom(max(o.mtu, 9000)), mempool.OptPrivateDataSize(MbufPrivateSize))
	if err != nil {
		t.Fatal(err)
	}
	specs := []PortSpec{
		{Name: "lan", Role: policy.PortsLAN, MAC: lanMAC[:], Addresses: []netip.Prefix{netip.MustParsePrefix(o.lan)}},
		{Name: "wan", Role: policy.PortsWAN, MAC: wanMAC[:], Addresses: append([]netip.Prefix{netip.MustParsePrefix(o.wan)}, o.addWAN...)},
	}
	for i := range specs {
		specs[i].MTU = o.mtu
		r.twins = append(r.twins, newTwin(t, fmt.Sprintf("rig%d_%d", n, i), o, r.pool))
		specs[i].Port = r.twins[i].port
	}
	r.cfg = Config{Ports: specs, Workers: o.workers, FlowEntries: o.flows, MaxSAs: o.maxSAs, MaxCells: o.cells, MaxAdjacencies: o.hops, Pool: r.pool, Crypto: o.crypto}
	if r.d, err = New(r.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	r.ref = &reference{ports: specs, tunnels: map[string]CellID{}, cells: map[CellID]*referenceCell{},
		inbound: map[uint32]*referenceIn{}, neighbours: map[neighbourKey]macAddress{}}
	r.applyRules(o.rules...)
	r.announce(lan, o.host, hostMAC)
	r.announce(wan, o.peer, peerMAC)
	return r
}

func newTwin(t *testing.T, name string, o rigOptions, pool *mempool.Mempool) twin {
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
	r.settle()
	r.serveAll()
	r.settle()
	c := r.d.Counters()
	if err := c.Conserved(); err != nil {
		r.t.Error(err)
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
	if n := r.pool.InUse(); n != 0 {
		r.t.Errorf("%d packet buffers were not freed", n)
	}
	r.pool.Free()
}

func drainRing(q *ring.Ring) [][]byte {
	var frames [][]byte
	batch := make([]unsafe.Pointer, 64)
	for {
		n := q.DequeueBurst(batch)
		if n == 0 {
			return frames
		}
		frames = append(frames, mbuf.Frames(batch[:n])...)
		mbuf.FreeBulk(batch[:n])
	}
}

// applyRules compiles and publishes a policy to both sides. Its tunnels get cells by their names.
func (r *rig) applyRules(rules ...rule) {
	r.t.Helper()
	spd := compileRules(r.t, r.options.permit, rules, r.cfg.Ports)
	for _, e := range spd.Entries {
		if e.Tunnel != "" {
			r.cell(e.Tunnel)
		}
	}
	routes := []Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: r.options.peer}, {To: netip.MustParsePrefix("10.1.128.0/17"), Via: r.options.host}}
	if err := r.d.Apply(Snapshot{SPD: spd, Routes: routes, Tunnels: r.ref.tunnels}); err != nil {
		r.t.Fatal(err)
	}
	r.ref.spd = spd
	r.ref.routes, _ = resolveRoutes(r.cfg.Ports, routes)
}

func compileRules(t *testing.T, permit bool, rules []rule, ports []PortSpec) *policy.SPD {
	t.Helper()
	set := &policy.Set{Active: "test", Policies: []policy.Policy{{Name: "test"}}, FilterActions: []policy.FilterAction{
		{Name: "permit", Kind: policy.ActionPermit},
		{Name: "block", Kind: policy.ActionBlock},
		{Name: "negotiate", Kind: policy.ActionNegotiate, Methods: []string{"aes128gcm16"}},
	}}
	if permit {
		set.Policies[0].DefaultAction = policy.ActionPermit
	}
	for _, x := range rules {
		action := "permit"
		if x.tunnel != "" {
			action = "negotiate"
		} else if x.block {
			action = "block"
		}
		source, err := policy.ParseAddressSpec(x.source)
		if err != nil {
			t.Fatal(err)
		}
		destination, err := policy.ParseAddressSpec(x.destination)
		if err != nil {
			t.Fatal(err)
		}
		if x.port == (policy.PortRange{}) {
			x.port = policy.AnyPort
		}
		filter := policy.Filter{Source: source, Destination: destination, Protocol: x.protocol, SourcePort: policy.AnyPort, DestinationPort: x.port, Mirrored: !x.oneWay}
		set.FilterLists = append(set.FilterLists, policy.FilterList{Name: x.name, Updated: epoch, Filters: []policy.Filter{filter}})
		set.Policies[0].Rules = append(set.Policies[0].Rules, policy.Rule{Name: x.name, FilterList: x.name, FilterAction: action, Tunnel: x.tunnel, Ports: x.ports})
	}
	var own []netip.Addr
	for _, p := range ports {
		for _, a := range p.Addresses {
			own = append(own, a.Addr())
		}
	}
	spd, _, err := policy.Compile(set, policy.Environment{LocalAddresses: own})
	if err != nil {
		t.Fatal(err)
	}
	return spd
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
	own, _ := r.cfg.Ports[port].addressToward(address)
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

func (r *rig) enqueue(worker, port int, frames ...[]byte) {
	r.t.Helper()
	mbufs, err := mbuf.FromFrames(r.pool, frames)
	if err != nil {
		r.t.Fatal(err)
	}
	if n := r.twins[port].rx[worker].EnqueueBurst(mbufs); n != len(mbufs) {
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
		m, err := r.d.serve(r.now, &r.seen)
		if err != nil {
			r.t.Fatal(err)
		}
		if m == 0 {
			return n
		}
		n += m
	}
}

// sent takes what was transmitted on a port.
func (r *rig) sent(port int) [][]byte {
	var frames [][]byte
	for _, q := range r.twins[port].tx {
		frames = append(frames, drainRing(q)...)
	}
	return frames
}

// outbound installs an SA that sends, on both sides; the peer's end of it is returned, with its own replay window.
func (r *rig) outbound(child ChildSA) *referenceIn {
	r.t.Helper()
	if err := r.d.InstallOutbound(child); err != nil {
		r.t.Fatal(err)
	}
	out := r.newReferenceOut(child)
	r.ref.cells[child.Cell].out = out
	return &referenceIn{child: child, esp: out.esp, window: newReferenceWindow(DefaultReplayWindow)}
}

func (r *rig) newReferenceOut(child ChildSA) *referenceOut {
	return &referenceOut{child: child, esp: r.newESP(child), sequence: max(child.firstSequence, 1) - 1}
}

func (r *rig) newESP(child ChildSA) *crypto.ESP {
	r.t.Helper()
	esp, err := crypto.NewESP(child.Suite, child.SPI, child.Keymat, crypto.WithESN(child.ESN))
	if err != nil {
		r.t.Fatal(err)
	}
	return esp
}

// inbound installs an SA that receives, on both sides; what the peer sends with is returned.
func (r *rig) inbound(child ChildSA) *referenceOut {
	r.t.Helper()
	if err := r.d.InstallInbound(child); err != nil {
		r.t.Fatal(err)
	}
	window := child.ReplayWindow
	if window == 0 {
		window = DefaultReplayWindow
	}
	r.ref.inbound[child.SPI] = &referenceIn{child: child, esp: r.newESP(child), window: newReferenceWindow(window)}
	far := child
	far.Local, far.Remote = child.Remote, child.Local
	return r.newReferenceOut(far)
}

// child describes an SA of a tunnel between the sites with fresh keys. For an inbound one the SPI is allocated.
func (r *rig) child(tunnel, suite string, inbound bool) ChildSA {
	r.t.Helper()
	s, err := crypto.ParseSuite(suite)
	if err != nil {
		r.t.Fatal(err)
	}
	keymat := make([]byte, s.KeymatLen())
	for i := range keymat {
		keymat[i] = byte(r.random.Uint32())
	}
	c := ChildSA{Cell: r.cell(tunnel), SPI: r.random.Uint32() | 1<<31, Suite: s, Keymat: crypto.NewSecret(keymat),
		Local: netip.AddrPortFrom(wanOwn, 4500), Remote: netip.AddrPortFrom(peer, 4500),
		Selectors: []policy.Selector{siteSelector}}
	if inbound {
		if c.SPI, err = r.d.AllocateSPI(); err != nil {
			r.t.Fatal(err)
		}
	}
	return c
}

var siteSelector = policy.Selector{
	Local:     policy.RangeOf(netip.MustParsePrefix("10.1.0.0/16")),
	Remote:    policy.RangeOf(netip.MustParsePrefix("10.2.0.0/16")),
	LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
}

// fromHost and fromPeer are frames as the two neighbours send them.
func fromHost(ip []byte) []byte {
	return etherFrame(lanMAC[:], net.HardwareAddr(hostMAC[:]), etherTypeIPv4, ip)
}
func fromPeer(ip []byte) []byte {
	return etherFrame(wanMAC[:], net.HardwareAddr(peerMAC[:]), etherTypeIPv4, ip)
}

// packetOfLength is an IPv4 packet of exactly length bytes in all, from 20 on, of the protocol.
func packetOfLength(source, destination netip.Addr, protocol uint8, length int) ipv4 {
	p := make(ipv4, length)
	for i := range p {
		p[i] = byte(i * 7)
	}
	if length >= ipv4HeaderLen+udpHeaderLen && hasPorts(protocol) {
		copy(p[ipv4HeaderLen:], []byte{0x30, 0x39, 0x16, 0x2e, byte((length - 20) >> 8), byte(length - 20), 0, 0}) // 12345 to 5678
	}
	putIPv4(p, 0, 64, protocol, flagDontFragment, source, destination)
	return p
}

// tally is how packets ended, by drop reason and by the other ends.
func (r *rig) tally() map[string]uint64 {
	all := map[string]uint64{}
	c := r.d.Counters()
	for _, p := range c.Ports[:len(c.Ports)-1] {
		for reason, n := range p.Drops {
			all[reason] += n
		}
		all["forwarded"] += p.Forwarded
		all["delivered"] += p.Delivered
		all["waiting"] += p.Waiting
	}
	return all
}

// ends is what changed between two tallies.
func ends(before, after map[string]uint64) map[string]int {
	changed := map[string]int{}
	for name, n := range after {
		if n != before[name] {
			changed[name] = int(n - before[name])
		}
	}
	return changed
}

// puntNames are the kinds of enum sp_punt.
var puntNames = []disposition{packetARP, packetIKE, packetLocal, packetNeighbour, packetAcquire, packetDropped, packetDropped}

// check sends one frame through the fast path and through the reference and compares where it ended, why, and every byte
// that left. It returns the reference's outcome and what the slow path sent in answer.
func (r *rig) check(port int, frame []byte) (want outcome, answers [2][][]byte) {
	r.t.Helper()
	return r.checkOn(0, port, frame)
}

func (r *rig) checkOn(worker, port int, frame []byte) (want outcome, answers [2][][]byte) {
	r.t.Helper()
	before := r.tally()
	r.enqueue(worker, port, frame)
	r.settle()
	var got [2][][]byte
	for i := range got {
		got[i] = r.sent(i)
	}
	after := ends(before, r.tally())
	want = r.ref.process(port, frame)
	expected := map[string]int{}
	var frames [2][][]byte
	switch want.Disposition {
	case packetForwarded:
		expected["forwarded"] = 1
		frames[want.Port] = [][]byte{want.Frame}
	case packetDropped:
		expected[want.Reason] = 1
	case packetNeighbour, packetAcquire:
		expected["waiting"] = 1
	default:
		expected["delivered"] = 1
	}
	if fmt.Sprint(after) != fmt.Sprint(expected) {
		r.t.Fatalf("port %d frame % x:\n fast path %v\n reference %+v", port, frame, after, want)
	}
	for i := range got {
		if !slices.EqualFunc(got[i], frames[i], bytes.Equal) {
			r.t.Fatalf("port %d frame % x:\n fast path sent on port %d % x\n reference          % x", port, frame, i, got[i], frames[i])
		}
	}
	if want.Disposition == packetForwarded || want.Disposition == packetDropped && want.Reason != "ttl_expired" && want.Reason != "mtu_exceeded" {
		return want, answers
	}
	if n := r.serveAll(); n != 1 {
		r.t.Fatalf("port %d frame % x: %d packets for the slow path, want 1 (%s)", port, frame, n, want.Disposition)
	}
	x := &r.d.slow.batch[0]
	if puntNames[x.kind] != want.Disposition || want.MTU != 0 && int(x.mtu) != want.MTU {
		r.t.Fatalf("port %d frame % x: slow path got kind %d, mtu %d; reference %+v", port, frame, x.kind, x.mtu, want)
	}
	r.settle()
	for i := range answers {
		answers[i] = r.sent(i)
	}
	return want, answers
}

// wantDrop checks a frame and that it ended for this reason.
func (r *rig) wantDrop(port int, frame []byte, reason string) {
	r.t.Helper()
	if o, _ := r.check(port, frame); o.Disposition != packetDropped || o.Reason != reason {
		r.t.Fatalf("frame % x: %+v, want a drop for %s", frame, o, reason)
	}
}

// wantForward checks a frame and that it left by this port; it returns the frame that left.
func (r *rig) wantForward(port int, frame []byte, out int) []byte {
	r.t.Helper()
	o, _ := r.check(port, frame)
	if o.Disposition != packetForwarded || o.Port != out {
		r.t.Fatalf("frame % x: %+v, want it forwarded to port %d", frame, o, out)
	}
	return o.Frame
}
