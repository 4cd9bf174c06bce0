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
	out    map[pipeline.CellID]time.Time
	cellOf map[uint32]pipeline.CellID // by inbound SPI
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
	u.in, u.out, u.cellOf = map[uint32]time.Time{}, map[pipeline.CellID]time.Time{}, map[uint32]pipeline.CellID{}
	for _, sa := range u.read() {
		var at time.Time // zero: never
		if sa.Packets > 0 {
			at = now.Add(-sa.Idle)
		}
		if !sa.Outbound {
			u.in[sa.SPI] = at
			u.cellOf[sa.SPI] = sa.Cell
		} else if at.After(u.out[sa.Cell]) {
			u.out[sa.Cell] = at
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
	if cell, known := u.cellOf[spi]; known {
		return u.out[cell]
	}
	return time.Time{}
}
