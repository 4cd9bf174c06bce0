package soft

import (
	"net/netip"
	"time"

	"sallyport/policy"
)

// GroupMemory is how long the sender of a multicast or broadcast packet is remembered.
const GroupMemory = 5 * time.Minute

// groupsMax bounds the senders that are remembered.
const groupsMax = 4096

// sender is who sent to a group. Protocols without ports have port 0.
type sender struct {
	source   netip.AddrPort
	protocol uint8
}

// groups remembers who sent to a group: what a packet to them answers was never asked of one host, and no soft SA comes
// of it (S-052).
type groups map[sender]time.Time // until when

// note remembers a sender.
func (g groups) note(now time.Time, s sender) {
	if _, known := g[s]; !known && len(g) >= groupsMax {
		g.forget(now)
	}
	if _, known := g[s]; known || len(g) < groupsMax {
		g[s] = now.Add(GroupMemory)
	}
}

// forget drops those whose time is over.
func (g groups) forget(now time.Time) {
	for s, until := range g {
		if !now.Before(until) {
			delete(g, s)
		}
	}
}

// answers reports whether a packet may be the answer to one to a group. Where no sender can be remembered any more, each may
// be.
func (g groups) answers(now time.Time, p policy.Packet) bool {
	if p.Destination.IsMulticast() {
		return true
	}
	if len(g) >= groupsMax {
		if g.forget(now); len(g) >= groupsMax {
			return true
		}
	}
	until, sent := g[sender{netip.AddrPortFrom(p.Destination, p.DestinationPort), p.Protocol}]
	return sent && now.Before(until)
}
