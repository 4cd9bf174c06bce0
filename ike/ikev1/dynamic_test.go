package ikev1

import (
	"crypto/elliptic"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/policy"
)

// template is what b answers strangers by: a's key.
func template(t testing.TB) ike.Peer {
	return ike.Peer{Name: "strangers", Version: ike.V1, PSK: crypto.NewSecret([]byte("correct horse")), IKEProposals: ikeProposals(t, "aes128-sha256-ecp256"),
		Children: []ike.Child{{Name: "strangers", Start: ike.StartOnDemand, ReplayWindow: 64}}}
}

// certified is a template by certificates.
func certified(t testing.TB, curve elliptic.Curve) ike.Peer {
	c := ike.Config{Peers: []ike.Peer{template(t)}}
	signedBy(t, ecdsaKey(t, curve))(&c)
	c.Peers[0].PSK = crypto.Secret{}
	return c.Peers[0]
}

// answering has b answer strangers by templates, and know nobody else.
func answering(templates ...ike.Peer) func(*ike.Config) {
	return func(c *ike.Config) { c.Peers, c.DefaultResponse = nil, templates }
}

func between(local, remote netip.Addr) []policy.Selector {
	return []policy.Selector{{Local: policy.HostRange(local), Remote: policy.HostRange(remote), LocalPort: policy.AnyPort, RemotePort: policy.AnyPort}}
}

// hosts has a protect what goes between the two hosts.
func hosts(c *ike.Config) {
	p := &c.Peers[0]
	p.Children[0].Selectors = between(p.Local, p.Remote)
}

// inTransport has it do so in transport mode.
func inTransport(c *ike.Config) {
	hosts(c)
	c.Peers[0].Children[0].Transport = true
}

func all(changes ...func(*ike.Config)) func(*ike.Config) {
	return func(c *ike.Config) {
		for _, change := range changes {
			change(c)
		}
	}
}

const dynamicA = "dynamic:192.0.2.1"

// letIn insists on one dynamic peer at b, a, with one pair of IPsec SAs in use at both ends. ISAKMP SAs that others have replaced live on.
func (l *link) letIn() {
	l.t.Helper()
	infos := l.b.engine.Snapshot()
	if l.settledAt(l.b, len(infos), 1); len(infos) == 0 {
		l.t.Fatalf("nobody is let in\n%s", l.b.story())
	}
	var children []ike.ChildInfo
	for _, info := range infos {
		children = append(children, info.Children...)
	}
	others := slices.ContainsFunc(infos, func(i ike.SAInfo) bool { return i.Peer != dynamicA })
	carried := slices.ContainsFunc(infos, func(i ike.SAInfo) bool { return i.State == "established" })
	if others || !carried || len(children) != 1 || children[0].Name != dynamicA || l.b.cells[dynamicA] == 0 || !maps.Equal(l.b.dynamic, map[string]bool{dynamicA: true}) {
		l.t.Fatalf("expected one peer with one pair, found %+v\n%s", infos, l.b.story())
	}
	lost, taken := l.lost, l.taken
	l.traffic()
	l.run()
	if l.lost != lost || l.taken != taken+2 {
		l.t.Fatalf("%d packets lost and %d taken of 2", l.lost-lost, l.taken-taken)
	}
}

// nobodyLeft insists on b as it was before anybody came.
func (l *link) nobodyLeft() {
	l.t.Helper()
	e := l.b.engine
	s := &e.strangers
	if len(l.b.dynamic)+len(s.peers)+len(e.byName)+len(e.byPath)+len(e.untaken)+len(e.sas)+len(e.asked)+len(e.children)+s.HalfOpen()+e.halfOpen.Entries()+len(l.b.allocated) != 0 ||
		e.timers.Len() > 0 {
		l.t.Errorf("left over: %v, %d peers, %d names, %d paths, %d notes, %d and %d ISAKMP SAs, %d pairs, %d half-open, %d timers\n%s", l.b.dynamic, len(s.peers),
			len(e.byName), len(e.byPath), len(e.untaken), len(e.sas), len(e.asked), len(e.children), s.HalfOpen(), e.timers.Len(), l.b.story())
	}
}

// S-009: a peer that no rule covers is answered by IKEv1: one ISAKMP SA, and one pair of IPsec SAs for the two hosts, in the mode that it asks for. It is let
// in before they are installed, keys are renewed at either end's wish, and when it goes nothing is left. S-059: which template answers is what the
// initiator's offer of authentication methods says.
func TestDefaultResponse(t *testing.T) {
	p256 := signedBy(t, ecdsaKey(t, elliptic.P256()))
	for name, c := range map[string]struct {
		changeA   func(*ike.Config)
		templates []ike.Peer
	}{
		"key":                   {hosts, []ike.Peer{template(t)}},
		"certificates":          {all(hosts, p256), []ike.Peer{certified(t, elliptic.P256())}},
		"certificates, or key":  {all(hosts, p256), []ike.Peer{template(t), certified(t, elliptic.P256())}},
		"key, or certificates":  {hosts, []ike.Peer{certified(t, elliptic.P256()), template(t)}},
		"of two keys the right": {all(hosts, p256), []ike.Peer{certified(t, elliptic.P384()), certified(t, elliptic.P256())}},
		"transport mode":        {inTransport, []ike.Peer{template(t)}},
		"either version":        {hosts, []ike.Peer{func() ike.Peer { p := template(t); p.Version = ike.VAny; return p }()}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := ike.ValidateDefaultResponse(c.templates); err != nil {
				t.Fatal(err)
			}
			l := join(t, c.changeA, answering(c.templates...))
			l.begin()
			settle := func(d time.Duration) {
				for l.run(); l.checks("") > 0; l.run() {
					continue
				}
				for until := l.now.Add(d); l.tick(until); l.run() {
					l.checks("")
				}
			}
			settle(0)
			l.letIn()
			for spi, sa := range l.b.inbound {
				if want := between(addrB, addrA); !slices.Equal(sa.Selectors, want) || sa.Transport != l.a.engine.peers[0].cfg.Children[0].Transport {
					t.Errorf("SPI %#x protects %v, transport mode %t, expected %v", spi, sa.Selectors, sa.Transport, want)
				}
			}
			l.a.step(ike.Rekey{Peer: "b", Child: "net"})
			settle(time.Minute)
			l.b.step(ike.Rekey{Peer: dynamicA, Child: dynamicA})
			settle(time.Minute)
			l.b.step(ike.Rekey{Peer: dynamicA})
			settle(time.Minute)
			if l.b.count(ike.IKEEstablished, "") != 2 {
				t.Errorf("%d ISAKMP SAs, expected another in place of the first\n%s", l.b.count(ike.IKEEstablished, ""), l.b.story())
			}
			l.letIn()
			l.a.step(ike.Terminate{Peer: "b"})
			settle(time.Minute)
			l.nobodyLeft()
			l.a.expect(ike.Failed, "", 0)
			l.b.expect(ike.Failed, "", 0)
		})
	}
}

// S-040, C-10: without the rule, and with one that answers IKEv2 alone, a stranger gets no answer, and is counted.
func TestDefaultResponseOff(t *testing.T) {
	of2 := template(t)
	of2.Version = ike.V2
	for name, templates := range map[string][]ike.Peer{"off": nil, "IKEv2": {of2}} {
		l := join(t, hosts, answering(templates...))
		l.begin()
		l.advance(20 * time.Second)
		if dropped := l.b.count(ike.Dropped, ike.DropNoPolicy); l.b.sends != 0 || dropped < 3 || dropped != len(l.b.facts) {
			t.Errorf("%s: %d datagrams sent, %d dropped\n%s", name, l.b.sends, dropped, l.b.story())
		}
		l.nobodyLeft()
	}
}

// Whichever datagram is lost, the tunnel comes up, and nobody is let in twice.
func TestDefaultResponseWithLosses(t *testing.T) {
	for lost := range messages {
		l := join(t, hosts, answering(template(t)))
		l.mishaps(func(n int, p packet) []packet {
			if n == lost+1 {
				return nil
			}
			return []packet{p}
		})
		l.begin()
		l.advance(2 * time.Minute)
		l.letIn()
		l.b.expect(ike.IKEEstablished, "", 1)
	}
}

// One peer of an address: another name there has to wait until the first has gone, and the same one, started anew, takes the place of its former self.
func TestDynamicPeerComesAgain(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	first := l.b.engine.Snapshot()[0].SPIr
	cfg := l.a.engine.cfg
	cfg.Random = seeded(5)
	l.a.boot(cfg)
	l.a.step(ike.Tick{})
	l.advance(time.Minute)
	l.letIn()
	if infos := l.b.engine.Snapshot(); len(infos) != 1 || infos[0].SPIr == first {
		t.Error("the former ISAKMP SA is still there")
	}
	cfg.Random, cfg.Peers = seeded(6), slices.Clone(cfg.Peers)
	cfg.Peers[0].LocalID = identityNamed(t, "somebody.example")
	l.a.boot(cfg)
	l.a.step(ike.Tick{})
	l.advance(10 * time.Second)
	if l.b.count(ike.Refused, ike.RefuseDynamic) == 0 || len(l.b.engine.strangers.peers) != 1 {
		t.Errorf("another name at the same address is let in beside the first\n%s", l.b.story())
	}
	l.advance(10 * time.Minute) // liveness checks find the first one dead
	l.letIn()
	if id := l.b.engine.Snapshot()[0].RemoteID; id != "somebody.example" {
		t.Errorf("the peer is %s", id)
	}
}

func identityNamed(t testing.TB, text string) ike.Identity {
	t.Helper()
	id, err := ike.ParseIdentity(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// An ISAKMP SA without a pair keeps a place for a moment only, a pair without an ISAKMP SA for as long as it lives (S-077); nothing is begun in its place.
func TestDynamicPeerEnds(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	l.b.step(ike.Terminate{Peer: dynamicA, Child: dynamicA})
	l.a.step(ike.Terminate{Peer: "b", Child: "net"})
	l.advance(20 * time.Second)
	if len(l.b.dynamic) != 1 || len(l.b.inbound) != 0 {
		t.Fatalf("peers %v, %d SAs\n%s", l.b.dynamic, len(l.b.inbound), l.b.story())
	}
	l.advance(20 * time.Second)
	l.nobodyLeft()
	l.b.step(ike.Initiate{Peer: dynamicA})
	l.b.step(ike.Acquire{Peer: dynamicA, Child: dynamicA})
	l.nobodyLeft()

	l.a.step(ike.Initiate{Peer: "b"})
	l.run()
	l.letIn()
	l.b.engine.strangers.peers[0].carrier().delete(ike.DeletedByPeer)
	l.b.step(ike.Rekey{Peer: dynamicA})
	l.b.step(ike.Rekey{Peer: dynamicA, Child: dynamicA})
	l.b.step(ike.Initiate{Peer: dynamicA})
	if len(l.b.engine.sas) != 0 || len(l.b.inbound) != 1 || len(l.b.dynamic) != 1 || len(l.b.engine.begun) != 0 {
		t.Errorf("%d ISAKMP SAs, %d inbound SAs, peers %v", len(l.b.engine.sas), len(l.b.inbound), l.b.dynamic)
	}
	l.a.step(ike.Terminate{Peer: "b"})
	l.advance(10 * time.Minute) // the pair is idle
	l.nobodyLeft()
}

// Another configuration: dynamic peers stay while their template does in what their SAs were made from, and go with it, with the address that they speak to,
// and where a peer of the configuration takes their place.
func TestReconfigureDefaultResponse(t *testing.T) {
	own := sideB(t).Peers
	own[0].Children[0].Selectors = between(addrB, addrA)
	changed := func(change func(*ike.Peer)) []ike.Peer {
		p := template(t)
		change(&p)
		return []ike.Peer{p}
	}
	for name, c := range map[string]struct {
		change ike.Reconfigure
		stays  bool
		after  func(*link) // when all is over
	}{
		"the same":         {ike.Reconfigure{DefaultResponse: []ike.Peer{template(t)}}, true, (*link).letIn},
		"other times":      {ike.Reconfigure{DefaultResponse: changed(func(p *ike.Peer) { p.DPDDelay, p.RekeyTime = time.Minute, time.Hour })}, true, (*link).letIn},
		"off":              {ike.Reconfigure{}, false, (*link).nobodyLeft},
		"another key":      {ike.Reconfigure{DefaultResponse: changed(func(p *ike.Peer) { p.PSK = crypto.NewSecret([]byte("battery staple")) })}, false, nil},
		"other algorithms": {ike.Reconfigure{DefaultResponse: changed(func(p *ike.Peer) { p.Children[0].Proposals = childProposals(t, "aes256gcm16") })}, false, nil},
		"address gone":     {ike.Reconfigure{DefaultResponse: []ike.Peer{template(t)}, Deaf: func(local netip.Addr) bool { return local == addrB }}, false, nil},
		"configured":       {ike.Reconfigure{Peers: own, DefaultResponse: []ike.Peer{template(t)}}, false, (*link).established},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, hosts, answering(template(t)))
			l.begin()
			l.run()
			l.letIn()
			l.b.step(c.change)
			if kept := len(l.b.inbound) == 1 && len(l.b.dynamic) == 1; kept != c.stays || !c.stays && len(l.b.inbound)+len(l.b.outbound)+len(l.b.dynamic) != 0 {
				t.Fatalf("%d SAs, peers %v, expected them to stay: %t\n%s", len(l.b.inbound), l.b.dynamic, c.stays, l.b.story())
			}
			if name == "off" {
				l.a.step(ike.Terminate{Peer: "b"})
			}
			l.advance(10 * time.Minute)
			if c.after != nil {
				c.after(l)
			}
		})
	}
}

// A stranger whom IKEv2 has let in is not let in a second time under the same name, and takes one of the places that both have together.
func TestDynamicPeerOfVersion2(t *testing.T) {
	l := join(t, hosts, all(answering(template(t)), func(c *ike.Config) { c.Limits.Dynamic = 2 }))
	l.b.step(ike.Carried{Peer: dynamicA, On: true})
	l.begin()
	l.advance(10 * time.Second)
	if l.b.count(ike.Refused, ike.RefuseCarried) == 0 || len(l.b.engine.sas) != 0 || l.b.sends != 0 {
		t.Errorf("not refused\n%s", l.b.story())
	}
	l.b.step(ike.Carried{Peer: dynamicA})
	others := []string{"dynamic:198.51.100.1", "dynamic:198.51.100.2"}
	for _, name := range others {
		l.b.step(ike.Carried{Peer: name, On: true})
	}
	l.advance(time.Minute)
	l.b.expect(ike.IKEEstablished, "", 0)
	if l.b.count(ike.Refused, ike.RefuseDynamic) == 0 {
		t.Errorf("a third of two\n%s", l.b.story())
	}
	l.b.step(ike.Carried{Peer: others[0]})
	l.advance(3 * time.Minute)
	l.letIn()
}

// A dynamic peer goes while a main mode is under way that was to be with it: whoever ends it is let in anew.
func TestDynamicPeerGoesDuringMainMode(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	l.a.step(ike.Rekey{Peer: "b"})
	for range 4 {
		l.deliver(0)
	}
	l.b.step(ike.Terminate{Peer: dynamicA})
	if len(l.b.dynamic) != 0 {
		t.Fatalf("peers %v", l.b.dynamic)
	}
	l.deliver(0) // message 5
	if !l.b.dynamic[dynamicA] {
		t.Errorf("not let in\n%s", l.b.story())
	}
	l.advance(time.Minute)
	l.letIn()
	l.a.step(ike.Terminate{Peer: "b"})
	l.advance(time.Minute)
	l.nobodyLeft()
}
