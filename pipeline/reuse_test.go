package pipeline

import (
	"errors"
	"testing"
)

// A buffer remembers nothing of what it carried before. One that was meant for a message of ours, for which the ring had no
// room, then carries a packet that waits for its tunnel: that packet leaves protected, not by the way of the message.
func TestHeldPacketInABufferOfOurs(t *testing.T) {
	const buffers = 2*injectEntries - 1
	r := newRig(t, rigOptions{buffers: buffers})
	refused := 0
	for range injectEntries + 2*buffers { // every buffer of the pool
		if err := r.d.SendUDP(wanPort, peerPort, []byte("IKE"), false); errors.Is(err, errNoRoom) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if refused < buffers {
		t.Fatalf("%d messages found no room, want at least one for each buffer", refused)
	}
	r.settle()
	r.sent(wan)
	r.setCell("site", CellHold)
	inner := packetOfLength(lanHost, farHost, 253, 60)
	r.enqueue(0, lan, fromHost(inner))
	r.settle()
	r.serveAll()
	far := r.outbound(r.child("site", "aes128gcm16", false))
	r.settle()
	frames := r.sent(wan)
	if len(frames) != 1 {
		t.Fatalf("%d frames for the held packet, want 1", len(frames))
	}
	if outer := ipv4(frames[0][etherHeaderLen:]); outer.source() != wanOwn || outer.protocol() != protocolESP {
		t.Fatalf("the held packet left as % x, want ESP of ours", frames[0])
	}
	same(t, "released", []byte(r.reveal(far, frames[0])), []byte(decrementTTL(inner)))
}
