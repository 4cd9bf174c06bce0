package ikev1

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sallyport/crypto"
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

// hear gives a a datagram of b's, from a port of its own.
func (c *call) hear(from uint16, payload []byte) {
	c.a.step(ike.Datagram{Local: netip.AddrPortFrom(addrA, portIKE), Remote: netip.AddrPortFrom(addrB, from), Payload: payload})
	c.collect()
}

// cookies are those of a's last message.
func (c *call) cookies() isakmp.Cookies {
	c.t.Helper()
	h, err := isakmp.ParseHeader(c.last.payload)
	if err != nil {
		c.t.Fatal(err)
	}
	return h.Cookies
}

// settle lets time go by until the first attempt has failed, and gives the reasons.
func (c *call) settle() []ike.Reason {
	reasons, _ := c.failures()
	for ; len(reasons) == 0 && c.now.Before(start.Add(5*time.Minute)); reasons, _ = c.failures() {
		c.until(c.now.Sub(start) + 100*time.Millisecond)
	}
	return reasons
}

// C-01, S-045: whatever comes from the peer ends its chance, however early or late, though it is an error that nobody has signed, or cannot be read: the attempt
// fails for another reason, and the next one waits although traffic may pass in clear after silence.
func TestAnyAnswerIsNoSilence(t *testing.T) {
	notify := func(kind isakmp.NotifyType) func(*call) []byte {
		return func(c *call) []byte {
			cookies := c.cookies()
			cookies.Responder = 8
			return marshal(t, isakmp.Header{Cookies: cookies, Exchange: isakmp.ExchangeInformational}, isakmp.NewNotify(kind, isakmp.Cookies{}, nil))
		}
	}
	written := func(b ...byte) func(*call) []byte { return func(*call) []byte { return b } }
	newer := append(make([]byte, 17), 0x20, 34, 0, 0, 0, 0, 0, 0, 0, 0, 28)
	for name, answer := range map[string]func(*call) []byte{
		"no proposal":     notify(isakmp.NotifyNoProposalChosen),
		"another version": notify(isakmp.NotifyInvalidMajorVersion),
		"a failed proof":  notify(isakmp.NotifyAuthenticationFailed),
		"another cookie":  notify(isakmp.NotifyInvalidCookie),
		"what we have not offered": func(c *call) []byte {
			cookies := c.cookies()
			cookies.Responder = 8
			choice := offerPhase1(spread(ikeProposals(t, "aes256-sha512-ecp521"), byKey, isakmp.Lifetime{}))
			return marshal(t, isakmp.Header{Cookies: cookies, Exchange: isakmp.ExchangeMain}, choice)
		},
		"our own message": func(c *call) []byte { return c.last.payload },
		"IKEv2":           written(newer...),
		"a header":        func(c *call) []byte { return c.last.payload[:28] },
		"an octet":        written(7),
		"nothing":         written(),
	} {
		for _, when := range []time.Duration{100 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond} {
			for _, from := range []uint16{500, 61234} {
				c := newCall(t, asked(true, 0))
				c.acquire(false)
				c.until(when)
				c.hear(from, answer(c))
				if reasons := c.settle(); len(reasons) != 1 || reasons[0] == ike.FailSilent || !c.a.engine.NotBefore("b", "net").After(c.now) {
					t.Errorf("%s after %v from port %d: attempts failed for %v, the next is not before %v, it is %v", name, when, from, reasons, c.a.engine.NotBefore("b", "net"), c.now)
				}
			}
		}
	}
}

// What comes from elsewhere says nothing of the peer: who is asked for goes by the address.
func TestOthersAreNotThePeer(t *testing.T) {
	c := newCall(t, asked(true, 0))
	c.acquire(false)
	for range 100 {
		c.a.step(ike.Datagram{Local: netip.AddrPortFrom(addrA, portIKE), Remote: netip.MustParseAddrPort("198.51.100.9:500"), Payload: c.last.payload})
	}
	c.until(time.Hour)
	c.silentOnce()
}

// answers has b take a's last message, and the two go on from there.
func (c *call) answers() {
	c.t.Helper()
	c.wire = append(c.wire, c.last)
	c.run()
}

// C-01, S-045: a peer that answers and then cannot prove who it is.
func TestBadProofIsNoSilence(t *testing.T) {
	for _, when := range []time.Duration{100 * time.Millisecond, 2900 * time.Millisecond, 3100 * time.Millisecond} {
		c := newCall(t, asked(true, 0))
		other := sideB(t)
		other.Peers[0].PSK = crypto.NewSecret([]byte("another key"))
		c.b.boot(other)
		c.acquire(false)
		c.until(when)
		c.answers()
		if reasons := c.settle(); len(reasons) != 1 || reasons[0] == ike.FailSilent || !c.a.engine.NotBefore("b", "net").After(c.now) || len(c.a.cells) > 0 {
			t.Errorf("attempts failed for %v, or the next does not wait, or there is an SA", reasons)
		}
	}
}

// C-03, S-050: a slow peer that answers at last gets its SA, by IKE alone: what ICMP said of its port meanwhile never came here.
func TestSlowPeer(t *testing.T) {
	for _, when := range []time.Duration{2 * time.Second, 5 * time.Second} {
		c := newCall(t, asked(true, 0))
		c.acquire(false)
		c.until(when)
		c.answers()
		c.established()
		c.a.expect(ike.Failed, "", 0)
	}
}

// S-051: a peer that was silent begins itself. It is answered at once, whatever pause there is, and what waits for an SA of ours gets it by that.
func TestSilentPeerBegins(t *testing.T) {
	second := func(local, remote string) ike.Child {
		return ike.Child{Name: "net2", Selectors: []policy.Selector{selector(t, local, remote)}, Start: ike.StartOnDemand, IdleTimeout: -1, ReplayWindow: 64}
	}
	for _, fallback := range []bool{false, true} {
		for _, silent := range []int{1, 5} {
			c := &call{link: join(t, func(cfg *ike.Config) {
				asked(fallback, 0)(cfg)
				cfg.Peers[0].Children = append(cfg.Peers[0].Children, second("10.7.0.0/24", "10.8.0.0/24"))
			}, func(cfg *ike.Config) {
				cfg.Peers[0].Children = append(cfg.Peers[0].Children, second("10.8.0.0/24", "10.7.0.0/24"))
			})}
			for c.a.step(ike.Tick{}); c.a.count(ike.Failed, ike.FailSilent) < silent; {
				c.acquire(false)
				c.until(c.now.Sub(start) + time.Second)
			}
			c.b.step(ike.Initiate{Peer: "a", Child: "net"})
			c.run()
			c.a.step(ike.Acquire{Peer: "b", Child: "net2"})
			c.run()
			if len(c.a.cells) != 2 || len(c.b.cells) != 2 || !c.a.engine.NotBefore("b", "net2").IsZero() {
				t.Errorf("after %d silences, fallback %t: a sends by %d SAs and b by %d, the next is not before %v\n%s", silent, fallback, len(c.a.cells), len(c.b.cells),
					c.a.engine.NotBefore("b", "net2"), c.a.story())
			}
		}
	}
}

// Traffic for several children of a peer is one attempt; and the answer brings up all of them.
func TestOneAttemptForAllChildren(t *testing.T) {
	names := []string{"net", "net2", "net3", "net4"}
	several := func(ours, theirs int) func(*ike.Config) {
		return func(c *ike.Config) {
			c.Peers[0].Children, c.Peers[0].Fallback = nil, true
			for i, name := range names {
				s := selector(t, fmt.Sprintf("10.%d.%d.0/24", ours, i), fmt.Sprintf("10.%d.%d.0/24", theirs, i))
				c.Peers[0].Children = append(c.Peers[0].Children, ike.Child{Name: name, Selectors: []policy.Selector{s}, Start: ike.StartOnDemand, IdleTimeout: -1, ReplayWindow: 64})
			}
		}
	}
	c := &call{link: join(t, several(1, 2), several(2, 1))}
	c.a.step(ike.Tick{})
	ask := func() {
		for range 100 {
			for _, name := range names {
				c.a.step(ike.Acquire{Peer: "b", Child: name})
			}
		}
		c.collect()
	}
	ask()
	c.until(5 * time.Second)
	ask()
	c.until(time.Hour)
	c.silentOnce()
	ask()
	c.answers()
	if len(c.a.cells) != 4 || c.a.count(ike.NegotiationStarted, "") != 2 {
		t.Errorf("%d children are up after %d attempts\n%s", len(c.a.cells), c.a.count(ike.NegotiationStarted, ""), c.a.story())
	}
}

// A packet in clear of a host that the default response rule has let in begins nothing with it, and one for a host that has gone is nobody's.
func TestAcquireForDynamicPeer(t *testing.T) {
	l := join(t, hosts, answering(template(t)))
	l.begin()
	l.run()
	l.letIn()
	acquire := func() {
		for range 100 {
			l.b.step(ike.Acquire{Peer: dynamicA, Child: dynamicA})
		}
	}
	acquire()
	l.run()
	l.letIn()
	l.b.expect(ike.NegotiationStarted, "", 1)
	l.a.step(ike.Terminate{Peer: "b"})
	l.run()
	acquire()
	l.advance(time.Hour)
	l.nobodyLeft()
	l.b.expect(ike.NegotiationStarted, "", 1)
}

// A peer that has been away for long, so that the pauses have grown, and to which each message then takes longer than a silent one is waited for, is not silent:
// its first answer comes when the attempt is over, and the next attempt waits as long as for any peer that is there (RFC 7296 2.4).
// S-043, S-044
func TestVerySlowPeer(t *testing.T) {
	for _, late := range []time.Duration{4 * time.Second, 6500 * time.Millisecond, 9 * time.Second} {
		c := newCall(t, func(c *ike.Config) { c.Peers[0].Children[0].Start = ike.StartAlways })
		type due struct {
			at time.Time
			p  packet
		}
		c.until(10 * time.Minute)
		var under []due // on their way to b
		for c.now.Before(start.Add(20*time.Minute)) && len(c.b.cells) == 0 {
			sent := c.wire
			c.wire = nil
			for _, p := range sent {
				if p.to == c.b {
					under = append(under, due{c.now.Add(late), p})
				} else {
					c.arrive(p)
				}
			}
			for len(under) > 0 && !under[0].at.After(c.now) {
				c.arrive(under[0].p)
				under = under[1:]
			}
			if len(c.wire) == 0 {
				c.tick(c.now.Add(50 * time.Millisecond))
			}
		}
		if len(c.b.cells) == 0 {
			t.Errorf("%v late: no tunnel within 10 minutes\n%s", late, c.a.story())
		}
	}
}
