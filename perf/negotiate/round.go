package negotiate

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// plan is what a round does.
type plan struct {
	interval  time.Duration // between initiations; 0: as fast as the bound allows
	callers   int           // that call
	bound     int           // of them at once
	reference bool          // what 0 ms is compared with
}

// round is one measurement: a window in which calls begin and SAs are counted, and then the wait for those calls that are still under way.
type round struct {
	plan
	from    int                           // number of the first caller
	silence time.Duration                 // nothing may happen for so long before the calls that are still under way count as failed
	limit   time.Duration                 // of the window; 0: none
	spent   func() (time.Duration, error) // CPU time of the gateway

	tell         func(r *round, now time.Time) // how far it is, once a second; nil: nobody
	told         time.Time
	first        time.Time // when it began, before the window
	began, ended time.Time // the window; not ended: calls begin
	full         bool      // there have been as many at once as may be
	last         time.Time // something happened

	Initiated, Completed, Failed, Repeated int
	mainModes, quickModes                  int // within the window
	allMainModes, allQuickModes            int // and after it
	setUps                                 []time.Duration
	ends                                   []time.Time    // of calls that were completed within the window
	gateway, own                           time.Duration  // CPU time within the window, of the gateway and of this process
	failures                               map[string]int // by what failed
	wrong                                  error
}

func (r *round) begin(now time.Time) {
	if r.first.IsZero() {
		r.first = now
	}
	r.began, r.last = now, now
	r.account(-1)
}

// account takes CPU time in, or out.
func (r *round) account(sign time.Duration) {
	gateway, err := r.spent()
	var usage syscall.Rusage
	if err = errors.Join(err, syscall.Getrusage(syscall.RUSAGE_SELF, &usage)); err != nil {
		r.wrong = errors.Join(r.wrong, fmt.Errorf("negotiate: CPU time: %w", err))
	}
	r.gateway += sign * gateway
	r.own += sign * time.Duration(usage.Utime.Nano()+usage.Stime.Nano())
}

// progress tells once a second how far the round is.
func (r *round) progress(now time.Time) {
	if r.tell == nil || now.Sub(r.told) < time.Second || now.Sub(r.first) < time.Second {
		return
	}
	r.told = now
	r.tell(r, now)
}

// left is about how long the round still takes: what is planned, or as long for each connection that is to come as for those so far. 0: nobody knows.
func (r *round) left(now time.Time) time.Duration {
	elapsed, ended := now.Sub(r.first), r.Completed+r.Failed
	switch {
	case r.interval > 0:
		return max(0, time.Duration(r.callers)*r.interval-elapsed)
	case ended == 0:
		return 0
	}
	left := time.Duration(float64(elapsed) / float64(ended) * float64(r.callers-ended))
	if r.limit > 0 {
		left = min(left, max(0, r.limit-elapsed))
	}
	return left
}

// open is how many calls are under way.
func (r *round) open() int { return r.Initiated - r.Completed - r.Failed }

// due reports whether a call is to begin now, and ends the window when none is any longer.
func (r *round) due(now time.Time) bool {
	switch {
	case !r.ended.IsZero():
		return false
	case r.limit > 0 && now.Sub(r.first) >= r.limit:
		r.end(now)
		return false
	case r.interval > 0 && r.Initiated == r.callers:
		if end := r.began.Add(time.Duration(r.callers) * r.interval); !now.Before(end) {
			r.end(end)
		}
		return false
	case r.interval > 0:
		return !now.Before(r.next())
	case r.Initiated == r.callers:
		if r.full || r.open() == 0 {
			r.end(now)
		}
		return false
	}
	return r.open() < r.bound
}

// next is when the next call of a slow round is due.
func (r *round) next() time.Time { return r.began.Add(time.Duration(r.Initiated) * r.interval) }

// steady reports whether there are enough callers for a window with as many at once as may be: as many again as fill it up.
func (r *round) steady() bool { return r.interval == 0 && r.callers >= 2*r.bound }

// initiated takes a call into account. As fast as possible, the window begins when there are as many as may be, for before all are at their beginning; with too
// few callers for that it is from the first to the last of them.
func (r *round) initiated(now time.Time) {
	r.Initiated++
	r.last = now
	if r.steady() && !r.full && r.open() == r.bound {
		r.full = true
		r.gateway, r.own, r.mainModes, r.quickModes, r.ends = 0, 0, 0, 0, nil
		r.begin(now)
	}
}

// counts reports whether what happens now is within the window.
func (r *round) counts(now time.Time) bool { return r.ended.IsZero() || now.Before(r.ended) }

func (r *round) mainMode(now time.Time) {
	r.allMainModes++
	if r.last = now; r.counts(now) {
		r.mainModes++
	}
}

func (r *round) quickMode(now time.Time) {
	r.allQuickModes++
	if r.last = now; r.counts(now) {
		r.quickModes++
	}
}

func (r *round) completed(now, began time.Time) {
	r.Completed++
	if r.counts(now) {
		r.ends = append(r.ends, now)
	}
	r.setUps = append(r.setUps, now.Sub(began))
}

func (r *round) failed(why string) {
	r.Failed++
	if r.failures == nil {
		r.failures = map[string]int{}
	}
	r.failures[why]++
}

// over reports whether all calls have come to an end.
func (r *round) over() bool { return !r.ended.IsZero() && r.open() == 0 }

// silence is how long nothing may happen with a gateway of our own. The engine gives up before.
const silence = 2 * time.Minute

// end ends the window, unless that has been.
func (r *round) end(at time.Time) {
	if r.ended.IsZero() {
		r.ended = at
		r.account(1)
	}
}

// pause is how long there is nothing to do but to listen.
func (r *round) pause(now, armed time.Time) time.Duration {
	d := longestWait
	if !armed.IsZero() {
		d = min(d, armed.Sub(now))
	}
	if r.interval > 0 && r.ended.IsZero() {
		d = min(d, r.next().Sub(now))
	}
	return max(d, 0)
}

// seconds is how long the window was.
func (r *round) seconds() float64 { return r.ended.Sub(r.began).Seconds() }

// setUp is the time that a share of the connections took at most, in milliseconds.
func (r *round) setUp(share float64) float64 {
	if len(r.setUps) == 0 {
		return 0
	}
	slices.Sort(r.setUps)
	return r.setUps[min(int(share*float64(len(r.setUps))), len(r.setUps)-1)].Seconds() * 1e3
}
