package appliance

import (
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"

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
	for _, flood := range []struct {
		responder uint64
		room      int
	}{{0, firstShare}, {1, inboxSize - firstShare}} {
		plane := newMemoryPlane("192.0.2.1", 1)
		n := newNegotiator(ike.Config{Random: rand.Reader}, plane, func(ike.Fact) {}, newCertificates(t.TempDir(), slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
		const size = 3 * inboxSize
		for range size {
			n.IKE(pipeline.Datagram{Payload: messageFor(flood.responder)})
		}
		if got := n.overflow.Load(); got != size-uint64(flood.room) {
			t.Errorf("expected %d datagrams to be refused, found %d", size-flood.room, got)
		}
		n.IKE(pipeline.Datagram{Payload: messageFor(1 - flood.responder)})
		if got := n.overflow.Load(); got != size-uint64(flood.room) {
			t.Errorf("a flood of messages for responder %d has kept out one for %d", flood.responder, 1-flood.responder)
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
