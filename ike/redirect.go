package ike

import (
	"bytes"
	"net/netip"
	"time"

	"sallyport/ike/wire"
)

// A gateway that sends its initiator to another one (RFC 5685), if Peer.Redirect lets it. The other one proves to be the same peer: its identity and its
// credentials are those of the configuration. Until it does, or when it does not, nothing is lost but time: the next try goes to Peer.Remote again.
//
//	REDIRECT in               the IKE SA
//	IKE_SA_INIT, unproven     is dropped, if the peer does not answer in time; the nonce shows that somebody has read our request
//	IKE_AUTH, INFORMATIONAL   ends by our delete
type redirection struct {
	to, from netip.Addr  // where its IKE SAs begin instead of Peer.Remote, and who said so; invalid: nowhere else
	times    []time.Time // of the last ones
}

// What is allowed before it counts as a loop (RFC 5685 6).
const (
	maxRedirects   = 5
	redirectPeriod = 5 * time.Minute
)

// redirectedTries is how often a request of the first exchanges is sent to where we were sent, some 10 s: anybody may have sent us there.
const redirectedTries = 5

// redirected reads whether the peer sends us elsewhere, and whether it may.
func (sa *ikeSA) redirected(m *message) (gateway netip.Addr, ok bool) {
	n := m.notify(wire.NotifyRedirect)
	if n == nil {
		return gateway, false
	}
	refused := func(detail string) (netip.Addr, bool) {
		f := sa.fact(Refused)
		f.Reason, f.Detail = RefuseRedirect, detail
		sa.engine.fact(f)
		return netip.Addr{}, false
	}
	gateway, nonce, err := n.Redirect()
	p, r := sa.peer, &sa.peer.redirection
	switch {
	case !p.cfg.Redirect || sa.origin.role == RoleResponder:
		return refused("the peer sends us to another gateway, which we have not asked for (redirect)")
	case err != nil:
		return refused(err.Error())
	case m.Exchange == wire.ExchangeIKESAInit && !bytes.Equal(nonce, sa.ni):
		return refused("the nonce is not ours: whoever sends us to " + gateway.String() + " has not read our request")
	case gateway == sa.remote.Addr() || !sa.canBe(netip.AddrPortFrom(gateway, portIKE)):
		return refused("the peer sends us to " + gateway.String() + ", where it cannot be")
	}
	for len(r.times) > 0 && sa.engine.now.Sub(r.times[0]) >= redirectPeriod {
		r.times = r.times[1:]
	}
	if len(r.times) >= maxRedirects {
		return refused("the peer sends us around in circles, to " + gateway.String() + " next")
	}
	return gateway, true
}

// goTo ends an IKE SA whose peer sends us to another gateway, and has the next one begin there.
func (sa *ikeSA) goTo(gateway netip.Addr) {
	p, e := sa.peer, sa.engine
	was := path{p.cfg.Local, p.redirection.to}
	p.redirection.to, p.redirection.from = gateway, sa.remote.Addr()
	p.redirection.times = append(p.redirection.times, e.now)
	e.rehome(p, was)
	f := sa.fact(AddressChanged)
	f.Remote, f.Detail = netip.AddrPortFrom(gateway, portIKE), "sent there by "+sa.remote.Addr().String()
	e.fact(f)
	if sa.state == stateEstablished {
		sa.terminate(DeletedRedirected)
	} else {
		sa.close(DeletedRedirected)
	}
	p.wanted()
}

// wanted has the children that were up come up again.
func (p *peer) wanted() {
	for _, s := range p.slots {
		s.wanted = s.wanted || len(s.children) > 0
	}
	p.touch()
}

// comeBack forgets where we were sent: nobody has proven to be the peer there.
func (p *peer) comeBack() {
	if !p.redirection.to.IsValid() {
		return
	}
	was := path{p.cfg.Local, p.redirection.to}
	p.redirection.to, p.redirection.from = netip.Addr{}, netip.Addr{}
	p.engine.rehome(p, was)
}

// announceRedirect says that we let ourselves be sent elsewhere, or who has done so.
func (m *message) announceRedirect() {
	switch r := &m.sa.peer.redirection; {
	case !m.sa.peer.cfg.Redirect:
	case r.from.IsValid():
		m.add(wire.RedirectedFrom(r.from))
	default:
		m.add(wire.NewNotify(wire.NotifyRedirectSupported, nil))
	}
}
