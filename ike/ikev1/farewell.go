package ikev1

import (
	"net/netip"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
)

// Nothing acknowledges a delete (RFC 2409 5.7), and whoever misses one goes on sending where nobody takes it. So it is said again, in the same octets, which
// who has read them drops as a repetition:
//
//	of an ISAKMP SA          when anything comes under its cookies, for farewellTime
//	of a pair of IPsec SAs   four times, 1, 4, 13 and 40 seconds later; where the data plane still takes the peer's packets, because another pair has
//	                         replaced this one, only when some have come since
//
// All of that is bounded, in memory and in what a peer, or somebody who repeats its datagrams, can have us send.

const (
	farewellTime  = 10 * time.Minute // a peer has checked whether we live by then
	farewellsMax  = 1024             // datagrams of about 100 octets
	farewellTries = 8                // sendings of each
)

// farewell is the delete of an ISAKMP SA that is gone.
type farewell struct {
	message       []byte
	local, remote netip.AddrPort
	until         time.Time
	left          int
}

// farewells are those of all peers, the oldest first.
type farewells struct {
	byCookies map[isakmp.Cookies]*farewell
	order     []isakmp.Cookies
}

// keep remembers the delete of an ISAKMP SA.
func (g *farewells) keep(now time.Time, sa *isakmpSA, message []byte) {
	for len(g.order) > 0 && (len(g.order) >= farewellsMax || g.byCookies[g.order[0]].until.Before(now)) {
		delete(g.byCookies, g.order[0])
		g.order = g.order[1:]
	}
	g.order = append(g.order, sa.cookies)
	g.byCookies[sa.cookies] = &farewell{message: message, local: sa.local, remote: sa.remote, until: now.Add(farewellTime), left: farewellTries}
}

// repeatFarewell answers a peer that goes on with an ISAKMP SA that we have deleted.
func (e *Engine) repeatFarewell(d ike.Datagram, h isakmp.Header) {
	f := e.farewells.byCookies[h.Cookies]
	if f == nil || f.left == 0 || f.until.Before(e.now) || d.Remote.Addr() != f.remote.Addr() || !e.mayReply(d) {
		return
	}
	f.left--
	e.send(d.Local, d.Remote, f.message)
}

// insist says the delete of a pair again. When its ISAKMP SA has ended meanwhile it stood in the delete of that.
func (c *childSA) insist(sa *isakmpSA, message []byte, replaced bool) {
	e, p, said, left := sa.engine, c.slot.peer, sa.engine.now, 4
	pause := time.Second
	p.untold = append(p.untold, c)
	var again func()
	again = func() {
		if sa.state == stateClosed {
			left = 0
		} else if left--; !replaced || e.cfg.LastInbound != nil && e.cfg.LastInbound(c.spiIn).After(said) {
			said = e.now
			sa.transmit(sa.local, sa.remote, message)
		}
		if pause *= 3; left > 0 {
			e.timers.Set(&deadline.Timer{}, e.now.Add(pause), again)
			return
		}
		p.untold = forget(p.untold, c)
	}
	e.timers.Set(&deadline.Timer{}, e.now.Add(pause), again)
}

// mostAlongside is how many deletes of pairs stand in that of an ISAKMP SA once more, which is the one that is said again: as many as one datagram has room for.
const mostAlongside = 32

// lastWords are the deletes of pairs that the peer may have missed.
func (p *peer) lastWords() (payloads []isakmp.Payload) {
	for _, c := range p.untold {
		if len(payloads) < mostAlongside {
			payloads = append(payloads, c.deletes()...)
		}
	}
	return payloads
}
