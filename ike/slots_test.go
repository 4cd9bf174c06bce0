package ike

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"sallyport/crypto"
)

// opener makes first messages in a's name, each of another IKE SA.
type opener struct {
	octets []byte
	n      uint64
}

func (o *opener) next() []byte {
	o.n++
	fresh := slices.Clone(o.octets)
	binary.BigEndian.PutUint64(fresh, o.n<<32|1)
	return fresh
}

// outstanding is a negotiation that a has begun and b has answered, as far as a's IKE_AUTH, which waits.
func (l *link) outstanding(change func(*Config)) (auth packet) {
	l.t.Helper()
	cfg := sideA(l.t)
	cfg.Random = seeded(77)
	change(&cfg)
	l.a.boot(cfg)
	l.wire = nil
	l.a.step(Tick{})
	l.deliver(0)
	l.deliver(0)
	auth, l.wire = l.wire[0], nil
	return auth
}

// S-086: at the limit all initial messages are dropped until a negotiation has failed, has timed out or is an IKE SA: for each of the three one place is free, and
// one initial message is answered.
func TestOnePlaceForEachEnd(t *testing.T) {
	ends := map[string]struct {
		change func(*Config)
		end    func(l *link, auth packet)
	}{
		"success":  {func(*Config) {}, func(l *link, auth packet) { l.arrive(auth) }},
		"failure":  {func(c *Config) { c.Peers[0].PSK = crypto.NewSecret([]byte("another key")) }, func(l *link, auth packet) { l.arrive(auth) }},
		"time-out": {func(*Config) {}, func(l *link, _ packet) { l.now = l.now.Add(29 * time.Second); l.b.step(Tick{}) }},
	}
	patient := func(c *Config) { c.Limits.CookieThreshold = 1000 }
	for name, c := range ends {
		for _, established := range []bool{false, true} {
			l, places, reason := join(t, nil, patient), 35, RefuseNew
			if established {
				l, places, reason = up(t, nil, patient), 5, RefuseEstablished
			}
			open := opener{octets: initFrom(t, 9)}
			first := func() bool {
				if established {
					return l.proven(open.next())
				}
				return len(answers(l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, uint16(1000+open.n)), Payload: open.next()}))) > 0
			}
			auth := l.outstanding(c.change)
			before := l.b.count(Failed, "") + l.b.count(IKEEstablished, "")
			l.now = l.now.Add(time.Second)
			answered := 0
			for range 2 * places {
				if first() {
					answered++
				}
			}
			if answered != places-1 || l.b.count(Refused, reason) != places+1 {
				t.Fatalf("%s, established %t: %d answered and %d refused, expected %d and %d", name, established, answered, l.b.count(Refused, reason), places-1, places+1)
			}
			c.end(l, auth)
			if over := l.b.count(Failed, "") + l.b.count(IKEEstablished, "") - before; over != 1 {
				t.Errorf("%s, established %t: %d negotiations have ended\n%s", name, established, over, l.b.story())
			}
			answered = 0
			for range 10 {
				if first() {
					answered++
				}
			}
			if answered != 1 || l.b.count(Refused, reason) != places+1+9 {
				t.Errorf("%s, established %t: afterwards %d answered of 10, and %d refused in all", name, established, answered, l.b.count(Refused, reason))
			}
		}
	}
}

// C-18: all ports of an address, one of which has an established IKE SA: 5 of that and 35 of the others, whatever else comes; and the peer goes on.
func TestAllPortsOfAnAddress(t *testing.T) {
	l := up(t, nil, func(c *Config) { c.Limits.CookieThreshold = 1000 })
	open := opener{octets: initFrom(t, 9)}
	for port := 1; port <= 65535; port++ {
		l.b.step(Datagram{Local: at(addrB, 500), Remote: at(addrA, uint16(port)), Payload: open.next()})
		l.wire, l.b.effects = nil, nil
	}
	pair := 0
	for range 100 {
		if l.proven(open.next()) {
			pair++
		}
	}
	e := l.b.engine
	if e.halfOpen.OfPort(at(addrA, 500)) != 5 || e.halfOpen.OfAddress(addrA) != 35 || e.halfOpen.Total() != 40 || pair != 4 {
		t.Errorf("outstanding are %d of the pair, %d of other ports, %d in all; expected 5, 35 and 40", e.halfOpen.OfPort(at(addrA, 500)), e.halfOpen.OfAddress(addrA), e.halfOpen.Total())
	}
	l.b.expect(Refused, RefuseNew, 65534-35)
	l.b.expect(Refused, RefuseEstablished, 100-4)
	l.wire = nil
	l.advance(time.Minute)
	l.established("net")
}
