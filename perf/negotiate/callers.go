package negotiate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sallyport/crypto"
	"sallyport/ike"
	"sallyport/ike/ikev1"
	"sallyport/perf/lab"
)

// engine is one of IKEv1 or IKEv2.
type engine interface {
	Step(now time.Time, event ike.Event) []ike.Effect
}

// callers are the peers of the gateway, all in one engine. Each calls once: it makes an IKE SA and as many pairs of Child SAs as wanted, each in place of
// the one before, and lets them be.
type callers struct {
	engine engine
	wire   *lab.Router
	series
	list     []*caller
	byName   map[string]*caller
	spi      uint32
	armed    time.Time  // the engine's next tick; zero: none
	called   int        // of list
	tunnels  int        // that rounds before have made
	left     int        // IKE SAs that are gone again
	heard    int        // datagrams of the gateway's
	stranger netip.Addr // who has answered in its place; not valid: nobody
	round    *round     // under way
	failed   error      // of the wire
}

// caller is one peer.
type caller struct {
	name       string
	quickModes int
	began      time.Time // not zero and not over: it is under way
	over       bool
	connected  bool // it has an IKE SA
}

func callerName(number int) string { return fmt.Sprintf("peer-%d", number) }

// newCallers makes those that a series needs, to call by the wire.
func newCallers(ctx context.Context, s series, w *lab.Router) (*callers, error) {
	c := &callers{wire: w, series: s, byName: map[string]*caller{}, spi: 0x1000}
	var peers []ike.Peer
	for i := range s.peers {
		p, err := s.peer(i)
		if err = errors.Join(err, ctx.Err()); err != nil { // thousands of certificates take a while
			return nil, err
		}
		peers = append(peers, p)
		c.list = append(c.list, &caller{name: p.Name})
		c.byName[p.Name] = c.list[i]
	}
	if err := ike.ValidatePeers(peers[:min(len(peers), 2)]); err != nil {
		return nil, err
	}
	// A gateway that has more to do than it can answers late: these callers ask as often as who knows that somebody is there.
	patience := ike.Limits{Attempts: ike.Limits{}.Complete().Retransmit.Tries}
	cfg := ike.Config{Random: rand.Reader, Peers: peers, Limits: patience, AllocateSPI: func(_, _ string) (uint32, error) {
		c.spi++
		return c.spi, nil
	}}
	if c.engine = ike.NewEngine(cfg); s.version == ike.V1 {
		c.engine = ikev1.NewEngine(cfg)
	}
	return c, nil
}

// peer is one of them as the engine knows it.
func (s *series) peer(number int) (ike.Peer, error) {
	p := ike.Peer{Name: callerName(number), Version: s.version, Local: s.site.callerAddress(number), Remote: s.site.gateway, RemoteID: s.site.id, PSK: crypto.NewSecret([]byte(s.psk)),
		DPDDelay: -1, MasterPFS: s.pfs == PFSMaster}
	if s.authority != nil {
		var err error
		if p.Credential, err = s.authority.Credential(p.Local); err != nil {
			return p, err
		}
		p.LocalAuth, p.RemoteAuth, p.Authorities, p.PSK = ike.AuthSignature, ike.AuthSignature, s.authority.KeyIDs(), crypto.Secret{}
	}
	own, err := crypto.ParseIKEProposal(s.site.ike)
	if err != nil {
		return p, err
	}
	child, err := crypto.ParseESPProposal(s.espProposal())
	if err != nil {
		return p, err
	}
	p.IKEProposals = []crypto.IKEProposal{own}
	p.Children = []ike.Child{{Name: p.Name, Start: ike.StartOnDemand, IdleTimeout: -1, Proposals: []crypto.Proposal{child}, Selectors: s.site.selectors(number)}}
	return p, nil
}

// longestWait is how long callers sleep without looking after their deadlines.
const longestWait = 10 * time.Millisecond

// run calls as a round wants, and returns when each call of it has come to an end, or the limit for that has.
func (c *callers) run(ctx context.Context, r *round) error {
	c.round, r.from = r, c.called
	r.begin(time.Now())
	for !r.over() {
		if err := ctx.Err(); err != nil {
			return err
		}
		received, err := c.turn()
		if err != nil {
			return err
		}
		if began := c.call(r); c.failed == nil && received == 0 && began == 0 {
			if err := c.rest(r.pause(time.Now(), c.armed)); err != nil {
				return err
			}
		}
		c.giveUp(time.Now())
		r.progress(time.Now())
	}
	return r.wrong
}

// shortNap is how long callers look away while they call as fast as they can.
const shortNap = 50 * time.Microsecond

// rest lets time pass in which there is nothing to do. To wake somebody is work of whoever sends: a gateway that is measured at its limit is spared that.
func (c *callers) rest(limit time.Duration) error {
	if c.round.interval > 0 {
		return c.wire.Wait(limit)
	}
	time.Sleep(min(limit, shortNap))
	return nil
}

// turn takes what has come, and does what is due.
func (c *callers) turn() (received int, err error) {
	datagrams, err := c.wire.Receive()
	if err != nil {
		return 0, err
	}
	for _, d := range datagrams {
		if !c.site.peers.Contains(d.To.Addr()) {
			continue
		}
		if d.From.Addr() != c.site.gateway {
			c.stranger = d.From.Addr()
		} else {
			c.heard++
		}
		c.step(ike.Datagram{Local: d.To, Remote: d.From, Payload: d.Payload})
	}
	if !c.armed.IsZero() && !time.Now().Before(c.armed) {
		c.armed = time.Time{}
		c.step(ike.Tick{})
	}
	return len(datagrams), c.failed
}

// callsAtOnce is how many are begun before what has come is looked at.
const callsAtOnce = 32

// call begins what is due.
func (c *callers) call(r *round) (began int) {
	for ; began < callsAtOnce && r.due(time.Now()); began++ {
		next := c.list[c.called]
		c.called++
		next.began = time.Now()
		r.initiated(next.began)
		c.step(ike.Initiate{Peer: next.name})
	}
	return began
}

// step gives the engine an event and carries out what it says.
func (c *callers) step(event ike.Event) {
	for pending := []ike.Event{event}; len(pending) > 0; pending = pending[1:] {
		for _, effect := range c.engine.Step(time.Now(), pending[0]) {
			switch e := effect.(type) {
			case ike.Send:
				if err := c.wire.Send(lab.Datagram{From: e.Local, To: e.Remote, Payload: e.Payload}, e.NonESPMarker); err != nil {
					c.failed = err
				}
			case ike.Arm:
				c.armed = e.At
			case ike.CheckCertificates:
				pending = append(pending, c.authority.Check(e))
			case ike.InstallInbound:
				e.SA.Keymat.Wipe()
			case ike.InstallOutbound:
				e.SA.Keymat.Wipe()
			case ike.Fact:
				if again := c.take(e); again != nil {
					pending = append(pending, again)
				}
			}
		}
	}
}

// take counts what a fact says, and goes on with the peer's next quick mode.
func (c *callers) take(f ike.Fact) ike.Event {
	from, now := c.byName[f.Peer], time.Now()
	if from != nil && f.Kind == ike.IKEEstablished {
		from.connected = true
	} else if f.Kind == ike.IKEDeleted {
		c.left++
	}
	if from == nil || from.over || from.began.IsZero() {
		return nil // what comes of SAs that are counted
	}
	switch f.Kind {
	case ike.IKEEstablished:
		c.round.mainMode(now)
	case ike.Retransmitted:
		c.round.Repeated++
	case ike.ChildEstablished, ike.ChildRekeyed:
		c.round.quickMode(now)
		if from.quickModes++; from.quickModes < c.quickModes {
			return ike.Rekey{Peer: from.name, Child: f.Child}
		}
		from.over = true
		c.round.completed(now, from.began)
	case ike.Failed:
		from.over = true
		c.round.failed(fmt.Sprintf("%s: %s", f.Reason, f.Detail))
	}
	return nil
}

// noEnd is why a call fails of which nothing is heard any longer.
const noEnd = "no end in sight"

// giveUp ends a round in which nothing happens any longer.
func (c *callers) giveUp(now time.Time) {
	if now.Sub(c.round.last) < c.round.silence {
		return
	}
	c.round.end(now)
	for _, from := range c.list[c.round.from:c.called] {
		if !from.over {
			from.over = true
			c.round.failed(noEnd)
		}
	}
}
