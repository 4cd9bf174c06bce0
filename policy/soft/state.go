package soft

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Configure puts another configuration in force. What its filters and peers do not allow any more ends.
func (b *Book) Configure(now time.Time, c Config) (ended []Ended) {
	before := b.peers
	b.limits, b.filters, b.peers, b.at = c.Limits, map[uint32]*Filter{}, map[string]*peer{}, map[netip.Addr][]*peer{}
	entries := map[uint32]bool{}
	for _, entry := range c.Entries {
		entries[entry] = true
	}
	b.inbound.set(c.InboundPerSource, c.InboundPerFilter, entries)
	falls := map[string]bool{}
	for i := range c.Filters {
		f := &c.Filters[i]
		b.filters[f.Entry], b.filters[f.Mirror], falls[f.Tunnel] = f, f, true
	}
	b.waits = 0
	maps.DeleteFunc(b.muted, func(_ netip.Addr, heard time.Time) bool { return !now.Before(heard.Add(Mute)) })
	for _, cfg := range c.Peers {
		p := &peer{Peer: cfg}
		for _, tunnel := range cfg.Tunnels {
			p.fallback = p.fallback || falls[tunnel]
		}
		was := before[cfg.Name]
		same := was != nil && was.Remote == cfg.Remote
		switch {
		case cfg.Renewed:
			delete(b.proven[cfg.Identity], cfg.Name) // and not what others have proved by theirs
		case same && b.proven[was.Identity][cfg.Name]:
			b.prove(p) // the host speaks IPsec, whatever it is to be called from now on
		}
		p.authenticated = len(b.proven[cfg.Identity]) > 0
		if same {
			b.keep(p, was)
		}
		b.peers[p.Name] = p
		there := b.at[p.Remote]
		if p.fallback {
			there = append(there, p)
		}
		b.at[p.Remote] = there
	}
	why := Policy
	if !c.Allow {
		why = Denied
	}
	for key, sa := range b.sas {
		if p := b.peers[sa.Peer]; p == nil || p.sas[key] == nil {
			ended = append(ended, b.remove(before[sa.Peer], sa, why))
		}
	}
	for _, p := range b.peers { // a limit may be lower than what there is
		if len(b.sas) > b.limits.Max || len(p.sas) > b.limits.MaxPerPeer {
			ended = b.end(ended, p, Policy)
		}
	}
	sortEnded(ended)
	return ended
}

// Over takes word from the data plane that it has no place for these any more.
func (b *Book) Over(keys []Key) (ended []Ended) {
	for _, key := range keys {
		if sa := b.sas[key]; sa != nil {
			ended = append(ended, b.remove(b.peers[sa.Peer], sa, Policy))
		}
	}
	sortEnded(ended)
	return ended
}

// keep takes over what the former peer of a name has, where the same filters allow it still.
func (b *Book) keep(p, was *peer) {
	if !b.limits.Allow || !p.fallback {
		return
	}
	p.sent, p.doubted, p.why = was.sent, was.doubted, was.why
	same := func(key Key, tunnel string) *Filter { // whose rule is this peer's still: the silence of one says nothing of another
		if f := b.filters[key.Entry]; f != nil && f.Entry == key.Entry && f.Mirror == key.Mirror && f.Tunnel == tunnel && slices.Contains(p.Tunnels, tunnel) {
			return f
		}
		return nil
	}
	for key, sa := range was.sas {
		if f := same(key, sa.Tunnel); f != nil && narrowed(f.Traffic, key.Local, key.Remote) == sa.Traffic {
			p.hold(sa)
		}
	}
	for key, w := range was.waits {
		if f := same(key, w.Tunnel); f != nil && f.Traffic == w.filter.Traffic && len(p.waits)+len(p.sas) < b.limits.MaxPerPeer {
			w.filter = f
			b.await(p, key, w)
		}
	}
}

// Endings are all reasons for which a soft SA ends.
func Endings() []Reason {
	return []Reason{Expired, Heard, Authenticated, Policy, Denied, Flushed, Down}
}

// Refusals are all reasons for which there is none, or no negotiation.
func Refusals() []Reason {
	return []Reason{Heard, Authenticated, Denied, Group, Full, FullOfPeer, Plane, Lost, Unsent, RateSource, RateFilter, Policy}
}

// Counts is what the book has done since it was made, and what it holds.
type Counts struct {
	Live, Waiting  int
	Alarm          bool
	Created        uint64
	Ended, Refused map[Reason]uint64
}

// Counts reads the counters.
func (b *Book) Counts() Counts {
	return Counts{
		Live: len(b.sas), Waiting: b.waits, Alarm: b.limits.Alarm > 0 && len(b.sas) >= b.limits.Alarm,
		Created: b.counts.created, Ended: maps.Clone(b.counts.ended), Refused: maps.Clone(b.counts.refused),
	}
}

// State is how a peer stands.
type State struct {
	Fallback      bool      // a filter of it may fall back
	Shut          Reason    // why it gets no soft SA whatever happens, or nothing
	Until         time.Time // the end of that, where it has one
	Full          Reason    // which limit leaves no room for one more that would wait, or nothing
	Live, Waiting int
	Doubt         Reason    // why the silence that it last waited for proved nothing, or nothing
	Doubted       time.Time // when that was
}

// State is how a peer stands now; the zero value for one that is not configured.
func (b *Book) State(now time.Time, name string) (s State) {
	p := b.peers[name]
	if p == nil {
		return s
	}
	s = State{Fallback: p.fallback, Shut: b.shut(now, p), Full: b.full(p), Live: len(p.sas), Waiting: len(p.waits), Doubt: p.why, Doubted: p.doubted}
	if s.Shut == Heard {
		s.Until = b.mutedUntil(p)
	}
	return s
}
