package ikev1_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// Both engines under a flood of first messages, with a peer at the end of a line of 20 ms there and back, on a clock of the test's.

var (
	beginning = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	gateway   = netip.MustParseAddr("192.0.2.2")
	branch    = netip.MustParseAddr("192.0.2.1")
)

const oneWay = 10 * time.Millisecond

type stepper interface {
	Step(now time.Time, event ike.Event) []ike.Effect
	LimitUses(now time.Time) []ike.LimitUse
}

// siege is a gateway, the peer, and what is on its way between the two.
type siege struct {
	version       ike.Version
	now           time.Time
	gateway, peer stepper
	armed         [2]time.Time // of the gateway, of the peer
	wire          []flying
	ledger        *ike.Ledger
	up, ended     int        // IKE SAs established at the gateway, and ended there
	lost          int        // Child SAs ended there
	rules         int        // how many children each peer has; 0: one for all traffic
	at            netip.Addr // where the peer is
	limits        ike.Limits // of the gateway
	spis          uint32
	last          ike.Datagram // that the peer sent
}

type flying struct {
	due    time.Time
	toPeer bool
	ike.Datagram
}

func newSiege(v ike.Version) *siege {
	s := &siege{version: v, now: beginning, at: branch}
	s.begin(branch)
	s.boot(2)
	return s
}

// begin has the gateway know a peer at each of the addresses.
func (s *siege) begin(at ...netip.Addr) {
	var cfg ike.Config
	for _, a := range at {
		one := s.config(1, gateway, a, ike.StartOnDemand)
		one.Peers = append(cfg.Peers, one.Peers...)
		cfg = one
	}
	s.ledger = ike.NewLedger(s.limits)
	cfg.Limits, cfg.Ledger = s.limits, s.ledger
	s.gateway = s.engine(cfg)
}

func (s *siege) config(seed byte, local, remote netip.Addr, start ike.Start) ike.Config {
	return ike.Config{Random: rand.NewChaCha8([32]byte{seed}), AllocateSPI: func(string, string) (uint32, error) { s.spis++; return 0x1000 + s.spis, nil },
		Peers: []ike.Peer{{Name: "at " + remote.String(), Version: s.version, Local: local, Remote: remote, PSK: crypto.NewSecret([]byte("correct horse")), DPDDelay: -1,
			Children: s.children(local, remote, start)}}}
}

// children are one or more, each of a protocol of its own.
func (s *siege) children(local, remote netip.Addr, start ike.Start) (list []ike.Child) {
	for i := range max(1, s.rules) {
		all := policy.Selector{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
		if s.rules > 0 {
			all.Protocol = []uint8{6, 17, 132}[i]
		}
		list = append(list, ike.Child{Name: fmt.Sprintf("%d to %v", i, remote), Start: start, IdleTimeout: -1, Selectors: []policy.Selector{all}})
	}
	return list
}

func (s *siege) engine(cfg ike.Config) stepper {
	if s.version == ike.V1 {
		return ikev1.NewEngine(cfg)
	}
	return ike.NewEngine(cfg)
}

// boot has the peer begin with nothing, at its first step.
func (s *siege) boot(seed byte) {
	s.peer, s.armed[1] = s.engine(s.config(seed, s.at, gateway, ike.StartAlways)), time.Time{}
}

// step gives one of the two an event. What the gateway sends elsewhere, or in answer to what the peer has not sent, is lost on the peer.
func (s *siege) step(peer bool, event ike.Event) {
	engine, armed := s.gateway, &s.armed[0]
	if peer {
		engine, armed = s.peer, &s.armed[1]
	}
	for _, effect := range engine.Step(s.now, event) {
		switch ef := effect.(type) {
		case ike.Arm:
			*armed = ef.At
		case ike.Send:
			d := ike.Datagram{Local: ef.Remote, Remote: ef.Local, Payload: ef.Payload}
			if peer {
				s.last = d
			}
			if peer || ef.Remote.Addr() == s.at {
				s.wire = append(s.wire, flying{s.now.Add(oneWay), !peer, d})
			}
		case ike.Fact:
			switch {
			case peer:
			case ef.Kind == ike.IKEEstablished:
				s.up++
			case ef.Kind == ike.IKEDeleted:
				s.ended++
			case ef.Kind == ike.ChildDeleted:
				s.lost++
			}
		}
	}
}

// pass lets time pass, and all that is due in it happen.
func (s *siege) pass(d time.Duration) {
	s.now = s.now.Add(d)
	for len(s.wire) > 0 && !s.wire[0].due.After(s.now) {
		p := s.wire[0]
		s.wire = s.wire[1:]
		s.step(p.toPeer, p.Datagram)
	}
	for i, at := range s.armed {
		if !at.IsZero() && !at.After(s.now) {
			s.step(i == 1, ike.Tick{})
		}
	}
}

// opening is a first message of a peer like ours.
func (s *siege) opening(t *testing.T) []byte {
	twin := s.engine(s.config(99, branch, gateway, ike.StartAlways))
	for _, effect := range twin.Step(s.now, ike.Tick{}) {
		if send, ok := effect.(ike.Send); ok {
			return send.Payload
		}
	}
	t.Fatal("no first message")
	return nil
}

// forger makes first messages of another.
type forger struct {
	octets []byte
	from   func(n int) netip.Addr
	vary   func(octets []byte, n int) []byte
	n      int
}

func (f *forger) next() ike.Datagram {
	f.n++
	octets := slices.Clone(f.octets)
	binary.BigEndian.PutUint64(octets, uint64(f.n)<<8|1)
	if f.vary != nil {
		octets = f.vary(octets, f.n)
	}
	return ike.Datagram{Local: netip.AddrPortFrom(gateway, 500), Remote: netip.AddrPortFrom(f.from(f.n), 500), Payload: octets}
}

func ofPeer(int) netip.Addr { return branch }
func anywhere(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
}

// varied changes what message 1 of IKEv1 says to nobody, the end of its last vendor ID. Of IKEv2 the SPI makes each another.
func varied(octets []byte, n int) []byte {
	if octets[17]>>4 == 1 {
		binary.BigEndian.PutUint32(octets[len(octets)-4:], uint32(n))
	}
	return octets
}

// S-088: 10,000 first messages a second, of which none is the peer's, and the peer is up within 5 s; for the first time, and again when it has lost all.
func TestPeerConnectsUnderSiege(t *testing.T) {
	for _, v := range bothVersions {
		for name, f := range map[string]forger{
			"in its name":                   {from: ofPeer},
			"in its name, each another":     {from: ofPeer, vary: varied},
			"from anywhere and in its name": {from: func(n int) netip.Addr { return []netip.Addr{branch, anywhere(n)}[n%2] }, vary: varied},
		} {
			t.Run(v.String()+" "+name, func(t *testing.T) {
				s, f := newSiege(v), f
				f.octets = s.opening(t)
				flood := func(until func() bool) time.Duration {
					for began := s.now; ; {
						s.step(false, f.next())
						s.wire = slices.DeleteFunc(s.wire, func(p flying) bool { return p.toPeer && !s.wanted(p.Datagram) })
						if s.pass(100 * time.Microsecond); until() {
							return s.now.Sub(began)
						}
						if s.now.Sub(began) > 5*time.Second {
							t.Fatalf("the peer is not up after 5 s:\n%v", s.gateway.LimitUses(s.now))
						}
					}
				}
				for round := range 3 {
					s.wire, s.up = nil, 0
					s.boot(byte(10 + round))
					s.step(true, ike.Tick{})
					took := flood(func() bool { return s.up > 0 })
					t.Logf("round %d: up after %v", round, took)
					began := s.now
					flood(func() bool { return s.now.Sub(began) > 200*time.Millisecond })
				}
			})
		}
	}
}

// wanted reports whether the peer has asked for what comes to it: the rest only takes the test's time.
func (s *siege) wanted(d ike.Datagram) bool {
	return len(s.last.Payload) > 0 && slices.Equal(d.Payload[:8], s.last.Payload[:8])
}

// What is no first message, or a broken one, is not taken for one in a siege either.
func TestMangledUnderSiege(t *testing.T) {
	for _, v := range bothVersions {
		s := newSiege(v)
		whole := forger{octets: s.opening(t), from: ofPeer, vary: varied}
		random := rand.New(rand.NewPCG(1, 2))
		mangled := whole
		mangled.vary = func(octets []byte, n int) []byte {
			varied(octets, n)
			for range 1 + random.IntN(3) {
				octets[16+random.IntN(len(octets)-16)] = byte(random.Uint32())
			}
			return octets[:len(octets)-random.IntN(2)*random.IntN(len(octets))]
		}
		for n := range 30_000 {
			f := &whole
			if n%2 == 1 {
				f = &mangled
			}
			s.step(false, f.next())
			s.wire = s.wire[:0]
			s.pass(100 * time.Microsecond)
		}
		other := isakmp.Message{Header: isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7}, Exchange: isakmp.ExchangeMain},
			Payloads: []isakmp.Payload{&isakmp.KE{Data: make([]byte, 64)}, &isakmp.Nonce{Data: make([]byte, 32)}}} // of another kind
		octets, err := other.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		s.step(false, ike.Datagram{Local: netip.AddrPortFrom(gateway, 500), Remote: netip.AddrPortFrom(branch, 500), Payload: octets})
		if n := s.use(ike.LimitHalfOpen); n.Used > n.Limit || len(s.wire) > 0 {
			t.Errorf("%v: %+v, %d answers to a message of another kind", v, n, len(s.wire))
		}
	}
}

// S-088: a million first messages, and the memory that is in use stays what it was after the first of them.
func TestMemoryUnderSiege(t *testing.T) {
	const each = 250_000 // of two floods, for two versions
	for _, v := range bothVersions {
		s := newSiege(v)
		octets := s.opening(t)
		for _, f := range []forger{{octets: octets, from: ofPeer, vary: varied}, {octets: octets, from: anywhere, vary: varied}} {
			var early uint64
			for n := range each {
				s.step(false, f.next())
				s.wire = s.wire[:0]
				s.pass(100 * time.Microsecond)
				if n == each/5 {
					early = inUse()
				}
			}
			if grown := int64(inUse()) - int64(early); grown > 256<<10 {
				t.Errorf("%v: %d octets more after %d messages than after %d", v, grown, each, each/5)
			}
		}
		for _, u := range s.gateway.LimitUses(s.now) {
			if strings.HasPrefix(u.Name, ike.LimitHalfOpen) && u.Used > u.Limit {
				t.Errorf("%v: %+v", v, u)
			}
		}
		runtime.KeepAlive(s)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Message 2 was given without a place, IKEv2 has taken the peer over since, and message 3 comes: it finds nobody to go on with.
func TestTakenOverUnderSiege(t *testing.T) {
	s := newSiege(ike.V1)
	cfg := s.config(1, gateway, branch, ike.StartOnDemand)
	cfg.Peers[0].Version, cfg.Ledger = ike.VAny, ike.NewLedger(s.limits)
	s.gateway = s.engine(cfg)
	f := forger{octets: s.opening(t), from: ofPeer, vary: varied}
	flood := func() {
		s.step(false, f.next())
		s.wire = slices.DeleteFunc(s.wire, func(p flying) bool { return p.toPeer && !s.wanted(p.Datagram) })
		s.pass(100 * time.Microsecond)
	}
	for range 20_000 {
		flood()
	}
	s.step(true, ike.Tick{})
	for n := 0; binary.BigEndian.Uint64(s.last.Payload[8:]) == 0; n++ {
		if flood(); n > 100_000 {
			t.Fatal("the peer has no message 2")
		}
	}
	s.step(false, ike.Carried{Peer: cfg.Peers[0].Name, On: true})
	for _, effect := range s.gateway.Step(s.now, s.last) {
		if fact, ok := effect.(ike.Fact); ok && fact.Kind == ike.Refused && fact.Reason == ike.RefuseCarried {
			return
		}
	}
	t.Error("message 3 was not refused")
}
