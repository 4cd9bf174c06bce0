package rfc2544

import (
	"fmt"
	"io"
	"time"
)

// progress says how far a run is and how long it will still take. Of steps that are still to come it knows what the like has taken so far, and before that what was planned.
type progress struct {
	out      io.Writer
	terminal bool // each line takes the place of the one before
	clock    func() time.Time
	steps    []step
	at       int
	began    time.Time // of the step
}

// step is a benchmark of a case.
type step struct {
	kind, what string
	planned    time.Duration
	took       time.Duration // 0: it is not over
}

// begin begins a step, by its place.
func (p *progress) begin(i int) { p.at, p.began = i, p.clock() }

// end ends it.
func (p *progress) end() { p.steps[p.at].took = max(1, p.clock().Sub(p.began)) }

// expected is how long a step takes that is still to come.
func (p *progress) expected(s step) time.Duration {
	var sum time.Duration
	n := 0
	for _, other := range p.steps {
		if other.kind == s.kind && other.took > 0 {
			sum, n = sum+other.took, n+1
		}
	}
	if n == 0 {
		return s.planned
	}
	return sum / time.Duration(n)
}

// line is what there is to say before a trial. left is what the step still takes; 0 stands for what it was thought to take.
func (p *progress) line(trial int, rate float64, duration, left time.Duration) string {
	s := p.steps[p.at]
	if left == 0 {
		left = max(0, p.expected(s)-p.clock().Sub(p.began))
	}
	all := left
	for _, later := range p.steps[p.at+1:] {
		all += p.expected(later)
	}
	return fmt.Sprintf("%s: trial %d, %.0f frames/s for %v; about %v left, %v of all", s.what, trial, rate, round(duration), round(left), round(all))
}

// tell prints it.
func (p *progress) tell(r *runner, rate float64, duration, left time.Duration) {
	say(p.out, p.terminal, p.line(r.trials+1, rate, duration, left))
}

// Say prints a line of progress of what is not a trial.
func (o *Options) Say(line string) {
	if o.Progress != nil {
		say(o.Progress, o.Terminal, line)
	}
}

func say(to io.Writer, terminal bool, line string) {
	if terminal {
		line = "\r" + line + "\x1b[K"
	} else {
		line += "\n"
	}
	fmt.Fprint(to, line)
}

// over leaves the line as it is.
func (p *progress) over() {
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}

// round is for reading: seconds, of less than ten their tenths, of less than one their thousandths.
func round(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond)
	default:
		return d.Round(time.Second)
	}
}
