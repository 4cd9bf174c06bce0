package ikev1

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"sallyport/ike"
)

// keepsNewest has an end do as strongSwan does with pairs for the same traffic: it installs both halves when the quick mode is over, sends by what it has
// installed last, whichever end began it, and deletes nothing.
func keepsNewest(n *end) {
	n.late = true
	n.engine.cfg.LastInbound = nil // it asks no packets whether to send by a new pair
	n.engine.limits.RekeyGuard = 1000 * time.Hour
	n.then = func() {
		for _, c := range n.engine.children {
			c.nonce = bytes.Repeat([]byte{0xff}, nonceLen) // the rule of the lower nonce takes the next one
		}
	}
}

// takes reports whether the data plane has an inbound SA already that was ordered.
func (n *end) takes(in ike.ChildSA) bool {
	c := n.engine.children[in.PairSPI]
	return !n.late || c == nil || c.state != childPending
}

// S-079: quick modes cross with a peer that keeps the pair which it has installed last: packets go by what the peer sends by, what it sends by is not deleted, one
// pair is left, and no packet is lost.
func TestPeerKeepsNewest(t *testing.T) {
	followed := 0
	for seed := range 30 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			l := up(t, func(c *ike.Config) { c.Random = stormy(seed) }, nil)
			keepsNewest(l.b)
			l.advance(time.Minute)
			lowest := bytes.Repeat([]byte{0xff}, nonceLen)
			before := l.a.engine.peers[0].slots[0].live()
			l.a.then = func() {
				for _, c := range l.a.engine.children {
					if c != before && bytes.Compare(c.nonce, lowest) < 0 {
						lowest = c.nonce
					}
				}
			}
			l.a.step(ike.Rekey{Peer: "b", Child: "net"})
			l.b.step(ike.Rekey{Peer: "a", Child: "net"})
			s := &storm{random: rand.New(stormy(seed)), slowest: []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, time.Second}[seed%3]}
			for until := l.now.Add(3 * time.Minute); l.now.Before(until); {
				sends := l.b.cells["net"]
				l.traffic()
				l.suffer(s, 100*time.Millisecond)
				if l.b.outbound[sends].SPI == 0 {
					t.Fatalf("the pair by which b sends was deleted:\n%s", l.a.story())
				}
			}
			l.suffer(s, 0)
			if l.lost > 0 {
				t.Errorf("%d packets lost:\n%s", l.lost, l.a.story())
			}
			a, b := l.a.outbound[l.a.cells["net"]], l.b.outbound[l.b.cells["net"]]
			if a.PairSPI != b.SPI {
				t.Errorf("a sends by the pair %#x, b by %#x:\n%s", a.PairSPI, b.SPI, l.a.story())
			}
			l.established()
			l.settled(1, 1)
			if !bytes.Equal(l.a.engine.peers[0].slots[0].live().nonce, lowest) {
				followed++
			}
		})
	}
	if followed == 0 || followed == 30 {
		t.Errorf("of 30 pairs that are left %d have not the lower nonce, expected some", followed)
	}
}
