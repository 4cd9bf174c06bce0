package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/offload/softnic"
	"sallyport/pipeline"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mbuf"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
	"sallyport/policy"
)

// A rig is gateways with the real data plane, whose ports are in memory: the wan
// ports of two are joined, and everything else is hosts that answer ARP.
//
//	hosts 10.1.0.0/24 ── lan [gateway a] wan 192.0.2.1 ── 192.0.2.2 wan [gateway b] lan ── hosts 10.2.0.0/24
type rig struct {
	t        *testing.T
	gateways []*rigGateway

	mu       sync.Mutex
	wire     []packetView // IPv4 on the wan side
	clear    []string     // of these, what belongs into an SA
	arrived  map[string][]packetView
	waiting  []injection
	blocked  func(packetView) bool // on the wan side
	stopped  context.CancelFunc
	finished sync.WaitGroup
}

type injection struct {
	gateway *rigGateway
	port    int
	frame   []byte
}

// rigGateway is a gateway of a rig, its control API included.
type rigGateway struct {
	*Gateway
	card  *softnic.NIC // of the wan port, nil for none
	path  string       // of the configuration file
	api   *api.Client
	pool  *mempool.Mempool
	ports []rigPort
	logs  *lockedBuffer
	told  bytes.Buffer

	hangup chan os.Signal
}

type rigPort struct {
	port   ethdev.Port
	mac    []byte
	rx, tx *ring.Ring
}

const (
	rigLAN = 0
	rigWAN = 1
)

// idlePause leaves the machine to others while nothing moves.
const idlePause = 100 * time.Microsecond

var rigNumber atomic.Int32

// newRig starts gateways, each from the text of its configuration, in which $DIR
// is a folder of its own with the files peer.psk and other.psk.
func newRig(t *testing.T, texts ...string) *rig {
	t.Helper()
	return newRigWith(t, net.DefaultResolver, texts...)
}

// newRigWith has DNS names asked of a resolver of the test's.
func newRigWith(t *testing.T, resolver config.Resolver, texts ...string) *rig {
	t.Helper()
	return startRig(t, resolver, tickEvery, texts...)
}

// startRig has DNS names asked of a resolver, and the configuration files looked at
// by a clock, of the test's.
func startRig(t *testing.T, resolver config.Resolver, every func(time.Duration) (<-chan time.Time, func()), texts ...string) *rig {
	t.Helper()
	r := &rig{t: t, arrived: map[string][]packetView{}}
	for i, text := range texts {
		r.gateways = append(r.gateways, newRigGateway(t, resolver, text, i))
		r.gateways[i].manager.every = every
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stopped = cancel
	for _, g := range r.gateways {
		r.finished.Go(func() { g.negotiator.run(ctx) })
		r.finished.Go(func() { g.manager.watch(ctx, g.hangup) })
		r.finished.Go(func() { g.manager.follow(ctx) })
		r.finished.Go(func() {
			if err := g.plane.Exceptions(ctx, g.negotiator); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		go g.control.serve()
	}
	r.finished.Go(func() { r.drive(ctx) })
	t.Cleanup(r.close)
	return r
}

func newRigGateway(t *testing.T, resolver config.Resolver, text string, number int) *rigGateway {
	t.Helper()
	dir := t.TempDir()
	g := &rigGateway{path: filepath.Join(dir, "sallyport.yaml"), hangup: make(chan os.Signal)}
	g.logs = &lockedBuffer{to: &g.told}
	for name, content := range map[string]string{
		g.path:                           string(bytes.ReplaceAll([]byte(text), []byte("$DIR"), []byte(dir))),
		filepath.Join(dir, "peer.psk"):   "wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG\n",
		filepath.Join(dir, "other.psk"):  "Tz5Hb8qWn3KfYx6LmD9RcVj2PsGuA\n",
		filepath.Join(dir, "unused.psk"): "Jp4Vc7sQm2ZgXw9NkF6TbHy3RdLuE\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loaded, err := load(g.path, strings.Contains(text, "lab: true"), resolver)
	if err != nil {
		t.Fatal(err)
	}
	g.Gateway = &Gateway{loaded: loaded, cfg: loaded.Config, started: time.Now(), facts: newFactCounter(), events: newEventLog(), env: testEnvironment,
		log: slog.New(slog.NewTextHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if strings.Contains(text, onlyAttempt) {
		l := &loaded.Config.Limits
		l.RetryMin, l.RetryMax, l.Attempts, l.SilentAfter, l.Retransmit.Tries = time.Hour, time.Hour, 1000, time.Hour, 1000
	}
	if strings.Contains(text, "# keylog") {
		loaded.KeyLog = filepath.Join(dir, "keys")
		if err := g.openKeyLog(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.keyLog.close() }) // the test may have closed it
	}
	g.openPorts(t, number, cardOf(text))
	g.Gateway.pool = g.pool
	if err := g.manage(); err != nil {
		t.Fatal(err)
	}
	if soft := g.negotiator.soft.views(); len(soft) != 0 { // S-048: no case begins with one
		t.Fatalf("soft SAs at start: %+v", soft)
	}
	if g.control, err = listenControl(filepath.Join(dir, "sock"), g.controlHandler(), g.log); err != nil {
		t.Fatal(err)
	}
	g.api = api.NewClient(filepath.Join(dir, "sock"))
	return g
}

// onlyAttempt in a configuration lets each negotiation begin once, and wait for an answer as long as it takes: what a test sees of it does not depend on when it looks.
const onlyAttempt = "# only attempt"

// cardOf is the NIC that the wan port has by a comment in the configuration, nil for none.
func cardOf(text string) *softnic.Options {
	switch {
	case strings.Contains(text, "# card: inline crypto, AES-GCM"):
		return &softnic.Options{InlineCrypto: true, Suites: []crypto.Suite{{Encr: crypto.EncrAESGCM16, KeyBits: 128}}}
	case strings.Contains(text, "# card: both"):
		return &softnic.Options{InlineCrypto: true, InlineProtocol: true}
	}
	return nil
}

// openPorts makes the ports in memory and the data plane.
func (g *rigGateway) openPorts(t *testing.T, number int, card *softnic.Options) {
	t.Helper()
	id := rigNumber.Add(1)
	var err error
	if g.pool, err = mempool.CreateMbufPool(fmt.Sprintf("gw%d", id), 4095, pipeline.DataRoom(1500), mempool.OptPrivateDataSize(pipeline.MbufPrivateSize)); err != nil {
		t.Fatal(err)
	}
	var specs []pipeline.PortSpec
	var offers []offload.Port
	for i, p := range g.cfg.Ports {
		port := rigPort{mac: []byte{2, 0, 0, byte(number), 1, byte(i)}}
		name := fmt.Sprintf("gw%d_%d", id, i)
		for way, r := range []**ring.Ring{&port.rx, &port.tx} {
			if *r, err = ring.Create(fmt.Sprintf("%s_%d", name, way), 2048); err != nil {
				t.Fatal(err)
			}
		}
		if port.port, err = ethdev.FromRings(name, []*ring.Ring{port.rx}, []*ring.Ring{port.tx}); err != nil {
			t.Fatal(err)
		}
		if _, err = ethdev.Setup(port.port, ethdev.PortConfig{Name: name, RxQueues: 1, TxQueues: 1, MTU: 1500, Pool: g.pool}); err != nil {
			t.Fatal(err)
		}
		if card != nil && i == rigWAN {
			if g.card, err = attach(port.port, *card); err != nil {
				t.Fatal(err)
			}
		}
		g.ports = append(g.ports, port)
		offers = append(offers, offload.Port{Name: p.Name, WAN: p.Role == policy.PortsWAN, ID: uint16(port.port), Driver: "net_ring", Socket: cryptodev.SocketAny})
		specs = append(specs, pipeline.PortSpec{Name: p.Name, Port: port.port, Role: p.Role, MAC: port.mac, MTU: 1500, Addresses: p.Addresses})
	}
	g.crypto = testCrypto
	if g.offload, err = offload.New(offload.Config{Ports: offers, Crypto: testCrypto, Sessions: 64}); err != nil {
		t.Fatal(err)
	}
	g.plane, err = pipeline.New(pipeline.Config{Ports: specs, Workers: 1, FlowEntries: 4096, MaxSAs: 256, MaxCells: g.cfg.Dataplane.MaxTunnels, MaxAdjacencies: 256,
		MaxSoft: g.cfg.Soft.Max, HoldPerSelector: g.cfg.Soft.QueueMax, Pool: g.pool, Crypto: testCrypto, Inline: g.offload, Idle: pipeline.IdleYield})
	if err != nil {
		t.Fatal(err)
	}
}

// attach gives a port a NIC, which has to be stopped for that.
func attach(port ethdev.Port, card softnic.Options) (nic *softnic.NIC, err error) {
	if err := port.Stop(); err != nil {
		return nil, err
	}
	if nic, err = softnic.Attach(uint16(port), 1, card); err != nil {
		return nil, err
	}
	return nic, port.Start()
}

// drive moves packets until ctx ends: it is the worker of every gateway, the
// wire between them, and the hosts.
func (r *rig) drive(ctx context.Context) {
	for ctx.Err() == nil {
		if r.turn() == 0 {
			time.Sleep(idlePause) // as an idle worker does
		}
	}
}

// turn lets everything move once and says how much did.
func (r *rig) turn() (moved int) {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for _, w := range waiting {
		w.gateway.receive(r.t, w.port, w.frame)
	}
	for _, g := range r.gateways {
		n, err := g.plane.RunBurst(0)
		if err != nil {
			r.t.Error(err)
		}
		moved += n + g.plane.InFlight(0)
	}
	for i, g := range r.gateways {
		for _, frame := range drain(g.ports[rigLAN].tx) {
			moved++
			r.host(g, rigLAN, frame)
		}
		for _, frame := range drain(g.ports[rigWAN].tx) {
			moved++
			if r.tap(frame) {
				continue
			}
			if len(r.gateways) == 1 {
				r.host(g, rigWAN, frame)
				continue
			}
			r.gateways[1-i].receive(r.t, rigWAN, frame)
		}
	}
	return moved
}

// block has a firewall between the gateways drop what it says.
func (r *rig) block(blocked func(packetView) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocked = blocked
}

// tap notes what is on the wire between the gateways, and says whether a firewall drops it.
func (r *rig) tap(frame []byte) (blocked bool) {
	p, ok := readIPv4(frame)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wire = append(r.wire, p)
	blocked = r.blocked != nil && r.blocked(p)
	inside, open := netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/24")
	if open.Contains(p.source) || open.Contains(p.destination) {
		return blocked // some policies permit it
	}
	if inside.Contains(p.source) || inside.Contains(p.destination) {
		r.clear = append(r.clear, fmt.Sprintf("%s > %s protocol %d", p.source, p.destination, p.protocol))
	}
	return blocked
}

// host is everybody beside a port: it answers ARP and takes what arrives.
func (r *rig) host(g *rigGateway, port int, frame []byte) {
	if reply := answerARP(frame); reply != nil {
		g.receive(r.t, port, reply)
		return
	}
	if p, ok := readIPv4(frame); ok {
		p.payload, p.packet = bytes.Clone(p.payload), bytes.Clone(p.packet)
		r.mu.Lock()
		r.arrived[g.cfg.Name] = append(r.arrived[g.cfg.Name], p)
		r.mu.Unlock()
	}
}

// receive puts a frame on a port's receive queue; a full one loses it, as a link does.
func (g *rigGateway) receive(t *testing.T, port int, frame []byte) {
	mbufs, err := mbuf.FromFrames(g.pool, [][]byte{frame})
	if err != nil {
		t.Error(err)
		return
	}
	if g.ports[port].rx.EnqueueBurst(mbufs) == 0 {
		mbuf.FreeBulk(mbufs)
	}
}

func drain(q *ring.Ring) [][]byte {
	if q.Len() == 0 {
		return nil
	}
	batch := make([]unsafe.Pointer, 64)
	n := q.DequeueBurst(batch)
	frames := mbuf.Frames(batch[:n])
	for i := range frames {
		frames[i] = bytes.Clone(frames[i])
	}
	mbuf.FreeBulk(batch[:n])
	return frames
}

// send has a host send a UDP datagram to a port of a gateway.
func (r *rig) send(g *rigGateway, port int, source, destination string, payload string) {
	frame := udpFrame(g.ports[port].mac, netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination), []byte(payload))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, injection{g, port, frame})
}

// received is the payloads that hosts beside a gateway have got.
func (r *rig) received(g *rigGateway) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var payloads []string
	for _, p := range r.arrived[g.cfg.Name] {
		payloads = append(payloads, string(p.payload))
	}
	return payloads
}

// drops is how many packets from the protected side a gateway dropped for a reason.
func (g *rigGateway) drops(reason string) uint64 {
	return g.plane.Counters().Ports[rigLAN].Drops[reason]
}

// change asks for a change over the control socket, which must be carried out.
func (r *rig) change(g *rigGateway, path string, body any) *api.Change {
	r.t.Helper()
	change, err := g.api.Change(r.t.Context(), path, body)
	if err != nil {
		r.t.Fatalf("POST %s: %v", path, err)
	}
	return change
}

// get reads a view over the control socket.
func get[T any](r *rig, g *rigGateway, path string, query ...string) (answer T) {
	r.t.Helper()
	values := map[string][]string{}
	for i := 0; i+1 < len(query); i += 2 {
		values[query[i]] = []string{query[i+1]}
	}
	if err := g.api.Get(r.t.Context(), path, values, &answer); err != nil {
		r.t.Fatalf("GET %s %v: %v", path, query, err)
	}
	return answer
}

// close ends all, and checks that no packet went missing and none left in clear.
func (r *rig) close() {
	for _, g := range r.gateways {
		if err := g.control.close(); err != nil {
			r.t.Error(err)
		}
	}
	r.stopped()
	r.finished.Wait()
	for idle := 0; idle < 3; idle++ {
		if r.turn() > 0 {
			idle = 0
		}
	}
	for _, g := range r.gateways {
		g.certificates.close()
		counters := g.plane.Counters()
		if err := counters.Conserved(); err != nil {
			r.t.Error(err)
		}
		if err := errors.Join(g.plane.Close(), g.offload.Stop()); err != nil {
			r.t.Error(err)
		}
		for i, p := range g.ports {
			for len(drain(p.rx))+len(drain(p.tx)) > 0 {
				continue
			}
			if err := p.port.Stop(); err != nil {
				r.t.Error(err)
			}
			if g.card != nil && i == rigWAN {
				if err := g.card.Detach(); err != nil {
					r.t.Error(err)
				}
			}
			if err := p.port.Close(); err != nil {
				r.t.Error(err)
			}
			p.rx.Free()
			p.tx.Free()
		}
		if n := g.pool.InUse(); n != 0 {
			r.t.Errorf("gateway %s: %d packet buffers were not freed", g.cfg.Name, n)
		}
		g.pool.Free()
		if r.t.Failed() {
			r.t.Logf("log of %s:\n%s", g.cfg.Name, g.logs.String())
		}
	}
	for _, text := range r.clear {
		r.t.Errorf("in clear on the wire: %s", text)
	}
}
