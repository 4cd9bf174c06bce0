package rfc2544

import (
	"cmp"
	"slices"
	"time"
)

// Goal is what a search looks for (RFC 9971, section 4.6.7): the highest load of which at most LossRatio is lost.
type Goal struct {
	LossRatio   float64       // section 4.6.3; 0 for RFC 2544's throughput
	ExceedRatio float64       // section 4.6.4: the share of the trials' time at a load that may lose more
	Width       float64       // section 4.6.5: how far apart the bounds may be in the end, as a share of the upper one
	Final       time.Duration // section 4.6.1: of a trial that decides
	Sum         time.Duration // section 4.6.2: of the trials at a load, together; 0 is Final
	Initial     time.Duration // section 4.6.6: of the first trials, which look for the region; 0 is Final
}

// Throughput is the goal by which a search does as RFC 2544, sections 24 and 26.1, says (RFC 9971, section 4.10.2), with trials of any length: 60 seconds for results that are to
// comply.
func Throughput(trial time.Duration, width float64) Goal {
	return Goal{Width: width, Final: trial, Sum: trial, Initial: trial}
}

// sample is a trial as a goal sees it.
type sample struct {
	duration time.Duration
	loss     float64
}

// bound is what the trials at a load make of it (section 4.7.2).
type bound int

const (
	undecided bound = iota
	lower           // the load meets the goal
	upper           // it does not
)

// rounding is what sums of seconds may be off by.
const rounding = 1e-9

// classify is RFC 9971, appendix A.
func (g Goal) classify(trials []sample) bound {
	var fullLow, fullHigh, shortLow, shortHigh float64 // seconds
	for _, t := range trials {
		sum := &fullLow
		switch full, high := t.duration >= g.Final, t.loss > g.LossRatio; {
		case full && high:
			sum = &fullHigh
		case !full && high:
			sum = &shortHigh
		case !full:
			sum = &shortLow
		}
		*sum += t.duration.Seconds()
	}
	balancing := shortLow * g.ExceedRatio / (1 - g.ExceedRatio)
	high := fullHigh + max(0, shortHigh-balancing)
	whole := max(fullLow+high, g.Sum.Seconds())
	quantile := whole * g.ExceedRatio
	pessimistic, optimistic := whole-fullLow <= quantile+rounding, high <= quantile+rounding
	switch {
	case pessimistic && optimistic:
		return lower
	case !pessimistic && !optimistic:
		return upper
	}
	return undecided
}

// conditional is the rate that a load gets through by its trials (RFC 9971, appendix B): the loss that all but the share which may exceed stay within.
func (g Goal) conditional(load float64, trials []sample) float64 {
	full := slices.DeleteFunc(slices.Clone(trials), func(t sample) bool { return t.duration < g.Final })
	slices.SortFunc(full, func(a, b sample) int { return cmp.Compare(a.loss, b.loss) })
	var sum float64
	for _, t := range full {
		sum += t.duration.Seconds()
	}
	left := max(g.Sum.Seconds(), sum) * (1 - g.ExceedRatio)
	loss := 1.0
	for i, t := range full {
		if i > 0 && left <= rounding {
			return load * (1 - loss)
		}
		loss = t.loss
		left -= t.duration.Seconds()
	}
	if left > rounding {
		loss = 1
	}
	return load * (1 - loss)
}
