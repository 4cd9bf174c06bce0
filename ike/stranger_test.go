package ike

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
	"sallyport/policy"
)

// changedInit is initFrom with its payloads changed.
func changedInit(t testing.TB, seed byte, change func(m *wire.Message)) []byte {
	t.Helper()
	m, err := wire.Parse(initFrom(t, seed))
	if err != nil {
		t.Fatal(err)
	}
	change(m)
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// notified reports whether one of the datagrams carries, in clear, a notification of the type.
func notified(t testing.TB, sent []Send, kind wire.NotifyType) bool {
	t.Helper()
	return slices.ContainsFunc(sent, func(s Send) bool {
		m, err := wire.Parse(s.Payload)
		return err == nil && wire.FindNotify(m.Payloads, kind) != nil
	})
}

// proven sends b an IKE_SA_INIT request from the address of a, again with the cookie if there comes one, and reports whether b went on with it.
func (l *link) proven(request []byte) bool {
	l.t.Helper()
	for {
		sent := answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: request}))
		if !notified(l.t, sent, wire.NotifyCookie) {
			return len(sent) > 0
		}
		answer, _ := wire.Parse(sent[0].Payload)
		m, err := wire.Parse(request)
		if err == nil {
			m.Payloads = slices.Insert(m.Payloads, 0, answer.Payloads[0])
			request, err = m.Marshal()
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// A public value of low order costs the Diffie-Hellman computation that finds it out, and leaves no half-open IKE SA to count. Without proof of the
// address there are few of them.
func TestBadPublicValuesNeedACookie(t *testing.T) {
	l := join(t, nil, nil)
	cookies := 0
	bad := changedInit(t, 9, func(m *wire.Message) { clear(wire.Find[*wire.KE](m.Payloads).Data) })
	for range 1000 {
		if notified(t, answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: bad})), wire.NotifyCookie) {
			cookies++
		}
	}
	if computed := l.b.count(Dropped, DropMalformed); computed != 32 || cookies != 968 {
		t.Errorf("%d Diffie-Hellman computations and %d cookies for 1000 requests, expected 32 and 968", computed, cookies)
	}
	l.begin()
	l.run()
	l.established("net")
}

// S-088: IKE_SA_INIT requests in the name of a peer that is connected do not keep it from connecting anew.
func TestSpoofedInitsLeaveRoomForAnEstablishedPeer(t *testing.T) {
	l := up(t, nil, nil)
	for i := range 100 {
		l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: initFrom(t, byte(100+i))})
	}
	l.wire = nil // the answers never reach who asked
	l.a.boot(l.a.cfg)
	l.a.step(Tick{})
	l.run()
	l.b.expect(IKEEstablished, "", 2)
	l.advance(time.Minute)
	l.established("net")
}

// A stranger's IKE_SA_INIT that has no chance fails aloud a few times a second and no more: each failure is a line of the log.
func TestRefusedInitsAreLimited(t *testing.T) {
	l := join(t, nil, nil)
	foreign := changedInit(t, 9, func(m *wire.Message) {
		for i := range wire.Find[*wire.SA](m.Payloads).Proposals[0].Transforms {
			wire.Find[*wire.SA](m.Payloads).Proposals[0].Transforms[i].ID = 999
		}
	})
	total := 0
	l.b.engine.limits.CookieThreshold, l.b.engine.unproven.PerSecond = 2000, 2000
	for range 1000 {
		total += len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, 500), Payload: foreign})))
	}
	if total != 10 {
		t.Errorf("%d answers within a moment, expected 10", total)
	}
	l.b.expect(Failed, FailProposal, 10)
	l.b.expect(Refused, RefuseRate, 990)
}

// Our own messages, sent back to us as if the peer had sent them, authenticate nobody: our identity is not the peer's. A configuration where it is
// is refused, for there it would be our own key that they prove.
func TestReflection(t *testing.T) {
	for _, expected := range []netip.Addr{addrA, addrB} {
		l := join(t, nil, nil)
		cfg := sideA(t)
		cfg.Peers[0].RemoteID = AddressIdentity(expected)
		l.a.boot(cfg)
		l.a.step(Tick{})
		for range 100 {
			if len(l.wire) == 0 {
				break
			}
			p := l.wire[0]
			l.wire = l.wire[1:]
			l.a.step(Datagram{Local: at(addrA, p.source.Port()), Remote: at(addrB, p.dest.Port()), Payload: p.payload})
		}
		established, valid := l.a.count(IKEEstablished, "") > 0, ValidatePeers(cfg.Peers) == nil
		if established && valid || valid != (expected == addrB) {
			t.Errorf("expecting %v as the peer: configuration valid %t, established with ourselves %t", expected, valid, established)
		}
	}
}

// Errors that somebody on the path puts before the peer's answer to IKE_SA_INIT do not end the negotiation (RFC 7296 2.21.1). Without a better answer
// they do.
func TestForgedInitAnswers(t *testing.T) {
	sa := offer(ikeProposals(t, "aes128gcm16-prfsha256-curve25519"), nil)
	nonce, null := &wire.Nonce{Data: make([]byte, 32)}, &wire.KE{Group: 31, Data: make([]byte, 32)}
	for name, c := range map[string]struct {
		spi      uint64
		payloads []wire.Payload
		reason   Reason
	}{
		"no proposal":       {0, []wire.Payload{wire.NewNotify(wire.NotifyNoProposalChosen, nil)}, FailProposal},
		"syntax":            {0, []wire.Payload{wire.NewNotify(wire.NotifyInvalidSyntax, nil)}, FailSyntax},
		"unknown error":     {0, []wire.Payload{wire.NewNotify(8191, nil)}, FailPeer},
		"group not offered": {0, []wire.Payload{wire.InvalidKEPayload(14)}, FailKE},
		"endless cookie":    {0, []wire.Payload{wire.Cookie(make([]byte, wire.MaxCookie+1))}, FailSyntax},
		"null public value": {7, []wire.Payload{sa, null, nonce}, FailKE},
		"no SPI":            {0, []wire.Payload{sa, null, nonce}, FailSyntax},
	} {
		t.Run(name, func(t *testing.T) {
			forge := func(l *link) {
				m := wire.Message{Header: answerTo(l.header(0)), Payloads: c.payloads}
				m.ResponderSPI = c.spi
				b, err := m.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				l.a.step(Datagram{Local: at(addrA, 500), Remote: at(addrB, 500), Payload: b})
			}
			l := join(t, nil, nil)
			l.begin()
			forge(l)
			l.run()
			l.established("net")
			l.a.expect(Failed, "", 0)

			l = join(t, nil, nil)
			l.begin()
			forge(l)
			l.wire = nil
			l.advance(beliefTime)
			l.a.expect(Failed, c.reason, 1)
		})
	}
}

// Somebody on the path asks for cookies and another group, and all our requests but the last are lost. The peer asks for its own group once more.
func TestForgedRepetitions(t *testing.T) {
	l := join(t, func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-curve25519-ecp256") }, nil)
	l.begin()
	forge := func(payload ...wire.Payload) {
		m := wire.Message{Header: answerTo(l.header(len(l.wire) - 1)), Payloads: payload}
		m.ResponderSPI = 7
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		l.a.step(Datagram{Local: at(addrA, 500), Remote: at(addrB, 500), Payload: b})
	}
	for range maxRepeats {
		forge(wire.Cookie([]byte("forged")))
	}
	forge(wire.InvalidKEPayload(uint16(crypto.DHECP256)))
	forge(offer(ikeProposals(t, "aes128gcm16-prfsha256-ecp256"), nil), &wire.KE{Group: uint16(crypto.DHECP256), Data: make([]byte, 64)},
		&wire.Nonce{Data: make([]byte, 32)})
	l.wire = l.wire[len(l.wire)-1:]
	l.advance(5 * time.Second)
	l.established("net")
	l.a.expect(Failed, "", 0)
}

// Private values of Diffie-Hellman end with their exchange: who takes the gateway later cannot read what was said before.
func TestPrivateValuesAreWiped(t *testing.T) {
	of := func(task task) crypto.KeyExchange {
		switch task := task.(type) {
		case *initInitiator:
			return task.key
		case *childInitiator:
			return task.dh.key
		case *rekeyInitiator:
			return task.dh.key
		}
		return nil
	}
	pfs := func(c *Config) { c.Peers[0].Children[0].Proposals = espProposals(t, "aes128gcm16-curve25519") }
	other, err := crypto.GenerateKey(crypto.DHCurve25519, seeded(9))
	if err != nil {
		t.Fatal(err)
	}
	l := join(t, pfs, pfs)
	for _, begin := range []func(){l.begin, func() { l.a.rekey(rekeyChild) }, func() { l.a.rekey(rekeyIKE) }} {
		begin()
		var under []task
		for _, sa := range l.a.engine.sas {
			if x := sa.tasks.active; x != nil {
				under = append(under, x.tasks...)
			}
		}
		if len(under) != 1 {
			t.Fatalf("%d tasks under way, expected 1", len(under))
		}
		key := of(under[0])
		l.run()
		if _, err := key.Shared(other.Public()); err == nil {
			t.Errorf("%T: the private value is still there", under[0])
		}
	}
	l.advance(time.Minute)
	l.established("net")
}

// Somebody on the path who asks for a weaker group in the peer's name does not get it: the peer prefers the stronger as well (RFC 7296 2.7).
func TestForgedGroup(t *testing.T) {
	both := func(c *Config) { c.Peers[0].IKEProposals = ikeProposals(t, "aes128gcm16-prfsha256-ecp384-modp2048") }
	l := join(t, both, both)
	l.begin()
	h := answerTo(l.header(0))
	b, err := (&wire.Message{Header: h, Payloads: []wire.Payload{wire.InvalidKEPayload(uint16(crypto.DHMODP2048))}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l.wire = nil
	l.a.step(Datagram{Local: at(addrA, 500), Remote: at(addrB, 500), Payload: b})
	l.advance(time.Minute)
	l.established("net")
	if group := l.a.engine.byName["b"].carrier().chosen.dh; group != crypto.DHECP384 {
		t.Errorf("%v, expected %v", group, crypto.DHECP384)
	}
}

// Whoever has answered or sent IKE_SA_INIT has keys and may say anything inside SK, long before IKE_AUTH: nothing is established by it, and what it
// may end is its own.
func TestStrangersWithKeys(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 1000 {
		l := join(t, nil, nil)
		l.begin()
		l.deliver(0)
		l.deliver(0)
		l.wire = nil // IKE_AUTH, which a test of strangers does without
		to := []*end{l.a, l.b}[i%2]
		for _, sa := range to.engine.sas {
			twin := *sa
			keys := *sa.keys
			keys.in, keys.out = keys.out, keys.in
			twin.keys, twin.localSPI, twin.remoteSPI, twin.role = &keys, sa.remoteSPI, sa.localSPI, RoleInitiator+RoleResponder-sa.role
			for range 4 {
				if sa.state == stateClosed {
					break
				}
				kind := wire.ExchangeIKEAuth + wire.ExchangeType(r.IntN(3))
				m := &message{sa: &twin, Message: wire.Message{Header: twin.header(kind, uint32(r.IntN(3)), r.IntN(2) == 0), Payloads: randomPayloads(t, r)}}
				if sealed, err := twin.seal(m); err == nil {
					for _, b := range sealed.datagrams {
						to.step(Datagram{Local: sa.local, Remote: sa.remote, Payload: b})
					}
				}
			}
		}
		for _, n := range []*end{l.a, l.b} {
			n.expect(IKEEstablished, "", 0)
			if len(n.inbound)+len(n.outbound) != 0 {
				t.Fatal("a Child SA for a stranger")
			}
		}
	}
}

// randomPayloads draws some payloads, well formed each, but not together.
func randomPayloads(t testing.TB, r *rand.Rand) (list []wire.Payload) {
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	tsi, tsr := trafficSelectors(true, []policy.Selector{selector("10.1.0.0/24", "10.2.0.0/24")})
	proof := &wire.Auth{Method: wire.AuthSharedKeyMIC, Data: octets(32)}
	switch r.IntN(3) { // mostly something that the rules of IKE_AUTH let through
	case 0:
		list = append(list, idPayload(AddressIdentity(addrA), true), proof, offer(espProposals(t, "aes128gcm16"), octets(4)), tsi, tsr)
	case 1:
		list = append(list, idPayload(AddressIdentity(addrB), false), proof, offer(espProposals(t, "aes128gcm16"), octets(4)), tsi, tsr)
	}
	for range r.IntN(4) {
		all := []wire.Payload{
			idPayload(AddressIdentity(addrA), true), idPayload(AddressIdentity(addrB), false), &wire.ID{Initiator: true, Type: wire.IDKeyID, Data: octets(9)},
			proof, &wire.Auth{Method: wire.AuthMethod(r.Uint32()), Data: octets(1)},
			offer(espProposals(t, "aes128gcm16"), octets(4)), offer(ikeProposals(t, "aes128gcm16-prfsha256-curve25519"), octets(8)), tsi, tsr,
			&wire.Nonce{Data: octets(32)}, &wire.KE{Group: 31, Data: octets(32)}, &wire.Delete{Protocol: wire.ProtocolIKE},
			&wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{0xa0000001, 0xb0000001}}, wire.NewNotify(wire.NotifyInitialContact, nil),
			wire.NewNotify(wire.NotifyType(r.IntN(50)), octets(r.IntN(5))), wire.NewNotify(wire.NotifyType(16384+r.IntN(60)), octets(r.IntN(5))),
			wire.RekeySA(wire.ProtocolESP, r.Uint32()), &wire.Unknown{Type: 200, Critical: r.IntN(2) == 0, Body: octets(3)}, &wire.EAP{},
		}
		list = append(list, all[r.IntN(len(all))])
	}
	return list
}

// Two peers behind one address, each with its own identity and key: neither is taken for the other, and what one says ends nothing of the other's.
func TestTwoPeersAtOneAddress(t *testing.T) {
	first, second := Identity{Type: wire.IDFQDN, Data: "first.example"}, Identity{Type: wire.IDFQDN, Data: "second.example"}
	firstKey, secondKey := crypto.NewSecret([]byte("correct horse")), crypto.NewSecret([]byte("battery staple"))
	for name, c := range map[string]struct {
		id   Identity
		key  crypto.Secret
		peer string // that b takes it for
	}{
		"first": {first, firstKey, "a"}, "second": {second, secondKey, "twin"},
		"first with the second's key": {first, secondKey, ""}, "second with the first's key": {second, firstKey, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := join(t, func(cfg *Config) { cfg.Peers[0].LocalID = first }, func(cfg *Config) {
				twin := cfg.Peers[0]
				cfg.Peers[0].RemoteID = first
				twin.Name, twin.RemoteID, twin.PSK = "twin", second, secondKey
				twin.Children = []Child{{Name: "other", Selectors: []policy.Selector{selector("10.2.0.0/24", "10.1.0.0/24")}, Start: StartOnDemand, IdleTimeout: -1}}
				cfg.Peers = append(cfg.Peers, twin)
			})
			l.begin()
			l.run()
			before := l.b.engine.byName["a"].carrier()
			cfg := sideA(t)
			cfg.Random, cfg.Peers[0].LocalID, cfg.Peers[0].PSK = l.a.cfg.Random, c.id, c.key
			l.a.boot(cfg)
			l.a.step(Tick{})
			l.run()
			for _, p := range l.b.engine.peers {
				if fresh := p.carrier() != nil && p.carrier() != before; fresh != (p.cfg.Name == c.peer) {
					t.Errorf("peer %s has a new IKE SA: %t", p.cfg.Name, fresh)
				}
			}
			if kept := before.state == stateEstablished; kept != (c.peer != "a") {
				t.Errorf("the first peer's IKE SA lives: %t", kept)
			}
		})
	}
}

// Whoever speaks from the peer's address in its name without its key fails alone: nothing is paused for the peer itself, whose Child SA stays,
// and the failure is on record as one that we did not begin.
func TestImpostorPausesNothing(t *testing.T) {
	l := up(t, nil, nil)
	cfg := sideB(t)
	cfg.Random, cfg.Peers[0].PSK, cfg.Peers[0].Children[0].Start = seeded(7), crypto.NewSecret([]byte("guessed")), StartAlways
	cfg.AllocateSPI = func(string, string) (uint32, error) { return 0xc0000001, nil }
	impostor := NewEngine(cfg)
	for pending := impostor.Step(l.now, Tick{}); len(pending) > 0; pending = pending[1:] {
		out, ok := pending[0].(Send)
		if !ok {
			continue
		}
		for _, answer := range answers(l.a.step(Datagram{Local: out.Remote, Remote: out.Local, Payload: out.Payload})) {
			pending = append(pending, impostor.Step(l.now, Datagram{Local: answer.Remote, Remote: answer.Local, Payload: answer.Payload})...)
		}
		l.wire = nil // the peer itself has asked for nothing
	}
	l.a.expect(Failed, AuthKey, 1)
	if at := l.a.engine.NotBefore("b", "net"); !at.IsZero() {
		t.Errorf("an impostor keeps the peer from being negotiated with until %v", at)
	}
	if info := l.a.engine.Snapshot()[0]; info.PeerFailure.Reason != AuthKey || info.Failure.Reason != "" {
		t.Errorf("failures on record: ours %+v, the peer's %+v", info.Failure, info.PeerFailure)
	}
	l.established("net")
}
