package ike

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike/wire"
)

var (
	addrA2 = netip.MustParseAddr("198.51.100.1")
	addrB2 = netip.MustParseAddr("198.51.100.2")
)

// mobile lets either end change its address. Their identities are names, which stay.
func mobile(c *Config) {
	p := &c.Peers[0]
	a, b := Identity{wire.IDFQDN, "a.example"}, Identity{wire.IDFQDN, "b.example"}
	p.MOBIKE, p.LocalID, p.RemoteID = true, a, b
	if p.Local == addrB {
		p.LocalID, p.RemoteID = b, a
	}
}

// at insists on where both ends are, and on what their packets have for addresses.
func (l *link) at(a, b netip.Addr) {
	l.t.Helper()
	for _, n := range []struct {
		*end
		local, remote netip.Addr
	}{{l.a, a, b}, {l.b, b, a}} {
		sa, out := n.engine.Snapshot()[0], n.outbound[n.cells["net"]]
		if sa.Local.Addr() != n.local || sa.Remote.Addr() != n.remote || out.Local.Addr() != n.local || out.Remote.Addr() != n.remote {
			l.t.Errorf("%s: IKE %v to %v, ESP %v to %v, expected %v to %v", n.name, sa.Local, sa.Remote, out.Local, out.Remote, n.local, n.remote)
		}
	}
}

// Either end moves while both of its addresses work: no packet is lost, in no order; the IKE SA and the keys stay.
func TestMove(t *testing.T) {
	toA2 := func(l *link) { l.a.configure(func(p *Peer) { p.Local = addrA2 }) }
	toB2 := func(l *link) { l.b.configure(func(p *Peer) { p.Local = addrB2 }) }
	for name, c := range map[string]struct {
		begin func(*link)
		a, b  netip.Addr
	}{
		"a":                  {toA2, addrA2, addrB},
		"b":                  {toB2, addrA, addrB2},
		"both":               {func(l *link) { toA2(l); toB2(l) }, addrA2, addrB2},
		"b, then a":          {func(l *link) { toB2(l); l.run(); toA2(l) }, addrA2, addrB2},
		"a, then b":          {func(l *link) { toA2(l); l.run(); toB2(l) }, addrA2, addrB2},
		"a, and back":        {func(l *link) { toA2(l); l.a.configure(func(p *Peer) { p.Local = addrA }) }, addrA, addrB},
		"a, b rekeys":        {func(l *link) { toA2(l); l.b.rekey(rekeyChild) }, addrA2, addrB},
		"a, b rekeys IKE":    {func(l *link) { toA2(l); l.b.rekey(rekeyIKE) }, addrA2, addrB},
		"b rekeys IKE, then": {func(l *link) { l.b.rekey(rekeyIKE); toA2(l) }, addrA2, addrB},
		"a, b new":           {func(l *link) { toA2(l); l.b.reauth() }, addrA2, addrB},
	} {
		t.Run(name, func(t *testing.T) {
			play := func() *link {
				l := up(t, mobile, mobile)
				c.begin(l)
				return l
			}
			everyAccident(t, 300, play, func(l *link) {
				l.established("net")
				l.at(c.a, c.b)
			})
		})
	}
}

// An address that is gone takes with it what was on its way there, and no more than that.
func TestAddressGone(t *testing.T) {
	for name, c := range map[string]struct {
		gone netip.Addr
		move func(*link)
		a, b netip.Addr
	}{
		"of a": {addrA, func(l *link) { l.a.configure(func(p *Peer) { p.Local = addrA2 }) }, addrA2, addrB},
		"of b": {addrB, func(l *link) { l.b.configure(func(p *Peer) { p.Local = addrB2 }) }, addrA, addrB2},
	} {
		l := up(t, mobile, mobile)
		before := l.a.ikeSAs()[0]
		l.gone = map[netip.Addr]bool{c.gone: true}
		c.move(l)
		l.advance(time.Second)
		l.at(c.a, c.b)
		l.lost = 0
		l.flow(time.Minute, l.a, l.b)
		if l.lost > 0 || l.a.ikeSAs()[0] != before || l.a.count(ChildRekeyed, "") > 0 {
			t.Errorf("%s: %d packets lost after the move, IKE SA %v, before %v", name, l.lost, l.a.ikeSAs(), before)
		}
		// What follows finds the other end where it is now.
		l.a.rekey(rekeyIKE)
		l.b.rekey(rekeyChild)
		l.advance(time.Minute)
		l.b.reauth()
		l.advance(time.Minute)
		l.established("net")
		l.at(c.a, c.b)
	}
}

// A peer that does not do it, or is not let, loses its SAs as without it.
func TestMoveUnsupported(t *testing.T) {
	l := up(t, mobile, func(c *Config) { mobile(c); c.Peers[0].MOBIKE = false })
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	l.a.expect(IKEDeleted, DeletedReconfig, 1)
	l.b.expect(AddressChanged, "", 0)
}

// Where no peer can be it is not let, and told so; nothing goes there.
func TestMoveRefused(t *testing.T) {
	l := up(t, mobile, func(c *Config) {
		mobile(c)
		c.MayMove = func(_, remote netip.AddrPort) bool { return remote.Addr() != addrA2 }
	})
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	l.b.expect(Refused, RefuseAddress, 1)
	l.a.expect(Failed, FailAddress, 1)
	l.b.expect(AddressChanged, "", 0)
	for _, sa := range l.b.outbound {
		if sa.Remote.Addr() == addrA2 {
			t.Error("b sends packets to where no peer can be")
		}
	}
}

// A message from elsewhere that does not say that the peer has moved moves nothing, a NAT or not (RFC 4555 3.8).
func TestMoveNotMeant(t *testing.T) {
	l := up(t, mobile, mobile)
	l.a.rekey(rekeyChild)
	for len(l.wire) > 0 {
		if l.wire[0].to == l.b {
			l.wire[0].source = netip.AddrPortFrom(addrA2, 4500)
		}
		l.deliver(0)
	}
	l.at(addrA, addrB)
	l.b.expect(AddressChanged, "", 0)
}

// A NAT comes on the way: ESP goes in UDP from then on; and when it is gone, no longer.
func TestMoveBehindNAT(t *testing.T) {
	l := up(t, mobile, mobile)
	l.nat = func(from netip.AddrPort) netip.AddrPort {
		if from.Addr() == addrA2 {
			return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), from.Port()+10000)
		}
		return from
	}
	l.inside = addrA2
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.advance(10 * time.Second)
	l.established("net")
	if out := l.b.outbound[l.b.cells["net"]]; !out.UDPEncap || out.Remote != netip.MustParseAddrPort("203.0.113.7:14500") || !l.a.outbound[l.a.cells["net"]].BehindNAT {
		t.Errorf("b sends ESP to %v, in UDP %t", out.Remote, out.UDPEncap)
	}
	l.nat, l.inside = nil, netip.Addr{}
	l.a.configure(func(p *Peer) { p.Local = addrA })
	l.advance(10 * time.Second)
	l.established("net")
	l.at(addrA, addrB)
	if out := l.b.outbound[l.b.cells["net"]]; out.UDPEncap {
		t.Error("ESP goes in UDP where no NAT is")
	}
}
