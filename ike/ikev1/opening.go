package ikev1

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// opening.go: message 1 proves nothing. There is room for so many half-open ISAKMP SAs, in all and of each address, and who writes in a peer's name can fill
// it. IKEv1 has no cookie that is asked for before anything is kept, as IKEv2 has. The peer gets in all the same (S-088):
//
//	room is full                                      message 1 is dropped
//	  of one that is there, message 2 was sent a      it gives way to message 1
//	  second ago, and message 3 has not come
//	  that has happened lately, and message 1 is      message 2 is sent and nothing is kept: our cookie is made of what message 3 comes with, and
//	  that by which a peer there was let in before    message 1 is known. Message 3 with it comes from where message 2 went, and what gives way is one
//	                                                  of which nothing has

const (
	answerTime = time.Second      // how long message 3 is waited for where others want the place
	siegeTime  = 10 * time.Second // how long it counts that one has given way
)

// admit makes room for a half-open ISAKMP SA, by ending others to whose message 2 nothing has come for so long; or says which limit is in the way.
func (e *Engine) admit(from netip.AddrPort, among []*peer, stranger bool, age time.Duration) ike.Reason {
	for {
		reason := e.limits.RefuseHalfOpen(&e.halfOpen, from, anyEstablished(among))
		if stranger && e.strangers.Crowded() {
			reason = ike.RefuseHalfOpen
		}
		if reason == "" || !e.evict(from, reason, stranger, age) {
			return reason
		}
		e.besieged = e.now
	}
}

// evict ends the oldest half-open ISAKMP SA that keeps others from an address out, and reports whether there was one. Strangers take the places of strangers.
func (e *Engine) evict(from netip.AddrPort, reason ike.Reason, stranger bool, age time.Duration) bool {
	onePort := reason == ike.RefuseEstablished && e.halfOpen.OfPort(from) >= e.limits.HalfOpenEstablished
	for _, sa := range e.unanswered {
		if e.now.Sub(sa.began) < age {
			return false
		}
		if onePort && sa.remote != from || reason != ike.RefuseHalfOpen && sa.remote.Addr() != from.Addr() || stranger && !sa.stranger {
			continue
		}
		sa.fail(failf(ike.FailTimeout, "the initiator has come no further within %v, and others want its place", e.now.Sub(sa.began)))
		return true
	}
	return false
}

// familiar is message 1 of the last main mode by which a peer was let in between two addresses; nil: there was none.
func (e *Engine) familiar(d ike.Datagram) []byte {
	if there := e.candidates(d); len(there) > 0 {
		return there[0].opening
	}
	return nil
}

// getToKnow remembers message 1 of a main mode by which a peer was let in.
func (e *Engine) getToKnow(sa *isakmpSA, opening []byte) {
	if there := e.byPath[path{sa.local.Addr(), sa.remote.Addr()}]; len(there) > 0 {
		there[0].opening = opening
	}
}

// initiatorCookie is how long what is in front of message 1 is that differs each time.
const initiatorCookie = 8

// answerUnkept answers message 1 that there is no room for and that is known, and keeps nothing.
func (e *Engine) answerUnkept(d ike.Datagram, h isakmp.Header, among []*peer) {
	known := e.familiar(d)
	if e.besieged.IsZero() || e.now.Sub(e.besieged) > siegeTime || known == nil || !bytes.Equal(known[initiatorCookie:], d.Payload[initiatorCookie:]) {
		return
	}
	m, err := parse(d)
	if err != nil {
		return
	}
	if t, err := consider(e, m, d.Payload, among, false); err == nil {
		t.sa.cookies.Responder = e.unkeptCookie(known, d, h.Initiator, 0)
		_ = t.answer() // who is to have it asks again
	}
}

// resume finds the main mode that message 3 goes on with when nothing was kept of it; nil: message 3 comes out of nowhere.
func (e *Engine) resume(d ike.Datagram, h isakmp.Header) *isakmpSA {
	known := e.familiar(d)
	if known == nil || h.Exchange != isakmp.ExchangeMain || h.Encrypted() || h.Responder == 0 {
		return nil
	}
	if h.Responder != e.unkeptCookie(known, d, h.Initiator, 0) && h.Responder != e.unkeptCookie(known, d, h.Initiator, 1) {
		return nil
	}
	among := free(e.candidates(d))
	if reason := e.admit(d.Remote, among, false, 0); reason != "" {
		e.fact(ike.Fact{Kind: ike.Refused, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator})
		return nil
	}
	first := ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: slices.Concat(d.Payload[:initiatorCookie], known[initiatorCookie:])}
	m, err := parse(first)
	if err != nil {
		return nil
	}
	t, err := consider(e, m, first.Payload, among, false)
	if err != nil {
		return nil // with another configuration
	}
	t.begin(m, h.Responder)
	return t.sa
}

// unkeptCookie is our cookie for a main mode of which nothing is kept: a function of its message 1, of where it comes from and of a secret, good for one to
// two lifetimes of a cookie.
func (e *Engine) unkeptCookie(opening []byte, d ike.Datagram, initiator uint64, age int64) uint64 {
	if e.secret == nil {
		e.secret = e.random(sha256.Size)
	}
	mac := hmac.New(sha256.New, e.secret)
	mac.Write(binary.BigEndian.AppendUint64(nil, initiator))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(e.now.UnixNano()/int64(e.limits.CookieLifetime)-age)))
	for _, a := range []netip.Addr{d.Local.Addr(), d.Remote.Addr()} {
		octets := a.As16()
		mac.Write(octets[:])
	}
	mac.Write(opening[initiatorCookie:])
	return max(1, binary.BigEndian.Uint64(mac.Sum(nil))) // RFC 2408 2.5.3: never zero
}

// free are those of peers whom IKEv2 has not taken over.
func free(peers []*peer) []*peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p *peer) bool { return p.carried })
}
