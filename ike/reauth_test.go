package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// reauth gives an end the order to authenticate anew with its only peer.
func (n *end) reauth() { n.step(Reauthenticate{Peer: n.cfg.Peers[0].Name}) }

// twoChildren gives a side another child, which comes up when it is wanted.
func twoChildren(c *Config) {
	second := c.Peers[0].Children[0]
	second.Name, second.Start, second.IdleTimeout = "net2", StartOnDemand, -1
	second.Selectors = []policy.Selector{selector("10.3.0.0/24", "10.4.0.0/24")}
	if c.Peers[0].Local == addrB {
		second.Selectors = mirrored(second.Selectors)
	}
	c.Peers[0].Children = append(slices.Clone(c.Peers[0].Children), second)
}

// upTwo is up with two children.
func upTwo(t testing.TB) *link {
	l := join(t, twoChildren, twoChildren)
	l.begin()
	l.a.step(Initiate{Peer: "b"})
	l.run()
	l.established("net", "net2")
	return l
}

// a: IKE_SA_INIT, IKE_AUTH beside the present IKE SA; a further Child SA; a: D(old). No packet is lost, no INITIAL_CONTACT ends anything.
func TestReauth(t *testing.T) {
	l := upTwo(t)
	old := l.a.ikeSAs()
	l.a.reauth()
	l.expectWire("a: IKE_SA_INIT request 0")
	for len(l.wire) > 0 {
		l.withTraffic(false)
		l.deliver(0)
	}
	l.withTraffic(false)
	l.advance(10 * time.Second)
	l.established("net", "net2")
	if slices.Equal(l.a.ikeSAs(), old) || l.lost > 0 {
		t.Errorf("IKE SAs %v, before %v; %d packets lost", l.a.ikeSAs(), old, l.lost)
	}
	for _, n := range []*end{l.a, l.b} {
		n.expect(IKEEstablished, "", 2)
		n.expect(IKEReplaced, DeletedReauth, 1)
		n.expect(IKEDeleted, DeletedReauth, 1)
		n.expect(Failed, "", 0)
	}
}

func TestReauthInEveryOrder(t *testing.T) {
	for name, begin := range map[string]func(*link){
		"by a":                   func(l *link) { l.a.reauth() },
		"by b":                   func(l *link) { l.b.reauth() },
		"by both":                func(l *link) { l.a.reauth(); l.b.reauth() },
		"by a, IKE rekey by b":   func(l *link) { l.a.reauth(); l.b.rekey(rekeyIKE) },
		"by a, child rekey by b": func(l *link) { l.a.reauth(); l.b.rekey(rekeyChild) },
		"by b, both rekeys by a": func(l *link) { l.b.reauth(); l.a.rekey(rekeyChild); l.a.rekey(rekeyIKE) },
		"by a, rekeys by a":      func(l *link) { l.a.rekey(rekeyChild); l.a.rekey(rekeyIKE); l.a.reauth() },
		"by both, child by b":    func(l *link) { l.a.reauth(); l.b.reauth(); l.b.rekey(rekeyChild) },
	} {
		t.Run(name, func(t *testing.T) {
			play := func() *link {
				l := up(t, nil, nil)
				begin(l)
				return l
			}
			everyAccident(t, runsEach, play, func(l *link) { l.established("net") })
		})
	}
	t.Run("two children", func(t *testing.T) {
		play := func() *link {
			l := upTwo(t)
			l.a.reauth()
			return l
		}
		both := func(l *link) { l.established("net", "net2") }
		everyAccident(t, runsEach, play, both)
	})
}

// Which of two that cross goes, the nonces say; in the end there is one, whoever loses.
func TestReauthCrossesEveryLoser(t *testing.T) {
	losers := map[string]int{}
	for seed := range byte(30) {
		l := up(t, func(c *Config) { c.Random = seeded(100 + seed) }, nil)
		l.a.reauth()
		l.b.reauth()
		for len(l.wire) > 0 {
			l.withTraffic(false)
			l.deliver(0)
		}
		l.advance(time.Minute)
		l.established("net")
		if l.lost > 0 {
			t.Fatalf("seed %d: %d packets lost", seed, l.lost)
		}
		role := RoleNone
		for _, f := range l.a.facts {
			if f.Kind == IKEDeleted && f.Reason == DeletedRedundant {
				role = f.Role
			}
		}
		losers[role.String()]++
	}
	if losers["initiator"] == 0 || losers["responder"] == 0 || losers[""] != 0 {
		t.Errorf("losers %v, expected one in each of 30 runs and both sides among them", losers)
	}
}

func reauthEach(d time.Duration) func(*Config) {
	return func(c *Config) { c.Peers[0].ReauthTime = d }
}

// Either end may ask for it: the one that begins IKE SAs by its own time, and the other by the time that it tells (RFC 4478) and keeps itself.
func TestReauthByTime(t *testing.T) {
	for name, c := range map[string]struct {
		a, b   func(*Config)
		deaf   bool // a does not heed AUTH_LIFETIME
		byRole Role // of a
	}{
		"a":             {a: reauthEach(time.Hour), byRole: RoleInitiator},
		"b tells a":     {b: reauthEach(time.Hour), byRole: RoleInitiator},
		"b by itself":   {b: reauthEach(time.Hour), deaf: true, byRole: RoleResponder},
		"both":          {a: reauthEach(time.Hour), b: reauthEach(time.Hour), byRole: RoleInitiator},
		"with a rekey":  {a: func(c *Config) { reauthEach(time.Hour)(c); c.Peers[0].RekeyTime = 10 * time.Minute }, byRole: RoleInitiator},
		"b, a rekeying": {a: func(c *Config) { c.Peers[0].RekeyTime = 10 * time.Minute }, b: reauthEach(time.Hour), byRole: RoleInitiator},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, c.a, c.b)
			if c.deaf {
				sa := l.a.engine.byName["b"].carrier()
				sa.given = lifetime{}
				sa.limitAuthentication()
			}
			for range 70 {
				l.advance(time.Minute)
				l.withTraffic(false)
			}
			l.established("net")
			if got := l.a.engine.byName["b"].carrier().origin.role; got != c.byRole {
				t.Errorf("a is the %v of the second IKE SA, expected %v", got, c.byRole)
			}
			for _, n := range []*end{l.a, l.b} {
				n.expect(IKEEstablished, "", 2)
				n.expect(IKEDeleted, DeletedReauth, 1)
			}
			if l.lost > 0 {
				t.Errorf("%d packets lost", l.lost)
			}
		})
	}
}

// A time that a peer gives outside IKE_AUTH counts as well, and one that is too short is kept to no less than authLifetimeLeast.
func TestAuthLifetimeLater(t *testing.T) {
	l := up(t, nil, reauthEach(24*time.Hour))
	l.b.configure(func(p *Peer) { p.ReauthTime = time.Minute })
	for range 58 {
		l.advance(time.Second)
		l.withTraffic(false)
	}
	l.established("net")
	l.a.expect(IKEEstablished, "", 2)
	if l.lost > 0 {
		t.Errorf("%d packets lost", l.lost)
	}
	l.a.step(Tick{})
	sa := l.a.engine.byName["b"].carrier()
	sa.heedLifetime(&message{Message: wire.Message{Payloads: []wire.Payload{wire.AuthLifetime(0)}}})
	if wait := sa.authentication.rekeyAt.Sub(l.now); wait < authLifetimeLeast/2 || sa.authentication.ends.Sub(l.now) < authLifetimeLeast {
		t.Errorf("a time of 0 s is taken for %v, expected no less than about %v", wait, authLifetimeLeast)
	}
}

// What cannot be authenticated anew stays until its time is over, is tried again, and each failure is told.
func TestReauthFails(t *testing.T) {
	l := up(t, reauthEach(time.Hour), nil)
	l.b.cfg.Peers = slices.Clone(l.b.cfg.Peers)
	l.b.engine.byName["a"].cfg.PSK = crypto.NewSecret([]byte("another one")) // the IKE SA stays: the engine is not told
	for range 62 {
		l.advance(time.Minute)
		l.withTraffic(false)
	}
	l.established("net")
	if n := l.a.count(Failed, FailAuthentication); n < 3 {
		t.Errorf("%d facts about failed attempts, expected one for each", n)
	}
	if l.lost > 0 {
		t.Errorf("%d packets lost before the end", l.lost)
	}
	l.advance(5 * time.Minute)
	l.a.expect(IKEDeleted, DeletedExpired, 1)
	if len(l.a.cells)+len(l.b.cells) != 0 {
		t.Error("a peer that cannot prove who it is goes on")
	}
	l.b.engine.byName["a"].cfg.PSK = crypto.NewSecret([]byte("correct horse"))
	l.advance(2 * time.Minute)
	l.established("net")
}

// A peer that vanishes while it is authenticated anew, at any moment, is one that vanishes.
func TestReauthThenGone(t *testing.T) {
	for cut := range 6 {
		l := up(t, nil, nil)
		l.a.reauth()
		for i := 0; i < cut && len(l.wire) > 0; i++ {
			l.deliver(0)
		}
		for until := l.now.Add(10 * time.Minute); l.tick(until); l.wire = nil {
		}
		l.wire = nil
		l.advance(10 * time.Minute)
		l.established("net")
	}
}

// An IKE SA that nobody uses is not authenticated anew.
func TestReauthIdle(t *testing.T) {
	l := join(t, func(c *Config) {
		reauthEach(time.Hour)(c)
		c.Peers[0].Children[0].Start = StartOnDemand
	}, nil)
	l.begin()
	l.a.step(Acquire{Peer: "b", Child: "net"})
	l.advance(61 * time.Minute)
	l.consistent()
	l.a.expect(IKEEstablished, "", 1)
	l.a.expect(IKEDeleted, DeletedIdle, 1)
}
