package ike

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// attempted says when a had its IKE SA, and how many attempts that took.
func (l *link) attempted() (after time.Duration, attempts int) {
	for _, f := range l.a.facts {
		switch {
		case f.Kind == NegotiationStarted && f.Role == RoleInitiator:
			attempts++
		case f.Kind == IKEEstablished:
			return f.Time.Sub(start), attempts
		}
	}
	return -1, attempts
}

// withstood insists on a tunnel within a time, on nothing beside it, and on bounded costs.
func (f *forger) withstood(limit time.Duration) {
	l := f.l
	l.t.Helper()
	f.advance(3 * time.Minute)
	l.established("net")
	l.leftovers()
	after, attempts := l.attempted()
	if after < 0 || after > limit {
		l.t.Errorf("established after %v in %d attempts, expected %v at most", after, attempts, limit)
	}
	l.a.expect(IKEEstablished, "", 1)
	l.a.expect(ChildEstablished, "", 1)
	f.bounded()
}

// bounded holds what the forger has caused against what one attempt may cost.
func (f *forger) bounded() {
	f.l.t.Helper()
	if m := f.most; m.claims > maxClaims || m.computed > maxClaims || m.octets > maxClaims*maxClaimOctets {
		f.l.t.Errorf("%d responses, %d computations and %d octets in an attempt, expected %d, %d and %d at most",
			m.claims, m.computed, m.octets, maxClaims, maxClaims, maxClaims*maxClaimOctets)
	}
}

// Somebody who sees our IKE_SA_INIT requests and cannot keep them from the peer answers each in the peer's name, first, once or several times, whatever
// he likes. The tunnel comes up all the same, within seconds, alone, and what he makes us compute and keep is bounded (RFC 7296 2.4, 2.6 and 2.21.1).
func TestForgedResponses(t *testing.T) {
	names := slices.Sorted(keys((&link{t: t}).forgeries()))
	attacks := map[string][]string{"one of everything but a cookie": slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "a cookie" })}
	for _, name := range names {
		attacks[name], attacks[name+", thrice"] = []string{name}, []string{name, name, name}
	}
	for _, name := range slices.Sorted(keys(attacks)) {
		for _, oneWay := range []time.Duration{0, 20 * time.Millisecond, 400 * time.Millisecond} {
			for _, cookies := range []bool{false, true} {
				for _, certificates := range []bool{false, true} {
					threatened := func(c *Config) {
						mobile(c)
						c.Peers[0].MOBIKE, c.Peers[0].Redirect, c.Peers[0].IKEProposals = false, true, ikeProposals(t, threeGroups)
						if certificates {
							certified("p256", "p256")(c)
						}
					}
					l := join(t, threatened, both(threatened, func(c *Config) {
						if cookies {
							c.Limits.CookieThreshold = -1
						}
					}))
					f := l.forging(attacks[name]...)
					f.oneWay = oneWay
					l.begin()
					f.withstood(time.Minute)
					l.b.expect(IKEEstablished, "", 1)
					l.b.expect(ChildEstablished, "", 1)
					after, attempts := l.attempted()
					t.Logf("%-40s %5v cookies %5t certificates %5t: %8v %d attempts %d IKE_AUTH %+v", name, oneWay, cookies, certificates, after, attempts, f.requests, f.most)
					if t.Failed() {
						t.Fatalf("%s, one way %v, cookies %t, certificates %t\na:\n%sb:\n%s", name, oneWay, cookies, certificates, l.a.story(), l.b.story())
					}
				}
			}
		}
	}
}

// Who computes with us can read our IKE_AUTH and answer it: by a refusal, by a proof that is none, or by a certificate that nobody knows. He may come before
// the peer or after it, who takes its time to find out who we are.
func TestForgerWithKeys(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, certificates := range []bool{false, true} {
			for _, takes := range []time.Duration{0, 5 * time.Second} {
				for _, oneWay := range []time.Duration{0, 20 * time.Millisecond, 400 * time.Millisecond} {
					if takes > 0 && !certificates {
						continue
					}
					var method func(*Config)
					if certificates {
						method = certified("p256", "p256")
					}
					l := join(t, method, method)
					f := l.impersonate(method)
					f.oneWay, f.late, l.b.mute = oneWay, late, takes > 0
					l.begin()
					for range 60 * int(time.Second/(100*time.Millisecond)) {
						f.advance(100 * time.Millisecond)
						f.answerChecks(takes)
					}
					l.b.mute = false
					f.withstood(45 * time.Second)
					if takes == 0 { // else b may have proved itself to attempts that were given up
						l.b.expect(IKEEstablished, "", 1)
						l.b.expect(ChildEstablished, "", 1)
					}
					if t.Failed() {
						t.Fatalf("late %t, certificates %t, b takes %v, one way %v\na:\n%sb:\n%s", late, certificates, takes, oneWay, l.a.story(), l.b.story())
					}
				}
			}
		}
	}
}

// A response with the SPI of the peer's own, before that: messages under the keys of the one are none under those of the other.
func TestForgedResponseWithTheSameSPI(t *testing.T) {
	l := join(t, nil, nil)
	own := l.forgeries()["an exchange of his own"](nil)
	l.begin()
	l.deliver(0)
	h := l.header(0)
	genuine := l.wire[0]
	l.wire = nil
	forged := wire.Message{Header: h, Payloads: own}
	b, err := forged.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	l.arrive(packet{to: l.a, source: genuine.source, dest: genuine.dest, payload: b})
	l.arrive(genuine)
	l.advance(2 * time.Second)
	l.established("net")
	l.leftovers()
	l.a.expect(Failed, "", 0)
	l.b.expect(Dropped, DropIntegrity, 2) // two sendings of IKE_AUTH
	l.b.expect(Dropped, DropMessageID, 1) // the leave that is taken
}

// Who answers more often than we are ready to compute makes attempts fail, each within its time and at its cost. The one after he has ended stands.
func TestFloodOfForgedResponses(t *testing.T) {
	l := join(t, nil, nil)
	f := l.forging(slices.Repeat([]string{"an exchange of his own"}, 100)...)
	l.begin()
	f.advance(10 * time.Minute)
	_, attempts := l.attempted()
	l.a.expect(IKEEstablished, "", 0)
	if f.bounded(); attempts < 3 || f.requests > attempts*maxClaims*7 {
		t.Errorf("%d attempts in ten minutes with %d IKE_AUTH requests", attempts, f.requests)
	}
	if info := l.a.engine.Snapshot()[0]; info.Unproven.Count < uint64(attempts-1)*99 || info.Unproven.Remote.Addr() != addrB {
		t.Errorf("%+v for %d attempts with 100 responses each", info.Unproven, attempts)
	}
	f.answer = func(packet, wire.Header) [][]byte { return nil }
	f.advance(5 * time.Minute)
	l.established("net")
	l.leftovers()
}

// The operator ends the attempt, or takes the peer away, while others wait to be tried: nothing is left of it, here or at the peer.
func TestEndWhileResponsesWait(t *testing.T) {
	for name, end := range map[string]func(*end){
		"down":    func(n *end) { n.step(Terminate{Peer: "b"}) },
		"no peer": func(n *end) { n.cfg.Peers = nil; n.step(Reconfigure{}) },
	} {
		for _, after := range []time.Duration{0, 1500 * time.Millisecond, 3500 * time.Millisecond} {
			l := join(t, nil, nil)
			f := l.forging("an exchange of his own", "an exchange of his own", "an exchange of his own")
			l.begin()
			f.advance(after)
			end(l.a)
			f.advance(5 * time.Minute)
			if n := len(l.a.engine.sas) + len(l.b.engine.sas) + len(l.a.allocated) + len(l.b.allocated); n != 0 {
				t.Errorf("%s after %v: %d IKE SAs and SPIs are left\na:\n%sb:\n%s", name, after, n, l.a.story(), l.b.story())
			}
		}
	}
}

// A gateway that somebody else has sent us to, which nobody answers at, is left soon.
func TestForgedRedirectIsLeftSoon(t *testing.T) {
	l := twoGateways(t, true)
	l.gone = map[netip.Addr]bool{addrB2: true}
	f := l.forging("another gateway")
	f.oneWay = 400 * time.Millisecond // the peer's answer comes too late
	l.begin()
	f.advance(3 * time.Minute)
	l.with(addrB)
	l.a.expect(AddressChanged, "", 1)
	if after, _ := l.attempted(); after > 30*time.Second {
		t.Errorf("established after %v", after)
	}
}
