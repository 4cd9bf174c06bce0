package ikev1

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
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

// S-079: strongSwan has neither half of a new pair before message 3 has come. Until a packet comes by it, or RekeyGrace is over, the initiator sends by the
// former pair.
func TestResponderInstallsLate(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		l := up(t, nil, nil)
		pair := l.a.cells["net"]
		l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		l.deliver(0)
		l.deliver(0)
		l.traffic() // message 3 is under way
		if l.a.count(ike.ChildRekeyed, "") != 1 || l.a.cells["net"] != pair {
			t.Fatalf("a sends by %#x, expected %#x as before; its facts:\n%s", l.a.cells["net"], pair, l.a.story())
		}
		l.run()
		if quiet {
			l.advance(l.a.engine.limits.RekeyGrace)
		} else {
			l.busy(time.Second, 100*time.Millisecond)
		}
		if l.a.cells["net"] == pair {
			t.Errorf("a sends by what it had; its facts:\n%s", l.a.story())
		}
		l.busy(time.Minute, time.Second)
		l.settled(1, 1)
	}
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

// A renewal of the ISAKMP SA that fails is tried again until it ends.
func TestRekeyISAKMPFails(t *testing.T) {
	l := up(t, nil, nil)
	l.busy(7*time.Hour+10*time.Minute, time.Minute)
	l.twist = func(_ *end, payload []byte) []byte {
		if kindOf(payload) == "main mode" {
			return nil
		}
		return payload
	}
	l.busy(70*time.Minute, 20*time.Second)
	if l.a.count(ike.Failed, ike.FailTimeout) < 2 {
		t.Errorf("a says:\n%s", l.a.story())
	}
	l.twist = nil
	l.busy(5*time.Minute, time.Second)
	if l.a.count(ike.IKEEstablished, "") != 2 || l.a.count(ike.IKEDeleted, "") != 1 || l.a.count(ike.IKEDeleted, ike.DeletedRekeyed) != 1 {
		t.Errorf("a says:\n%s", l.a.story())
	}
	l.established()
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

// S-077: whoever begins them: those of either end count, at the one that has the limit, and are shown.
func TestChildLimitOfBothEnds(t *testing.T) {
	l := up(t, nil, func(c *ike.Config) { c.Peers[0].ChildLimit = 3 })
	made := func() int {
		for _, u := range l.b.engine.LimitUses(l.now) {
			if u.Name == ike.LimitQuickModes {
				return u.Used
			}
		}
		return -1
	}
	for i := 2; i <= 7; i++ {
		if i%2 == 0 {
			l.b.step(ike.Rekey{Peer: "a", Child: "net"})
		} else {
			l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		}
		l.busy(3*time.Minute, time.Second)
		if n := made(); n != (i-1)%3+1 {
			t.Errorf("after quick mode %d: %d of this ISAKMP SA", i, n)
		}
	}
	l.b.expect(ike.IKEEstablished, "", 3)
	l.established()
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

// RFC 3706 section 5.5: the numbers of R-U-THERE count up by one under an ISAKMP SA, over all checks.
func TestProbesCountUp(t *testing.T) {
	l := up(t, nil, func(c *ike.Config) { c.Peers[0].DPDDelay = -1 })
	probe := &l.a.engine.peers[0].carrier().probe
	checks := uint32(0)
	for range 600 {
		before, sent := probe.sequence, l.a.sends
		l.advance(time.Second)
		asked := uint32(l.a.sends - sent)
		if checks += asked; before != 0 && probe.sequence != before+asked {
			t.Fatalf("the number goes from %d to %d with %d messages", before, probe.sequence, asked)
		}
	}
	if checks < 10 {
		t.Errorf("%d messages in 10 minutes of silence", checks)
	}
}

// A NAT before us is kept from forgetting us while no IPsec packet can leave.
func TestKeepMapping(t *testing.T) {
	l := join(t, onDemand, nil)
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(from.Addr(), 1000+from.Port()) }
	l.a.step(ike.Initiate{Peer: "b"})
	l.advance(time.Minute)
	if l.a.keepalives != 0 {
		t.Errorf("%d keepalives while the data plane sends its own", l.a.keepalives)
	}
	l.a.step(ike.Terminate{Peer: "b", Child: "net"})
	l.advance(65 * time.Second)
	if l.a.keepalives != 3 || l.b.keepalives != 0 {
		t.Errorf("%d and %d keepalives in 65 s, expected 3 and none", l.a.keepalives, l.b.keepalives)
	}
}

// A peer that has only lost the ISAKMP SA, and goes on sending by the pair, keeps the pair; another ISAKMP SA is made when it is needed.
func TestISAKMPLostAtPeer(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.b.engine.peers[0].carrier()
	l.b.engine.timers.Set(&sa.life, l.now, func() { sa.close(ike.DeletedFailed) }) // and says nothing
	l.advance(31 * time.Second)                                                    // a begins to ask
	for range 60 {
		l.b.sentBy[l.b.inbound[l.a.cells["net"]].PairSPI] = l.now
		l.traffic()
		l.advance(2 * time.Second)
	}
	l.a.expect(ike.IKEDeleted, ike.DeletedDead, 1)
	l.a.expect(ike.ChildDeleted, "", 0)
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	l.busy(time.Minute, time.Second)
	l.established()
	l.settled(1, 1)
}

// A peer that starts anew says so in the messages of main mode that prove who it is (RFC 2407 4.6.3.3), and what was with it before ends; an end that has
// something with the peer does not say so.
func TestInitialContact(t *testing.T) {
	said := 0
	observe := func(o ike.Observation) {
		lines := o.Lines()
		if !o.Sent || !strings.Contains(strings.Join(lines, " "), "INITIAL-CONTACT") {
			return
		}
		if said++; !strings.Contains(lines[0], "main mode") || !strings.HasPrefix(lines[1], "ID") || !strings.HasPrefix(lines[len(lines)-1], "HASH") {
			t.Errorf("said in\n%s\nexpected between ID and HASH of main mode", strings.Join(lines, "\n"))
		}
	}
	l := up(t, func(c *ike.Config) { c.Observe = observe }, func(c *ike.Config) { c.Observe = observe })
	cfg := sideA(t)
	cfg.Random, cfg.Observe = seeded(9), observe
	l.a.boot(cfg)
	l.a.step(ike.Tick{})
	l.advance(time.Second)
	l.b.expect(ike.IKEDeleted, ike.DeletedInitial, 1)
	l.b.expect(ike.ChildDeleted, ike.DeletedInitial, 1)
	l.established()
	l.settled(1, 1)
	l.a.step(ike.Rekey{Peer: "b"})
	l.busy(time.Minute, time.Second)
	l.b.expect(ike.IKEEstablished, "", 3)
	l.b.expect(ike.IKEDeleted, ike.DeletedInitial, 1)
	if said != 3 { // each end's at first, and that of the end that starts anew
		t.Errorf("said %d times, expected 3", said)
	}
}

// INITIAL-CONTACT in a message 5 that comes late is about what was there when its main mode began: what the two ends have made since stays.
func TestLateInitialContact(t *testing.T) {
	l := join(t, nil, both)
	l.begin()
	var late packet
	l.twist = func(from *end, payload []byte) []byte {
		if h, _ := isakmp.ParseHeader(payload); from == l.a && kindOf(payload) == "main mode encrypted" && h.Initiator == l.a.engine.peers[0].sas[0].cookies.Initiator {
			late = packet{to: l.b, payload: payload}
			late.source, late.dest = endpointsOf(from)
			return nil
		}
		return payload
	}
	l.advance(10 * time.Second)
	if late.to == nil {
		t.Fatal("no message 5 of a's main mode")
	}
	l.established()
	l.twist = nil
	l.arrive(late)
	l.busy(2*time.Minute, time.Second)
	l.established()
	l.settled(1, 1)
	l.b.expect(ike.ChildDeleted, ike.DeletedInitial, 0)
	l.b.expect(ike.IKEDeleted, ike.DeletedInitial, 0)
}
