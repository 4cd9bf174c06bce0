package hostile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/perf/report"
	"sallyport/pmd/eal"
)

// result.go: the rows as a report of the lab. What is judged of a scenario is what its row has.

// figure of a line: memory and time are the better the less there is of them.
func (v *Verdict) figure() report.Figure {
	f := report.Figure{Name: v.What, Unit: v.Unit, Better: report.Higher, Samples: []float64{v.Value}}
	if v.Unit == "MiB" || v.Unit == "s" {
		f.Better = report.Lower
	}
	if f.Target = &v.Want; v.Unjudged || v.Met && !f.Met() { // in small
		f.Target = nil
	}
	return f
}

// reportRow has the lines that are missed in a note: a peer that never connected has no time that says so.
func reportRow(scenario string, rate float64, verdicts []Verdict, detail any) report.Row {
	row := report.Row{Name: scenario, Detail: detail, Figures: []report.Figure{{Name: "messages", Unit: "1/s", Samples: []float64{rate}}}}
	var missed []string
	for i := range verdicts {
		row.Figures = append(row.Figures, verdicts[i].figure())
		if !verdicts[i].Met {
			missed = append(missed, verdicts[i].What)
		}
	}
	if len(missed) > 0 {
		row.Note = "missed: " + strings.Join(missed, "; ")
	}
	return row
}

func (r *Row) report() report.Row { return reportRow(r.Scenario, r.Rate, r.Verdicts, r) }

func (r *ForeignRow) report() report.Row { return reportRow(r.Scenario, r.Rate, r.Verdicts, r) }

// begins finds that a report cannot be written before anything is measured.
func (o *Options) begins(began time.Time) error {
	r := report.New("hostile", o.Command, report.Machine{}, began)
	r.Interrupted, r.Verdict.Text = true, "under way"
	return errors.Join(r.WriteJSON(o.Report), r.WriteHTML(o.HTML))
}

// writeReport writes what there is, of a run that failed too.
func (o *Options) writeReport(began time.Time, cpus []int, rows []report.Row, failed error) error {
	if o.Report == "" && o.HTML == "" {
		return nil
	}
	machine, err := report.Describe(eal.Version(), cpus)
	if err != nil {
		return err
	}
	r := report.New("hostile", o.Command, machine, began)
	r.Ended, r.Interrupted, r.Rows = time.Now(), errors.Is(failed, errInterrupted), rows
	r.Verdict = report.Verdict{Good: true, Text: fmt.Sprintf("all lines of %d scenarios are met", len(rows))}
	if failed != nil {
		r.Verdict = report.Verdict{Text: failed.Error()}
	}
	return errors.Join(r.WriteJSON(o.Report), r.WriteHTML(o.HTML))
}
