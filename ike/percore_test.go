package ike

import (
	"testing"
	"time"

	"sallyport/ike/wire"
)

// forWorkers gives a side's child a Child SA for each of so many workers.
func forWorkers(n int) func(*Config) {
	return func(c *Config) { c.Peers[0].Children[0].PerCore = n }
}

// a: IKE_AUTH with SA_RESOURCE_INFO; b: the same; a: CREATE_CHILD_SA with SA_RESOURCE_INFO for each worker (RFC 9611 3). Whichever message is
// lost, and whichever end begins, each worker has one Child SA in the end and all others one more.
func TestPerCore(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	for range 4 {
		l.deliver(0)
	}
	l.expectWire("a: CREATE_CHILD_SA request 2")
	l.run()
	l.established("net", "net#1", "net#2")
	l.advance(time.Hour / 2) // b, which may ask for what it lacks, lacks nothing
	l.established("net", "net#1", "net#2")
	for lost := range 10 {
		for _, beginner := range []string{"a", "b"} {
			l := join(t, both(forWorkers(2), onDemand), both(forWorkers(2), onDemand))
			n := l.a
			if beginner == "b" {
				n = l.b
			}
			l.losing(lost, func() { n.step(Initiate{Peer: n.cfg.Peers[0].Name}) })
			l.established("net", "net#1", "net#2")
			l.traffic()
			l.run()
			if l.lost != 0 || l.taken != 6 {
				t.Errorf("message %d lost: %d packets were taken and %d not", lost, l.taken, l.lost)
			}
		}
	}
}

// A peer without RFC 9611 has one Child SA with us, in either role, and no further exchange.
func TestPerCoreAlone(t *testing.T) {
	for name, sides := range map[string][2]func(*Config){"a": {forWorkers(4), nil}, "b": {nil, forWorkers(4)}, "one worker": {forWorkers(1), forWorkers(4)}} {
		t.Run(name, func(t *testing.T) {
			l := up(t, sides[0], sides[1])
			l.advance(time.Minute)
			l.established("net")
			l.a.expect(Failed, "", 0)
			l.b.expect(Failed, "", 0)
		})
	}
}

// Ends with different numbers of workers: the smaller number decides, whichever end begins, and the other hears TS_MAX_QUEUE once for each it asks for.
func TestPerCoreOfDifferentSize(t *testing.T) {
	for _, c := range [][2]int{{4, 2}, {2, 4}} {
		l := join(t, forWorkers(c[0]), forWorkers(c[1]))
		l.begin()
		l.advance(10 * time.Minute)
		l.established("net", "net#1", "net#2")
		l.a.expect(Failed, "", 0)
		l.b.expect(Failed, "", 0)
	}
}

// Each Child SA is rekeyed by itself, stays with its worker, and is had again when the peer deletes it. An operator's rekey is of all.
func TestPerCoreByItself(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	l.run()
	before := map[string]uint32{}
	for cell, spi := range l.a.cells {
		before[cell] = spi
	}
	l.a.step(Expire{SPI: l.a.outbound[before["net#2"]].PairSPI})
	l.advance(time.Minute)
	l.established("net", "net#1", "net#2")
	if l.a.cells["net#2"] == before["net#2"] || l.a.cells["net"] != before["net"] || l.a.cells["net#1"] != before["net#1"] {
		t.Errorf("after the rekey of worker 2's: %#x, before %#x", l.a.cells, before)
	}
	l.b.step(Expire{SPI: l.b.outbound[l.b.cells["net#1"]].PairSPI, Hard: true})
	l.advance(time.Minute)
	l.established("net", "net#1", "net#2")
	if l.a.count(ChildDeleted, DeletedByPeer) != 1 {
		t.Errorf("%d deletes, expected one\n%s", l.a.count(ChildDeleted, DeletedByPeer), l.a.story())
	}
	for _, n := range []*end{l.a, l.b} {
		l.a.facts = nil
		n.rekey(rekeyChild)
		l.advance(time.Minute)
		l.established("net", "net#1", "net#2")
		l.a.expect(ChildRekeyed, "", 3)
	}
	l.b.rekey(rekeyIKE)
	l.advance(time.Minute)
	l.established("net", "net#1", "net#2")
}

// The Child SA of all takes those of workers with it, and all come again. Idleness is that of all together.
func TestPerCoreTogether(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	l.run()
	l.b.step(Expire{SPI: l.b.outbound[l.b.cells["net"]].PairSPI, Hard: true})
	l.run()
	l.established()
	l.advance(time.Minute)
	l.established("net", "net#1", "net#2")

	l = join(t, both(forWorkers(2), onDemand), both(forWorkers(2), onDemand))
	l.a.step(Initiate{Peer: "b"})
	l.advance(4 * time.Minute)
	l.a.sentBy[l.a.outbound[l.a.cells["net#2"]].PairSPI] = l.now // one worker has something to do
	l.advance(4 * time.Minute)
	l.established("net", "net#1", "net#2")
	l.advance(2 * time.Minute)
	l.established()
	l.advance(time.Hour)
	l.established()
}

// Another number of workers changes what is there by no more than that.
func TestPerCoreReconfigured(t *testing.T) {
	l := join(t, forWorkers(3), forWorkers(3))
	l.begin()
	l.run()
	before := l.a.cells["net#1"]
	l.a.configure(func(p *Peer) { p.Children[0].PerCore = 1 })
	l.run()
	if l.a.cells["net#1"] != 0 || l.a.cells["net"] == 0 {
		t.Errorf("a sends by %#x", l.a.cells)
	}
	l.a.configure(func(p *Peer) { p.Children[0].PerCore = 2 })
	l.advance(time.Minute)
	l.consistent()
	if l.a.cells["net#1"] == 0 || l.a.cells["net#1"] == before || l.a.cells["net#2"] == 0 {
		t.Errorf("a sends by %#x", l.a.cells)
	}
}

// A peer that never stops asking for more gets no more than there are workers.
func TestPerCoreIsBounded(t *testing.T) {
	l := join(t, nil, forWorkers(2))
	l.begin()
	l.run()
	l.b.engine.byName["a"].slots[0].children[0].perWorker = true // as if a had agreed
	tsi, tsr := trafficSelectors(true, l.a.cfg.Peers[0].Children[0].Selectors)
	for i := range uint32(5) {
		answer := l.ask(wire.ExchangeCreateChildSA, wire.NewNotify(wire.NotifySAResourceInfo, nil), offer(espProposals(t, "aes128gcm16"), spi4(0xa0001000+i)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
		if full := wire.FindNotify(answer, wire.NotifyTSMaxQueue) != nil; full != (i >= 2) {
			t.Errorf("request %d: TS_MAX_QUEUE %t in %v", i, full, answer)
		}
	}
	if n := len(l.b.inbound); n != 3 {
		t.Errorf("b has %d inbound SAs, expected one for all and one for each of 2 workers", n)
	}
}

// A new authentication makes all of them again on the new IKE SA.
func TestPerCoreReauthenticated(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	l.run()
	l.a.engine.byName["b"].carrier().reauthWanted = true
	l.a.engine.byName["b"].touch()
	l.a.step(Tick{})
	l.advance(2 * time.Minute)
	l.established("net", "net#1", "net#2")
	l.a.expect(IKEEstablished, "", 2)
}
