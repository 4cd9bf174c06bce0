package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"sallyport/perf/report"
)

// reported is a row that a report has too, with all that was measured in place of its spread.
type reported interface{ report() report.Row }

// samples are a figure in each round.
func samples[T any](rounds []T, figure func(T) float64) (list []float64) {
	for _, r := range rounds {
		list = append(list, figure(r))
	}
	return list
}

// target is nil without one.
func target(x float64) *float64 {
	if x == 0 {
		return nil
	}
	return &x
}

const unitCycles = "cycles"

// report of a row is the same whatever stands beside it in its table.
func (r Row) report() report.Row {
	hz := float64(r.TSCHz)
	return report.Row{Name: r.Table + ": " + r.Case, Figures: []report.Figure{
		{Name: "rate", Unit: "Mpps", Better: report.Higher, Samples: samples(r.rounds, func(of round) float64 { return hz / of.perPacket() / 1e6 })},
		{Name: "packet", Unit: unitCycles, Better: report.Lower, Samples: samples(r.rounds, round.perPacket)},
		{Name: "floor", Unit: unitCycles, Samples: samples(r.rounds, round.floor)},
		{Name: "to the floor", Better: report.Lower, Target: target(r.RatioTarget), Samples: samples(r.rounds, round.ratio)},
	}}
}

// with adds figures to those of a row.
func (r Row) with(more ...report.Figure) report.Row {
	row := r.report()
	row.Figures = append(row.Figures, more...)
	return row
}

func (r TunnelsRow) report() report.Row {
	return r.with(report.Figure{Name: "to one tunnel", Better: report.Lower, Target: target(r.ToOneTarget), Samples: r.toOne},
		report.Figure{Name: "to one flow", Better: report.Lower, Target: target(r.ToFlowTarget), Samples: r.toFlow})
}

func (r WorkersRow) report() report.Row {
	return r.with(report.Figure{Name: "to one worker's rate", Better: report.Higher, Target: target(r.SpeedupTarget), Samples: r.speedup})
}

func (r OffloadRow) report() report.Row {
	return r.with(report.Figure{Name: "to cpu-crypto", Better: report.Lower, Target: target(r.CPURatioTarget), Samples: r.cpuRatio})
}

func (r InlineRow) report() report.Row {
	return r.with(report.Figure{Name: "own share", Unit: unitCycles, Better: report.Lower, Samples: r.own},
		report.Figure{Name: "own share to the CPU's", Better: report.Lower, Target: target(r.OwnRatioTarget), Samples: r.ownRatio})
}

func (r SessionsRow) report() report.Row {
	perSecond := func(name string, goal float64, samples []float64) report.Figure {
		return report.Figure{Name: name, Unit: "1/s", Better: report.Higher, Target: target(goal), Samples: samples}
	}
	return report.Row{Name: fmt.Sprintf("%s: %d sessions, %s", r.Table, r.Sessions, r.Direction),
		Figures: []report.Figure{perSecond("made", 0, r.made), perSecond("ended", 0, r.ended), perSecond("made and ended", r.RateTarget, r.rate)}}
}

func (r FilterRow) report() report.Row {
	cycles := func(name string, of func(filterRound) measured) report.Figure {
		return report.Figure{Name: name, Unit: unitCycles, Better: report.Lower, Samples: samples(r.rounds, func(round filterRound) float64 { return of(round).perPacket() })}
	}
	return report.Row{Name: tablePolicies + ": " + r.Case, Figures: []report.Figure{
		cycles("hit", func(f filterRound) measured { return f.hit }), cycles("miss", func(f filterRound) measured { return f.miss }),
		cycles("hit of the flood", func(f filterRound) measured { return f.floodHit }),
		{Name: "hit, to the fewest filters", Better: report.Lower, Target: target(r.HitTarget), Samples: r.hitRatio},
		{Name: fmt.Sprintf("miss, to %d filters", missBase), Better: report.Lower, Target: target(r.MissTarget), Samples: r.missRatio},
		{Name: "flood's share of the hit rate", Better: report.Higher, Target: target(r.FloodTarget), Samples: r.floodShare}}}
}

func (r SwapRow) report() report.Row {
	return report.Row{Name: tablePolicies + ": " + r.Case, Figures: []report.Figure{
		{Name: "swap", Unit: "s", Better: report.Lower, Target: target(r.SecondsTarget), Samples: r.seconds},
		{Name: "memory", Unit: "MiB", Better: report.Lower, Target: target(r.MemoryTarget), Samples: []float64{r.MemoryMB}}}}
}

func (r SoftRow) report() report.Row {
	ratios := make([]float64, len(r.cycles[0]))
	for i := range ratios {
		ratios[i] = r.cycles[1][i] / r.cycles[0][i]
	}
	return report.Row{Name: r.Table + ": " + r.Case, Figures: []report.Figure{
		{Name: "by a soft SA", Unit: unitCycles, Better: report.Lower, Samples: r.cycles[1]}, {Name: "permitted", Unit: unitCycles, Better: report.Lower, Samples: r.cycles[0]},
		{Name: "to permitted", Better: report.Lower, Target: target(r.RatioTarget), Samples: ratios}}}
}

// writeReport writes what there is, of a run that failed too.
func (o *Options) writeReport(s *stand, began time.Time, rows []any, failed error) error {
	if o.Report == "" && o.HTML == "" {
		return nil
	}
	r := report.New("bench", o.Command, s.machine, began)
	r.Ended, r.Interrupted = time.Now(), s.ctx.Err() != nil
	missed, targets := 0, 0
	for _, row := range rows {
		of, is := row.(reported)
		if !is {
			continue
		}
		r.Rows = append(r.Rows, of.report())
		for _, f := range r.Rows[len(r.Rows)-1].Figures {
			if f.Target == nil {
				continue
			}
			if targets++; !f.Met() {
				missed++
			}
		}
	}
	r.Plots = benchPlots(rows)
	switch {
	case r.Interrupted:
		r.Verdict.Text = "interrupted"
	case failed != nil:
		r.Verdict.Text = failed.Error()
	default:
		r.Verdict = report.Verdict{Good: missed == 0, Text: fmt.Sprintf("%d of %d targets are met", targets-missed, targets)}
	}
	return errors.Join(r.WriteJSON(o.Report), r.WriteHTML(o.HTML))
}

// benchPlots are cycles against the size of packets, of the first table, and against the number of tunnels.
func benchPlots(rows []any) (plots []report.Plot) {
	const cycles = "Cycles of the time stamp counter for a packet"
	sizes := report.Plot{Title: "Cycles per packet against size", Description: cycles + " by its size, of one flow, beside the floor. Lower is better.",
		X: report.Axis{Label: "Inner packet", Unit: "bytes"}, Y: report.Axis{Label: "Packet", Unit: unitCycles}}
	tunnels := report.Plot{Title: "Cycles per packet against tunnels", Description: cycles + " of 64 bytes by the number of tunnels that as many flows are spread over. Lower is better.",
		X: report.Axis{Label: "Tunnels", Log: true}, Y: report.Axis{Label: "Packet", Unit: unitCycles}}
	for _, of := range rows {
		switch row := of.(type) {
		case Row:
			if row.Table == tableSizes && row.Flows == 1 {
				addPoint(&sizes, row.Direction+", "+row.Algorithm, row, row.Size)
				addFloor(&sizes, "floor, "+row.Direction+", "+row.Algorithm, row)
			}
		case TunnelsRow:
			if row.Flows > 1 {
				addPoint(&tunnels, row.Direction, row.Row, float64(row.Tunnels))
			}
		}
	}
	for _, p := range []report.Plot{sizes, tunnels} {
		if len(p.Series) > 0 {
			slices.SortFunc(p.X.Ticks, func(a, b report.Tick) int { return int(math.Copysign(1, a.At-b.At)) })
			plots = append(plots, p)
		}
	}
	return plots
}

func addPoint(p *report.Plot, series string, row Row, x float64) {
	i := slices.IndexFunc(p.Series, func(s report.Series) bool { return s.Name == series })
	if i < 0 {
		i, p.Series = len(p.Series), append(p.Series, report.Series{Name: series})
	}
	p.Series[i].Points = append(p.Series[i].Points, report.Point{X: x, Y: row.CyclesPerPacket, Low: row.CyclesPerPacketMin, High: row.CyclesPerPacketMax})
	if !slices.ContainsFunc(p.X.Ticks, func(tick report.Tick) bool { return tick.At == x }) {
		p.X.Ticks = append(p.X.Ticks, report.Tick{At: x, Label: fmt.Sprint(x)})
	}
}

func addFloor(p *report.Plot, name string, row Row) {
	i := slices.IndexFunc(p.References, func(r report.Reference) bool { return r.Name == name })
	if i < 0 {
		i, p.References = len(p.References), append(p.References, report.Reference{Name: name})
	}
	p.References[i].Points = append(p.References[i].Points, report.Point{X: row.Size, Y: row.FloorCyclesPerPacket})
}
