package ike

import (
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
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
	l.advance(time.Minute) // b has to know that a has the last one
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
			l.advance(time.Minute)
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
	all := l.b.engine.byName["a"].slots[0].children[0]
	all.perWorker = true // as if a had agreed
	tsi, tsr := trafficSelectors(true, l.a.cfg.Peers[0].Children[0].Selectors)
	for i := range uint32(5) {
		answer := l.ask(wire.ExchangeCreateChildSA, wire.NewNotify(wire.NotifySAResourceInfo, nil), offer(espProposals(t, all.chosen.String()), spi4(0xa0001000+i)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
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

// pass delivers all for so long, with packets of every worker on their way all the time: ahead of the messages that were sent before, or behind.
func (l *link) pass(d time.Duration, ahead bool) {
	l.t.Helper()
	esp := func() {
		for i := len(l.wire) - 1; i >= 0; i-- {
			if l.wire[i].esp {
				l.deliver(i)
			}
		}
	}
	for until, more := l.now.Add(d), true; more; more = l.tick(until) {
		for {
			l.traffic()
			if ahead {
				esp()
			}
			i := slices.IndexFunc(l.wire, func(p packet) bool { return !p.esp })
			if i < 0 {
				esp()
				break
			}
			l.deliver(i)
		}
	}
}

// Nothing is lost while Child SAs of workers come, are rekeyed and go one by one, whichever message is lost, and whether packets overtake the messages
// or lag behind: a worker sends by the Child SA of all until the peer has its own, and what is on its way by one that goes is still taken.
func TestPerCoreUnderTraffic(t *testing.T) {
	of := func(n *end, cell string) uint32 { return n.outbound[n.cells[cell]].PairSPI }
	for name, event := range map[string]func(l *link){
		"worker's rekey by a":  func(l *link) { l.a.step(Expire{SPI: of(l.a, "net#2")}) },
		"worker's rekey by b":  func(l *link) { l.b.step(Expire{SPI: of(l.b, "net#1")}) },
		"rekey of all's":       func(l *link) { l.b.step(Expire{SPI: of(l.b, "net")}) },
		"rekey of every one":   func(l *link) { l.a.rekey(rekeyChild) },
		"rekey of IKE":         func(l *link) { l.a.rekey(rekeyIKE) },
		"delete of a worker's": func(l *link) { l.b.step(Expire{SPI: of(l.b, "net#1"), Hard: true}) },
		"both rekey": func(l *link) {
			l.a.step(Expire{SPI: of(l.a, "net#2")})
			l.b.step(Expire{SPI: of(l.b, "net#2")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for lost := range 8 {
				for _, ahead := range []bool{true, false} {
					l := join(t, both(forWorkers(2), onDemand), both(forWorkers(2), onDemand))
					losing := func() {
						sent := 0
						l.twist = func(_ *end, payload []byte) []byte {
							if sent++; sent == lost+1 {
								return nil
							}
							return payload
						}
					}
					losing()
					l.a.step(Initiate{Peer: "b"})
					l.pass(time.Minute, ahead)
					l.established("net", "net#1", "net#2")
					losing()
					event(l)
					l.pass(3*time.Minute, ahead)
					l.established("net", "net#1", "net#2")
					if l.lost != 0 || l.taken == 0 {
						t.Errorf("message %d lost, packets ahead %t: %d of %d packets lost, by cell %v", lost, ahead, l.lost, l.lost+l.taken, l.lostBy)
					}
				}
			}
		})
	}
}

// A peer that has agreed to several and has no room for them refuses each (NO_ADDITIONAL_SAS): all go on by the one that there is, the peer is asked again
// with pauses, and they come when it has room. One that has enough of them says TS_MAX_QUEUE, which is its limit for this traffic and no failure: it is
// asked again when one has ended.
func TestPerCoreRefused(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	for range 4 {
		l.deliver(0)
	}
	l.b.noSPI = true
	l.pass(10*time.Minute, true)
	if n := l.a.count(Failed, FailNoAdditionalSAs); n < 10 || n > 60 || len(l.a.cells) != 1 || l.lost != 0 || l.taken == 0 {
		t.Errorf("%d refusals in 10 minutes, a sends by %#x, %d packets lost\n%s", n, l.a.cells, l.lost, l.a.story())
	}
	l.b.noSPI = false
	l.pass(3*time.Minute, true)
	l.established("net", "net#1", "net#2")

	l = join(t, both(forWorkers(3), onDemand), both(forWorkers(2), onDemand))
	l.a.step(Initiate{Peer: "b"})
	l.pass(10*time.Minute, true)
	l.established("net", "net#1", "net#2")
	requests := 0
	l.twist = func(from *end, payload []byte) []byte {
		if h, err := wire.ParseHeader(payload); err == nil && h.Exchange == wire.ExchangeCreateChildSA && !h.Response() {
			requests++
		}
		return payload
	}
	l.pass(time.Hour/4, true)
	if requests > 0 || l.lost != 0 {
		t.Errorf("%d requests after TS_MAX_QUEUE, %d packets lost", requests, l.lost)
	}
	l.b.step(Expire{SPI: l.b.outbound[l.b.cells["net#1"]].PairSPI, Hard: true})
	l.pass(3*time.Minute, true)
	l.established("net", "net#1", "net#2")
	l.a.expect(Failed, "", 0)
	if requests == 0 || l.lost != 0 {
		t.Errorf("%d requests when one has ended, %d packets lost", requests, l.lost)
	}
}

// A peer that deletes a worker's Child SA, idle as it may be, over and over, does not have us make another each time: there is a pause in between as long
// as any (RFC 9611 6).
func TestPerCoreDeletedOverAndOver(t *testing.T) {
	l := join(t, forWorkers(2), forWorkers(2))
	l.begin()
	l.advance(time.Minute)
	const minutes = 30
	for range minutes * 6 {
		if spi, up := l.b.cells["net#1"]; up {
			l.b.engine.byName["a"].slots[1].down = true // it does not ask itself
			l.b.step(Expire{SPI: l.b.outbound[spi].PairSPI, Hard: true})
		}
		l.advance(10 * time.Second)
	}
	if n := l.a.count(ChildDeleted, DeletedByPeer); n < 5 || n > minutes {
		t.Errorf("%d deletes in %d minutes", n, minutes)
	}
}

// Child SAs beside others are for the same traffic by the same algorithms (RFC 9611 4). We ask for no other ones, whatever else the configuration lets
// through, and refuse them.
func TestPerCoreAlike(t *testing.T) {
	wide := func(c *Config) {
		forWorkers(2)(c)
		c.Peers[0].Children[0].Proposals = espProposals(t, "aes256gcm16-esn-noesn", "aes128gcm16-esn-noesn", "aes128-sha256")
	}
	narrowed := func(c *Config) {
		wide(c)
		c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16", "aes256gcm16-esn")
		c.Peers[0].Children[0].Selectors = []policy.Selector{selector("10.2.0.0/25", "10.1.0.0/24")}
	}
	for name, sides := range map[string][2]func(*Config){"asked": {wide, narrowed}, "asking": {narrowed, wide}} {
		if name == "asking" {
			sides[0] = func(c *Config) {
				narrowed(c)
				c.Peers[0].Children[0].Selectors = mirrored(c.Peers[0].Children[0].Selectors)
			}
			sides[1] = wide
		}
		l := join(t, sides[0], sides[1])
		l.begin()
		l.advance(time.Minute)
		l.established("net", "net#1", "net#2")
		all := l.a.inbound[l.a.outbound[l.a.cells["net"]].PairSPI]
		for _, n := range []*end{l.a, l.b} {
			for _, sa := range n.inbound {
				if sa.Suite != all.Suite || sa.ESN != all.ESN || n == l.a && !slices.Equal(sa.Selectors, all.Selectors) {
					t.Errorf("%s: %s has %v, extended numbers %t, for %v; that of all %v, %t, for %v", name, n.name, sa.Suite, sa.ESN, sa.Selectors, all.Suite, all.ESN, all.Selectors)
				}
			}
		}
		l.a.expect(Failed, "", 0)
	}

	l := join(t, nil, wide)
	l.begin()
	l.run()
	all := l.b.engine.byName["a"].slots[0].children[0]
	all.perWorker = true // as if a had agreed
	other := "aes128-sha256"
	for _, c := range []struct {
		algorithms, remote string
		no                 wire.NotifyType
	}{{other, "10.2.0.0/24", wire.NotifyNoProposalChosen}, {all.chosen.String(), "10.2.0.0/25", wire.NotifyTSUnacceptable}, {all.chosen.String(), "10.2.0.0/16", 0}} {
		tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", c.remote)})
		answer := l.ask(wire.ExchangeCreateChildSA, wire.NewNotify(wire.NotifySAResourceInfo, nil), offer(espProposals(t, c.algorithms), spi4(0xa0001000)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
		switch {
		case c.no != 0 && wire.FindNotify(answer, c.no) == nil:
			t.Errorf("%s for %s: %v, expected %v", c.algorithms, c.remote, answer, c.no)
		case c.no == 0 && (wire.FindError(answer) != nil || len(l.b.engine.byName["a"].slots[1].children) != 1):
			t.Errorf("%s for %s: %v", c.algorithms, c.remote, answer)
		}
	}
}
