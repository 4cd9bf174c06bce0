package ikev1

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// link joins two engines, a and b, with a wire whose every datagram a test can deliver, drop, duplicate or reorder, a fake clock, and a data plane
// at each end that checks what the engine orders. IPsec packets travel on the same wire, so that a test sees whether one is ever lost.
type link struct {
	t    testing.TB
	now  time.Time
	a, b *end
	wire []packet // in flight, oldest first
	nat  func(from netip.AddrPort) netip.AddrPort
	// twist changes what an end sends; it gives nil to have it lost.
	twist func(from *end, payload []byte) []byte
	carry func(from *end, sa ike.ChildSA) // sees each IPsec packet that leaves
	lost  int                             // IPsec packets that arrived where nobody took them
	taken int
}

// packet is an IKE datagram, or with a key an IPsec packet.
type packet struct {
	to           *end
	source, dest netip.AddrPort
	payload      []byte
	spi          uint32
	key          []byte
	due          time.Time // in a storm: when it arrives
}

// end is one gateway: an engine and the model of a data plane.
type end struct {
	name       string
	link       *link
	engine     *Engine
	armed      time.Time
	facts      []ike.Fact
	nextSPI    uint32
	allocated  map[uint32]bool
	inbound    map[uint32]ike.ChildSA
	outbound   map[uint32]ike.ChildSA
	cells      map[string]uint32
	heard      map[uint32]time.Time
	sentBy     map[uint32]time.Time
	keysSeen   map[string]bool
	dynamic    map[string]bool // peers that the default response rule has let in
	noSPI      bool            // the data plane is full
	room       int             // for so many SPIs in all; 0: for any number
	sends      int
	keepalives int
	never      map[uint32]bool // refused by the data plane
	refuseIn   bool
	refuseOut  bool
	asked      []ike.CheckCertificates // questions that the test has not answered
	late       bool                    // the data plane has an inbound SA from the end of its quick mode on
	then       func()                  // after each step; nil: nothing
}

var (
	start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	addrA = netip.MustParseAddr("192.0.2.1")
	addrB = netip.MustParseAddr("192.0.2.2")
)

// sideA and sideB are the two halves of one tunnel; a begins.
func sideA(t testing.TB) ike.Config {
	return ike.Config{Random: seeded(1), Peers: []ike.Peer{{
		Name: "b", Version: ike.V1, Local: addrA, Remote: addrB, PSK: crypto.NewSecret([]byte("correct horse")),
		IKEProposals: ikeProposals(t, "aes128-sha256-ecp256"),
		Children:     []ike.Child{{Name: "net", Selectors: []policy.Selector{selector(t, "10.1.0.0/24", "10.2.0.0/24")}, ReplayWindow: 1024}},
	}}}
}

func sideB(t testing.TB) ike.Config {
	return ike.Config{Random: seeded(2), Peers: []ike.Peer{{
		Name: "a", Version: ike.V1, Local: addrB, Remote: addrA, PSK: crypto.NewSecret([]byte("correct horse")),
		IKEProposals: ikeProposals(t, "aes128-sha256-ecp256"),
		Children: []ike.Child{{Name: "net", Selectors: []policy.Selector{selector(t, "10.2.0.0/24", "10.1.0.0/24")}, Start: ike.StartOnDemand,
			IdleTimeout: -1, ReplayWindow: 1024}},
	}}}
}

// join makes a link of the usual two sides, changed by the functions given (which may be nil).
func join(t testing.TB, changeA, changeB func(*ike.Config)) *link {
	t.Helper()
	l := &link{t: t, now: start}
	for _, side := range []struct {
		cfg    ike.Config
		change func(*ike.Config)
		name   string
		end    **end
		base   uint32
	}{{sideA(t), changeA, "a", &l.a, 0xa0000000}, {sideB(t), changeB, "b", &l.b, 0xb0000000}} {
		if side.change != nil {
			side.change(&side.cfg)
		}
		if err := ike.ValidatePeers(side.cfg.Peers); err != nil {
			t.Fatal(err)
		}
		n := &end{name: side.name, link: l, nextSPI: side.base}
		*side.end = n
		n.boot(side.cfg)
	}
	return l
}

// boot starts an end with nothing in it, as after power-on.
func (n *end) boot(cfg ike.Config) {
	n.allocated, n.inbound, n.outbound = map[uint32]bool{}, map[uint32]ike.ChildSA{}, map[uint32]ike.ChildSA{}
	n.cells, n.keysSeen, n.never = map[string]uint32{}, map[string]bool{}, map[uint32]bool{}
	n.dynamic = map[string]bool{}
	n.heard, n.sentBy = map[uint32]time.Time{}, map[uint32]time.Time{}
	cfg.AllocateSPI = n.allocate
	cfg.LastInbound = func(spi uint32) time.Time { return n.heard[spi] }
	cfg.LastOutbound = func(spi uint32) time.Time { return n.sentBy[spi] }
	n.engine = NewEngine(cfg)
	n.armed = time.Time{}
}

func (n *end) allocate(string, string) (uint32, error) {
	if n.noSPI || n.room > 0 && len(n.allocated) >= n.room {
		return 0, fmt.Errorf("all 4096 slots in use")
	}
	n.nextSPI++
	n.allocated[n.nextSPI] = true
	return n.nextSPI, nil
}

// step gives the engine an event and carries out what it orders.
func (n *end) step(ev ike.Event) {
	n.link.t.Helper()
	var refused []ike.InstallFailed
	for _, ef := range n.engine.Step(n.link.now, ev) {
		if failed := n.do(ef); failed != nil {
			refused = append(refused, *failed)
		}
	}
	if n.then != nil {
		n.then()
	}
	for _, failed := range refused {
		n.step(failed)
	}
}

func (n *end) do(ef ike.Effect) *ike.InstallFailed {
	t := n.link.t
	t.Helper()
	switch ef := ef.(type) {
	case ike.Send:
		n.send(ef)
	case ike.Arm:
		n.armed = ef.At
	case ike.AddPeer:
		if n.dynamic[ef.Peer] || ef.Peer != ike.DynamicName(ef.Remote) {
			t.Errorf("%s: adds peer %q at %v, which is there or has another name", n.name, ef.Peer, ef.Remote)
		}
		n.dynamic[ef.Peer] = true
	case ike.RemovePeer:
		if _, sends := n.cells[ef.Peer]; !n.dynamic[ef.Peer] || sends {
			t.Errorf("%s: removes peer %q, which is not there or still sends", n.name, ef.Peer)
		}
		delete(n.dynamic, ef.Peer)
	case ike.CheckCertificates:
		n.asked = append(n.asked, ef)
	case ike.InstallInbound:
		for _, spi := range spisOf(ef.SA) {
			if !n.allocated[spi] || n.installed(spi) {
				t.Errorf("%s: installs inbound %#x, which is not reserved or installed already", n.name, spi)
			}
		}
		if ike.IsDynamic(ef.Peer) && !n.dynamic[ef.Peer] {
			t.Errorf("%s: installs an SA for %s, which is not there", n.name, ef.Peer)
		}
		n.checkKeys(ef.SA)
		if n.refuseIn {
			n.refuseIn, n.never[ef.SA.SPI] = false, true
			return &ike.InstallFailed{SPI: ef.SA.PairSPI, Inbound: true, Reason: "refused"}
		}
		n.inbound[ef.SA.SPI] = ef.SA
	case ike.InstallOutbound:
		n.checkKeys(ef.SA)
		if n.refuseOut {
			n.refuseOut, n.never[ef.SA.SPI] = false, true
			return &ike.InstallFailed{SPI: ef.SA.PairSPI, Reason: "refused"}
		}
		n.outbound[ef.SA.SPI], n.cells[ef.Child] = ef.SA, ef.SA.SPI
	case ike.MoveOutbound:
		sa, installed := n.outbound[ef.SPI]
		if !installed {
			t.Errorf("%s: moves outbound %#x, which is not installed", n.name, ef.SPI)
		}
		sa.Local, sa.Remote = ef.Local, ef.Remote
		n.outbound[ef.SPI] = sa
	case ike.RemoveInbound:
		if n.inbound[ef.SPI].SPI == 0 && !n.never[ef.SPI] {
			t.Errorf("%s: removes inbound %#x, which is not installed", n.name, ef.SPI)
		}
		for _, spi := range spisOf(n.inbound[ef.SPI]) {
			delete(n.allocated, spi)
		}
		delete(n.inbound, ef.SPI)
	case ike.RemoveOutbound:
		if n.outbound[ef.SPI].SPI == 0 && !n.never[ef.SPI] {
			t.Errorf("%s: removes outbound %#x, which is not installed", n.name, ef.SPI)
		}
		if n.cells[ef.Child] == ef.SPI {
			delete(n.cells, ef.Child)
		}
		delete(n.outbound, ef.SPI)
	case ike.ReleaseSPI:
		if !n.allocated[ef.SPI] || n.installed(ef.SPI) {
			t.Errorf("%s: releases SPI %#x, which is not reserved or installed", n.name, ef.SPI)
		}
		delete(n.allocated, ef.SPI)
	case ike.Fact:
		n.facts = append(n.facts, ef)
	}
	return nil
}

// spisOf are those of one direction, two of a bundle.
func spisOf(sa ike.ChildSA) []uint32 {
	if sa.AH == nil {
		return []uint32{sa.SPI}
	}
	return []uint32{sa.SPI, sa.AH.SPI}
}

// keysOf are what a packet of it is made with.
func keysOf(sa ike.ChildSA) []byte {
	if sa.AH == nil {
		return sa.Keymat.Bytes()
	}
	return slices.Concat(sa.AH.Keymat.Bytes(), sa.Keymat.Bytes())
}

// installed reports whether an inbound SA goes by the SPI, of itself or of the AH around it.
func (n *end) installed(spi uint32) bool {
	for _, sa := range n.inbound {
		if slices.Contains(spisOf(sa), spi) {
			return true
		}
	}
	return false
}

func (n *end) checkKeys(sa ike.ChildSA) {
	n.link.t.Helper()
	n.checkKey(sa.SPI, sa.Suite, sa.Keymat)
	if sa.AH != nil {
		n.checkKey(sa.AH.SPI, sa.AH.Suite, sa.AH.Keymat)
	}
}

// checkKey holds a key against the suite, and against being installed twice: sequence numbers would begin anew under it.
func (n *end) checkKey(spi uint32, suite crypto.Suite, key crypto.Secret) {
	n.link.t.Helper()
	if key.Len() != suite.KeymatLen() {
		n.link.t.Errorf("%s: SPI %#x has %d octets of keys, %v takes %d", n.name, spi, key.Len(), suite, suite.KeymatLen())
	}
	if n.keysSeen[string(key.Bytes())] {
		n.link.t.Errorf("%s: SPI %#x: key installed a second time", n.name, spi)
	}
	n.keysSeen[string(key.Bytes())] = true
}

// send puts an IKE datagram on its way.
func (n *end) send(ef ike.Send) {
	l := n.link
	if string(ef.Payload) == "\xff" {
		n.keepalives++ // which the peer's data plane drops (RFC 3948 2.3)
		return
	}
	if ef.NonESPMarker != (ef.Local.Port() != portIKE) {
		l.t.Errorf("%s: non-ESP marker %t on port %d", n.name, ef.NonESPMarker, ef.Local.Port())
	}
	n.sends++
	payload := ef.Payload
	if l.twist != nil {
		if payload = l.twist(n, payload); payload == nil {
			return
		}
	}
	l.wire = append(l.wire, packet{to: n.other(), source: ef.Local, dest: ef.Remote, payload: payload})
}

func (n *end) other() *end {
	if n == n.link.a {
		return n.link.b
	}
	return n.link.a
}

// deliver hands the i-th packet in flight to its receiver.
func (l *link) deliver(i int) {
	l.t.Helper()
	p := l.wire[i]
	l.wire = slices.Delete(l.wire, i, i+1)
	l.arrive(p)
}

func (l *link) arrive(p packet) {
	l.t.Helper()
	if p.key != nil {
		if in, ok := p.to.inbound[p.spi]; ok && bytes.Equal(keysOf(in), p.key) && p.to.takes(in) {
			l.taken++
			p.to.heard[p.spi] = l.now
			return
		}
		l.lost++
		return
	}
	if l.nat != nil {
		if p.source, p.dest = l.translate(p); !p.dest.IsValid() {
			return
		}
	}
	p.to.step(ike.Datagram{Local: p.dest, Remote: p.source, Payload: slices.Clone(p.payload)})
}

// translate is a NAT before a: b sees a at nat(a), and what b sends there arrives at a.
func (l *link) translate(p packet) (source, dest netip.AddrPort) {
	if p.to == l.b {
		return l.nat(p.source), p.dest
	}
	for _, port := range []uint16{portIKE, portNATT} {
		if inside := netip.AddrPortFrom(addrA, port); l.nat(inside) == p.dest {
			return p.source, inside
		}
	}
	return p.source, netip.AddrPort{}
}

// traffic sends an IPsec packet each way where there is an SA to send by.
func (l *link) traffic() {
	for _, n := range []*end{l.a, l.b} {
		for _, child := range slices.Sorted(maps.Keys(n.cells)) {
			sa := n.outbound[n.cells[child]]
			n.sentBy[sa.PairSPI] = l.now
			if l.carry != nil {
				l.carry(n, sa)
			}
			l.wire = append(l.wire, packet{to: n.other(), source: sa.Local, dest: sa.Remote, spi: sa.SPI, key: keysOf(sa)})
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
	l.run()
}

// tick moves the clock to the next deadline, at most until the given time, and reports whether there was one.
func (l *link) tick(until time.Time) bool {
	l.t.Helper()
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
			n.step(ike.Tick{})
		}
	}
	return l.now.Before(until)
}

// begin lets both ends do what they do at start. What that is depends on the configuration.
func (l *link) begin() {
	l.a.step(ike.Tick{})
	l.b.step(ike.Tick{})
}

// up brings the tunnel up and insists on it.
func up(t testing.TB, changeA, changeB func(*ike.Config)) *link {
	t.Helper()
	l := join(t, changeA, changeB)
	l.begin()
	l.run()
	l.established()
	return l
}

// comesUp begins, and insists on the one tunnel within ten seconds.
func (l *link) comesUp() {
	l.t.Helper()
	l.begin()
	l.advance(10 * time.Second)
	l.established()
	l.settled(1, 1)
}

// established insists on one pair of IPsec SAs in use, the same at both ends, and on packets going by it.
func (l *link) established() {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		out, in := n.outbound[n.cells["net"]], ike.ChildSA{}
		if out.SPI != 0 {
			in = n.other().inbound[out.SPI]
		}
		if out.SPI == 0 || !slices.Equal(spisOf(in), spisOf(out)) || !bytes.Equal(keysOf(in), keysOf(out)) || in.Suite != out.Suite {
			l.t.Fatalf("%s sends by %#x, its peer takes %x; facts of a:\n%s\nof b:\n%s", n.name, out.SPI, slices.Sorted(maps.Keys(n.other().inbound)), l.a.story(), l.b.story())
		}
	}
	lost, taken := l.lost, l.taken
	l.traffic()
	l.run()
	if l.lost != lost || l.taken != taken+2 {
		l.t.Fatalf("%d packets lost and %d taken of 2", l.lost-lost, l.taken-taken)
	}
}

// settled insists on a number of ISAKMP SAs and pairs of IPsec SAs at each end, and on nothing being left of what went before.
func (l *link) settled(sas, pairs int) {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		l.settledAt(n, sas, pairs)
	}
}

func (l *link) settledAt(n *end, sas, pairs int) {
	l.t.Helper()
	e, spis := n.engine, 0
	for _, sa := range n.inbound {
		spis += len(spisOf(sa))
	}
	if len(e.sas) != sas || len(e.begun) != 0 || len(e.children) != pairs || len(n.inbound) != pairs || len(n.outbound) != pairs || len(n.allocated) != spis {
		l.t.Errorf("%s has %d ISAKMP SAs, %d that are proposed, %d pairs, %d inbound and %d outbound SAs, %d SPIs; expected %d and %d\n%s", n.name, len(e.sas),
			len(e.begun), len(e.children), len(n.inbound), len(n.outbound), len(n.allocated), sas, pairs, n.story())
	}
	if e.halfOpen.Total() != 0 || e.halfOpen.Entries() != 0 {
		l.t.Errorf("%s counts %d half-open ISAKMP SAs", n.name, e.halfOpen.Total())
	}
}

// story is the facts of an end, for a test that fails.
func (n *end) story() string {
	var b bytes.Buffer
	for _, f := range n.facts {
		fmt.Fprintf(&b, "  %s %v %s %s %s\n", f.Time.Format("15:04:05.000"), f.Kind, f.Child, f.Reason, f.Detail)
	}
	return b.String()
}

// count is how many facts of a kind there are, with an empty reason of any.
func (n *end) count(kind ike.FactKind, reason ike.Reason) (found int) {
	for _, f := range n.facts {
		if f.Kind == kind && (reason == "" || f.Reason == reason) {
			found++
		}
	}
	return found
}

// expect insists on a number of facts.
func (n *end) expect(kind ike.FactKind, reason ike.Reason, want int) {
	n.link.t.Helper()
	if found := n.count(kind, reason); found != want {
		n.link.t.Errorf("%s: %d facts %v %s, expected %d:\n%s", n.name, found, kind, reason, want, n.story())
	}
}

// kindOf says of a datagram which message it is, as far as anybody can see.
func kindOf(payload []byte) string {
	h, err := isakmp.ParseHeader(payload)
	if err != nil {
		return hex.EncodeToString(payload)
	}
	if h.Encrypted() {
		return h.Exchange.String() + " encrypted"
	}
	return h.Exchange.String()
}

// seeded is a reproducible source of octets.
func seeded(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }
