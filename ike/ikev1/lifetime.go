package ikev1

import (
	"math"
	"time"

	"sallyport/ike"
	"sallyport/ike/isakmp"
)

// lifetime says when an SA was made, when it is renewed, and when it ends if that does not come about.
type lifetime struct{ established, rekeyAt, ends time.Time }

// What is negotiated is the end of an SA, hardLifetime times the configured time of its renewal. That is shortened by up to rekeyJitter, so that many
// SAs made at once do not rekey at once. The end that did not begin an SA renews it half way between the other's last moment for that and the
// end: by then the other has had its chance.
const (
	hardLifetime = 1.1
	rekeyJitter  = 0.1
)

// lifetimeFrom is the lifetime of an SA with so many seconds agreed on.
func (e *Engine) lifetimeFrom(established time.Time, seconds uint32, role ike.Role) lifetime {
	whole := time.Duration(seconds) * time.Second
	nominal := time.Duration(float64(whole) / hardLifetime)
	l := lifetime{established: established, ends: established.Add(whole)}
	if l.rekeyAt = established.Add(e.jitter(nominal, rekeyJitter)); role == ike.RoleResponder {
		l.rekeyAt = established.Add((nominal + whole) / 2)
	}
	return l
}

// secondsOf is what is offered for a configured time of renewal.
func secondsOf(renewal time.Duration) uint32 {
	return uint32(min(math.Ceil(hardLifetime*renewal.Seconds()), math.MaxUint32))
}

// phase1Life is what we want of an ISAKMP SA. Its life is never counted in octets (S-077).
func (p *peer) phase1Life() isakmp.Lifetime {
	return isakmp.Lifetime{Seconds: secondsOf(p.cfg.RekeyTime)}
}

// agreedLife is the shorter of what we want and what stood in the transform that was chosen.
func (sa *isakmpSA) agreedLife() isakmp.Lifetime {
	life, _ := agreeLifetime(sa.peer.phase1Life(), bearable(isakmp.Lifetime{Seconds: sa.chosen.Lifetime.Seconds}))
	return life
}

// leastSeconds is the shortest life of an SA that a peer can have, leastAge how old a pair is at least when another is made because of what it has carried.
// With less, one negotiation would follow upon the other.
const (
	leastSeconds = 11 // of a renewal every 10 s, which is the least of a configuration
	leastAge     = time.Second
)

// bearable is a lifetime that a peer asks for, or the shortest that there is. A peer for which that is too long can delete the SA.
func bearable(theirs isakmp.Lifetime) isakmp.Lifetime {
	if theirs.Seconds > 0 {
		theirs.Seconds = max(theirs.Seconds, leastSeconds)
	}
	return theirs
}

const kilobyte = 1024 // octets (RFC 2407 4.5)

// life is what is wanted of the SAs of a child, in seconds and in kilobytes (S-078).
func (s *slot) life() isakmp.Lifetime {
	kilobytes := math.Ceil(hardLifetime * float64(s.cfg.Life.Bytes) / kilobyte)
	return isakmp.Lifetime{Seconds: secondsOf(s.cfg.RekeyTime), Kilobytes: uint32(min(kilobytes, math.MaxUint32))}
}

// volumes are the limits of one direction of a child's SA: of packets ours alone, of octets what was agreed on.
func (e *Engine) volumes(packets uint64, agreed isakmp.Lifetime) (soft, hard ike.Volume) {
	const whole = time.Hour // a scale for jitter: shares of it are fine enough
	share := float64(e.jitter(whole, rekeyJitter)) / float64(whole)
	octets := float64(agreed.Kilobytes) * kilobyte
	soft = ike.Volume{Packets: uint64(share * float64(packets)), Bytes: uint64(share * octets / hardLifetime)}
	hard = ike.Volume{Packets: uint64(hardLifetime * float64(packets)), Bytes: uint64(octets)}
	return soft, hard
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
