package appliance

import (
	"encoding/binary"
	"sync"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/pipeline"
)

// The queues of the inbox, in the order in which they are served. As those of the data plane, which are longer and in C, they keep apart what anybody
// can make a flood of: first messages from the others, because they can be forged in any name, strangers from peers, because there are more
// forged addresses than peers, and later messages that name no IKE SA of ours from those that do, whose SPI nobody can forge who has not seen it. What the data plane asks for is apart from both: hosts behind the gateway can make many tunnels necessary at once.
const (
	queueContinue         = iota // messages that name an IKE SA of ours
	queueOwn                     // packets that want an SA, peers that have moved
	queueContinueStranger        // others that go on with an exchange, whatever address they come from
	queueBegin                   // messages from a peer's address that begin a negotiation
	queueBeginStranger           // as queueBegin, from elsewhere
	queueCount
)

// queueSizes bound the IKE messages and wishes that wait for the engine. What does not fit is dropped and counted: IKE retransmits, and a flood must not
// grow memory (S-089). What begins a negotiation waits no longer than it is worth.
var queueSizes = [queueCount]int{queueContinue: 384, queueOwn: 256, queueContinueStranger: 256, queueBegin: 128, queueBeginStranger: 128}

// longestRun is how many events are taken, at most, while another queue's first one waits. Work that was begun goes before new work, so that a gateway
// that is asked for more than it can do ends what it has begun before it begins anything else, and what it has to drop are messages that it has not spent
// any work on (S-117). Yet not for ever: a flood of forged later messages, which cost little, must not shut the door to everybody.
const longestRun = 16

// inbox holds what waits for the engine. Any goroutine fills it, the engine's empties it.
type inbox struct {
	ready chan struct{} // something waits

	mu     sync.Mutex
	queues [queueCount]queue
}

// queue is a ring of events.
type queue struct {
	events []queued
	head   int
	n      int
	passed int                      // events of other queues that were taken since the first one waits
	full   uint64                   // events that found no room
	shares [pipeline.PuntShares]int // events of each that wait
}

// queued is an event and whose share of its queue it takes.
type queued struct {
	event ike.Event
	share uint8
}

func newInbox() *inbox {
	b := &inbox{ready: make(chan struct{}, 1)}
	for i, size := range queueSizes {
		b.queues[i].events = make([]queued, size)
	}
	return b
}

// message takes a message if there is room, and counts it if not.
func (b *inbox) message(d ike.Datagram, known bool, share uint8) {
	to := queueContinueStranger
	switch begin := begins(d.Payload); {
	case begin && known:
		to = queueBegin
	case begin:
		to = queueBeginStranger
	case known:
		to = queueContinue
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if q := &b.queues[to]; q.room(q.shares[share]) {
		b.put(to, queued{d, share})
	}
}

// want takes a wish of the data plane's in the same way.
func (b *inbox) want(event ike.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queues[queueOwn].room(0) {
		b.put(queueOwn, queued{event: event})
	}
}

// begins reports whether a message begins a negotiation: its responder has no SPI,
// nor cookie, yet (RFC 7296 section 3.1, RFC 2408 section 3.1).
func begins(message []byte) bool {
	const responder = 8
	return len(message) >= responder+8 && binary.BigEndian.Uint64(message[responder:]) == 0
}

// room reports whether there is some for a share that so many events wait of, and counts what finds none. A share may have as many as there are places free, so that a
// flood from one address, or of copies of one message, fills half of a queue and leaves room to everybody else.
func (q *queue) room(waiting int) bool {
	if waiting < len(q.events)-q.n {
		return true
	}
	q.full++
	return false
}

func (b *inbox) put(to int, e queued) {
	q := &b.queues[to]
	q.events[(q.head+q.n)%len(q.events)] = e
	q.n++
	q.shares[e.share]++
	b.rouse()
}

func (b *inbox) rouse() {
	select {
	case b.ready <- struct{}{}:
	default: // it is known already
	}
}

// take is the event whose turn it is: of the first queue that has one, unless another has waited too long. Nil when nothing waits.
func (b *inbox) take() ike.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	from, waiting := -1, 0
	for i := range b.queues {
		q := &b.queues[i]
		waiting += q.n
		if q.n > 0 && (from < 0 || q.passed >= longestRun && b.queues[from].passed < longestRun) {
			from = i
		}
	}
	if from < 0 {
		return nil
	}
	for i := range b.queues {
		if i != from && b.queues[i].n > 0 {
			b.queues[i].passed++
		}
	}
	if waiting > 1 {
		b.rouse()
	}
	return b.queues[from].pop()
}

func (q *queue) pop() ike.Event {
	e := q.events[q.head]
	q.events[q.head] = queued{}
	q.head = (q.head + 1) % len(q.events)
	q.n--
	q.shares[e.share]--
	q.passed = 0
	return e.event
}

// overflow is what found its queue full, for each queue: a message that begins a negotiation costs nobody anything but its repetition, of the others
// one is part of work that waits.
func (b *inbox) overflow() api.QueueFull {
	b.mu.Lock()
	defer b.mu.Unlock()
	return api.QueueFull{
		Continue:         b.queues[queueContinue].full,
		Own:              b.queues[queueOwn].full,
		ContinueStranger: b.queues[queueContinueStranger].full,
		Begin:            b.queues[queueBegin].full,
		BeginStranger:    b.queues[queueBeginStranger].full,
	}
}
