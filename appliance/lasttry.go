package appliance

import (
	"slices"
	"time"

	"sallyport/ike"
)

// lasttry.go: of a peer of both versions whose traffic may pass in clear after silence (ike.Peer.Fallback), silence toward IKEv2 says half of it: the peer
// may know IKEv1 alone.
//
//	IKEv2 has met silence         told as time-out; IKEv1 is asked for what IKEv2 was asked for
//	IKEv1 has met silence too     told as silence: the peer knows no IKE
//	meanwhile anything comes      neither tells of silence (ike.Heard)
//
// Who drops packets can bring such a peer down to IKEv1 by this. Without it he would bring it down to clear text. Without fallback nothing is begun by IKEv1.

// ask gives an engine what somebody wants of a peer.
func (e *engines) ask(now time.Time, peer, child string, event ike.Event) []ike.Effect {
	of := e.ofPeer(peer)
	if wishes, both := e.wishes[peer]; both && of == byV2 {
		wishes = slices.DeleteFunc(wishes, func(w wish) bool { return w.child == child })
		e.wishes[peer] = append(wishes, wish{child, event})
	}
	return e.step(now, of, event)
}

// wish is what IKEv2 was asked for of a peer of both: Initiate or Acquire.
type wish struct {
	child string
	event ike.Event
}

// halfSilent reports whether a fact is silence toward the first of two versions, and then says so in it.
func (e *engines) halfSilent(of int, f *ike.Fact) bool {
	_, both := e.wishes[f.Peer]
	switch {
	case !both || of != byV2 || f.Kind != ike.Failed && f.Kind != ike.IKEEstablished:
		return false
	case f.Reason != ike.FailSilent:
		e.wishes[f.Peer] = nil
		return false
	}
	f.Reason = ike.FailTimeout
	f.Detail += "; IKEv1 is tried next"
	return true
}

// lastTry asks IKEv1 for what IKEv2 has met silence at.
func (e *engines) lastTry(now time.Time, peer string) (effects []ike.Effect) {
	wishes := e.wishes[peer]
	e.wishes[peer] = nil
	for _, w := range wishes {
		effects = append(effects, e.step(now, byV1, w.event)...)
	}
	return append(effects, e.step(now, byV1, ike.Unanswered{Peer: peer})...)
}

// triesLast reports whether that goes on.
func (e *engines) triesLast(peer string) bool {
	_, both := e.wishes[peer]
	return both && e.by[byV1].Begins(peer)
}
