package ikev1

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/policy"
)

// outside is where the NAT before a shows it to b.
var outside = netip.MustParseAddr("198.51.100.7")

// beforeA has b know a by the NAT's address.
func beforeA(c *ike.Config) {
	c.Peers[0].Remote, c.Peers[0].RemoteID = outside, ike.AddressIdentity(addrA)
}

// S-091, S-092, C-12: across a NAT all goes by port 4500 from message 5 on, ESP in UDP; the NAT's other port is followed.
func TestNAT(t *testing.T) {
	base := uint16(1000)
	l := join(t, nil, beforeA)
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
	l.b.step(ike.Rekey{Peer: "a"}) // from outside in
	l.run()
	l.b.expect(ike.IKEEstablished, "", 2)
	base = 3000
	l.advance(40 * time.Second) // a asks whether b lives
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote.Port() != base+portNATT {
		t.Errorf("b sends to %v after the NAT took another port; facts:\n%s", out.Remote, l.b.story())
	}
	l.established()
}

// C-12, S-092: the initiator changes the port at message 5 when the NAT is before the responder too, whose ports it leads in; either end may be the one
// behind it.
func TestPortsAcrossNAT(t *testing.T) {
	for _, test := range []struct {
		name   string
		begins string
		shift  uint16 // of a's ports; what b begins is led in by those it knows
	}{{"initiator behind it", "a", 1000}, {"initiator behind it, its ports kept", "a", 0}, {"responder behind it", "b", 0}} {
		l := join(t, onDemand, func(c *ike.Config) { beforeA(c); onDemand(c) })
		l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, test.shift+from.Port()) }
		first := map[string]*end{"a": l.a, "b": l.b}[test.begins]
		first.step(ike.Initiate{Peer: first.other().name})
		for n := 1; len(l.wire) > 0; n++ {
			p, want := l.wire[0], uint16(portIKE)
			if n >= 5 {
				want = portNATT
			}
			source, dest := p.source.Port(), p.dest.Port()
			if p.to == l.a {
				dest -= test.shift
			}
			if source != want || dest != want {
				t.Errorf("%s: message %d goes from %d to %d, expected %d", test.name, n, source, dest, want)
			}
			l.deliver(0)
		}
		l.established()
		l.busy(10*time.Minute, time.Second)
		l.settled(1, 1)
	}
}

// An ISAKMP SA that is renewed from another port of the NAT takes the pairs along.
func TestRenewedFromElsewhere(t *testing.T) {
	shift := uint16(1000)
	l := join(t, nil, beforeA)
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, shift+from.Port()) }
	l.begin()
	l.run()
	shift = 2000
	l.a.step(ike.Rekey{Peer: "b"})
	l.run()
	l.b.expect(ike.IKEEstablished, "", 2)
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote != netip.AddrPortFrom(outside, 2000+portNATT) {
		t.Errorf("b sends to %v", out.Remote)
	}
	l.established()
}

// Transport mode across a NAT, begun and renewed from either side: each end protects the traffic between the two addresses that it sees (RFC 3947 5.2).
func TestTransportAcrossNAT(t *testing.T) {
	at := func(local, remote netip.Addr) func(*ike.Config) {
		return func(c *ike.Config) {
			onDemand(c)
			child := &c.Peers[0].Children[0]
			child.Transport = true
			child.Selectors = []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), Protocol: 17, LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
		}
	}
	for _, begins := range []string{"a", "b"} {
		l := join(t, at(addrA, addrB), func(c *ike.Config) { beforeA(c); at(addrB, outside)(c) })
		l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, from.Port()) }
		first := map[string]*end{"a": l.a, "b": l.b}[begins]
		first.step(ike.Initiate{Peer: first.other().name})
		l.run()
		for range 2 {
			l.established()
			for _, n := range []*end{l.a, l.b} {
				want := n.engine.peers[0].cfg.Children[0].Selectors[0]
				if out := n.outbound[n.cells["net"]]; !out.Transport || !out.UDPEncap || len(out.Selectors) != 1 || out.Selectors[0] != want {
					t.Errorf("%s begins: %s sends %v, in UDP %t, transport mode %t; expected %v", begins, n.name, out.Selectors, out.UDPEncap, out.Transport, want)
				}
			}
			first.other().step(ike.Rekey{Peer: first.name, Child: "net"})
			l.busy(time.Minute, time.Second)
		}
		l.settled(1, 1)
	}
}

// Packets that come from another address of a peer behind a NAT are followed, unless no peer may be there.
func TestMoved(t *testing.T) {
	other := netip.MustParseAddr("198.51.100.8")
	at := outside
	l := join(t, nil, func(c *ike.Config) {
		c.Peers[0].Remote, c.Peers[0].RemoteID = outside, ike.AddressIdentity(addrA)
		c.MayMove = func(_, remote netip.AddrPort) bool { return remote.Addr() != addrB }
	})
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(at, 1000+from.Port()) }
	l.begin()
	l.run()
	l.established()
	spi := l.a.cells["net"]
	l.b.step(ike.Moved{SPI: spi, Remote: netip.AddrPortFrom(addrB, 77)})
	l.b.expect(ike.Refused, ike.RefuseAddress, 1)
	at = other
	l.b.step(ike.Moved{SPI: spi, Remote: netip.AddrPortFrom(other, 1000+portNATT)})
	l.b.expect(ike.AddressChanged, "", 1)
	if out := l.b.outbound[l.b.cells["net"]]; out.Remote.Addr() != other {
		t.Errorf("b sends to %v", out.Remote)
	}
	l.established()
	l.advance(2 * time.Minute)
	l.settled(1, 1)
	l.a.step(ike.Rekey{Peer: "b"}) // by main mode, from where a is now
	l.run()
	l.b.expect(ike.IKEEstablished, "", 2)
	l.a.step(ike.Rekey{Peer: "b", Child: "net"})
	l.busy(time.Minute, time.Second)
	l.established()
	l.a.step(ike.Terminate{Peer: "b"})
	l.run()
	if n := len(l.b.engine.byPath); n != 1 {
		t.Errorf("b looks for a at %d places when nothing of a is left, expected 1", n)
	}
}

// A peer behind a NAT is not followed to where another peer is.
func TestNotToAnother(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) {
		beforeA(c)
		other := c.Peers[0]
		other.Name, other.Remote, other.RemoteID, other.Children = "c", netip.MustParseAddr("198.51.100.9"), ike.Identity{}, other.Children[:1:1]
		other.Children = []ike.Child{{Name: "c", Selectors: []policy.Selector{selector(t, "10.2.0.0/24", "10.9.0.0/24")}, Start: ike.StartOnDemand}}
		c.Peers = append(c.Peers, other)
	})
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(outside, 1000+from.Port()) }
	l.begin()
	l.run()
	l.b.step(ike.Moved{SPI: l.a.cells["net"], Remote: netip.MustParseAddrPort("198.51.100.9:4500")})
	l.b.expect(ike.Refused, ike.RefuseAddress, 1)
	l.b.expect(ike.AddressChanged, "", 0)
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
	if f := l.a.engine.peers[0].failure[ike.RoleInitiator]; f.Detail != ike.NoAHAcrossNAT {
		t.Errorf("a says %q", f.Detail)
	}
}
