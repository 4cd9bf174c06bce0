package negotiate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/perf/report"
)

// result.go: the rows as a report of the lab. What was measured several times is one row with as many samples.

// name is the same whatever else is measured.
func (r *Row) name() string {
	name := fmt.Sprintf("IKE%s, %s, %s PFS, %d ms", r.Version, r.Authentication, r.PFS, r.Interval)
	switch {
	case r.Reference:
		name = fmt.Sprintf("IKE%s, %s, %s PFS, %d at once", r.Version, r.Authentication, r.PFS, r.Outstanding)
	case r.Interval == 0:
		name += fmt.Sprintf(", at most %d at once", r.Outstanding)
	}
	if r.CutShort { // beside whole ones it would be no sample
		name += ", cut short"
	}
	return name
}

// figures of a row, each with one sample. Those that nobody knows are left out.
func (r *Row) figures() []report.Figure {
	figure := func(name, unit string, better report.Better, x float64) report.Figure {
		return report.Figure{Name: name, Unit: unit, Better: better, Samples: []float64{x}}
	}
	list := []report.Figure{
		figure("SAs", "1/s", report.Higher, r.SARate), figure("main modes", "1/s", report.Higher, r.MMRate), figure("quick modes", "1/s", report.Higher, r.QMRate),
		figure("set-up, median", "ms", report.Lower, r.SetUpMedian), figure("set-up, 99 %", "ms", report.Lower, r.SetUp99),
		figure("failed", "", report.Lower, float64(r.Failed)), figure("repeated", "", report.Lower, float64(r.Repeated)),
	}
	if r.GatewayCPU > 0 {
		list = append(list, figure("gateway's CPU", "%", report.Neither, r.GatewayCPU))
	}
	return list
}

// reportRows are the rows of a report, in the order in which the first of each was measured.
func reportRows(all []any) (list []report.Row) {
	at := map[string]int{}
	for _, of := range all {
		row, is := of.(Row)
		if !is {
			continue
		}
		i, again := at[row.name()]
		if !again {
			at[row.name()] = len(list)
			list = append(list, report.Row{Name: row.name(), Figures: row.figures(), Detail: []Row{row}})
			continue
		}
		list[i].Detail = append(list[i].Detail.([]Row), row)
		for _, f := range row.figures() {
			for j := range list[i].Figures {
				if list[i].Figures[j].Name == f.Name {
					list[i].Figures[j].Samples = append(list[i].Figures[j].Samples, f.Samples...)
				}
			}
		}
	}
	return list
}

// parts are what a window is taken apart into, to see what those tunnels cost that there are already.
const parts = 10

// curve is the rate at which tunnels come up, by how many there are.
func (r *Row) curve() (list []report.Point) {
	each := len(r.ends) / parts
	if each == 0 {
		return nil
	}
	for from, i := r.from, 1; i <= parts; i++ {
		end := r.ends[i*each-1]
		if took := end.Sub(from).Seconds(); took > 0 {
			list = append(list, report.Point{X: float64(r.tunnels + i*each), Y: float64(each) / took})
		}
		from = end
	}
	return list
}

// plots are the rate by time between initiations, and by the number of tunnels.
func plots(all []any) (list []report.Plot) {
	intervals := report.Plot{Title: "SAs a second against time between initiations", Description: "SAs made in a second by the time between two connections that begin. Higher is better, and at 0 ms it should be near the best.",
		X: report.Axis{Label: "Between initiations", Unit: "ms"}, Y: report.Axis{Label: "SAs", Unit: "1/s"}}
	tunnels := report.Plot{Title: "Connections a second against tunnels", Description: "Connections completed in a second at 0 ms by how many tunnels are up by then. Higher is better.",
		X: report.Axis{Label: "Tunnels that are up"}, Y: report.Axis{Label: "Connections", Unit: "1/s"}}
	series := map[string]int{}
	for _, of := range all {
		row, is := of.(Row)
		if !is || row.Run > 1 || row.CutShort {
			continue
		}
		name := fmt.Sprintf("IKE%s, %s, %s PFS", row.Version, row.Authentication, row.PFS)
		if row.Reference {
			name += fmt.Sprintf(", %d at once", row.Outstanding)
		}
		if curve := row.curve(); row.Interval == 0 && len(curve) > 0 {
			tunnels.Series = append(tunnels.Series, report.Series{Name: name, Points: curve})
		}
		if row.Reference {
			continue
		}
		i, known := series[name]
		if !known {
			i = len(intervals.Series)
			series[name], intervals.Series = i, append(intervals.Series, report.Series{Name: name})
		}
		intervals.Series[i].Points = append(intervals.Series[i].Points, report.Point{X: float64(row.Interval), Y: row.SARate})
	}
	for _, s := range intervals.Series {
		slices.SortFunc(s.Points, func(a, b report.Point) int { return cmp.Compare(a.X, b.X) })
	}
	for _, p := range []report.Plot{intervals, tunnels} {
		if len(p.Series) > 0 {
			list = append(list, p)
		}
	}
	return list
}

// begins finds that a report cannot be written before anything is measured.
func (o *Options) begins() error {
	r := report.New("negotiate", o.command(), report.Machine{}, time.Now())
	r.Interrupted, r.Verdict.Text = true, "under way"
	return errors.Join(r.WriteJSON(o.Report), r.WriteHTML(o.HTML))
}

// command is what the report says that it was made by.
func (o *Options) command() []string {
	if len(o.Command) > 0 {
		return o.Command
	}
	return []string{"sallyport", "lab", "negotiate"}
}

// writeReport writes what there is, of a run that failed too.
func (o *Options) writeReport(machine report.Machine, began time.Time, all []any, failed error) error {
	r := report.New("negotiate", o.command(), machine, began)
	r.Ended, r.Interrupted, r.Rows, r.Plots = time.Now(), errors.Is(failed, errInterrupted), reportRows(all), plots(all)
	r.Verdict = judged(all)
	if failed != nil {
		r.Verdict = report.Verdict{Text: failed.Error()}
	}
	return errors.Join(r.WriteJSON(o.Report), r.WriteHTML(o.HTML))
}

// judged is a run that nothing came in the way of.
func judged(all []any) report.Verdict {
	initiated, complete, failed, shed, overloads, undecided := 0, 0, 0, 0, 0, 0
	for _, of := range all {
		switch row := of.(type) {
		case Row:
			initiated, complete, failed = initiated+row.Initiated, complete+row.Completed, failed+row.Failed
		case Verdict:
			switch {
			case row.Undecided != "":
				undecided++
			case row.Shed:
				shed, overloads = shed+1, overloads+1
			default:
				overloads++
			}
		}
	}
	v := report.Verdict{Good: failed == 0 && shed == overloads, Text: fmt.Sprintf("%d of %d connections are complete", complete, initiated)}
	if overloads > 0 {
		v.Text += fmt.Sprintf("; overload is shed in %d of %d series", shed, overloads)
	}
	if undecided > 0 {
		v.Text += fmt.Sprintf("; whether overload is shed is undecided in %d", undecided)
	}
	return v
}
