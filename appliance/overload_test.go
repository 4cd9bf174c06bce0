package appliance

import (
	"encoding/binary"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/pipeline"
)

// The messages that a peer sends for a connection by IKEv1, in their order, and about what each costs the gateway: three of main mode and two of quick mode, of
// which the last wants no answer.
var connection = []time.Duration{50 * time.Microsecond, 400 * time.Microsecond, 150 * time.Microsecond, 250 * time.Microsecond, 100 * time.Microsecond}

const (
	arrival = 10 * time.Microsecond  // what the data plane takes for each, on the same core, also of those that find no room
	trip    = 300 * time.Microsecond // there and back
)

// crowded is a gateway on a clock of the test's, and peers that connect as soon as they have connected.
type crowded struct {
	inbox     *inbox
	owed      time.Duration // to the data plane
	at        []int         // how far each peer has come, as the gateway knows
	answers   []chan int
	completed int
}

func (c *crowded) send(peer, step int) {
	message := messageFor(uint64(min(step, 1)))
	binary.BigEndian.PutUint32(message, uint32(peer))
	c.owed += arrival
	c.inbox.message(ike.Datagram{Payload: append(message, byte(step))}, true, uint8(peer%pipeline.PuntShares))
}

// peer connects again and again.
func (c *crowded) peer(number int, ended <-chan struct{}) {
	for {
		for step := range connection {
			if c.send(number, step); step == len(connection)-1 {
				break
			}
			for wait := 500 * time.Millisecond; ; wait = wait * 9 / 5 {
				again := time.NewTimer(wait)
				select {
				case <-ended:
					again.Stop()
					return
				case <-c.answers[number]:
					again.Stop()
				case <-again.C:
					c.send(number, step)
					continue
				}
				break
			}
			time.Sleep(trip)
		}
	}
}

// run is the negotiator's, with work that takes time and does nothing.
func (c *crowded) run(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-c.inbox.ready:
			c.take(c.inbox.take())
		}
	}
}

func (c *crowded) take(event ike.Event) {
	message := event.(ike.Datagram).Payload
	peer, step := int(binary.BigEndian.Uint32(message)), int(message[len(message)-1])
	spent := connection[0] // a repetition
	if step == 0 && c.at[peer] == len(connection)-1 {
		c.at[peer] = 0 // the end of the connection before was lost
	}
	if step == c.at[peer] {
		spent = connection[step]
		c.at[peer] = (step + 1) % len(connection)
		if c.at[peer] == 0 {
			c.completed++
		}
	}
	time.Sleep(spent + c.owed)
	c.owed = 0
	if step < len(connection)-1 {
		select {
		case c.answers[peer] <- step:
		default:
		}
	}
}

// connections is how many a second so many peers get from it at a time. Waits are of the test's clock, so that the machine has no part in it.
func connections(t *testing.T, peers int) (perSecond float64, full api.QueueFull) {
	synctest.Test(t, func(*testing.T) {
		c := &crowded{inbox: newInbox(), at: make([]int, peers)}
		ended := make(chan struct{})
		for range peers {
			c.answers = append(c.answers, make(chan int, 1))
		}
		var all sync.WaitGroup
		for i := range peers {
			all.Go(func() { c.peer(i, ended) })
		}
		all.Go(func() { c.run(ended) })
		const beginning, window = 2 * time.Second, 5 * time.Second
		time.Sleep(beginning)
		before := c.completed
		time.Sleep(window)
		perSecond, full = float64(c.completed-before)/window.Seconds(), c.inbox.overflow()
		close(ended)
		all.Wait()
	})
	return perSecond, full
}

// S-117: a gateway that far more peers connect to than it can serve makes at least 90 % of the connections a second that it makes of few, and what it turns away has
// cost it nothing: it is what begins a connection.
func TestOverloadIsShed(t *testing.T) {
	const few, many = 32, 3000 // the former keep it busy, of the latter most have to wait
	best, full := connections(t, few)
	if full != (api.QueueFull{}) {
		t.Errorf("%d peers at once found queues full: %+v", few, full)
	}
	const target = 0.9
	crowded, full := connections(t, many)
	if crowded < target*best || full != (api.QueueFull{Begin: full.Begin}) || full.Begin == 0 {
		t.Errorf("%.0f connections a second of %d peers, %.0f of %d; turned away: %+v; expected at least 90 %%, and messages turned away that begin one, no others", crowded, many, best, few, full)
	}
}
