package ike

import (
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// forger sees what a sends and cannot keep it from b. It answers in b's name at once, while a datagram between a and b takes its time.
type forger struct {
	l      *link
	oneWay time.Duration
	answer func(p packet, h wire.Header) [][]byte // forged responses, in the order in which they arrive
	late   bool                                   // b's response is the first to arrive

	out, after []packet
	way        []underWay
	asked      map[uint64]time.Time // by b, about certificates
	requests   int                  // IKE_AUTH of a's, retransmissions included
	most       struct{ claims, computed, octets int }
}

type underWay struct {
	packet
	at time.Time
}

// advance is link.advance with the forger and the delay.
func (f *forger) advance(d time.Duration) {
	l := f.l
	l.t.Helper()
	for until, n := l.now.Add(d), 0; ; n++ {
		if n > 200000 {
			l.t.Fatal("the two ends never stop talking")
		}
		f.collect()
		f.measure()
		if len(f.out) > 0 {
			p := f.out[0]
			f.out = f.out[1:]
			l.arrive(p)
			continue
		}
		if len(f.way) > 0 && !f.way[0].at.After(l.now) {
			p := f.way[0].packet
			f.way = f.way[1:]
			l.arrive(p)
			if h, err := wire.ParseHeader(p.payload); err == nil && p.to == l.a && h.Exchange == wire.ExchangeIKESAInit {
				f.out, f.after = append(f.out, f.after...), nil
			}
			continue
		}
		next := until
		if len(f.way) > 0 && f.way[0].at.Before(next) {
			next = f.way[0].at
		}
		if !l.tick(next) && !l.now.Before(until) && len(l.wire) == 0 && len(f.out) == 0 {
			return
		}
	}
}

// collect takes what the two ends have sent.
func (f *forger) collect() {
	for _, p := range f.l.wire {
		if h, err := wire.ParseHeader(p.payload); err == nil && p.to == f.l.b && !p.esp {
			if h.Exchange == wire.ExchangeIKEAuth {
				f.requests++
			}
			list := &f.out
			if f.late {
				list = &f.after
			}
			for _, b := range f.answer(p, h) {
				*list = append(*list, packet{to: f.l.a, source: p.dest, dest: p.source, payload: b})
			}
		}
		f.way = append(f.way, underWay{p, f.l.now.Add(f.oneWay)})
	}
	f.l.wire = nil
}

// measure notes what the attempt of a's that goes on holds.
func (f *forger) measure() {
	for _, sa := range f.l.a.engine.sas {
		if c := sa.claims; c != nil && c.opening != nil {
			octets := 0
			for _, d := range c.waiting {
				octets += len(d.Payload)
			}
			f.most.claims, f.most.octets = max(f.most.claims, len(c.seen)), max(f.most.octets, octets)
			f.most.computed = max(f.most.computed, min(c.opening.tasks[0].(*initInitiator).computed, maxClaims)) // what is beyond was not
		}
	}
}

// forged is a response to a request, with an SPI if it claims to have made an IKE SA.
func (l *link) forged(h wire.Header, spi uint64, payloads ...wire.Payload) []byte {
	m := wire.Message{Header: answerTo(h), Payloads: payloads}
	if wire.Find[*wire.SA](payloads) != nil {
		m.ResponderSPI = spi
	}
	b, err := m.Marshal()
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// threeGroups are the proposals of the forged responses below.
const threeGroups = "aes128gcm16-prfsha256-curve25519-ecp256-modp2048"

// forgeries are the payloads of responses to IKE_SA_INIT that anybody can make.
func (l *link) forgeries() map[string]func(request *wire.Message) []wire.Payload {
	list := map[string]func(*wire.Message) []wire.Payload{}
	fixed := func(name string, payloads ...wire.Payload) {
		list[name] = func(*wire.Message) []wire.Payload { return payloads }
	}
	proposal := func(text string) *wire.SA { return offer(ikeProposals(l.t, text), nil) }
	nonce := &wire.Nonce{Data: make([]byte, 32)}
	value := func(group crypto.DHID) *wire.KE {
		key, err := crypto.GenerateKey(group, seeded(9))
		if err != nil {
			l.t.Fatal(err)
		}
		return &wire.KE{Group: uint16(group), Data: key.Public()}
	}
	own := []wire.Payload{proposal("aes128gcm16-prfsha256-curve25519"), value(crypto.DHCurve25519), nonce}
	fixed("an exchange of his own", own...)
	fixed("with a NAT", append(slices.Clip(own), wire.NATDetectionSource(1, 2, stranr), wire.NATDetectionDestination(1, 2, stranr))...)
	fixed("without hashes", append(slices.Clip(own), wire.NewNotify(wire.NotifySignatureHashAlgorithms, []byte{0, 99}))...)
	fixed("another group chosen", proposal("aes128gcm16-prfsha256-ecp256"), value(crypto.DHECP256), nonce)
	fixed("a null public value", own[0], &wire.KE{Group: 31, Data: make([]byte, 32)}, nonce)
	fixed("what was not offered", proposal("aes256-sha512-modp2048"), value(crypto.DHCurve25519), nonce)
	fixed("no proposal chosen", wire.NewNotify(wire.NotifyNoProposalChosen, nil))
	fixed("invalid syntax", wire.NewNotify(wire.NotifyInvalidSyntax, nil))
	fixed("a group not offered", wire.InvalidKEPayload(14+6))
	for _, group := range []crypto.DHID{crypto.DHCurve25519, crypto.DHECP256, crypto.DHMODP2048} {
		fixed("asked for "+group.String(), wire.InvalidKEPayload(uint16(group)))
	}
	cookies := byte(0)
	list["a cookie"] = func(*wire.Message) []wire.Payload { cookies++; return []wire.Payload{wire.Cookie([]byte{cookies})} }
	list["another gateway"] = func(request *wire.Message) []wire.Payload {
		return []wire.Payload{wire.NewNotify(wire.NotifyRedirect, redirectTo(addrB2, wire.Find[*wire.Nonce](request.Payloads).Data))}
	}
	return list
}

// forging has a forger answer each IKE_SA_INIT request with these, one after the other.
func (l *link) forging(attack ...string) *forger {
	forgeries, spi := l.forgeries(), uint64(0)
	return &forger{l: l, asked: map[uint64]time.Time{}, answer: func(p packet, h wire.Header) (list [][]byte) {
		if h.Exchange != wire.ExchangeIKESAInit || h.Response() {
			return nil
		}
		request, err := wire.Parse(p.payload)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, what := range attack {
			spi++
			list = append(list, l.forged(h, spi, forgeries[what](request)...))
		}
		return list
	}}
}

// impersonate has a forger carry on with a as an engine with b's configuration, and not its keys, would: he knows those of his own exchange.
func (l *link) impersonate(change func(*Config)) *forger {
	cfg := sideB(l.t)
	if change != nil {
		change(&cfg)
	}
	cfg.Random, cfg.Peers[0].PSK, cfg.Peers[0].Children[0].Start = seeded(7), crypto.NewSecret([]byte("guessed")), StartOnDemand
	cfg.AllocateSPI = func(string, string) (uint32, error) { return 0xc0000001, nil }
	cfg.Limits.CookieThreshold = 0
	engine := NewEngine(cfg)
	return &forger{l: l, asked: map[uint64]time.Time{}, answer: func(p packet, h wire.Header) (list [][]byte) {
		for _, s := range answers(engine.Step(l.now, Datagram{Local: p.dest, Remote: p.source, Payload: slices.Clone(p.payload)})) {
			if m, err := wire.Parse(s.Payload); err == nil && m.Response() && wire.FindNotify(m.Payloads, wire.NotifyInvalidIKESPI) == nil {
				list = append(list, s.Payload)
			}
		}
		return list
	}}
}

// answerChecks has b know a certificate so long after it asked. The forger's are of no interest to it.
func (f *forger) answerChecks(takes time.Duration) {
	b := f.l.b
	for _, q := range b.checks {
		if f.asked[q.Ticket].IsZero() {
			f.asked[q.Ticket] = f.l.now
		}
	}
	for len(b.checks) > 0 && f.l.now.Sub(f.asked[b.checks[0].Ticket]) >= takes {
		b.answer()
	}
}
