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

// A flood of datagrams fills the inbox and no more (S-089: bounded queue before IKE). One of messages that begin negotiations leaves room for those that
// go on with one, and the other way round.
func TestInboxIsBounded(t *testing.T) {
	const size = 3 * inboxSize
	for _, flood := range []struct {
		responder uint64
		full      api.QueueFull
	}{{0, api.QueueFull{Begin: size - firstShare}}, {1, api.QueueFull{Continue: size - (inboxSize - firstShare)}}} {
		plane := newMemoryPlane("192.0.2.1", 1)
		n := newNegotiator(ike.Config{Random: rand.Reader}, plane, func(ike.Fact) {}, newCertificates(t.TempDir(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
		for range size {
			n.IKE(pipeline.Datagram{Payload: messageFor(flood.responder)})
		}
		n.IKE(pipeline.Datagram{Payload: messageFor(1 - flood.responder)})
		if got := n.inbox.overflow.view(); got != flood.full {
			t.Errorf("a flood of messages for responder %d: found %+v refused, expected %+v", flood.responder, got, flood.full)
		}
	}
}

// S-117: what goes on with a negotiation is taken before what begins one, whichever came first, so that overload costs nothing but messages that no work
// has been spent on. Yet not for ever: the former may be forged.
func TestInboxEndsWhatHasBegun(t *testing.T) {
	b := newInbox()
	for range 3 {
		b.offer(ike.Datagram{Payload: messageFor(0)})
	}
	for range longestRun + 4 {
		b.offer(ike.Datagram{Payload: messageFor(1)})
	}
	b.offer(ike.Acquire{Peer: "b"})
	b.offer(ike.Datagram{Payload: []byte{1}}) // which the engine refuses and counts
	var order strings.Builder
	for len(b.first)+len(b.later) > 0 {
		first, later := b.queues()
		select {
		case <-first:
			order.WriteString("f")
		case <-later:
			order.WriteString("l")
		}
	}
	want := strings.Repeat("l", longestRun) + "f" + strings.Repeat("l", 6) + "ff"
	if order.String() != want {
		t.Errorf("taken in the order %s, expected %s", order.String(), want)
	}
}

// What found its queue full is shown, by the queue, over the control socket and to Prometheus.
func TestFullInboxIsShown(t *testing.T) {
	r := newRig(t, siteA())
	g := r.gateways[0]
	full := g.negotiator.inbox.overflow
	full.first.Add(3)
	full.later.Add(2)
	if got, want := get[api.Counters](r, g, api.PathCounters).IKEQueueFull, (api.QueueFull{Begin: 3, Continue: 2}); got != want {
		t.Errorf("found %+v, expected %+v", got, want)
	}
	text := metricsOf(t, g)
	for _, want := range []string{`sallyport_ike_queue_full_total{queue="begin"} 3`, `sallyport_ike_queue_full_total{queue="continue"} 2`} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q among the metrics", want)
		}
	}
}
