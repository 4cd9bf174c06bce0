package ike

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/ike/wire"
)

// twoGateways is one peer behind two addresses: a knows the first, and may be sent to the other.
func twoGateways(t *testing.T, redirect bool) *link {
	named := func(c *Config) { mobile(c); c.Peers[0].MOBIKE, c.Peers[0].Redirect = false, redirect }
	l := join(t, named, func(c *Config) {
		named(c)
		second := c.Peers[0]
		second.Name, second.Local = "a, at the second gateway", addrB2
		c.Peers = append(c.Peers, second)
	})
	return l
}

// redirectTo is the data of REDIRECT.
func redirectTo(gateway netip.Addr, nonce []byte) []byte {
	return append(wire.RedirectedFrom(gateway).Data, nonce...)
}

// redirecting has the gateway at an address answer IKE_SA_INIT with REDIRECT, so many times.
func (l *link) redirecting(times int, data func(nonce []byte) []byte) {
	l.twist = func(from *end, payload []byte) []byte {
		m, err := wire.Parse(payload)
		if err != nil || from != l.b || m.Exchange != wire.ExchangeIKESAInit || times == 0 {
			return payload
		}
		times--
		m.Payloads = []wire.Payload{wire.NewNotify(wire.NotifyRedirect, data(l.a.engine.sas[m.InitiatorSPI].ni))}
		if payload, err = m.Marshal(); err != nil {
			l.t.Fatal(err)
		}
		return payload
	}
}

// with insists on an established tunnel to the gateway at an address.
func (l *link) with(gateway netip.Addr) {
	l.t.Helper()
	sa := l.a.engine.Snapshot()[0]
	if out := l.a.outbound[l.a.cells["net"]]; sa.State != "established" || sa.Remote.Addr() != gateway || out.Remote.Addr() != gateway {
		l.t.Errorf("IKE %s with %v, ESP to %v, expected %v\na:\n%sb:\n%s", sa.State, sa.Remote, out.Remote, gateway, l.a.story(), l.b.story())
	}
}

// In IKE_SA_INIT nobody has signed it: what is not asked for, does not have our nonce, or leads to where no peer can be changes nothing; the answer that we
// are still waiting for counts.
func TestRedirectInInit(t *testing.T) {
	right := func(nonce []byte) []byte { return redirectTo(addrB2, nonce) }
	for name, c := range map[string]struct {
		allowed bool
		data    func(nonce []byte) []byte
		to      netip.Addr
		detail  string
	}{
		"allowed":       {true, right, addrB2, ""},
		"not allowed":   {false, right, addrB, "not asked for"},
		"another nonce": {true, func([]byte) []byte { return redirectTo(addrB2, make([]byte, nonceLen)) }, addrB, "nonce"},
		"no nonce":      {true, func([]byte) []byte { return redirectTo(addrB2, nil) }, addrB, "nonce"},
		"to ourselves":  {true, func(n []byte) []byte { return redirectTo(addrA, n) }, addrB, "cannot be"},
		"to itself":     {true, func(n []byte) []byte { return redirectTo(addrB, n) }, addrB, "cannot be"},
		"to a name":     {true, func(n []byte) []byte { return append([]byte{3, 2, 'g', 'w'}, n...) }, addrB, "no name is looked up"},
		"to nothing":    {true, func([]byte) []byte { return []byte{1, 4, 192} }, addrB, "octets"},
		"odd address":   {true, func(n []byte) []byte { return append([]byte{1, 16}, make([]byte, 16)...) }, addrB, "address"},
	} {
		t.Run(name, func(t *testing.T) {
			l := twoGateways(t, c.allowed)
			l.redirecting(1, c.data)
			l.begin()
			l.advance(10 * time.Second)
			l.with(c.to)
			want := 0
			if c.detail != "" {
				want = 1
			}
			l.a.expect(Refused, RefuseRedirect, want)
			for _, f := range l.a.facts {
				if f.Reason == RefuseRedirect && !strings.Contains(f.Detail, c.detail) {
					t.Errorf("refused because %q, expected %q", f.Detail, c.detail)
				}
			}
		})
	}
}

// Never to where the data plane says that no peer can be: the inside.
func TestRedirectInside(t *testing.T) {
	l := twoGateways(t, true)
	l.a.engine.cfg.MayMove = func(_, remote netip.AddrPort) bool { return remote.Addr() != addrB2 }
	l.redirecting(1, func(nonce []byte) []byte { return redirectTo(addrB2, nonce) })
	l.begin()
	l.advance(10 * time.Second)
	l.with(addrB)
	l.a.expect(Refused, RefuseRedirect, 1)
}

// REDIRECT_SUPPORTED is said only where it is allowed, REDIRECTED_FROM to the gateway that we were sent to.
func TestRedirectAnnounced(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		l := twoGateways(t, allowed)
		var said []string
		l.redirecting(1, func(nonce []byte) []byte { return redirectTo(addrB2, nonce) })
		redirect := l.twist
		l.twist = func(from *end, payload []byte) []byte {
			if m, err := wire.Parse(payload); err == nil && from == l.a && m.Exchange == wire.ExchangeIKESAInit {
				for _, kind := range []wire.NotifyType{wire.NotifyRedirectSupported, wire.NotifyRedirectedFrom} {
					if n := wire.FindNotify(m.Payloads, kind); n != nil {
						said = append(said, kind.String())
					}
				}
			}
			return redirect(from, payload)
		}
		l.begin()
		l.advance(10 * time.Second)
		want := ""
		if allowed {
			want = "REDIRECT_SUPPORTED REDIRECTED_FROM"
		}
		if got := strings.Join(said, " "); got != want {
			t.Errorf("allowed %t: said %q, expected %q", allowed, got, want)
		}
	}
}

// An authenticated peer says so in IKE_AUTH, or later: the IKE SA ends, and the tunnel comes up with the other gateway. One that is not allowed to is not
// heeded.
func TestRedirectAuthenticated(t *testing.T) {
	for _, requests := range []bool{false, true} {
		for _, allowed := range []bool{true, false} {
			l := twoGateways(t, allowed)
			say := l.b.notifying(requests, wire.NotifyRedirect, redirectTo(addrB2, nil))
			said := false
			l.twist = func(from *end, payload []byte) []byte {
				m, err := wire.Parse(payload)
				if err != nil || said || from != l.b || m.Exchange == wire.ExchangeIKESAInit || m.Response() == requests {
					return payload
				}
				said = true
				return say(from, payload)
			}
			l.begin()
			l.advance(time.Minute) // a liveness check of b's is what carries it
			if !said {
				t.Fatal("REDIRECT was never sent")
			}
			if l.twist = nil; !allowed {
				l.with(addrB)
				l.a.expect(Refused, RefuseRedirect, 1)
				l.a.expect(IKEDeleted, "", 0)
				continue
			}
			l.with(addrB2)
			l.a.expect(IKEDeleted, DeletedRedirected, 1)
			l.a.expect(Refused, RefuseRedirect, 0)
		}
	}
}

// Who is sent to where nobody proves to be the peer comes back.
func TestRedirectToNobody(t *testing.T) {
	l := twoGateways(t, true)
	l.gone = map[netip.Addr]bool{addrB2: true}
	l.redirecting(1, func(nonce []byte) []byte { return redirectTo(addrB2, nonce) })
	l.begin()
	l.advance(3 * time.Minute)
	l.with(addrB)
}

// Two gateways that send us back and forth do so five times within five minutes (RFC 5685 6). Then the one that we are at is asked again and again.
func TestRedirectLoop(t *testing.T) {
	l := twoGateways(t, true)
	count := 0
	l.redirecting(1000, func(nonce []byte) []byte {
		count++
		to := addrB2
		if l.a.engine.Snapshot()[0].Remote.Addr() == addrB2 {
			to = addrB
		}
		return redirectTo(to, nonce)
	})
	l.begin()
	l.advance(4 * time.Minute)
	l.a.expect(AddressChanged, "", maxRedirects)
	if l.a.count(Refused, RefuseRedirect) == 0 || count < maxRedirects+1 {
		t.Errorf("%d redirects refused of %d", l.a.count(Refused, RefuseRedirect), count)
	}
	l.twist = nil
	l.advance(3 * time.Minute)
	if sa := l.a.engine.Snapshot()[0]; sa.State != "established" {
		t.Errorf("IKE SA is %s when the loop has ended", sa.State)
	}
}
