package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
)

var (
	rekeyChild = Rekey{Peer: "", Child: "net"}
	rekeyIKE   = Rekey{Peer: "", Child: ""}
)

// rekey gives an end a Rekey event for its only peer.
func (n *end) rekey(what Rekey) {
	if len(n.cfg.Peers) == 0 {
		return
	}
	what.Peer = n.cfg.Peers[0].Name
	n.step(what)
}

// a: REKEY_SA, SA, Nonce, TS; b: SA, Nonce, TS; a: D(old); b: D(old).
func TestChildRekey(t *testing.T) {
	l := up(t, nil, nil)
	oldA, oldB := l.a.cells["net"], l.b.cells["net"]
	l.a.rekey(rekeyChild)
	l.expectWire("a: CREATE_CHILD_SA request 2")
	l.deliver(0)
	if l.b.cells["net"] != oldB || len(l.b.inbound) != 2 {
		t.Error("b must take packets by the new SA and send by the old one until a has shown that it has the new one")
	}
	l.expectWire("b: CREATE_CHILD_SA response 2")
	l.deliver(0)
	if l.a.cells["net"] == oldA {
		t.Error("a must send by the new SA: b has it")
	}
	l.expectWire("a: INFORMATIONAL request 3")
	l.deliver(0)
	if l.b.cells["net"] == oldB {
		t.Error("b must send by the new SA after the delete of the old one")
	}
	if len(l.b.inbound) != 2 {
		t.Error("b must take packets by the old SA for the grace time")
	}
	l.run()
	l.advance(time.Minute)
	l.established("net")
	l.a.expect(ChildRekeyed, "", 1)
	l.b.expect(ChildRekeyed, "", 1)
	l.a.expect(ChildDeleted, DeletedRekeyed, 1)
	l.b.expect(ChildDeleted, DeletedRekeyed, 1)
}

func pfs(t *testing.T) func(*Config) {
	return func(c *Config) {
		c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16-curve25519-ecp256")
	}
}

// The lowest nonce may be any of the four: with other random octets another side loses.
func TestSimultaneousRekeyEveryLoser(t *testing.T) {
	for _, what := range []Rekey{rekeyChild, rekeyIKE} {
		losers := map[Role]int{}
		for seed := range byte(40) {
			l := up(t, func(c *Config) { c.Random = seeded(100 + seed) }, nil)
			l.a.rekey(what)
			l.b.rekey(what)
			l.advance(time.Minute)
			l.established("net")
			kind := ChildDeleted
			if what == rekeyIKE {
				kind = IKEDeleted
			}
			for _, f := range l.a.facts {
				if f.Kind == kind && f.Reason == DeletedRedundant {
					losers[f.Role]++
				}
			}
		}
		if losers[RoleInitiator] == 0 || losers[RoleResponder] == 0 || losers[RoleInitiator]+losers[RoleResponder] != 40 {
			t.Errorf("%+v: losers %v, expected one in each of 40 runs and both sides among them", what, losers)
		}
	}
}

func TestRekeyWithPFS(t *testing.T) {
	// The responder wants the group that the initiator guessed, or another one.
	for group, b := range map[string]func(*Config){"Curve25519": pfs(t), "256-bit random ECP": onlyP256(t)} {
		l := up(t, pfs(t), b)
		l.a.rekey(rekeyChild)
		l.advance(time.Minute)
		l.established("net")
		if got := l.a.engine.Snapshot()[0].Children[0].PFS; got != group {
			t.Errorf("PFS %q, expected %s", got, group)
		}
		l.a.expect(Failed, "", 0)
		l.a.expect(ChildRekeyed, "", 1)
	}
	// The responder alone with PFS, which IKE_AUTH cannot tell: the rekey is refused, the old SA stays until its end.
	l := up(t, nil, pfs(t))
	l.a.rekey(rekeyChild)
	l.advance(5 * time.Second)
	l.established("net")
	if l.a.count(Failed, FailProposal) == 0 {
		t.Error("no fact about the refused rekey")
	}
}

// An old SA that the peer rekeyed and never deletes goes by our delete after RekeyGuard.
func TestPeerForgetsToDelete(t *testing.T) {
	l := up(t, nil, nil)
	l.a.rekey(rekeyChild)
	l.deliver(0)
	old := l.b.cells["net"]
	l.wire = nil // a stays ignorant, as if it had given up
	l.a.armed = time.Time{}
	l.now = l.now.Add(time.Second)
	for spi := range l.b.inbound {
		if spi != l.b.outbound[old].PairSPI {
			l.b.heard[spi] = l.now // a packet arrives by the new SA
		}
	}
	l.now = l.now.Add(time.Second)
	l.b.step(Tick{})
	if l.b.cells["net"] == old {
		t.Error("b must move to the new SA when it has seen a packet by it")
	}
	l.now = l.now.Add(time.Minute)
	l.b.step(Tick{})
	l.expectWire("b: INFORMATIONAL request 0")
}

func TestLifetimes(t *testing.T) {
	l := up(t, nil, nil)
	l.advance(30 * time.Hour)
	l.established("net")
	if n := l.a.count(IKERekeyed, ""); n < 3 || n > 6 {
		t.Errorf("IKE SA rekeyed %d times in 30 hours, expected about one each 8 hours less jitter", n)
	}
	if n := l.a.count(ChildRekeyed, ""); n < 29 || n > 36 {
		t.Errorf("Child SA rekeyed %d times in 30 hours, expected about one an hour less jitter", n)
	}
	l.a.expect(NegotiationStarted, "", 1)
	l.a.expect(ChildDeleted, DeletedExpired, 0)
	l.b.expect(ChildDeleted, DeletedExpired, 0)
}

// Expire comes from packet and byte counts of the data plane.
func TestExpire(t *testing.T) {
	l := up(t, nil, nil)
	pair := l.b.outbound[l.b.cells["net"]].PairSPI
	l.b.step(Expire{SPI: pair})
	l.b.step(Expire{SPI: pair}) // once more, while the rekey is on its way
	l.advance(time.Minute)
	l.established("net")
	l.b.expect(ChildRekeyed, "", 1)

	pair = l.a.outbound[l.a.cells["net"]].PairSPI
	l.a.step(Expire{SPI: pair, Hard: true})
	if len(l.a.cells) != 0 {
		t.Error("a still sends by an SA that is used up")
	}
	l.advance(time.Minute)
	l.established("net") // always: a new one
	l.a.expect(ChildDeleted, DeletedExpired, 1)
}

// A rekey that fails again and again ends with the hard lifetime, on both sides.
func TestRekeyRefusedUntilHardEnd(t *testing.T) {
	l := up(t, nil, nil)
	l.b.noSPI = true
	l.advance(70 * time.Minute)
	l.consistent()
	l.a.expect(ChildDeleted, DeletedExpired, 1)
	l.b.noSPI = false
	l.advance(3 * time.Minute)
	l.established("net")
}

// REKEY_SA for a Child SA that b does not have: CHILD_SA_NOT_FOUND, and a makes a new one (RFC 7296 2.25).
func TestChildSANotFound(t *testing.T) {
	l := up(t, nil, nil)
	l.b.engine.byName["a"].slots[0].children[0].remove(DeletedFailed, 0)
	l.b.step(Tick{}) // carries out what remove ordered
	for spi := range l.b.inbound {
		delete(l.b.inbound, spi)
		delete(l.b.allocated, spi)
	}
	clear(l.b.outbound)
	clear(l.b.cells)
	l.a.rekey(rekeyChild)
	l.advance(time.Minute)
	l.established("net")
}

func TestInvalidSPIInsideIKE(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.b.engine.byName["a"].carrier()
	in := sa.children[0].spiIn
	l.b.engine.now = l.now
	sa.tasks.enqueue(wire.ExchangeInformational, &announceInvalidSPI{in})
	l.b.step(Tick{})
	for _, ef := range l.b.engine.effects {
		l.b.do(ef)
	}
	l.advance(time.Minute)
	l.established("net")
}

// announceInvalidSPI says that packets arrive by an SPI that does not exist.
type announceInvalidSPI struct{ spi uint32 }

func (t *announceInvalidSPI) build(m *message) error {
	m.add(wire.NewNotify(wire.NotifyInvalidSPI, spi4(t.spi)))
	return nil
}
func (*announceInvalidSPI) process(*message) error { return nil }
func (*announceInvalidSPI) abandon()               {}
