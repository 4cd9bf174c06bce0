package ike

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/internal/random"
	"sallyport/ike/internal/silence"
)

// Engine holds every IKE SA of the gateway. It is not safe for concurrent use: one goroutine steps it.
type Engine struct {
	cfg    Config
	limits Limits
	ledger *Ledger

	now     time.Time // of the Step under way, its number, and the effects it has had so far
	steps   uint64
	effects []Effect
	armed   time.Time

	timers    deadline.Timers
	peers     []*peer // as configured
	byName    map[string]*peer
	byPath    map[path][]*peer
	untaken   map[path]*untaken   // on those paths
	stray     Note                // the same of all other paths
	touched   []*peer             // whose wants may have changed in this Step
	sas       map[uint64]*ikeSA   // by our SPI
	inits     map[digest]*ikeSA   // by the IKE_SA_INIT request that a peer began them with, less its cookie
	request   []byte              // of those, the last one; nothing is kept in it
	children  map[uint32]*childSA // installed, by our inbound SPI
	calls     silence.Calls
	halfOpen  admission.HalfOpen
	cookies   cookies
	departed  departed
	strangers strangers
	checks    checks
	replies   admission.Bucket
	unproven  admission.Bucket // IKE_SA_INIT requests without a cookie
	most      mosts
	queued    int // octets of fragments that wait for others of their message
	described map[chosen]string
}

// NewEngine takes a configuration whose peers ValidatePeers has passed. Nothing happens before the first Step: a Tick begins the work.
func NewEngine(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, limits: cfg.Limits.Complete(), ledger: cfg.Ledger,
		sas: map[uint64]*ikeSA{}, inits: map[digest]*ikeSA{}, children: map[uint32]*childSA{},
		halfOpen: admission.NewHalfOpen(), departed: newDeparted(), checks: newChecks(),
	}
	if e.ledger == nil {
		e.ledger = NewLedger(e.limits)
	}
	e.limitRates()
	for _, p := range spoken(cfg.Peers) {
		e.peers = append(e.peers, newPeer(e, p))
	}
	e.strangers = newStrangers(e, cfg)
	e.index()
	return e
}

// spoken are the peers that IKEv2 is spoken with.
func spoken(peers []Peer) []Peer {
	return slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.Version == V1 })
}

// Step takes one event at a time and returns what is to be done about it, in order. Now must not go backwards. The effects, and the keys in
// them, belong to the caller.
func (e *Engine) Step(now time.Time, ev Event) []Effect {
	e.now, e.effects = now, nil
	e.steps++
	switch ev := ev.(type) {
	case Datagram:
		e.receive(ev)
	case Heard:
		e.calls.Heard(ev.From.Unmap(), e.now)
	case Initiate:
		e.withPeer(ev.Peer, func(p *peer) { p.initiate(ev.Child) })
	case Acquire:
		e.withPeer(ev.Peer, func(p *peer) { p.acquire(ev.Child, ev.Packet) })
	case Terminate:
		e.withPeer(ev.Peer, func(p *peer) { p.terminate(ev.Child) })
	case Rekey:
		e.withPeer(ev.Peer, func(p *peer) { p.rekey(ev.Child) })
	case Reauthenticate:
		e.withPeer(ev.Peer, (*peer).reauth)
	case Expire:
		e.withChild(ev.SPI, func(c *childSA) { c.expire(ev.Hard) })
	case Moved:
		e.withChild(ev.SPI, func(c *childSA) { c.ike.peerMoved(unmap(ev.Remote)) })
	case InstallFailed:
		e.installFailed(ev)
	case CertificatesChecked:
		e.checked(ev)
	case Carried:
		e.strangers.Carry(ev)
		e.withPeer(ev.Peer, func(p *peer) { p.carry(ev.On) })
	case Reconfigure:
		e.limit(ev.Limits)
		e.reconfigure(ev.Peers)
		e.strangers.reconfigure(e, ev)
		e.closeDeaf(ev.Deaf)
	case Tick:
	}
	e.timers.Run(now)
	for i := 0; i < len(e.touched); i++ { // grows as it goes
		e.touched[i].touched = false
		e.touched[i].pursue()
	}
	e.touched = nil
	if next := e.timers.Next(); !next.Equal(e.armed) {
		e.armed = next
		e.effect(Arm{At: next})
	}
	effects := e.effects
	e.effects = nil
	return effects
}

func (e *Engine) withPeer(name string, do func(*peer)) {
	if p := e.byName[name]; p != nil {
		do(p)
	}
}

func (e *Engine) withChild(spi uint32, do func(*childSA)) {
	if c := e.children[spi]; c != nil {
		do(c)
	}
}

// installFailed finds the Child SA that the data plane refused. One that was removed in the very Step that made it has only its SPI left to give
// back.
func (e *Engine) installFailed(ev InstallFailed) {
	switch c := e.children[ev.SPI]; {
	case c != nil:
		c.installFailed(ev.Inbound, ev.Reason)
	case ev.Inbound:
		e.effect(ReleaseSPI{SPI: ev.SPI})
	}
}

// path is what the first datagram of a peer tells about it.
type path struct{ local, remote netip.Addr }

func (e *Engine) index() {
	before := e.untaken
	e.byName, e.byPath, e.untaken = map[string]*peer{}, map[path][]*peer{}, map[path]*untaken{}
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		at := path{p.cfg.Local, p.cfg.Remote}
		e.byName[p.cfg.Name] = p
		for _, at := range p.places() {
			e.byPath[at] = append(e.byPath[at], p)
		}
		if len(e.byPath[at]) > 0 && before[at] != nil {
			e.untaken[at] = before[at]
		}
	}
}

// candidates are the peers that an IKE SA between these addresses may turn out to be with; IDi decides (RFC 7296 2.15).
func (e *Engine) candidates(d Datagram) []*peer {
	return e.byPath[path{d.Local.Addr(), d.Remote.Addr()}]
}

func (e *Engine) effect(ef Effect) { e.effects = append(e.effects, ef) }

func (e *Engine) fact(f Fact) {
	f.Time = e.now
	if f.Kind == Refused || f.Kind == Dropped {
		e.noteUntaken(f)
	}
	if f.Kind == Refused {
		e.ledger.Refuse(V2, f.Reason, e.accountOf(f))
	}
	e.effect(f)
}

// send sends a datagram; what leaves by another port than 500 carries the non-ESP marker (RFC 3948 2.2).
func (e *Engine) send(local, remote netip.AddrPort, payload []byte) {
	e.effect(Send{Local: local, Remote: remote, Payload: payload, NonESPMarker: local.Port() != portIKE})
}

func (e *Engine) random(n int) []byte { return random.Octets(e.cfg.Random, n) }

// jitter shortens d by a random part of at most the given share.
func (e *Engine) jitter(d time.Duration, share float64) time.Duration {
	return random.Jitter(e.cfg.Random, d, share)
}

// newSPI draws an SPI for an IKE SA. It is never zero (RFC 7296 3.1).
func (e *Engine) newSPI() uint64 {
	for {
		spi := e.cfg.Name(binary.BigEndian.Uint64(e.random(8)))
		if spi != 0 && e.sas[spi] == nil {
			return spi
		}
	}
}
