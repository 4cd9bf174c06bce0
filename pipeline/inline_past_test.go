package pipeline

import (
	"testing"
	"unsafe"
)

// What comes past a card that has the window, or is not what it should be when it has been opened.

// What is too short for a header is dropped before anyone reads one, also of an SA of another worker's.
func TestInlineTooShort(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true, leave: func([]byte) bool { return true }}
	r := newRig(t, rigOptions{card: c, workers: 2})
	r.inbound(r.child("site", "aes128gcm16", true)) // worker 0's
	near := r.inbound(r.child("site", "aes128gcm16", true))
	c.tamper = func(m unsafe.Pointer) { opened(m, false, uint64(near.child.SPI)) }
	before := r.tally()
	for length := range ipv4HeaderLen {
		r.enqueue(0, wan, fromPeer(tcp(farHost, lanHost)[:length]))
	}
	r.settle()
	r.wantEnds("short ones", before, map[string]int{"no_payload": 1, "inner_header": ipv4HeaderLen - 1})
	same(t, "handed over", r.d.Counters().Ports[wan].HandedOver, uint64(0))
}
