package ike

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

func TestFirstExchanges(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.expectWire("a: IKE_SA_INIT request 0")
	l.deliver(0)
	l.expectWire("b: IKE_SA_INIT response 0")
	l.deliver(0)
	l.expectWire("a: IKE_AUTH request 1")
	l.deliver(0)
	l.expectWire("b: IKE_AUTH response 1")
	l.deliver(0)
	l.expectWire()
	l.established("net")
	for _, n := range []*end{l.a, l.b} {
		n.expect(NegotiationStarted, "", 1)
		n.expect(IKEEstablished, "", 1)
		n.expect(ChildEstablished, "", 1)
	}
}

func TestAlgorithms(t *testing.T) {
	for _, c := range []struct{ ike, esp string }{
		{"aes128gcm16-prfsha256-modp2048", "aes128gcm16"},
		{"aes256gcm16-prfsha384-ecp384", "aes256gcm16"},
		{"aes256-sha256-ecp256", "aes256-sha256"},
		{"aes128-sha512-prfsha512-curve25519", "aes192-sha384"},
		{"aes128-sha1-prfsha256-curve25519", "aes128-sha1"},
		{"aes192gcm16-prfsha512-curve25519", "aes128gcm16-esn"},
	} {
		t.Run(c.ike+" "+c.esp, func(t *testing.T) {
			change := func(cfg *Config) {
				cfg.Peers[0].IKEProposals = ikeProposals(t, c.ike)
				cfg.Peers[0].Children[0].Proposals = espProposals(t, c.esp)
			}
			l := up(t, change, change)
			l.a.step(Rekey{Peer: "b", Child: "net"})
			l.run()
			l.a.step(Rekey{Peer: "b"})
			l.advance(time.Minute)
			l.established("net")
			info := l.a.engine.Snapshot()[0]
			suite, _ := crypto.ParseESPProposal(c.esp)
			if got := info.Children[0]; got.Suite != suite.Suites()[0].String() || got.ESN != slices.Contains(suite.ESN, crypto.ESNYes) {
				t.Errorf("Child SA has %s, ESN %t, expected %s", got.Suite, got.ESN, c.esp)
			}
		})
	}
}

// The order of preference is the responder's, as far as the offer goes.
func TestChoiceOfProposal(t *testing.T) {
	l := up(t, func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes128-sha256-curve25519", "aes256gcm16-aes128gcm16-prfsha256-curve25519-ecp256")
	}, func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes192gcm16-prfsha256-curve25519", "aes128gcm16-prfsha256-curve25519", "aes128-sha256-curve25519")
	})
	if got := l.a.engine.Snapshot()[0].Proposal; got != "aes128gcm16-prfsha256-curve25519" {
		t.Errorf("chose %s", got)
	}
}

// S-023: the peer sees the methods in the order in which they are configured, whichever that is: its refusal says what it saw.
func TestProposalsAreOfferedInOrder(t *testing.T) {
	for _, methods := range [][]string{{"aes256-sha256", "aes128gcm16", "aes256gcm16"}, {"aes256gcm16", "aes256-sha256", "aes128gcm16"}} {
		l := join(t, func(c *Config) { c.Peers[0].Children[0].Proposals = espProposals(t, methods...) },
			func(c *Config) { c.Peers[0].Children[0].Proposals = espProposals(t, "aes192gcm16") })
		l.begin()
		l.run()
		l.b.expect(Failed, FailProposal, 1)
		detail, from := l.b.failures()[0].Detail, 0
		for _, method := range methods {
			at := strings.Index(detail[from:], method)
			if at < 0 {
				t.Fatalf("offered %v, the peer says: %s", methods, detail)
			}
			from += at
		}
	}
}

// a: IKE_SA_INIT with KE of curve25519; b: INVALID_KE_PAYLOAD, ecp256; a: IKE_SA_INIT with that.
func TestInvalidKE(t *testing.T) {
	l := join(t, func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-curve25519-ecp256")
	}, func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp256")
	})
	l.begin()
	l.deliver(0)
	l.expectWire("b: IKE_SA_INIT response 0")
	if n := len(l.b.engine.sas); n != 0 {
		t.Errorf("b keeps %d IKE SAs for a refused group, expected none", n)
	}
	l.deliver(0)
	l.expectWire("a: IKE_SA_INIT request 0")
	l.run()
	l.established("net")
	l.b.expect(Failed, "", 0)
}

// beliefTime is how long an error in answer to IKE_SA_INIT waits for a better answer, and less than the shortest pause before another try.
const beliefTime = 500 * time.Millisecond

// A responder that wants one group after the other must not keep the initiator busy.
func TestInvalidKENeverAgreed(t *testing.T) {
	l := join(t, nil, func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp384") })
	l.begin()
	l.advance(beliefTime)
	l.a.expect(Failed, FailProposal, 1)
	l.consistent()
}

func TestFailures(t *testing.T) {
	fqdn := func(name string) Identity { return Identity{Type: wire.IDFQDN, Data: name} }
	for name, c := range map[string]struct {
		changeA, changeB func(*Config)
		reasonA, reasonB Reason
	}{
		"no common proposal": {
			changeB: func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes256-sha256-curve25519") },
			reasonA: FailProposal, reasonB: FailProposal},
		"other key": {
			changeB: func(c *Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("battery staple")) },
			reasonA: FailAuthentication, reasonB: AuthKey},
		"initiator is somebody else": {
			changeA: func(c *Config) { c.Peers[0].LocalID = fqdn("mallory.example") },
			reasonA: FailAuthentication, reasonB: AuthIdentity},
		"responder is somebody else": {
			changeB: func(c *Config) { c.Peers[0].LocalID = fqdn("mallory.example") },
			reasonA: FailAuthentication, reasonB: AuthIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, c.changeA, c.changeB)
			l.begin()
			l.advance(beliefTime)
			l.a.expect(Failed, c.reasonA, 1)
			l.b.expect(Failed, c.reasonB, 1)
			l.consistent()
			ours, theirs := l.a.engine.Snapshot()[0], l.b.engine.Snapshot()[0]
			if ours.Failure.Reason != c.reasonA || ours.PeerFailure != (Failure{}) {
				t.Errorf("a's snapshot says %+v, and of b's attempts %+v", ours.Failure, ours.PeerFailure)
			}
			if theirs.Failure != (Failure{}) {
				t.Errorf("b's snapshot says %+v, and it began nothing", theirs.Failure)
			}
			failed := l.a.facts[slices.IndexFunc(l.a.facts, func(f Fact) bool { return f.Kind == Failed })]
			if !failed.NextAttempt.After(l.now.Add(-beliefTime)) || failed.NextAttempt != ours.NextAttempt {
				t.Errorf("next attempt at %v says the fact, %v the snapshot", failed.NextAttempt, ours.NextAttempt)
			}
			// It is tried again, with growing pauses.
			l.advance(10 * time.Minute)
			if n := l.a.count(Failed, c.reasonA); n < 10 || n > 30 {
				t.Errorf("%d attempts in ten minutes, expected one a minute and some more at first", n)
			}
		})
	}
}

// A responder that does not hold the key answers as if it did: a must not believe it, and tell it so.
func TestInitiatorRejectsResponder(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	l.a.engine.byName["b"].cfg.PSK = crypto.NewSecret([]byte("battery staple")) // after AUTH was built with the right one
	l.run()
	l.a.expect(Failed, AuthKey, 1)
	l.b.expect(IKEEstablished, "", 1)
	l.b.expect(IKEDeleted, DeletedByPeer, 1)
	l.consistent()
}

// TS_UNACCEPTABLE and NO_PROPOSAL_CHOSEN in IKE_AUTH leave an IKE SA without children (RFC 7296 1.2).
func TestChildRefused(t *testing.T) {
	for reason, change := range map[Reason]func(*Config){
		FailSelectors: func(c *Config) {
			c.Peers[0].Children[0].Selectors = []policy.Selector{selector("10.9.0.0/24", "10.8.0.0/24")}
		},
		FailProposal: func(c *Config) { c.Peers[0].Children[0].Proposals = espProposals(t, "aes192-sha1") },
	} {
		t.Run(string(reason), func(t *testing.T) {
			l := join(t, nil, change)
			l.begin()
			l.run()
			l.established()
			l.a.expect(Failed, reason, 1)
			l.b.expect(Failed, reason, 1)
			l.advance(time.Minute) // further tries in CREATE_CHILD_SA
			l.established()
			if n := l.a.count(Failed, reason); n < 4 || n > 10 {
				t.Errorf("%d tries in a minute, expected some, with growing pauses", n)
			}
		})
	}
}

func TestNoSPI(t *testing.T) {
	l := join(t, nil, nil)
	l.b.noSPI = true
	l.begin()
	l.run()
	l.established()
	l.a.expect(Failed, FailNoAdditionalSAs, 1)
	l.b.expect(Refused, RefuseSPI, 1)
	l.b.noSPI = false
	l.advance(time.Minute)
	l.established("net")

	l = join(t, nil, nil)
	l.a.noSPI = true
	l.begin()
	l.run()
	l.a.expect(Refused, RefuseSPI, 1)
	l.a.noSPI = false
	l.advance(time.Minute)
	l.established("net")
}

// The responder narrows to what both allow (RFC 7296 2.9).
func TestNarrowing(t *testing.T) {
	tcp := func(local, remote string, port uint16) policy.Selector {
		s := selector(local, remote)
		s.Protocol, s.RemotePort = 6, policy.PortRange{First: port, Last: port}
		return s
	}
	for name, c := range map[string]struct{ a, b, expected []policy.Selector }{
		"responder is narrower": {
			a: []policy.Selector{selector("10.1.0.0/16", "10.2.0.0/16")}, b: []policy.Selector{selector("10.2.3.0/24", "10.1.0.0/16")},
			expected: []policy.Selector{selector("10.1.0.0/16", "10.2.3.0/24")}},
		"initiator is narrower": {
			a: []policy.Selector{selector("10.1.7.0/24", "10.2.0.0/16")}, b: []policy.Selector{selector("10.2.0.0/16", "10.1.0.0/16")},
			expected: []policy.Selector{selector("10.1.7.0/24", "10.2.0.0/16")}},
		"protocol and port": {
			a: []policy.Selector{selector("10.1.0.0/16", "10.2.0.0/16")}, b: mirrored([]policy.Selector{tcp("10.1.0.0/16", "10.2.0.0/16", 443)}),
			expected: []policy.Selector{tcp("10.1.0.0/16", "10.2.0.0/16", 443)}},
		"pairs, not every combination": {
			a:        []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24"), selector("10.1.1.0/24", "10.2.1.0/24")},
			b:        mirrored([]policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24"), selector("10.1.1.0/24", "10.2.1.0/24")}),
			expected: []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24"), selector("10.1.1.0/24", "10.2.1.0/24")}},
		"IPv6": {
			a: []policy.Selector{selector("2001:db8:1::/48", "2001:db8:2::/48")}, b: []policy.Selector{selector("2001:db8:2::/64", "2001:db8:1::/48")},
			expected: []policy.Selector{selector("2001:db8:1::/48", "2001:db8:2::/64")}},
	} {
		t.Run(name, func(t *testing.T) {
			l := up(t, func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = c.a }, func(cfg *Config) { cfg.Peers[0].Children[0].Selectors = c.b })
			if got := l.a.engine.Snapshot()[0].Children[0].Selectors; !sameSelectors(got, c.expected) {
				t.Errorf("selectors %v, expected %v", got, c.expected)
			}
		})
	}
}

// The first selectors are the waiting packet's own, and tell the responder which of two children is meant.
func TestAcquireNamesItsPacket(t *testing.T) {
	l := join(t, func(c *Config) {
		c.Peers[0].Children[0].Selectors = []policy.Selector{selector("10.1.0.0/16", "10.2.0.0/16")}
		c.Peers[0].Children[0].Start = StartOnDemand
	}, func(c *Config) {
		child := c.Peers[0].Children[0]
		child.Name, child.Selectors = "other", []policy.Selector{selector("10.2.1.0/24", "10.1.0.0/16")}
		c.Peers[0].Children = append(c.Peers[0].Children, child)
	})
	l.begin()
	l.run()
	l.expectWire()
	p := &policy.Packet{Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.1.9"), Protocol: 6, SourcePort: 4711, DestinationPort: 80, HasPorts: true}
	for range 100 {
		l.a.step(Acquire{Peer: "b", Child: "net", Packet: p})
	}
	l.expectWire("a: IKE_SA_INIT request 0") // one negotiation, however many packets wait
	l.run()
	l.consistent()
	got := l.b.engine.Snapshot()[0].Children
	if len(got) != 1 || got[0].Name != "other" {
		t.Fatalf("b has %v, expected the child the packet belongs to", got)
	}
}

func TestSeveralChildren(t *testing.T) {
	add := func(mirror bool) func(*Config) {
		return func(c *Config) {
			for name, s := range map[string]policy.Selector{"voice": selector("10.1.5.0/24", "10.2.5.0/24"), "admin": selector("10.1.6.0/24", "10.2.6.0/24")} {
				child := c.Peers[0].Children[0]
				child.Name, child.Selectors = name, []policy.Selector{s}
				if mirror {
					child.Selectors = mirrored(child.Selectors)
				}
				c.Peers[0].Children = append(c.Peers[0].Children, child)
			}
			slices.SortFunc(c.Peers[0].Children, func(x, y Child) int { return len(x.Name) - len(y.Name) })
			slices.SortFunc(c.Peers[0].Children[1:], func(x, y Child) int { return int(x.Name[0]) - int(y.Name[0]) })
		}
	}
	l := join(t, add(false), add(true))
	l.begin()
	l.run()
	l.established("admin", "net", "voice")
	l.a.step(Rekey{Peer: "b"})
	l.advance(time.Minute)
	l.established("admin", "net", "voice")
	l.b.step(Terminate{Peer: "a"})
	l.run()
	l.consistent()
}

// A request that comes again gets the same octets for an answer, and nothing is done twice.
func TestRetransmissionIsAnsweredIdentically(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	for range 2 { // IKE_SA_INIT, IKE_AUTH
		request := l.wire[0]
		l.deliver(0)
		first := l.wire[0].payload
		l.arrive(request)
		again := l.wire[1].payload
		if string(first) != string(again) {
			t.Errorf("%v: second answer differs from the first", l.header(0).Exchange)
		}
		l.wire = l.wire[:1]
		l.deliver(0)
	}
	l.established("net")
}

func TestDeterministic(t *testing.T) {
	record := func() (sent [][]byte) {
		l := join(t, nil, nil)
		l.begin()
		for len(l.wire) > 0 {
			sent = append(sent, l.wire[0].payload)
			l.deliver(0)
		}
		l.advance(24 * time.Hour)
		for _, ef := range append(l.a.effects, l.b.effects...) {
			if s, ok := ef.(Send); ok {
				sent = append(sent, s.Payload)
			}
		}
		return sent
	}
	if !slices.EqualFunc(record(), record(), slices.Equal) {
		t.Error("equal randomness and equal events gave other datagrams")
	}
}

func TestIPv6Peers(t *testing.T) {
	six := func(local, remote string) func(*Config) {
		return func(c *Config) {
			c.Peers[0].Local, c.Peers[0].Remote = netip.MustParseAddr(local), netip.MustParseAddr(remote)
		}
	}
	l := up(t, six("2001:db8::1", "2001:db8::2"), six("2001:db8::2", "2001:db8::1"))
	if info := l.b.engine.Snapshot()[0]; info.NATLocal || info.NATRemote || info.RemoteID != "2001:db8::1" {
		t.Errorf("%+v", info)
	}
	l.a.rekey(rekeyIKE)
	l.advance(time.Minute)
	l.established("net")
}

// One negotiation of two engines joined in memory, both ends counted: IKE_SA_INIT, IKE_AUTH, delete.
func BenchmarkNegotiation(b *testing.B) {
	l := join(b, nil, nil)
	for b.Loop() {
		l.a.step(Initiate{Peer: "b"})
		l.run()
		l.a.step(Terminate{Peer: "b"})
		l.run()
		l.a.facts, l.b.facts, l.a.effects, l.b.effects = nil, nil, nil, nil
	}
}
