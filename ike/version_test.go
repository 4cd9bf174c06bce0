package ike

import (
	"testing"
	"time"
)

// While IKEv1 carries a peer that may speak either nothing is begun with it; afterwards it is.
func TestCarriedByVersion1(t *testing.T) {
	l := join(t, func(c *Config) { c.Peers[0].Version = VAny }, nil)
	l.a.step(Carried{Peer: "b", On: true})
	l.advance(time.Minute)
	if len(l.a.engine.sas) != 0 {
		t.Error("a has begun an IKE SA")
	}
	l.a.step(Carried{Peer: "b"})
	l.run()
	l.established("net")
}

// Peers of IKEv1 are none of this engine's: it begins nothing with them, and answers them no more than any stranger.
func TestPeersOfVersion1(t *testing.T) {
	of1 := func(c *Config) { c.Peers[0].Version = V1 }
	l := join(t, of1, of1)
	l.begin()
	l.advance(time.Minute)
	if n := len(l.a.engine.Snapshot()) + len(l.b.engine.Snapshot()) + len(l.a.facts) + len(l.b.facts); n != 0 {
		t.Errorf("%d peers and facts, expected none", n)
	}
	l.a.step(Reconfigure{Peers: sideA(t).Peers})
	l.run()
	l.b.expect(Dropped, DropNoPolicy, 1)
	l.b.step(Reconfigure{Peers: sideB(t).Peers})
	l.advance(time.Minute)
	l.established("net")
	l.a.step(Reconfigure{Peers: l.a.cfg.Peers})
	l.advance(time.Minute)
	if len(l.a.engine.sas) != 0 || len(l.a.inbound) != 0 {
		t.Error("a peer that is of IKEv1 now has kept its IKE SA")
	}
}
