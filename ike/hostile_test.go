package ike

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// initFrom makes an acceptable IKE_SA_INIT request of somebody at the address of a.
func initFrom(t testing.TB, seed byte) []byte {
	t.Helper()
	l := join(t, func(c *Config) { c.Random = seeded(seed) }, nil)
	l.a.step(Tick{})
	return l.wire[0].payload
}

func at(address netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(address, port) }

// answers are the datagrams among effects.
func answers(effects []Effect) (list []Send) {
	for _, ef := range effects {
		if s, ok := ef.(Send); ok {
			list = append(list, s)
		}
	}
	return list
}

// S-040: silence for an address that no peer covers, whatever comes.
func TestNoPolicy(t *testing.T) {
	l := join(t, nil, nil)
	newer := initFrom(t, 9)
	newer[17] = 0x30
	protected := slices.Clone(newer)
	protected[16], protected[17], protected[18] = 46, 0x20, 37
	for _, payload := range [][]byte{initFrom(t, 9), newer, protected} {
		if got := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: stranr, Payload: payload})); len(got) != 0 {
			t.Errorf("answered a stranger")
		}
	}
	l.b.expect(Dropped, DropNoPolicy, 3)
	if len(l.b.engine.sas) != 0 {
		t.Error("state for a stranger")
	}
}

// S-085: 36 initial messages of one address without an IKE SA, over 36 ports: 35 are answered.
func TestLimitNew(t *testing.T) {
	// Without cookies, which by default begin before this limit does.
	l := join(t, nil, func(c *Config) { c.Limits.CookieThreshold = 64 })
	answered := 0
	for i := range 36 {
		answered += len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 1000+uint16(i)), Payload: initFrom(t, byte(100+i))})))
	}
	if answered != 35 {
		t.Errorf("%d of 36 answered, expected 35", answered)
	}
	l.b.expect(Refused, RefuseNew, 1)
	// S-086: a slot is free again when one times out.
	l.now = l.now.Add(31 * time.Second)
	l.b.step(Tick{})
	if got := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 999), Payload: initFrom(t, 99)})); len(got) != 1 {
		t.Error("no answer after all others have timed out")
	}
}

// S-084: with an established IKE SA, 5 for each address and port, if it returns the cookies that the last of them are asked for.
func TestLimitEstablished(t *testing.T) {
	l := up(t, nil, nil)
	accepted := 0
	for i := range 6 {
		if l.proven(initFrom(t, byte(100+i))) {
			accepted++
		}
	}
	if accepted != 5 {
		t.Errorf("%d of 6 accepted, expected 5", accepted)
	}
	l.b.expect(Refused, RefuseEstablished, 1)
	l.advance(time.Minute)
	l.established("net")
}

// a: IKE_SA_INIT; b: COOKIE, and nothing kept; a: IKE_SA_INIT with the cookie; and so on, with INVALID_KE_PAYLOAD between them as well.
func TestCookie(t *testing.T) {
	l := join(t, func(c *Config) {
		c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-curve25519-ecp256")
	}, func(c *Config) {
		c.Limits.CookieThreshold = -1
		c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp256")
	})
	l.begin()
	l.deliver(0)
	if len(l.b.engine.sas) != 0 || l.b.count(Refused, RefuseCookie) != 1 {
		t.Error("state before the cookie")
	}
	l.run()
	l.established("net")
}

func TestCookieIsBoundToItsRequest(t *testing.T) {
	l := join(t, nil, func(c *Config) { c.Limits.CookieThreshold = -1 })
	l.begin()
	l.deliver(0)
	l.deliver(0)
	request := l.wire[0]
	ask := func(remote netip.AddrPort, payload []byte, later time.Duration) bool {
		l.now = l.now.Add(later)
		sent := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: remote, Payload: payload}))
		m, err := wire.Parse(sent[0].Payload)
		return err == nil && wire.FindNotify(m.Payloads, wire.NotifyCookie) != nil
	}
	if !ask(at(addrA, 501), request.payload, 0) {
		t.Error("the cookie is good for another port")
	}
	tampered := slices.Clone(request.payload)
	tampered[0] ^= 1
	if !ask(request.source, tampered, 0) {
		t.Error("the cookie is good for another SPI")
	}
	if !ask(request.source, request.payload, 2*time.Minute) {
		t.Error("the cookie is good for ever")
	}
}

// A flood in the peer's name costs no Diffie-Hellman computation and no memory beyond the limits, and the peer still gets in.
func TestFlood(t *testing.T) {
	l := join(t, nil, nil)
	template := initFrom(t, 50)
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		forged := slices.Clone(template)
		binary.BigEndian.PutUint64(forged, r.Uint64()|1)
		l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, uint16(r.Uint32())), Payload: forged})
	}
	e := l.b.engine
	most := e.limits.CookieThreshold
	if len(e.sas) > most || len(e.inits) > most || len(e.departed.order) > 0 || e.timers.Len() > most+12 || e.halfOpen.Entries() > 2*most {
		t.Errorf("%d IKE SAs, %d requests, %d farewells, %d timers kept", len(e.sas), len(e.inits), len(e.departed.order), e.timers.Len())
	}
	l.wire, l.b.facts, l.b.effects = nil, nil, nil
	l.begin()
	l.run()
	if len(l.a.cells) != 1 {
		t.Error("the peer is locked out")
	}
	l.advance(time.Minute)
	l.established("net")
}

func TestMajorVersion(t *testing.T) {
	l := join(t, nil, nil)
	request := initFrom(t, 9)
	for major, answer := range map[byte]bool{3: true, 15: true, 1: false, 0: false} {
		request[17] = major << 4
		got := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: request}))
		if len(got) > 0 != answer {
			t.Errorf("version %d: %d answers", major, len(got))
		}
		for _, s := range got {
			m, err := wire.Parse(s.Payload)
			if err != nil || wire.FindNotify(m.Payloads, wire.NotifyInvalidMajorVersion) == nil || !m.Response() || m.MessageID != 0 {
				t.Errorf("version %d: answer %v, %v", major, m, err)
			}
		}
	}
}

// Error replies to unprotected messages are few, however many of those come.
func TestUnprotectedRepliesAreLimited(t *testing.T) {
	l := join(t, nil, nil)
	request := initFrom(t, 9)
	request[17] = 0x30
	total := 0
	for range 1000 {
		total += len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: request})))
	}
	if total != 10 {
		t.Errorf("%d answers within a moment, expected 10", total)
	}
	l.b.expect(Refused, RefuseRate, 990)
}

// probe is a request of the test's own within an IKE SA.
type probe struct {
	payloads []wire.Payload
	answer   []wire.Payload
}

func (p *probe) build(m *message) error   { m.add(p.payloads...); return nil }
func (p *probe) process(m *message) error { p.answer = m.Payloads; return nil }
func (p *probe) abandon()                 {}

// ask sends payloads from a to b within their IKE SA and returns the answer.
func (l *link) ask(kind wire.ExchangeType, payloads ...wire.Payload) []wire.Payload {
	p := &probe{payloads: payloads}
	e := l.a.engine
	e.now, e.effects = l.now, nil
	e.byName["b"].carrier().tasks.enqueue(kind, p)
	for _, ef := range e.effects {
		l.a.do(ef)
	}
	l.run()
	return p.answer
}

// An unknown critical payload refuses its request and leaves the IKE SA alone; an unknown one that is not critical is ignored (RFC 7296 2.5).
func TestUnknownPayloads(t *testing.T) {
	l := up(t, nil, nil)
	answer := l.ask(wire.ExchangeInformational, &wire.Unknown{Type: 200, Critical: true, Body: []byte("x")})
	if n := wire.FindNotify(answer, wire.NotifyUnsupportedCriticalPayload); n == nil || len(n.Data) != 1 || n.Data[0] != 200 {
		t.Errorf("answer %v, expected UNSUPPORTED_CRITICAL_PAYLOAD of 200", answer)
	}
	if answer := l.ask(wire.ExchangeInformational, &wire.Unknown{Type: 200, Body: []byte("x")}); len(answer) != 0 {
		t.Errorf("answer %v to an unknown payload, expected an empty one", answer)
	}
	l.advance(time.Minute)
	l.established("net")

	l = join(t, nil, nil)
	request := initFrom(t, 9)
	withCritical := append(slices.Clone(request), 0, 0x80, 0, 4)
	withCritical[16], withCritical[len(request)] = 200, request[16]
	copy(withCritical[32:], request[28:])
	copy(withCritical[28:], []byte{request[16], 0x80, 0, 4})
	binary.BigEndian.PutUint32(withCritical[24:], uint32(len(withCritical)))
	got := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: withCritical}))
	if len(got) != 1 {
		t.Fatalf("%d answers to IKE_SA_INIT with an unknown critical payload, expected 1", len(got))
	}
	if m, err := wire.Parse(got[0].Payload); err != nil || wire.FindNotify(m.Payloads, wire.NotifyUnsupportedCriticalPayload) == nil {
		t.Errorf("answer %v, %v", m, err)
	}
	if len(l.b.engine.sas) != 0 {
		t.Error("state for a refused request")
	}
}

// Bad syntax inside an authenticated message: INVALID_SYNTAX, and the IKE SA ends on both sides (RFC 7296 2.21.3).
func TestInvalidSyntaxInside(t *testing.T) {
	l := up(t, nil, nil)
	l.ask(wire.ExchangeInformational, &wire.Nonce{Data: make([]byte, 32)}) // has no place there
	l.b.expect(Failed, FailSyntax, 1)
	l.a.expect(Failed, FailSyntax, 1)
	if len(l.b.engine.sas)+len(l.a.engine.sas) != 0 {
		t.Error("the IKE SA goes on")
	}
	l.advance(2 * time.Minute)
	l.established("net")
}

// Unauthenticated claims that an SA is unknown cause a liveness check now and then, and never the end of anything.
func TestSpoofedHints(t *testing.T) {
	l := up(t, nil, nil)
	sa := l.a.engine.byName["b"].carrier()
	h := sa.header(wire.ExchangeInformational, 0, true)
	h.Flags ^= wire.FlagInitiator
	invalidIKE, _ := (&wire.Message{Header: h, Payloads: []wire.Payload{wire.NewNotify(wire.NotifyInvalidIKESPI, nil)}}).Marshal()
	outside := wire.Header{InitiatorSPI: 77, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator}
	invalidSPI, _ := (&wire.Message{Header: outside, Payloads: []wire.Payload{wire.NewNotify(wire.NotifyInvalidSPI, spi4(sa.children[0].spiOut))}}).Marshal()
	h.Flags &^= wire.FlagResponse
	h.MessageID = sa.tasks.nextReceive
	deleteIKE, _ := (&wire.Message{Header: h, Payloads: []wire.Payload{&wire.Delete{Protocol: wire.ProtocolIKE}}}).Marshal()
	checks := 0
	for range 1000 {
		for _, payload := range [][]byte{invalidIKE, invalidSPI, deleteIKE} {
			l.a.step(Datagram{Local: at(addrA, 500), Remote: at(addrB, 500), Payload: payload})
		}
		checks += len(l.wire)
		l.run()
		l.now = l.now.Add(10 * time.Millisecond)
	}
	l.established("net")
	if checks == 0 || checks > 3 {
		t.Errorf("%d liveness checks in 10 s, expected one or two", checks)
	}
}

// Message ids outside the window are dropped, replays of old messages too (RFC 7296 2.2 and 2.3).
func TestMessageIDs(t *testing.T) {
	l := join(t, nil, nil)
	var all []packet
	l.begin()
	for len(l.wire) > 0 {
		all = append(all, l.wire[0])
		l.deliver(0)
	}
	l.a.rekey(rekeyChild)
	l.a.rekey(rekeyIKE)
	for len(l.wire) > 0 {
		all = append(all, l.wire[0])
		l.deliver(0)
	}
	l.advance(time.Minute)
	before := len(l.a.inbound)
	for range 3 {
		for _, p := range all {
			l.arrive(p)
		}
	}
	l.wire = nil // answers to replays
	l.advance(2 * time.Minute)
	l.established("net")
	if len(l.a.inbound) != before || l.a.count(Dropped, DropMessageID)+l.b.count(Dropped, DropUnknownSPI) == 0 {
		t.Error("replays changed something, or were not counted")
	}
}

// Rubbish of all kinds: no panic, no state, no end of what is there.
func TestRubbish(t *testing.T) {
	l := up(t, nil, nil)
	r := rand.New(rand.NewPCG(3, 4))
	samples := [][]byte{initFrom(t, 9), forgedRequest(l.b), forgedRequest(l.a)}
	for i := range 30000 {
		b := slices.Clone(samples[i%len(samples)])
		switch i % 4 {
		case 0:
			b = b[:r.IntN(len(b)+1)]
		case 1:
			b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
		case 2:
			binary.BigEndian.PutUint16(b[r.IntN(len(b)-1):], uint16(r.Uint32()))
		case 3:
			for j := 28; j < len(b); j++ {
				b[j] = byte(r.Uint32())
			}
		}
		if r.IntN(2) == 0 && len(b) >= 28 {
			binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
		}
		for _, n := range []*end{l.a, l.b} {
			local, remote := addrA, addrB
			if n == l.b {
				local, remote = addrB, addrA
			}
			n.step(Datagram{Local: at(local, 500), Remote: at(remote, 500), Payload: b})
		}
	}
	for _, n := range []*end{l.a, l.b} {
		if e := n.engine; len(e.sas) > 1+5 || e.timers.Len() > 40 {
			t.Errorf("%s: %d IKE SAs, %d timers", n.name, len(e.sas), e.timers.Len())
		}
	}
	l.wire = nil
	l.advance(2 * time.Minute)
	l.established("net")
}

// IKE_AUTH rubbish after a good IKE_SA_INIT ends nothing but its own half-open IKE SA, by time.
func TestAuthRubbish(t *testing.T) {
	l := join(t, nil, nil)
	l.begin()
	l.deliver(0)
	l.deliver(0)
	good := l.wire[0]
	for i := range good.payload[28:] {
		bad := good
		bad.payload = slices.Clone(good.payload)
		bad.payload[28+i] ^= 0x40
		l.wire = nil
		l.arrive(bad)
		if len(l.wire) != 0 {
			t.Fatalf("octet %d changed: answered", 28+i)
		}
	}
	l.arrive(good)
	l.run()
	l.established("net")
}

func TestChildrenLimit(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Limits.ChildrenPerIKE = 1 })
	l.a.rekey(rekeyChild) // needs two for a moment
	l.run()
	l.b.expect(Refused, RefuseIKEChildren, 1)
	l.a.expect(Failed, FailNoAdditionalSAs, 1)
	l.established("net")
}
