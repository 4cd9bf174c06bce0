package appliance

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
	"sallyport/policy/soft"
)

// firstCell is the number of the cell that a twin opens first.
const firstCell = 7

// memoryPlane is the data plane's twin: it keeps what was installed and hands
// datagrams to the other side's negotiator.
type memoryPlane struct {
	mu        sync.Mutex
	local     netip.Addr
	other     *negotiator
	nextSPI   uint32
	inbound   map[uint32]pipeline.ChildSA
	outbound  map[pipeline.CellID]pipeline.ChildSA
	states    map[pipeline.CellID]pipeline.CellState // of open cells
	cells     map[string]pipeline.CellID
	nextCell  pipeline.CellID
	reserved  map[uint32]bool
	refuse    error // of the next install
	sent      [][]byte
	echoed    int
	soft      map[pipeline.SoftSA]pipeline.SoftCounters
	noSoft    error // of AddSoft
	lostIKE   atomic.Uint64
	unsentIKE []netip.Addr
	deaf      netip.Addr  // whose next hop does not answer
	answered  time.Time   // when next hops last did; zero: they always do
	doubts    []time.Time // until when they are asked
}

func newMemoryPlane(local string, firstSPI uint32) *memoryPlane {
	return &memoryPlane{
		local: netip.MustParseAddr(local), nextSPI: firstSPI,
		inbound: map[uint32]pipeline.ChildSA{}, outbound: map[pipeline.CellID]pipeline.ChildSA{},
		soft:   map[pipeline.SoftSA]pipeline.SoftCounters{},
		states: map[pipeline.CellID]pipeline.CellState{}, cells: map[string]pipeline.CellID{}, nextCell: firstCell, reserved: map[uint32]bool{},
	}
}

func (p *memoryPlane) SendUDP(local, remote netip.AddrPort, payload []byte, marker bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, bytes.Clone(payload))
	if p.other != nil {
		p.other.IKE(pipeline.Datagram{Local: remote, Remote: local, Payload: bytes.Clone(payload), NonESPMarker: marker})
	}
	return nil
}

func (p *memoryPlane) SendEcho(pipeline.Echo) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.echoed++
	return nil
}

func (p *memoryPlane) echoes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.echoed
}

func (p *memoryPlane) AllocateSPI() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nextSPI++
	p.reserved[p.nextSPI] = true
	return p.nextSPI, nil
}

func (p *memoryPlane) ReserveSPI(spi uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved[spi] {
		return pipeline.ErrSPITaken
	}
	p.reserved[spi] = true
	return nil
}

func (p *memoryPlane) ReleaseSPI(spi uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.reserved, spi)
}

func (p *memoryPlane) install(sa pipeline.ChildSA, keep func(pipeline.ChildSA)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuse; err != nil {
		p.refuse = nil
		return err
	}
	sa.Keymat = crypto.NewSecret(bytes.Clone(sa.Keymat.Bytes()))
	keep(sa)
	return nil
}

func (p *memoryPlane) InstallInbound(sa pipeline.ChildSA) error {
	return p.install(sa, func(sa pipeline.ChildSA) { p.inbound[sa.SPI] = sa })
}

func (p *memoryPlane) InstallOutbound(sa pipeline.ChildSA) error {
	return p.install(sa, func(sa pipeline.ChildSA) { p.outbound[sa.Cell] = sa })
}

func (p *memoryPlane) MoveOutbound(cell pipeline.CellID, spi uint32, local, remote netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	sa := p.outbound[cell]
	if sa.SPI != spi {
		return fmt.Errorf("no outbound SA %s", spiText(spi))
	}
	sa.Local, sa.Remote = local, remote
	p.outbound[cell] = sa
	return nil
}

func (p *memoryPlane) RemoveInbound(spi uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.inbound[spi]; !known {
		return fmt.Errorf("no inbound SA %s", spiText(spi))
	}
	delete(p.inbound, spi)
	delete(p.reserved, spi)
	return nil
}

// memoryPlaneSends is how many packets every outbound SA of a memoryPlane has sent when it goes.
const memoryPlaneSends = 1000

func (p *memoryPlane) RemoveOutbound(cell pipeline.CellID, spi uint32) (last uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sa := p.outbound[cell]; sa.SPI == spi {
		last = max(sa.FirstSequence, 1) + memoryPlaneSends - 1
		delete(p.outbound, cell)
	}
	return last, nil
}

// KnowPeers is for the slow path of a data plane, which this one does not have.
func (p *memoryPlane) KnowPeers(_, _ []netip.Addr) error { return nil }

func (p *memoryPlane) OpenCell(tunnel string) (pipeline.CellID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, open := p.cells[tunnel]
	if !open {
		id = p.nextCell
		p.nextCell++
		p.cells[tunnel], p.states[id] = id, pipeline.CellClosed
	}
	return id, nil
}

// CloseCell refuses what the real one does.
func (p *memoryPlane) CloseCell(cell pipeline.CellID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, open := p.states[cell]; !open {
		return fmt.Errorf("cell %d is not open", cell)
	}
	if _, used := p.outbound[cell]; used {
		return fmt.Errorf("cell %d has an outbound SA", cell)
	}
	for spi, sa := range p.inbound {
		if sa.Cell == cell {
			return fmt.Errorf("cell %d has inbound SA %s", cell, spiText(spi))
		}
	}
	delete(p.states, cell)
	maps.DeleteFunc(p.cells, func(_ string, id pipeline.CellID) bool { return id == cell })
	return nil
}

func (p *memoryPlane) SetCellState(cell pipeline.CellID, state pipeline.CellState) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[cell] = state
	return nil
}

func (p *memoryPlane) AddSoft(sas []pipeline.SoftSA) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noSoft != nil {
		return p.noSoft
	}
	for _, s := range sas {
		p.soft[s] = pipeline.SoftCounters{SoftSA: s}
	}
	return nil
}

func (p *memoryPlane) LostIKE() uint64 { return p.lostIKE.Load() }

func (p *memoryPlane) UnsentIKE() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.unsentIKE
	p.unsentIKE = nil
	return to
}

func (p *memoryPlane) Doubt(_ netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubts = append(p.doubts, until)
}

func (p *memoryPlane) Reaches(a netip.Addr, since time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return a != p.deaf && (p.answered.IsZero() || !p.answered.Before(since))
}

func (p *memoryPlane) RemoveSoft(sas []pipeline.SoftSA) (removed []pipeline.SoftCounters) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range sas {
		if c, known := p.soft[s]; known {
			removed = append(removed, c)
			delete(p.soft, s)
		}
	}
	return removed
}

func (p *memoryPlane) SoftCounters() []pipeline.SoftCounters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.soft))
}

// pass has packets pass by each soft SA.
func (p *memoryPlane) pass(out, in pipeline.FilterHits) {
	p.changeSoft(func(c *pipeline.SoftCounters) { c.Out, c.In = out, in })
}

// endSoft ends the soft SAs, as an SA of their tunnel does.
func (p *memoryPlane) endSoft() {
	p.changeSoft(func(c *pipeline.SoftCounters) { c.Ended = true })
}

func (p *memoryPlane) changeSoft(change func(*pipeline.SoftCounters)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s, c := range p.soft {
		change(&c)
		p.soft[s] = c
	}
}

// up reports whether one Child SA is installed in both directions.
func (p *memoryPlane) up() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inbound) == 1 && len(p.outbound) == 1
}

// pair is two negotiators joined by their planes, both running.
type pair struct {
	a, b           *negotiator
	planeA, planeB *memoryPlane
	logs           bytes.Buffer
	facts          chan ike.Fact
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{planeA: newMemoryPlane("192.0.2.1", 0x1000), planeB: newMemoryPlane("192.0.2.2", 0x2000), facts: make(chan ike.Fact, 1000)}
	log := slog.New(slog.NewTextHandler(&lockedBuffer{to: &p.logs}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	make := func(peer, local, remote, ours, theirs string, plane *memoryPlane) *negotiator {
		peers := []ike.Peer{{
			Name: peer, Local: netip.MustParseAddr(local), Remote: netip.MustParseAddr(remote),
			PSK: crypto.NewSecret([]byte("wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG")),
			Children: []ike.Child{{Name: "tunnel", Start: ike.StartOnDemand, Selectors: []policy.Selector{{
				Local:     policy.RangeOf(netip.MustParsePrefix(ours)),
				Remote:    policy.RangeOf(netip.MustParsePrefix(theirs)),
				LocalPort: policy.AnyPort, RemotePort: policy.AnyPort,
			}}}},
		}}
		n := newNegotiator(ike.Config{Random: rand.Reader}, plane, func(f ike.Fact) {
			logFact(log, f)
			select {
			case p.facts <- f:
			default:
			}
		}, newCertificates(t.TempDir(), slog.New(slog.DiscardHandler)), log)
		adoptAll(t, n, peers)
		return n
	}
	p.a = make("b", "192.0.2.1", "192.0.2.2", "10.1.0.0/24", "10.2.0.0/24", p.planeA)
	p.b = make("a", "192.0.2.2", "192.0.2.1", "10.2.0.0/24", "10.1.0.0/24", p.planeB)
	p.planeA.other, p.planeB.other = p.b, p.a

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.a.run(ctx) })
	running.Go(func() { p.b.run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// adoptAll puts peers in force before the negotiator runs.
func adoptAll(t *testing.T, n *negotiator, peers []ike.Peer) {
	t.Helper()
	tunnels := tunnelsOf(&policy.SPD{}, peers)
	if _, err := n.cells.claim(tunnels); err != nil {
		t.Fatal(err)
	}
	if err := n.adopt(takeover{tunnels: tunnels, spd: &policy.SPD{}, soft: generousSoft, peers: ike.Reconfigure{Peers: peers}, encapsulation: n.encapsulation, publish: func() {}}); err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	to *bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.to.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.to.String()
}

// patience is how long a test waits for something that happens at once on an idle machine.
const patience = time.Minute

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (p *pair) bothUp() bool { return p.planeA.up() && p.planeB.up() }

// initiate starts the tunnel with a packet that needs it, as the data plane does.
func (p *pair) initiate() {
	p.a.Acquire(pipeline.Acquire{Cell: 7, Packet: policy.Packet{
		Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.0.6"),
		Protocol: 17, SourcePort: 4000, DestinationPort: 5000, HasPorts: true,
	}})
}

func TestAcquireBringsUpTheTunnel(t *testing.T) {
	p := newPair(t)
	p.initiate()
	eventually(t, "a Child SA on both sides", p.bothUp)
	in, out := p.planeA.inbound, p.planeB.outbound[7]
	sa, ok := in[out.SPI]
	if !ok || !sa.Keymat.Equal(out.Keymat) {
		t.Errorf("expected A's inbound SA to have the SPI and keys of B's outbound SA %s", spiText(out.SPI))
	}
	if sa.Cell != 7 || sa.Remote.Addr() != netip.MustParseAddr("192.0.2.2") {
		t.Errorf("inbound SA in cell %d from %s", sa.Cell, sa.Remote)
	}
}

func TestRekeyAndGoodbye(t *testing.T) {
	p := newPair(t)
	p.initiate()
	eventually(t, "a Child SA on both sides", p.bothUp)
	first := p.planeB.outbound[7].SPI
	if _, err := p.a.order(t.Context(), ike.Rekey{Peer: "b", Child: "tunnel"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new outbound SA at the peer", func() bool {
		p.planeB.mu.Lock()
		defer p.planeB.mu.Unlock()
		return p.planeB.outbound[7].SPI != first && len(p.planeB.outbound) == 1
	})
	// A soft lifetime of an outbound SA is told by the peer's SPI; the engine finds the pair by it.
	second := p.planeA.outbound[7].SPI
	p.a.Expire(7, second, true, false)
	eventually(t, "another outbound SA after a soft expiry", func() bool {
		p.planeA.mu.Lock()
		defer p.planeA.mu.Unlock()
		return p.planeA.outbound[7].SPI != second
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p.a.closeAll(ctx)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.logs.String())
		}
	})
	eventually(t, "both sides to be without SAs", func() bool {
		return p.planeA.empty() && p.planeB.empty()
	})
	if p.planeA.states[7] != pipeline.CellClosed {
		t.Error("expected the cell of a peer that was taken down to be closed")
	}
}

func (p *memoryPlane) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inbound) == 0 && len(p.outbound) == 0 && len(p.reserved) == 0
}

// What the data plane refuses must not leave one side believing in a tunnel.
func TestRefusedInstallEndsTheChild(t *testing.T) {
	p := newPair(t)
	p.planeA.refuse = errors.New("no crypto device can do it")
	p.initiate()
	deadline := time.After(patience)
	for {
		select {
		case f := <-p.facts:
			if f.Kind == ike.Failed && f.Reason == ike.FailInstall {
				return
			}
		case <-deadline:
			t.Fatal("expected a fact that the install failed")
		}
	}
}

func TestOrdersNameKnownPeers(t *testing.T) {
	p := newPair(t)
	if err := p.a.known("nobody", ""); err == nil || err.Error() != `peer "nobody": expected one of b` {
		t.Errorf("unexpected: %v", err)
	}
	if err := p.a.known("b", "other"); err == nil {
		t.Error("expected an error for a Child SA that is not configured")
	}
	if err := p.a.known("b", "tunnel"); err != nil {
		t.Error(err)
	}
	p.a.names.Store(&directory{})
	if err := p.a.known("b", ""); err == nil || !strings.Contains(err.Error(), "found none with whom anything is negotiated") {
		t.Errorf("of a gateway that negotiates with nobody: %v", err)
	}
}

// Where IKE is off no order opens a tunnel, and none is named; a limit that leaves no room is.
func TestFallbackText(t *testing.T) {
	if text := fallbackText(soft.State{}, true, time.Now()); !strings.Contains(text, "IKE is off") || strings.Contains(text, "sallyport up") {
		t.Errorf("found %q", text)
	}
	for full, key := range map[soft.Reason]string{soft.Full: "soft.max says", soft.FullOfPeer: "soft.max_per_peer says"} {
		if text := fallbackText(soft.State{Fallback: true, Full: full, Waiting: 1}, false, time.Now()); !strings.Contains(text, key) {
			t.Errorf("%s: found %q", full, text)
		}
	}
	now := time.Now()
	for doubt, words := range map[soft.Reason]string{soft.Lost: "5s ago that began anew, for silence proved nothing: messages to our IKE ports were dropped", soft.Unsent: "messages to it may not have left", "": "passes in clear"} {
		text := fallbackText(soft.State{Fallback: true, Waiting: 1, Doubt: doubt, Doubted: now.Add(-5 * time.Second)}, false, now)
		if !strings.Contains(text, words) || strings.Contains(text, "anew") != (doubt != "") {
			t.Errorf("%s: found %q", doubt, text)
		}
	}
}

// The engine does not remove what was refused, so nothing may be kept of it.
func TestRefusedOutboundLeavesNothing(t *testing.T) {
	plane := newMemoryPlane("192.0.2.1", 0x1000)
	plane.refuse = errors.New("no memory")
	n := newNegotiator(ike.Config{Random: rand.Reader}, plane, func(ike.Fact) {}, newCertificates(t.TempDir(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	if _, err := n.cells.claim([]string{"tunnel"}); err != nil {
		t.Fatal(err)
	}
	failed := n.carryOut(ike.InstallOutbound{Child: "tunnel", SA: ike.ChildSA{SPI: 5, PairSPI: 6}})
	if failed == nil || failed.SPI != 6 || len(n.pairs) != 0 {
		t.Errorf("refusal %+v and pairs %v kept, expected that of SPI 6 and none", failed, n.pairs)
	}
}
