package ikev1

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/isakmp"
)

// opening.go: message 1 proves nothing. There is room for so many half-open ISAKMP SAs, in all and of each address, and who writes in a peer's name can fill
// it. IKEv1 has no cookie that is asked for before anything is kept, as IKEv2 has. The peer gets in all the same (S-088):
//
//	room is full                                      message 1 is dropped
//	  of one that is there, message 2 was sent a      it gives way to message 1, and a siege begins
//	  second ago, and message 3 has not come
//	room is full, in a siege                          message 2 is sent, and of message 1 nothing is kept but its octets (openings.go), which many forged ones
//	                                                  may have in common, and those of the last peer that was let in there for good. Our cookie is made of what
//	                                                  message 3 comes with
//	  message 3 comes with that cookie                it comes from where message 2 went: one to whose message 2 nothing has come gives way
//
// So a forger needs no place, and takes none from whoever answers within the time that it takes to forge maxOpenings different messages.

const (
	answerTime = time.Second      // how long message 3 is waited for where others want the place
	siegeTime  = 10 * time.Second // how long after there was no room a siege is over
	mostNovel  = 16384            // openings a second that nobody has sent before: reading one takes some 10 us, and each takes the place of another
)

// besiegedNow reports whether somebody keeps the room full that is there for half-open ISAKMP SAs.
func (e *Engine) besiegedNow() bool {
	return !e.besieged.IsZero() && e.now.Sub(e.besieged) <= siegeTime
}

// refuses says which limit keeps message 1 from a place, or "".
func (e *Engine) refuses(from admission.Place, among []*peer, stranger bool) ike.Reason {
	known := anyKnown(among)
	if stranger && !known && e.strangers.Crowded() {
		return ike.RefuseHalfOpen
	}
	return e.limits.RefuseHalfOpen(&e.halfOpen, from, known)
}

// admit makes room for a half-open ISAKMP SA, by ending others to whose message 2 nothing has come for so long; or says which limit is in the way.
func (e *Engine) admit(from admission.Place, among []*peer, stranger bool, age time.Duration) ike.Reason {
	for {
		reason := e.refuses(from, among, stranger)
		if reason == "" || !e.evict(from, reason, stranger, age) {
			return reason
		}
		e.besieged = e.now
	}
}

// evict ends the oldest half-open ISAKMP SA that keeps others from an address out, and reports whether there was one. Strangers take the places of strangers.
func (e *Engine) evict(from admission.Place, reason ike.Reason, stranger bool, age time.Duration) bool {
	for _, sa := range e.unanswered {
		if e.now.Sub(sa.began) < age {
			return false
		}
		switch {
		case reason == ike.RefuseEstablished && sa.place != from:
			continue
		case reason == ike.RefuseNew && (sa.place.Established || sa.place.From.Addr() != from.From.Addr()):
			continue
		case stranger && !sa.stranger:
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

// answerUnkept answers message 1 in a siege that there is no room for, and keeps nothing of who has sent it. It reports whether a place is of no use to it any more:
// it has an answer, or there are too many of its kind.
func (e *Engine) answerUnkept(d ike.Datagram, h isakmp.Header, among []*peer) bool {
	if !e.besiegedNow() {
		return false
	}
	var answer []byte
	number, known := e.openings.find(d), e.familiar(d)
	familiar := known != nil && bytes.Equal(known[initiatorCookie:], d.Payload[initiatorCookie:])
	switch {
	case number != noOpening:
		answer = slices.Clone(e.openings.list[number].answer)
	case !familiar && !e.novel.Take(e.now):
		e.besieged = e.now
		return true
	default:
		if answer = answerTo(d, among); answer == nil {
			return false
		}
		number = e.openings.keep(d, answer)
	}
	if familiar {
		number = familiarOpening
	}
	if number == noOpening {
		return false
	}
	e.besieged = e.now
	binary.BigEndian.PutUint64(answer, h.Initiator)
	binary.BigEndian.PutUint64(answer[initiatorCookie:], e.unkeptCookie(number, d.Payload, d, h.Initiator, 0))
	e.send(d.Local, d.Remote, answer)
	return true
}

// answerTo is message 2 to message 1, of which nothing is kept; nil: there is none. In the place of the responder's cookie there is anything.
func answerTo(d ike.Datagram, among []*peer) []byte {
	m, err := isakmp.Parse(d.Payload)
	if err != nil || m.Encrypted() {
		return nil
	}
	if kind, err := isakmp.Check(m.Header, m.Payloads); err != nil || kind != isakmp.KindMainSA {
		return nil
	}
	choice, likely, err := chooseAmong(among, isakmp.Find[*isakmp.SA](m.Payloads))
	if err != nil {
		return nil
	}
	cfg := &likely[0].cfg
	answer := isakmp.Message{Header: isakmp.Header{Cookies: m.Cookies, Exchange: isakmp.ExchangeMain}, Payloads: agreement(choice, readVendors(cfg, m.Payloads))}
	octets, err := answer.Marshal()
	if err != nil {
		return nil
	}
	return octets
}

// recalled is message 1 of which nothing was kept, by our cookie for it; nil: it is none that we gave.
func (e *Engine) recalled(d ike.Datagram, h isakmp.Header) []byte {
	number := openingNumber(h.Responder >> 48)
	opening := e.openings.at(number, d)
	if number == familiarOpening {
		opening = e.familiar(d)
	}
	if opening == nil || h.Responder != e.unkeptCookie(number, opening, d, h.Initiator, 0) && h.Responder != e.unkeptCookie(number, opening, d, h.Initiator, 1) {
		return nil
	}
	return opening
}

// resume finds the main mode that message 3 goes on with when nothing was kept of it; nil: message 3 comes out of nowhere.
func (e *Engine) resume(d ike.Datagram, h isakmp.Header) *isakmpSA {
	if h.Exchange != isakmp.ExchangeMain || h.Encrypted() || h.Responder == 0 {
		return nil
	}
	opening := e.recalled(d, h)
	if opening == nil {
		return nil
	}
	among := free(e.candidates(d))
	if len(among) == 0 { // IKEv2 has taken the peer over since
		e.fact(ike.Fact{Kind: ike.Refused, Reason: ike.RefuseCarried, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator})
		return nil
	}
	if reason := e.admit(placeAmong(among, d.Remote), among, false, 0); reason != "" {
		e.fact(ike.Fact{Kind: ike.Refused, Reason: reason, Local: d.Local, Remote: d.Remote, SPIi: h.Initiator})
		return nil
	}
	first := ike.Datagram{Local: d.Local, Remote: d.Remote, Payload: slices.Concat(d.Payload[:initiatorCookie], opening[initiatorCookie:])}
	m, err := parse(first, digestOf(first))
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

// unkeptCookie is our cookie for a main mode of which nothing is kept: the number of its opening, and a function of that, of where it comes from and of a secret, good
// for one to two lifetimes of a cookie.
func (e *Engine) unkeptCookie(number openingNumber, opening []byte, d ike.Datagram, initiator uint64, age int64) uint64 {
	if e.mac == nil {
		e.mac = hmac.New(sha256.New, e.random(sha256.Size))
	}
	local, remote := d.Local.Addr().As16(), d.Remote.Addr().As16()
	head := append(e.scratch[:0], local[:]...)
	head = append(head, remote[:]...)
	head = binary.BigEndian.AppendUint64(head, initiator)
	head = binary.BigEndian.AppendUint64(head, uint64(e.now.UnixNano()/int64(e.limits.CookieLifetime)-age))
	e.mac.Reset()
	e.mac.Write(head)
	e.mac.Write(opening[initiatorCookie:])
	e.scratch = e.mac.Sum(head[:0])
	const free = 1 << 16                                                                      // the least of the bits that a name leaves as they are
	return e.cfg.Name(uint64(number)<<48 | max(free, binary.BigEndian.Uint64(e.scratch)>>16)) // RFC 2408 2.5.3: never zero
}

// free are those of peers whom IKEv2 has not taken over.
func free(peers []*peer) []*peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p *peer) bool { return p.carried })
}
