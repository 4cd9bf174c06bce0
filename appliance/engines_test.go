package appliance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// stubEngine notes what it is told, and does what a test wants.
type stubEngine struct {
	told    []ike.Event
	does    []ike.Effect
	carries bool
}

func (s *stubEngine) Step(_ time.Time, event ike.Event) []ike.Effect {
	s.told = append(s.told, event)
	does := s.does
	s.does = nil
	return does
}
func (s *stubEngine) Snapshot() []ike.SAInfo             { return nil }
func (s *stubEngine) NotBefore(string, string) time.Time { return time.Time{} }
func (s *stubEngine) Carries(string) bool                { return s.carries }
func (s *stubEngine) Begins(string) bool                 { return false }
func (s *stubEngine) Retired() int                       { return 1 }
func (s *stubEngine) LimitUses(time.Time) []ike.LimitUse { return nil }

// take is what the engine was told, and from how many addresses it heard of the other's datagrams.
func (s *stubEngine) take() (told []ike.Event, heard int) {
	for _, event := range s.told {
		if _, ok := event.(ike.Heard); ok {
			heard++
			continue
		}
		told = append(told, event)
	}
	s.told = nil
	return told, heard
}
func header(version byte, octets int) []byte {
	return append(make([]byte, versionAt), append([]byte{version}, make([]byte, octets)...)...)[:octets]
}
func datagramFrom(remote string, payload []byte) ike.Event {
	return ike.Datagram{Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort(remote + ":500"), Payload: payload}
}

// newStubs are engines of both versions that a test can look into, and three peers: of each version, and of both.
func newStubs() (e *engines, v2, v1 *stubEngine) {
	v2, v1 = &stubEngine{}, &stubEngine{}
	e = &engines{by: [versions]engine{byV2: v2, byV1: v1}, dynamic: map[string]int{}}
	var peers []ike.Peer
	for i, version := range []ike.Version{ike.V2, ike.V1, ike.VAny} {
		peers = append(peers, ike.Peer{Name: version.String(), Version: version, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)})})
	}
	e.Step(time.Time{}, ike.Reconfigure{Peers: peers})
	v2.take()
	v1.take()
	return e, v2, v1
}

// Each event goes to the engine that it concerns.
func TestEngineOfEvent(t *testing.T) {
	const older, newer, neither = 0x10, 0x20, 0x30
	for _, c := range []struct {
		name   string
		event  ike.Event
		v2, v1 int
	}{
		{"IKEv2 of its peer", datagramFrom("192.0.2.10", header(newer, 28)), 1, 0},
		{"IKEv1 of its peer", datagramFrom("192.0.2.11", header(older, 28)), 0, 1},
		{"IKEv2 of a peer of both", datagramFrom("192.0.2.12", header(newer, 28)), 1, 0},
		{"IKEv1 of a peer of both", datagramFrom("192.0.2.12", header(older, 28)), 0, 1},
		{"IKEv1 of a peer of IKEv2 is counted as its", datagramFrom("192.0.2.10", header(older, 28)), 1, 0},
		{"IKEv2 of a peer of IKEv1 is counted as its", datagramFrom("192.0.2.11", header(newer, 28)), 0, 1},
		{"IKEv1 of a stranger", datagramFrom("192.0.2.99", header(older, 28)), 0, 1},
		{"neither version", datagramFrom("192.0.2.99", header(neither, 28)), 1, 0},
		{"up to the version", datagramFrom("192.0.2.99", header(older, versionAt)), 1, 0},
		{"nothing", datagramFrom("192.0.2.99", nil), 1, 0},
		{"a peer of IKEv2", ike.Initiate{Peer: "v2"}, 1, 0},
		{"a peer of IKEv1", ike.Acquire{Peer: "v1"}, 0, 1},
		{"a peer of both", ike.Rekey{Peer: "any"}, 1, 0},
		{"an order to end", ike.Terminate{Peer: "any"}, 1, 1},
		{"an SPI", ike.Expire{SPI: 7}, 1, 1},
		{"time", ike.Tick{}, 1, 1},
	} {
		e, v2, v1 := newStubs()
		e.Step(time.Time{}, c.event)
		a, heard2 := v2.take()
		b, heard1 := v1.take()
		if len(a) != c.v2 || len(b) != c.v1 {
			t.Errorf("%s: told to IKEv2 %d times and to IKEv1 %d times, expected %d and %d", c.name, len(a), len(b), c.v2, c.v1)
		}
		d, datagram := c.event.(ike.Datagram)
		if ofBoth := datagram && d.Remote.Addr() == netip.MustParseAddr("192.0.2.12"); ofBoth && heard2 != c.v1 || ofBoth && heard1 != c.v2 || !ofBoth && heard2+heard1 > 0 {
			t.Errorf("%s: IKEv2 heard of %d and IKEv1 of %d datagrams of the other's", c.name, heard2, heard1)
		}
	}
}

// One timer is that of the earlier engine, questions come back to the engine that asked, and each hears that the other has a peer of both.
func TestEnginesTogether(t *testing.T) {
	e, v2, v1 := newStubs()
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	for i, c := range []struct{ v2, v1, want int64 }{{100, 50, 50}, {40, 50, 40}, {100, 60, 60}} {
		v2.does, v1.does = []ike.Effect{ike.Arm{At: at(c.v2)}}, []ike.Effect{ike.Arm{At: at(c.v1)}}
		if effects := e.Step(at(0), ike.Tick{}); len(effects) != 1 || !effects[0].(ike.Arm).At.Equal(at(c.want)) {
			t.Errorf("case %d: %v, expected one timer at %d", i, effects, c.want)
		}
	}
	v1.does = []ike.Effect{ike.Arm{}}
	if effects := e.Step(at(0), ike.Tick{}); len(effects) != 1 || !effects[0].(ike.Arm).At.Equal(at(100)) {
		t.Errorf("%v, expected the other's timer", effects)
	}
	v2.does, v1.does = []ike.Effect{ike.CheckCertificates{Ticket: 3}}, []ike.Effect{ike.CheckCertificates{Ticket: 3}}
	asked := e.Step(at(0), ike.Tick{})
	v2.take()
	v1.take()
	for i, engine := range []*stubEngine{v2, v1} {
		e.Step(at(0), ike.CertificatesChecked{Ticket: asked[i].(ike.CheckCertificates).Ticket})
		if told, _ := engine.take(); len(told) != 1 || told[0].(ike.CertificatesChecked).Ticket != 3 {
			t.Errorf("engine %d is told %v", i, told)
		}
	}
	v1.does, v1.carries = []ike.Effect{ike.Fact{Peer: "any"}, ike.Fact{Peer: "any"}}, true
	e.Step(at(0), datagramFrom("192.0.2.12", header(0x10, 28)))
	if told, heard := v2.take(); heard != 1 || len(told) != 1 || told[0] != (ike.Carried{Peer: "any", On: true}) {
		t.Errorf("that IKEv1 has the peer of both is told as %v", told)
	}
	e.Step(at(0), ike.Initiate{Peer: "any"})
	if told, _ := v2.take(); len(told) != 0 || e.Retired() != versions {
		t.Error("a peer that IKEv1 carries is begun with by IKEv2")
	}
}

// party is one end of a duo: both engines, and what they have installed.
type party struct {
	*engines
	cfg     ike.Config
	address netip.Addr
	other   *party
	spis    uint32
	out     int           // pairs that packets leave by
	sent    [versions]int // messages
	drop    func([]byte) bool
	reasons map[ike.Reason]int
	due     time.Time
	queue   []ike.Datagram
}

// duo is two parties in memory, and their clock.
type duo struct {
	t    *testing.T
	now  time.Time
	a, b *party
}

// newDuo joins two gateways; each names the version that it speaks with the other, and who keeps the tunnel up.
func newDuo(t *testing.T, a, b ike.Version, starts func(a, b *ike.Child)) *duo {
	t.Helper()
	d := &duo{t: t, now: time.Unix(1_800_000_000, 0)}
	make := func(number byte, other byte, version ike.Version) *party {
		p := &party{address: netip.AddrFrom4([4]byte{192, 0, 2, number}), spis: uint32(number) << 12, reasons: map[ike.Reason]int{}}
		site := func(n byte) policy.AddrRange {
			return policy.RangeOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n, 0, 0}), 24))
		}
		p.cfg = ike.Config{
			Random:      rand.NewChaCha8([32]byte{number}),
			AllocateSPI: func(string, string) (uint32, error) { p.spis++; return p.spis, nil },
			Peers: []ike.Peer{{Name: "peer", Version: version, Local: p.address, Remote: netip.AddrFrom4([4]byte{192, 0, 2, other}), PSK: crypto.NewSecret([]byte("wq7Lk2mXv9RtZ4pLc8HsJ3nYd6BfG")),
				Children: []ike.Child{{Name: "tunnel", Start: ike.StartOnDemand, IdleTimeout: -1, Selectors: []policy.Selector{
					{Local: site(number), Remote: site(other), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}}}}},
		}
		return p
	}
	d.a, d.b = make(1, 2, a), make(2, 1, b)
	d.a.other, d.b.other = d.b, d.a
	starts(&d.a.cfg.Peers[0].Children[0], &d.b.cfg.Peers[0].Children[0])
	for _, p := range []*party{d.a, d.b} {
		p.start()
		d.step(p, ike.Tick{})
	}
	d.run()
	return d
}

// start makes engines that know of nothing, as a gateway that has started anew.
func (p *party) start() {
	p.engines, p.out, p.due = newEngines(p.cfg), 0, time.Time{}
}

// step carries out what the engines want: messages wait for run, or are lost.
func (d *duo) step(p *party, event ike.Event) {
	for _, effect := range p.Step(d.now, event) {
		switch e := effect.(type) {
		case ike.Send:
			if len(e.Payload) <= versionAt { // a keepalive of a NAT's mapping
				continue
			}
			of := byV2
			if e.Payload[versionAt]>>4 == 1 {
				of = byV1
			}
			p.sent[of]++
			if p.drop == nil || !p.drop(e.Payload) {
				p.other.queue = append(p.other.queue, ike.Datagram{Local: e.Remote, Remote: e.Local, Payload: slices.Clone(e.Payload)})
			}
		case ike.Arm:
			p.due = e.At
		case ike.InstallOutbound:
			p.out++
		case ike.RemoveOutbound:
			p.out--
		case ike.Fact:
			p.reasons[e.Reason]++
		}
	}
}

// run delivers all that is on its way.
func (d *duo) run() {
	for range 1000 {
		for _, p := range []*party{d.a, d.b} {
			if len(p.queue) > 0 {
				next := p.queue[0]
				p.queue = p.queue[1:]
				d.step(p, next)
			}
		}
		if len(d.a.queue)+len(d.b.queue) == 0 {
			return
		}
	}
	d.t.Fatal("the two do not come to rest")
}

// pass lets time go by.
func (d *duo) pass(span time.Duration) {
	for end := d.now.Add(span); ; d.run() {
		next := end
		for _, p := range []*party{d.a, d.b} {
			if !p.due.IsZero() && p.due.Before(next) {
				next = p.due
			}
		}
		if next.After(d.now) {
			d.now = next
		}
		if !d.now.Before(end) {
			return
		}
		d.step(d.a, ike.Tick{})
		d.step(d.b, ike.Tick{})
	}
}

// by says by which versions a party has its tunnel: "1", "2", both or "".
func (p *party) by() (text string) {
	for _, info := range p.Snapshot() {
		if info.SPIi != 0 && info.State == "established" && len(info.Children) > 0 {
			text += fmt.Sprint(info.Version.Number())
		}
	}
	return text
}

func nobody(_, _ *ike.Child)  {}
func aStarts(a, _ *ike.Child) { a.Start = ike.StartAlways }
func bStarts(_, b *ike.Child) { b.Start = ike.StartAlways }

// wantBy checks by which version both ends have one tunnel.
func (d *duo) wantBy(what, version string) {
	d.t.Helper()
	pairs := len(version)
	if a, b := d.a.by(), d.b.by(); a != version || b != version || d.a.out != pairs || d.b.out != pairs {
		d.t.Errorf("%s: tunnels by %q and %q, with %d and %d pairs of SAs; expected by %q", what, a, b, d.a.out, d.b.out, version)
	}
}

// Of two gateways those versions come up that both speak; a peer of both is begun with by IKEv2 alone, and answered in either.
func TestVersionsOfTwoGateways(t *testing.T) {
	for _, c := range []struct {
		a, b    ike.Version
		starts  func(a, b *ike.Child)
		version string
	}{
		{ike.V1, ike.V1, aStarts, "1"}, {ike.V1, ike.V1, bStarts, "1"}, {ike.V2, ike.V2, aStarts, "2"},
		{ike.VAny, ike.VAny, aStarts, "2"}, {ike.VAny, ike.V2, aStarts, "2"}, {ike.VAny, ike.V2, bStarts, "2"},
		{ike.VAny, ike.V1, bStarts, "1"}, {ike.VAny, ike.V1, aStarts, ""},
		{ike.V1, ike.V2, aStarts, ""}, {ike.V2, ike.V1, aStarts, ""},
	} {
		d := newDuo(t, c.a, c.b, c.starts)
		d.pass(time.Minute)
		d.wantBy(fmt.Sprintf("%v with %v", c.a, c.b), c.version)
		if c.version == "" && (d.a.sent[byV1] > 0 && c.a != ike.V1 || d.b.sent != [versions]int{}) {
			t.Errorf("%v with %v: a sends %v, b %v", c.a, c.b, d.a.sent, d.b.sent)
		}
	}
}

// Whoever can drop packets forces nobody who speaks both into IKEv1: nothing of it is ever sent.
func TestNoDowngrade(t *testing.T) {
	for _, lost := range []func([]byte) bool{
		func([]byte) bool { return true },
		func(m []byte) bool { return m[versionAt+1] != 34 }, // all but IKE_SA_INIT
	} {
		d := newDuo(t, ike.VAny, ike.VAny, func(a, b *ike.Child) { a.Start, b.Start = ike.StartAlways, ike.StartAlways })
		d.a.start()
		d.b.start()
		d.a.sent, d.b.sent = [versions]int{}, [versions]int{}
		d.a.drop, d.b.drop = lost, lost
		d.step(d.a, ike.Tick{})
		d.step(d.b, ike.Tick{})
		d.pass(time.Hour)
		if d.a.out+d.b.out > 0 || d.a.sent[byV2] < 50 || d.a.sent[byV1]+d.b.sent[byV1] > 0 {
			t.Errorf("a sends %v, b %v messages of IKEv2 and IKEv1", d.a.sent, d.b.sent)
		}
		d.a.drop, d.b.drop = nil, nil
		d.pass(2 * time.Minute)
		if d.a.by() == "" || d.a.sent[byV1] > 0 {
			t.Errorf("afterwards: tunnel by %q", d.a.by())
		}
	}
}

// While IKEv1 has a peer of both IKEv2 begins nothing with it, whatever is asked for; when the peer comes by IKEv2 its SAs of IKEv1 end.
func TestPeerTurnsToIKEv2(t *testing.T) {
	d := newDuo(t, ike.VAny, ike.V1, func(a, b *ike.Child) { a.Start, b.Start = ike.StartAlways, ike.StartAlways })
	d.pass(3 * time.Minute) // what had begun of IKEv2 is given up
	d.wantBy("the peer has begun by IKEv1", "1")
	sent := d.a.sent[byV2]
	d.step(d.a, ike.Acquire{Peer: "peer", Child: "tunnel"})
	d.step(d.a, ike.Rekey{Peer: "peer", Child: "tunnel"})
	d.run()
	d.pass(10 * time.Minute)
	if d.a.sent[byV2] != sent || !d.a.NotBefore("peer", "tunnel").IsZero() {
		t.Errorf("%d more messages of IKEv2, not before %v", d.a.sent[byV2]-sent, d.a.NotBefore("peer", "tunnel"))
	}
	d.wantBy("after a rekey by the one that does not begin", "1")

	d.b.cfg.Peers[0].Version = ike.V2
	d.b.start() // and has lost what it had
	d.step(d.b, ike.Tick{})
	d.run()
	d.wantBy("the peer has begun by IKEv2", "2")
	for _, info := range d.a.Snapshot() {
		if info.Version != ike.V2 {
			t.Errorf("left of IKEv1: %+v", info)
		}
	}
}

// While IKEv2 has a peer of both, main modes in its name are refused and counted, those too that had begun before.
func TestMainModeBesideIKEv2(t *testing.T) {
	const mainMode, encrypted = 2, 0x01
	for _, c := range []struct {
		name string
		late func([]byte) bool // of the other's messages: they come when IKEv2 is up
	}{
		{"from the first message", func(m []byte) bool { return true }},
		{"from message 5", func(m []byte) bool { return m[versionAt+1] == mainMode && m[versionAt+2]&encrypted != 0 }},
	} {
		d := newDuo(t, ike.VAny, ike.V2, nobody)
		newer, older := d.b, newDuo(t, ike.V2, ike.V1, nobody).b
		older.other = d.a
		d.b = older
		var late []ike.Datagram
		older.drop = func(m []byte) bool {
			if !c.late(m) {
				return false
			}
			late = append(late, ike.Datagram{Local: netip.AddrPortFrom(d.a.address, 500), Remote: netip.AddrPortFrom(older.address, 500), Payload: slices.Clone(m)})
			return true
		}
		d.a.other = older
		d.step(older, ike.Initiate{Peer: "peer"})
		d.run()

		d.b, d.a.other = newer, newer
		d.step(newer, ike.Initiate{Peer: "peer"})
		d.run()
		d.wantBy(c.name, "2")
		d.step(d.a, late[0])
		d.wantBy(c.name+", afterwards", "2")
		if d.a.reasons[ike.RefuseCarried] != 1 {
			t.Errorf("%s: refused and counted %d times, expected once", c.name, d.a.reasons[ike.RefuseCarried])
		}
	}
}
