package ikev1

import (
	"crypto/elliptic"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// Of what a stranger asks for it gets what is between the two hosts, or nothing, for a responder cannot narrow: it speaks with the gateway and not past it.
func TestStrangerAsksForMore(t *testing.T) {
	for name, c := range map[string]struct {
		asked policy.Selector
		gets  bool
	}{
		"everything":             {selector(t, "0.0.0.0/0", "0.0.0.0/0"), false},
		"our network":            {selector(t, "192.0.2.1", "10.2.0.0/24"), false},
		"its network":            {selector(t, "10.1.0.0/24", "192.0.2.2"), false},
		"another host beside it": {selector(t, "192.0.2.0/24", "192.0.2.2"), false},
		"another host":           {selector(t, "192.0.2.7", "192.0.2.2"), false},
		"one protocol":           {selector(t, "192.0.2.1", "192.0.2.2", 6, 0, 80), true},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, func(a *ike.Config) { a.Peers[0].Children[0].Selectors = []policy.Selector{c.asked} }, answering(template(t)))
			l.begin()
			l.run()
			if c.gets {
				l.letIn()
			}
			for _, sa := range l.b.inbound {
				asked := c.asked
				asked.Local, asked.Remote, asked.LocalPort, asked.RemotePort = asked.Remote, asked.Local, asked.RemotePort, asked.LocalPort
				if !slices.Equal(sa.Selectors, []policy.Selector{asked}) {
					t.Errorf("gets %v, expected %v", sa.Selectors, asked)
				}
			}
			if !c.gets && (len(l.b.inbound) != 0 || l.b.count(ike.Failed, ike.FailSelectors) == 0) {
				t.Errorf("%d SAs, expected none\n%s", len(l.b.inbound), l.b.story())
			}
		})
	}
}

// Who cannot be let in is told no more than any peer, and leaves nothing.
func TestStrangersNotLetIn(t *testing.T) {
	other := func(c *ike.Config) {
		c.Peers[0].Name, c.Peers[0].Remote, c.Peers[0].RemoteID = "other", netip.MustParseAddr("192.0.2.9"), identityNamed(t, "other.example")
		c.DefaultResponse = []ike.Peer{template(t)}
	}
	named := func(id ike.Identity) func(*ike.Config) { return func(c *ike.Config) { c.Peers[0].LocalID = id } }
	otherKey := crypto.NewSecret([]byte("battery staple"))
	for name, c := range map[string]struct {
		changeA, changeB func(*ike.Config)
		nat              bool
		kind             ike.FactKind
		reason           ike.Reason
	}{
		"another key":         {func(c *ike.Config) { c.Peers[0].PSK = otherKey }, answering(template(t)), false, ike.Failed, ike.AuthKey},
		"a certificate":       {signedBy(t, ecdsaKey(t, elliptic.P256())), answering(template(t)), false, ike.Failed, ike.FailProposal},
		"another's name":      {named(identityNamed(t, "OTHER.example")), other, false, ike.Failed, ike.AuthIdentity},
		"a network's name":    {named(ike.Identity{Type: 4, Data: "\xc0\x00\x02\x00\xff\xff\xff\x00"}), answering(template(t)), false, ike.Failed, ike.AuthIdentity},
		"our own name":        {named(ike.AddressIdentity(addrB)), answering(template(t)), false, ike.Failed, ike.AuthIdentity},
		"behind a NAT":        {nil, answering(template(t)), true, ike.Failed, ike.FailAddress},
		"no place":            {nil, all(answering(template(t)), func(c *ike.Config) { c.Limits.Dynamic = -1 }), false, ike.Refused, ike.RefuseDynamic},
		"no common algorithm": {func(c *ike.Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha256-ecp256") }, answering(template(t)), false, ike.Failed, ike.FailProposal},
		"with the address of a peer of IKEv2": {nil, func(c *ike.Config) { c.Peers[0].Version, c.DefaultResponse = ike.V2, []ike.Peer{template(t)} }, false,
			ike.Dropped, ike.DropNoPolicy},
		"with a peer's own address": {nil, func(c *ike.Config) { // whose rule says otherwise
			c.Peers[0].PSK, c.DefaultResponse = otherKey, []ike.Peer{template(t)}
		}, false, ike.Failed, ike.AuthKey},
		"to another address of ours": {nil, func(c *ike.Config) {
			c.Peers[0].Local, c.DefaultResponse = netip.MustParseAddr("192.0.2.77"), []ike.Peer{template(t)}
		}, false, ike.Dropped, ike.DropNoPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, hosts, c.changeB)
			if c.changeA != nil { // what a configuration cannot have, too
				cfg := l.a.engine.cfg
				c.changeA(&cfg)
				l.a.boot(cfg)
			}
			if c.nat {
				l.nat = func(from netip.AddrPort) netip.AddrPort {
					return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), from.Port()+1000)
				}
			}
			l.a.step(ike.Tick{})
			l.advance(40 * time.Second)
			if l.b.count(c.kind, c.reason) == 0 || l.b.count(ike.IKEEstablished, "") != 0 || len(l.b.dynamic) != 0 {
				t.Errorf("expected %v %s\n%s", c.kind, c.reason, l.b.story())
			}
			l.a.step(ike.Terminate{Peer: "b"})
			l.advance(2 * time.Minute)
			if len(l.b.engine.sas) != 0 || l.b.engine.strangers.HalfOpen() != 0 || l.b.engine.halfOpen.Entries() != 0 {
				t.Error("an ISAKMP SA is left")
			}
		})
	}
}

// floodAddress is the i-th of many.
func floodAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}) }

// from gives b a datagram from anywhere, and returns what b sends.
func (l *link) from(remote netip.Addr, payload []byte) (sent [][]byte) {
	l.t.Helper()
	before := len(l.wire)
	l.b.step(ike.Datagram{Local: netip.AddrPortFrom(addrB, portIKE), Remote: netip.AddrPortFrom(remote, portIKE), Payload: payload})
	for _, p := range l.wire[before:] {
		sent = append(sent, p.payload)
	}
	l.wire = l.wire[:before]
	return sent
}

// Ten thousand strangers, each at an address of its own, forged or not. Message 1 takes half of the half-open places and no more; those that go on to message 3
// have a share of our time; a peer of the configuration connects among them, and when they are silent nothing is left.
func TestManyStrangers(t *testing.T) {
	l := join(t, nil, func(c *ike.Config) { c.DefaultResponse = []ike.Peer{template(t)} })
	offer := offerPhase1(spread(ikeProposals(t, "aes128-sha256-ecp256"), byKey, isakmp.Lifetime{}))
	key, err := crypto.GenerateKey(crypto.DHECP256, seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	e := l.b.engine
	keyed, second := 0, 0
	for i := range 10000 {
		h := isakmp.Header{Cookies: isakmp.Cookies{Initiator: uint64(i + 1)}, Exchange: isakmp.ExchangeMain}
		for _, answer := range l.from(floodAddress(i), marshal(t, h, offer)) {
			second++
			answered, err := isakmp.ParseHeader(answer)
			if err != nil {
				t.Fatal(err)
			}
			h.Cookies = answered.Cookies
			keyed += len(l.from(floodAddress(i), marshal(t, h, &isakmp.KE{Data: key.Public()}, &isakmp.Nonce{Data: make([]byte, 32)})))
		}
		if e.strangers.HalfOpen() > e.limits.HalfOpen/2 || len(e.sas) > e.limits.HalfOpen/2 || len(e.asked) > len(e.sas) || e.halfOpen.Entries() > e.limits.HalfOpen {
			t.Fatalf("after %d: %d half-open of strangers, %d ISAKMP SAs, %d asked", i, e.strangers.HalfOpen(), len(e.sas), len(e.asked))
		}
	}
	if second != e.limits.HalfOpen/2 || keyed != 4*e.limits.StrangerInits {
		t.Errorf("%d of 10000 got message 2 and %d message 4 at once, expected %d and %d", second, keyed, e.limits.HalfOpen/2, 4*e.limits.StrangerInits)
	}
	l.b.expect(ike.Refused, ike.RefuseHalfOpen, 10000-second)
	l.b.expect(ike.Refused, ike.RefuseStrangers, second-keyed)
	l.begin()
	l.run()
	l.established()
	l.advance(time.Minute)
	l.settled(1, 1)
	if e.strangers.HalfOpen() != 0 || len(e.byPath) != 1 || len(e.untaken) > 1 {
		t.Errorf("%d half-open ISAKMP SAs after a minute, %d paths", e.strangers.HalfOpen(), len(e.byPath))
	}
}

// Strangers who offer what nobody takes are answered, and written of, so many times a second; what is no message 1 gets silence.
func TestStrangersGetFewErrors(t *testing.T) {
	l := join(t, nil, answering(template(t)))
	h := isakmp.Header{Cookies: isakmp.Cookies{Initiator: 7}, Exchange: isakmp.ExchangeMain}
	offer := offerPhase1(spread(ikeProposals(t, "3des-sha1-modp1024"), byKey, isakmp.Lifetime{}))
	for i := range 1000 {
		l.from(floodAddress(i), marshal(t, h, offer))
	}
	if most := l.b.engine.limits.UnprotectedReplies; l.b.sends > most || l.b.count(ike.Failed, "") > most {
		t.Errorf("%d answers and %d failures of 1000, expected at most %d", l.b.sends, l.b.count(ike.Failed, ""), most)
	}
	sent := l.b.sends
	aggressive, lost, informational := h, h, h
	aggressive.Exchange = isakmp.ExchangeAggressive
	lost.Responder = 8
	informational.Exchange, informational.Responder = isakmp.ExchangeInformational, 8
	for name, payload := range map[string][]byte{
		"aggressive mode":     marshal(t, aggressive, offer, &isakmp.KE{Data: make([]byte, 64)}, &isakmp.Nonce{Data: make([]byte, 32)}, isakmp.AddressID(addrA)),
		"an unknown cookie":   marshal(t, lost, &isakmp.KE{Data: make([]byte, 64)}, &isakmp.Nonce{Data: make([]byte, 32)}),
		"a delete":            marshal(t, informational, isakmp.DeleteISAKMP(isakmp.Cookies{Initiator: 7, Responder: 8})),
		"main mode, without":  marshal(t, h, isakmp.NewVendorID(isakmp.VendorDPD)),
		"a message cut short": marshal(t, h, offer)[:40],
	} {
		if l.from(addrA, payload); l.b.sends != sent {
			t.Errorf("%s: answered", name)
		}
	}
	l.nobodyLeft()
}

// Certificates of strangers take half of the checks, however many strangers there are: what peers of the configuration bring is looked at as ever.
func TestStrangersChecks(t *testing.T) {
	right := signedBy(t, ecdsaKey(t, elliptic.P256()))
	l := join(t, all(hosts, right), answering(certified(t, elliptic.P256())))
	for i := range 50 {
		address := floodAddress(i)
		stranger := join(t, all(right, func(a *ike.Config) { a.Random, a.Peers[0].Local = seeded(byte(i)), address; hosts(a) }), nil)
		stranger.a.step(ike.Tick{})
		for range 3 {
			p := stranger.wire[0]
			stranger.wire = nil
			for _, answer := range l.from(address, p.payload) {
				stranger.a.step(ike.Datagram{Local: p.source, Remote: p.dest, Payload: answer})
			}
		}
		l.now = l.now.Add(100 * time.Millisecond)
	}
	if limit := l.b.engine.limits.Checks / 2; len(l.b.asked) != limit || l.b.count(ike.Refused, ike.RefuseChecks) != 50-limit || l.b.asked[0].Peer != "strangers" {
		t.Errorf("%d checks under way and %d refused, expected %d and %d\n%s", len(l.b.asked), l.b.count(ike.Refused, ike.RefuseChecks), limit, 50-limit, l.b.story())
	}
}

// The template changes while a stranger's certificates are being looked at: who would be let in by the old one is not.
func TestReconfigureDuringCheckOfStranger(t *testing.T) {
	templates := []ike.Peer{certified(t, elliptic.P256())}
	for name, change := range map[string]ike.Reconfigure{"off": {}, "configured": {Peers: sideB(t).Peers, DefaultResponse: templates}, "the same": {DefaultResponse: templates}} {
		t.Run(name, func(t *testing.T) {
			l := join(t, all(hosts, signedBy(t, ecdsaKey(t, elliptic.P256()))), answering(templates...))
			l.begin()
			l.run()
			if len(l.b.asked) != 1 {
				t.Fatalf("questions %+v, expected one", l.b.asked)
			}
			l.b.step(change)
			l.checks("")
			if in := l.b.count(ike.IKEEstablished, "") == 1; in != (name == "the same") || in != (len(l.b.dynamic) == 1) {
				t.Errorf("let in: %t\n%s", in, l.b.story())
			}
		})
	}
}

// Whoever holds the key may send anything in quick mode: nothing of what it breaks stays.
func TestBrokenStrangers(t *testing.T) {
	const step = 5
	for at, length := 0, 1; at < length; at += step {
		for variant := range 4 {
			l := join(t, hosts, answering(template(t)))
			liar := &liar{end: l.a, chains: map[uint32][]byte{}, counts: map[uint32]int{}, nonces: map[uint32][]byte{}}
			told := false
			liar.change = func(kind isakmp.ExchangeType, n int, plain []byte) []byte {
				if kind != isakmp.ExchangeQuick || n != 1 || told {
					return nil
				}
				if told, length = true, len(plain); at >= length || variant >= len(lies(at, plain)) {
					return nil
				}
				return lies(at, plain)[variant]
			}
			l.twist = liar.twist
			l.begin()
			l.advance(time.Second)
			l.twist = nil
			l.a.step(ike.Terminate{Peer: "b"})
			l.advance(10 * time.Minute)
			if l.nobodyLeft(); t.Failed() {
				t.Fatalf("octet %d, lie %d", at, variant)
			}
		}
	}
}
