package ike

import (
	"slices"
	"testing"

	"sallyport/ike/wire"
)

// trusting has b ask for no cookies any more, as when half-open IKE SAs have become fewer.
func (l *link) trusting() {
	e := l.b.engine
	e.limits.CookieThreshold = 64
	e.limitRates()
}

// a: IKE_SA_INIT, twice; b: COOKIE to the first. By the second there is no need of cookies any more, and it begins the IKE SA; the one with the cookie comes behind it, or first, or never. It is
// one IKE SA, and AUTH covers what a sent last (RFC 7296 2.15).
// S-118
func TestCookieBehindRetransmission(t *testing.T) {
	for name, arrive := range map[string]func(l *link, again packet){
		"the cookie comes last": func(l *link, again packet) {
			l.trusting()
			l.wire = []packet{again, l.wire[0]}
		},
		"the cookie comes first": func(l *link, again packet) {
			l.deliver(0)
			l.trusting()
			l.wire = append(l.wire, again)
		},
		"the cookie is lost": func(l *link, again packet) {
			l.trusting()
			l.wire = []packet{again}
		},
		"the cookie is overtaken by AUTH": func(l *link, again packet) {
			l.trusting()
			late := l.wire[0]
			l.wire = []packet{again}
			for range 3 { // the request, its answer, AUTH
				l.deliver(0)
			}
			l.wire = append(l.wire, late)
		},
	} {
		l := join(t, nil, func(c *Config) { c.Limits.CookieThreshold = -1 })
		l.a.step(Tick{})
		again := l.wire[0]
		again.payload = slices.Clone(again.payload)
		l.deliver(0) // COOKIE
		l.deliver(0) // the request with it
		arrive(l, again)
		l.run()
		l.established("net")
		if n := l.b.count(NegotiationStarted, ""); n != 1 {
			t.Errorf("%s: %d negotiations have started", name, n)
		}
	}
}

// A cookie that is not ours changes nothing: a is believed by what it has signed.
func TestForgedCookieBehindRequest(t *testing.T) {
	l := join(t, nil, nil)
	l.a.step(Tick{})
	m, err := wire.Parse(l.wire[0].payload)
	if err != nil {
		t.Fatal(err)
	}
	m.Payloads = slices.Insert(m.Payloads, 0, wire.Payload(wire.Cookie([]byte("a cookie"))))
	forged := l.wire[0]
	if forged.payload, err = m.Marshal(); err != nil {
		t.Fatal(err)
	}
	l.deliver(0)
	l.wire = slices.Insert(l.wire, 0, forged)
	l.run()
	l.established("net")
	if n := l.b.count(NegotiationStarted, ""); n != 1 {
		t.Errorf("%d negotiations have started", n)
	}
}
