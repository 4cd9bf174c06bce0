package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// An always-up child comes back when the peer deletes it, not at once.
func TestAlwaysComesBack(t *testing.T) {
	l := up(t, nil, nil)
	l.b.step(Terminate{Peer: "a"})
	l.run()
	l.consistent()
	if n := len(l.a.engine.sas); n != 0 {
		t.Errorf("a begins again within the same moment")
	}
	l.advance(5 * time.Second)
	l.established("net")
	l.a.expect(IKEDeleted, DeletedByPeer, 1)
	l.b.expect(IKEDeleted, DeletedByOperator, 1)
}

// Terminate holds until Initiate.
func TestTerminateHolds(t *testing.T) {
	l := up(t, nil, nil)
	l.a.step(Terminate{Peer: "b"})
	l.advance(time.Hour)
	l.consistent()
	if got := l.a.engine.Snapshot()[0].State; got != "down" {
		t.Errorf("peer is %s, expected down", got)
	}
	l.a.step(Initiate{Peer: "b", Child: "net"})
	l.run()
	l.established("net")
}

func TestLiveness(t *testing.T) {
	l := up(t, func(c *Config) { c.Peers[0].DPDDelay = 20 * time.Second }, func(c *Config) { c.Peers[0].DPDDelay = -1 })
	sent := len(l.b.effects)
	l.advance(19 * time.Second)
	if len(l.b.effects) != sent {
		t.Error("liveness check before DPDDelay")
	}
	l.advance(2 * time.Second)
	if len(l.b.effects) == sent {
		t.Error("no liveness check after DPDDelay")
	}
	// ESP from the peer is as good a sign.
	in := l.a.outbound[l.a.cells["net"]].PairSPI
	sent = len(l.b.effects)
	for range 20 {
		l.advance(10 * time.Second)
		l.a.heard[in] = l.now
	}
	if len(l.b.effects) != sent {
		t.Error("liveness check although ESP arrives")
	}
	l.established("net")
}

// b vanishes: a finds out, and says so; when b is back the tunnel comes back by itself.
func TestPeerVanishes(t *testing.T) {
	l := up(t, nil, nil)
	for until := l.now.Add(5 * time.Minute); l.tick(until); l.wire = nil {
	}
	l.a.expect(IKEDeleted, DeletedDead, 1)
	if len(l.a.cells) != 0 || len(l.a.inbound) != 0 {
		t.Error("a keeps Child SAs with a peer that does not answer")
	}
	if l.a.count(Retransmitted, "") == 0 || l.a.count(Failed, FailSilent) == 0 {
		t.Error("no facts about retransmissions or the silence that new attempts met")
	}
	l.wire = nil
	l.advance(2 * time.Minute)
	l.established("net")
}

// One side is killed and started again, as a's INITIAL_CONTACT or as a's liveness check shows.
func TestRestart(t *testing.T) {
	t.Run("initiator", func(t *testing.T) {
		l := up(t, nil, nil)
		old := l.b.ikeSAs()[0]
		l.a.boot(l.a.cfg)
		l.a.step(Tick{})
		l.run()
		l.established("net")
		l.b.expect(IKEDeleted, DeletedInitial, 1)
		if l.b.ikeSAs()[0] == old {
			t.Error("b kept the old IKE SA")
		}
	})
	t.Run("responder", func(t *testing.T) {
		l := up(t, nil, nil)
		l.b.boot(l.b.cfg)
		l.b.step(Tick{})
		l.advance(35 * time.Second) // the liveness check after 30 s, answered with INVALID_IKE_SPI
		l.established("net")
		l.a.expect(IKEDeleted, DeletedDead, 1)
	})
	t.Run("responder, hints lost", func(t *testing.T) {
		l := up(t, nil, func(c *Config) { c.Limits.UnprotectedReplies = -1 })
		l.b.boot(l.b.cfg)
		l.b.step(Tick{})
		l.advance(3 * time.Minute)
		l.established("net")
		l.a.expect(IKEDeleted, DeletedDead, 1)
	})
	t.Run("both always", func(t *testing.T) {
		l := up(t, nil, func(c *Config) { c.Peers[0].Children[0].Start = StartAlways })
		l.b.boot(l.b.cfg)
		l.b.step(Tick{})
		l.advance(6 * time.Second)
		l.established("net")
	})
}

// A forged INVALID_IKE_SPI while the network loses everything begins a negotiation, and ends nothing that answers again.
func TestForgedHintDuringLoss(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.a.engine.byName["b"].carrier()
	l.a.rekey(rekeyChild)
	for range 4 {
		l.wire = nil
		l.tick(l.now.Add(10 * time.Second))
	}
	h := sa.header(wire.ExchangeCreateChildSA, 2, true)
	h.Flags ^= wire.FlagInitiator
	forged, _ := (&wire.Message{Header: h, Payloads: []wire.Payload{wire.NewNotify(wire.NotifyInvalidIKESPI, nil)}}).Marshal()
	l.a.step(Datagram{Local: at(addrA, 500), Remote: at(addrB, 500), Payload: forged})
	if sa.state != stateEstablished || len(l.a.cells) != 1 {
		t.Error("a forged datagram has ended something")
	}
	l.advance(2 * time.Minute)
	l.established("net")
}

// INITIAL_CONTACT counts for its identity pair only.
func TestInitialContactSparesOthers(t *testing.T) {
	second := func(c *Config) {
		p := c.Peers[0]
		p.Name, p.LocalID = p.Name+"2", Identity{wire.IDFQDN, "two.example"}
		p.Children = slices.Clone(p.Children)
		p.Children[0].Name, p.Children[0].Selectors = "net2", []policy.Selector{selector("10.7.0.0/24", "10.8.0.0/24")}
		c.Peers = append(c.Peers, p)
	}
	l := join(t, second, func(c *Config) {
		second(c)
		p := &c.Peers[1]
		p.RemoteID, p.LocalID = p.LocalID, Identity{}
		p.Children[0].Selectors = mirrored(p.Children[0].Selectors)
	})
	l.begin()
	l.run()
	for _, n := range []*end{l.a, l.b} {
		if got := len(n.ikeSAs()); got != 2 {
			t.Errorf("%s has %d IKE SAs, expected one for each identity", n.name, got)
		}
		n.expect(IKEDeleted, "", 0)
	}
	l.consistent()
}

func TestIdle(t *testing.T) {
	l := join(t, func(c *Config) { c.Peers[0].Children[0].Start = StartOnDemand }, nil)
	l.begin()
	l.a.step(Acquire{Peer: "b", Child: "net"})
	l.run()
	l.established("net")
	pair := l.a.outbound[l.a.cells["net"]].PairSPI
	l.advance(200 * time.Second)
	l.a.sentBy[pair], l.a.heard[pair] = l.now, l.now
	l.advance(299 * time.Second)
	l.established("net")
	l.advance(2 * time.Second) // S-081: 300 s after the last packet
	l.consistent()
	l.a.expect(ChildDeleted, DeletedIdle, 1)
	// The IKE SA without children is not renewed (S-076).
	l.advance(9 * time.Hour)
	l.a.expect(IKERekeyed, "", 0)
	if n := len(l.a.engine.sas); n != 0 {
		t.Errorf("%d IKE SAs after the lifetime of an idle one", n)
	}
}

func TestReconfigure(t *testing.T) {
	l := up(t, nil, nil)
	cfg := sideA(t)
	l.a.step(Reconfigure{Peers: cfg.Peers}) // equal, from other memory
	l.run()
	l.established("net")
	l.a.expect(IKEDeleted, "", 0)

	cfg.Peers[0].PSK = crypto.NewSecret([]byte("new key"))
	l.a.step(Reconfigure{Peers: cfg.Peers})
	l.run()
	l.a.expect(IKEDeleted, DeletedReconfig, 1)
	l.b.expect(IKEDeleted, DeletedByPeer, 1)
	l.consistent()
	cfgB := sideB(t)
	cfgB.Peers[0].PSK = cfg.Peers[0].PSK
	l.b.step(Reconfigure{Peers: cfgB.Peers})
	l.advance(2 * time.Minute)
	l.established("net")

	l.a.step(Reconfigure{})
	l.run()
	l.b.expect(IKEDeleted, DeletedByPeer, 2)
	if len(l.a.engine.sas)+len(l.a.inbound)+len(l.a.engine.Snapshot()) != 0 {
		t.Error("something is left of a peer that is no longer configured")
	}
}

// The data plane refuses a direction of a Child SA, of the first one or at a rekey: it goes on both sides, and another is made.
func TestInstallFailed(t *testing.T) {
	for name, refuse := range map[string]func(*link){
		"a inbound":  func(l *link) { l.a.refuseIn = true },
		"a outbound": func(l *link) { l.a.refuseOut = true },
		"b inbound":  func(l *link) { l.b.refuseIn = true },
		"b outbound": func(l *link) { l.b.refuseOut = true },
		"b both":     func(l *link) { l.b.refuseIn, l.b.refuseOut = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, nil, nil)
			refuse(l)
			l.begin()
			l.run()
			l.consistent()
			if l.a.count(Failed, FailInstall)+l.b.count(Failed, FailInstall) == 0 {
				t.Error("no fact says what failed")
			}
			l.advance(2 * time.Minute)
			l.established("net")
			refuse(l)
			l.a.rekey(rekeyChild)
			l.advance(2 * time.Minute)
			l.established("net")
		})
	}
}

// Nothing that leaves the engine for people or metrics holds a key; nothing keeps one after the end.
func TestKeysAreWiped(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.a.engine.byName["b"].carrier()
	k := sa.keys
	if k.pi.Len() != 0 || k.pr.Len() != 0 {
		t.Error("SK_p outlives IKE_AUTH")
	}
	l.a.step(Terminate{Peer: "b"})
	l.run()
	if k.d.Len() != 0 {
		t.Error("SK_d outlives its IKE SA")
	}

	l = join(t, nil, func(c *Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("other")) })
	l.begin()
	l.deliver(0)
	l.deliver(0)
	var rejected *ikeSA
	for _, sa := range l.b.engine.sas {
		rejected = sa
	}
	l.run()
	if rejected.keys.d.Len() != 0 || rejected.keys.pi.Len() != 0 {
		t.Error("keys of a rejected IKE SA are kept")
	}
}
