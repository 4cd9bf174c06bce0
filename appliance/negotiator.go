package appliance

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
	"sallyport/ike"
	"sallyport/pipeline"
	"sallyport/policy"
)

// plane is the part of the data plane that negotiation needs; pipeline.Dataplane
// is the real one, tests have a twin in memory.
type plane interface {
	SendUDP(local, remote netip.AddrPort, payload []byte, nonESPMarker bool) error
	AllocateSPI() (uint32, error)
	ReserveSPI(spi uint32) error
	SendEcho(pipeline.Echo) error
	KnowPeers(come, gone []netip.Addr) error
	ReleaseSPI(spi uint32)
	InstallInbound(sa pipeline.ChildSA) error
	InstallOutbound(sa pipeline.ChildSA) error
	MoveOutbound(cell pipeline.CellID, spi uint32, local, remote netip.AddrPort) error
	RemoveInbound(spi uint32) error
	RemoveOutbound(cell pipeline.CellID, spi uint32) (last uint64, err error)
	OpenCell(tunnel string) (pipeline.CellID, error)
	SetCellState(cell pipeline.CellID, state pipeline.CellState) error
	CloseCell(cell pipeline.CellID) error
	softPlane
}

// negotiator owns the IKE engine: the one goroutine that steps it, the clock
// and the queue it reads, and the hands that carry out its effects.
type negotiator struct {
	engine *engines
	plane  plane
	cells  cellBook
	manual manualBook
	soft   *softSAs
	doctor *doctor
	names  atomic.Pointer[directory] // read by every goroutine
	facts  func(ike.Fact)
	log    *slog.Logger

	certificates *certificates
	dynamic      dynamicBook
	peers        []ike.Peer  // of the configuration in force
	retries      []ike.Event // for soft SAs that were asked for too late, once the Step is over

	clock func() time.Time

	inbox *inbox
	calls chan func()
	ended chan struct{} // closed when run has ended

	mu      sync.Mutex
	expired []expiry                  // never dropped: an SA expires once
	checked []ike.CertificatesChecked // nor are these: each is the answer to one question
	wake    chan struct{}

	// inbound and pairs are what is installed: pairs finds the Child SA, by its
	// inbound SPI, of an outbound SA.
	inbound map[uint32]*cell
	pairs   map[outboundSA]uint32
	former  []func() // forget keys, once no IKE SA that they belong to is left
	timer   *time.Timer
	pause   *time.Timer // until the first pause after a failed negotiation is over
	again   *time.Timer // until manual SAs that wait for their SPIs are tried again
	fading  *time.Timer // until the next soft SA ends, or its use is looked at

	offload func(pipeline.OffloadChange) // nil: nobody listens

	encapsulation func(tunnel string) config.Encapsulation // of the configuration in force
}

// directory is whom the engine negotiates with. It is never changed, only replaced.
type directory struct {
	children map[pipeline.CellID]child
	remotes  map[netip.Addr]bool // the far ends of all tunnels
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

// newNegotiator makes one that negotiates with nobody until reconfigure.
func newNegotiator(cfg ike.Config, p plane, facts func(ike.Fact), certificates *certificates, log *slog.Logger) *negotiator {
	n := &negotiator{
		plane: p,
		cells: newCellBook(p),
		facts: facts,
		log:   log,

		certificates: certificates,
		dynamic:      newDynamicBook(),

		inbox:   newInbox(),
		calls:   make(chan func()),
		ended:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		inbound: make(map[uint32]*cell),
		pairs:   make(map[outboundSA]uint32),
		timer:   time.NewTimer(0),
		pause:   time.NewTimer(0),
		again:   time.NewTimer(0),
		fading:  time.NewTimer(0),
		clock:   time.Now,

		encapsulation: func(string) config.Encapsulation { return config.DefaultEncapsulation() },
	}
	n.manual, n.doctor = newManualBook(p, &n.cells, log), newDoctor(p)
	n.soft = newSoftSAs(p, func() time.Time { return n.clock() }, log)
	n.names.Store(&directory{})
	cfg.AllocateSPI = func(_, _ string) (uint32, error) { return p.AllocateSPI() }
	n.engine = newEngines(cfg)
	return n
}

// run steps the engine until ctx ends.
func (n *negotiator) run(ctx context.Context) {
	defer close(n.ended)
	defer n.timer.Stop()
	defer n.pause.Stop()
	defer n.again.Stop()
	defer n.fading.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.inbox.ready:
			if event := n.inbox.take(); event != nil {
				n.step(event)
			}
		case <-n.wake:
			n.expire()
			n.takeAnswers()
		case <-n.timer.C:
			n.step(ike.Tick{})
		case <-n.pause.C:
			n.resume()
		case <-n.again.C:
			n.manual.retry()
			n.awaitSPIs()
		case <-n.fading.C:
			n.fade()
		case call := <-n.calls:
			call()
		}
		n.forgetFormer()
	}
}

// do runs f on the engine's goroutine and waits for it, unless ctx or run ends
// first.
func (n *negotiator) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case n.calls <- func() { defer close(done); f() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.ended:
		return errStopping
	}
	<-done
	return nil
}

// errStopping is the answer of a gateway that has ended its negotiations.
var errStopping = errors.New("the gateway is stopping")

// step gives the engine one event and carries out the effects in order; what
// the data plane refuses goes back to the engine as an event of its own.
func (n *negotiator) step(event ike.Event) {
	pending := []ike.Event{event}
	for len(pending) > 0 {
		effects := n.engine.Step(n.clock(), pending[0])
		pending = pending[1:]
		for _, effect := range effects {
			if failed := n.carryOut(effect); failed != nil {
				pending = append(pending, *failed)
			}
		}
		pending, n.retries = append(pending, n.retries...), nil
	}
}

// fallBack tells the soft SAs what a fact says of a peer: that it is silent, or that it speaks IPsec.
func (n *negotiator) fallBack(f ike.Fact) {
	switch {
	case f.Peer == "":
	case f.Kind == ike.IKEEstablished:
		n.soft.established(f.Peer)
	case f.Kind == ike.Failed && f.Reason == ike.FailSilent:
		if late := n.soft.silent(f.Peer); late != nil {
			n.retries = append(n.retries, acquireOf(child{late.Peer, late.Tunnel}, late.Packet, late.Inbound))
		}
		n.fade()
	}
}

// fade ends the soft SAs that are over, and comes back when the next one is.
func (n *negotiator) fade() {
	if next := n.soft.tick(); !next.IsZero() {
		n.fading.Reset(time.Until(next))
	}
}

// acquireOf is what the engine is asked for a packet, as it would be if our side had sent it.
func acquireOf(c child, packet policy.Packet, inbound bool) ike.Acquire {
	if inbound {
		packet.Source, packet.Destination = packet.Destination, packet.Source
		packet.SourcePort, packet.DestinationPort = packet.DestinationPort, packet.SourcePort
	}
	return ike.Acquire{Peer: c.peer, Child: c.name, Packet: &packet}
}

// pauseAfter makes the traffic of a peer's tunnels drop, counted as such, while
// a failed negotiation may not be tried again: it neither waits in vain nor leaves
// by another way (S-024). An SA that comes up ends that.
func (n *negotiator) pauseAfter(f ike.Fact) {
	if f.Peer == "" || f.Kind != ike.Failed && f.Kind != ike.ChildEstablished {
		return
	}
	if err := n.cells.pause(n.clock(), f.Peer, n.engine.NotBefore); err != nil {
		n.log.Error("pausing the tunnels of a peer", "peer", f.Peer, "error", err)
	}
	n.resume()
}

// resume ends the pauses that are over.
func (n *negotiator) resume() {
	next, err := n.cells.resume(n.clock())
	if err != nil {
		n.log.Error("ending the pause of a tunnel", "error", err)
	}
	if !next.IsZero() {
		n.pause.Reset(time.Until(next))
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

// IKE, Acquire, Group, Moved and Expire make the negotiator a pipeline.Handler. They run on
// the data plane's slow-path goroutine and never wait.

// IKE takes a datagram from the punt ring. Whatever it says, its sender speaks IKE: that is noted before any queue that could lose it.
func (n *negotiator) IKE(d pipeline.Datagram) {
	n.soft.heard(d.Remote.Addr())
	if n.doctor.answered(d.Payload) {
		return // to a question that the engine has not asked
	}
	n.inbox.message(ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: d.Payload}, d.Known, d.Share)
}

// Acquire takes a packet that needs a Child SA. One that came protected may not go on in clear, so that soft SAs are not its business.
func (n *negotiator) Acquire(a pipeline.Acquire) {
	if c, known := n.names.Load().children[a.Cell]; known && (a.Protected || n.soft.ask(a, c)) {
		n.inbox.want(acquireOf(c, a.Packet, a.Inbound))
	}
}

// Group takes a packet to many that a filter with fallback dropped.
func (n *negotiator) Group(g pipeline.Group) { n.soft.group(g) }

// Heard takes word of a datagram to an IKE port that is none of IKE's: whoever has sent it is not silent.
func (n *negotiator) Heard(from netip.Addr) { n.soft.heard(from) }

// Offload takes word of a device that is lost, or back.
func (n *negotiator) Offload(c pipeline.OffloadChange) {
	if n.offload != nil {
		n.offload(c)
	}
}

// Echo takes an echo of ESP or AH.
func (n *negotiator) Echo(e pipeline.Echo) {
	if err := n.doctor.echo(e, n.names.Load().remotes[e.Remote]); err != nil {
		n.log.Debug("echo not answered", "remote", e.Remote, "error", err)
	}
}

// Moved takes a peer that sends from another address now. Lost in a flood, IKE's own next message tells the same.
func (n *negotiator) Moved(cell pipeline.CellID, spi uint32, remote netip.AddrPort) {
	if _, negotiated := n.names.Load().children[cell]; !negotiated { // a manual SA's: the data plane moves it, and nobody else tells
		n.log.Info("address_changed", "spi_in", spiText(spi), "remote", remote)
		return
	}
	n.inbox.want(ike.Moved{SPI: spi, Remote: remote})
}

// Expire takes an SA that has used up its packets or bytes.
func (n *negotiator) Expire(cell pipeline.CellID, spi uint32, outbound, hard bool) {
	n.mu.Lock()
	n.expired = append(n.expired, expiry{outboundSA{cell, spi}, outbound, hard})
	n.mu.Unlock()
	n.rouse()
}

// answer takes what came of a check of certificates, from any goroutine.
func (n *negotiator) answer(checked ike.CertificatesChecked) {
	n.mu.Lock()
	n.checked = append(n.checked, checked)
	n.mu.Unlock()
	n.rouse()
}

// rouse has run look at what waits for it.
func (n *negotiator) rouse() {
	select {
	case n.wake <- struct{}{}:
	default: // it is awake already
	}
}

// name puts another directory in force. The data plane hears whose messages are a peer's: they wait for the slow path apart from those of strangers.
func (n *negotiator) name(names *directory) {
	var come, gone []netip.Addr
	former := n.names.Swap(names)
	for remote := range names.remotes {
		if !former.remotes[remote] {
			come = append(come, remote)
		}
	}
	for remote := range former.remotes {
		if !names.remotes[remote] {
			gone = append(gone, remote)
		}
	}
	if err := n.plane.KnowPeers(come, gone); err != nil {
		n.log.Warn("in a flood of IKE messages those of some peers wait with those of strangers", "error", err)
	}
}

// takeAnswers tells the engine what came of checks.
func (n *negotiator) takeAnswers() {
	n.mu.Lock()
	checked := n.checked
	n.checked = nil
	n.mu.Unlock()
	for _, answer := range checked {
		n.step(answer)
	}
}

// expire tells the engine of used-up SAs. It knows a Child SA by the inbound
// SPI; an outbound SA without a pair is gone already, or a manual one.
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
		if !known && e.hard {
			n.manual.spentBy(e.outboundSA)
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

// limitUses are the limits of IKE, with what there is of what they limit.
func (n *negotiator) limitUses(ctx context.Context) (uses []ike.LimitUse, err error) {
	err = n.do(ctx, func() { uses = n.engine.LimitUses(time.Now()) })
	return uses, err
}

// manualStates is what is up of the manual SAs.
func (n *negotiator) manualStates(ctx context.Context) (states []api.ManualSA, err error) {
	err = n.do(ctx, func() { states = n.manual.states() })
	return states, err
}

// metDown is what an order to take a peer's tunnels down has met beside their SAs, by tunnel.
type metDown struct {
	closed map[string]bool // by an operator before
	soft   map[string]int  // soft SAs that it has ended
}

// order carries out an operator's wish. A peer that is taken down stays down
// from our side: its cells drop traffic instead of asking for an SA.
func (n *negotiator) order(ctx context.Context, event ike.Event) (met metDown, err error) {
	var failed error
	err = n.do(ctx, func() {
		switch e := event.(type) {
		case ike.Initiate:
			failed = n.cells.order(n.clock(), e.Peer, e.Child, false)
		case ike.Terminate:
			met.closed = n.cells.closedOf(e.Peer)
			failed = n.cells.order(n.clock(), e.Peer, e.Child, true)
			met.soft = n.soft.down(e.Peer)
		}
		n.step(event)
	})
	return met, errors.Join(err, failed)
}

// peers are the children of each peer, in the order of their names.
func (d *directory) peers() map[string][]string {
	peers := map[string][]string{}
	for _, c := range d.children {
		peers[c.peer] = append(peers[c.peer], c.name)
	}
	for _, children := range peers {
		slices.Sort(children)
	}
	return peers
}

// closeAll deletes every IKE SA and waits, within ctx, for the peers to answer.
func (n *negotiator) closeAll(ctx context.Context) {
	const between = 20 * time.Millisecond
	for peer := range n.names.Load().peers() {
		if _, err := n.order(ctx, ike.Terminate{Peer: peer}); err != nil {
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
