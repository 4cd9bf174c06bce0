package ike

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/policy"
)

// link joins two engines, a and b, with a wire whose every datagram a test can deliver, drop, duplicate or reorder, a fake clock, and a data plane
// at each end that checks what the engine orders. ESP packets travel on the same wire, so that a test sees whether one is ever lost.
type link struct {
	t    testing.TB
	now  time.Time
	a, b *end
	wire []packet // in flight, oldest first
	nat  func(from netip.AddrPort) netip.AddrPort
	// twist changes what an end sends; it gives nil to have it lost.
	twist  func(from *end, payload []byte) []byte
	mtu    int                 // octets of the longest IP datagram that gets through, 0: any
	inside netip.Addr          // of a behind the NAT, if not addrA
	gone   map[netip.Addr]bool // nothing arrives there or from there any more
	lost   int                 // ESP packets that arrived where nobody took them
	// The same by the child that they were sent for.
	lostBy map[string]int
	taken  int
	early  int // those by a Child SA that took nobody's place, which did not wait for the response that makes it
}

// packet is an IKE datagram, or with a cell an ESP packet.
type packet struct {
	to           *end
	source, dest netip.AddrPort
	payload      []byte
	esp          bool
	child        string
	spi          uint32
	key          []byte
	first        bool // by an SA that replaced none
}

// end is one gateway: an engine and the model of a data plane.
type end struct {
	name        string
	link        *link
	engine      *Engine
	cfg         Config
	base        Config // of the fuzzer: what it comes back to
	armed       time.Time
	facts       []Fact
	nextSPI     uint32
	allocated   map[uint32]bool
	inbound     map[uint32]ChildSA
	outbound    map[uint32]ChildSA
	cells       map[string]uint32
	firsts      map[uint32]bool // outbound SPIs that took nobody's place
	everInbound map[uint32]bool
	heard       map[uint32]time.Time
	sentBy      map[uint32]time.Time
	keysSeen    map[string]bool
	noSPI       bool // the data plane is full
	refuseIn    bool // it refuses the next inbound SA, or
	refuseOut   bool // outbound SA
	refused     []InstallFailed
	never       map[uint32]bool // outbound SPIs refused
	effects     []Effect
	checks      []CheckCertificates // that wait for an answer
	mute        bool                // no check is answered
	dynamic     map[string]bool     // peers by the default response rule
	keepalives  int
}

var (
	start  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	addrA  = netip.MustParseAddr("192.0.2.1")
	addrB  = netip.MustParseAddr("192.0.2.2")
	stranr = netip.MustParseAddrPort("198.51.100.9:500")
)

// seeded is a reproducible source of octets.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func selector(local, remote string) policy.Selector {
	return policy.Selector{Local: policy.RangeOf(netip.MustParsePrefix(local)), Remote: policy.RangeOf(netip.MustParsePrefix(remote)),
		LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}
}

func mirrored(list []policy.Selector) []policy.Selector {
	var m []policy.Selector
	for _, s := range list {
		m = append(m, policy.Selector{Local: s.Remote, Remote: s.Local, Protocol: s.Protocol, LocalPort: s.RemotePort, RemotePort: s.LocalPort})
	}
	return m
}

func ikeProposals(t testing.TB, texts ...string) []crypto.IKEProposal {
	t.Helper()
	var list []crypto.IKEProposal
	for _, text := range texts {
		p, err := crypto.ParseIKEProposal(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func espProposals(t testing.TB, texts ...string) []crypto.ESPProposal {
	t.Helper()
	var list []crypto.ESPProposal
	for _, text := range texts {
		p, err := crypto.ParseESPProposal(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// sideA and sideB are the two halves of one tunnel; a begins.
func sideA(t testing.TB) Config {
	return Config{Random: seeded(1), Peers: []Peer{{
		Name: "b", Local: addrA, Remote: addrB, PSK: crypto.NewSecret([]byte("correct horse")),
		IKEProposals: ikeProposals(t, "aes128gcm16-prfsha256-curve25519"),
		Children:     []Child{{Name: "net", Selectors: []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")}, ReplayWindow: 1024}},
	}}}
}

func sideB(t testing.TB) Config {
	return Config{Random: seeded(2), Peers: []Peer{{
		Name: "a", Local: addrB, Remote: addrA, PSK: crypto.NewSecret([]byte("correct horse")),
		IKEProposals: ikeProposals(t, "aes128gcm16-prfsha256-curve25519"),
		Children: []Child{{Name: "net", Selectors: []policy.Selector{selector("10.2.0.0/24", "10.1.0.0/24")}, Start: StartOnDemand,
			IdleTimeout: -1, ReplayWindow: 1024}},
	}}}
}

// join makes a link of the usual two sides, changed by the functions given (which may be nil).
func join(t testing.TB, changeA, changeB func(*Config)) *link {
	t.Helper()
	l := &link{t: t, now: start, lostBy: map[string]int{}}
	for _, side := range []struct {
		cfg    Config
		change func(*Config)
		name   string
		at     **end
		base   uint32
	}{{sideA(t), changeA, "a", &l.a, 0xa0000000}, {sideB(t), changeB, "b", &l.b, 0xb0000000}} {
		if side.change != nil {
			side.change(&side.cfg)
		}
		if err := ValidatePeers(side.cfg.Peers); err != nil {
			t.Fatal(err)
		}
		n := &end{name: side.name, link: l, nextSPI: side.base}
		*side.at = n
		n.boot(side.cfg)
	}
	return l
}

// boot starts an end with nothing in it, as after power-on.
func (n *end) boot(cfg Config) {
	n.cfg = cfg
	n.allocated, n.inbound, n.outbound = map[uint32]bool{}, map[uint32]ChildSA{}, map[uint32]ChildSA{}
	n.cells, n.keysSeen = map[string]uint32{}, map[string]bool{}
	n.firsts, n.everInbound = map[uint32]bool{}, map[uint32]bool{}
	n.never, n.refused, n.checks = map[uint32]bool{}, nil, nil
	n.dynamic = map[string]bool{}
	n.heard, n.sentBy = map[uint32]time.Time{}, map[uint32]time.Time{}
	cfg.AllocateSPI = n.allocate
	cfg.LastInbound = func(spi uint32) time.Time { return n.heard[spi] }
	cfg.LastOutbound = func(spi uint32) time.Time { return n.sentBy[spi] }
	n.engine = NewEngine(cfg)
	n.armed = time.Time{}
}

func (n *end) allocate(string, string) (uint32, error) {
	if n.noSPI {
		return 0, fmt.Errorf("all 4096 slots in use")
	}
	n.nextSPI++
	n.allocated[n.nextSPI] = true
	return n.nextSPI, nil
}

// step gives the engine an event and carries out what it orders.
func (n *end) step(ev Event) []Effect {
	effects := n.engine.Step(n.link.now, ev)
	n.effects = append(n.effects, effects...)
	for _, ef := range effects {
		n.do(ef)
	}
	for len(n.refused) > 0 {
		failed := n.refused[0]
		n.refused = n.refused[1:]
		effects = append(effects, n.step(failed)...)
	}
	for len(n.checks) > 0 && !n.mute {
		effects = append(effects, n.answer()...)
	}
	return effects
}

func (n *end) do(ef Effect) {
	t := n.link.t
	t.Helper()
	switch ef := ef.(type) {
	case Send:
		if string(ef.Payload) == "\xff" && !ef.NonESPMarker && ef.Local.Port() == 4500 {
			n.keepalives++ // and the peer's data plane drops it (RFC 3948 2.3)
			return
		}
		if ef.NonESPMarker != (ef.Local.Port() != 500) {
			t.Errorf("%s: non-ESP marker %t on port %d", n.name, ef.NonESPMarker, ef.Local.Port())
		}
		n.link.put(n, ef.Local, ef.Remote, packet{payload: ef.Payload})
	case Arm:
		n.armed = ef.At
	case InstallInbound:
		if strings.HasPrefix(ef.Peer, "dynamic:") && (!n.dynamic[ef.Peer] || ef.Child != ef.Peer) {
			t.Errorf("%s: installs an SA of child %q of peer %q, which was not added", n.name, ef.Child, ef.Peer)
		}
		if !n.allocated[ef.SA.SPI] || n.inbound[ef.SA.SPI].SPI != 0 {
			t.Errorf("%s: installs inbound %#x, which is not reserved or installed already", n.name, ef.SA.SPI)
		}
		n.checkKey(ef.SA)
		if n.refuseIn {
			n.never[ef.SA.SPI] = true
			n.refuseIn, n.refused = false, append(n.refused, InstallFailed{SPI: ef.SA.PairSPI, Inbound: true, Reason: "refused"})
			return
		}
		n.inbound[ef.SA.SPI], n.everInbound[ef.SA.SPI] = ef.SA, true
	case InstallOutbound:
		n.checkKey(ef.SA)
		if n.refuseOut {
			n.never[ef.SA.SPI] = true
			n.refuseOut, n.refused = false, append(n.refused, InstallFailed{SPI: ef.SA.PairSPI, Reason: "refused"})
			return
		}
		n.outbound[ef.SA.SPI] = ef.SA
		cell := cellOf(ef.Child, ef.SA.Worker)
		_, replaces := n.cells[cell]
		n.firsts[ef.SA.SPI], n.cells[cell] = !replaces && ef.SA.Worker == 0, ef.SA.SPI // a worker has the one of all until then
	case MoveOutbound:
		sa, installed := n.outbound[ef.SPI]
		if !installed {
			t.Errorf("%s: moves outbound %#x, which is not installed", n.name, ef.SPI)
		}
		sa.Local, sa.Remote = ef.Local, ef.Remote
		n.outbound[ef.SPI] = sa
	case RemoveInbound:
		if n.never[ef.SPI] {
			return // refused within the same Step
		}
		if n.inbound[ef.SPI].SPI == 0 {
			t.Errorf("%s: removes inbound %#x, which is not installed", n.name, ef.SPI)
		}
		delete(n.inbound, ef.SPI)
		delete(n.allocated, ef.SPI)
	case RemoveOutbound:
		if n.outbound[ef.SPI].SPI == 0 && !n.never[ef.SPI] {
			t.Errorf("%s: removes outbound %#x, which is not installed", n.name, ef.SPI)
		}
		if cell := cellOf(ef.Child, n.outbound[ef.SPI].Worker); n.cells[cell] == ef.SPI {
			delete(n.cells, cell)
		}
		delete(n.outbound, ef.SPI)
	case ReleaseSPI:
		if !n.allocated[ef.SPI] || n.inbound[ef.SPI].SPI != 0 {
			t.Errorf("%s: releases SPI %#x, which is not reserved or installed", n.name, ef.SPI)
		}
		delete(n.allocated, ef.SPI)
	case AddPeer:
		if n.dynamic[ef.Peer] || ef.Peer != DynamicName(ef.Remote) {
			t.Errorf("%s: adds peer %q at %v, which is there or has another name", n.name, ef.Peer, ef.Remote)
		}
		n.dynamic[ef.Peer] = true
	case RemovePeer:
		if _, sends := n.cells[ef.Peer]; !n.dynamic[ef.Peer] || sends {
			t.Errorf("%s: removes peer %q, which is not there or still sends", n.name, ef.Peer)
		}
		delete(n.dynamic, ef.Peer)
	case CheckCertificates:
		n.checks = append(n.checks, ef)
	case Fact:
		n.facts = append(n.facts, ef)
	}
}

// cellOf names the place of an outbound SA: that of a worker, or of all that have none of their own.
func cellOf(child string, worker int) string {
	if worker == 0 {
		return child
	}
	return fmt.Sprintf("%s#%d", child, worker)
}

// checkKey holds a key against the suite, and against being installed twice: sequence numbers would begin anew under it.
func (n *end) checkKey(sa ChildSA) {
	n.link.t.Helper()
	if sa.Keymat.Len() != sa.Suite.KeymatLen() {
		n.link.t.Errorf("%s: SPI %#x has %d octets of keys, %v takes %d", n.name, sa.SPI, sa.Keymat.Len(), sa.Suite, sa.Suite.KeymatLen())
	}
	if n.keysSeen[string(sa.Keymat.Bytes())] {
		n.link.t.Errorf("%s: SPI %#x: key installed a second time", n.name, sa.SPI)
	}
	n.keysSeen[string(sa.Keymat.Bytes())] = true
}

// put sends something on its way, through the NAT if there is one before a.
func (l *link) put(from *end, source, dest netip.AddrPort, p packet) {
	p.to = l.b
	if from == l.b {
		p.to = l.a
	}
	p.source, p.dest = source, dest
	if l.twist != nil && !p.esp {
		if p.payload = l.twist(from, p.payload); p.payload == nil {
			return
		}
	}
	if l.mtu > 0 && p.octets() > l.mtu {
		return
	}
	l.wire = append(l.wire, p)
}

// octets is the length of the IP datagram that carries an IKE message.
func (p packet) octets() int {
	n := len(p.payload) + udpHeader + ipv4Header
	if p.dest.Addr().Is6() {
		n += ipv6Header - ipv4Header
	}
	if p.source.Port() != portIKE {
		n += nonESPMarker
	}
	return n
}

// deliver hands the i-th packet in flight to its receiver.
func (l *link) deliver(i int) {
	p := l.wire[i]
	l.wire = slices.Delete(l.wire, i, i+1)
	l.arrive(p)
}

func (l *link) arrive(p packet) {
	if l.gone[p.dest.Addr()] || l.gone[p.source.Addr()] {
		if p.esp {
			l.lost++
		}
		return
	}
	if p.esp {
		in, ok := p.to.inbound[p.spi]
		if ok && bytes.Equal(in.Keymat.Bytes(), p.key) {
			l.taken++
			p.to.heard[p.spi] = l.now
			return
		}
		if p.first && !p.to.everInbound[p.spi] {
			l.early++ // the peer may send as soon as it has answered (RFC 7296 1.2): nobody can take it then
			return
		}
		l.lost++
		l.lostBy[p.child]++
		return
	}
	if l.nat != nil {
		p.source, p.dest = l.translate(p)
		if !p.dest.IsValid() {
			return
		}
	}
	p.to.step(Datagram{Local: p.dest, Remote: p.source, Payload: slices.Clone(p.payload)})
}

// translate is a NAT before a: b sees a at nat(a), and what b sends there arrives at a.
func (l *link) translate(p packet) (source, dest netip.AddrPort) {
	if p.to == l.b {
		return l.nat(p.source), p.dest
	}
	for _, port := range []uint16{500, 4500} {
		at := addrA
		if l.inside.IsValid() {
			at = l.inside
		}
		if inside := netip.AddrPortFrom(at, port); l.nat(inside) == p.dest {
			return p.source, inside
		}
	}
	return p.source, netip.AddrPort{}
}

// traffic sends an ESP packet each way where there is an SA to send by.
func (l *link) traffic() {
	for _, n := range []*end{l.a, l.b} {
		for _, child := range slices.Sorted(keys(n.cells)) {
			sa := n.outbound[n.cells[child]]
			n.sentBy[sa.PairSPI] = l.now
			l.put(n, sa.Local, sa.Remote, packet{esp: true, child: child, spi: sa.SPI, key: sa.Keymat.Bytes(), first: n.firsts[sa.SPI]})
		}
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// run delivers in order until nothing is in flight.
func (l *link) run() {
	l.t.Helper()
	for n := 0; len(l.wire) > 0; n++ {
		if n > 100000 {
			l.t.Fatal("the two ends never stop talking")
		}
		l.deliver(0)
	}
}

// advance moves the clock to each deadline in turn until d has passed, delivering everything in between.
func (l *link) advance(d time.Duration) {
	l.t.Helper()
	l.run()
	for until := l.now.Add(d); l.tick(until); {
		l.run()
	}
}

// tick moves the clock to the next deadline, at most until the given time, and reports whether there was one.
func (l *link) tick(until time.Time) bool {
	next := until
	for _, n := range []*end{l.a, l.b} {
		if !n.armed.IsZero() && n.armed.Before(next) {
			next = n.armed
		}
	}
	if next.After(l.now) {
		l.now = next
	}
	for _, n := range []*end{l.a, l.b} {
		if !n.armed.IsZero() && !n.armed.After(l.now) {
			n.armed = time.Time{}
			n.step(Tick{})
		}
	}
	return l.now.Before(until)
}

// begin lets both ends do what they do at start. What that is depends on the configuration.
func (l *link) begin() {
	l.a.step(Tick{})
	l.b.step(Tick{})
}

// up brings the tunnel up and insists on it.
func up(t testing.TB, changeA, changeB func(*Config)) *link {
	t.Helper()
	l := join(t, changeA, changeB)
	l.begin()
	l.run()
	if len(l.a.inbound)+len(l.b.inbound) > 2 {
		l.advance(6 * time.Second) // both began: the redundant Child SA receives for the grace time
	}
	l.established("net")
	return l
}
