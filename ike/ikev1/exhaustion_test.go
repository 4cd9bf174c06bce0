package ikev1

import (
	"crypto/elliptic"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// What a peer, or somebody who writes in its name, can have an end spend: places, memory, time. The true peer is never the one to go without.

// opening is message 1 of main mode as anybody can write it, by its cookie.
func opening(t testing.TB, cookie uint64) []byte {
	t.Helper()
	offer := offerPhase1(spread(ikeProposals(t, "aes128-sha256-ecp256"), byKey, isakmp.Lifetime{}))
	return marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: cookie}, Exchange: isakmp.ExchangeMain}, offer, isakmp.NewVendorID(isakmp.VendorFragmentation))
}

// Who writes message 1 in the name of a peer knows its cookie and not ours. Fragments without ours take no room: that is for those that come from where
// message 2 went.
func TestFragmentsWithoutOurCookie(t *testing.T) {
	l := join(t, short, short)
	l.b.engine.room.all = 4 * l.b.engine.room.each
	for i := range 10 {
		l.toB(opening(t, uint64(i+1)))
		for n := range uint8(10) {
			l.toB(marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: uint64(i + 1)}, Exchange: isakmp.ExchangeMain},
				&isakmp.Fragment{ID: 1, Number: n + 1, Data: make([]byte, 1000)}))
		}
	}
	if used := l.b.engine.room.used; used != 0 {
		t.Errorf("%d octets are held", used)
	}
	l.b.expect(ike.Dropped, ike.DropFragment, 100)
	l.wire = nil
	l.begin()
	l.run()
	l.established()
}

// Strangers fill a quarter of the room for fragments, and leave a main mode with a peer what it needs.
func TestFragmentsOfStrangers(t *testing.T) {
	l := join(t, short, func(cfg *ike.Config) { short(cfg); cfg.DefaultResponse = []ike.Peer{template(t)} })
	e := l.b.engine
	e.room.all = 8 * e.room.each
	for i := range 10 {
		from := floodAddress(i)
		for _, answer := range l.from(from, opening(t, uint64(i+1))) {
			h, err := isakmp.ParseHeader(answer)
			if err != nil {
				t.Fatal(err)
			}
			for n := range uint8(16) {
				l.from(from, marshal(t, isakmp.Header{Cookies: h.Cookies, Exchange: isakmp.ExchangeMain}, &isakmp.Fragment{ID: 1, Number: n + 1, Data: make([]byte, 1000)}))
			}
		}
	}
	if e.room.used == 0 || e.room.used > e.room.all/4 {
		t.Errorf("strangers hold %d octets of %d, expected some and a quarter at most", e.room.used, e.room.all)
	}
	l.begin()
	l.run()
	l.established()
}

// A peer that asks whether we live, as often as it likes, has used every message ID long before the end of the ISAKMP SA. Another takes its place by then:
// the peer is not taken for dead, and what is remembered is bounded.
func TestMessageIDsRunOut(t *testing.T) {
	for name, from := range map[string]func(l *link) *end{"the initiator asks": func(l *link) *end { return l.a }, "the responder asks": func(l *link) *end { return l.b }} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			for range maxMessageIDs * 3 / 4 { // two each
				sa := from(l).engine.peers[0].carrier()
				sa.inform(isakmp.RUThere(sa.cookies, 1))
				from(l).step(ike.Tick{})
				l.run()
				for _, n := range []*end{l.a, l.b} {
					for _, sa := range n.engine.sas {
						if len(sa.used) > maxMessageIDs {
							t.Fatalf("%d message IDs are remembered", len(sa.used))
						}
					}
				}
			}
			l.advance(time.Minute)
			l.established()
			for _, n := range []*end{l.a, l.b} {
				if dropped := n.count(ike.Dropped, ike.DropMessageID); dropped != 0 {
					t.Errorf("%s has dropped %d messages", n.name, dropped)
				}
				if dead := n.count(ike.IKEDeleted, ike.DeletedDead); dead != 0 {
					t.Errorf("%s takes its peer for dead", n.name)
				}
			}
		})
	}
}

// Two ends of which one wants a tunnel up and the other ends it each time: that goes on, and ever more slowly, whatever it is that is ended.
func TestEndedAgainAndAgain(t *testing.T) {
	for name, end := range map[string]ike.Event{"the pair": ike.Terminate{Peer: "a", Child: "net"}, "all": ike.Terminate{Peer: "a"}} {
		t.Run(name, func(t *testing.T) {
			l := up(t, nil, nil)
			for range 50 { // at once
				l.b.step(end)
				l.run()
			}
			if made := l.a.count(ike.ChildEstablished, ""); made != 1 {
				t.Errorf("%d pairs at one moment, expected 1", made)
			}
			for until := l.now.Add(time.Hour); l.tick(until); {
				l.run()
				if len(l.b.engine.children) > 0 {
					l.b.step(end)
				}
				l.run()
			}
			if made := l.a.count(ike.ChildEstablished, ""); made < 50 || made > 150 {
				t.Errorf("%d pairs within an hour, expected one or two a minute", made)
			}
			l.advance(2 * time.Minute)
			l.established()
		})
	}
}

// Whoever asks in main mode with signatures learns nothing of which identities are known here: what an end does and says is the same, to one without a key
// that counts and to one with a good certificate for another name.
func TestIdentitiesAreNotShown(t *testing.T) {
	right := signedBy(t, ecdsaKey(t, elliptic.P256()))
	for _, refusal := range []ike.Reason{ike.CertUntrusted, ike.AuthIdentity} {
		var said [2]string
		for i, id := range []ike.Identity{ike.AddressIdentity(addrA), identityNamed(t, "nobody.example")} {
			l := join(t, all(onDemand, right, func(a *ike.Config) { a.Peers[0].LocalID = id }), right)
			l.a.step(ike.Initiate{Peer: "b"})
			l.run()
			asked, sent := len(l.b.asked), l.b.sends
			l.checks(refusal)
			l.run()
			said[i] = fmt.Sprintf("%d checks, %d messages, and a learns: ", asked, l.b.sends-sent)
			for _, f := range l.a.facts {
				if f.Kind == ike.Failed {
					said[i] += f.Detail
				}
			}
		}
		if said[0] != said[1] || !strings.Contains(said[0], "1 checks, 1 messages") || !strings.Contains(said[0], "AUTHENTICATION-FAILED") {
			t.Errorf("%s\nto who says to be the peer: %s\nto who says to be nobody that is known: %s", refusal, said[0], said[1])
		}
	}
}

// S-078: a peer that asks for a lifetime of a second does not have us negotiate all the time, whichever end begins; nor does one that asks for a kilobyte.
func TestShortestLifetimes(t *testing.T) {
	brief := func(cfg *ike.Config) {
		cfg.Peers[0].RekeyTime, cfg.Peers[0].Children[0].RekeyTime = time.Second/2, time.Second/2
	}
	for name, l := range map[string]*link{"at the initiator": up(t, brief, nil), "at the responder": up(t, nil, brief)} {
		honest := map[string]*end{"at the initiator": l.b, "at the responder": l.a}[name]
		sa, c := honest.engine.peers[0].carrier(), honest.engine.peers[0].slots[0].live()
		for what, life := range map[string]lifetime{"the ISAKMP SA": sa.lifetime, "the pair": c.lifetime} {
			if renewal, whole := life.rekeyAt.Sub(life.established), life.ends.Sub(life.established); renewal < 9*time.Second || whole < 11*time.Second {
				t.Errorf("%s: %s is renewed after %v and ends after %v", name, what, renewal, whole)
			}
		}
	}
	l := up(t, nil, nil)
	for range 1000 {
		l.b.step(ike.Expire{SPI: l.b.engine.peers[0].slots[0].live().spiIn})
		l.advance(10 * time.Millisecond)
	}
	if made := l.b.count(ike.ChildRekeyed, ""); made < 8 || made > 10 {
		t.Errorf("%d pairs within 10 s, expected one a second", made)
	}
}

// Quick modes with perfect forward secrecy, each of which costs a Diffie-Hellman computation, are held back sooner than others.
func TestManyExchanges(t *testing.T) {
	pfs := algorithms(t, "aes128-sha256-ecp256", "aes128gcm16-ecp256")
	l := up(t, pfs, pfs)
	sa, s := l.a.engine.peers[0].carrier(), l.a.engine.peers[0].slots[0]
	key, err := crypto.GenerateKey(crypto.DHECP256, seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	local, remote := identities(s.cfg.Selectors[0])
	for i := uint32(1); i <= 500; i++ {
		l.toB(l.a.sealed(t, isakmp.ExchangeQuick, i, rightHash(i), offerPhase2(sa.termsFor(s), crypto.DHECP256, childSPIs{esp: 0x1000000 + i}), &isakmp.Nonce{Data: make([]byte, 32)},
			&isakmp.KE{Data: key.Public()}, local, remote))
	}
	const most = 128 // of which one has made the tunnel
	l.b.expect(ike.Refused, ike.RefuseRequests, 500-most+1)
}

// Message 2 is sent again as often as a true peer asks for it, and then at the rate of other answers to nobody knows whom.
func TestRepeatedOpening(t *testing.T) {
	l := join(t, onDemand, nil)
	for range 1000 {
		l.toB(opening(t, 7))
	}
	if most := 1 + l.b.engine.limits.Retransmit.Tries + l.b.engine.limits.UnprotectedReplies; l.b.sends > most {
		t.Errorf("%d answers, expected %d at most", l.b.sends, most)
	}
}

// A host that the default response rule has let in asks for the other mode while a quick mode of ours is on its way: what comes of that is of the mode that it
// was begun with.
func TestOtherModeMeanwhile(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	p := l.b.engine.byName[dynamicA]
	before := p.slots[0].live()
	l.b.step(ike.Rekey{Peer: dynamicA, Child: p.slots[0].cfg.Name})
	other := isakmp.Phase2{Encapsulation: isakmp.EncapsulationTransport}
	if before.transport {
		other.Encapsulation = isakmp.EncapsulationTunnel
	}
	p.adapt(&isakmp.SA{Proposals: []isakmp.Proposal{{Protocol: isakmp.ProtocolESP, Transforms: []isakmp.Transform{other.Transform(1, uint8(isakmp.ESPAES))}}}})
	l.run()
	c := p.slots[0].live()
	if c == before || c.transport != before.transport {
		t.Errorf("rekeyed: %t, transport mode %t; expected a pair of the mode that was offered, %t\n%s", c != before, c.transport, before.transport, l.b.story())
	}
	l.advance(time.Minute)
	l.letIn()
}

// besiege has the peer of b begin while many write message 1 in its name, so many between any two of its datagrams, which take 50 ms each. It returns how long
// the peer takes to get in.
func (l *link) besiege(many int, forged func(cookie uint64) []byte) time.Duration {
	l.t.Helper()
	before := l.b.count(ike.IKEEstablished, "")
	cookie := uint64(1)
	flood := func() {
		inFlight := l.wire
		for range many {
			l.toB(forged(cookie))
			cookie++
		}
		l.wire = inFlight // their answers reach nobody who has asked
	}
	for range 40 { // two seconds
		flood()
		l.now = l.now.Add(50 * time.Millisecond)
		l.b.step(ike.Tick{})
	}
	began := l.now
	l.a.step(ike.Tick{})
	for l.b.count(ike.IKEEstablished, "") == before {
		if l.now.Sub(began) > time.Minute {
			l.t.Fatalf("the peer is not there after a minute\n%s", l.a.story())
		}
		flood()
		if len(l.wire) > 0 {
			l.deliver(0)
		}
		l.tick(l.now.Add(50 * time.Millisecond))
		if e := l.b.engine; len(e.sas) > e.limits.HalfOpenPerAddress+8 || len(e.asked) > len(e.sas) || len(e.unanswered) > len(e.sas) {
			l.t.Fatalf("%d ISAKMP SAs, %d asked for, %d without message 3", len(e.sas), len(e.asked), len(e.unanswered))
		}
	}
	return l.now.Sub(began)
}

// S-088: message 1 in a peer's name, more often than there is room for, does not keep it out for longer than 5 s; nor, once it has been there, does a thousand
// times a second, of its own octets or of others.
func TestPeerGetsInAmongForgers(t *testing.T) {
	for name, established := range map[string]bool{"new": false, "established": true} {
		t.Run(name, func(t *testing.T) {
			l := join(t, nil, nil)
			var own []byte
			l.twist = func(from *end, payload []byte) []byte {
				if own == nil && from == l.a {
					own = slices.Clone(payload)
				}
				return payload
			}
			first := func(cookie uint64) []byte { return opening(t, cookie) }
			if !established {
				for i := range uint64(100) {
					l.toB(first(i + 1))
				}
				l.wire = nil
			}
			l.begin()
			l.advance(5 * time.Second)
			l.established()
			l.twist = nil
			for round, forged := range []func(cookie uint64) []byte{first, func(cookie uint64) []byte {
				payload := slices.Clone(own)
				binary.BigEndian.PutUint64(payload, cookie)
				return payload
			}} {
				l.wire = nil
				if !established {
					l.b.step(ike.Terminate{Peer: "a"})
					l.wire = nil
				}
				cfg := l.a.engine.cfg
				cfg.Random = seeded(byte(60 + round))
				l.a.boot(cfg) // it knows nothing any more
				if took := l.besiege(50, forged); took > 5*time.Second {
					t.Errorf("the peer is there after %v", took)
				}
				l.wire = nil
				l.advance(2 * time.Minute)
				l.established()
				if e := l.b.engine; e.halfOpen.Total() != 0 || len(e.unanswered) != 0 {
					t.Errorf("%d half-open ISAKMP SAs are left", e.halfOpen.Total())
				}
			}
		})
	}
}

// Message 3 with a cookie that was never given, or to somebody else, or long ago, is nobody's.
func TestForgedCookie(t *testing.T) {
	l := up(t, nil, nil)
	e := l.b.engine
	d := ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(addrA, portIKE)}
	known := e.familiar(d)
	if known == nil {
		t.Fatal("b does not know how its peer begins")
	}
	right := e.unkeptCookie(familiarOpening, known, d, 7, 0)
	elsewhere := d
	elsewhere.Remote = netip.MustParseAddrPort("192.0.2.99:500")
	old := e.unkeptCookie(familiarOpening, known, d, 7, 2)
	third := func(responder uint64) []byte {
		return marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7, Responder: responder}, Exchange: isakmp.ExchangeMain}, &isakmp.KE{Data: make([]byte, 64)},
			&isakmp.Nonce{Data: make([]byte, 32)})
	}
	for i, cookie := range []uint64{right + 1, e.unkeptCookie(familiarOpening, known, elsewhere, 7, 0), e.unkeptCookie(familiarOpening, known, d, 8, 0), old, 1} {
		l.toB(third(cookie))
		l.b.expect(ike.Dropped, ike.DropUnknownSPI, i+1)
	}
	l.toB(third(right)) // whose public value is none
	l.b.expect(ike.Dropped, ike.DropUnknownSPI, 5)
	l.b.expect(ike.Dropped, ike.DropMalformed, 1)
	l.run()
	l.advance(time.Minute)
	l.settled(1, 1)
}

// Message 1 that anybody may have written, refused or gone on with by nobody, does not hide from people what has failed with the peer itself.
func TestForgedFailures(t *testing.T) {
	l := join(t, func(cfg *ike.Config) { cfg.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) }, nil)
	l.begin()
	l.advance(40 * time.Second)
	l.a.step(ike.Terminate{Peer: "b"})
	last := func() ike.Reason { return l.b.engine.Snapshot()[0].PeerFailure.Reason }
	if last() != ike.AuthKey {
		t.Fatalf("the peer has failed by %s, expected its key", last())
	}
	odd := offerPhase1(spread(ikeProposals(t, "3des-sha1-modp1024"), byKey, isakmp.Lifetime{}))
	forge := func() {
		l.toB(marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7}, Exchange: isakmp.ExchangeMain}, odd))
		l.toB(opening(t, 8))
		l.wire = nil
		l.advance(40 * time.Second)
	}
	if forge(); last() != ike.AuthKey {
		t.Errorf("the peer has failed by %s, expected its key", last())
	}
	l.advance(hearsayTime)
	if forge(); last() != ike.FailTimeout {
		t.Errorf("the last failure is %s, expected the one that came long after", last())
	}
}

// Of the offers in half-open main modes no more is kept than came.
func TestMemoryOfOffers(t *testing.T) {
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	l := join(t, onDemand, nil)
	ours := spread(ikeProposals(t, "aes128-sha256-ecp256"), byKey, isakmp.Lifetime{})
	offered := slices.Repeat([]isakmp.Phase1{{Encryption: isakmp.EncryptionCAST, Hash: isakmp.HashTiger, Auth: isakmp.AuthDSSSignature, Group: 3}}, 250)
	offer := offerPhase1(append(offered, ours...))
	octets, before := 0, inUse()
	for i := range uint64(35) {
		payload := marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: i + 1}, Exchange: isakmp.ExchangeMain}, offer)
		octets += len(payload)
		l.toB(payload)
		l.wire = nil
	}
	if open := len(l.b.engine.sas); open != 35 {
		t.Fatalf("%d half-open ISAKMP SAs, expected 35", open)
	}
	if grown := int(inUse()) - int(before); grown > 2*octets+256<<10 {
		t.Errorf("%d octets are in use for %d that came", grown, octets)
	}
	runtime.KeepAlive(l)
}
