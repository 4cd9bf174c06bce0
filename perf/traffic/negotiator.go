package traffic

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"sallyport/ike"
	"sallyport/ike/ikev1"
)

// negotiator is the gateway's peers: they speak IKE with it over the unprotected port, and what they agree on becomes the SAs of tunnels. But for orders it belongs to
// whoever serves the ports while loops run.
type negotiator struct {
	tester  *Tester
	engines map[ike.Version]*engine
	of      map[string]*engine // by name of the peer
	tunnels map[Negotiated]int
	members map[string][]int // the tunnels of each peer
	wanted  []bool           // by tunnel: it may be used when it is there
	up      atomic.Int64     // tunnels that are used
	spi     uint32

	orders  chan *change
	current *change // nil: none
	failed  error   // of what gives SAs back

	done   *Negotiation // of all tunnels; nil: not yet
	result *Result      // of a negotiation that failed
}

// engine is IKE of one version.
type engine struct {
	step  func(now time.Time, event ike.Event) []ike.Effect
	armed time.Time // its next tick; zero: none
}

const (
	leastSPI = 0x1000
	grace    = time.Second    // for packets that are under way by an SA when another has taken its place
	manyLife = 24 * time.Hour // of SAs: keys change when the tester or the gateway wants them to
)

// openIKE makes the peers, or measures at once how fast packets are made where there are none.
func (t *Tester) openIKE() error {
	if len(t.config.Peers) == 0 {
		return t.rehearse()
	}
	n := &negotiator{tester: t, engines: map[ike.Version]*engine{}, of: map[string]*engine{}, tunnels: map[Negotiated]int{}, members: map[string][]int{},
		wanted: make([]bool, len(t.config.Tunnels)), orders: make(chan *change)}
	for _, i := range t.negotiated() {
		name := t.config.Tunnels[i].IKE
		n.tunnels[name] = i
		n.members[name.Peer] = append(n.members[name.Peer], i)
	}
	var start [4]byte
	if _, err := rand.Read(start[:]); err != nil {
		return err
	}
	n.spi = binary.BigEndian.Uint32(start[:])
	peers := map[ike.Version][]ike.Peer{}
	for _, p := range t.config.Peers {
		if p.Version == ike.VAny {
			p.Version = ike.V2
		}
		peers[p.Version] = append(peers[p.Version], p)
	}
	if err := ike.ValidatePeers(t.config.Peers); err != nil {
		return err
	}
	most := len(t.config.Tunnels) + leastSpare
	limits := ike.Limits{RekeyGrace: grace, ChildrenPerIKE: 4 * most, ChildrenPerPeer: 4 * most, Children: 4 * most, Established: 4 * most}
	// A gateway that has more to do than it can answers late: the peers ask as often as who knows that somebody is there.
	limits.Attempts = limits.Complete().Retransmit.Tries
	for version, list := range peers {
		config := ike.Config{Random: rand.Reader, Peers: list, Limits: limits, AllocateSPI: n.allocate}
		e := &engine{}
		if version == ike.V1 {
			e.step = ikev1.NewEngine(config).Step
		} else {
			e.step = ike.NewEngine(config).Step
		}
		n.engines[version] = e
		for i := range list {
			n.of[list[i].Name] = e
		}
	}
	t.ike = n
	return nil
}

// allocate gives the gateway an SPI to send by.
func (n *negotiator) allocate(_, _ string) (uint32, error) {
	for {
		n.spi++
		if _, taken := n.tester.fromGateway.numbers[n.spi]; n.spi >= leastSPI && !taken {
			return n.spi, nil
		}
	}
}

// hear takes a frame of the unprotected port.
func (n *negotiator) hear(frame []byte) {
	d, ok := readDatagram(frame)
	const version = 17 // place in the header (RFC 7296 section 3.1)
	if !ok || len(d.Payload) <= version {
		return
	}
	of := ike.V2
	if d.Payload[version]>>4 == 1 {
		of = ike.V1
	}
	if e := n.engines[of]; e != nil {
		n.step(e, d)
	}
}

// turn does what is due, and says whether there was something.
func (n *negotiator) turn(now time.Time) (worked int) {
	for _, e := range n.engines {
		if !e.armed.IsZero() && !now.Before(e.armed) {
			e.armed = time.Time{}
			n.step(e, ike.Tick{})
			worked++
		}
	}
	select {
	case n.current = <-n.orders:
		n.current.last = now
		worked++
	default:
	}
	if n.current != nil && n.current.begin(n, now) {
		worked++
	}
	n.failed = errors.Join(n.failed, n.tester.reclaim(false))
	return worked
}

// step gives an engine an event and carries out what it says.
func (n *negotiator) step(e *engine, event ike.Event) {
	for pending := []ike.Event{event}; len(pending) > 0; pending = pending[1:] {
		for _, effect := range e.step(time.Now(), pending[0]) {
			if refused, isEvent := n.carryOut(e, effect); isEvent {
				pending = append(pending, refused)
			}
		}
	}
}

// carryOut does what an engine wants. What cannot be done the engine is told.
func (n *negotiator) carryOut(e *engine, effect ike.Effect) (event ike.Event, isEvent bool) {
	t := n.tester
	switch f := effect.(type) {
	case ike.Send:
		n.send(f)
	case ike.Arm:
		e.armed = f.At
	case ike.InstallInbound:
		if err := n.install(t.fromGateway, Negotiated{f.Peer, f.Child}, &f.SA); err != nil {
			return ike.InstallFailed{SPI: f.SA.PairSPI, Inbound: true, Reason: err.Error()}, true
		}
	case ike.InstallOutbound:
		name := Negotiated{f.Peer, f.Child}
		if err := n.install(t.toGateway, name, &f.SA); err != nil {
			return ike.InstallFailed{SPI: f.SA.PairSPI, Reason: err.Error()}, true
		}
		if tunnel := n.tunnels[name]; n.wanted[tunnel] {
			n.use(tunnel, f.SA.SPI)
		}
	case ike.RemoveInbound:
		t.retire(t.fromGateway.remove(f.SPI))
	case ike.RemoveOutbound:
		if tunnel := n.tunnels[Negotiated{f.Peer, f.Child}]; t.toGateway.used(tunnel, f.SPI) {
			n.use(tunnel, 0)
		}
		t.retire(t.toGateway.remove(f.SPI))
	case ike.Fact:
		if n.current != nil {
			n.current.hear(f)
		}
	}
	return nil, false
}

// send puts a message on the unprotected port.
func (n *negotiator) send(s ike.Send) {
	p := n.tester.ports[unprotected]
	p.mu.Lock()
	to := p.station.learned
	p.mu.Unlock()
	if to == nil {
		return
	}
	kind, packet := writeDatagram(s)
	n.tester.order(p, pad(append(p.station.ether(to, kind), packet...)))
}

// install makes an SA of what was agreed on, and wipes the keys that came with it.
func (n *negotiator) install(into *sas, name Negotiated, sa *ike.ChildSA) error {
	defer sa.Keymat.Wipe()
	tunnel, known := n.tunnels[name]
	if !known || sa.Transport || sa.AH != nil {
		return fmt.Errorf("a Child SA of %s that is no tunnel of the tester's", name.Peer)
	}
	of := n.tester.config.Tunnels[tunnel]
	of.Suite, of.ESN, of.UDP = sa.Suite, sa.ESN, sa.UDPEncap
	return into.add(&of, tunnel, SA{SPI: sa.SPI, Key: sa.Keymat})
}

// use has a tunnel carry packets by an SA, or with 0 none.
func (n *negotiator) use(tunnel int, spi uint32) {
	t := n.tester
	was := t.there[tunnel] != 0
	t.toGateway.use(tunnel, spi)
	t.there[tunnel] = flag(spi != 0)
	switch {
	case spi != 0 && !was:
		n.up.Add(1)
	case spi == 0 && was:
		n.up.Add(-1)
	}
}
