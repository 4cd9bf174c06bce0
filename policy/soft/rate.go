package soft

import (
	"net/netip"
	"time"
)

// meter lets through so many events a minute, and a few at once: the time at which all that it let through would have
// been due one by one.
type meter struct{ due time.Time }

// ready reports whether one more may pass.
func (m meter) ready(now time.Time, every time.Duration, burst int) bool {
	return m.due.Sub(now) <= time.Duration(burst-1)*every
}

// take counts one that passes.
func (m *meter) take(now time.Time, every time.Duration) {
	if m.due.Before(now) {
		m.due = now
	}
	m.due = m.due.Add(every)
}

// How many negotiations clear packets from outside may start at once, before the rate counts.
const (
	sourceBurst = 2
	filterBurst = 10
)

// sourcesMax bounds the sources that are remembered. They are those that a filter's own rate let through a moment ago,
// so that a flood from forged addresses adds none.
const sourcesMax = 4096

// inbound limits the negotiations that clear packets from outside start, each of which is four messages to a host that
// need not have asked for them: for each source, and for each filter (S-090).
type inbound struct {
	perSource, perFilter time.Duration // between two
	sources              map[netip.Addr]meter
	filters              map[uint32]*meter
}

func newInbound() inbound {
	return inbound{sources: map[netip.Addr]meter{}, filters: map[uint32]*meter{}}
}

// set takes new rates, in negotiations a minute, and forgets the filters that are gone. What is due by a former rate may be minutes away: another one begins anew.
func (l *inbound) set(perSource, perFilter int, entries map[uint32]bool) {
	source, filter := time.Minute/time.Duration(perSource), time.Minute/time.Duration(perFilter)
	if source != l.perSource {
		clear(l.sources)
	}
	if filter != l.perFilter {
		clear(l.filters)
	}
	l.perSource, l.perFilter = source, filter
	for entry := range l.filters {
		if !entries[entry] {
			delete(l.filters, entry)
		}
	}
	for entry := range entries {
		if l.filters[entry] == nil {
			l.filters[entry] = &meter{}
		}
	}
}

// admit says why a packet may start no negotiation, or nothing. The source is asked first, so that one noisy host takes
// no turn of the others; it is noted last, so that only what passes is remembered.
func (l *inbound) admit(now time.Time, source netip.Addr, entry uint32) Reason {
	of := l.sources[source]
	if !of.ready(now, l.perSource, sourceBurst) {
		return RateSource
	}
	filter := l.filters[entry]
	if filter == nil {
		return Policy // the filter left with a policy that is no longer in force
	}
	if !filter.ready(now, l.perFilter, filterBurst) || !l.room(now, source) {
		return RateFilter
	}
	filter.take(now, l.perFilter)
	of.take(now, l.perSource)
	l.sources[source] = of
	return ""
}

// room reports whether a source can be remembered, and forgets those whose time is over where it has to.
func (l *inbound) room(now time.Time, source netip.Addr) bool {
	if _, known := l.sources[source]; known || len(l.sources) < sourcesMax {
		return true
	}
	for old, m := range l.sources {
		if !m.due.After(now) {
			delete(l.sources, old)
		}
	}
	return len(l.sources) < sourcesMax
}
