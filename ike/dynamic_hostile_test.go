package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// Of what a stranger asks for it gets what is between the two hosts: it speaks with the gateway and not past it.
func TestStrangerAsksForMore(t *testing.T) {
	host := func(a netip.Addr) policy.AddrRange { return policy.HostRange(a) }
	for name, c := range map[string]struct{ asked, gets []policy.Selector }{
		"everything":             {[]policy.Selector{selector("0.0.0.0/0", "0.0.0.0/0")}, between(addrB, addrA)},
		"our network":            {[]policy.Selector{selector("192.0.2.1/32", "10.2.0.0/24")}, nil},
		"its network":            {[]policy.Selector{selector("10.1.0.0/24", "192.0.2.2/32")}, nil},
		"another host beside it": {[]policy.Selector{selector("192.0.2.0/24", "192.0.2.0/24")}, between(addrB, addrA)},
		"one protocol": {[]policy.Selector{{Local: host(addrA), Remote: host(addrB), Protocol: 6, LocalPort: policy.AnyPort, RemotePort: policy.PortRange{First: 80, Last: 80}}},
			[]policy.Selector{{Local: host(addrB), Remote: host(addrA), Protocol: 6, LocalPort: policy.PortRange{First: 80, Last: 80}, RemotePort: policy.AnyPort}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, func(a *Config) { a.Peers[0].Children[0].Selectors = c.asked }, answering(template(t)))
			l.begin()
			l.run()
			if c.gets != nil {
				l.letIn()
			}
			for _, sa := range l.b.inbound {
				if !slices.Equal(sa.Selectors, c.gets) {
					t.Errorf("gets %v, expected %v", sa.Selectors, c.gets)
				}
			}
			if c.gets == nil && (len(l.b.inbound) != 0 || l.b.count(Failed, FailSelectors) == 0) {
				t.Errorf("%d SAs, expected none\n%s", len(l.b.inbound), l.b.story())
			}
		})
	}
}

// Who cannot be let in is told no more than any peer, and leaves nothing.
func TestStrangersNotLetIn(t *testing.T) {
	other := func(c *Config) {
		c.Peers[0].Name, c.Peers[0].Remote, c.Peers[0].RemoteID = "other", netip.MustParseAddr("192.0.2.9"), Identity{Type: wire.IDFQDN, Data: "other.example"}
		c.DefaultResponse = []Peer{template(t)}
	}
	for name, c := range map[string]struct {
		changeA, changeB func(*Config)
		nat              bool
		kind             FactKind
		reason           Reason
	}{
		"another key":                         {func(c *Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) }, answering(template(t)), false, Failed, AuthKey},
		"a certificate":                       {certified("p256", ""), answering(template(t)), false, Failed, AuthOtherMethod},
		"another's name":                      {func(c *Config) { c.Peers[0].LocalID = Identity{Type: wire.IDFQDN, Data: "OTHER.example"} }, other, false, Failed, AuthIdentity},
		"asks for another":                    {func(c *Config) { c.Peers[0].RemoteID = Identity{Type: wire.IDFQDN, Data: "b.example"} }, answering(template(t)), false, Failed, AuthIdentity},
		"behind a NAT":                        {nil, answering(template(t)), true, Failed, FailAddress},
		"no place":                            {nil, both(answering(template(t)), func(c *Config) { c.Limits.Dynamic = -1 }), false, Refused, RefuseDynamic},
		"with the address of a peer of IKEv1": {nil, func(c *Config) { c.Peers[0].Version, c.DefaultResponse = V1, []Peer{template(t)} }, false, Dropped, DropNoPolicy},
		"no common algorithm":                 {func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha256-ecp256") }, answering(template(t)), false, Failed, FailProposal},
		"with a peer's own address": {nil, func(c *Config) { // whose rule says otherwise
			c.Peers[0].PSK, c.DefaultResponse = crypto.NewSecret([]byte("battery staple")), []Peer{template(t)}
		}, false, Failed, AuthKey},
		"to another address of ours": {nil, func(c *Config) {
			c.Peers[0].Local, c.DefaultResponse = netip.MustParseAddr("192.0.2.77"), []Peer{template(t)}
		}, false, Dropped, DropNoPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, both(hosts, func(a *Config) {
				if c.changeA != nil {
					c.changeA(a)
				}
			}), c.changeB)
			if c.nat {
				l.nat = func(from netip.AddrPort) netip.AddrPort {
					return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.5"), from.Port()+1000)
				}
			}
			l.a.step(Tick{})
			l.advance(beliefTime)
			if l.b.count(c.kind, c.reason) == 0 || l.b.count(IKEEstablished, "") != 0 || len(l.b.dynamic) != 0 {
				t.Errorf("expected %v %s\n%s", c.kind, c.reason, l.b.story())
			}
			l.a.step(Terminate{Peer: "b"})
			l.advance(2 * time.Minute)
			if len(l.b.engine.sas) != 0 || l.b.engine.strangers.halfOpen != 0 {
				t.Error("an IKE SA is left")
			}
		})
	}
}

// Nobody is let in by our own name.
func TestStrangerSaysToBeUs(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.a.engine.byName["b"].cfg.LocalID = AddressIdentity(addrB)
	l.begin()
	l.advance(beliefTime)
	l.b.expect(Failed, AuthIdentity, 1)
	l.b.expect(IKEEstablished, "", 0)
}

// Certificates of strangers take half of the checks, however many strangers there are: what peers of the configuration bring is looked at as ever.
func TestStrangersChecks(t *testing.T) {
	c := Config{Peers: []Peer{template(t)}}
	certified("rsa2048", "p256")(&c)
	l := join(t, both(hosts, certified("p256", "rsa2048")), answering(c.Peers...))
	l.b.mute = true
	for i := range 50 {
		from := floodAddress(i)
		stranger := join(t, both(hosts, certified("p256", "rsa2048"), func(a *Config) { a.Random = seeded(byte(i)); a.Peers[0].Local = from; hosts(a) }), nil).a
		stranger.step(Tick{})
		for range 3 {
			if len(stranger.link.wire) == 0 {
				break
			}
			p := stranger.link.wire[0]
			stranger.link.wire = nil
			for _, s := range answers(l.b.step(Datagram{Local: p.dest, Remote: p.source, Payload: p.payload})) {
				stranger.step(Datagram{Local: s.Remote, Remote: s.Local, Payload: s.Payload})
			}
		}
		l.wire = nil
		l.now = l.now.Add(100 * time.Millisecond)
	}
	if limit := l.b.engine.limits.Checks / 2; len(l.b.checks) != limit || l.b.count(Refused, RefuseChecks) != 50-limit {
		t.Errorf("%d checks under way and %d refused, expected %d and %d\n%s", len(l.b.checks), l.b.count(Refused, RefuseChecks), limit, 50-limit, l.b.story())
	}
}

// floodAddress is the i-th of many.
func floodAddress(i int) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}) }

// Ten thousand strangers, each at its own address. Without cookies they get one each and leave nothing; those that return theirs take half of the half-open
// places and a share of our time, and a peer of the configuration connects among them.
func TestManyStrangers(t *testing.T) {
	l := join(t, nil, func(c *Config) { c.DefaultResponse = []Peer{template(t)} })
	request := initFrom(t, 9)
	cookies := 0
	for i := range 10000 {
		if notified(t, answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(floodAddress(i), 500), Payload: request})), wire.NotifyCookie) {
			cookies++
		}
		l.wire = nil
	}
	s := &l.b.engine.strangers
	if cookies != 10000 || len(l.b.engine.sas)+s.asking.Kept()+s.halfOpen+len(l.b.engine.inits) != 0 {
		t.Errorf("%d cookies, %d IKE SAs, %d addresses noted", cookies, len(l.b.engine.sas), s.asking.Kept())
	}
	answered := 0
	for i := range 10000 {
		from := at(floodAddress(i), 500)
		for _, sent := range answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: from, Payload: request})) {
			demand, err := wire.Parse(sent.Payload)
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.Parse(request)
			if err != nil {
				t.Fatal(err)
			}
			m.Payloads = slices.Insert(m.Payloads, 0, demand.Payloads[0])
			again, err := m.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			answered += len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: from, Payload: again})))
		}
		l.wire = nil
		if i%100 == 99 {
			l.now = l.now.Add(100 * time.Millisecond)
		}
	}
	limits := l.b.engine.limits
	if most := 4*limits.StrangerInits + 10*limits.StrangerInits; answered == 0 || answered > most || s.halfOpen > limits.HalfOpen/2 || s.asking.Kept() > maxAsking {
		t.Errorf("%d of 10000 went on, expected at most %d; %d half-open, %d addresses noted", answered, most, s.halfOpen, s.asking.Kept())
	}
	l.begin()
	l.run()
	l.b.expect(IKEEstablished, "", 1)
	l.now = l.now.Add(time.Minute)
	l.b.step(Tick{})
	if s.halfOpen != 0 {
		t.Errorf("%d half-open IKE SAs after a minute", s.halfOpen)
	}
}

// What is no IKE_SA_INIT of ours to answer gets silence from strangers, rule or not: there is nothing that they could have lost.
func TestStrangersGetNoErrors(t *testing.T) {
	l := join(t, nil, answering(template(t)))
	newer, critical, lost := initFrom(t, 9), initFrom(t, 9), initFrom(t, 9)
	newer[17] = 0x30
	lost[18] = byte(wire.ExchangeInformational)
	lost[19] = 0x08
	critical[16], critical[29] = 200, 0x80
	for name, payload := range map[string][]byte{"newer version": newer, "unknown critical payload": critical, "unknown IKE SA": lost, "short": newer[:20]} {
		if got := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: stranr, Payload: payload})); len(got) != 0 {
			t.Errorf("%s: answered", name)
		}
	}
	l.nobodyLeft()
}

// Whoever holds the key may send anything in IKE_AUTH: nothing of what it breaks stays.
func TestBrokenStrangers(t *testing.T) {
	for i, more := 0, true; more; i++ {
		l := join(t, hosts, answering(template(t)))
		b := l.breakOne("a: IKE_AUTH request 1", i)
		l.begin()
		l.run()
		l.a.step(Terminate{Peer: "b"})
		l.advance(10 * time.Minute)
		if l.nobodyLeft(); t.Failed() || !b.done {
			t.Fatalf("%s", b.name)
		}
		more = b.more
	}
}
