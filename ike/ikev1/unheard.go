package ikev1

import (
	"time"

	"sallyport/ike"
)

// unheard.go: toward a peer that nothing comes from main mode is short, and its end has a reason of its own, as that of IKEv2's (ike/unheard.go).
//
// A peer of both versions is begun with by IKEv2: whoever drops packets must not talk it into IKEv1. Where its traffic may pass in clear after silence he
// would get more than that, and a host that knows IKEv1 alone would be spoken to in clear. So there main mode follows when IKEv2 has met silence
// (ike.Unanswered), and the peer is silent when both were met by nothing.

// listens is until when a peer that has not been heard of may still answer.
func (sa *isakmpSA) listens() time.Time {
	if !sa.call.Silent() {
		return time.Time{}
	}
	return sa.call.Began.Add(sa.engine.limits.SilentAfter)
}

// unansweredFor is the reason of a main mode to whose last message no answer came. Who has another ISAKMP SA, or a pair of IPsec SAs, knows IKE.
func (sa *isakmpSA) unansweredFor() ike.Reason {
	if sa.call.Silent() && sa.peer.carrier() == nil && len(sa.peer.children()) == 0 {
		return ike.FailSilent
	}
	return ike.FailTimeout
}

// unanswered begins a main mode with a peer of both versions, if there is anything to begin one for.
func (p *peer) unanswered() {
	if p.cfg.Version == ike.VAny && p.cfg.Fallback && !p.carried {
		p.spareSilent()
		p.lastTry = true
		p.pursue()
		p.lastTry = false
	}
}

// calls reports whether main mode may begin with a peer that there is no ISAKMP SA with.
func (p *peer) calls() bool {
	return p.template == nil && (p.cfg.Version == ike.V1 || p.lastTry)
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
