package rfc2544

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/perf/report"
)

// Bed is a target with what generates and receives around it. One that is a Reconfigurer too can be measured while it changes.
type Bed interface {
	Measurer
	io.Closer
	// Most is how many frames a second it can offer; when ctx ends before that is known, any number.
	Most(ctx context.Context) float64
}

// Run measures each case in a bed of its own and adds what it has found to the report, in rows and plots, with a verdict. When ctx ends the report has what there was by then, and says
// so; when a target is of no use its name is the verdict. An error says that the run is not what was asked for.
func Run(ctx context.Context, o Options, cases []Case, open func(context.Context, Case) (Bed, error), into *report.Report) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	s := &suite{Options: o, report: into, progress: &progress{out: o.Progress, terminal: o.Terminal, clock: o.clock}}
	for _, c := range cases {
		for _, bench := range Benchmarks {
			if slices.Contains(o.Benchmarks, bench) {
				s.progress.steps = append(s.progress.steps, step{kind: bench, what: c.String() + ", " + bench, planned: o.planned(bench)})
			}
		}
	}
	for i, c := range cases {
		if err = s.measure(ctx, i*len(o.Benchmarks), c, open); err != nil {
			break
		}
	}
	s.progress.over()
	s.plots()
	into.Ended = o.clock()
	into.Interrupted = err != nil && ctx.Err() != nil
	switch {
	case into.Interrupted:
		err = errInterrupted
		into.Verdict = report.Verdict{Text: fmt.Sprintf("interrupted after %d of %d cases", s.whole, len(cases))}
	case err != nil:
		into.Verdict = report.Verdict{Text: err.Error()}
	case s.irregular > 0:
		into.Verdict = report.Verdict{Good: true, Text: fmt.Sprintf("all %d cases are measured; %d of %d throughputs are no more than bounds: see the notes", len(cases), s.irregular, s.searched)}
	default:
		into.Verdict = report.Verdict{Good: true, Text: fmt.Sprintf("all %d cases are measured", len(cases))}
	}
	return err
}

var errInterrupted = errors.New("rfc2544: interrupted")

// suite is a run.
type suite struct {
	Options
	report   *report.Report
	progress *progress
	done     []outcome

	whole               int // cases of which all was measured
	searched, irregular int
}

// outcome is what there is of a case.
type outcome struct {
	Case
	limits     Limits
	throughput [][]GoalResult // by search
	latency    []Latency
	loss       []LossRate
	bursts     *Bursts
	reconf     []Reconf
}

// measure makes the benchmarks of a case. What is there when one of them fails is kept.
func (s *suite) measure(ctx context.Context, at int, c Case, open func(context.Context, Case) (Bed, error)) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	bed, err := open(ctx, c)
	if err != nil {
		return fmt.Errorf("rfc2544: %s: %w", c, err)
	}
	out := outcome{Case: c, limits: s.Limits}
	if out.limits.Max == 0 {
		out.limits.Max = bed.Most(ctx)
	}
	defer func() {
		err = errors.Join(err, bed.Close())
		s.add(&out, err == nil)
	}()
	r := &runner{Measurer: bed, grace: s.Grace, clock: s.clock, wait: s.wait, tell: s.progress.tell}
	probe := func(ctx context.Context) error { return r.probe(ctx, s.Limits.Min, s.Initial) }
	for _, bench := range Benchmarks {
		if !slices.Contains(s.Benchmarks, bench) {
			continue
		}
		s.progress.begin(at)
		if at%len(s.Benchmarks) == 0 {
			err = probe(ctx)
			r.alive = probe
		}
		if err == nil {
			err = s.bench(ctx, r, bed, bench, &out)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
		s.progress.end()
		at++
	}
	if r.last.Lost() > 0 { // it may have died in the last trial
		if err := r.still(ctx); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (s *suite) bench(ctx context.Context, r *runner, bed Bed, bench string, out *outcome) (err error) {
	switch bench {
	case benchThroughput:
		for range s.Repeat {
			results, err := r.search(ctx, s.goals(), out.limits)
			if out.throughput = append(out.throughput, results); err != nil {
				return err
			}
		}
	case benchLatency:
		out.latency, err = r.measureLatency(ctx, out.rate(), s.Fractions, s.Latencies, s.Trial)
	case benchLossRate:
		out.loss, err = r.measureLossRate(ctx, out.limits.Max, s.Trial)
	case benchBursts:
		var b Bursts
		b, err = r.measureBursts(ctx, out.limits.Max, s.Bursts)
		out.bursts = &b
	case benchReconf:
		of, can := bed.(Reconfigurer)
		if !can {
			return errors.New("rfc2544: expected a target whose tunnels can be changed under load, found one that cannot")
		}
		out.reconf, err = r.measureReconf(ctx, of, reconfLoad*out.rate(), s.Trial)
	}
	return err
}

// reconfLoad is the share of the throughput under which a target changes: at all of it any change would lose something.
const reconfLoad = 0.9

// rate is the throughput that the other benchmarks refer to: the median of the strictest goal's, or the highest load where none was searched for.
func (o *outcome) rate() float64 {
	if len(o.throughput) == 0 {
		return o.limits.Max
	}
	var lower []float64
	for _, search := range o.throughput {
		lower = append(lower, search[0].Lower)
	}
	rate := report.Figure{Samples: lower}.Median()
	if rate == 0 { // not even the least load passed without loss
		return o.limits.Min
	}
	return rate
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
