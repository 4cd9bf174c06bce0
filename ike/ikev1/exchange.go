package ikev1

import (
	"errors"

	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
)

// exchange is main mode, under message ID 0, or one quick mode under an ID of its own: a conversation of which each message answers the one before.
//
//	                    message of the peer's
//	send, which asks ─────────────────────────> task.take: accept, then perhaps send again
//	    │       ▲                                   │
//	    │ wait over: the same octets again          └─ unauthenticated: nothing has changed
//	    │       │
//	    └───────┴─ tries used up: task.unanswered
//
// What asks is sent again by its sender; what only answers is sent again when the same message of the peer's comes again. Messages are told from
// their repetitions by their octets, before anything is decrypted. The IV chain moves when a message of the peer's has proved authentic
// and when one of ours is made, and for nothing else: whoever forges a message does not put it out of step.
type exchange struct {
	sa   *isakmpSA
	kind isakmp.ExchangeType
	id   uint32
	role ike.Role // who began it
	iv   []byte   // of the next message of either end; nil: they are in clear
	task task

	flags    isakmp.Flags // of our messages
	sent     []byte       // our last message
	asks     bool         // it wants an answer
	tries    int          // sendings of it
	retry    deadline.Timer
	answered digest // the message of the peer's that was accepted last
	repeated int    // how often that came again
	late     func() // told that our last message has not come through until now; nil: nobody wants to know

	doubt   error // why an encrypted message was not taken for the peer's
	refused error // what a message in clear said that anybody may have sent; nothing better has come
}

// task is what an exchange is about, seen from one of its ends.
type task interface {
	// take reads the peer's next message. An *unauthenticated error means that it changes nothing. Once it is found to be the peer's take calls
	// accept, and what is wrong with it from there on is the end of the exchange.
	take(m *message) error
	// unanswered ends an exchange to whose last message no answer came.
	unanswered(x *exchange)
	// fail ends an exchange that cannot come to its end.
	fail(err error)
}

// receive takes a message for this exchange.
func (x *exchange) receive(d ike.Datagram, h isakmp.Header) {
	of := digestOf(d)
	if of == x.answered {
		x.repeat(d)
		return
	}
	m, err := parse(d, of)
	if err == nil {
		err = x.open(m)
	}
	if err == nil {
		err = x.task.take(m)
	}
	x.conclude(d, h, err)
}

// open decrypts a message when the exchange has come so far, and insists on one in clear when it has not.
func (x *exchange) open(m *message) error {
	switch encrypted := m.Encrypted(); {
	case encrypted && x.iv == nil:
		return &unauthenticated{ike.DropExchange, errors.New("encrypted before there are keys")}
	case !encrypted && x.iv != nil:
		return &unauthenticated{ike.DropCleartext, errors.New("in clear where all is encrypted")}
	case encrypted:
		return m.decrypt(x.sa.keys, x.iv)
	}
	return nil
}

// conclude sees to what became of a message.
func (x *exchange) conclude(d ike.Datagram, h isakmp.Header, err error) {
	var anybody *unauthenticated
	switch {
	case err == nil:
	case errors.As(err, &anybody):
		if h.Encrypted() {
			x.doubt = anybody.err
		}
		x.sa.engine.drop(d, h, anybody.reason)
	case x.iv == nil && x.asks:
		x.refused = err // it counts when nothing better has come by the time of the next sending
	default:
		x.task.fail(err)
	}
}

// accept takes a message for the peer's: from here on it counts.
func (x *exchange) accept(m *message) {
	x.sa.engine.timers.Stop(&x.retry)
	x.answered, x.sent, x.asks, x.repeated, x.refused = m.digest, nil, false, 0, nil
	x.sa.observe(&m.Message, false, m.local, m.remote)
	if m.chain != nil {
		x.iv = m.next
		x.sa.heard(m)
	}
}

// send makes our next message and sends it. One that asks is sent again until the answer comes. A hash function makes the HASH that it begins with.
func (x *exchange) send(asks bool, hash func(rest []byte) []byte, payloads ...isakmp.Payload) error {
	sa := x.sa
	h := isakmp.Header{Cookies: sa.cookies, Exchange: x.kind, MessageID: x.id, Flags: x.flags}
	b, err := sa.seal(h, &x.iv, payloads, hash)
	if err != nil {
		return failf(ike.FailInternal, "%v: %v", x.kind, err)
	}
	x.sent, x.asks, x.tries = b, asks, 0
	x.transmit()
	return nil
}

// transmit sends our last message, and when it asks, again with growing pauses.
func (x *exchange) transmit() {
	e, r := x.sa.engine, x.sa.engine.limits.Retransmit
	switch {
	case x.refused != nil:
		x.task.fail(x.refused)
		return
	case x.tries >= x.most():
		if at := x.sa.listens(); at.After(e.now) {
			e.timers.Set(&x.retry, at, x.transmit)
			return
		}
		x.task.unanswered(x)
		return
	}
	if x.tries > 0 {
		f := x.sa.fact(ike.Retransmitted)
		f.Tries, f.Message, f.Detail = x.tries+1, x.id, x.kind.String()
		e.fact(f)
		if x.sa.peer != nil {
			x.sa.peer.resent++
		}
	}
	x.tries++
	x.sa.transmit(x.sa.local, x.sa.remote, x.sent)
	if x.asks {
		e.timers.Set(&x.retry, e.now.Add(e.jitter(r.Wait(x.tries-1), r.Jitter)), x.transmit)
	}
}

// most is how often our last message is sent.
func (x *exchange) most() int {
	if x.sa.call.Silent() {
		return x.sa.engine.limits.Attempts
	}
	return x.sa.engine.limits.Retransmit.Tries
}

// repeat sends what answers a message once more, because that came once more: our answer is lost, or the peer has not waited for it. When our last
// message asks, and the exchange is ours, we send it again by our own clock.
func (x *exchange) repeat(d ike.Datagram) {
	if x.sa.peer != nil {
		x.sa.peer.repeats++
	}
	if x.sent == nil || x.asks && x.role == ike.RoleInitiator {
		return
	}
	most := mostRepeats
	if x.sa.state == stateHalfOpen { // nothing has shown yet that who asks is where the answer goes
		most = x.sa.engine.limits.Retransmit.Tries
	}
	if (d.Remote != x.sa.remote || x.repeated >= most) && !x.sa.engine.mayReply(d) {
		return
	}
	x.repeated++
	x.sa.transmit(d.Local, d.Remote, x.sent)
	if x.late != nil {
		x.late()
	}
}

// mostRepeats is how often a message is sent again without a limit to the rate: more often than a peer in need of it asks. A message is repeated by
// whoever has seen it, from any address.
const mostRepeats = 64

// rest has our last message wait until it is asked for.
func (x *exchange) rest() {
	x.sa.engine.timers.Stop(&x.retry)
	x.asks = false
}

// stop ends an exchange: nothing of it is sent any more.
func (x *exchange) stop() {
	x.sa.engine.timers.Stop(&x.retry)
	x.asks, x.sent = false, nil
}
