package appliance

import (
	"encoding/binary"

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
}

// longestRun is how many later messages are taken, at most, while one that begins
// a negotiation waits. Whoever has it is not known yet: a flood of forged later
// ones, which cost little, must not shut the door to everybody.
const longestRun = 16

// firstShare is the part of the inbox that messages have that begin a negotiation.
const firstShare = inboxSize / 4

func newInbox() inbox {
	return inbox{first: make(chan ike.Event, firstShare), later: make(chan ike.Event, inboxSize-firstShare)}
}

// offer reports whether there was room.
func (b *inbox) offer(event ike.Event) bool {
	queue := b.later
	if d, ok := event.(ike.Datagram); ok && begins(d.Payload) {
		queue = b.first
	}
	select {
	case queue <- event:
		return true
	default:
		return false
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
