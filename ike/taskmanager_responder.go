package ike

import (
	"errors"
	"fmt"

	"sallyport/crypto"
	"sallyport/ike/wire"
)

// request takes a request of the peer's when it is the next one, or repeats the last response when it is the last one again.
func (tm *taskManager) request(d Datagram, h wire.Header) {
	e := tm.sa.engine
	switch {
	case h.MessageID+1 == tm.nextReceive && tm.lastResponse != nil:
		tm.repeat(d, h)
		return
	case h.MessageID != tm.nextReceive:
		e.drop(d, h, DropMessageID)
		return
	case tm.held != nil && !tm.held.message.Response():
		tm.sa.countRepeat()
		return
	case !tm.sa.expects(h.Exchange):
		e.drop(d, h, DropExchange)
		return
	}
	m, err := tm.open(d, h)
	if m == nil {
		return
	}
	tm.sa.heard(d, true)
	if m.longest > 0 {
		tm.sa.narrowPath(m.longest + tm.sa.outside()) // the way back is no wider, as far as the peer knows
	}
	if err != nil {
		tm.answerBroken(m, err)
		return
	}
	if tm.sa.overruns(m) {
		return
	}
	tm.handle(m)
}

// open reads a datagram. It gives nothing when the peer has not sent it, or not all of its message.
func (tm *taskManager) open(d Datagram, h wire.Header) (*message, error) {
	m, err := tm.sa.open(d)
	var anybody *unauthenticated
	if errors.As(err, &anybody) {
		tm.sa.engine.drop(d, h, anybody.reason)
	}
	return m, err
}

// repeat answers the request that was answered last once more. Of a request in fragments only the first one counts, and the response is cut as short
// as that. A response that is asked for again and again does not get through as it is.
func (tm *taskManager) repeat(d Datagram, h wire.Header) {
	sa, narrow := tm.sa, 0
	if digestOf(d) != tm.lastRequest {
		fragment, first := sa.isFragmentAgain(d)
		switch {
		case !fragment:
			sa.engine.drop(d, h, DropMessageID)
			return
		case !first:
			return
		}
		narrow = len(d.Payload) + sa.outside()
	}
	if (d.Remote != sa.remote || tm.repeated >= mostRepeats) && !sa.engine.mayReply(d) {
		return
	}
	if tm.repeated++; tm.repeated == narrowTries {
		narrow = sa.shortestPath()
	}
	if narrow > 0 {
		if err := sa.shorten(tm.lastResponse, narrow); err != nil {
			sa.fail(fmt.Errorf("response again: %w", err))
			return
		}
	}
	sa.countRepeat()
	sa.transmit(tm.lastResponse, d)
}

// mostRepeats is how often a response is sent again without a limit to the rate: more often than a peer in need of it asks. A request is repeated by
// whoever has seen it, from any address, and the response may be many times as long.
const mostRepeats = 64

// answerBroken answers an authenticated request that cannot be understood. An unknown critical payload costs the request only (RFC 7296 2.5);
// bad syntax is a fault on one side that no retry heals, so the IKE SA ends on both (2.21.3).
func (tm *taskManager) answerBroken(request *message, err error) {
	n := wire.NotifyFor(err)
	if n == nil {
		n = wire.NewNotify(wire.NotifyInvalidSyntax, nil)
	}
	m := tm.newMessage(request.Exchange, request.MessageID, true)
	m.add(n)
	if n.Type != wire.NotifyUnsupportedCriticalPayload || tm.sa.state == stateHalfOpen {
		m.then(func() { tm.sa.fail(err) })
	}
	tm.reply(request, m)
}

// handle answers a request that could be understood.
func (tm *taskManager) handle(request *message) {
	tm.sa.note(request, false)
	tm.proceed(&held{message: request, tasks: tm.sa.responders(request)})
}

func (tm *taskManager) proceed(h *held) {
	sa, request := tm.sa, h.message
	answer, err := tm.answer(h)
	var anybody *unauthenticated
	var r *refusal
	switch {
	case errors.Is(err, errWait):
		tm.held = h
		return
	case errors.Is(err, errLost):
		return
	case errors.As(err, &anybody):
		sa.engine.drop(request.datagram(), request.Header, anybody.reason)
		if errors.Is(err, crypto.ErrPeerValue) {
			sa.engine.answerUnprotected(request.datagram(), request.Header, wire.NewNotify(wire.NotifyInvalidSyntax, nil))
		}
		return
	case errors.As(err, &r):
		if sa.keys == nil && !r.goesOn && !sa.engine.mayReply(request.datagram()) {
			return
		}
		answer = tm.newMessage(request.Exchange, request.MessageID, true)
		answer.add(r.notify)
		if !r.goesOn {
			answer.then(func() { sa.fail(err) })
		}
	case err != nil:
		answer = tm.newMessage(request.Exchange, request.MessageID, true)
		answer.add(wire.NewNotify(wire.NotifyInvalidSyntax, nil))
		answer.then(func() { sa.fail(err) })
	}
	tm.reply(request, answer)
}

func (tm *taskManager) newMessage(kind wire.ExchangeType, id uint32, response bool) *message {
	return &message{sa: tm.sa, Message: wire.Message{Header: tm.sa.header(kind, id, response)}}
}

// answer lets the tasks read the request, and then build the answer.
func (tm *taskManager) answer(h *held) (*message, error) {
	if err := tm.read(h); err != nil {
		return nil, err
	}
	tm.sa.processing = true
	defer func() { tm.sa.processing = false }()
	answer := tm.newMessage(h.message.Exchange, h.message.MessageID, true)
	for _, t := range h.tasks {
		if err := t.build(answer); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// reply sends a response, keeps it for retransmissions of its request, and then lets happen what had to wait for it.
func (tm *taskManager) reply(request, answer *message) {
	sealed, err := tm.sa.seal(answer)
	if err != nil {
		tm.sa.fail(fmt.Errorf("%v response: %w", answer.Exchange, err))
		return
	}
	tm.nextReceive++
	tm.sa.note(answer, true)
	if answer.Exchange == wire.ExchangeIKESAInit {
		tm.sa.initResponse = sealed.datagrams[0] // repeatInit keeps account of it
	} else {
		tm.lastRequest, tm.lastResponse, tm.repeated = request.digest, sealed, 0
	}
	tm.sa.transmit(sealed, request.datagram())
	for _, do := range answer.after {
		do()
	}
	tm.sa.concluded(RoleResponder)
	tm.start()
}

// repeatInit answers an IKE_SA_INIT request that came before, as often as a peer sends one and then at the rate of other answers to nobody knows whom. Once
// the peer has gone on from there it is an old datagram.
func (tm *taskManager) repeatInit(d Datagram, h wire.Header) {
	if tm.sa.state != stateHalfOpen {
		tm.sa.engine.drop(d, h, DropNoState)
		return
	}
	if (d.Remote != tm.sa.remote || tm.repeated >= tm.sa.engine.limits.Retransmit.Tries) && !tm.sa.engine.mayReply(d) {
		return
	}
	tm.repeated++
	tm.sa.countRepeat()
	tm.sa.engine.send(d.Local, d.Remote, tm.sa.initResponse)
}
