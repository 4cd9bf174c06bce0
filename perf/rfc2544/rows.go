package rfc2544

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"sallyport/perf/report"
)

// rows.go: what a run has found, as rows and plots of its report.

// add puts a case into the report, of which all was measured or not.
func (s *suite) add(o *outcome, whole bool) {
	if whole {
		s.whole++
	}
	rows := o.rows(s)
	if len(rows) == 0 {
		return
	}
	s.report.Rows = append(s.report.Rows, rows...)
	s.report.Plots = append(s.report.Plots, o.plots()...)
	s.done = append(s.done, *o)
}

func (o *outcome) rows(s *suite) (rows []report.Row) {
	for i, goal := range s.goals() {
		if row, any := o.throughputRow(s, i, goal); any {
			rows = append(rows, row)
		}
	}
	for _, l := range o.latency {
		rows = append(rows, l.row(o.Case))
	}
	for _, l := range o.loss {
		rows = append(rows, report.Row{Name: fmt.Sprintf("%s, loss at %.0f %% of the highest rate", o.Case, 100*l.Wished/o.limits.Max), Figures: []report.Figure{
			{Name: "offered", Unit: "Mpps", Samples: []float64{l.Rate / 1e6}}, {Name: "lost", Unit: "%", Better: report.Lower, Samples: []float64{100 * l.Share}}}})
	}
	if b := o.bursts; b != nil && (b.Unlimited || len(b.Frames) > 0) {
		row := report.Row{Name: o.Case.String() + ", back-to-back"}
		if b.Unlimited {
			row.Note = fmt.Sprintf("no burst of up to %v is lost: the target keeps up", longestBurst)
		} else {
			row.Figures = []report.Figure{{Name: "rate", Unit: "Mpps", Samples: []float64{b.Rate / 1e6}}, {Name: "longest burst", Unit: "frames", Better: report.Higher, Samples: b.Frames}}
			if len(o.throughput) > 0 { // without which the buffer is not known
				row.Figures = append(row.Figures, report.Figure{Name: "buffer", Unit: "us", Samples: []float64{b.Buffer(o.rate()).Seconds() * 1e6}})
			}
		}
		rows = append(rows, row)
	}
	for _, c := range o.reconf {
		row := report.Row{Name: fmt.Sprintf("%s, %s", o.Case, c.Change), Figures: []report.Figure{
			{Name: "tunnels", Samples: []float64{float64(c.Tunnels)}},
			{Name: "lost", Unit: "frames", Better: report.Lower, Samples: []float64{float64(c.Lost)}},
			{Name: "lost without", Unit: "frames", Samples: []float64{float64(c.LostIdle)}},
			{Name: "as if blocked for", Unit: "ms", Better: report.Lower, Samples: []float64{c.Blocked().Seconds() * 1e3}},
			{Name: "change took", Unit: "s", Better: report.Lower, Samples: []float64{c.Took.Seconds()}}}}
		for _, part := range []struct {
			name string
			of   Part
		}{{"staying", c.Staying}, {"changing", c.Changing}} {
			for _, count := range []struct {
				name   string
				frames uint64
			}{{"sent", part.of.Sent}, {"lost", part.of.Lost()}, {"reordered", part.of.Reordered}, {"duplicated", part.of.Duplicated}} {
				f := report.Figure{Name: part.name + " tunnels, " + count.name, Unit: "frames", Better: report.Lower, Samples: []float64{float64(count.frames)}}
				if count.name == "sent" {
					f.Better = report.Neither
				}
				row.Figures = append(row.Figures, f)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// throughputRow is that of the n-th goal, of all searches that have something of it.
func (o *outcome) throughputRow(s *suite, n int, goal Goal) (report.Row, bool) {
	name := o.Case.String()
	if goal.LossRatio > 0 {
		name += fmt.Sprintf(", %g %% loss", 100*goal.LossRatio)
	}
	row := report.Row{Name: name}
	var found []GoalResult
	irregular := 0
	var mpps, gbps, through, upper []float64
	for _, search := range o.throughput {
		if len(search) <= n {
			continue
		}
		r := search[n]
		found = append(found, r)
		s.searched++
		if !r.Regular {
			irregular++
			row.Note = r.Note
		}
		mpps, through = append(mpps, r.Lower/1e6), append(through, r.Conditional/1e6)
		gbps, upper = append(gbps, r.Lower*o.Octets*8/1e9), append(upper, r.Upper/1e6)
	}
	if s.irregular += irregular; irregular > 0 && len(found) > 1 { // the figures are those of all
		row.Note = fmt.Sprintf("in %d of %d searches: %s", irregular, len(found), row.Note)
	}
	row.Figures = []report.Figure{{Name: "throughput", Unit: "Mpps", Better: report.Higher, Samples: mpps}, {Name: "frames", Unit: "Gbps", Better: report.Higher, Samples: gbps},
		{Name: "forwarded", Unit: "Mpps", Samples: through}}
	if !slices.Contains(upper, 0) {
		row.Figures = append(row.Figures, report.Figure{Name: "upper bound", Unit: "Mpps", Samples: upper})
	}
	row.Detail = found
	return row, len(found) > 0
}

func (l *Latency) row(c Case) report.Row {
	row := report.Row{Name: fmt.Sprintf("%s, latency at %g %%", c, 100*l.Fraction)}
	if l.Lost > 0 {
		row.Note = fmt.Sprintf("%d of %d frames were lost", l.Lost, l.Sent)
	}
	if l.All == nil {
		return row
	}
	for _, part := range []struct {
		name string
		of   []float64
	}{{"min", l.Min}, {"median", l.Median}, {"99 %", l.P99}, {"99.9 %", l.P999}, {"max", l.Max}} {
		f := report.Figure{Name: part.name, Unit: "us", Better: report.Lower}
		for _, ns := range part.of {
			f.Samples = append(f.Samples, ns/1e3)
		}
		row.Figures = append(row.Figures, f)
	}
	return row
}

// plots are those of a single case.
func (o *outcome) plots() (plots []report.Plot) {
	if slices.ContainsFunc(o.latency, func(l Latency) bool { return l.All != nil }) {
		p := report.Plot{Title: "Latency by percentile: " + o.Case.String(),
			Description: "How long frames take, by the share of frames that take no longer, at fractions of the throughput. Lower is better.",
			X:           report.Axis{Label: "Percentile", Unit: "%"}, Y: report.Axis{Label: "Latency", Unit: "us", Log: true}}
		for nines, label := range []string{"0", "90", "99", "99.9", "99.99", "99.999"} {
			p.X.Ticks = append(p.X.Ticks, report.Tick{At: float64(nines), Label: label})
		}
		for _, l := range o.latency {
			if l.All == nil {
				continue
			}
			p.Series = append(p.Series, report.Series{Name: fmt.Sprintf("at %g %%, %s", 100*l.Fraction, report.Rate(l.Rate/1e6, "Mpps")), Points: l.curve()})
		}
		plots = append(plots, p)
	}
	if len(o.loss) > 0 {
		p := report.Plot{Title: "Frame loss rate: " + o.Case.String(), Description: "The share of frames that are lost, by the rate at which they are offered. Lower is better.",
			X: report.Axis{Label: "Offered", Unit: "Mpps"}, Y: report.Axis{Label: "Lost", Unit: "%"}, Series: []report.Series{{Name: "lost"}}}
		for _, l := range slices.Backward(o.loss) {
			p.Series[0].Points = append(p.Series[0].Points, report.Point{X: l.Rate / 1e6, Y: 100 * l.Share})
		}
		plots = append(plots, p)
	}
	return plots
}

// curve has a point for each tenth of a nine, as far as there are frames that are slower.
func (l *Latency) curve() (points []report.Point) {
	const tenths = 50
	for i := range tenths + 1 {
		nines := float64(i) / 10
		beyond := math.Pow(10, -nines)
		if i > 0 && beyond*float64(l.All.TotalCount()) < 1 {
			break
		}
		points = append(points, report.Point{X: nines, Y: max(float64(l.All.ValueAtQuantile(100*(1-beyond))), 1) / 1e3})
	}
	return points
}

// maxSeries is how many lines a plot can have and be read.
const maxSeries = 6

// plots are those over all cases: throughput against size, with a line for each number of tunnels, and against the number of tunnels, with a line for each size.
func (s *suite) plots() {
	g := grid{at: map[Case]report.Point{}, octets: map[string]float64{}, goal: "Frames a second without loss"}
	if ratio := slices.Min(s.LossRatios); ratio > 0 {
		g.goal = fmt.Sprintf("Frames a second with at most %g %% lost", 100*ratio)
	}
	for i := range s.done {
		g.add(&s.done[i])
	}
	slices.Sort(g.tunnels)
	slices.SortFunc(g.sizes, func(a, b string) int { return cmp.Compare(g.octets[a], g.octets[b]) }) // a mix has its place by its mean
	var plots []report.Plot
	if len(g.sizes) > 0 {
		plots = append(plots, g.bySize())
	}
	if len(g.tunnels) > 1 && g.tunnels[0] > 0 {
		plots = append(plots, g.byTunnels())
	}
	s.report.Plots = append(plots, s.report.Plots...)
}

// grid is the throughput of all cases.
type grid struct {
	goal    string
	sizes   []string
	octets  map[string]float64 // by size
	tunnels []int
	at      map[Case]report.Point // by size and tunnels
}

func (g *grid) add(o *outcome) {
	var mpps []float64
	for _, search := range o.throughput {
		if len(search) > 0 {
			mpps = append(mpps, search[0].Lower/1e6)
		}
	}
	if len(mpps) == 0 {
		return
	}
	if !slices.Contains(g.sizes, o.Size) {
		g.sizes, g.octets[o.Size] = append(g.sizes, o.Size), o.Octets
	}
	if !slices.Contains(g.tunnels, o.Tunnels) {
		g.tunnels = append(g.tunnels, o.Tunnels)
	}
	low, median, high := report.Figure{Samples: mpps}.Spread()
	at := report.Point{Y: median}
	if low < high {
		at.Low, at.High = low, high
	}
	g.at[Case{Size: o.Size, Tunnels: o.Tunnels}] = at
}

func (g *grid) bySize() report.Plot {
	p := report.Plot{Title: "Throughput against frame size", Description: g.goal + " by size of the frames, for each number of tunnels. Higher is better.",
		X: report.Axis{Label: "Frame size", Unit: "bytes", Ticks: report.Categories(g.sizes...)}, Y: report.Axis{Label: "Throughput", Unit: "Mpps"}}
	for _, n := range g.tunnels[:min(len(g.tunnels), maxSeries)] {
		line := report.Series{Name: tunnels(n)}
		for i, size := range g.sizes {
			line.Points = g.point(line.Points, Case{Size: size, Tunnels: n}, float64(i))
		}
		p.Series = append(p.Series, line)
	}
	return p
}

func (g *grid) byTunnels() report.Plot {
	p := report.Plot{Title: "Rate against tunnels", Description: g.goal + " by number of tunnels, for each size of frames. Higher is better.",
		X: report.Axis{Label: "Tunnels", Log: true}, Y: report.Axis{Label: "Throughput", Unit: "Mpps"}}
	for _, n := range g.tunnels {
		p.X.Ticks = append(p.X.Ticks, report.Tick{At: float64(n), Label: fmt.Sprint(n)})
	}
	for _, size := range g.sizes[:min(len(g.sizes), maxSeries)] {
		line := report.Series{Name: size}
		for _, n := range g.tunnels {
			line.Points = g.point(line.Points, Case{Size: size, Tunnels: n}, float64(n))
		}
		p.Series = append(p.Series, line)
	}
	return p
}

// point adds that of a case, if it was measured.
func (g *grid) point(to []report.Point, of Case, x float64) []report.Point {
	at, measured := g.at[of]
	if !measured {
		return to
	}
	at.X = x
	return append(to, at)
}
