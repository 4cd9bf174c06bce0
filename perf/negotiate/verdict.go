package negotiate

import (
	"fmt"
	"math"
	"slices"
	"time"

	"sallyport/perf/report"
)

// Verdict says of a series whether overload is shed (S-117).
type Verdict struct {
	Table          string  `json:"table"`
	Version        string  `json:"ike"`
	Authentication string  `json:"authentication"`
	PFS            string  `json:"pfs"`
	Rate           float64 `json:"sas_per_second"` // at 0 ms
	Best           float64 `json:"best_sas_per_second"`
	Share          float64 `json:"share_of_best"`
	Margin         float64 `json:"share_of_best_margin"` // by which the share may be off with 95 %, by how much the rates differ within what was measured
	Target         float64 `json:"share_of_best_target"`
	Shed           bool    `json:"overload_is_shed"`
	Undecided      string  `json:"undecided,omitempty"` // why neither is said
}

const (
	// shedTarget is the share of its best rate that a gateway keeps when it is asked for more than it can do.
	shedTarget = 0.9
	// overload is how many times as many connections as unhurried ones are another load.
	overload = 4
	// normal95 is how many standard errors 95 % of what is measured is off by at the most.
	normal95 = 1.96
	// leastSamples are what a spread is known by.
	leastSamples = 4
)

// verdict compares 0 ms with the best of all.
func verdict(rows []Row) (Verdict, bool) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.CutShort })
	hurried := slices.IndexFunc(rows, func(r Row) bool { return r.Interval == 0 && !r.Reference })
	if hurried < 0 {
		return Verdict{}, false
	}
	same := map[plan][]Row{} // of each interval, as often as it was measured
	of := func(r *Row) plan {
		return plan{interval: time.Duration(r.Interval), reference: r.Reference}
	}
	for i := range rows {
		same[of(&rows[i])] = append(same[of(&rows[i])], rows[i])
	}
	r := rows[hurried]
	v := Verdict{Table: tableVerdict, Version: r.Version, Authentication: r.Authentication, PFS: r.PFS, Rate: rate(same[of(&r)]), Target: shedTarget}
	best := r
	for _, list := range same {
		if rate := rate(list); rate > v.Best {
			v.Best, best = rate, list[0]
		}
	}
	if v.Best > 0 {
		v.Share = v.Rate / v.Best
		v.Margin = normal95 * v.Share * math.Hypot(deviation(same[of(&r)]), deviation(same[of(&best)]))
	}
	v.Shed = v.Share >= v.Target
	unknown := v.Best == 0 || math.IsInf(v.Margin, 0) || math.IsNaN(v.Margin)
	if unknown { // which JSON has no word for
		v.Margin = 0
	}
	switch {
	case r.Outstanding < overload*unhurried:
		v.Undecided = fmt.Sprintf("%d at once are no overload: expected --outstanding %d or more", r.Outstanding, overload*unhurried)
	case !v.Shed && (unknown || v.Share+v.Margin >= v.Target):
		v.Undecided = "the difference may be noise: measure several times, by --repeat"
	}
	v.Shed = v.Shed && v.Undecided == ""
	return v, true
}

// rate is the median of what was measured several times.
func rate(rows []Row) float64 {
	var samples []float64
	for _, r := range rows {
		samples = append(samples, r.SARate)
	}
	return report.Figure{Samples: samples}.Median()
}

// deviation is the standard error of a rate as a share of it: of the measurements, if there are enough, or of the parts of their windows, whichever is more. Of too few it is infinite.
func deviation(rows []Row) float64 {
	var whole, parts []float64
	for i := range rows {
		whole = append(whole, rows[i].SARate)
		for _, p := range rows[i].curve() {
			parts = append(parts, p.Y)
		}
	}
	most, known := 0.0, false
	for _, samples := range [][]float64{whole, parts} {
		if len(samples) >= leastSamples {
			most, known = max(most, standardError(samples)), true
		}
	}
	if !known {
		return math.Inf(1)
	}
	return most
}

// standardError is that of the mean of samples, as a share of it.
func standardError(samples []float64) float64 {
	var sum, squares float64
	for _, s := range samples {
		sum += s
	}
	n := float64(len(samples))
	mean := sum / n
	if mean == 0 {
		return math.Inf(1)
	}
	for _, s := range samples {
		squares += (s - mean) * (s - mean)
	}
	return math.Sqrt(squares/(n-1)/n) / mean
}
