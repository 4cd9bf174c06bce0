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
				random := seeded(seed + 100)
				for n := 1; len(l.wire) > 0; n++ {
					i := int(random.Uint64() % uint64(len(l.wire)))
					if n == lost {
						l.wire = append(l.wire[:i], l.wire[i+1:]...)
						continue
					}
					l.deliver(i)
					if n%2 == 0 && n < 20 {
						l.traffic()
					}
				}
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

// S-091, S-092, C-12: across a NAT all goes by port 4500 from message 5 on, ESP in UDP; the NAT's other port is followed.
func TestNAT(t *testing.T) {
	outside := netip.MustParseAddr("198.51.100.7")
	base := uint16(1000)
	l := join(t, nil, func(c *ike.Config) {
		c.Peers[0].Remote = outside
		c.Peers[0].RemoteID = ike.AddressIdentity(addrA)
	})
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, base+from.Port()) }
	var ports []uint16
	l.twist = func(from *end, payload []byte) []byte { return payload }
	l.begin()
	for len(l.wire) > 0 {
		if l.wire[0].to == l.b {
			ports = append(ports, l.wire[0].dest.Port())
		}
		l.deliver(0)
	}
	for i, port := range ports {
		if want := map[bool]uint16{true: portIKE, false: portNATT}[i < 2]; port != want {
			t.Errorf("message %d of a goes to port %d, expected %d", i+1, port, want)
		}
	}
	l.established()
	if out := l.b.outbound[l.b.cells["net"]]; !out.UDPEncap || out.Remote != netip.AddrPortFrom(outside, base+portNATT) || !l.a.outbound[l.a.cells["net"]].BehindNAT {
		t.Errorf("b sends to %v, in UDP: %t", out.Remote, out.UDPEncap)
	}
	base = 3000
	l.advance(40 * time.Second) // a asks whether b lives
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote.Port() != base+portNATT {
		t.Errorf("b sends to %v after the NAT took another port; facts:\n%s", out.Remote, l.b.story())
	}
	l.established()
}

// S-091: AH does not cross a NAT, and that is said.
func TestAHAcrossNATSaid(t *testing.T) {
	ah := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "AH sha256") }
	l := join(t, ah, ah)
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(from.Addr(), 1000+from.Port()) }
	l.begin()
	l.run()
	l.settled(1, 0)
	if f := l.a.engine.peers[0].failure[ike.RoleInitiator]; f.Detail != noAHAcrossNAT {
		t.Errorf("a says %q", f.Detail)
	}
}

// Transport mode, with both ends' addresses for its traffic.
func TestTransport(t *testing.T) {
	transport := func(c *ike.Config) {
		p := &c.Peers[0]
		p.Children[0].Transport = true
		p.Children[0].Selectors = []policy.Selector{{Local: policy.HostRange(p.Local), Remote: policy.HostRange(p.Remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
	}
	l := up(t, transport, transport)
	if !l.a.outbound[l.a.cells["net"]].Transport {
		t.Error("tunnel mode")
	}
	l = join(t, transport, nil)
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
