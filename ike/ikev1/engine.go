package ikev1

import (
	"encoding/binary"
	"hash"
	"net/netip"
	"slices"
	"time"

	"sallyport/ike"
	"sallyport/ike/internal/admission"
	"sallyport/ike/internal/deadline"
	"sallyport/ike/internal/random"
	"sallyport/ike/internal/silence"
	"sallyport/ike/isakmp"
)

// Engine holds every ISAKMP SA of the gateway, and the IPsec SAs that they made. It is not safe for concurrent use: one goroutine steps it.
type Engine struct {
	cfg    ike.Config
	limits ike.Limits
	ledger *ike.Ledger

	now     time.Time // of the Step under way, its number, and the effects it has had so far
	steps   uint64
	effects []ike.Effect
	armed   time.Time

	timers     deadline.Timers
	peers      []*peer // as configured
	byName     map[string]*peer
	byPath     map[path][]*peer
	touched    []*peer // whose wants may have changed in this Step
	sas        map[isakmp.Cookies]*isakmpSA
	begun      map[uint64]*isakmpSA // by our cookie, those whose responder's cookie is not known yet
	asked      map[asker]*isakmpSA  // those that peers began
	children   map[uint32]*childSA  // installed, by our inbound SPI
	calls      silence.Calls
	halfOpen   admission.HalfOpen
	unanswered []*isakmpSA // of those the ones to whose message 2 nothing has come, oldest first
	besieged   time.Time   // when there was last no room for message 1, for longer than an honest initiator needs
	openings   openings
	novel      admission.Bucket // those that are not there yet
	mac        hash.Hash        // of unkeptCookie, with its secret
	scratch    []byte           // likewise
	replies    admission.Bucket
	room       fragmentRoom
	most       mosts

	farewells farewells

	strangers strangers

	questions map[uint64]*question // about certificates, by ticket
	asks      uint64               // how many there have been
	untaken   map[path]*untaken    // on the paths of peers
	stray     ike.Note             // the same of all other paths

	described wordings
}

// asker names a main mode until its responder's cookie is known to both.
type asker struct {
	cookie uint64 // the initiator's
	from   netip.Addr
}

// path is what the first message of a peer tells about it.
type path struct{ local, remote netip.Addr }

// NewEngine takes a configuration whose peers ike.ValidatePeers has passed; those of IKEv2 are none of its own. Nothing happens before the first
// Step: a Tick begins the work.
func NewEngine(cfg ike.Config) *Engine {
	e := &Engine{
		cfg: cfg, limits: cfg.Limits.Complete(), ledger: cfg.Ledger, sas: map[isakmp.Cookies]*isakmpSA{}, begun: map[uint64]*isakmpSA{}, asked: map[asker]*isakmpSA{},
		children: map[uint32]*childSA{}, questions: map[uint64]*question{}, halfOpen: admission.NewHalfOpen(), farewells: farewells{byCookies: map[isakmp.Cookies]*farewell{}},
	}
	if e.ledger == nil {
		e.ledger = ike.NewLedger(e.limits)
	}
	e.limitRates()
	for _, p := range spoken(cfg.Peers) {
		e.peers = append(e.peers, newPeer(e, p))
	}
	e.strangers = newStrangers(e, cfg)
	e.index()
	return e
}

// spoken are the peers that IKEv1 is spoken with, with their defaults.
func spoken(peers []ike.Peer) (list []ike.Peer) {
	for _, p := range peers {
		if p.Version != ike.V2 {
			list = append(list, Complete(p))
		}
	}
	return list
}

// Complete is a peer with the defaults of IKEv1 in the place of what is not set.
func Complete(p ike.Peer) ike.Peer {
	if len(p.IKEProposals) == 0 {
		p.IKEProposals = DefaultIKEProposals()
	}
	p.Children = slices.Clone(p.Children)
	for i := range p.Children {
		if c := &p.Children[i]; len(c.Proposals) == 0 {
			c.Proposals = DefaultESPProposals()
		}
	}
	return p.Complete()
}

// Step takes one event at a time and returns what is to be done about it, in order. Now must not go backwards. The effects, and the keys in
// them, belong to the caller. Events about SPIs and peers of IKEv2 do nothing.
func (e *Engine) Step(now time.Time, ev ike.Event) []ike.Effect {
	e.now, e.effects = now, nil
	e.steps++
	switch ev := ev.(type) {
	case ike.Datagram:
		e.receive(ev)
	case ike.Heard:
		e.calls.Heard(ev.From.Unmap(), e.now)
	case ike.Unanswered:
		e.withPeer(ev.Peer, (*peer).unanswered)
	case ike.Initiate:
		e.withPeer(ev.Peer, func(p *peer) { p.initiate(ev.Child) })
	case ike.Acquire:
		e.withPeer(ev.Peer, func(p *peer) { p.acquire(ev.Child, ev.Packet) })
	case ike.Terminate:
		e.withPeer(ev.Peer, func(p *peer) { p.terminate(ev.Child) })
	case ike.Rekey:
		e.withPeer(ev.Peer, func(p *peer) { p.rekey(ev.Child) })
	case ike.Reauthenticate: // which every main mode does
		e.withPeer(ev.Peer, func(p *peer) { p.rekey("") })
	case ike.Expire:
		e.withChild(ev.SPI, func(c *childSA) { c.expire(ev.Hard) })
	case ike.Moved:
		e.withChild(ev.SPI, func(c *childSA) { c.slot.peer.moved(unmap(ev.Remote)) })
	case ike.InstallFailed:
		e.withChild(ev.SPI, func(c *childSA) { c.installFailed(ev.Inbound, ev.Reason) })
	case ike.Carried:
		e.strangers.Carry(ev)
		e.withPeer(ev.Peer, func(p *peer) { p.carry(ev.On) })
	case ike.CertificatesChecked:
		e.checked(ev)
	case ike.Reconfigure:
		e.limit(ev.Limits)
		e.reconfigure(ev.Peers)
		e.strangers.reconfigure(e, ev)
	case ike.Tick:
	}
	e.timers.Run(now)
	for i := 0; i < len(e.touched); i++ { // grows as it goes
		e.touched[i].touched = false
		e.touched[i].pursue()
	}
	e.touched = nil
	if next := e.timers.Next(); !next.Equal(e.armed) {
		e.armed = next
		e.effect(ike.Arm{At: next})
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

func (e *Engine) index() {
	before := e.untaken
	e.byName, e.byPath, e.untaken = map[string]*peer{}, map[path][]*peer{}, map[path]*untaken{}
	for _, p := range slices.Concat(e.peers, e.strangers.peers) {
		p.placed = nil
		e.know(p)
		if at := (path{p.cfg.Local, p.cfg.Remote}); len(e.byPath[at]) > 0 && before[at] != nil {
			e.untaken[at] = before[at]
		}
	}
}

// know makes a peer findable.
func (e *Engine) know(p *peer) {
	e.byName[p.cfg.Name] = p
	e.place(p)
}

// candidates are the peers that main mode between these addresses may turn out to be with; the ID payload decides.
func (e *Engine) candidates(d ike.Datagram) []*peer {
	return e.byPath[path{d.Local.Addr(), d.Remote.Addr()}]
}

func (e *Engine) effect(ef ike.Effect) { e.effects = append(e.effects, ef) }

func (e *Engine) fact(f ike.Fact) {
	f.Time, f.Version = e.now, ike.V1
	if f.Kind == ike.Refused || f.Kind == ike.Dropped {
		e.noteUntaken(f)
	}
	if f.Kind == ike.Refused {
		e.ledger.Refuse(ike.V1, f.Reason, e.accountOf(f))
	}
	e.effect(f)
}

// send sends a datagram; what leaves by another port than 500 carries the non-ESP marker (RFC 3948 2.2).
func (e *Engine) send(local, remote netip.AddrPort, payload []byte) {
	e.effect(ike.Send{Local: local, Remote: remote, Payload: payload, NonESPMarker: local.Port() != portIKE})
}

func (e *Engine) random(n int) []byte { return random.Octets(e.cfg.Random, n) }

// jitter shortens d by a random part of at most the given share.
func (e *Engine) jitter(d time.Duration, share float64) time.Duration {
	return random.Jitter(e.cfg.Random, d, share)
}

// newCookie draws our half of the name of an ISAKMP SA. It is never zero (RFC 2408 2.5.3): random octets and at most a hash of them, and no function of
// where the peer is, for nobody but us has to recognise it.
func (e *Engine) newCookie() uint64 {
	for {
		if cookie := e.cfg.Name(binary.BigEndian.Uint64(e.random(8))); cookie != 0 && e.begun[cookie] == nil {
			return cookie
		}
	}
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// forget takes an element out of a list.
func forget[T comparable](list []T, gone T) []T {
	return slices.DeleteFunc(list, func(other T) bool { return other == gone })
}
