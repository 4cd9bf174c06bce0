package pipeline

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// holdLimits bounds the packets that wait for a tunnel to be negotiated.
type holdLimits struct {
	perSelector int
	total       int
	fallback    int           // of these, packets of filters with fallback; and so many selectors of theirs
	lifetime    time.Duration // how long a packet waits before it is dropped
	renew       time.Duration // how often a waiting selector asks for its SA again
}

// holdLimits leave a quarter of the room to filters without fallback: a scan of silent hosts, each a selector of its own,
// must not keep tunnels from being negotiated. Nor those that have fallback too, so that each tunnel has at most as much of
// the rest as is free.
func (cfg *Config) holdLimits() holdLimits {
	return holdLimits{perSelector: cfg.HoldPerSelector, total: cfg.HoldTotal, fallback: max(cfg.HoldTotal*3/4, 1), lifetime: 30 * time.Second, renew: 5 * time.Second}
}

// selector is what waits for an SA together: the packets of a filter and, where a soft SA may come of it, of two addresses.
type selector struct {
	cell          CellID
	entry         uint32     // policy.Entry.ID
	local, remote netip.Addr // not valid for a filter without fallback
}

func (s *selector) fallback() bool { return s.local.IsValid() }

// holdQueue keeps packets that match a tunnel with no SA yet until the SA is there, in order of arrival over all selectors of
// a cell. P is a packet handle: what the methods return belongs to the caller again.
type holdQueue[P any] struct {
	limits    holdLimits
	selectors map[selector]*heldSelector[P]
	arrivals  uint64               // packets ever kept
	count     int                  // packets
	silent    holdCount            // those of filters with fallback
	tunnels   map[CellID]holdCount // the same of each tunnel
}

type holdCount struct{ selectors, packets int }

type heldSelector[P any] struct {
	packets []heldPacket[P]
	asked   time.Time // when the SA was last asked for
}

type heldPacket[P any] struct {
	packet  P
	until   time.Time
	arrival uint64
}

func newHoldQueue[P any](limits holdLimits) *holdQueue[P] {
	return &holdQueue[P]{limits: limits, selectors: map[selector]*heldSelector[P]{}, tunnels: map[CellID]holdCount{}}
}

// push keeps a packet. kept is false when there is no room: the earlier packets stay, so the order of a flow does. ask
// is true when the SA has to be asked for.
func (q *holdQueue[P]) push(now time.Time, s selector, packet P) (kept, ask bool) {
	h := q.selectors[s]
	if h == nil {
		if s.fallback() && q.tunnels[s.cell].selectors >= q.limits.fallback-q.silent.selectors {
			return false, false
		}
		h = &heldSelector[P]{}
		q.selectors[s] = h
		q.note(s, 1, 0)
	}
	if h.asked.IsZero() || now.Sub(h.asked) >= q.limits.renew {
		h.asked, ask = now, true
	}
	if len(h.packets) >= q.limits.perSelector || q.count >= q.limits.total || s.fallback() && q.tunnels[s.cell].packets >= q.limits.fallback-q.silent.packets {
		return false, ask
	}
	q.arrivals++
	h.packets = append(h.packets, heldPacket[P]{packet, now.Add(q.limits.lifetime), q.arrivals})
	q.note(s, 0, 1)
	return true, ask
}

// note keeps count of selectors and packets.
func (q *holdQueue[P]) note(s selector, selectors, packets int) {
	q.count += packets
	if !s.fallback() {
		return
	}
	q.silent = q.silent.plus(selectors, packets)
	if q.tunnels[s.cell] = q.tunnels[s.cell].plus(selectors, packets); q.tunnels[s.cell] == (holdCount{}) {
		delete(q.tunnels, s.cell)
	}
}

func (c holdCount) plus(selectors, packets int) holdCount {
	return holdCount{c.selectors + selectors, c.packets + packets}
}

// takeWhere empties the queues of some selectors, oldest packet first. Each asks for its SA again when it next needs one.
func (q *holdQueue[P]) takeWhere(which func(selector) bool) []P {
	var taken []heldPacket[P]
	for s, h := range q.selectors {
		if which(s) {
			delete(q.selectors, s)
			q.note(s, -1, -len(h.packets))
			taken = append(taken, h.packets...)
		}
	}
	return inOrder(taken)
}

func inOrder[P any](held []heldPacket[P]) []P {
	if len(held) == 0 {
		return nil
	}
	slices.SortFunc(held, func(a, b heldPacket[P]) int { return cmp.Compare(a.arrival, b.arrival) })
	packets := make([]P, len(held))
	for i, h := range held {
		packets[i] = h.packet
	}
	return packets
}

// take empties the queues of a cell.
func (q *holdQueue[P]) take(cell CellID) []P {
	return q.takeWhere(func(s selector) bool { return s.cell == cell })
}

// takeAll empties all queues.
func (q *holdQueue[P]) takeAll() []P { return q.takeWhere(func(selector) bool { return true }) }

// expire returns the packets that have waited too long.
func (q *holdQueue[P]) expire(now time.Time) []P {
	var expired []heldPacket[P]
	for s, h := range q.selectors {
		n := 0
		for n < len(h.packets) && !now.Before(h.packets[n].until) {
			n++
		}
		expired = append(expired, h.packets[:n]...)
		h.packets = h.packets[n:]
		q.note(s, 0, -n)
		if len(h.packets) == 0 && now.Sub(h.asked) >= q.limits.renew {
			delete(q.selectors, s)
			q.note(s, -1, 0)
		}
	}
	return inOrder(expired)
}
