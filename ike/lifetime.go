package ike

import (
	"math"
	"time"
)

// lifetime says when an SA was made, when it is renewed, and when it ends if that does not come about.
type lifetime struct{ established, rekeyAt, ends time.Time }

// Lifetimes are shortened by up to rekeyJitter, so that many SAs made at once, and the two ends of one, do not rekey at once; hardLifetime
// after the nominal time an SA ends, rekeyed or not.
const (
	rekeyJitter  = 0.1
	hardLifetime = 1.1
)

// lifetimeFrom is the lifetime of an SA made at the given moment. One that is past it, since the nominal time is news, is renewed soon and has as
// long for that as any other.
func (e *Engine) lifetimeFrom(established time.Time, nominal time.Duration) lifetime {
	shortened := e.jitter(nominal, rekeyJitter)
	rekeyAt := later(established.Add(shortened), e.now.Add(nominal-shortened))
	margin := time.Duration((hardLifetime - 1) * float64(nominal))
	return lifetime{established: established, rekeyAt: rekeyAt, ends: later(established.Add(nominal+margin), rekeyAt.Add(margin))}
}

// volumes are the limits of one direction of a Child SA, with the same jitter and the same margin as lifetimes.
func (e *Engine) volumes(nominal Volume) (soft, hard Volume) {
	if nominal == (Volume{}) {
		return Volume{}, Volume{}
	}
	const whole = time.Hour // a scale for jitter: shares of it are fine enough
	share := float64(e.jitter(whole, rekeyJitter)) / float64(whole)
	part := func(n uint64, of float64) uint64 { return uint64(math.Ceil(float64(n) * of)) }
	soft = Volume{Packets: part(nominal.Packets, share), Bytes: part(nominal.Bytes, share)}
	hard = Volume{Packets: part(nominal.Packets, hardLifetime), Bytes: part(nominal.Bytes, hardLifetime)}
	return soft, hard
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
