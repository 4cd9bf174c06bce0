package appliance

import (
	"time"

	"sallyport/pipeline"
)

// lastUse answers the engine's question when an SA last carried a packet. The
// engine asks for one SA after another within a step, so one reading of the
// counters serves for a short while.
type lastUse struct {
	read func() []pipeline.SACounters
	now  func() time.Time

	readAt time.Time
	in     map[uint32]time.Time
	out    map[sender]time.Time
	sends  map[uint32]sender // by inbound SPI
}

// sender is where an outbound SA is: in a tunnel's cell, a worker's own or that
// of all others.
type sender struct {
	cell   pipeline.CellID
	worker int
}

// lastUseFresh is how long a reading serves.
const lastUseFresh = 500 * time.Millisecond

func newLastUse(plane *pipeline.Dataplane) *lastUse {
	return &lastUse{read: plane.SACounters, now: time.Now}
}

func (u *lastUse) refresh() {
	now := u.now()
	if !u.readAt.IsZero() && now.Sub(u.readAt) < lastUseFresh {
		return
	}
	u.readAt = now
	u.in, u.out, u.sends = map[uint32]time.Time{}, map[sender]time.Time{}, map[uint32]sender{}
	for _, sa := range u.read() {
		var at time.Time // zero: never
		if sa.Packets > 0 {
			at = now.Add(-sa.Idle)
		}
		by := sender{sa.Cell, sa.Worker}
		if !sa.Outbound {
			u.in[sa.SPI] = at
			u.sends[sa.SPI] = by
		} else if at.After(u.out[by]) {
			u.out[by] = at
		}
	}
}

// inbound is when the inbound SA with this SPI last accepted a packet.
func (u *lastUse) inbound(spi uint32) time.Time {
	u.refresh()
	return u.in[spi]
}

// outbound is when the Child SA of this inbound SPI last sent a packet.
func (u *lastUse) outbound(spi uint32) time.Time {
	u.refresh()
	if by, known := u.sends[spi]; known {
		return u.out[by]
	}
	return time.Time{}
}
