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
// of it (S-052). Whoever sent and cannot be remembered may be anybody, and for as long as one is remembered each packet may be an answer.
type groups struct {
	until  map[sender]time.Time
	anyone time.Time // until when it may be anybody
	swept  time.Time // when those whose time is over were last looked for
}

// sweepEvery is how often they are, at most: who sends in the name of ever other hosts must not have all of them looked through for each.
const sweepEvery = time.Second

func newGroups() groups { return groups{until: map[sender]time.Time{}} }

// note remembers a sender, of whom nothing may be known.
func (g *groups) note(now time.Time, s sender) {
	if _, known := g.until[s]; !known && len(g.until) >= groupsMax && now.Sub(g.swept) >= sweepEvery {
		g.forget(now)
	}
	if _, known := g.until[s]; !s.source.IsValid() || !known && len(g.until) >= groupsMax {
		g.anyone = now.Add(GroupMemory)
		return
	}
	g.until[s] = now.Add(GroupMemory)
}

// forget drops those whose time is over.
func (g *groups) forget(now time.Time) {
	g.swept = now
	for s, until := range g.until {
		if !now.Before(until) {
			delete(g.until, s)
		}
	}
}

// answers reports whether a packet may be the answer to one to a group.
func (g *groups) answers(now time.Time, p policy.Packet) bool {
	if p.Destination.IsMulticast() || now.Before(g.anyone) {
		return true
	}
	until, sent := g.until[sender{netip.AddrPortFrom(p.Destination, p.DestinationPort), p.Protocol}]
	return sent && now.Before(until)
}
