package pipeline

import "time"

// holdLimits bounds the packets that wait for a tunnel to be negotiated.
type holdLimits struct {
	perCell  int
	total    int
	lifetime time.Duration // how long a packet waits before it is dropped
	renew    time.Duration // how often a waiting cell asks for its SA again
}

func (cfg *Config) holdLimits() holdLimits {
	return holdLimits{perCell: cfg.HoldPerSelector, total: cfg.HoldTotal, lifetime: 30 * time.Second, renew: 5 * time.Second}
}

// holdQueue keeps packets that match a tunnel with no SA yet, in order of arrival, until the SA is there. P is a packet
// handle: what the methods return belongs to the caller again.
type holdQueue[P any] struct {
	limits holdLimits
	cells  map[CellID]*heldCell[P]
	count  int
}

type heldCell[P any] struct {
	packets []heldPacket[P]
	asked   time.Time // when the SA was last asked for
}

type heldPacket[P any] struct {
	packet P
	until  time.Time
}

func newHoldQueue[P any](limits holdLimits) *holdQueue[P] {
	return &holdQueue[P]{limits: limits, cells: map[CellID]*heldCell[P]{}}
}

// push keeps a packet. kept is false when there is no room: the earlier packets stay, so the order of a flow does. ask
// is true when the SA has to be asked for.
func (q *holdQueue[P]) push(now time.Time, cell CellID, packet P) (kept, ask bool) {
	c := q.cells[cell]
	if c == nil {
		c = &heldCell[P]{}
		q.cells[cell] = c
	}
	if c.asked.IsZero() || now.Sub(c.asked) >= q.limits.renew {
		c.asked, ask = now, true
	}
	if len(c.packets) >= q.limits.perCell || q.count >= q.limits.total {
		return false, ask
	}
	c.packets = append(c.packets, heldPacket[P]{packet, now.Add(q.limits.lifetime)})
	q.count++
	return true, ask
}

// take empties a cell's queue, oldest packet first.
func (q *holdQueue[P]) take(cell CellID) []P {
	c := q.cells[cell]
	if c == nil {
		return nil
	}
	delete(q.cells, cell)
	q.count -= len(c.packets)
	packets := make([]P, len(c.packets))
	for i, h := range c.packets {
		packets[i] = h.packet
	}
	return packets
}

// takeAll empties all queues. Each cell asks for its SA again when it next needs one.
func (q *holdQueue[P]) takeAll() []P {
	var all []P
	for cell := range q.cells {
		all = append(all, q.take(cell)...)
	}
	return all
}

// expire returns the packets that have waited too long.
func (q *holdQueue[P]) expire(now time.Time) []P {
	var expired []P
	for cell, c := range q.cells {
		n := 0
		for n < len(c.packets) && !now.Before(c.packets[n].until) {
			expired = append(expired, c.packets[n].packet)
			n++
		}
		c.packets = c.packets[n:]
		q.count -= n
		if len(c.packets) == 0 && now.Sub(c.asked) >= q.limits.renew {
			delete(q.cells, cell)
		}
	}
	return expired
}
