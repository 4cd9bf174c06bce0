package ike

import (
	"net/netip"
	"time"
)

// departed remembers the last response of IKE SAs that are gone, for a peer that lost it and asks again (RFC 7296 2.1). It holds datagrams
// only, for a short time, and no more of them than fit: a peer that finds nothing gives up by itself.
type departed struct {
	byRequest map[digest]farewell
	order     []digest // oldest first
}

type farewell struct {
	response [][]byte
	remote   netip.AddrPort // whose it was
	until    time.Time
}

const (
	departedMax  = 1024
	departedTime = time.Minute // a peer's retransmissions are over by then, or far apart
)

func newDeparted() departed { return departed{byRequest: map[digest]farewell{}} }

func (g *departed) add(now time.Time, request digest, response [][]byte, remote netip.AddrPort) {
	for len(g.order) > 0 && (len(g.order) >= departedMax || g.byRequest[g.order[0]].until.Before(now)) {
		delete(g.byRequest, g.order[0])
		g.order = g.order[1:]
	}
	if _, known := g.byRequest[request]; !known {
		g.order = append(g.order, request)
	}
	g.byRequest[request] = farewell{response, remote, now.Add(departedTime)}
}

func (g *departed) find(d Datagram) (farewell, bool) {
	f, known := g.byRequest[digestOf(d)]
	return f, known
}
