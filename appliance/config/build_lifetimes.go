package config

import (
	"fmt"
	"net/netip"
	"time"

	"sallyport/ike"
)

// Bounds of what a Child SA may carry before its keys change.
const (
	maxKilobytes   = 1 << 50
	maxLifePackets = 1 << 60
	kilobyte       = 1024
	leastFrame     = 84     // octets that the shortest Ethernet frame takes on the wire, preamble and gap included
	maxSpeedMbps   = 800000 // of a port
	maxMinSeconds  = 3600
	maxChildLimit  = 1 << 20
)

// lifetime is how long the Child SA of a rule lives: time is that of its peer where the action says none. Where a port at its full rate uses up
// octets or packets within rekey.min_seconds, one negotiation would follow upon the other (S-078).
func (b *builder) lifetime(action string, raw *fileFilterAction, peer *filePeer) (time.Duration, ike.Volume) {
	limit := ike.Volume{Packets: uint64(raw.Lifetime.Packets), Bytes: uint64(raw.Lifetime.Kilobytes) * kilobyte}
	if port, speed := b.speedAt(peer); speed > 0 {
		seconds := uint64(b.raw.Rekey.MinSeconds)
		octets := seconds * speed * 1e6 / 8
		for _, l := range []struct {
			key, unit  string
			found      uint64
			per, least uint64
		}{
			{"kilobytes", "KiB", limit.Bytes, kilobyte, octets},
			{"packets", "packets", limit.Packets, 1, octets / leastFrame},
		} {
			if l.found > 0 && l.found < l.least {
				b.add(action+".lifetime."+l.key, "expected at least %d %s, because port %q (speed_mbps: %d) can carry so much in rekey.min_seconds, %d, and keys are to change no oftener, found %d",
					(l.least+l.per-1)/l.per, l.unit, port, speed, seconds, l.found/l.per)
			}
		}
	}
	if b.hasValue(action + ".lifetime.time") {
		return raw.Lifetime.Time, limit
	}
	return peer.ChildRekey, limit
}

// speedAt is the port that the tunnels of a peer leave by, and its rate in Mbit/s; 0 for no port, which is reported.
func (b *builder) speedAt(peer *filePeer) (port string, speed uint64) {
	for i := range b.config.Ports {
		for _, a := range b.config.Ports[i].Addresses {
			if a.IsValid() && a.Addr() == netip.Addr(peer.Local) {
				return b.config.Ports[i].Name, uint64(max(b.raw.Ports[i].SpeedMbps, 0))
			}
		}
	}
	return "", 0
}

// actionLifetime checks the lifetime of an action by itself.
func (b *builder) actionLifetime(key string, raw *fileLifetime) {
	if b.hasValue(key + ".time") {
		b.rekey(key+".time", raw.Time)
	}
	b.within(key+".kilobytes", raw.Kilobytes, 0, maxKilobytes, "KiB, 0 for no limit")
	b.within(key+".packets", raw.Packets, 0, maxLifePackets, "packets, 0 for no limit")
}

// rekeyRate checks what bounds the rate of negotiations.
func (b *builder) rekeyRate() {
	b.within("rekey.min_seconds", b.raw.Rekey.MinSeconds, 1, maxMinSeconds, "seconds")
	for i := range b.raw.Ports {
		b.within(fmt.Sprintf("ports[%d].speed_mbps", i), b.raw.Ports[i].SpeedMbps, 1, maxSpeedMbps, "Mbit/s")
	}
}
