package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
	"sallyport/policy"
)

// icmp is a selector of ICMP between the two networks with what each side may send.
func icmp(local, remote policy.PortRange) policy.Selector {
	s := selector("10.1.0.0/24", "10.2.0.0/24")
	s.Protocol, s.LocalPort, s.RemotePort = protocolICMP, local, remote
	return s
}

// offered is the selectors that b agrees to when a asks for these, from what b is configured with.
func offered(t *testing.T, configured, asks []policy.Selector) (*link, []wire.Payload, []policy.Selector) {
	t.Helper()
	l := join(t, func(c *Config) { c.Peers[0].Childless = true; onDemand(c) }, func(c *Config) { c.Peers[0].Children[0].Selectors = mirrored(configured) })
	l.a.step(Initiate{Peer: "b", Child: "net"})
	for range 4 {
		l.deliver(0)
	}
	l.wire = nil
	l.a.engine.byName["b"].carrier().tasks.active = nil
	l.a.engine.byName["b"].carrier().tasks.nextSend--
	tsi, tsr := trafficSelectors(true, asks)
	answer := l.ask(wire.ExchangeCreateChildSA, offer(espProposals(t, "aes128gcm16"), spi4(0xa0001000)), &wire.Nonce{Data: make([]byte, 32)}, tsi, tsr)
	if len(l.b.inbound) == 0 {
		return l, answer, nil
	}
	return l, answer, mirrored(l.b.inbound[l.b.nextSPI].Selectors)
}

// S-065: a responder narrows types and codes of ICMP, which stand in the place of ports (RFC 7296 3.13.1), and says so in its answer. OPAQUE is a side
// that sends none (RFC 4301 4.4.1.1); of a protocol with ports it means fragments by themselves, which have no SA of their own here.
func TestNarrowingICMP(t *testing.T) {
	echo, reply := policy.PortRange{First: 8 << 8, Last: 8<<8 | 255}, policy.PortRange{First: 0, Last: 255}
	tcp := selector("10.1.0.0/24", "10.2.0.0/24")
	tcp.Protocol, tcp.LocalPort = 6, policy.OpaquePort
	all := []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")}
	for name, c := range map[string]struct{ configured, asks, expected []policy.Selector }{
		"types":           {all, []policy.Selector{icmp(echo, reply)}, []policy.Selector{icmp(echo, reply)}},
		"narrower":        {[]policy.Selector{icmp(echo, policy.AnyPort)}, []policy.Selector{icmp(policy.PortRange{First: 0, Last: 16 << 8}, reply)}, []policy.Selector{icmp(echo, reply)}},
		"one way":         {all, []policy.Selector{icmp(echo, policy.OpaquePort)}, []policy.Selector{icmp(echo, policy.OpaquePort)}},
		"nothing common":  {[]policy.Selector{icmp(echo, policy.AnyPort)}, []policy.Selector{icmp(reply, policy.AnyPort)}, nil},
		"fragments alone": {all, []policy.Selector{tcp}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, answer, got := offered(t, c.configured, c.asks)
			if !slices.Equal(got, c.expected) {
				t.Fatalf("agreed on %v, expected %v", got, c.expected)
			}
			if c.expected == nil {
				if wire.FindNotify(answer, wire.NotifyTSUnacceptable) == nil {
					t.Errorf("answer %v, expected TS_UNACCEPTABLE", answer)
				}
				return
			}
			tsi, tsr := trafficSelectors(true, c.expected)
			if got := wire.FindTS(answer, true); !slices.Equal(endpoints(got), endpoints(tsi)) || !slices.Equal(endpoints(wire.FindTS(answer, false)), endpoints(tsr)) {
				t.Errorf("answer has TSi %+v", got)
			}
		})
	}
}

// ADDITIONAL_TS_POSSIBLE says that the rest of an offer is another child's (RFC 7296 2.9).
func TestAdditionalTrafficIsSaid(t *testing.T) {
	for _, two := range []bool{false, true} {
		change := func(c *Config) {}
		if two {
			change = withVoice(true)
		}
		l := up(t, nil, change)
		_ = l
		everything, _ := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/16", "10.2.0.0/16")})
		_, there := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/16", "10.2.0.0/16")})
		l.advance(time.Minute)
		l.a.step(Expire{SPI: l.a.outbound[l.a.cells["net"]].PairSPI, Hard: true})
		l.deliver(0)
		l.deliver(0)
		l.a.engine.byName["b"].down = true
		l.run()
		answer := l.ask(wire.ExchangeCreateChildSA, offer(espProposals(t, "aes128gcm16"), spi4(0xa0001000)), &wire.Nonce{Data: make([]byte, 32)}, everything, there)
		if said := wire.FindNotify(answer, wire.NotifyAdditionalTSPossible) != nil; said != two || wire.Find[*wire.SA](answer) == nil {
			t.Errorf("with a second child %t: %v", two, answer)
		}
	}
}

// A peer that takes a single pair of addresses is asked for that of the packet that waits; without one there is nothing to ask for.
func TestSinglePairRequired(t *testing.T) {
	single := wire.NewNotify(wire.NotifySinglePairRequired, nil)
	p := &policy.Packet{Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.0.9"), Protocol: 17, SourcePort: 5, DestinationPort: 6, HasPorts: true}
	for _, c := range []struct {
		childless bool
		packet    *policy.Packet
	}{{true, p}, {false, p}, {true, nil}} {
		l := join(t, func(cfg *Config) { onDemand(cfg); cfg.Peers[0].Childless = c.childless }, nil)
		l.b.noSPI = true // no Child SA but that of the second request
		l.a.step(Acquire{Peer: "b", Child: "net", Packet: c.packet})
		for !l.childAnswered() {
			l.deliver(0)
		}
		l.substituteLast(single)
		l.b.noSPI = false
		l.run()
		if c.packet == nil {
			l.established()
			l.a.expect(Failed, FailSelectors, 1)
			continue
		}
		l.established("net")
		if got := l.a.engine.Snapshot()[0].Children[0].Selectors; len(got) != 1 || got[0].Local != policy.HostRange(p.Source) || got[0].RemotePort.First != 6 {
			t.Errorf("selectors %v, expected those of the packet", got)
		}
	}
}

// childAnswered reports whether b's answer to a's first request for a Child SA is the next datagram.
func (l *link) childAnswered() bool {
	return len(l.wire) > 0 && l.header(0).Response() && slices.ContainsFunc(l.b.facts, func(f Fact) bool { return f.Reason == RefuseSPI })
}

// substituteLast puts another notification in the place of the one in b's answer, which is the next datagram.
func (l *link) substituteLast(n *wire.Notify) {
	l.t.Helper()
	a := l.a.engine.lookup(l.header(0))
	m, err := a.open(Datagram{Local: l.wire[0].dest, Remote: l.wire[0].source, Payload: l.wire[0].payload})
	if err != nil {
		l.t.Fatal(err)
	}
	for i, p := range m.Payloads {
		if p, ok := p.(*wire.Notify); ok && p.Type == wire.NotifyNoAdditionalSAs {
			m.Payloads[i] = n
		}
	}
	b := l.b.engine.byName["a"].sas[0]
	answer := &message{sa: b, Message: wire.Message{Header: b.header(m.Exchange, m.MessageID, true), Payloads: m.Payloads}}
	sealed, err := b.seal(answer)
	if err != nil {
		l.t.Fatal(err)
	}
	l.wire[0].payload = sealed.datagrams[0]
}
