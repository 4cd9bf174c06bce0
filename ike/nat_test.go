package ike

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// masquerade puts a behind a NAT that maps its ports to others of an address of its own.
func (l *link) masquerade(address string, base uint16) {
	public := netip.MustParseAddr(address)
	l.nat = func(from netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(public, base+from.Port()%1000) }
}

// behind makes b expect a at the address of the NAT, by a's name.
func behind(address string) func(*Config) {
	return func(c *Config) {
		c.Peers[0].Remote, c.Peers[0].RemoteID = netip.MustParseAddr(address), AddressIdentity(addrA)
	}
}

// IKE_SA_INIT on 500, IKE_AUTH and all after it on 4500, ESP inside UDP (RFC 7296 2.23, S-092).
func TestNATBeforeInitiator(t *testing.T) {
	l := join(t, nil, behind("203.0.113.7"))
	l.masquerade("203.0.113.7", 20000)
	l.begin()
	l.run()
	l.established("net")
	a, b := l.a.engine.Snapshot()[0], l.b.engine.Snapshot()[0]
	if a.Local.Port() != 4500 || a.Remote.Port() != 4500 || !a.NATLocal || a.NATRemote {
		t.Errorf("a: %v to %v, NAT here %t, there %t", a.Local, a.Remote, a.NATLocal, a.NATRemote)
	}
	mapped := netip.MustParseAddrPort("203.0.113.7:20500")
	if b.Local.Port() != 4500 || b.Remote != mapped || b.NATLocal || !b.NATRemote {
		t.Errorf("b: %v to %v, NAT here %t, there %t", b.Local, b.Remote, b.NATLocal, b.NATRemote)
	}
	out := l.b.outbound[l.b.cells["net"]]
	if !out.UDPEncap || out.Remote != mapped || !a.Children[0].UDPEncap {
		t.Errorf("b sends ESP to %v, inside UDP %t", out.Remote, out.UDPEncap)
	}

	// The NAT forgets its mapping. The next authenticated message shows the new one, and the Child SA follows as it is.
	l.masquerade("203.0.113.7", 30000)
	forged := Datagram{Local: b.Local, Remote: netip.MustParseAddrPort("198.51.100.1:4500"), Payload: forgedRequest(l.b)}
	l.b.step(forged)
	if got := l.b.engine.Snapshot()[0].Remote; got != mapped {
		t.Fatalf("b follows a forged message to %v", got)
	}
	l.advance(time.Minute)
	moved := netip.MustParseAddrPort("203.0.113.7:30500")
	if got := l.b.engine.Snapshot()[0].Remote; got != moved {
		t.Errorf("b knows a at %v, expected %v", got, moved)
	}
	if now := l.b.outbound[l.b.cells["net"]]; now.Remote != moved || now.SPI != out.SPI {
		t.Errorf("b sends ESP of SPI %#x to %v, expected %#x to %v", now.SPI, now.Remote, out.SPI, moved)
	}
	l.established("net")
	l.b.expect(AddressChanged, "", 1)
}

// An end behind a NAT keeps its mapping as long as the IKE SA lives, with Child SAs, whose packets the data plane counts, or without (RFC 3948 4): what the
// peer begins finds it.
func TestKeepMapping(t *testing.T) {
	quiet := func(c *Config) { c.Peers[0].DPDDelay, c.Peers[0].Children[0].Start = -1, StartOnDemand }
	l := join(t, quiet, both(behind("203.0.113.7"), quiet))
	l.masquerade("203.0.113.7", 20000)
	l.begin()
	l.a.step(Initiate{Peer: "b"})
	l.advance(time.Minute)
	l.established("net")
	if l.a.keepalives+l.b.keepalives > 0 {
		t.Errorf("%d and %d keepalives beside a Child SA", l.a.keepalives, l.b.keepalives)
	}
	l.a.step(Terminate{Peer: "b", Child: "net"})
	l.advance(time.Minute)
	if l.a.keepalives != 3 || l.b.keepalives != 0 {
		t.Errorf("%d and %d keepalives in a minute without a Child SA, expected 3 and none", l.a.keepalives, l.b.keepalives)
	}
	l.a.step(Terminate{Peer: "b"})
	l.advance(time.Minute)
	if l.a.keepalives != 3 {
		t.Errorf("%d keepalives, expected none more without an IKE SA", l.a.keepalives)
	}
}

// What the data plane sees of a peer's new address counts as what IKE sees, where an address may change at all: for the one before whom
// no NAT stands (RFC 7296 2.23).
func TestMovedByESP(t *testing.T) {
	l := join(t, nil, behind("203.0.113.7"))
	l.masquerade("203.0.113.7", 20000)
	l.begin()
	l.run()
	l.established("net")
	out, moved := l.b.outbound[l.b.cells["net"]], netip.MustParseAddrPort("203.0.113.7:30500")
	if out.BehindNAT || !l.a.outbound[l.a.cells["net"]].BehindNAT {
		t.Error("the one before the NAT is taken for the one behind it")
	}
	l.b.step(Moved{SPI: out.PairSPI, Remote: moved})
	l.b.step(Moved{SPI: out.PairSPI, Remote: moved})
	l.b.step(Moved{SPI: out.PairSPI + 1, Remote: netip.MustParseAddrPort("203.0.113.7:30501")})
	if got, to := l.b.engine.Snapshot()[0].Remote, l.b.outbound[out.SPI].Remote; got != moved || to != moved {
		t.Errorf("b knows a at %v and sends ESP to %v, expected %v", got, to, moved)
	}
	l.b.expect(AddressChanged, "", 1)
	here := l.a.engine.Snapshot()[0].Remote
	l.a.step(Moved{SPI: l.a.outbound[l.a.cells["net"]].PairSPI, Remote: moved})
	if got := l.a.engine.Snapshot()[0].Remote; got != here {
		t.Errorf("a, behind the NAT, follows to %v", got)
	}
}

// S-091: AH and nothing else is refused across a NAT with that for a reason, by the end that wants it and by the end that is asked. The IKE SA
// stays, and ESP is had by it.
func TestAHAcrossNAT(t *testing.T) {
	const cannot = "AH cannot cross the NAT that is on the way: its integrity check covers the addresses that a NAT changes"
	for _, across := range []bool{false, true} {
		change := behind("203.0.113.7")
		if !across {
			change = nil
		}
		l := join(t, nil, change)
		if across {
			l.masquerade("203.0.113.7", 20000)
		}
		wants := &l.a.engine.byName["b"].slots[0].cfg
		esp, ah := wants.Proposals, ahProposals(t, "sha256")
		wants.Proposals = ah
		l.begin()
		l.run()
		l.established()
		l.a.expect(Failed, FailProposal, 1)
		if detail := l.a.failures()[0].Detail; strings.Contains(detail, cannot) != across {
			t.Errorf("with a NAT %t a says: %s", across, detail)
		}
		tsi, tsr := trafficSelectors(true, wants.Selectors)
		answer := l.ask(wire.ExchangeCreateChildSA, offer(ah, spi4(0xa00000ff)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
		refused := l.b.failures()[len(l.b.failures())-1]
		if wire.FindNotify(answer, wire.NotifyNoProposalChosen) == nil || !strings.Contains(refused.Detail, "peer offered AH by ") || strings.Contains(refused.Detail, cannot) != across {
			t.Errorf("with a NAT %t b answers %v: %s", across, answer, refused.Detail)
		}
		wants.Proposals = esp
		l.advance(time.Minute)
		l.established("net")
	}
}

// forgedRequest is the peer's next request with a wrong ICV.
func forgedRequest(n *end) []byte {
	sa := n.engine.byName[n.cfg.Peers[0].Name].carrier()
	b := make([]byte, 80)
	copy(b, spi8(sa.remoteSPI))
	copy(b[8:], spi8(sa.localSPI))
	b[16], b[17], b[18], b[19] = 46, 0x20, 37, 0x08
	b[23] = byte(sa.tasks.nextReceive)
	b[27] = 80
	b[31] = 52
	return b
}

// Without a NAT an authentic message from elsewhere is answered where it came from and moves nothing.
func TestNoFollowingWithoutNAT(t *testing.T) {
	l := up(t, nil, nil)
	elsewhere := netip.MustParseAddrPort("198.51.100.1:500")
	l.a.step(Rekey{Peer: "b", Child: "net"})
	p := l.wire[0]
	l.wire = nil
	for _, ef := range l.b.step(Datagram{Local: p.dest, Remote: elsewhere, Payload: p.payload}) {
		if s, ok := ef.(Send); ok && s.Remote != elsewhere {
			t.Errorf("answer goes to %v, the request came from %v", s.Remote, elsewhere)
		}
	}
	if got := l.b.engine.Snapshot()[0].Remote; got.Addr() != addrA {
		t.Errorf("b follows to %v", got)
	}
	l.advance(time.Minute)
	l.established("net")
}

// A peer that moves to 4500 without a NAT is answered there; ESP stays plain.
func TestFloatWithoutNAT(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	for len(l.wire) > 0 {
		p := l.wire[0]
		l.wire = l.wire[1:]
		p.source, p.dest = onPort(p.source, 4500), onPort(p.dest, 4500)
		l.arrive(p)
	}
	b := l.b.engine.Snapshot()[0]
	if b.Local.Port() != 4500 || b.Remote.Port() != 4500 || b.Children[0].UDPEncap {
		t.Errorf("b: %v to %v, ESP inside UDP %t", b.Local, b.Remote, b.Children[0].UDPEncap)
	}
}
