package ikebench

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/policy"
)

// hub is the gateway that all others speak to.
var hub = netip.MustParseAddr("192.0.2.1")

// remote is the address of another gateway by number.
func remote(number int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(number >> 16), byte(number >> 8), byte(number)})
}

func name(number int) string { return fmt.Sprintf("peer-%d", number) }

// engine is IKE of one version.
type engine interface {
	Step(now time.Time, event ike.Event) []ike.Effect
}

// side is one engine with what it has cost and what it holds.
type side struct {
	engine   engine
	spi      uint32
	spent    time.Duration // in Step
	sent     int           // datagrams
	ikeSAs   int           // established, those that took over from others included
	childSAs int
	rekeyed  int // IKE SAs and Child SAs that took over
	failed   string
	checked  time.Duration // in checks of certificates
	bytes    int           // sent, of IP packets
	next     time.Time     // of the deadline that the engine waits for
}

// pair is an initiator with many peers and the responders that these are, in one engine too.
type pair struct {
	now                  time.Time
	initiator, responder side
	method               method
}

// newPair makes both ends of a number of peers, each with one child.
func newPair(peers int, m method, limits ike.Limits, change func(*ike.Peer)) (*pair, error) {
	p := &pair{now: epoch, method: m}
	var hubs, spokes []ike.Peer
	proposals, err := crypto.ParseIKEProposal(m.proposal)
	if err != nil {
		return nil, err
	}
	for i := range peers {
		here := ike.Peer{Name: name(i), Version: m.version, Local: hub, Remote: remote(i), IKEProposals: []crypto.IKEProposal{proposals}}
		there := ike.Peer{Name: name(i), Version: m.version, Local: remote(i), Remote: hub, IKEProposals: here.IKEProposals}
		inside := policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix("172.16.0.0/16")), Remote: policy.HostRange(remote(i)), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
		outside := inside
		outside.Local, outside.Remote = inside.Remote, inside.Local
		here.Children = []ike.Child{{Name: name(i), Selectors: []policy.Selector{inside}, Start: ike.StartOnDemand, IdleTimeout: -1}}
		there.Children = []ike.Child{{Name: name(i), Selectors: []policy.Selector{outside}, Start: ike.StartOnDemand, IdleTimeout: -1}}
		if err := errors.Join(m.prove(&here), m.prove(&there)); err != nil {
			return nil, err
		}
		if change != nil {
			change(&here)
			change(&there)
		}
		hubs, spokes = append(hubs, here), append(spokes, there)
	}
	for _, s := range []struct {
		side  *side
		peers []ike.Peer
	}{{&p.initiator, hubs}, {&p.responder, spokes}} {
		if err := ike.ValidatePeers(s.peers[:min(len(s.peers), 2)]); err != nil {
			return nil, err
		}
		s.side.spi = 0x1000
		cfg := ike.Config{Random: rand.Reader, Peers: s.peers, Limits: limits, AllocateSPI: func(_, _ string) (uint32, error) {
			s.side.spi++
			return s.side.spi, nil
		}}
		if s.side.engine = ike.NewEngine(cfg); m.version == ike.V1 {
			s.side.engine = ikev1.NewEngine(cfg)
		}
	}
	return p, nil
}

// Unlimited keeps what is there against floods out of a measurement: every negotiation is wanted, whatever address it comes from.
func Unlimited() ike.Limits {
	return ike.Limits{HalfOpen: 1 << 20, HalfOpenPerAddress: 1 << 20, HalfOpenEstablished: 1 << 20, CookieThreshold: 1 << 20, Requests: 1 << 20, ProvenInits: 1 << 20,
		Inits: 1 << 20, InitsPerPrefix: 1 << 20}
}

// headers are IPv4 and UDP.
const headers = 28

// step gives a side an event, and each side what the other sends until both are silent.
func (p *pair) step(to *side, event ike.Event) {
	type pending struct {
		to    *side
		event ike.Event
	}
	for queue := []pending{{to, event}}; len(queue) > 0; queue = queue[1:] {
		s := queue[0].to
		began := time.Now()
		effects := s.engine.Step(p.now, queue[0].event)
		s.spent += time.Since(began)
		for _, effect := range effects {
			switch e := effect.(type) {
			case ike.Send:
				s.sent, s.bytes = s.sent+1, s.bytes+len(e.Payload)+headers
				queue = append(queue, pending{p.other(s), ike.Datagram{Local: e.Remote, Remote: e.Local, Payload: e.Payload}})
			case ike.CheckCertificates:
				began := time.Now()
				answer := p.method.check(e)
				s.checked += time.Since(began)
				queue = slices.Insert(queue, 1, pending{s, answer}) // before what comes by the wire
			default:
				s.take(effect)
			}
		}
	}
}

func (p *pair) other(s *side) *side {
	if s == &p.initiator {
		return &p.responder
	}
	return &p.initiator
}

// take counts what an engine says and wipes the keys that it hands over.
func (s *side) take(effect ike.Effect) {
	switch e := effect.(type) {
	case ike.InstallInbound:
		e.SA.Keymat.Wipe()
	case ike.InstallOutbound:
		e.SA.Keymat.Wipe()
	case ike.Arm:
		s.next = e.At
	case ike.Fact:
		switch e.Kind {
		case ike.IKEEstablished:
			s.ikeSAs++
		case ike.IKERekeyed, ike.ChildRekeyed:
			s.rekeyed++
		case ike.ChildEstablished:
			s.childSAs++
		case ike.Refused:
			if e.Reason != ike.RefuseCookie {
				s.failed = string(e.Reason)
			}
		case ike.Failed, ike.Dropped:
			s.failed = fmt.Sprintf("%v: %v %s", e.Kind, e.Reason, e.Detail)
		}
	}
}

// establish brings the children of a range of peers up, one after the other.
func (p *pair) establish(from, to int) error {
	for i := from; i < to; i++ {
		p.step(&p.initiator, ike.Initiate{Peer: name(i)})
	}
	if err := p.failure(); err != nil {
		return err
	}
	for _, s := range []*side{&p.initiator, &p.responder} {
		if s.ikeSAs != to || s.childSAs != to {
			return fmt.Errorf("ikebench: %d IKE SAs and %d Child SAs are up, expected %d of each", s.ikeSAs, s.childSAs, to)
		}
	}
	return nil
}

// failure is what an end said went wrong.
func (p *pair) failure() error {
	for _, s := range []*side{&p.initiator, &p.responder} {
		if s.failed != "" {
			return fmt.Errorf("ikebench: %s", s.failed)
		}
	}
	return nil
}

// processTime is the time that the process has had of all CPUs.
func processTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// forget takes no account of what has been so far.
func (p *pair) forget() {
	for _, s := range []*side{&p.initiator, &p.responder} {
		s.spent, s.checked, s.sent, s.bytes, s.rekeyed = 0, 0, 0, 0, 0
	}
}
