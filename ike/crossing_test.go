package ike

import (
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
		if len(e.sas) != ikeSAs || len(e.children) != children || len(e.inits) > ikeSAs || len(e.timers.heap) > timers || len(e.touched) != 0 || e.queued != 0 {
			l.t.Errorf("%s holds %d IKE SAs, %d Child SAs, %d requests, %d timers and %d octets of fragments, and shows %d IKE SAs and %d Child SAs",
				n.name, len(e.sas), len(e.children), len(e.inits), len(e.timers.heap), e.queued, ikeSAs, children)
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
