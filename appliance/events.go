package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"sync"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
)

// How many facts are kept: our own and those that strangers can cause.
const (
	ownFacts      = 4096
	strangerFacts = 1024
)

// eventLog is the stream of IKE facts: it numbers them, keeps the last ones, and lets readers follow. Whoever adds a fact never waits for a reader;
// one that is too slow finds a gap in the numbers.
type eventLog struct {
	mu             sync.Mutex
	next           uint64 // the number of the next fact; the first is 1
	own, strangers factRing
	added          chan struct{} // closed at the next fact; nil while nobody waits for that
}

// numberedFact is a fact with its place in the stream.
type numberedFact struct {
	ike.Fact
	number uint64
}

// factRing holds the last facts added, oldest first from start on.
type factRing struct {
	facts []numberedFact
	start int
	room  int
}

func newEventLog() *eventLog {
	return &eventLog{next: 1, own: factRing{room: ownFacts}, strangers: factRing{room: strangerFacts}}
}

func (r *factRing) add(f numberedFact) {
	if len(r.facts) < r.room {
		r.facts = append(r.facts, f)
		return
	}
	r.facts[r.start] = f
	r.start = (r.start + 1) % r.room
}

// from is the first fact with that number or a later one.
func (r *factRing) from(number uint64) *numberedFact {
	at := func(i int) *numberedFact { return &r.facts[(r.start+i)%len(r.facts)] }
	i := sort.Search(len(r.facts), func(i int) bool { return at(i).number >= number })
	if i == len(r.facts) {
		return nil
	}
	return at(i)
}

func (l *eventLog) add(f ike.Fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := &l.own
	if byStrangers(f) {
		ring = &l.strangers
	}
	ring.add(numberedFact{f, l.next})
	l.next++
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
}

// now is the number of the next fact.
func (l *eventLog) now() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// eventBatch bounds how long a reader keeps the engine from adding.
const eventBatch = 64

// read copies facts from a number on, at most eventBatch of them, in their order. Next is the number to go on from. Without facts, more is closed
// when there is one.
func (l *eventLog) read(number uint64) (facts []numberedFact, next uint64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(facts) < eventBatch {
		f, other := l.own.from(number), l.strangers.from(number)
		if f == nil || other != nil && other.number < f.number {
			f = other
		}
		if f == nil {
			break
		}
		facts = append(facts, *f)
		number = f.number + 1
	}
	if len(facts) > 0 {
		return facts, number, nil
	}
	if l.added == nil {
		l.added = make(chan struct{})
	}
	return nil, l.next, l.added
}

// eventWrite is how long a follower may take to read what is written to it; the connection of one that takes longer is closed.
const eventWrite = 10 * time.Second

// serveEvents writes the stream as lines of JSON: what is kept, from number ?from on and of ?peer alone if that is named, and with
// ?follow=true what comes, until the client goes.
func (g *Gateway) serveEvents(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	peer, from, follow, err := g.eventQuery(query.Get("peer"), query.Get("from"), query.Get("follow"))
	if err != nil {
		respond(w, nil, badRequest{err})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	connection, lines := http.NewResponseController(w), json.NewEncoder(w)
	if from == 0 { // what is kept; what is gone since start is no gap
		from = g.events.oldest()
	}
	for {
		facts, next, more := g.events.read(from)
		_ = connection.SetWriteDeadline(time.Now().Add(eventWrite)) // not on a test's recorder
		for _, f := range facts {
			if err := writeEvent(lines, f, &from, peer); err != nil {
				return // the client is gone, or does not read
			}
		}
		from = next
		if len(facts) > 0 {
			continue
		}
		if !follow {
			return
		}
		_ = connection.Flush()
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// writeEvent writes a fact, and before it the gap since the number that was expected.
func writeEvent(lines *json.Encoder, f numberedFact, expected *uint64, peer string) error {
	if lost := f.number - *expected; lost > 0 {
		if err := lines.Encode(api.Event{Number: f.number, Lost: lost}); err != nil {
			return err
		}
	}
	*expected = f.number + 1
	if peer != "" && f.Peer != peer {
		return nil
	}
	event := eventOf(f.Fact)
	event.Number = f.number
	return lines.Encode(event)
}

// oldest is the number of the oldest fact that is kept, or of the next one.
func (l *eventLog) oldest() uint64 {
	facts, next, _ := l.read(0)
	if len(facts) > 0 {
		return facts[0].number
	}
	return next
}

func (g *Gateway) eventQuery(peer, from, follow string) (_ string, number uint64, _ bool, err error) {
	if peer != "" {
		err = g.negotiator.known(peer, "")
	}
	if from != "" {
		if number, err = strconv.ParseUint(from, 10, 64); err != nil {
			err = fmt.Errorf("from: expected the number of an event, found %q", from)
		}
	}
	if follow != "" && follow != "true" && follow != "false" {
		err = errors.New("follow: expected true or false")
	}
	return peer, number, follow == "true", err
}
