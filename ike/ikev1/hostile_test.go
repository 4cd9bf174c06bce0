package ikev1

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// marshal writes a message in clear.
func marshal(t testing.TB, h isakmp.Header, payloads ...isakmp.Payload) []byte {
	t.Helper()
	m := isakmp.Message{Header: h, Payloads: payloads}
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// toB gives b a datagram from a's address and port.
func (l *link) toB(payload []byte) {
	l.t.Helper()
	l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(addrA, portIKE), Payload: payload})
}

// sealed is an encrypted message as an end could send it that holds the keys and no rule.
func (n *end) sealed(t testing.TB, kind isakmp.ExchangeType, id uint32, hash func(k *phase1Keys, rest []byte) []byte, payloads ...isakmp.Payload) []byte {
	t.Helper()
	sa := n.engine.peers[0].carrier()
	iv := sa.keys.phase2IV(sa.last, id)
	b, err := sa.seal(isakmp.Header{Cookies: sa.cookies, Exchange: kind, MessageID: id}, &iv, payloads, func(rest []byte) []byte { return hash(sa.keys, rest) })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rightHash(id uint32) func(*phase1Keys, []byte) []byte {
	return func(k *phase1Keys, rest []byte) []byte { return k.hash1(id, rest) }
}

// S-061, S-062: what is not main mode from a peer gets no answer, and leaves nothing.
func TestStrangers(t *testing.T) {
	h := isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7}}
	aggressive, quick, base, informational := h, h, h, h
	aggressive.Exchange, base.Exchange = isakmp.ExchangeAggressive, isakmp.ExchangeBase
	quick.Exchange, quick.MessageID, quick.Responder = isakmp.ExchangeQuick, 9, 8
	informational.Exchange = isakmp.ExchangeInformational
	offer := offerPhase1(spread(DefaultIKEProposals(), byKey, isakmp.Lifetime{}))
	answered := h
	answered.Exchange, answered.Responder = isakmp.ExchangeMain, 8
	version2 := marshal(t, aggressive, offer)
	version2[17] = 0x20
	for _, c := range []struct {
		name    string
		payload []byte
		reason  ike.Reason
	}{
		{"nothing", nil, ike.DropShort},
		{"a header cut short", make([]byte, 27), ike.DropShort},
		{"zeros", make([]byte, 60), ike.DropVersion},
		{"IKEv2", version2, ike.DropVersion},
		{"aggressive mode", marshal(t, aggressive, offer, &isakmp.KE{Data: make([]byte, 256)}, &isakmp.Nonce{Data: make([]byte, 32)}, isakmp.AddressID(addrA)), ike.DropAggressive},
		{"base mode", marshal(t, base, offer), ike.DropExchange},
		{"quick mode before main mode", marshal(t, quick, offer), ike.DropUnknownSPI},
		{"message 3 first", marshal(t, answered, &isakmp.KE{Data: make([]byte, 64)}, &isakmp.Nonce{Data: make([]byte, 32)}), ike.DropUnknownSPI},
		{"a delete", marshal(t, informational, isakmp.DeleteISAKMP(isakmp.Cookies{Initiator: 7, Responder: 8})), ike.DropUnknownSPI},
		{"main mode without SA", marshal(t, isakmp.Header{Cookies: h.Cookies, Exchange: isakmp.ExchangeMain}, isakmp.NewVendorID(isakmp.VendorDPD)), ike.DropMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := join(t, onDemand, nil)
			l.toB(c.payload)
			l.b.expect(ike.Dropped, c.reason, 1)
			if len(l.wire) != 0 || len(l.b.engine.sas) != 0 || l.b.engine.halfOpen.Total() != 0 {
				t.Errorf("%d answers, %d ISAKMP SAs", len(l.wire), len(l.b.engine.sas))
			}
		})
	}
	t.Run("an address without a rule", func(t *testing.T) { // S-040
		l := join(t, onDemand, nil)
		l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.MustParseAddrPort("198.51.100.9:500"), Payload: marshal(t, isakmp.Header{Cookies: h.Cookies, Exchange: isakmp.ExchangeMain}, offer)})
		l.b.expect(ike.Dropped, ike.DropNoPolicy, 1)
		if len(l.wire) != 0 {
			t.Error("an answer")
		}
	})
}

// Quick mode that comes while main mode is still going on is nobody's.
func TestQuickModeTooEarly(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	for range 4 {
		l.deliver(0)
	}
	var sa *isakmpSA
	for _, sa = range l.b.engine.sas {
	}
	if sa == nil || sa.state != stateKeyed {
		t.Fatalf("b has %v", sa)
	}
	iv := sa.keys.phase2IV(sa.main.iv, 5)
	b, err := sa.seal(isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeQuick, MessageID: 5}, &iv, []isakmp.Payload{&isakmp.Nonce{Data: make([]byte, 32)}},
		func(rest []byte) []byte { return sa.keys.hash1(5, rest) })
	if err != nil {
		t.Fatal(err)
	}
	l.toB(b)
	l.b.expect(ike.Dropped, ike.DropExchange, 1)
	l.run()
	l.established()
}

// Anything in clear about an SA that is there is counted: deletes, initial contact, errors. That an SA is not known has the peer asked whether it lives, once.
func TestInClear(t *testing.T) {
	l := up(t, nil, nil)
	sa, c := l.a.engine.peers[0].carrier(), l.a.engine.peers[0].slots[0].live()
	h := isakmp.Header{Cookies: sa.cookies, Exchange: isakmp.ExchangeInformational}
	sent := l.b.sends
	for i, p := range []isakmp.Payload{isakmp.DeleteISAKMP(sa.cookies), isakmp.DeleteSAs(isakmp.ProtocolESP, c.spiIn), isakmp.InitialContact(sa.cookies),
		isakmp.RUThere(sa.cookies, 1), isakmp.NewNotify(isakmp.NotifyInvalidCookie, sa.cookies, nil), isakmp.NewSANotify(isakmp.NotifyInvalidSPI, isakmp.ProtocolESP, c.spiOut, nil)} {
		l.toB(marshal(t, h, p))
		l.b.expect(ike.Dropped, ike.DropCleartext, i+1)
	}
	if l.b.sends != sent+1 {
		t.Errorf("b sends %d datagrams, expected an R-U-THERE", l.b.sends-sent)
	}
	l.run()
	l.established()
	l.settled(1, 1)
}

// A HASH payload that does not match, whatever stands behind it: the IV chain does not move, nothing is deleted, nothing is said.
func TestWrongHash(t *testing.T) {
	l := up(t, nil, nil)
	sa, c := l.a.engine.peers[0].carrier(), l.a.engine.peers[0].slots[0].live()
	wrong := func(k *phase1Keys, rest []byte) []byte {
		h := k.hash1(4711, rest)
		h[0] ^= 1
		return h
	}
	sent := l.b.sends
	for i, b := range [][]byte{
		l.a.sealed(t, isakmp.ExchangeInformational, 4711, wrong, isakmp.DeleteISAKMP(sa.cookies)),
		l.a.sealed(t, isakmp.ExchangeInformational, 4711, wrong, isakmp.DeleteSAs(isakmp.ProtocolESP, c.spiIn)),
		l.a.sealed(t, isakmp.ExchangeQuick, 4711, wrong, offerPhase2(sa.termsFor(c.slot), crypto.DHECP256, childSPIs{esp: 0x1234567}), &isakmp.Nonce{Data: make([]byte, 32)}),
	} {
		l.toB(b)
		l.b.expect(ike.Dropped, ike.DropIntegrity, i+1)
	}
	if l.b.sends != sent || len(l.b.engine.peers[0].sas[0].used) != 1 {
		t.Error("b has answered, or remembers a message ID that is not the peer's")
	}
	l.toB(l.a.sealed(t, isakmp.ExchangeInformational, 4711, rightHash(4711), isakmp.RUThere(sa.cookies, 1)))
	if l.b.sends != sent+1 {
		t.Error("b does not answer under the same message ID what is the peer's")
	}
	l.run()
	l.established()
	l.settled(1, 1)
}

// An informational exchange that comes again does what it did the first time: nothing more.
func TestReplayedInformational(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.a.engine.peers[0].carrier()
	b := l.a.sealed(t, isakmp.ExchangeInformational, 4711, rightHash(4711), isakmp.RUThere(sa.cookies, 1))
	sent := l.b.sends
	for range 10 {
		l.toB(b)
	}
	if l.b.sends != sent+1 {
		t.Errorf("%d answers", l.b.sends-sent)
	}
	l.b.expect(ike.Dropped, ike.DropMessageID, 9)
}

// Every octet of every message of a negotiation is changed on its way, one by one, beside the genuine one: the tunnel comes up all the same.
func TestChangedOctets(t *testing.T) {
	for n := 1; n <= messages; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for at := 0; ; at++ {
				l := join(t, nil, nil)
				length := 0
				l.mishaps(func(i int, p packet) []packet {
					if i != n {
						return []packet{p}
					}
					if length = len(p.payload); at >= length {
						return []packet{p}
					}
					changed := p
					changed.payload = append([]byte(nil), p.payload...)
					changed.payload[at] ^= 0x41
					return []packet{changed, p}
				})
				l.begin()
				l.advance(12 * time.Second)
				if n > 4 { // before, whoever is on the path can put himself in the peer's place and be found out by message 5 or 6
					l.established()
				}
				for _, e := range []*Engine{l.a.engine, l.b.engine} {
					if len(e.sas) > 4 || len(e.children) > 2 {
						t.Fatalf("octet %d: %d ISAKMP SAs, %d pairs", at, len(e.sas), len(e.children))
					}
				}
				if at += 6; at >= length {
					return
				}
			}
		})
	}
}

// Somebody on the path has one end believe in a NAT that is not there. No quick mode succeeds on that ISAKMP SA, so that another is made.
func TestForgedNAT(t *testing.T) {
	for _, which := range []int{3, 4} {
		l := join(t, nil, nil)
		l.mishaps(func(n int, p packet) []packet {
			if n == which {
				p.payload = append([]byte(nil), p.payload...)
				p.payload[len(p.payload)-1] ^= 1 // of the last NAT-D
			}
			return []packet{p}
		})
		l.begin()
		l.advance(time.Minute)
		l.established()
		l.settled(1, 1)
		if n := l.a.count(ike.IKEEstablished, ""); n != 2 {
			t.Errorf("%d ISAKMP SAs, expected another:\n%s", n, l.a.story())
		}
	}
}

// A peer with as many proposals as a message holds is told that none will do, and the next one is answered.
func TestManyProposalsAnswered(t *testing.T) {
	many := func(protocol isakmp.ProtocolID, spi []byte, transform func(number uint8) isakmp.Transform) *isakmp.SA {
		sa := &isakmp.SA{}
		for i := range 100 {
			p := isakmp.Proposal{Number: uint8(i), Protocol: protocol, SPI: spi}
			for n := range 5 {
				p.Transforms = append(p.Transforms, transform(uint8(n)))
			}
			sa.Proposals = append(sa.Proposals, p)
		}
		return sa
	}
	l := up(t, nil, nil)
	odd := isakmp.Phase1{Encryption: isakmp.EncryptionCAST, Hash: isakmp.HashTiger, Auth: isakmp.AuthDSSSignature, Group: 3}
	l.toB(marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7}, Exchange: isakmp.ExchangeMain}, many(isakmp.ProtocolISAKMP, nil, odd.Transform)))
	l.b.expect(ike.Failed, ike.FailProposal, 1)
	child := isakmp.Phase2{Encapsulation: isakmp.EncapsulationTunnel, Auth: isakmp.AuthRIPEMD}
	local, remote := identities(l.a.engine.peers[0].slots[0].cfg.Selectors[0])
	l.toB(l.a.sealed(t, isakmp.ExchangeQuick, 5, rightHash(5), many(isakmp.ProtocolESP, binary.BigEndian.AppendUint32(nil, 0x1234567),
		func(n uint8) isakmp.Transform { return child.Transform(n, uint8(isakmp.ESPCAST)) }), &isakmp.Nonce{Data: make([]byte, 32)}, local, remote))
	l.b.expect(ike.Failed, ike.FailProposal, 2)
	l.run()
	l.established()
	l.settled(1, 1)
}

// S-084, S-085: main modes that are begun and not gone on with are limited, for an address without an ISAKMP SA and for one with, and end by themselves.
func TestHalfOpen(t *testing.T) {
	for _, c := range []struct {
		name   string
		link   *link
		limit  int
		reason ike.Reason
	}{{"a new address", join(t, onDemand, nil), 35, ike.RefuseNew}, {"an established one", up(t, nil, nil), 5, ike.RefuseEstablished}} {
		t.Run(c.name, func(t *testing.T) {
			l := c.link
			before := len(l.b.engine.sas)
			offer := offerPhase1(spread(ikeProposals(t, "aes128-sha256-ecp256"), byKey, isakmp.Lifetime{}))
			for i := range 100 {
				l.toB(marshal(t, isakmp.Header{Cookies: isakmp.Cookies{Initiator: uint64(i + 1)}, Exchange: isakmp.ExchangeMain}, offer))
			}
			if open := len(l.b.engine.sas) - before; open != c.limit {
				t.Errorf("%d half-open ISAKMP SAs, expected %d", open, c.limit)
			}
			l.b.expect(ike.Refused, c.reason, 100-c.limit)
			l.wire = nil
			l.advance(31 * time.Second)
			if len(l.b.engine.sas) != before || l.b.engine.halfOpen.Entries() != 0 || len(l.b.engine.asked) > before {
				t.Errorf("%d ISAKMP SAs are left", len(l.b.engine.sas))
			}
		})
	}
}

// A peer that asks for pair after pair is held back.
func TestManyQuickModes(t *testing.T) {
	noPFS := func(c *ike.Config) { c.Peers[0].Children[0].Proposals = childProposals(t, "aes128gcm16") }
	l := up(t, noPFS, noPFS)
	sa, s := l.a.engine.peers[0].carrier(), l.a.engine.peers[0].slots[0]
	local, remote := identities(s.cfg.Selectors[0])
	for i := uint32(1); i <= 2000; i++ {
		l.toB(l.a.sealed(t, isakmp.ExchangeQuick, i, rightHash(i), offerPhase2(sa.termsFor(s), crypto.DHNone, childSPIs{esp: 0x1000000 + i}), &isakmp.Nonce{Data: make([]byte, 32)}, local, remote))
		l.wire = nil
	}
	if n := len(l.b.engine.children); n > l.b.engine.limits.ChildrenPerChild {
		t.Errorf("%d pairs", n)
	}
	if l.b.count(ike.Refused, ike.RefuseRequests) == 0 || l.b.count(ike.Refused, ike.RefuseChildren) == 0 {
		t.Error("nothing was refused")
	}
}
