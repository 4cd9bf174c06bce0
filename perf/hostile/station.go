package hostile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/perf/lab"
	"sallyport/policy"
)

// engine is one of IKEv1 or IKEv2.
type engine interface {
	Step(now time.Time, event ike.Event) []ike.Effect
}

// station is where the gateway's peers are: an engine for those of each version, which one goroutine steps.
type station struct {
	wire    *lab.Router
	engines map[ike.Version]engine
	armed   map[ike.Version]time.Time // their next ticks
	orders  chan func()
	stop    chan struct{}
	ended   chan struct{}
	failed  error // why it ended by itself

	mu      sync.Mutex
	spi     uint32
	changed map[string]chan struct{} // closed when something becomes of a peer
	up      map[string]bool
	repeats map[string]int // messages that a peer sent again
	rekeys  map[string]int
	wanted  map[string]bool               // peers that are to be up
	again   []*member                     // those of them whose negotiation has failed, and whose engine does not try again by itself
	sent    map[netip.Addr][]lab.Datagram // the first ones of each

	keys map[uint64]sessionKeys // of IKE SAs, by the initiator's SPI; like those below for the station's goroutine
	last map[netip.Addr][]byte  // the last message of main mode that came to an address

	others map[netip.Addr]func(lab.Datagram) error // who has the datagrams for an address that is no peer's at the moment
}

// remembered is how many datagrams of a peer are kept.
const remembered = 4

// patience is how long the station waits for datagrams before it looks for anything else.
const patience = 2 * time.Millisecond

// newStation starts one with all members in it. They begin nothing by themselves.
func newStation(wire *lab.Router, psk string) (*station, error) {
	s := &station{wire: wire, engines: map[ike.Version]engine{}, armed: map[ike.Version]time.Time{}, orders: make(chan func()), stop: make(chan struct{}),
		ended: make(chan struct{}), changed: map[string]chan struct{}{}, up: map[string]bool{}, repeats: map[string]int{}, rekeys: map[string]int{}, wanted: map[string]bool{}, sent: map[netip.Addr][]lab.Datagram{},
		others: map[netip.Addr]func(lab.Datagram) error{}, keys: map[uint64]sessionKeys{}, last: map[netip.Addr][]byte{}, spi: 0x1000}
	peers := map[ike.Version][]ike.Peer{}
	for _, m := range members {
		p, err := m.peer(psk)
		if err != nil {
			return nil, err
		}
		peers[m.version] = append(peers[m.version], p)
		s.changed[m.name] = make(chan struct{})
	}
	for version, list := range peers {
		s.engines[version] = newEngine(version, ike.Config{Peers: list, AllocateSPI: func(_, _ string) (uint32, error) { s.spi++; return s.spi, nil }, KeyLog: s.keep})
	}
	go s.run()
	return s, nil
}

func newEngine(version ike.Version, cfg ike.Config) engine {
	cfg.Random = rand.Reader
	if version == ike.V1 {
		return ikev1.NewEngine(cfg)
	}
	return ike.NewEngine(cfg)
}

// peer is a member as an engine knows it.
func (m *member) peer(psk string) (ike.Peer, error) {
	p := ike.Peer{Name: m.name, Version: m.version, Local: m.address, Remote: gatewayAddress, PSK: crypto.NewSecret([]byte(psk)), DPDDelay: -1}
	own, err := crypto.ParseIKEProposal(ikeProposal)
	if err != nil {
		return p, err
	}
	child, err := crypto.ParseESPProposal(childProposal)
	if err != nil {
		return p, err
	}
	p.IKEProposals = []crypto.IKEProposal{own}
	p.Children = []ike.Child{{Name: m.name, Start: ike.StartOnDemand, IdleTimeout: -1, Proposals: []crypto.ESPProposal{child}, Selectors: []policy.Selector{{
		Local: policy.HostRange(m.host), Remote: policy.RangeOf(gatewayLAN), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}
	return p, nil
}

func (s *station) close() error {
	close(s.stop)
	<-s.ended
	return s.failed
}

func (s *station) run() {
	defer close(s.ended)
	for {
		select {
		case <-s.stop:
			return
		case order := <-s.orders:
			order()
		default:
		}
		datagrams, err := s.wire.Receive()
		for _, d := range datagrams {
			if take := s.others[d.To.Addr()]; take != nil {
				err = errors.Join(err, take(d))
				continue
			}
			if len(d.Payload) > exchangeAt && d.Payload[exchangeAt] == exchangeMain {
				s.last[d.To.Addr()] = d.Payload
			}
			err = errors.Join(err, s.step(versionOf(d.Payload), ike.Datagram{Local: d.To, Remote: d.From, Payload: d.Payload}))
		}
		for version, at := range s.armed {
			if !at.IsZero() && !time.Now().Before(at) {
				s.armed[version] = time.Time{}
				err = errors.Join(err, s.step(version, ike.Tick{}))
			}
		}
		for _, m := range s.failures() {
			err = errors.Join(err, s.step(m.version, ike.Initiate{Peer: m.name}))
		}
		if len(datagrams) == 0 {
			err = errors.Join(err, s.wire.Wait(patience))
		}
		if err != nil {
			s.failed = err
			return
		}
	}
}

// failures are the peers that are to try again, as their traffic would have them do.
func (s *station) failures() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.again
	s.again = nil
	return list
}

// want says whether a member is to be up.
func (s *station) want(m *member, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted[m.name] = up
}

// versionOf is the major version in the header of either (RFC 2408 3.1, RFC 7296 3.1).
func versionOf(message []byte) ike.Version {
	const at = 17
	if len(message) > at && message[at]>>4 == 1 {
		return ike.V1
	}
	return ike.V2
}

// step gives an engine an event and carries out what it says.
func (s *station) step(version ike.Version, event ike.Event) (err error) {
	for _, effect := range s.engines[version].Step(time.Now(), event) {
		switch e := effect.(type) {
		case ike.Send:
			d := lab.Datagram{From: e.Local, To: e.Remote, Payload: e.Payload}
			s.remember(d)
			err = errors.Join(err, s.wire.Send(d, e.NonESPMarker))
		case ike.Arm:
			s.armed[version] = e.At
		case ike.InstallInbound:
			e.SA.Keymat.Wipe()
		case ike.InstallOutbound:
			e.SA.Keymat.Wipe()
		case ike.Fact:
			s.note(e)
		}
	}
	return err
}

// note has those know who wait for it.
func (s *station) note(f ike.Fact) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f.Kind {
	case ike.Retransmitted:
		s.repeats[f.Peer]++
	case ike.ChildEstablished:
		s.up[f.Peer] = true
	case ike.IKERekeyed:
		s.rekeys[f.Peer]++
	case ike.IKEDeleted:
		s.up[f.Peer] = false
	case ike.Failed:
		if s.wanted[f.Peer] && f.NextAttempt.IsZero() {
			s.again = append(s.again, &members[slices.IndexFunc(members, func(m member) bool { return m.name == f.Peer })])
		}
		return
	default:
		return
	}
	close(s.changed[f.Peer])
	s.changed[f.Peer] = make(chan struct{})
}

// order gives the engine of a member an event.
func (s *station) order(ctx context.Context, m *member, event ike.Event) error {
	return s.do(ctx, func() error { return s.step(m.version, event) })
}

// do runs f on the station's goroutine and waits for it.
func (s *station) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case s.orders <- func() { done <- f() }:
		return <-done
	case <-s.ended:
		return fmt.Errorf("hostile: the peers have ended: %w", s.failed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect has a member connect, and waits for it.
func (s *station) connect(ctx context.Context, m *member) error {
	s.want(m, true)
	if err := s.order(ctx, m, ike.Initiate{Peer: m.name}); err != nil {
		return err
	}
	return s.await(ctx, m, true)
}

// leave has a member take its SAs down.
func (s *station) leave(ctx context.Context, m *member) error {
	s.want(m, false)
	if err := s.order(ctx, m, ike.Terminate{Peer: m.name}); err != nil {
		return err
	}
	return s.await(ctx, m, false)
}

func (s *station) await(ctx context.Context, m *member, up bool) error {
	return s.until(ctx, m, func() bool { return s.up[m.name] == up })
}

// rekeyLimit is how long a rekey may take before the next one is tried, on a busy machine.
const rekeyLimit = 2 * time.Second

// rekey has a member rekey its IKE SA, and waits until it has, or has had to send a message again.
func (s *station) rekey(ctx context.Context, m *member) error {
	s.mu.Lock()
	rekeys, repeats := s.rekeys[m.name], s.repeats[m.name]
	s.mu.Unlock()
	if err := s.order(ctx, m, ike.Rekey{Peer: m.name}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, rekeyLimit)
	defer cancel()
	err := s.until(limited, m, func() bool { return s.rekeys[m.name] > rekeys || s.repeats[m.name] > repeats })
	if limited.Err() != nil {
		return ctx.Err()
	}
	return err
}

// until waits until something holds that facts about a member change.
func (s *station) until(ctx context.Context, m *member, holds func() bool) error {
	for {
		s.mu.Lock()
		now, changed := holds(), s.changed[m.name]
		s.mu.Unlock()
		if now {
			return nil
		}
		select {
		case <-changed:
		case <-s.ended:
			return fmt.Errorf("hostile: the peers have ended: %w", s.failed)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// repeated is how many messages a member has sent again.
func (s *station) repeated(m *member) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repeats[m.name]
}

// remember keeps the first datagrams of a peer, for those who send them again.
func (s *station) remember(d lab.Datagram) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.sent[d.From.Addr()]; len(list) < remembered {
		s.sent[d.From.Addr()] = append(list, d)
	}
}

// sentBy is a datagram that a member has sent, by its number from 0 on.
func (s *station) sentBy(m *member, number int) (lab.Datagram, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.sent[m.address]; number < len(list) {
		return list[number], nil
	}
	return lab.Datagram{}, fmt.Errorf("hostile: expected more than %d datagrams of %s, it has sent %d", number, m.name, len(s.sent[m.address]))
}

// hand has the datagrams for an address taken by somebody who is not there as a peer.
func (s *station) hand(ctx context.Context, address netip.Addr, take func(lab.Datagram) error) error {
	return s.do(ctx, func() error { s.others[address] = take; return nil })
}
