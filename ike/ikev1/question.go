package ikev1

import (
	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
)

// question is a check of a peer's certificates that is out. The message that brought them waits for it, and counts when the answer is good and the
// signature is by the key that it gives.
type question struct {
	ticket    uint64
	sa        *isakmpSA
	peer      *ike.Peer
	message   *message
	hash      []byte // HASH_I or HASH_R
	signature []byte
	then      func(*message) error
	timer     deadline.Timer
}

// checkCertificates puts a question. Without a place for it the message counts as lost: it will come again. As in IKEv2 those that peers began have places of their own,
// of which one peer's name can take a few only.
func (sa *isakmpSA) checkCertificates(q *question) {
	e := sa.engine
	byRole, byPeer, most, reason := 0, 0, e.limits.ChecksPerPeer, ike.RefusePeerChecks
	if q.peer.RemoteID.IsZero() {
		most, reason = e.limits.Checks/2, ike.RefuseChecks // a template's: many peers' name
	}
	for _, other := range e.questions {
		if other.sa.role == sa.role {
			byRole++
			if other.peer.Name == q.peer.Name {
				byPeer++
			}
		}
	}
	if byRole >= e.limits.Checks {
		reason = ike.RefuseChecks
	}
	if byRole >= e.limits.Checks || sa.role == ike.RoleResponder && byPeer >= most {
		f := sa.fact(ike.Refused)
		f.Peer, f.Reason = q.peer.Name, reason
		e.fact(f)
		return
	}
	certificates, err := certificatesOf(q.message.Payloads)
	if err != nil {
		sa.main.task.fail(err)
		return
	}
	e.asks++
	q.ticket, q.sa, sa.question = e.asks, sa, q
	e.questions[q.ticket] = q
	if q.sa.role == ike.RoleResponder {
		e.most.checks, e.most.peerChecks = max(e.most.checks, byRole+1), max(e.most.peerChecks, byPeer+1)
	}
	e.timers.Set(&q.timer, e.now.Add(e.limits.CheckTimeout), func() {
		e.checked(ike.CertificatesChecked{Ticket: q.ticket, Reason: ike.CertUnanswered, Detail: "no answer to the check within " + e.limits.CheckTimeout.String()})
	})
	id := identityOf(isakmp.Find[*isakmp.ID](q.message.Payloads))
	e.effect(ike.CheckCertificates{Ticket: q.ticket, Peer: q.peer.Name, Identity: id, Certificates: certificates})
}

// checked takes an answer and lets the main mode that waits for it go on, or ends it.
func (e *Engine) checked(ev ike.CertificatesChecked) {
	q := e.questions[ev.Ticket]
	if q == nil {
		return
	}
	q.sa.unask()
	var err error
	switch {
	case ev.Reason == "" && ev.Key == nil:
		err = failf(ike.CertUnanswered, "the check gave neither a key nor a reason")
	case ev.Reason != "" && !ev.Reason.Authentication():
		err = failf(ike.CertUnanswered, "%s: %s", ev.Reason, ev.Detail)
	case ev.Reason != "":
		err = failf(ev.Reason, "%s", ev.Detail)
	default:
		err = verifySignature(q.sa.chosen.Auth, q.peer.Legacy, ev.Key, q.hash, q.signature)
	}
	if err == nil {
		err = q.then(q.message)
	} else {
		q.sa.main.accept(q.message) // for what is said about it goes on from there
	}
	if err != nil {
		q.sa.main.task.fail(err)
	}
}

// unask ends a question whose answer has come or is no longer of interest.
func (sa *isakmpSA) unask() {
	if q := sa.question; q != nil {
		delete(sa.engine.questions, q.ticket)
		sa.engine.timers.Stop(&q.timer)
		sa.question = nil
	}
}
