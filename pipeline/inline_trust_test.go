package pipeline

import (
	"fmt"
	"testing"
)

// What a card says of a packet, and what its bytes say.

// A rule without a VLAN is of frames with any tag: what the card opens behind a tag that is no port's is dropped as it is without a card. Its bytes are no IP packet's from
// where they are without the tag, whoever put it there.
func TestInlineForeignTag(t *testing.T) {
	if err := giveUserdata(); err != nil {
		t.Fatal(err)
	}
	c := &card{protocol: true}
	r := newRig(t, rigOptions{card: c})
	near := r.inbound(r.child("site", "aes128gcm16", true))
	for _, x := range []struct {
		tci uint16
		end string
	}{{7, "unknown_vlan"}, {0x4500, "unknown_vlan"}, {0x45c0, "unknown_vlan"}, {0x6007, "unknown_vlan"}, {0xefff, "unknown_vlan"}, {0xe000, "forwarded"}} { // the last one is a priority, and no VLAN
		near.sequence++
		before := r.tally()
		r.enqueue(0, wan, withTag(fromPeer(near.encapsulate(tcp(farHost, lanHost), near.sequence)), x.tci))
		r.settle()
		r.wantEnds(fmt.Sprintf("behind the tag %#x", x.tci), before, map[string]int{x.end: 1})
	}
	r.sent(lan)
	if c.opened != 6 {
		t.Errorf("the card has opened %d packets of 6", c.opened)
	}
}
