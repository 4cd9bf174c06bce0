package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// plane is the part of the data plane that negotiation needs; pipeline.Dataplane
// is the real one, tests have a twin in memory.
type plane interface {
	SendUDP(local, remote netip.AddrPort, payload []byte, nonESPMarker bool) error
	AllocateSPI() (uint32, error)
	ReleaseSPI(spi uint32)
	InstallInbound(sa pipeline.ChildSA) error
	InstallOutbound(sa pipeline.ChildSA) error
	RemoveInbound(spi uint32) error
	RemoveOutbound(cell pipeline.CellID, spi uint32) error
	SetCellState(cell pipeline.CellID, state pipeline.CellState) error
}

// inboxSize bounds the IKE datagrams and acquires that wait for the slow-path
// core. What does not fit is dropped and counted: IKE retransmits, and a flood
// must not grow memory (S-089).
const inboxSize = 512

// negotiator owns the IKE engine: the one goroutine that steps it, the clock
// and the queue it reads, and the hands that carry out its effects.
type negotiator struct {
	engine *ike.Engine
	plane  plane
	cells  map[string]pipeline.CellID // by Child SA
	names  map[pipeline.CellID]child
	facts  func(ike.Fact)
	log    *slog.Logger

	inbox    chan ike.Event
	overflow atomic.Uint64
	calls    chan func()

	mu      sync.Mutex
	expired []expiry // never dropped: an SA expires once
	wake    chan struct{}

	// pairs finds the Child SA, by its inbound SPI, of an outbound SA.
	pairs map[outboundSA]uint32
	timer *time.Timer
}

// child is a Child SA's full name.
type child struct{ peer, name string }

// outboundSA names an outbound SA: its SPI is the peer's choice, so unique only
// within one cell.
type outboundSA struct {
	cell pipeline.CellID
	spi  uint32
}

// expiry is what the data plane says of an SA that has used up its lifetime.
type expiry struct {
	outboundSA
	outbound, hard bool
}

func newNegotiator(cfg ike.Config, cells map[string]pipeline.CellID, p plane, facts func(ike.Fact), log *slog.Logger) *negotiator {
	n := &negotiator{
		plane: p,
		cells: cells,
		names: make(map[pipeline.CellID]child),
		facts: facts,
		log:   log,
		inbox: make(chan ike.Event, inboxSize),
		calls: make(chan func()),
		wake:  make(chan struct{}, 1),
		pairs: make(map[outboundSA]uint32),
		timer: time.NewTimer(0), // the first tick starts what is configured to be always up
	}
	for _, peer := range cfg.Peers {
		for _, c := range peer.Children {
			n.names[cells[c.Name]] = child{peer.Name, c.Name}
		}
	}
	cfg.AllocateSPI = func(_, _ string) (uint32, error) { return p.AllocateSPI() }
	n.engine = ike.NewEngine(cfg)
	return n
}

// run steps the engine until ctx ends.
func (n *negotiator) run(ctx context.Context) {
	defer n.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-n.inbox:
			n.step(event)
		case <-n.wake:
			n.expire()
		case <-n.timer.C:
			n.step(ike.Tick{})
		case call := <-n.calls:
			call()
		}
	}
}

// do runs f on the engine's goroutine and waits for it, unless ctx ends first.
func (n *negotiator) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case n.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}

// step gives the engine one event and carries out the effects in order; what
// the data plane refuses goes back to the engine as an event of its own.
func (n *negotiator) step(event ike.Event) {
	pending := []ike.Event{event}
	for len(pending) > 0 {
		effects := n.engine.Step(time.Now(), pending[0])
		pending = pending[1:]
		for _, effect := range effects {
			if failed := n.carryOut(effect); failed != nil {
				pending = append(pending, *failed)
			}
		}
	}
}

func (n *negotiator) carryOut(effect ike.Effect) *ike.InstallFailed {
	switch e := effect.(type) {
	case ike.Send:
		if err := n.plane.SendUDP(e.Local, e.Remote, e.Payload, e.NonESPMarker); err != nil {
			n.log.Debug("IKE message not sent", "remote", e.Remote, "error", err)
		}
	case ike.Arm:
		n.arm(e.At)
	case ike.InstallInbound:
		failed := n.install(e.Peer, e.Child, e.SA, n.plane.InstallInbound)
		if failed != nil {
			failed.Inbound = true // its SPI comes back by ReleaseSPI
		}
		return failed
	case ike.InstallOutbound:
		failed := n.install(e.Peer, e.Child, e.SA, n.plane.InstallOutbound)
		if failed == nil { // the engine removes nothing that was refused
			n.pairs[outboundSA{n.cells[e.Child], e.SA.SPI}] = e.SA.PairSPI
		}
		return failed
	case ike.RemoveInbound:
		n.report("remove inbound SA", e.Peer, e.Child, e.SPI, n.plane.RemoveInbound(e.SPI))
	case ike.RemoveOutbound:
		cell := n.cells[e.Child]
		delete(n.pairs, outboundSA{cell, e.SPI})
		n.report("remove outbound SA", e.Peer, e.Child, e.SPI, n.plane.RemoveOutbound(cell, e.SPI))
	case ike.ReleaseSPI:
		n.plane.ReleaseSPI(e.SPI)
	case ike.Fact:
		n.facts(e)
	default:
		n.log.Error("IKE effect without an executor", "type", fmt.Sprintf("%T", effect))
	}
	return nil
}

// install hands one direction of a Child SA to the data plane and wipes the
// keys, which the data plane has copied.
func (n *negotiator) install(peer, name string, sa ike.ChildSA, into func(pipeline.ChildSA) error) *ike.InstallFailed {
	defer sa.Keymat.Wipe()
	err := into(pipeline.ChildSA{
		Cell:         n.cells[name],
		SPI:          sa.SPI,
		Suite:        sa.Suite,
		Keymat:       sa.Keymat,
		Local:        sa.Local,
		Remote:       sa.Remote,
		UDPEncap:     sa.UDPEncap,
		Selectors:    sa.Selectors,
		ReplayWindow: sa.ReplayWindow,
		ESN:          sa.ESN,
	})
	if err == nil {
		return nil
	}
	n.report("install SA", peer, name, sa.SPI, err)
	return &ike.InstallFailed{SPI: sa.PairSPI, Reason: err.Error()}
}

func (n *negotiator) report(what, peer, name string, spi uint32, err error) {
	if err != nil {
		n.log.Error(what, "peer", peer, "child", name, "spi", spiText(spi), "error", err)
	}
}

// arm sets the next tick; the zero time sets none.
func (n *negotiator) arm(at time.Time) {
	if at.IsZero() {
		n.timer.Stop()
		return
	}
	n.timer.Reset(time.Until(at))
}

// IKE, Acquire and Expire make the negotiator a pipeline.Handler. They run on
// the data plane's slow-path goroutine and never wait.

// IKE takes a datagram from the punt ring.
func (n *negotiator) IKE(d pipeline.Datagram) {
	n.offer(ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: d.Payload})
}

// Acquire takes a packet that waits for its Child SA.
func (n *negotiator) Acquire(cell pipeline.CellID, packet policy.Packet) {
	if c, known := n.names[cell]; known {
		n.offer(ike.Acquire{Peer: c.peer, Child: c.name, Packet: &packet})
	}
}

func (n *negotiator) offer(event ike.Event) {
	select {
	case n.inbox <- event:
	default:
		n.overflow.Add(1)
	}
}

// Expire takes an SA that has used up its packets or bytes.
func (n *negotiator) Expire(cell pipeline.CellID, spi uint32, outbound, hard bool) {
	n.mu.Lock()
	n.expired = append(n.expired, expiry{outboundSA{cell, spi}, outbound, hard})
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default: // it is awake already
	}
}

// expire tells the engine of used-up SAs. It knows a Child SA by the inbound
// SPI; an outbound SA without a pair is gone already.
func (n *negotiator) expire() {
	n.mu.Lock()
	expired := n.expired
	n.expired = nil
	n.mu.Unlock()
	for _, e := range expired {
		spi, known := e.spi, true
		if e.outbound {
			spi, known = n.pairs[e.outboundSA]
		}
		if known {
			n.step(ike.Expire{SPI: spi, Hard: e.hard})
		}
	}
}

// snapshot is what the engine knows of its peers at this moment.
func (n *negotiator) snapshot(ctx context.Context) (infos []ike.SAInfo, err error) {
	err = n.do(ctx, func() { infos = n.engine.Snapshot() })
	return infos, err
}

// order carries out an operator's wish. A peer that is taken down stays down
// from our side: its cells drop traffic instead of asking for an SA.
func (n *negotiator) order(ctx context.Context, event ike.Event) error {
	var failed error
	err := n.do(ctx, func() {
		switch e := event.(type) {
		case ike.Initiate:
			failed = n.setCells(e.Peer, e.Child, pipeline.CellHold)
		case ike.Terminate:
			failed = n.setCells(e.Peer, "", pipeline.CellClosed)
		}
		n.step(event)
	})
	return errors.Join(err, failed)
}

// setCells changes the state of the cell of a Child SA, or with an empty name
// of all of the peer's.
func (n *negotiator) setCells(peer, name string, state pipeline.CellState) error {
	var failed error
	for cell, c := range n.names {
		if c.peer == peer && (name == "" || c.name == name) {
			failed = errors.Join(failed, n.plane.SetCellState(cell, state))
		}
	}
	return failed
}

// known checks that the configuration has the peer and, if named, the child.
func (n *negotiator) known(peer, name string) error {
	var peers, children []string
	for _, c := range n.names {
		if !slices.Contains(peers, c.peer) {
			peers = append(peers, c.peer)
		}
		if c.peer == peer {
			children = append(children, c.name)
		}
	}
	slices.Sort(peers)
	slices.Sort(children)
	switch {
	case len(children) == 0:
		return fmt.Errorf("peer %q: expected one of %s", peer, strings.Join(peers, ", "))
	case name != "" && !slices.Contains(children, name):
		return fmt.Errorf("peer %s has no Child SA %q: expected one of %s", peer, name, strings.Join(children, ", "))
	}
	return nil
}

// closeAll deletes every IKE SA and waits, within ctx, for the peers to answer.
func (n *negotiator) closeAll(ctx context.Context) {
	const between = 20 * time.Millisecond
	var peers []string
	for _, c := range n.names {
		if !slices.Contains(peers, c.peer) {
			peers = append(peers, c.peer)
		}
	}
	for _, peer := range peers {
		if err := n.order(ctx, ike.Terminate{Peer: peer}); err != nil {
			return
		}
	}
	for n.busy(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(between):
		}
	}
}

// busy reports whether an IKE SA is left.
func (n *negotiator) busy(ctx context.Context) bool {
	infos, err := n.snapshot(ctx)
	return err == nil && slices.ContainsFunc(infos, func(i ike.SAInfo) bool { return i.SPIi != 0 })
}
