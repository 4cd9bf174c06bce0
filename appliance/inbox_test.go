package appliance

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"

	"sallyport/appliance/api"
	"sallyport/ike"
	"sallyport/pipeline"
)

// messageFor is the beginning of a message, with the SPI, or cookie, of its responder.
func messageFor(responder uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 8), responder)
}

// A flood of datagrams fills its queue of the inbox and no more (S-089: bounded queue before IKE): neither one in the names of peers nor one of strangers, neither
// of messages that begin negotiations nor of those that go on with one, nor wishes of the data plane, cost anything else its place. Of its own queue, what one sender
// fills is half.
func TestInboxIsBounded(t *testing.T) {
	const size = 3 * 384
	message := func(responder uint64, known bool) func(*negotiator, uint8) {
		return func(n *negotiator, share uint8) {
			n.IKE(pipeline.Datagram{Payload: messageFor(responder), Known: known, Share: share})
		}
	}
	kinds := []func(n *negotiator, share uint8){
		queueContinue:         message(1, true),
		queueOwn:              func(n *negotiator, _ uint8) { n.inbox.want(ike.Acquire{Peer: "b"}) },
		queueContinueStranger: message(1, false),
		queueBegin:            message(0, true),
		queueBeginStranger:    message(0, false),
	}
	for flooded, full := range []api.QueueFull{
		queueContinue:         {Continue: size - 384/2},
		queueOwn:              {Own: size - 256},
		queueContinueStranger: {ContinueStranger: size - 256/2},
		queueBegin:            {Begin: size - 128/2},
		queueBeginStranger:    {BeginStranger: size - 128/2},
	} {
		plane := newMemoryPlane("192.0.2.1", 1)
		n := newNegotiator(ike.Config{Random: rand.Reader}, plane, func(ike.Fact) {}, newCertificates(t.TempDir(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
		for range size {
			kinds[flooded](n, 0)
		}
		for other, send := range kinds {
			for range longestRun {
				if other != flooded || other != queueOwn {
					send(n, 1)
				}
			}
		}
		if got := n.inbox.overflow(); got != full {
			t.Errorf("a flood of queue %d: found %+v refused, expected %+v", flooded, got, full)
		}
		// the others are served in full, each at least once in so many events
		if within, want := drainedOf(n.inbox, flooded), longestRun*(longestRun+queueCount); within > want {
			t.Errorf("a flood of queue %d: the other queues were empty after %d events, expected at most %d", flooded, within, want)
		}
	}
}

// drainedOf is how many events are taken until all queues but one are empty.
func drainedOf(b *inbox, flooded int) (taken int) {
	left := func() (n int) {
		for i := range b.queues {
			if i != flooded {
				n += b.queues[i].n
			}
		}
		return n
	}
	for ; left() > 0; taken++ {
		b.take()
	}
	return taken
}

// S-117: what goes on with a negotiation is taken before what begins one, whichever came first, so that overload costs nothing but messages that no work
// has been spent on. Yet not for ever: the former may be forged.
func TestInboxEndsWhatHasBegun(t *testing.T) {
	const half = "llllllll"
	for known, want := range map[bool]string{
		false: half + half + "f" + "llllll" + "ff",
		true:  half + half + "l" + "f" + "lllll" + "ff", // the acquire has waited as long, and goes first
	} {
		b := newInbox()
		for range 3 {
			b.message(ike.Datagram{Payload: messageFor(0)}, known, 0)
		}
		for range longestRun + 4 {
			b.message(ike.Datagram{Payload: messageFor(1)}, known, 0)
		}
		b.want(ike.Acquire{Peer: "b"})
		b.message(ike.Datagram{Payload: []byte{1}}, known, 0) // which the engine refuses and counts
		var order strings.Builder
		for event := b.take(); event != nil; event = b.take() {
			if d, is := event.(ike.Datagram); is && begins(d.Payload) {
				order.WriteString("f")
			} else {
				order.WriteString("l")
			}
		}
		if order.String() != want {
			t.Errorf("known %v: taken in the order %s, expected %s", known, order.String(), want)
		}
	}
}

// Peers go before strangers, yet every queue has its turn when all are full: one of longestRun and its fellows.
func TestInboxServesEverybody(t *testing.T) {
	b := newInbox()
	for i := range 1000 {
		for _, known := range []bool{false, true} {
			b.message(ike.Datagram{Payload: messageFor(0)}, known, uint8(i%pipeline.PuntShares))
			b.message(ike.Datagram{Payload: messageFor(1)}, known, uint8(i%pipeline.PuntShares))
		}
		b.want(ike.Acquire{Peer: "b"})
	}
	before := b.queues
	for range 4 * (longestRun + queueCount - 1) {
		b.take()
	}
	for i := range b.queues {
		taken := before[i].n - b.queues[i].n
		if low, high := 3, 5; i != queueContinue && (taken < low || taken > high) {
			t.Errorf("queue %d: %d events were taken, expected %d to %d", i, taken, low, high)
		}
	}
	if taken := before[queueContinue].n - b.queues[queueContinue].n; taken < 3*longestRun {
		t.Errorf("%d messages that go on with an exchange were taken, expected at least %d", taken, 3*longestRun)
	}
}

// What found its queue full is shown, by the queue, over the control socket and to Prometheus.
func TestFullInboxIsShown(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	b := g.negotiator.inbox
	b.mu.Lock()
	for i := range b.queues {
		b.queues[i].full = uint64(i + 1)
	}
	b.mu.Unlock()
	counters := get[api.Counters](r, g, api.PathCounters)
	if got, want := counters.IKEQueueFull, (api.QueueFull{Continue: 1, Own: 2, ContinueStranger: 3, Begin: 4, BeginStranger: 5}); got != want {
		t.Errorf("found %+v, expected %+v", got, want)
	}
	if len(counters.SlowPath) != pipeline.PuntClasses {
		t.Errorf("found the classes %+v, expected %d", counters.SlowPath, pipeline.PuntClasses)
	}
	text := metricsOf(t, g)
	for _, want := range []string{`sallyport_ike_queue_full_total{queue="begin"} 4`, `sallyport_ike_queue_full_total{queue="begin_stranger"} 5`,
		`sallyport_ike_queue_full_total{queue="continue"} 1`, `sallyport_ike_queue_full_total{queue="continue_stranger"} 3`, `sallyport_ike_queue_full_total{queue="own"} 2`,
		`sallyport_slow_path_full_total{class="ike_begin_stranger"} 0`, `sallyport_slow_path_packets_total{class="ike"} `, `sallyport_slow_path_waiting_packets{class="arp_nd"} `} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q among the metrics", want)
		}
	}
}
