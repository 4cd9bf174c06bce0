package ikev1

import (
	"net/netip"
	"testing"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
	"sallyport/policy"
)

// call is a that calls b, of which the test says what comes back.
type call struct {
	*link
	firsts []time.Duration // since start, when a sent message 1 of main mode
	last   packet          // that sent last
}

// evenly has no wait longer or shorter than another.
func evenly(spacing time.Duration) ike.Retransmit {
	return ike.Retransmit{Base: spacing, Factor: 1, Max: spacing, Tries: 12, Jitter: 1e-12}
}

// asked has a call when a packet asks, with and without fallback.
func asked(fallback bool, spacing time.Duration) func(*ike.Config) {
	return func(c *ike.Config) {
		c.Peers[0].Fallback, c.Peers[0].Children[0].Start = fallback, ike.StartOnDemand
		if spacing > 0 {
			c.Limits.Retransmit = evenly(spacing)
		}
	}
}

func newCall(t *testing.T, change func(*ike.Config)) *call {
	t.Helper()
	c := &call{link: join(t, change, nil)}
	c.a.step(ike.Tick{})
	c.collect()
	return c
}

// collect takes what a has sent off the wire.
func (c *call) collect() {
	for _, p := range c.wire {
		if h, err := isakmp.ParseHeader(p.payload); err == nil && h.Exchange == isakmp.ExchangeMain && h.Responder == 0 {
			c.firsts, c.last = append(c.firsts, c.now.Sub(start)), p
		}
	}
	c.wire = nil
}

// until lets time go by until so long after start.
func (c *call) until(d time.Duration) {
	c.collect()
	for c.tick(start.Add(d)) {
		c.collect()
	}
	c.collect()
}

// acquire asks for the tunnel: a packet of ours that waits, or one in clear of the other end's.
func (c *call) acquire(inbound bool) {
	p := policy.Packet{Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.0.5"), Protocol: 6, SourcePort: 1024, DestinationPort: 445}
	if inbound {
		p.Source, p.Destination, p.SourcePort, p.DestinationPort = p.Destination, p.Source, 4000, 445
	}
	c.a.step(ike.Acquire{Peer: "b", Child: "net", Packet: &p})
	c.collect()
}

// failures are the reasons of a's attempts that failed, and when.
func (c *call) failures() (reasons []ike.Reason, at []time.Duration) {
	for _, f := range c.a.facts {
		if f.Kind == ike.Failed {
			reasons, at = append(reasons, f.Reason), append(at, f.Time.Sub(start))
		}
	}
	return reasons, at
}

// silentOnce insists on one attempt that met silence, and gives its end.
func (c *call) silentOnce() time.Duration {
	c.t.Helper()
	reasons, at := c.failures()
	if len(reasons) != 1 || reasons[0] != ike.FailSilent || len(c.firsts) != 4 || c.a.count(ike.NegotiationStarted, "") != 1 {
		c.t.Fatalf("%d first messages, attempts failed for %v, expected 4 and silence\n%s", len(c.firsts), reasons, c.a.story())
	}
	return at[0]
}

// S-044, S-043: toward a peer that nothing comes from a sends four first messages, whoever has asked and however often, with fallback and without; then it
// says so. It is not over before 3 s.
func TestFourFirstMessages(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		for _, inbound := range []bool{false, true} {
			c := newCall(t, asked(fallback, 0))
			for range 1000 {
				c.acquire(inbound)
			}
			c.until(2999 * time.Millisecond)
			c.a.expect(ike.Failed, "", 0)
			for range 1000 {
				c.acquire(inbound)
			}
			c.until(time.Hour)
			if at := c.silentOnce(); at < 3*time.Second || at > 6*time.Second {
				t.Errorf("fallback %t, inbound %t: it ended after %v", fallback, inbound, at)
			}
		}
	}
}

// C-02: the peer is silent at the later of 3 s after the first attempt and the end of the wait after the fourth.
func TestSilenceTakesItsTime(t *testing.T) {
	for spacing, want := range map[time.Duration]time.Duration{500 * time.Millisecond: 3 * time.Second, 2 * time.Second: 8 * time.Second} {
		c := newCall(t, asked(true, spacing))
		c.acquire(false)
		c.until(want - time.Millisecond)
		c.a.expect(ike.Failed, "", 0)
		c.until(time.Hour)
		if at := c.silentOnce(); at != want {
			t.Errorf("every %v: silent after %v, expected %v", spacing, at, want)
		}
	}
}

// Traffic that may pass in clear is asked for at once after silence, however often that was met; other traffic waits, and longer each time up to a minute, as
// does what is kept up.
func TestPauseAfterSilence(t *testing.T) {
	traffic := func(change func(*ike.Config)) (attempts int) {
		c := newCall(t, change)
		for second := range time.Duration(3600) {
			before := len(c.firsts)
			at := c.a.engine.NotBefore("b", "net")
			c.acquire(second%2 == 0)
			if began := len(c.firsts) > before; began && at.After(c.now) {
				t.Fatalf("an attempt begins at %v, which was not to be before %v", c.now, at)
			}
			c.until(second * time.Second)
		}
		return c.a.count(ike.NegotiationStarted, "")
	}
	if n := traffic(asked(true, 0)); n < 600 {
		t.Errorf("%d attempts within an hour of traffic with fallback, expected one every 6 s", n)
	}
	if n := traffic(asked(false, 0)); n < 50 || n > 130 {
		t.Errorf("%d attempts within an hour of traffic without fallback, expected pauses up to a minute", n)
	}
	c := newCall(t, func(c *ike.Config) { c.Peers[0].Fallback = true })
	c.until(time.Hour)
	if n := c.a.count(ike.NegotiationStarted, ""); n < 50 || n > 130 {
		t.Errorf("a tunnel that is kept up is tried %d times in an hour, expected pauses up to a minute", n)
	}
}
