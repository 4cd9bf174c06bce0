package ikev1

import (
	"encoding/binary"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/isakmp"
)

// probe is a check whether the peer lives (RFC 3706): R-U-THERE, sent with growing pauses under numbers that count up, until anything authentic
// comes. The numbers go on from check to check: libreswan takes one that is not above the last for a replay, and answers no more than three of those.
type probe struct {
	tries    int
	sequence uint32
	began    time.Time
	retry    deadline.Timer
}

// watchLiveness checks on a peer that has been silent for its DPDDelay, IPsec included, when it speaks RFC 3706. A replaced ISAKMP SA is not asked about.
func (sa *isakmpSA) watchLiveness() {
	e, delay := sa.engine, sa.peer.cfg.DPDDelay
	if delay < 0 || !sa.can.dpd || sa.state != stateEstablished {
		return
	}
	due := sa.lastSign().Add(delay)
	if !due.After(e.now) {
		if sa.probe.tries == 0 {
			sa.ask()
		}
		due = e.now.Add(delay)
	}
	e.timers.Set(&sa.watch, due, sa.watchLiveness)
}

// ask sends an R-U-THERE.
func (sa *isakmpSA) ask() {
	e, r, p := sa.engine, sa.engine.limits.Retransmit, &sa.probe
	if p.sequence == 0 {
		p.sequence = binary.BigEndian.Uint32(e.random(4)) >> 1 // RFC 3706 section 7: with room to count up
	}
	if p.tries == 0 {
		p.began = e.now
	}
	if p.tries >= r.Tries {
		sa.silent()
		return
	}
	if p.tries >= doubtful && sa.peer.carrier() == sa {
		sa.peer.renew() // a peer that has lost all answers this, and says so
	}
	p.tries++
	p.sequence++
	sa.inform(isakmp.RUThere(sa.cookies, p.sequence))
	e.timers.Set(&p.retry, e.now.Add(e.jitter(r.Wait(p.tries-1), r.Jitter)), sa.ask)
}

// doubtful is after how many questions without an answer main mode begins with the peer, beside what there is: about three seconds. It begins again as long as
// the questions go on: each is short where nothing answers.
const doubtful = 3

// silent ends what there is with a peer that does not answer. When packets of it go on coming it has only lost the ISAKMP SA; when it has made another, also the
// pairs from before by which nothing comes.
func (sa *isakmpSA) silent() {
	heir := sa.peer.carrier()
	another := heir != nil && heir != sa
	if !another && !sa.lastSign().After(sa.probe.began) {
		sa.peer.dead()
		return
	}
	for _, c := range sa.peer.children() {
		if another && c.begunIn < heir.upIn && !sa.engine.heardSince(c, sa.probe.began) {
			c.delete(ike.DeletedDead)
		}
	}
	sa.close(ike.DeletedDead)
}

func (e *Engine) heardSince(c *childSA, since time.Time) bool {
	return e.cfg.LastInbound != nil && e.cfg.LastInbound(c.spiIn).After(since)
}

// lastSign is when the peer last proved to be alive.
func (sa *isakmpSA) lastSign() time.Time {
	last := sa.lastHeard
	if heard := sa.engine.cfg.LastInbound; heard != nil {
		for _, c := range sa.peer.children() {
			last = later(last, heard(c.spiIn))
		}
	}
	return last
}

// keepaliveInterval is how long a NAT before us may see nothing of an ISAKMP SA (RFC 3948 section 4).
const keepaliveInterval = 20 * time.Second

// keepMapping keeps a NAT before us from forgetting where the peer finds us. IPsec SAs do so by themselves: the data plane knows when a packet has left.
func (sa *isakmpSA) keepMapping() {
	e := sa.engine
	if !sa.nat.local {
		return
	}
	e.timers.Set(&sa.alive, e.now.Add(keepaliveInterval), func() {
		sends := false
		for _, c := range sa.peer.children() {
			sends = sends || c.sending == sendCurrent && c.udp
		}
		if !sends && sa.peer.carrier() == sa {
			e.effect(ike.Send{Local: sa.local, Remote: sa.remote, Payload: []byte{0xff}})
		}
		sa.keepMapping()
	})
}
