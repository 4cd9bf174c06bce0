package ikev1

import (
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
)

// busy sends a packet each way every so often while the clock goes on, and insists that none is lost.
func (l *link) busy(d, pause time.Duration) {
	l.t.Helper()
	lost := l.lost
	for until := l.now.Add(d); l.now.Before(until); {
		l.traffic()
		l.advance(pause)
	}
	if l.lost != lost {
		l.t.Fatalf("%d packets lost; facts of a:\n%s\nof b:\n%s", l.lost-lost, l.a.story(), l.b.story())
	}
}

// S-079: a pair of IPsec SAs is replaced before its end with no packet lost, and the former one goes at both ends.
func TestRekeyChild(t *testing.T) {
	l := up(t, nil, nil)
	for range 5 {
		l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		l.busy(10*time.Second, 100*time.Millisecond)
		l.b.step(ike.Rekey{Peer: "a", Child: "net"})
		l.busy(50*time.Second, 100*time.Millisecond)
	}
	l.a.expect(ike.ChildRekeyed, "", 10)
	l.b.expect(ike.ChildRekeyed, "", 10)
	l.established()
	l.settled(1, 1)
}

// The same by the clock: the initiator renews the pair at its time, and once only.
func TestRekeyByTime(t *testing.T) {
	hour := func(c *ike.Config) { c.Peers[0].Children[0].RekeyTime = time.Hour }
	l := up(t, hour, hour)
	l.busy(65*time.Minute, 10*time.Second)
	l.a.expect(ike.ChildRekeyed, "", 1)
	l.b.expect(ike.ChildRekeyed, "", 1)
	if role := l.a.engine.peers[0].slots[0].live().role; role != ike.RoleInitiator {
		t.Errorf("a was the %v of the rekey", role)
	}
	l.settled(1, 1)
}

// When the initiator does not renew a pair the responder does, before it ends.
func TestResponderRekeys(t *testing.T) {
	l := up(t, func(c *ike.Config) { c.Peers[0].Children[0].RekeyTime = 100 * time.Hour }, func(c *ike.Config) { c.Peers[0].Children[0].RekeyTime = time.Hour })
	l.a.engine.timers.Stop(&l.a.engine.peers[0].slots[0].live().life) // it sleeps
	l.busy(66*time.Minute, 10*time.Second)
	l.b.expect(ike.ChildRekeyed, "", 1)
	l.settled(1, 1)
}

// S-078: the data plane says that a pair has carried enough.
func TestRekeyByVolume(t *testing.T) {
	l := up(t, func(c *ike.Config) { c.Peers[0].Children[0].Life.Bytes = 1 << 30 }, nil)
	sa := l.b.inbound[l.a.cells["net"]]
	if sa.Soft.Bytes == 0 || sa.Soft.Bytes > 1<<30 || sa.Hard.Bytes <= 1<<30 {
		t.Errorf("b has been told of %+v and %+v for 2^30 octets that a wants", sa.Soft, sa.Hard)
	}
	l.a.step(ike.Expire{SPI: l.b.cells["net"]})
	l.busy(time.Minute, time.Second)
	l.a.expect(ike.ChildRekeyed, "", 1)
	l.settled(1, 1)
}

// Of two that want different lifetimes the shorter one counts at both ends: the responder says so.
func TestShorterLifetime(t *testing.T) {
	for _, c := range []struct{ a, b time.Duration }{{time.Hour, 10 * time.Minute}, {10 * time.Minute, time.Hour}} {
		l := up(t, func(cfg *ike.Config) { cfg.Peers[0].Children[0].RekeyTime = c.a }, func(cfg *ike.Config) { cfg.Peers[0].Children[0].RekeyTime = c.b })
		for _, n := range []*end{l.a, l.b} {
			child := n.engine.peers[0].slots[0].live()
			if ends := child.ends.Sub(child.established); ends != 11*time.Minute {
				t.Errorf("%s ends after %v, expected 11 minutes", n.name, ends)
			}
		}
	}
}

// S-076: after eight hours an ISAKMP SA is renewed where data flows, and no packet is lost over it.
func TestRekeyISAKMP(t *testing.T) {
	l := up(t, nil, nil)
	l.busy(9*time.Hour, 10*time.Minute)
	if l.a.count(ike.IKEEstablished, "") != 2 || l.b.count(ike.IKEEstablished, "") != 2 {
		t.Errorf("facts of a:\n%s", l.a.story())
	}
	l.settled(1, 1)
}

// S-076: where nothing is negotiated any more it is not.
func TestISAKMPEndsIdle(t *testing.T) {
	l := join(t, onDemand, nil)
	l.begin()
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.a.step(ike.Terminate{Peer: "b", Child: "net"})
	l.advance(10 * time.Second)
	l.settled(1, 0)
	l.advance(9 * time.Hour)
	l.settled(0, 0)
	l.a.expect(ike.IKEEstablished, "", 1)
}

// S-077: the end of an ISAKMP SA leaves the IPsec SAs alone, and another is made when they need to be renewed.
func TestISAKMPEndsAlone(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.a.engine.peers[0].carrier()
	l.a.engine.timers.Set(&sa.life, l.now, func() { sa.delete(ike.DeletedExpired) })
	l.a.step(ike.Tick{})
	l.run()
	l.settled(0, 1)
	l.busy(70*time.Minute, time.Minute)
	l.a.expect(ike.IKEEstablished, "", 2)
	l.a.expect(ike.ChildRekeyed, "", 1)
	l.settled(1, 1)
}

// S-077: so many quick modes, then another main mode.
func TestChildLimit(t *testing.T) {
	limit := func(c *ike.Config) { c.Peers[0].ChildLimit = 3 }
	for _, c := range []struct {
		name string
		a, b func(*ike.Config)
	}{{"initiator", limit, nil}, {"responder", nil, limit}, {"both", limit, limit}} {
		t.Run(c.name, func(t *testing.T) {
			l := up(t, c.a, c.b)
			for i := 2; i <= 7; i++ {
				l.a.step(ike.Rekey{Peer: "b", Child: "net"})
				l.busy(3*time.Minute, time.Second)
			}
			l.a.expect(ike.ChildRekeyed, "", 6)
			l.a.expect(ike.IKEEstablished, "", 3)
			l.established()
		})
	}
}

// S-083: with a master key for each pair every quick mode has a main mode of its own, and only one end need want that.
func TestMasterPFS(t *testing.T) {
	master := func(c *ike.Config) { c.Peers[0].MasterPFS = true }
	l := up(t, master, nil)
	for range 9 {
		l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		l.busy(time.Minute, time.Second)
	}
	l.a.expect(ike.ChildRekeyed, "", 9)
	l.a.expect(ike.IKEEstablished, "", 10)
	l.established()
}

// S-082: perfect forward secrecy at one end only: no pair comes up.
func TestPFSAtOneEnd(t *testing.T) {
	pfs := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp256") }
	none := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16") }
	for _, c := range []struct{ a, b func(*ike.Config) }{{pfs, none}, {none, pfs}} {
		l := join(t, c.a, c.b)
		l.begin()
		l.advance(10 * time.Second)
		l.settled(1, 0)
		if l.a.count(ike.Failed, ike.FailProposal) == 0 || l.b.count(ike.Failed, ike.FailProposal) == 0 {
			t.Errorf("facts of a:\n%s\nof b:\n%s", l.a.story(), l.b.story())
		}
	}
}

// A group that the peer turns down is followed by our next one at once.
func TestNextGroup(t *testing.T) {
	l := up(t, func(c *ike.Config) {
		c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp384", "aes128gcm16-ecp256")
	},
		func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16-ecp256") })
	l.settled(1, 1)
	l.a.expect(ike.Failed, "", 0)
	if group := l.a.engine.peers[0].slots[0].live().group; group != crypto.DHECP256 {
		t.Errorf("group %v", group)
	}
}

// S-081: a pair that nobody uses goes after five minutes, at both ends, and the next packet brings it back.
func TestIdle(t *testing.T) {
	idle := func(c *ike.Config) {
		c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = ike.StartOnDemand, 5*time.Minute
	}
	l := join(t, idle, idle)
	l.begin()
	l.a.step(ike.Acquire{Peer: "b", Child: "net"})
	l.run()
	l.established()
	l.advance(299 * time.Second)
	l.settled(1, 1)
	l.advance(time.Second)
	l.advance(10 * time.Second)
	l.settled(1, 0)
	l.a.step(ike.Acquire{Peer: "b", Child: "net"})
	l.run()
	l.established()
	l.settled(1, 1)
}

// Deletes of an operator end a pair, and all of a peer, at both ends; the ISAKMP SA outlives the pair.
func TestTerminate(t *testing.T) {
	l := up(t, nil, nil)
	l.a.step(ike.Terminate{Peer: "b", Child: "net"})
	l.advance(10 * time.Second)
	l.settled(1, 0)
	l.a.expect(ike.ChildDeleted, ike.DeletedByOperator, 1)
	l.b.expect(ike.ChildDeleted, ike.DeletedByPeer, 1)
	l.a.step(ike.Initiate{Peer: "b", Child: "net"})
	l.run()
	l.established()
	l.a.step(ike.Terminate{Peer: "b"})
	l.advance(10 * time.Minute)
	l.settled(0, 0)
	l.a.expect(ike.IKEDeleted, ike.DeletedByOperator, 1)
	l.b.expect(ike.IKEDeleted, ike.DeletedByPeer, 1)
}

// RFC 3706: a peer that has gone is noticed, all that was with it ends, and it is tried again until it is back.
func TestDeadPeer(t *testing.T) {
	l := up(t, nil, nil)
	l.twist = func(from *end, payload []byte) []byte { return nil }
	l.advance(3 * time.Minute)
	for _, n := range []*end{l.a, l.b} {
		n.expect(ike.ChildDeleted, ike.DeletedDead, 1)
		n.expect(ike.IKEDeleted, ike.DeletedDead, 1)
	}
	l.twist = nil
	l.advance(5 * time.Minute)
	l.established()
	l.settled(1, 1)
}

// A peer that lives answers; while packets come it is not asked.
func TestLivePeer(t *testing.T) {
	l := up(t, nil, nil)
	sent := l.a.sends + l.b.sends
	l.busy(10*time.Minute, 5*time.Second)
	if n := l.a.sends + l.b.sends - sent; n != 0 {
		t.Errorf("%d datagrams while packets came", n)
	}
	l.advance(10 * time.Minute)
	if n := l.a.sends - l.b.sends; n < -20 || n > 20 || l.a.sends < 10 {
		t.Errorf("%d and %d datagrams", l.a.sends, l.b.sends)
	}
	l.established()
	l.settled(1, 1)
}

// A peer that starts anew says so, and what was with it before ends.
func TestInitialContact(t *testing.T) {
	l := up(t, nil, nil)
	cfg := sideA(t)
	cfg.Random = seeded(9)
	l.a.boot(cfg)
	l.a.step(ike.Tick{})
	l.advance(time.Second)
	l.b.expect(ike.IKEDeleted, ike.DeletedInitial, 1)
	l.b.expect(ike.ChildDeleted, ike.DeletedInitial, 1)
	l.established()
	l.settled(1, 1)
}
