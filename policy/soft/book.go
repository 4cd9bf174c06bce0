package soft

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sallyport/policy"
)

// The times of a soft SA. None of them can be set (S-047).
const (
	Lifetime = 300 * time.Second // from creation, not extended by traffic (C-04)
	Window   = 3 * time.Second   // between what asks and its soft SA, at least (S-043, S-054)
	Mute     = 300 * time.Second // without a soft SA after the peer's last datagram (S-051)
)

// waitsFor is how long a packet that asked is remembered when nothing repeats it and IKE never says how it went: the data
// plane repeats it every few seconds while packets come.
const waitsFor = 2 * time.Minute

// AtOnce is how many soft SAs Flush and Tick end in one call: more are ended by the next, and between the two whoever waits for the book has a turn.
const AtOnce = 256

// tireEvery is how often a full book looks for those.
const tireEvery = 10 * time.Second

// Reason is why a soft SA ended, or why there is none.
type Reason string

// Why a soft SA ended.
const (
	Expired Reason = "expired"
	Flushed Reason = "flushed" // by an operator
	Down    Reason = "down"    // its peer was taken down
)

// Why a soft SA ended, or is refused.
const (
	Heard         Reason = "heard"         // something came from the peer's address to an IKE port
	Authenticated Reason = "authenticated" // the peer has proved who it is: it speaks IPsec
	Denied        Reason = "denied"        // soft_sa: deny
	Policy        Reason = "policy"        // the filter, or its peer, is another or gone
	Plane         Reason = "dataplane"     // the data plane did not take it
)

// Why there is none.
const (
	Group      Reason = "mcast"       // the packet answers one to a group (S-052)
	Full       Reason = "table_full"  // Limits.Max
	FullOfPeer Reason = "peer_full"   // Limits.MaxPerPeer
	RateSource Reason = "rate_source" // Limits.InboundPerSource
	RateFilter Reason = "rate_filter" // Limits.InboundPerFilter
	Lost       Reason = "lost"        // messages to an IKE port may have found no room before anybody heard them: one may have been the peer's
	Unsent     Reason = "unsent"      // a message of ours did not leave, or waits for a next hop that does not answer
)

// Limits bounds what the book holds and starts.
type Limits struct {
	Allow            bool // false: no soft SA whatever the filters say
	Max, MaxPerPeer  int  // soft SAs and those that wait to be one
	Alarm            int  // soft SAs from which on there is an alarm, 0 is never
	InboundPerSource int  // negotiations a minute that clear packets of one source start
	InboundPerFilter int  // and those that one filter dropped
}

// Peer is whom IKE negotiates with.
type Peer struct {
	Name     string
	Identity string // that it proves
	Remote   netip.Addr
	Tunnels  []string
	Renewed  bool // its key is another than before: what it proved by the former counts no longer
}

// Config is what is in force.
type Config struct {
	Limits
	Filters []Filter
	Entries []uint32 // inbound entries that require a tunnel, with and without fallback
	Peers   []Peer
}

// SA is a soft SA.
type SA struct {
	Key
	Peer, Tunnel string
	Rule, Filter string
	Traffic      policy.Selector // of the filter, between the two addresses
	Created      time.Time
	Used         bool // something came in by it
}

// Expires is when it ends.
func (s *SA) Expires() time.Time { return s.Created.Add(Lifetime) }

// Ended is a soft SA that is no more.
type Ended struct {
	SA
	Reason Reason
}

// Request is a packet that needs an SA.
type Request struct {
	Entry   uint32 // that decided it
	Peer    string
	Tunnel  string
	Packet  policy.Packet
	Inbound bool // it came in clear from outside, and was dropped
}

// Answer is what to do about a Request.
type Answer struct {
	Negotiate bool
	Refused   Reason // no soft SA will come of it, or with Negotiate false no negotiation; empty: nothing was refused
}

// Outcome is what comes of silence.
type Outcome struct {
	Made []SA
	Next *Request // asked too late for this silence: IKE is to try again for it, and those like it
}

// waiting is a Request that becomes a soft SA if the peer stays silent.
type waiting struct {
	Request
	filter      *Filter
	first, last time.Time // it was asked
}

// peer is what the book knows of one.
type peer struct {
	Peer
	fallback      bool // a filter of it may fall back
	authenticated bool
	waits         map[Key]*waiting // nil until there is one: most of many thousand peers never have any
	sas           map[Key]*SA      // likewise
	sent          time.Time        // the last message of IKE to it
	doubted       time.Time        // when its silence was last in doubt while something waited for it
	why           Reason           // why it was
}

func (b *Book) await(p *peer, key Key, w *waiting) {
	if p.waits == nil {
		p.waits = map[Key]*waiting{}
	}
	p.waits[key] = w
	b.waits++
}

func (p *peer) hold(sa *SA) {
	if p.sas == nil {
		p.sas = map[Key]*SA{}
	}
	p.sas[sa.Key] = sa
}

// Book keeps who waits and who may speak in clear. Its zero value is not usable: see New.
type Book struct {
	limits  Limits
	filters map[uint32]*Filter // by the ID of either entry
	peers   map[string]*peer
	at      map[netip.Addr][]*peer     // where peers are, with those of them that may fall back
	proven  map[string]map[string]bool // identities, with the peers that have proved them, whatever became of these since
	muted   map[netip.Addr]time.Time   // when something was last heard there, the same
	sas     map[Key]*SA
	waits   int
	tired   time.Time // when what has waited too long was last looked for
	groups  groups
	inbound inbound
	counts  counts
}

type counts struct {
	created uint64
	ended   map[Reason]uint64
	refused map[Reason]uint64
}

// New is a book that lets nothing fall back until Configure.
func New() *Book {
	return &Book{
		filters: map[uint32]*Filter{}, peers: map[string]*peer{}, at: map[netip.Addr][]*peer{}, sas: map[Key]*SA{},
		proven: map[string]map[string]bool{}, muted: map[netip.Addr]time.Time{}, groups: newGroups(), inbound: newInbound(),
		counts: counts{ended: map[Reason]uint64{}, refused: map[Reason]uint64{}},
	}
}

// Ask takes a packet that needs an SA.
func (b *Book) Ask(now time.Time, r Request) Answer {
	if r.Inbound {
		if why := b.inbound.admit(now, r.Packet.Source, r.Entry); why != "" {
			return b.refuse(Answer{Refused: why})
		}
	}
	f, p := b.filters[r.Entry], b.peers[r.Peer]
	if f == nil || p == nil || !p.fallback || f.Tunnel != r.Tunnel {
		return Answer{Negotiate: true}
	}
	key := f.key(r)
	if p.sas[key] != nil {
		return Answer{} // it asked before it had one
	}
	if w := p.waits[key]; w != nil {
		w.last = now
		return Answer{Negotiate: true}
	}
	if why := b.closed(now, p, r.Packet); why != "" {
		return b.refuse(Answer{Negotiate: true, Refused: why})
	}
	b.await(p, key, &waiting{Request: r, filter: f, first: now, last: now})
	return Answer{Negotiate: true}
}

func (b *Book) refuse(a Answer) Answer {
	b.counts.refused[a.Refused]++
	return a
}

// key is what a packet that the filter decided asks for.
func (f *Filter) key(r Request) Key {
	k := Key{Entry: f.Entry, Mirror: f.Mirror, Local: r.Packet.Source, Remote: r.Packet.Destination}
	if r.Inbound {
		k.Local, k.Remote = k.Remote, k.Local
	}
	return k
}

// closed says why a packet to or from a peer can have no soft SA, or nothing.
func (b *Book) closed(now time.Time, p *peer, packet policy.Packet) Reason {
	switch why := b.shut(now, p); {
	case why != "":
		return why
	case b.groups.answers(now, packet):
		return Group
	}
	why := b.full(p)
	if why != "" && now.Sub(b.tired) >= tireEvery {
		b.tire(now)
		why = b.full(p)
	}
	return why
}

// full says which limit leaves no room for one more of a peer, or nothing.
func (b *Book) full(p *peer) Reason {
	switch {
	case len(p.waits)+len(p.sas) >= b.limits.MaxPerPeer:
		return FullOfPeer
	case len(b.sas)+b.waits >= b.limits.Max:
		return Full
	}
	return ""
}

// shut says why a peer gets no soft SA at all, or nothing.
func (b *Book) shut(now time.Time, p *peer) Reason {
	switch {
	case !b.limits.Allow:
		return Denied
	case p.authenticated:
		return Authenticated
	case now.Before(b.mutedUntil(p)):
		return Heard
	}
	return ""
}

// mutedUntil is until when a peer gets none because of what was heard; long over if nothing was.
func (b *Book) mutedUntil(p *peer) time.Time { return b.muted[p.Remote].Add(Mute) }

// tire forgets what has waited too long.
func (b *Book) tire(now time.Time) {
	b.tired = now
	for _, p := range b.peers {
		for key, w := range p.waits {
			if !now.Before(w.last.Add(waitsFor)) {
				delete(p.waits, key)
				b.waits--
			}
		}
	}
}

// Silent takes word from IKE that a peer has answered nothing at all to a whole negotiation, which ended now. What asked
// three seconds ago or before gets its soft SA (C-02).
func (b *Book) Silent(now time.Time, name string) (o Outcome) {
	p := b.peers[name]
	if p == nil {
		return o
	}
	if why := b.shut(now, p); why != "" {
		b.drop(p)
		return o
	}
	var next *waiting
	for key, w := range p.waits {
		if now.Sub(w.first) < Window {
			if next == nil || w.first.Before(next.first) {
				next = w
			}
			continue
		}
		delete(p.waits, key)
		b.waits--
		if b.groups.answers(now, w.Packet) { // the group's packet may have come after its answer
			b.refuse(Answer{Refused: Group})
			continue
		}
		sa := &SA{Key: key, Peer: p.Name, Tunnel: w.Tunnel, Rule: w.filter.Rule, Filter: w.filter.Name, Traffic: narrowed(w.filter.Traffic, key.Local, key.Remote), Created: now}
		p.hold(sa)
		b.sas[key] = sa
		b.counts.created++
		o.Made = append(o.Made, *sa)
		p.doubted, p.why = time.Time{}, ""
	}
	sortSAs(o.Made)
	if next != nil {
		request := next.Request
		o.Next = &request
	}
	return o
}

// Refused takes word from the data plane that it did not take these.
func (b *Book) Refused(made []SA) {
	for _, sa := range made {
		if p := b.peers[sa.Peer]; p != nil && p.sas[sa.Key] != nil {
			delete(p.sas, sa.Key)
			delete(b.sas, sa.Key)
			b.counts.created--
			b.refuse(Answer{Refused: Plane})
		}
	}
}

// Heard takes a datagram to an IKE port, whatever is in it. The soft SAs of the peers at that address end at once (S-051).
func (b *Book) Heard(now time.Time, from netip.Addr) (ended []Ended) {
	peers, known := b.at[from]
	if !known {
		return nil
	}
	b.muted[from] = now
	for _, p := range peers {
		b.drop(p)
		ended = b.end(ended, p, Heard)
	}
	sortEnded(ended)
	return ended
}

// Established takes word that a peer has proved who it is.
func (b *Book) Established(name string) []Ended {
	p := b.peers[name]
	if p == nil {
		return nil
	}
	p.authenticated = true
	b.prove(p)
	return b.endAll(p, Authenticated)
}

// prove remembers that a peer has proved its identity.
func (b *Book) prove(p *peer) {
	if b.proven[p.Identity] == nil {
		b.proven[p.Identity] = map[string]bool{}
	}
	b.proven[p.Identity][p.Name] = true
}

// Down ends the soft SAs of a peer that an operator takes down.
func (b *Book) Down(name string) []Ended {
	p := b.peers[name]
	if p == nil {
		return nil
	}
	return b.endAll(p, Down)
}

// Flush ends soft SAs (S-048), AtOnce of them at most, and what waits to be one.
func (b *Book) Flush() []Ended {
	if b.waits > 0 {
		for _, p := range b.peers {
			b.drop(p)
		}
	}
	return b.endSome(Flushed, func(*SA) bool { return true })
}

// Group takes a packet to a multicast or broadcast address that a filter with fallback dropped.
func (b *Book) Group(now time.Time, source netip.AddrPort, protocol uint8) {
	b.groups.note(now, sender{source, protocol})
}

// Tick ends what is 300 seconds old (S-047), AtOnce at most: of more than that Next says that it is due.
func (b *Book) Tick(now time.Time) []Ended {
	return b.endSome(Expired, func(sa *SA) bool { return !now.Before(sa.Expires()) })
}

// endSome ends those that are meant, the oldest AtOnce of them.
func (b *Book) endSome(why Reason, meant func(*SA) bool) (ended []Ended) {
	var list []*SA
	for _, sa := range b.sas {
		if meant(sa) {
			list = append(list, sa)
		}
	}
	slices.SortFunc(list, compareSAs)
	for _, sa := range list[:min(len(list), AtOnce)] {
		ended = append(ended, b.remove(b.peers[sa.Peer], sa, why))
	}
	return ended
}

// Next is when the next soft SA ends by itself; the zero time where there is none.
func (b *Book) Next() (at time.Time) {
	for _, sa := range b.sas {
		if ends := sa.Expires(); at.IsZero() || ends.Before(at) {
			at = ends
		}
	}
	return at
}

// Used notes that something came in by a soft SA, and says of the first time what that is.
func (b *Book) Used(key Key) (sa SA, first bool) {
	s := b.sas[key]
	if s == nil {
		return sa, false
	}
	first, s.Used = !s.Used, true
	return *s, first
}

// endAll ends all soft SAs of a peer, and what waits to be one.
func (b *Book) endAll(p *peer, why Reason) []Ended {
	b.drop(p)
	ended := b.end(nil, p, why)
	sortEnded(ended)
	return ended
}

// end ends all soft SAs of a peer, in no order.
func (b *Book) end(ended []Ended, p *peer, why Reason) []Ended {
	for _, sa := range p.sas {
		ended = append(ended, b.remove(p, sa, why))
	}
	return ended
}

func (b *Book) remove(p *peer, sa *SA, why Reason) Ended {
	delete(p.sas, sa.Key)
	delete(b.sas, sa.Key)
	b.counts.ended[why]++
	return Ended{*sa, why}
}

// SAs are the soft SAs, the oldest first.
func (b *Book) SAs() (list []SA) {
	for _, sa := range b.sas {
		list = append(list, *sa)
	}
	sortSAs(list)
	return list
}

func compareSAs(a, c *SA) int {
	return cmp.Or(a.Created.Compare(c.Created), cmp.Compare(a.Peer, c.Peer), a.Remote.Compare(c.Remote), a.Local.Compare(c.Local), cmp.Compare(a.Entry, c.Entry))
}

func sortSAs(list []SA) {
	slices.SortFunc(list, func(a, c SA) int { return compareSAs(&a, &c) })
}

func sortEnded(list []Ended) {
	slices.SortFunc(list, func(a, c Ended) int { return compareSAs(&a.SA, &c.SA) })
}
