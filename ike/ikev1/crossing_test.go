package ikev1

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// both has each end begin by itself.
func both(c *ike.Config) { c.Peers[0].Children[0].Start = ike.StartAlways }

// Both ends begin at the same moment: main modes and quick modes cross, both ends keep the same pair, and no packet is lost.
func TestBothBegin(t *testing.T) {
	for seed := range byte(10) {
		l := join(t, func(c *ike.Config) { c.Random = seeded(10 + seed) }, both)
		l.begin()
		l.run()
		l.established() // without a pause
		l.busy(2*time.Minute, time.Second)
		l.established()
		if len(l.a.inbound) != 1 || len(l.b.inbound) != 1 {
			t.Errorf("%d and %d pairs are left; facts of a:\n%s", len(l.a.inbound), len(l.b.inbound), l.a.story())
		}
		if a, b := l.a.engine.peers[0].carrier(), l.b.engine.peers[0].carrier(); a.cookies != b.cookies {
			t.Error("the two ends use different ISAKMP SAs")
		}
	}
}

// Both ends rekey the pair at once, with whatever order their messages arrive in, and one that is lost.
func TestCrossingRekeys(t *testing.T) {
	for seed := range byte(10) {
		for lost := range 8 {
			t.Run(fmt.Sprintf("%d without %d", seed, lost), func(t *testing.T) {
				l := up(t, func(c *ike.Config) { c.Random = seeded(10 + seed) }, nil)
				l.a.step(ike.Rekey{Peer: "b", Child: "net"})
				l.b.step(ike.Rekey{Peer: "a", Child: "net"})
				l.shuffle(int(seed), lost)
				l.busy(2*time.Minute, 500*time.Millisecond)
				l.established()
				l.settled(1, 1)
			})
		}
	}
}

// A rekey that is ordered at one end while that of the other is under way, at every point of it.
func TestRekeyDuringRekey(t *testing.T) {
	for after := range 4 {
		l := up(t, nil, nil)
		l.a.step(ike.Rekey{Peer: "b", Child: "net"})
		for range after {
			if len(l.wire) > 0 {
				l.deliver(0)
			}
		}
		l.b.step(ike.Rekey{Peer: "a", Child: "net"})
		l.busy(2*time.Minute, 500*time.Millisecond)
		l.established()
		l.settled(1, 1)
	}
}

// What one end begins right after the other has finished has crossed nothing: it goes on by the new pair and by the new ISAKMP SA.
func TestRekeyAfterRekey(t *testing.T) {
	for seed := range byte(10) {
		l := up(t, func(c *ike.Config) { c.Random = seeded(10 + seed) }, nil)
		ends := []*end{l.a, l.b}
		if seed%2 == 1 {
			ends = []*end{l.b, l.a}
		}
		for _, end := range ends {
			end.step(ike.Rekey{Peer: end.engine.peers[0].cfg.Name, Child: "net"})
			end.step(ike.Rekey{Peer: end.engine.peers[0].cfg.Name})
			l.run()
			l.busy(time.Second, 100*time.Millisecond)
		}
		last := ends[1]
		l.busy(last.engine.limits.RekeyGrace, 100*time.Millisecond)
		if pair, sa := last.engine.peers[0].slots[0].outbound, last.engine.peers[0].carrier(); pair.role != ike.RoleInitiator || sa.role != ike.RoleInitiator {
			t.Errorf("%s is %v of its pair and %v of its ISAKMP SA; its facts:\n%s", last.name, pair.role, sa.role, last.story())
		}
		l.busy(3*time.Minute, 500*time.Millisecond)
		l.established()
		l.a.expect(ike.ChildEstablished, "", 1)
		if len(l.a.inbound) != 1 || len(l.b.inbound) != 1 {
			t.Errorf("%d and %d pairs are left; facts of a:\n%s", len(l.a.inbound), len(l.b.inbound), l.a.story())
		}
	}
}

// Both ends renew the ISAKMP SA at once: one stays in use at both.
func TestCrossingMainModes(t *testing.T) {
	for seed := range byte(4) {
		l := up(t, func(c *ike.Config) { c.Random = seeded(10 + seed) }, nil)
		l.advance(time.Minute)
		l.a.step(ike.Rekey{Peer: "b"})
		l.b.step(ike.Rekey{Peer: "a"})
		l.run()
		if a, b := l.a.engine.peers[0].carrier(), l.b.engine.peers[0].carrier(); a == nil || b == nil || a.cookies != b.cookies {
			t.Errorf("the two ends use different ISAKMP SAs; facts of a:\n%s", l.a.story())
		}
		l.busy(9*time.Hour, 25*time.Second)
		l.established()
		l.settled(1, 1)
	}
}

// Another configuration: what is gone ends at both ends, what is new is negotiated, and what is the same notices nothing.
func TestReconfigure(t *testing.T) {
	second := func(list ...policy.Selector) func(*ike.Config) {
		return func(c *ike.Config) {
			child := c.Peers[0].Children[0]
			child.Name, child.Selectors = "more", list
			c.Peers[0].Children = append(c.Peers[0].Children, child)
		}
	}
	a, b := second(selector(t, "10.1.1.0/24", "10.2.1.0/24")), second(selector(t, "10.2.1.0/24", "10.1.1.0/24"))
	l := up(t, nil, b)
	spi := l.a.cells["net"]
	cfg := sideA(t)
	a(&cfg)
	l.a.step(ike.Reconfigure{Peers: cfg.Peers})
	l.run()
	if l.a.cells["net"] != spi || len(l.a.cells) != 2 || len(l.b.cells) != 2 {
		t.Fatalf("cells %v and %v", l.a.cells, l.b.cells)
	}
	l.a.step(ike.Reconfigure{Peers: sideA(t).Peers})
	l.advance(10 * time.Second)
	if l.a.cells["net"] != spi {
		t.Error("the child that stays was made anew")
	}
	l.settled(1, 1)
	l.a.step(ike.Reconfigure{})
	l.advance(10 * time.Second)
	l.settled(0, 0)
	l.b.expect(ike.IKEDeleted, ike.DeletedByPeer, 1)
}

// A peer that is gone, or proves itself otherwise from now on, may never hear of it: what it sends by its SAs is not taken any more from the very Step that
// changes it, by a pair whose place another has taken neither.
func TestReconfigureEndsInboundAtOnce(t *testing.T) {
	otherKey := sideA(t)
	otherKey.Peers[0].PSK = crypto.NewSecret([]byte("another pre-shared key"))
	for name, peers := range map[string][]ike.Peer{"peer gone": nil, "other key": otherKey.Peers} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			l.a.step(ike.Rekey{Peer: "b", Child: "net"})
			l.run()
			for range 20 { // until packets by the new pair have the former one deleted
				if len(l.a.engine.children) == 1 {
					break
				}
				l.traffic()
				l.advance(time.Second)
			}
			if children, inbound := len(l.a.engine.children), len(l.a.inbound); children != 1 || inbound != 2 {
				t.Fatalf("%d pairs and %d inbound SAs after a rekey, expected the former one to take what is on its way", children, inbound)
			}
			l.a.step(ike.Reconfigure{Peers: peers})
			if n := len(l.a.inbound) + len(l.a.outbound); n != 0 {
				t.Errorf("%d halves of SAs left, expected none", n)
			}
		})
	}
}

// New times count for the SAs that there are.
func TestReconfigureTimes(t *testing.T) {
	l := up(t, nil, nil)
	cfg := sideA(t)
	cfg.Peers[0].RekeyTime, cfg.Peers[0].DPDDelay, cfg.Peers[0].Children[0].RekeyTime = 2*time.Hour, 5*time.Second, 10*time.Minute
	l.a.step(ike.Reconfigure{Peers: cfg.Peers})
	sent := l.a.sends
	l.advance(29 * time.Second)
	if l.a.sends-sent < 4 {
		t.Errorf("a asks whether b lives %d times in 29 s, expected every 5 s", l.a.sends-sent)
	}
	l.busy(11*time.Minute, time.Second)
	l.a.expect(ike.ChildRekeyed, "", 1)
	l.busy(110*time.Minute, 10*time.Second)
	l.a.expect(ike.IKEEstablished, "", 2)
	l.established()

	idle := func(c *ike.Config) {
		c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = ike.StartOnDemand, time.Hour
	}
	l = join(t, idle, nil)
	l.a.step(ike.Initiate{Peer: "b"})
	l.advance(30 * time.Minute)
	cfg = sideA(t)
	idle(&cfg)
	cfg.Peers[0].Children[0].IdleTimeout = time.Minute
	l.a.step(ike.Reconfigure{Peers: cfg.Peers})
	l.advance(59 * time.Second)
	l.settled(1, 1)
	l.advance(10 * time.Second)
	l.settled(1, 0)
}

// A main mode that is under way when its peer becomes somebody else, here by another pre-shared key, ends: nobody proves himself by what is no longer true.
func TestReconfigureDuringMainMode(t *testing.T) {
	for after := 1; after <= 4; after++ {
		l := join(t, onDemand, nil)
		l.a.step(ike.Initiate{Peer: "b"})
		for range after {
			l.deliver(0)
		}
		cfg := sideB(t)
		cfg.Peers[0].PSK = crypto.NewSecret([]byte("battery staple"))
		l.b.step(ike.Reconfigure{Peers: cfg.Peers})
		l.advance(3 * time.Minute)
		l.b.expect(ike.IKEEstablished, "", 0)
		l.settled(0, 0)
	}
}

// Of several selectors the first that two IDs can say is negotiated, or the one of the packet that asks.
func TestSelectorOfPacket(t *testing.T) {
	ports := selector(t, "10.1.0.0/24", "10.2.0.0/24")
	ports.Protocol, ports.LocalPort = 6, policy.PortRange{First: 1000, Last: 2000}
	first, second := selector(t, "10.1.1.0/24", "10.2.1.0/24"), selector(t, "10.1.2.0/24", "10.2.2.0/24")
	packet := policy.Packet{Source: netip.MustParseAddr("10.1.2.7"), Destination: netip.MustParseAddr("10.2.2.7"), Protocol: 17}
	for _, c := range []struct {
		packet *policy.Packet
		want   policy.Selector
	}{{nil, first}, {&packet, second}} {
		l := join(t, func(cfg *ike.Config) {
			onDemand(cfg)
			cfg.Peers[0].Children[0].Selectors = []policy.Selector{ports, first, second}
		}, func(cfg *ike.Config) {
			cfg.Peers[0].Children[0].Selectors = []policy.Selector{selector(t, "10.2.0.0/16", "10.1.0.0/16")}
		})
		l.a.step(ike.Acquire{Peer: "b", Child: "net", Packet: c.packet})
		l.run()
		l.established()
		for _, n := range []*end{l.a, l.b} {
			if got := l.a.outbound[l.a.cells["net"]].Selectors[0]; got != c.want {
				t.Errorf("negotiated for %s, expected %s", got, c.want)
			}
			n.step(ike.Rekey{Peer: n.engine.peers[0].cfg.Name, Child: "net"})
			l.advance(time.Minute)
			l.established()
		}
	}
}

// A peer that may speak either is answered and not begun with. When IKEv2 has it its SAs of IKEv1 end, and main modes are refused until IKEv2 has lost it.
func TestEitherVersion(t *testing.T) {
	l := join(t, onDemand, func(c *ike.Config) { c.Peers[0].Version, c.Peers[0].Children[0].Start = ike.VAny, ike.StartAlways })
	l.begin()
	l.advance(time.Minute)
	l.settled(0, 0)
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.established()
	l.settled(1, 1)
	l.b.step(ike.Carried{Peer: "a", On: true})
	l.advance(10 * time.Second)
	l.settled(0, 0)
	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.settledAt(l.b, 0, 0)
	l.b.expect(ike.Refused, ike.RefuseCarried, 1)
	l.b.step(ike.Carried{Peer: "a"})
	l.advance(10 * time.Second)
	l.established()
	l.settled(1, 1)
}

// Transport mode, with both ends' addresses for its traffic.
func TestTransport(t *testing.T) {
	l := up(t, inTransport, inTransport)
	if !l.a.outbound[l.a.cells["net"]].Transport {
		t.Error("tunnel mode")
	}
	l = join(t, inTransport, nil)
	l.begin()
	l.advance(10 * time.Second)
	l.settled(1, 0)
}

// The data plane refuses one half of a pair, or has no SPI: it is tried again later.
func TestInstallFails(t *testing.T) {
	for name, fail := range map[string]func(n *end){
		"inbound": func(n *end) { n.refuseIn = true }, "outbound": func(n *end) { n.refuseOut = true },
	} {
		for _, which := range []string{"a", "b"} {
			t.Run(name+" at "+which, func(t *testing.T) {
				l := join(t, nil, nil)
				n := map[string]*end{"a": l.a, "b": l.b}[which]
				fail(n)
				l.begin()
				l.advance(3 * time.Minute)
				l.established()
				l.settled(1, 1)
				n.expect(ike.Failed, ike.FailInstall, 1)
			})
		}
	}
	l := join(t, nil, nil)
	l.a.noSPI = true
	l.begin()
	l.run()
	l.a.expect(ike.Refused, ike.RefuseSPI, 1)
	l.a.noSPI = false
	l.advance(5 * time.Second)
	l.established()
}
