package ike

import (
	"slices"
	"time"
)

// unheard.go: toward a peer that nothing comes from a negotiation is short, and its end has a reason of its own (S-043, S-044):
//
//	our first message            is sent Limits.Attempts times
//	nothing comes                FailSilent, at the end of the last wait, and not before Limits.SilentAfter (C-02)
//	a datagram from the peer     whatever is in it, and whichever IKE it is of: it is there, and every message is sent Retransmit.Tries times;
//	                             when the negotiation is over already, those of the next one
//
// What comes by ICMP does not get here (C-03). Whoever lets traffic pass in clear after FailSilent relies on its being said of nobody who may know IKE:
// where there is doubt the reason is another.

// listens is until when a peer that has not been heard of may still answer.
func (sa *ikeSA) listens() time.Time {
	if !sa.call.Silent() {
		return time.Time{}
	}
	return sa.call.Began.Add(sa.engine.limits.SilentAfter)
}

// unansweredFor is the reason of an attempt to whose last message no answer came. Who has sent us to another gateway knows IKE, whoever is at the other, and
// so does who has another IKE SA.
func (sa *ikeSA) unansweredFor() Reason {
	p := sa.peer
	known := p.redirection.to.IsValid() || slices.ContainsFunc(p.sas, func(other *ikeSA) bool { return !other.established.IsZero() })
	if sa.call.Silent() && !known {
		return FailSilent
	}
	return FailTimeout
}

// countFailure counts an attempt that failed. Silence makes pauses longer, and nobody more careful about what comes: no forger was there either.
func (p *peer) countFailure(reason Reason) {
	if p.silent = reason == FailSilent; p.silent {
		p.silences++
		return
	}
	p.failures++
}

// notBefore is until when nobody is called. After silence that is for what is kept up: traffic that may pass in clear asks for each pair of addresses by
// itself, and each has its attempt at once.
func (p *peer) notBefore() time.Time {
	if p.silent && p.cfg.Fallback {
		return time.Time{}
	}
	return p.retry.When()
}

// spareSilent ends the pause that notBefore leaves out.
func (p *peer) spareSilent() {
	if p.silent && p.cfg.Fallback {
		p.engine.timers.Stop(&p.retry)
	}
}
