package ike

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// template is what b answers strangers by: a's key.
func template(t testing.TB) Peer {
	return Peer{Name: "strangers", PSK: crypto.NewSecret([]byte("correct horse")), IKEProposals: ikeProposals(t, "aes128gcm16-prfsha256-curve25519"),
		Children: []Child{{Name: "strangers", ReplayWindow: 64}}}
}

// answering has b answer strangers by templates, and know nobody else.
func answering(templates ...Peer) func(*Config) {
	return func(c *Config) { c.Peers, c.DefaultResponse = nil, templates }
}

// hosts has a protect what goes between the two hosts.
func hosts(c *Config) {
	p := &c.Peers[0]
	p.Children[0].Selectors = between(p.Local, p.Remote)
}

const dynamicA = "dynamic:192.0.2.1"

// letIn insists on one dynamic peer at b, a, with one IKE SA and one Child SA in use at both ends.
func (l *link) letIn() {
	l.t.Helper()
	l.consistent()
	infos := l.b.engine.Snapshot()
	if len(infos) != 1 || infos[0].Peer != dynamicA || infos[0].State != "established" || len(infos[0].Children) != 1 || infos[0].Children[0].Name != dynamicA ||
		len(l.b.inbound) != 1 || l.b.cells[dynamicA] == 0 || !maps.Equal(l.b.dynamic, map[string]bool{dynamicA: true}) {
		l.t.Fatalf("expected one peer with one Child SA, found %+v\n%s", infos, l.b.story())
	}
}

// nobodyLeft insists on b as it was before anybody came.
func (l *link) nobodyLeft() {
	l.t.Helper()
	e := l.b.engine
	s := &e.strangers
	if len(l.b.dynamic)+len(s.peers)+len(e.byName)+len(e.byPath)+len(e.untaken)+len(e.sas)+len(e.children)+s.halfOpen+e.halfOpen.Total() != 0 || e.timers.Len() > 0 {
		l.t.Errorf("left over: %v, %d peers, %d names, %d paths, %d notes, %d IKE SAs, %d Child SAs, %d half-open, %d timers\n%s", l.b.dynamic, len(s.peers),
			len(e.byName), len(e.byPath), len(e.untaken), len(e.sas), len(e.children), s.halfOpen, e.timers.Len(), l.b.story())
	}
}

// S-009: a peer that no rule covers is answered: COOKIE first, then one IKE SA and one Child SA for the two hosts, in the mode that it asks for. It is let
// in before its SAs are installed, keys are renewed at either end's wish, and when it goes nothing is left.
func TestDefaultResponse(t *testing.T) {
	second := func(ours string, peers string) Peer {
		c := Config{Peers: []Peer{template(t)}}
		certified(ours, peers)(&c)
		return c.Peers[0]
	}
	for name, c := range map[string]struct {
		changeA   func(*Config)
		templates []Peer
	}{
		"key":                              {hosts, []Peer{template(t)}},
		"certificates":                     {both(hosts, certified("p256", "rsa2048")), []Peer{second("rsa2048", "p256")}},
		"certificates, or a key":           {both(hosts, certified("p256", "rsa2048")), []Peer{template(t), second("rsa2048", "p256")}},
		"a key, or certificates":           {hosts, []Peer{second("rsa2048", "p256"), template(t)}},
		"transport mode":                   {inTransport, []Peer{template(t)}},
		"a key exchange for each Child SA": {both(hosts, with(espProposals(t, "aes128gcm16-ecp256"))), []Peer{template(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "a key exchange for each Child SA" {
				c.templates[0].Children[0].Proposals = espProposals(t, "aes128gcm16-ecp256")
			}
			if err := ValidateDefaultResponse(c.templates); err != nil {
				t.Fatal(err)
			}
			l := join(t, c.changeA, answering(c.templates...))
			l.begin()
			l.deliver(0)
			l.expectWire("b: IKE_SA_INIT response 0")
			if len(l.b.engine.sas) != 0 || !notified(t, []Send{{Payload: l.wire[0].payload}}, wire.NotifyCookie) {
				t.Fatal("state for a stranger before it has returned a cookie")
			}
			l.run()
			l.letIn()
			for spi, sa := range l.b.inbound {
				if want := between(addrB, addrA); !slices.Equal(sa.Selectors, want) || sa.Transport != l.a.cfg.Peers[0].Children[0].Transport {
					t.Errorf("SPI %#x protects %v, transport mode %t, expected %v", spi, sa.Selectors, sa.Transport, want)
				}
			}
			l.a.rekey(rekeyChild)
			l.advance(time.Minute)
			l.b.step(Rekey{Peer: dynamicA, Child: dynamicA})
			l.advance(time.Minute)
			l.b.step(Rekey{Peer: dynamicA})
			l.a.rekey(rekeyIKE)
			l.advance(time.Minute)
			l.a.reauth()
			l.advance(3 * time.Minute)
			l.letIn()
			l.a.step(Terminate{Peer: "b"})
			l.advance(time.Minute)
			l.nobodyLeft()
			l.a.expect(Failed, "", 0)
			l.b.expect(Failed, "", 0)
		})
	}
}

// S-040, C-10: without the rule a stranger gets no answer, and is counted.
func TestDefaultResponseOff(t *testing.T) {
	l := join(t, hosts, answering())
	l.begin()
	l.advance(20 * time.Second)
	sent := 0
	for _, ef := range l.b.effects {
		if _, ok := ef.(Send); ok {
			sent++
		}
	}
	if dropped := l.b.count(Dropped, DropNoPolicy); sent != 0 || dropped < 3 || dropped != len(l.b.facts) {
		t.Errorf("%d datagrams sent, %d dropped\n%s", sent, dropped, l.b.story())
	}
	l.nobodyLeft()
}

// Whichever datagram is lost, the tunnel comes up, and nobody is let in twice.
func TestDefaultResponseWithLosses(t *testing.T) {
	for lost := range 7 {
		l := join(t, hosts, answering(template(t)))
		n := 0
		l.twist = func(_ *end, payload []byte) []byte {
			if n++; n == lost+1 {
				return nil
			}
			return payload
		}
		l.begin()
		l.advance(2 * time.Minute)
		l.letIn()
		l.b.expect(IKEEstablished, "", 1)
	}
}

// One peer of an address: another name there has to wait until the first has gone, and the same one, started anew, takes the place of its former self.
func TestDynamicPeerComesAgain(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	first := l.b.engine.Snapshot()[0].SPIr
	cfg := l.a.cfg
	l.a.boot(cfg)
	l.a.step(Tick{})
	l.advance(time.Minute)
	l.letIn()
	if l.b.engine.Snapshot()[0].SPIr == first {
		t.Error("the former IKE SA is still there")
	}
	cfg.Peers = slices.Clone(cfg.Peers)
	cfg.Peers[0].LocalID = Identity{Type: wire.IDFQDN, Data: "somebody.example"}
	l.a.boot(cfg)
	l.a.step(Tick{})
	l.advance(10 * time.Second)
	if l.b.count(Refused, RefuseDynamic) == 0 || len(l.b.engine.strangers.peers) != 1 {
		t.Errorf("another name at the same address is let in beside the first\n%s", l.b.story())
	}
	l.advance(10 * time.Minute) // liveness checks find the first one dead
	l.letIn()
	if id := l.b.engine.Snapshot()[0].RemoteID; id != "somebody.example" {
		t.Errorf("the peer is %s", id)
	}
}

// An IKE SA without a Child SA keeps a place for a moment only.
func TestDynamicPeerWithoutChild(t *testing.T) {
	l := join(t, func(c *Config) {
		c.Peers[0].Children[0].Start, c.Peers[0].Children[0].IdleTimeout = StartOnDemand, time.Minute
		hosts(c)
	}, answering(template(t)))
	l.begin()
	l.a.step(Acquire{Peer: "b", Child: "net"})
	l.run()
	l.letIn()
	l.advance(50 * time.Second)
	l.letIn()
	l.advance(15 * time.Second) // a ends its Child SA
	if len(l.b.inbound) != 0 || len(l.b.dynamic) != 1 {
		t.Fatalf("%d SAs, peers %v\n%s", len(l.b.inbound), l.b.dynamic, l.b.story())
	}
	l.b.step(Initiate{Peer: dynamicA}) // it may get another on the IKE SA that it has, and begins none
	l.advance(10 * time.Second)
	l.letIn()
	l.b.step(Terminate{Peer: dynamicA, Child: dynamicA})
	l.advance(time.Minute)
	l.nobodyLeft()
	l.b.step(Initiate{Peer: dynamicA})
	l.b.step(Acquire{Peer: dynamicA, Child: dynamicA})
	l.nobodyLeft()
}

// Another configuration: dynamic peers stay while their template does in what their SAs were made from, and go with it, with the address that they speak to,
// and where a peer of the configuration takes their place.
func TestReconfigureDefaultResponse(t *testing.T) {
	own := sideB(t).Peers
	for name, c := range map[string]struct {
		change Reconfigure
		stays  bool
		after  func(*link) // when all is over
	}{
		"the same":    {Reconfigure{DefaultResponse: []Peer{template(t)}}, true, (*link).letIn},
		"other times": {Reconfigure{DefaultResponse: []Peer{func() Peer { p := template(t); p.DPDDelay, p.RekeyTime = time.Minute, time.Hour; return p }()}}, true, (*link).letIn},
		"off":         {Reconfigure{}, false, (*link).nobodyLeft},
		"another key": {Reconfigure{DefaultResponse: []Peer{func() Peer { p := template(t); p.PSK = crypto.NewSecret([]byte("battery staple")); return p }()}}, false, nil},
		"other algorithms": {Reconfigure{DefaultResponse: []Peer{func() Peer {
			p := template(t)
			p.Children = []Child{{Name: "strangers", Proposals: espProposals(t, "aes256gcm16")}}
			return p
		}()}}, false, nil},
		"address gone": {Reconfigure{DefaultResponse: []Peer{template(t)}, Deaf: func(local netip.Addr) bool { return local == addrB }}, false, nil},
		"configured":   {Reconfigure{Peers: own, DefaultResponse: []Peer{template(t)}}, false, func(l *link) { l.established("net") }},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, hosts, answering(template(t)))
			l.begin()
			l.run()
			l.letIn()
			if name == "configured" {
				c.change.Peers[0].Children[0].Selectors = between(addrB, addrA)
			}
			l.b.step(c.change)
			if kept := len(l.b.inbound) == 1 && len(l.b.dynamic) == 1; kept != c.stays || !c.stays && len(l.b.inbound)+len(l.b.outbound)+len(l.b.dynamic) != 0 {
				t.Fatalf("%d SAs, peers %v, expected them to stay: %t\n%s", len(l.b.inbound), l.b.dynamic, c.stays, l.b.story())
			}
			if c.stays {
				l.b.expect(IKEDeleted, "", 0)
			}
			if name == "off" {
				l.a.step(Terminate{Peer: "b"})
			}
			l.advance(10 * time.Minute)
			if c.after != nil {
				c.after(l)
			}
		})
	}
}

// The template changes while a stranger's certificates are being looked at: who would be let in by the old one is not.
func TestReconfigureDuringCheckOfStranger(t *testing.T) {
	c := Config{Peers: []Peer{template(t)}}
	certified("rsa2048", "p256")(&c)
	for name, change := range map[string]Reconfigure{"off": {}, "configured": {Peers: sideB(t).Peers, DefaultResponse: c.Peers}, "the same": {DefaultResponse: c.Peers}} {
		t.Run(name, func(t *testing.T) {
			l := join(t, both(hosts, certified("p256", "rsa2048")), answering(c.Peers...))
			l.b.mute = true
			l.begin()
			l.run()
			if len(l.b.checks) != 1 || l.b.checks[0].Peer != "strangers" {
				t.Fatalf("checks %+v, expected one by the template", l.b.checks)
			}
			l.b.step(change)
			l.b.answer()
			if in := l.b.count(IKEEstablished, "") == 1; in != (name == "the same") || in != (len(l.b.dynamic) == 1) {
				t.Errorf("let in: %t\n%s", in, l.b.story())
			}
		})
	}
}

// Templates that could not tell whom they answer, or give it more than its own address, are refused.
func TestValidateDefaultResponse(t *testing.T) {
	for want, change := range map[string]func(*Peer){
		"no address":              func(p *Peer) { p.Remote = addrA },
		"no identity":             func(p *Peer) { p.RemoteID = AddressIdentity(addrA) },
		"no mobike":               func(p *Peer) { p.MOBIKE = true },
		"one child":               func(p *Peer) { p.Children = nil },
		"without selectors":       func(p *Peer) { p.Children[0].Selectors = between(addrB, addrA) },
		"pre-shared key is empty": func(p *Peer) { p.PSK = crypto.Secret{} },
		"rekey time":              func(p *Peer) { p.Children[0].RekeyTime = -1 },
		"proposal":                func(p *Peer) { p.IKEProposals = []crypto.IKEProposal{{}} },
	} {
		p := template(t)
		change(&p)
		if err := ValidateDefaultResponse([]Peer{p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected one with %q", err, want)
		}
	}
	if err := ValidateDefaultResponse([]Peer{template(t)}); err != nil {
		t.Error(err)
	}
}

// A stranger whom the other engine has let in is not let in a second time under the same name, and takes one of the places that both have together.
func TestDynamicPeerOfVersion1(t *testing.T) {
	l := join(t, hosts, both(answering(template(t)), func(c *Config) { c.Limits.Dynamic = 2 }))
	l.b.step(Carried{Peer: dynamicA, On: true})
	l.begin()
	l.advance(10 * time.Second)
	l.b.expect(IKEEstablished, "", 0)
	if l.b.count(Refused, RefuseCarried) == 0 || len(l.b.engine.sas) != 0 {
		t.Errorf("not refused\n%s", l.b.story())
	}
	l.b.step(Carried{Peer: dynamicA})
	others := []string{DynamicName(floodAddress(1)), DynamicName(floodAddress(2))}
	for _, name := range others {
		l.b.step(Carried{Peer: name, On: true})
	}
	l.advance(time.Minute)
	l.b.expect(IKEEstablished, "", 0)
	if l.b.count(Refused, RefuseDynamic) == 0 {
		t.Errorf("a third of two\n%s", l.b.story())
	}
	l.b.step(Carried{Peer: others[0]})
	l.advance(3 * time.Minute)
	l.letIn()
	l.b.step(Carried{Peer: dynamicA}) // of ours the other engine has no say
	if l.b.engine.strangers.Elsewhere(addrA) || len(l.b.engine.strangers.met) != 2 {
		t.Errorf("%d dynamic peers are known, expected 2", len(l.b.engine.strangers.met))
	}
}
