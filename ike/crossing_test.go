package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// runsEach is how often a row of a table below is played, with accidents in an order and again with accidents at random.
const runsEach = 40

// outcome is what both ends must have in the end. Nothing else may be left: no IKE SA, Child SA, SPI, timer or fragment.
type outcome struct {
	gone     bool     // no IKE SA
	children []string // Child SAs by their names, in order
	mayLose  bool     // ESP packets, by an SA that was deleted
	orNet    bool     // the child "net" may be there as well: the peer made it anew before it knew that it was deleted
}

func (o outcome) check(l *link) {
	l.t.Helper()
	if o.mayLose {
		l.lost = 0
	}
	switch _, net := l.a.cells["net"]; {
	case o.gone:
		l.consistent()
	case o.orNet && net:
		l.established(append([]string{"net"}, o.children...)...)
	default:
		l.established(o.children...)
	}
	l.leftovers()
}

// leftovers insists on an engine that holds nothing but what Snapshot shows.
func (l *link) leftovers() {
	l.t.Helper()
	for _, n := range []*end{l.a, l.b} {
		e, ikeSAs, children := n.engine, 0, 0
		for _, sa := range e.Snapshot() {
			if sa.SPIi != 0 {
				ikeSAs++
			}
			children += len(sa.Children)
		}
		// Of each IKE SA rekey, liveness and a request put off; of each Child SA rekey, idleness and a request put off; of each peer and child a pause.
		timers := 5*ikeSAs + 4*children + 1 + len(n.cfg.Peers[0].Children)
		if len(e.sas) != ikeSAs || len(e.children) != children || len(e.inits) > ikeSAs || e.timers.Len() > timers || len(e.touched) != 0 || e.queued != 0 {
			l.t.Errorf("%s holds %d IKE SAs, %d Child SAs, %d requests, %d timers and %d octets of fragments, and shows %d IKE SAs and %d Child SAs",
				n.name, len(e.sas), len(e.children), len(e.inits), e.timers.Len(), e.queued, ikeSAs, children)
		}
		for _, sa := range e.sas {
			if sa.tasks.active != nil || len(sa.tasks.queue) != 0 || sa.predecessor != nil || sa.suspect {
				l.t.Errorf("%s: the IKE SA is busy", n.name)
			}
		}
	}
}

// onDemandVoice adds a second child, which nobody wants up at start.
func onDemandVoice(c *Config) {
	withVoice(c.Peers[0].Local == addrB)(c)
	child := &c.Peers[0].Children[1]
	child.Start, child.IdleTimeout = StartOnDemand, -1
}

// Every exchange there is, each of its messages lost, repeated, overtaken and late.
func TestExchangesWithAccidents(t *testing.T) {
	first := func(*link) {}
	twoGroups := func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-curve25519-ecp256") }
	otherGroup := func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp256") }
	cookie := func(c *Config) { c.Limits.CookieThreshold = -1 }
	keptUp := func(c *Config) { c.Peers[0].Children[0].Start = StartAlways }
	narrowPath := func(c *Config) { c.Peers[0].FragmentSize = 576 }
	mute := func(l *link) { l.a.mute, l.b.mute = true, true }
	net := outcome{children: []string{"net"}}
	one := outcome{children: []string{"net"}, mayLose: true} // of two IKE SAs one goes, with what was sent by its Child SA
	for name, c := range map[string]struct {
		changeA, changeB func(*Config)
		first            bool // begin is done before the first exchanges, not after them
		begin            func(*link)
		outcome          outcome
	}{
		"first exchanges":                           {nil, nil, true, first, net},
		"cookie":                                    {nil, cookie, true, first, net},
		"another group":                             {twoGroups, otherGroup, true, first, net},
		"cookie, another group":                     {twoGroups, both(otherGroup, cookie), true, first, net},
		"begun by both":                             {nil, keptUp, true, first, one},
		"begun by both, cookies":                    {cookie, both(keptUp, cookie), true, first, one},
		"begun by both, other groups":               {twoGroups, both(keptUp, otherGroup), true, first, one},
		"certificates":                              {certified("p256", "ed25519"), certified("ed25519", "p256"), true, first, net},
		"certificates, checked late":                {certified("p256", "ed25519"), certified("ed25519", "p256"), true, mute, net},
		"certificates, by both, late":               {certified("p256", "ed25519"), both(keptUp, certified("ed25519", "p256")), true, mute, one},
		"IKE_INTERMEDIATE":                          {followed(t), followed(t), true, first, net},
		"IKE_INTERMEDIATE, cookies, by both":        {both(followed(t), cookie), both(keptUp, followed(t), cookie), true, first, one},
		"IKE_INTERMEDIATE in fragments":             {both(followed(t), narrowPath), both(followed(t), narrowPath), true, first, net},
		"IKE_FOLLOWUP_KE in fragments":              {both(followed(t), narrowPath), both(followed(t), narrowPath), false, func(l *link) { l.a.rekey(rekeyChild) }, net},
		"IKE_FOLLOWUP_KE for the IKE SA, by b":      {followed(t), followed(t), false, func(l *link) { l.b.rekey(rekeyIKE) }, net},
		"first exchanges in fragments":              {wide(40, 576), wide(40, 576), true, first, net},
		"rekey by a":                                {nil, nil, false, func(l *link) { l.a.rekey(rekeyChild) }, net},
		"rekey by b":                                {nil, nil, false, func(l *link) { l.b.rekey(rekeyChild) }, net},
		"rekey in fragments":                        {wide(40, 576), wide(40, 576), false, func(l *link) { l.a.rekey(rekeyChild) }, net},
		"rekey with PFS":                            {pfs(t), pfs(t), false, func(l *link) { l.a.rekey(rekeyChild) }, net},
		"rekey with PFS, another group":             {pfs(t), onlyP256(t), false, func(l *link) { l.a.rekey(rekeyChild) }, net},
		"rekey of the IKE SA by a":                  {nil, nil, false, func(l *link) { l.a.rekey(rekeyIKE) }, net},
		"rekey of the IKE SA by b":                  {nil, nil, false, func(l *link) { l.b.rekey(rekeyIKE) }, net},
		"rekey of the IKE SA, other groups":         {twoGroups, otherGroup, false, func(l *link) { l.a.rekey(rekeyIKE) }, net},
		"rekey of the IKE SA by both, other groups": {twoGroups, otherGroup, false, func(l *link) { l.a.rekey(rekeyIKE); l.b.rekey(rekeyIKE) }, net},
		"new child": {onDemandVoice, onDemandVoice, false, func(l *link) { l.a.step(Initiate{Peer: "b", Child: "voice"}) },
			outcome{children: []string{"net", "voice"}}},
		"new child by b": {onDemandVoice, onDemandVoice, false, func(l *link) { l.b.step(Initiate{Peer: "a", Child: "voice"}) },
			outcome{children: []string{"net", "voice"}}},
		"delete of the child":               {onDemand, nil, false, func(l *link) { l.a.expire() }, outcome{mayLose: true}},
		"delete of a child that is kept up": {nil, nil, false, func(l *link) { l.b.expire() }, outcome{children: []string{"net"}, mayLose: true}},
		"delete of the IKE SA":              {onDemand, nil, false, func(l *link) { l.a.down() }, outcome{gone: true, mayLose: true}},
		"liveness":                          {nil, nil, false, func(l *link) { l.now = l.now.Add(31 * time.Second); l.a.step(Tick{}) }, net},
		"unknown critical payload": {nil, nil, false, func(l *link) {
			l.a.order(wire.ExchangeInformational, &probe{payloads: []wire.Payload{&wire.Unknown{Type: 200, Critical: true}}})
		}, net},
	} {
		t.Run(name, func(t *testing.T) {
			everyAccident(t, runsEach, func() *link {
				if c.first {
					l := join(t, c.changeA, c.changeB)
					c.begin(l)
					l.begin()
					l.a.step(Initiate{Peer: "b", Child: "net"})
					return l
				}
				l := join(t, c.changeA, c.changeB)
				l.begin()
				l.a.step(Initiate{Peer: "b", Child: "net"})
				l.run()
				l.established("net")
				c.begin(l)
				return l
			}, c.outcome.check)
		})
	}
}

// onlyP256 has one group, which is not the one that pfs tries first.
func onlyP256(t *testing.T) func(*Config) { return with(espProposals(t, "aes128gcm16-ecp256")) }

// expire ends an end's Child SA "net", if it has one, as if its packets were used up.
func (n *end) expire() {
	if spi, up := n.cells["net"]; up {
		n.step(Expire{SPI: n.outbound[spi].PairSPI, Hard: true})
	}
}

func (n *end) down() { n.step(Terminate{Peer: n.cfg.Peers[0].Name}) }

// order puts a task of the test's own before its peer.
func (n *end) order(kind wire.ExchangeType, t task) {
	e := n.engine
	e.now, e.effects = n.link.now, nil
	e.peers[0].carrier().tasks.enqueue(kind, t)
	for _, ef := range e.effects {
		n.do(ef)
	}
	n.step(Tick{})
}

// Two things at the same time, one at each end: every pair of what can happen to an established tunnel, with every order, loss, repetition and delay
// of its messages.
func TestCrossings(t *testing.T) {
	const (
		endsChild = 1 << iota
		endsIKE
		makesVoice
		makesAnew
	)
	actions := []struct {
		name string
		do   func(*end)
		does int
	}{
		{"rekey of the child", func(n *end) { n.rekey(rekeyChild) }, 0},
		{"rekey of the IKE SA", func(n *end) { n.rekey(rekeyIKE) }, 0},
		{"delete of the child", (*end).expire, endsChild},
		{"delete of the IKE SA", (*end).down, endsIKE},
		{"new child", func(n *end) { n.step(Initiate{Peer: n.cfg.Peers[0].Name, Child: "voice"}) }, makesVoice},
		{"liveness", func(n *end) { n.order(wire.ExchangeInformational, &liveness{}) }, 0},
		{"rekey of the child, then of the IKE SA", func(n *end) { n.rekey(rekeyChild); n.rekey(rekeyIKE) }, 0},
		{"authentication anew", (*end).reauth, makesAnew},
		{"rekey of the IKE SA, then of the child", func(n *end) { n.rekey(rekeyIKE); n.rekey(rekeyChild) }, 0},
	}
	for _, a := range actions {
		for _, b := range actions {
			does := a.does | b.does
			if does&endsIKE != 0 && does&makesVoice != 0 {
				continue // who is told to make it does so, on an IKE SA that is there or on another: see TestNewChildAfterDelete
			}
			want := outcome{children: []string{"net"}, mayLose: does&(endsChild|endsIKE) != 0, gone: does&endsIKE != 0}
			if does&endsChild != 0 {
				want.children, want.orNet = nil, does&makesAnew != 0
			}
			if does&makesVoice != 0 {
				want.children = append(want.children, "voice")
			}
			t.Run(a.name+" and "+b.name, func(t *testing.T) {
				everyAccident(t, runsEach, func() *link {
					l := join(t, both(onDemand, neverIdle, onDemandVoice), onDemandVoice)
					l.begin()
					l.a.step(Initiate{Peer: "b", Child: "net"})
					l.run()
					l.established("net")
					a.do(l.a)
					b.do(l.b)
					return l
				}, want.check)
			})
		}
	}
}

func neverIdle(c *Config) { c.Peers[0].Children[0].IdleTimeout = -1 }

// pick takes a packet out of those in flight.
func (l *link) pick(i int) packet {
	p := l.wire[i]
	l.wire = slices.Delete(l.wire, i, i+1)
	return p
}

// runWithTraffic delivers in order, and ESP packets both ways before each message.
func (l *link) runWithTraffic() {
	for l.withTraffic(false); len(l.wire) > 0; l.withTraffic(false) {
		l.deliver(0)
	}
}

// An IKE SA that each end begins, with what either then knows of the other's, and rekeys before they meet.
func TestTwoIKESAsCross(t *testing.T) {
	late := func(rekey ...func(*link)) func(*link) {
		return func(l *link) {
			l.a.step(Initiate{Peer: "b"})
			l.b.step(Initiate{Peer: "a"})
			second := l.pick(1)
			l.runWithTraffic()
			for _, do := range rekey {
				do(l)
				l.runWithTraffic()
			}
			l.wire = append(l.wire, second)
		}
	}
	unaware := func(l *link) {
		l.a.step(Initiate{Peer: "b"})
		for range 3 {
			l.deliver(0)
		}
		l.expectWire("b: IKE_AUTH response 1")
		first := l.pick(0)
		l.b.reauth()
		l.runWithTraffic()
		l.wire = append(l.wire, first)
	}
	rekeyA, rekeyB := func(l *link) { l.a.rekey(rekeyIKE) }, func(l *link) { l.b.rekey(rekeyIKE) }
	workers, plain := []string{"net", "net#1", "net#2"}, func(*Config) {}
	for name, c := range map[string]struct {
		change   func(*Config)
		begin    func(*link)
		byNonce  bool // which one stays, or always that of b
		children []string
	}{
		"at once": {plain, func(l *link) {
			l.a.step(Initiate{Peer: "b"})
			l.b.step(Initiate{Peer: "a"})
		}, true, []string{"net"}},
		"b's request is late":                              {plain, late(), true, []string{"net"}},
		"b's request is late, rekey by a":                  {plain, late(rekeyA), true, []string{"net"}},
		"b's request is late, rekeys by both":              {plain, late(rekeyB, rekeyA), true, []string{"net"}},
		"b's request is late, Child SAs of workers":        {forWorkers(2), late(), true, workers},
		"b's request is late, Child SAs of workers, rekey": {forWorkers(2), late(rekeyB), true, workers},
		"b's request is late, two children": {twoChildren, late(func(l *link) { l.b.step(Initiate{Peer: "a", Child: "net2"}) }), true,
			[]string{"net", "net2"}},
		"a does not know its own yet":                          {plain, unaware, false, []string{"net"}},
		"a does not know its own yet, two children":            {twoChildren, unaware, false, []string{"net", "net2"}},
		"a does not know its own yet, Child SAs of workers":    {forWorkers(2), unaware, false, workers},
		"a does not know its own yet, b rekeys that of its":    {plain, func(l *link) { unaware(l); l.b.rekey(rekeyIKE) }, false, []string{"net"}},
		"a does not know its own yet, a rekeys that of b's":    {plain, func(l *link) { unaware(l); l.a.rekey(rekeyIKE) }, false, []string{"net"}},
		"a does not know its own yet, both rekey that of b's ": {plain, func(l *link) { unaware(l); rekeyA(l); rekeyB(l) }, false, []string{"net"}},
	} {
		t.Run(name, func(t *testing.T) {
			stayed := map[Role]int{}
			scenario := func(seed byte) *link {
				l := join(t, both(onDemand, c.change, func(cfg *Config) { cfg.Random = seeded(100 + seed) }), both(onDemand, c.change))
				l.begin()
				c.begin(l)
				return l
			}
			for seed := range byte(16) {
				l := scenario(seed)
				l.runWithTraffic()
				for range 30 {
					l.advance(time.Second)
					l.runWithTraffic()
				}
				l.established(c.children...)
				l.leftovers()
				if l.lost > 0 || t.Failed() {
					t.Fatalf("seed %d: %d packets lost\na:\n%sb:\n%s", seed, l.lost, l.a.story(), l.b.story())
				}
				stayed[l.a.engine.byName["b"].carrier().origin.role]++
			}
			if stayed[RoleResponder] == 0 || c.byNonce != (stayed[RoleInitiator] > 0) {
				t.Errorf("%d times what a began stayed and %d times what b began", stayed[RoleInitiator], stayed[RoleResponder])
			}
			seed := byte(0)
			everyAccident(t, runsEach, func() *link {
				seed++
				return scenario(seed)
			}, func(l *link) { l.established(c.children...); l.leftovers() })
		})
	}
}

// Whatever either end knew of the other's IKE SA when it began its own, and in whatever order it heard of things: one is sure, and no two are sure of
// different outcomes.
func TestJudgesAgree(t *testing.T) {
	low, high := []byte{1}, []byte{2}
	for _, c := range []struct{ aKnew, bKnew bool }{{false, false}, {true, false}, {false, true}} {
		for heard := range 4 { // what each takes the peer to have known
			for _, nonces := range [][2][]byte{{low, high}, {high, low}} {
				// own is an end's view: what it began, and what the peer began.
				view := func(own, other []byte, knew, peerKnew bool) (x, y *ikeSA) {
					x, y = &ikeSA{origin: origin{role: RoleInitiator, lowest: own, begun: 10, authenticated: 30}},
						&ikeSA{origin: origin{role: RoleResponder, lowest: other, begun: 20, authenticated: 40}}
					if knew {
						x.origin.begun = 50
					} else if peerKnew {
						y.origin.begun = 35
					}
					return x, y
				}
				aOwn, aOther := view(nonces[0], nonces[1], c.aKnew, heard&1 != 0)
				bOwn, bOther := view(nonces[1], nonces[0], c.bKnew, heard&2 != 0)
				_, atA, _, aSure := judge(aOwn, aOther)
				_, atB, _, bSure := judge(bOther, bOwn)
				if !aSure && !bSure || aSure && bSure && (atA == aOwn) != (atB == bOther) {
					t.Errorf("%+v, nonces %v: a keeps its own %t, sure %t; b keeps a's %t, sure %t", c, nonces, atA == aOwn, aSure, atB == bOther, bSure)
				}
				if sure := aSure && atA == aOwn || bSure && atB == bOther; c.aKnew && !sure || c.bKnew && sure {
					t.Errorf("%+v, nonces %v: an authentication anew is void", c, nonces)
				}
			}
		}
	}
}
