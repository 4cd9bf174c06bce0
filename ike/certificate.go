package ike

import (
	"bytes"
	"slices"

	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
)

// certificatesOf takes the certificates out of an IKE_AUTH message: the first is the one that AUTH is checked with, the rest may lead to an authority
// (RFC 7296 3.6). What is no certificate (a CRL, which we fetch ourselves) is passed over. Certificates that are to be fetched from a URL are
// refused: we do not say that we would (HTTP_CERT_LOOKUP_SUPPORTED), for it would let a stranger choose where we send requests.
func certificatesOf(m *message) ([][]byte, error) {
	var list [][]byte
	payloads := wire.FindAll[*wire.Cert](m.Payloads)
	for _, p := range payloads {
		switch p.Encoding {
		case wire.CertX509Signature:
			if !slices.ContainsFunc(list, func(der []byte) bool { return bytes.Equal(der, p.Data) }) {
				list = append(list, p.Data)
			}
		case wire.CertHashURL, wire.CertHashURLBundle:
			return nil, failf(CertForm, "peer sent %v in place of a certificate, expected the certificate itself", p.Encoding)
		}
	}
	switch {
	case len(payloads) == 0:
		return nil, failf(CertMissing, "peer signs and sent no certificate, expected its own and the intermediates up to an authority that we trust")
	case len(list) == 0:
		return nil, failf(CertForm, "peer sent %v, expected an X.509 certificate", payloads[0].Encoding)
	case len(list) > maxCertificates:
		return nil, failf(CertTooMany, "peer sent %d certificates, expected at most %d", len(list), maxCertificates)
	}
	return list, nil
}

// addCertificates adds our chain. It goes to every peer that we sign for, whether it has asked with CERTREQ or not: a CERTREQ is a hint (RFC 7296
// 3.7), several peers send none or one for other authorities, and a certificate that was not needed costs nothing but its octets.
func (m *message) addCertificates(cfg *Peer) {
	if cfg.LocalAuth != AuthSignature {
		return
	}
	for _, der := range cfg.Credential.Certificates {
		m.add(&wire.Cert{Encoding: wire.CertX509Signature, Data: der})
	}
}

// certificateRequest asks for certificates by the authorities that these peers' configurations trust: nil when none of them is to show any. More
// authorities than fit are asked for without naming them.
func certificateRequest(peers ...*peer) *wire.CertReq {
	var names []byte
	count, asks := 0, false
	for _, p := range peers {
		if p.cfg.RemoteAuth != AuthSignature {
			continue
		}
		asks = true
		for _, name := range p.cfg.Authorities {
			if !slices.ContainsFunc(slices.Collect(slices.Chunk(names, authorityLen)), func(other []byte) bool { return bytes.Equal(other, name) }) {
				names = append(names, name...)
				count++
			}
		}
	}
	switch {
	case !asks:
		return nil
	case count > maxAuthorities:
		names = nil
	}
	return &wire.CertReq{Encoding: wire.CertX509Signature, Authorities: names}
}

// check is a question about certificates that is out.
type check struct {
	ticket uint64
	sa     *ikeSA
	peer   *peer
	timer  deadline.Timer
	answer *CertificatesChecked
}

// checks are all that are out. IKE SAs that peers began have places of their own, of which one peer's name can take a few only: whoever sends
// bad certificates in its name keeps others, and what we begin, from nothing.
type checks struct {
	last   uint64
	out    map[uint64]*check
	byRole [RoleResponder + 1]int
	byPeer map[*peer]int // of the responder's role
}

func newChecks() checks { return checks{out: map[uint64]*check{}, byPeer: map[*peer]int{}} }

// ask puts a question about a peer's certificates. Without a place for it the message that brought them counts as lost (errLost): it will come again.
func (e *Engine) ask(sa *ikeSA, p *peer, id Identity, certificates [][]byte) (*check, error) {
	c := &e.checks
	most, reason := e.limits.ChecksPerPeer, RefusePeerChecks
	if p.template != nil {
		p, most, reason = p.template, e.limits.Checks/2, RefuseChecks // many peers' name
	}
	all := c.byRole[sa.role] >= e.limits.Checks
	if all {
		reason = RefuseChecks
	}
	if all || sa.role == RoleResponder && c.byPeer[p] >= most {
		f := sa.fact(Refused)
		f.Peer, f.Reason = p.cfg.Name, reason
		e.fact(f)
		return nil, errLost
	}
	c.last++
	q := &check{ticket: c.last, sa: sa, peer: p}
	c.count(q, 1)
	c.out[q.ticket] = q
	e.most.checks, e.most.peerChecks = max(e.most.checks, c.byRole[RoleResponder]), max(e.most.peerChecks, c.byPeer[p])
	e.timers.Set(&q.timer, e.now.Add(e.limits.CheckTimeout), func() {
		e.checked(CertificatesChecked{Ticket: q.ticket, Reason: CertUnanswered, Detail: "no answer to the check within " + e.limits.CheckTimeout.String()})
	})
	e.effect(CheckCertificates{Ticket: q.ticket, Peer: p.cfg.Name, Identity: id, Certificates: certificates})
	return q, errWait
}

// has reports whether a check of an IKE SA's peer is out.
func (c *checks) has(sa *ikeSA) bool {
	for _, q := range c.out {
		if q.sa == sa {
			return true
		}
	}
	return false
}

func (c *checks) count(q *check, by int) {
	c.byRole[q.sa.role] += by
	if q.sa.role == RoleResponder {
		admission.Count(c.byPeer, q.peer, by)
	}
}

// checked takes an answer and lets the exchange that waits for it go on.
func (e *Engine) checked(ev CertificatesChecked) {
	q := e.checks.out[ev.Ticket]
	if q == nil {
		return
	}
	e.forget(q)
	switch {
	case ev.Reason == "" && ev.Key == nil:
		ev.Reason, ev.Detail = CertUnanswered, "the check gave neither a key nor a reason"
	case ev.Reason != "" && !ev.Reason.Authentication():
		ev.Reason, ev.Detail = CertUnanswered, string(ev.Reason)+": "+ev.Detail
	}
	q.answer = &ev
	q.sa.tasks.resume()
}

// forget ends a question whose answer has come or is no longer of interest.
func (e *Engine) forget(q *check) {
	if e.checks.out[q.ticket] == q {
		delete(e.checks.out, q.ticket)
		e.checks.count(q, -1)
		e.timers.Stop(&q.timer)
	}
}
