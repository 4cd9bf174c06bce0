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

// a: IKE_SA_INIT, twice; b: COOKIE to the first. By the second there is no need of cookies any more, and it begins the IKE SA; then comes the one with the cookie. It is one IKE SA, and
// AUTH covers what a sent last (RFC 7296 2.15).
// S-118
func TestCookieBehindRetransmission(t *testing.T) {
	for name, reversed := range map[string]bool{"the cookie comes last": false, "the cookie comes first": true} {
		l := join(t, nil, func(c *Config) { c.Limits.CookieThreshold = -1 })
		l.a.step(Tick{})
		again := l.wire[0]
		again.payload = slices.Clone(again.payload)
		l.deliver(0) // COOKIE
		l.deliver(0) // the request with it
		if !reversed {
			l.trusting()
		}
		l.wire = append(l.wire, again)
		if !reversed {
			slices.Reverse(l.wire)
		}
		l.deliver(0)
		l.trusting()
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
