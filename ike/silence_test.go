package ike

import (
	"testing"
	"time"
)

// flow sends ESP each second for so long, by those ends that are named.
func (l *link) flow(d time.Duration, from ...*end) {
	for until := l.now.Add(d); l.now.Before(until); l.advance(time.Second) {
		before := len(l.wire)
		l.traffic()
		sent := append([]packet(nil), l.wire[before:]...)
		l.wire = l.wire[:before]
		for _, p := range sent {
			for _, n := range from {
				if p.to != n {
					l.arrive(p)
				}
			}
		}
		for _, n := range []*end{l.a, l.b} {
			if n != from[0] && len(from) == 1 {
				for spi := range n.sentBy {
					delete(n.sentBy, spi)
				}
			}
		}
	}
}

// b loses the Child SA and keeps the IKE SA. a notices, although b answers whatever it is asked.
func TestChildLostSilently(t *testing.T) {
	l := up(t, nil, nil)
	l.flow(10*time.Minute, l.a, l.b)
	l.a.expect(Silent, "", 0)
	l.b.engine.now = l.now
	l.b.engine.byName["a"].slots[0].children[0].remove(DeletedFailed, 0)
	l.b.step(Tick{})
	for spi := range l.b.inbound {
		delete(l.b.inbound, spi)
		delete(l.b.allocated, spi)
	}
	clear(l.b.outbound)
	clear(l.b.cells)
	l.flow(7*time.Minute, l.a, l.b)
	l.established("net")
	l.a.expect(Silent, "", 1)
	l.a.expect(IKEDeleted, "", 0)
	l.lost = 0
	l.flow(7*time.Minute, l.a, l.b)
	if l.lost > 0 {
		t.Errorf("%d packets lost by the new Child SA", l.lost)
	}
}

// Traffic that goes one way only is rekeyed a few times more than without, and loses nothing; what is idle is not.
func TestOneWayTraffic(t *testing.T) {
	l := up(t, func(c *Config) { c.Peers[0].Children[0].RekeyTime = 24 * time.Hour }, func(c *Config) { c.Peers[0].Children[0].RekeyTime = 24 * time.Hour })
	l.flow(8*time.Hour, l.a)
	l.established("net")
	if n := l.a.count(Silent, ""); n < 4 || n > 7 {
		t.Errorf("%d rekeys of one-way traffic in 8 hours, expected those after 5, 10, 20, ... minutes", n)
	}
	l.b.expect(Silent, "", 0)
	if l.lost > 0 {
		t.Errorf("%d packets lost", l.lost)
	}
	idle := up(t, nil, nil)
	idle.advance(8 * time.Hour)
	idle.a.expect(Silent, "", 0)
}

// S-076: an IKE SA lives 28,800 s and is renewed then if data flows, with no packet lost across it; if none does, it ends and none appears.
func TestIKELifetime(t *testing.T) {
	onDemand := func(c *Config) { c.Peers[0].Children[0].Start = StartOnDemand }
	began := func() *link {
		l := join(t, onDemand, onDemand)
		l.begin()
		l.a.step(Acquire{Peer: "b", Child: "net"})
		l.run()
		l.established("net")
		return l
	}
	l := began()
	first := l.a.ikeSAs()[0]
	l.flow(28_800*time.Second, l.a, l.b)
	l.established("net")
	if l.a.ikeSAs()[0] == first || l.lost > 0 {
		t.Errorf("after 28,800 s with traffic: IKE SA %v, before %s; %d of %d packets lost", l.a.ikeSAs(), first, l.lost, l.lost+l.taken)
	}
	renewed := l.a.count(IKERekeyed, "")
	if renewed != 1 || l.a.count(NegotiationStarted, "") != 1 {
		t.Errorf("%d renewals and %d negotiations, expected one of each", renewed, l.a.count(NegotiationStarted, ""))
	}

	l = began()
	l.advance(28_800 * time.Second)
	l.consistent()
	for _, n := range []*end{l.a, l.b} {
		n.expect(IKERekeyed, "", 0)
		n.expect(NegotiationStarted, "", 1)
		if len(n.ikeSAs()) != 0 {
			t.Errorf("%s has %v after 28,800 s without traffic, expected none", n.name, n.ikeSAs())
		}
	}
}
