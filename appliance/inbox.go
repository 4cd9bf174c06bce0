package appliance

import (
	"encoding/binary"
	"sync/atomic"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// inboxSize bounds the IKE datagrams and acquires that wait for the slow-path
// core. What does not fit is dropped and counted: IKE retransmits, and a flood
// must not grow memory (S-089).
const inboxSize = 512

// inbox holds what waits for the engine, in two queues: messages that begin a
// negotiation, and everything else, which goes first. So a gateway that is asked
// for more than it can do ends what it has begun before it begins anything else,
// and what it has to drop are messages that it has not spent any work on (S-117).
type inbox struct {
	first chan ike.Event
	later chan ike.Event
	run   int // of later ones while first ones waited

	overflow *overflow
}

// overflow counts what found its queue full, for each queue: a message that begins
// a negotiation costs nobody anything but its repetition, of the others one is part
// of work that waits.
type overflow struct{ first, later atomic.Uint64 }

func (o *overflow) view() api.QueueFull {
	return api.QueueFull{Begin: o.first.Load(), Continue: o.later.Load()}
}

// longestRun is how many later messages are taken, at most, while one that begins
// a negotiation waits. Whoever has it is not known yet: a flood of forged later
// ones, which cost little, must not shut the door to everybody.
const longestRun = 16

// firstShare is the part of the inbox that messages have that begin a negotiation.
const firstShare = inboxSize / 4

func newInbox() inbox {
	return inbox{first: make(chan ike.Event, firstShare), later: make(chan ike.Event, inboxSize-firstShare), overflow: &overflow{}}
}

// offer takes an event if there is room, and counts it if not.
func (b *inbox) offer(event ike.Event) {
	queue, full := b.later, &b.overflow.later
	if d, ok := event.(ike.Datagram); ok && begins(d.Payload) {
		queue, full = b.first, &b.overflow.first
	}
	select {
	case queue <- event:
	default:
		full.Add(1)
	}
}

// begins reports whether a message begins a negotiation: its responder has no SPI,
// nor cookie, yet (RFC 7296 section 3.1, RFC 2408 section 3.1).
func begins(message []byte) bool {
	const responder = 8
	return len(message) >= responder+8 && binary.BigEndian.Uint64(message[responder:]) == 0
}

// queues are those to take the next event from; nil where none is to be taken.
func (b *inbox) queues() (first, later <-chan ike.Event) {
	switch {
	case len(b.first) == 0 || len(b.later) == 0:
		b.run = 0
		return b.first, b.later
	case b.run >= longestRun:
		b.run = 0
		return b.first, nil
	}
	b.run++
	return nil, b.later
}
