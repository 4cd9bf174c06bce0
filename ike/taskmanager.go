package ike

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"sallyport/ike/internal/deadline"
	"sallyport/ike/wire"
)

// taskManager runs the exchanges of one IKE SA: it owns the message ids, the window of one request each way, retransmission, and the
// response kept for a peer that retransmits (RFC 7296 2.1 to 2.3).
//
//	  enqueue       window free          response with our id
//	─────────> queue ─────────> active ───────────────────────> processed ──> next in queue
//	                              │ ▲                              ├─ errWait: held until resume
//	                              │ │                              ├─ errLost: active, as if no response had come
//	                              └─┘ wait over: sent again        ├─ errRepeat: built anew, sent as active; errFollowup: as the exchange that follows
//	                              │                                └─ IKE_SA_INIT refused: active, and if nothing better comes the end
//	                              │
//	                              └─ tries used up: the IKE SA is dead
type taskManager struct {
	sa          *ikeSA
	nextSend    uint32
	nextReceive uint32

	queue  []*exchange
	active *exchange
	retry  deadline.Timer

	held *held // waits for the outside, and the window with it

	lastRequest  digest // and the response it got, for the request before nextReceive
	lastResponse *sealed
	repeated     int // how often it was asked for again

	parts reassemblies
}

// held is a message that tasks read: the peer's request, or the response to our active one.
type held struct {
	message  *message
	exchange *exchange // that a response belongs to
	tasks    []task
	next     int // the one whose turn it is
}

// read lets the tasks have the message, from where they stopped.
func (tm *taskManager) read(h *held) error {
	tm.sa.processing = true
	defer func() { tm.sa.processing = false }()
	for ; h.next < len(h.tasks); h.next++ {
		if err := h.tasks[h.next].process(h.message); err != nil {
			return err
		}
	}
	return nil
}

// resume goes on with a message that was put aside.
func (tm *taskManager) resume() {
	h := tm.held
	if tm.held = nil; h.message.Response() {
		tm.digest(h)
	} else {
		tm.proceed(h)
	}
}

// enqueue orders an exchange, to be started at once when the window is free.
func (tm *taskManager) enqueue(kind wire.ExchangeType, tasks ...task) {
	tm.queue = append(tm.queue, &exchange{kind: kind, tasks: tasks})
	tm.start()
}

// start begins exchanges from the queue until one waits for its response.
func (tm *taskManager) start() {
	for tm.active == nil && len(tm.queue) > 0 && !tm.sa.processing && tm.sa.state != stateClosed {
		x := tm.queue[0]
		tm.queue = tm.queue[1:]
		x.id = tm.nextSend
		err := tm.compose(x)
		switch {
		case errors.Is(err, errNothingToDo):
			x.abandon()
		case err != nil:
			x.abandon()
			tm.sa.fail(err)
		default:
			tm.nextSend++
			tm.active = x
			tm.transmit()
			for _, do := range x.message.after {
				do()
			}
		}
	}
}

func (tm *taskManager) compose(x *exchange) error {
	if x.id == math.MaxUint32 {
		return errors.New("message ids are used up") // RFC 7296 2.2: rekey must come first, and does for any rate of exchanges
	}
	m := tm.newMessage(x.kind, x.id, false)
	for _, t := range x.tasks {
		if err := t.build(m); err != nil {
			return err
		}
	}
	var err error
	if x.sealed, err = tm.sa.seal(m); err != nil {
		return fmt.Errorf("%v request: %w", x.kind, err)
	}
	x.message = m
	tm.sa.note(m, true)
	if x.kind == wire.ExchangeIKESAInit {
		tm.sa.claims.reopened(x)
		x.tasks[0].(*initInitiator).sends(x.sealed.datagrams[0])
	}
	return nil
}

// transmit sends the active request, and again with growing pauses until the response comes (RFC 7296 2.4).
func (tm *taskManager) transmit() {
	e, x, r := tm.sa.engine, tm.active, tm.sa.engine.limits.Retransmit
	switch {
	case x.kind == wire.ExchangeIKESAInit && tm.believe(x):
		return
	case x.tries >= tm.sa.tries():
		if at := tm.sa.listens(); at.After(e.now) {
			e.timers.Set(&tm.retry, at, tm.transmit)
			return
		}
		tm.sa.unanswered(x)
		return
	}
	if x.tries > 0 {
		f := tm.sa.fact(Retransmitted)
		f.Tries, f.Message, f.Detail = x.tries+1, x.id, x.kind.String()
		e.fact(f)
		tm.sa.peer.resent++
	}
	if x.tries == narrowTries {
		if err := tm.sa.shorten(x.sealed, tm.sa.shortestPath()); err != nil {
			tm.sa.fail(fmt.Errorf("%v request: %w", x.kind, err))
			return
		}
	}
	tm.sa.tryElsewhere(x)
	if t, ok := x.tasks[0].(*initInitiator); ok {
		t.computed = 0
	}
	x.tries++
	tm.sa.sending(x)
	tm.sa.transmit(x.sealed, Datagram{Local: tm.sa.local, Remote: tm.sa.remote})
	e.timers.Set(&tm.retry, e.now.Add(e.jitter(r.Wait(x.tries-1), r.Jitter)), tm.transmit)
}

// believe acts on what was said in answer to IKE_SA_INIT when the peer has had its time to contradict (RFC 7296 2.21.1), and reports whether there is
// nothing more to send.
func (tm *taskManager) believe(x *exchange) bool {
	if x.tries < tm.sa.peer.disbelief() {
		return false
	}
	t := x.tasks[0].(*initInitiator)
	switch hint, found := t.follow(tm.sa); {
	case hint.gateway.IsValid():
		tm.sa.goTo(hint.gateway)
	case found:
		tm.active = nil
		tm.conclude(x, errRepeat)
	case x.refused != nil:
		tm.sa.fail(x.refused)
	default:
		return false
	}
	return true
}

// narrowTries is how often a message is sent before shorter fragments of it are tried (RFC 7383 2.5.2).
const narrowTries = 3

// response takes the answer to the active request; anything else is late or forged.
func (tm *taskManager) response(d Datagram, h wire.Header) {
	e, x := tm.sa.engine, tm.active
	if x == nil || tm.held != nil || h.MessageID != x.id || h.Exchange != x.kind {
		e.drop(d, h, DropMessageID)
		return
	}
	m, err := tm.open(d, h)
	if m == nil {
		return
	}
	e.calls.End(&tm.sa.call) // it has read our message, wherever it is
	tm.sa.heard(d, false)
	e.timers.Stop(&tm.retry)
	if err != nil {
		tm.active = nil
		tm.conclude(x, err)
		return
	}
	tm.digest(&held{message: m, exchange: x, tasks: x.tasks})
}

// digest gives the response to the active request to its tasks.
func (tm *taskManager) digest(h *held) {
	x := h.exchange
	tm.active = nil
	tm.sa.note(h.message, false)
	if n := h.message.notify(wire.NotifyInvalidSyntax); n != nil {
		tm.conclude(x, failureOf(n)) // and the peer has closed the IKE SA (RFC 7296 2.21.3)
		return
	}
	switch err := tm.read(h); {
	case errors.Is(err, errWait):
		tm.active, tm.held = x, h
	case errors.Is(err, errLost):
		tm.await(x)
	default:
		tm.conclude(x, err)
	}
}

// conclude ends an exchange of ours, with what its tasks made of the response.
func (tm *taskManager) conclude(x *exchange, err error) {
	switch {
	case errors.Is(err, errRepeat):
		err = tm.again(x)
	case errors.Is(err, errFollowup):
		x.kind, err = wire.ExchangeFollowupKE, nil
		x.tries = 0
		tm.queue = slices.Insert(tm.queue, 0, x)
	}
	switch {
	case err != nil && x.kind == wire.ExchangeIKESAInit:
		// Nobody has signed it. It counts when nothing better has come in time (believe).
		x.refused = err
		tm.await(x)
		return
	case err != nil:
		x.abandon()
		tm.sa.abort(err)
	default:
		tm.sa.concluded(RoleInitiator)
		tm.sa.settlePath()
	}
	tm.start()
}

// await waits on for another response to the exchange that was active.
func (tm *taskManager) await(x *exchange) {
	tm.active = x
	tm.sa.engine.timers.Set(&tm.retry, tm.retry.At(), tm.transmit)
}

// again builds an exchange anew. IKE_SA_INIT keeps its message id 0 (RFC 7296 2.6.1), any other takes the next.
func (tm *taskManager) again(x *exchange) error {
	if x.repeats++; x.repeats > maxRepeats {
		return failf(FailCookie, "peer asked for %v %d times anew", x.kind, x.repeats)
	}
	if x.kind == wire.ExchangeIKESAInit {
		tm.nextSend = 0
	}
	x.tries, x.refused = 0, nil
	tm.queue = slices.Insert(tm.queue, 0, x)
	return nil
}

// pending reports whether some exchange, waiting or active, has a task that match accepts.
func (tm *taskManager) pending(match func(task) bool) bool {
	if tm.active != nil && slices.ContainsFunc(tm.active.tasks, match) {
		return true
	}
	return slices.ContainsFunc(tm.queue, func(x *exchange) bool { return slices.ContainsFunc(x.tasks, match) })
}

// inFlight reports whether the request that waits for its response has a task that match accepts.
func (tm *taskManager) inFlight(match func(task) bool) bool {
	return tm.active != nil && slices.ContainsFunc(tm.active.tasks, match)
}

// flush drops what waits in the queue.
func (tm *taskManager) flush() {
	queue := tm.queue
	tm.queue = nil
	for _, x := range queue {
		x.abandon()
	}
}

// stop ends all exchanges.
func (tm *taskManager) stop() {
	tm.sa.engine.timers.Stop(&tm.retry)
	tm.sa.forget(&tm.parts.request)
	tm.sa.forget(&tm.parts.response)
	if h := tm.held; h != nil && !h.message.Response() {
		for _, t := range h.tasks {
			t.abandon()
		}
	}
	tm.held = nil
	if x := tm.active; x != nil {
		tm.active = nil
		x.abandon()
	}
	tm.flush()
}
