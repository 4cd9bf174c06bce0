package ike

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// notifying adds a notification to what an end sends from now on inside SK.
func (n *end) notifying(requests bool, kind wire.NotifyType, data []byte) func(from *end, payload []byte) []byte {
	return func(from *end, payload []byte) []byte {
		if from != n {
			return payload
		}
		return from.rewrite(payload, func(h wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			if h.Response() == requests {
				return first, plain
			}
			body := append([]byte{0, 0, byte(kind >> 8), byte(kind)}, data...)
			return written(append(chainOf(first, plain), aPayload{kind: wire.PayloadNotify, body: body}))
		})
	}
}

// An end that has more than one address is found at another when the path to the first is dead: with the keys that there are, and no packet is lost
// from then on. That of the initiator or of the responder, and one after the other.
func TestOtherPath(t *testing.T) {
	having := func(additional netip.Addr) func(*Config) {
		return func(c *Config) { mobile(c); c.Peers[0].Additional = []netip.Addr{additional} }
	}
	l := up(t, having(addrA2), having(addrB2))
	before := l.a.ikeSAs()[0]
	for _, c := range []struct{ dead, a, b netip.Addr }{{addrB, addrA, addrB2}, {addrA, addrA2, addrB2}, {addrB2, addrA, addrB}} {
		l.gone = map[netip.Addr]bool{c.dead: true}
		l.flow(2*time.Minute, l.a, l.b) // whose silence is noticed
		l.at(c.a, c.b)
		l.lost = 0
		l.flow(time.Minute, l.a, l.b)
		if l.lost > 0 || l.a.ikeSAs()[0] != before {
			t.Fatalf("%v is dead: %d packets lost afterwards, IKE SA %v, before %v\na:\n%sb:\n%s", c.dead, l.lost, l.a.ikeSAs(), before, l.a.story(), l.b.story())
		}
	}
	l.gone = nil
	l.a.rekey(rekeyIKE)
	l.b.rekey(rekeyChild)
	l.advance(time.Minute)
	l.established("net")
	l.at(addrA, addrB)
}

// A peer that names no other address has none, and one that is nowhere is dead: the end that decides gives up as without it, the other waits for longer
// (RFC 4555 3.11).
func TestNoOtherPath(t *testing.T) {
	for _, c := range []struct {
		silent  func(*link) (dead, waits *end)
		patient bool
	}{{func(l *link) (*end, *end) { return l.b, l.a }, false}, {func(l *link) (*end, *end) { return l.a, l.b }, true}} {
		l := up(t, mobile, mobile)
		dead, waits := c.silent(l)
		l.twist = func(from *end, payload []byte) []byte {
			if from == dead {
				return nil
			}
			return payload
		}
		l.advance(3 * time.Minute)
		if ended := waits.count(IKEDeleted, DeletedDead) > 0; ended == c.patient {
			t.Errorf("%s: after three minutes of silence the IKE SA has ended: %t", waits.name, ended)
		}
		l.advance(5 * time.Minute)
		waits.expect(IKEDeleted, DeletedDead, 1)
	}
}

// The additional addresses of an end can change while all runs, and the peer hears of it.
func TestAdditionalAddresses(t *testing.T) {
	l := up(t, mobile, mobile)
	others := func() []netip.Addr { return l.a.engine.byName["b"].carrier().mobike.others }
	for _, list := range [][]netip.Addr{{addrB2}, {addrB2, netip.MustParseAddr("198.51.100.3")}, nil} {
		l.b.configure(func(p *Peer) { p.Additional = list })
		l.run()
		if want := append([]netip.Addr{addrB}, list...); !slices.Equal(others(), want) {
			t.Errorf("a knows of %v, expected %v", others(), want)
		}
	}
	l.established("net")
	l.a.expect(AddressChanged, "", 0)
}

// A peer can be where it shows to be and nowhere else: no packet goes to an address before a cookie has come back from there; a wrong one ends the
// IKE SA (RFC 4555 3.7).
func TestMoveUnproven(t *testing.T) {
	l := up(t, mobile, mobile)
	l.twist = func(from *end, payload []byte) []byte {
		if from == l.b {
			return nil
		}
		return payload
	}
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	for range 20 {
		l.advance(time.Second)
		for _, sa := range l.b.outbound {
			if sa.Remote.Addr() != addrA {
				t.Fatalf("b sends to %v, which has not answered", sa.Remote)
			}
		}
	}
	l = up(t, mobile, mobile)
	l.twist = func(from *end, payload []byte) []byte {
		if from != l.a {
			return payload
		}
		return from.rewrite(payload, func(h wire.Header, first wire.PayloadType, plain []byte) (wire.PayloadType, []byte) {
			chain := chainOf(first, plain)
			for _, p := range chain {
				if h.Response() && p.kind == wire.PayloadNotify && wire.NotifyType(p.body[2])<<8|wire.NotifyType(p.body[3]) == wire.NotifyCookie2 {
					p.body[4] ^= 1
				}
			}
			return written(chain)
		})
	}
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	l.b.expect(Failed, FailAddress, 1)
	l.b.expect(IKEDeleted, DeletedFailed, 1)
}

// A peer is not let to where another one is, be it by configuration or because it has moved there.
func TestMoveToAnotherPeer(t *testing.T) {
	third := func(c *Config) {
		mobile(c)
		other := c.Peers[0]
		other.Name, other.Remote, other.RemoteID, other.PSK = "third", addrA2, Identity{wire.IDFQDN, "third.example"}, crypto.NewSecret([]byte("battery"))
		other.Children = nil
		c.Peers = append(c.Peers, other)
	}
	l := join(t, mobile, third)
	l.begin()
	l.run()
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	l.b.expect(Refused, RefuseAddress, 1)
	l.b.expect(AddressChanged, "", 0)
	l.a.expect(Failed, FailAddress, 1)
}

// A peer that lets no NAT be on the way is told of one, and nothing changes (RFC 4555 3.9).
func TestNoNATsAllowed(t *testing.T) {
	truth := endpointsOf(netip.AddrPortFrom(addrA2, 4500), netip.AddrPortFrom(addrB, 4500))
	other := endpointsOf(netip.MustParseAddrPort("10.0.0.1:4500"), netip.AddrPortFrom(addrB, 4500))
	for _, c := range []struct {
		data  []byte
		moves bool
	}{{truth, true}, {other, false}, {truth[:8], false}, {nil, false}} {
		l := up(t, mobile, mobile)
		l.twist = l.a.notifying(true, wire.NotifyNoNATsAllowed, c.data)
		l.a.configure(func(p *Peer) { p.Local = addrA2 })
		l.run()
		l.twist = nil
		if moved := l.b.count(AddressChanged, "") > 0; moved != c.moves {
			t.Errorf("NO_NATS_ALLOWED % x: b has moved: %t", c.data, moved)
		}
		if !c.moves {
			l.a.expect(Failed, FailAddress, 1)
		}
	}
	l := join(t, mobile, mobile)
	l.twist = l.a.notifying(true, wire.NotifyNoNATsAllowed, other)
	l.begin()
	l.run()
	l.b.expect(Failed, FailAddress, 1)
	l.b.expect(IKEEstablished, "", 0)
}

// The NAT before the end that decides gives it another address. It is asked in liveness checks, however much ESP comes, and the peer follows when it is told
// so, not before (RFC 4555 3.8).
func TestMappingChanges(t *testing.T) {
	l := join(t, mobile, both(behind("203.0.113.7"), mobile))
	l.masquerade("203.0.113.7", 20000)
	l.begin()
	l.run()
	l.established("net")
	before, moved := netip.MustParseAddrPort("203.0.113.7:20500"), netip.MustParseAddrPort("203.0.113.7:30500")
	l.flow(2*time.Minute, l.a, l.b)
	l.b.step(Moved{SPI: l.b.outbound[l.b.cells["net"]].PairSPI, Remote: moved})
	if at := l.b.engine.Snapshot()[0].Remote; at != before {
		t.Errorf("b has followed ESP to %v with IKE", at)
	}
	l.masquerade("203.0.113.7", 30000)
	l.flow(2*time.Minute, l.a, l.b)
	if at, to := l.b.engine.Snapshot()[0].Remote, l.b.outbound[l.b.cells["net"]].Remote; at != moved || to != moved {
		t.Errorf("b knows a at %v and sends ESP to %v, expected %v", at, to, moved)
	}
	l.established("net")
	l.a.expect(IKEDeleted, "", 0)
}

// A peer that has moved begins another IKE SA where it is: it is found there as long as it is there, and no longer.
func TestPlacesOfPeer(t *testing.T) {
	l := up(t, mobile, mobile)
	e := l.b.engine
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	if len(e.byPath) != 2 || len(e.byPath[path{addrB, addrA2}]) != 1 {
		t.Errorf("b looks for a at %v", e.byPath)
	}
	l.a.reauth()
	l.advance(time.Minute)
	l.established("net")
	l.at(addrA2, addrB)
	l.a.configure(func(p *Peer) { p.Local = addrA })
	l.advance(time.Minute)
	l.established("net")
	if len(e.byPath) != 1 {
		t.Errorf("b looks for a at %v", e.byPath)
	}
}

// Somebody's IKE SA is half-open where the peer was, and nobody is any more when its time is over.
func TestHalfOpenWhereThePeerWas(t *testing.T) {
	l := up(t, mobile, mobile)
	l.a.configure(func(p *Peer) { p.Local = addrA2 })
	l.run()
	l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA2, 500), Payload: initFrom(t, 9)})
	l.wire = nil
	if n := l.b.engine.halfOpen.Total(); n != 1 {
		t.Fatalf("%d half-open IKE SAs, expected 1", n)
	}
	l.a.configure(func(p *Peer) { p.Local = addrA })
	l.advance(time.Minute)
	l.established("net")
	l.b.expect(Failed, FailTimeout, 1)
}

// What is foretold of an address that changes is what happens: the SAs stay if the peer supports that, and end if it does not.
func TestEndingsOfMove(t *testing.T) {
	for _, supported := range []bool{true, false} {
		l := up(t, mobile, func(c *Config) { mobile(c); c.Peers[0].MOBIKE = supported })
		before := l.a.cfg.Peers
		moves := l.a.moves("b")
		l.a.configure(func(p *Peer) { p.Local = addrA2 })
		endings := Endings(before, l.a.cfg.Peers, func(string) bool { return moves })
		l.run()
		if ended := l.a.count(IKEDeleted, DeletedReconfig) > 0; ended == supported || ended != (len(endings) == 1 && strings.Contains(endings[0].Why, "addresses")) {
			t.Errorf("supported %t: ended %t, foretold %v", supported, ended, endings)
		}
	}
}
