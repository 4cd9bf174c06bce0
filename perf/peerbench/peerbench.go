package peerbench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/report"
	"sallyport/pmd/eal"
)

// item is a row: one thing, as often as there are rounds, by us and by a peer.
type item struct {
	name   string
	label  string // in the plot
	note   string
	target float64 // of the ratio; 0: none
	absent string  // why the peer is not measured here
	ours   []float64
	theirs []float64
	failed []error // of turns that did not come off
}

// turns are what both reach of an item: more is better.
type turns struct{ ours, theirs float64 }

// subject is what is measured at one go.
type subject struct {
	items   []*item
	measure func(ctx context.Context) ([]turns, error) // of each item
}

var errInterrupted = errors.New("peerbench: interrupted")

// Run measures, prints one table, and cleans up after itself, also when ctx ends.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := report.Writable(o.JSON, o.HTML); err != nil {
		return err
	}
	all, err := processors()
	if err != nil {
		return err
	}
	machine, err := report.Describe(eal.Version(), all[len(all)-1:])
	if err != nil {
		return err
	}
	r := report.New("peers", o.Command, machine, began)
	r.Interrupted, r.Verdict.Text = true, "under way"
	if err := errors.Join(r.WriteJSON(o.JSON), r.WriteHTML(o.HTML)); err != nil { // before minutes have passed
		return err
	}
	subjects := append(o.negotiations(all[len(all)-1]), o.forwardings(all)...)
	failed := o.rounds(ctx, subjects)
	r.Machine.RealTime, r.Machine.HugePages = o.measured.RealTime, o.measured.HugePages
	if ctx.Err() != nil { // what else went wrong comes of that
		failed = errInterrupted
	}
	r.Ended, r.Interrupted = time.Now(), errors.Is(failed, errInterrupted)
	o.fill(r, subjects)
	if failed != nil {
		r.Verdict = report.Verdict{Text: failed.Error()}
	}
	return errors.Join(failed, r.WriteText(o.Out), r.WriteJSON(o.JSON), r.WriteHTML(o.HTML))
}

// rounds give everybody a turn in each.
func (o *Options) rounds(ctx context.Context, subjects []subject) error {
	for round := range o.Rounds {
		for _, s := range subjects {
			fmt.Fprintf(o.Progress, "round %d of %d: %s\n", round+1, o.Rounds, s.items[0].name)
			reached, err := s.measure(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // others on the machine may have taken memory away: the next turn may do
				fmt.Fprintf(o.Progress, "no figures: %v\n", err)
				for _, i := range s.items {
					i.failed = append(i.failed, err)
				}
				continue
			}
			for n, i := range s.items {
				i.ours = append(i.ours, reached[n].ours)
				if i.absent == "" {
					i.theirs = append(i.theirs, reached[n].theirs)
				}
			}
		}
	}
	return missing(subjects)
}

// missing is an error when there is something of which no turn has come off.
func missing(subjects []subject) error {
	var errs []error
	for _, s := range subjects {
		if i := s.items[0]; len(i.ours) == 0 && len(i.failed) > 0 {
			errs = append(errs, fmt.Errorf("%s: %w", i.name, i.failed[0]))
		}
	}
	return errors.Join(errs...)
}

// fill makes the rows, the plot and the verdict of what there is.
func (o *Options) fill(r *report.Report, subjects []subject) {
	plot := report.Plot{Title: "Times what the peer reaches", Description: "What this gateway reaches, as a multiple of what the peer does on the same core; 1 is the same. Higher is better.",
		X: report.Axis{Label: "Measured"}, Y: report.Axis{Label: "Multiple"}, References: []report.Reference{{Name: "the same", At: 1}}}
	line := report.Series{Name: "multiple"}
	missed, targets, absent := 0, 0, 0
	var items []*item
	for _, s := range subjects {
		items = append(items, s.items...)
	}
	for _, i := range items {
		row := i.row()
		r.Rows = append(r.Rows, row)
		if i.absent != "" {
			absent++
		}
		if len(row.Figures) < figures {
			continue
		}
		ratio := row.Figures[figures-1]
		low, median, high := ratio.Spread()
		x := float64(len(line.Points))
		line.Points = append(line.Points, report.Point{X: x, Y: median, Low: low, High: high})
		plot.X.Ticks = append(plot.X.Ticks, report.Tick{At: x, Label: i.label})
		if ratio.Target != nil {
			if targets++; !ratio.Met() {
				missed++
			}
		}
	}
	if len(line.Points) > 1 {
		plot.Series = []report.Series{line}
		r.Plots = append(r.Plots, plot)
	}
	r.Verdict = report.Verdict{Good: missed == 0, Text: fmt.Sprintf("%d of %d targets are met", targets-missed, targets)}
	if o.Quick {
		r.Verdict.Good = true
		r.Verdict.Text += "; in small: this proves that it works, and measures nothing"
	}
	if absent > 0 {
		r.Verdict.Text += fmt.Sprintf("; %d rows are without the peer", absent)
	}
}

// figures is how many a row with a peer has.
const figures = 3

// row has the same figures in each, so that all of it is one table.
func (i *item) row() report.Row {
	row := report.Row{Name: i.name, Note: i.note}
	if i.absent != "" {
		row.Note = "not measured here: " + i.absent
	}
	if len(i.failed) > 0 {
		row.Note += fmt.Sprintf("; turns that did not come off: %d", len(i.failed))
	}
	n := min(len(i.ours), len(i.theirs))
	if i.absent != "" {
		n = len(i.ours)
	}
	if n == 0 {
		return row
	}
	row.Figures = []report.Figure{{Name: "Sallyport", Better: report.Higher, Samples: i.ours[:n]}}
	if i.absent != "" {
		return row
	}
	ratio := report.Figure{Name: "times the peer", Better: report.Higher}
	if i.target > 0 {
		ratio.Target = &i.target
	}
	for k := range n {
		ratio.Samples = append(ratio.Samples, i.ours[k]/i.theirs[k])
	}
	row.Figures = append(row.Figures, report.Figure{Name: "peer", Samples: i.theirs[:n]}, ratio)
	return row
}

// processors are those that this process may use, before it is moved away from the one that is measured.
var processors = sync.OnceValues(func() (list []int, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, fmt.Errorf("peerbench: reading the CPU affinity: %w", err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list, nil
})
