package ikev1

import (
	"crypto/elliptic"
	"testing"
	"time"

	"sallyport/ike"
)

// impatient waits five seconds for a message of who begins.
func impatient(c *ike.Config) { c.Limits.HalfOpenTimeout = 5 * time.Second }

// The responder waits for message 3 and for message 5, each as long as half_open_timeout says: a slow or lossy path does not use up the time of one for the other.
func TestEachMessageHasItsTime(t *testing.T) {
	for _, c := range []struct {
		third, fifth time.Duration
		up           bool
	}{{4 * time.Second, 4 * time.Second, true}, {0, 4900 * time.Millisecond, true}, {6 * time.Second, 0, false}, {0, 6 * time.Second, false}} {
		l := join(t, nil, impatient)
		pass := func(d time.Duration) {
			l.now = l.now.Add(d)
			l.b.step(ike.Tick{})
		}
		l.begin()
		l.deliver(0)
		l.deliver(0)
		pass(c.third)
		l.deliver(0)
		if len(l.wire) > 0 { // message 4
			l.deliver(0)
		}
		pass(c.fifth)
		l.run()
		if up := l.b.count(ike.IKEEstablished, "") == 1; up != c.up || !up && l.b.count(ike.Failed, ike.FailTimeout) != 1 || l.b.engine.halfOpen.Total() != 0 {
			t.Errorf("message 3 after %s and message 5 after %s: established %t, expected %t\n%s", c.third, c.fifth, up, c.up, l.b.story())
		}
	}
}

// While a certificate is being checked the initiator waits for the responder, and not the other way round.
func TestAHalfOpenSAOutlivesTheCheck(t *testing.T) {
	l := join(t, signedBy(t, ecdsaKey(t, elliptic.P256())), func(c *ike.Config) {
		signedBy(t, ecdsaKey(t, elliptic.P256()))(c)
		impatient(c)
	})
	l.begin()
	l.run()
	l.advance(15 * time.Second)
	if asked := l.checks(""); asked != 1 {
		t.Fatalf("%d questions are out, expected 1\n%s", asked, l.b.story())
	}
	l.run()
	l.checks("") // a's
	l.run()
	l.established()
}
