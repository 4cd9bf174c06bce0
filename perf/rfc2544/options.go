package rfc2544

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// The benchmarks, in the order in which they are made.
const (
	benchThroughput = "throughput"
	benchLatency    = "latency"
	benchLossRate   = "loss-rate"
	benchBursts     = "back-to-back"
	benchReconf     = "reconf"
)

// Reconfiguration is the benchmark that needs a Bed which is a Reconfigurer.
const Reconfiguration = benchReconf

// Benchmarks are all of them.
var Benchmarks = []string{benchThroughput, benchLatency, benchLossRate, benchBursts, benchReconf}

// Case is what a target is measured with.
type Case struct {
	Size    string  // of the frames, as the user has it: 64, imix
	Octets  float64 // of a frame, in the mean, with its check sequence
	Tunnels int
}

// String is the name of its rows.
func (c Case) String() string {
	if strings.Trim(c.Size, "0123456789") == "" {
		return c.Size + " bytes, " + tunnels(c.Tunnels)
	}
	return c.Size + ", " + tunnels(c.Tunnels)
}

func tunnels(n int) string {
	switch n {
	case 0:
		return "in clear"
	case 1:
		return "1 tunnel"
	default:
		return fmt.Sprintf("%d tunnels", n)
	}
}

// Options says what Run measures. The zero value is throughput without loss and latency.
type Options struct {
	Benchmarks  []string      // none: throughput and latency
	Limits      Limits        // Min 0 is 100 frames/s, Max 0 the most that can be offered
	Trial       time.Duration // of those that decide; 0 is 2 s, which is for a look: RFC 2544 has 60 s
	Initial     time.Duration // of the first ones; 0 is Trial
	Width       float64       // how far apart the bounds of the throughput may be, as a share; 0 is 0.5 %
	LossRatios  []float64     // of the throughput; none: 0
	ExceedRatio float64       // share of the trials' time at a load that may lose more
	Sum         time.Duration // of the trials at a load; 0 is Trial
	Repeat      int           // searches for the throughput of each case, of which lab compare needs four; 0 is 1
	Fractions   []float64     // of the throughput, at which latency is measured; none: 0.1, 0.5, 0.9, 1
	Latencies   int           // trials at each; 0 is 5, RFC 2544 has 20
	Bursts      int           // searches for the longest burst; 0 is 10, RFC 2544 has 50
	Grace       time.Duration // beyond its own time, after which a trial counts as stuck; 0 is 30 s
	Progress    io.Writer     // nil: nowhere
	Terminal    bool          // that is what Progress is

	clock func() time.Time
	wait  func(ctx context.Context, d time.Duration) error
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Benchmarks) == 0 {
		o.Benchmarks = []string{benchThroughput, benchLatency}
	}
	if len(o.LossRatios) == 0 {
		o.LossRatios = []float64{0}
	}
	if len(o.Fractions) == 0 {
		o.Fractions = []float64{0.1, 0.5, 0.9, 1}
	}
	for _, d := range []struct {
		of        *time.Duration
		otherwise time.Duration
	}{{&o.Trial, 2 * time.Second}, {&o.Grace, defaultGrace}} {
		if *d.of == 0 {
			*d.of = d.otherwise
		}
	}
	if o.Initial == 0 {
		o.Initial = o.Trial
	}
	if o.Sum == 0 {
		o.Sum = o.Trial
	}
	for _, n := range []struct {
		of        *int
		otherwise int
	}{{&o.Repeat, 1}, {&o.Latencies, 5}, {&o.Bursts, 10}} {
		if *n.of == 0 {
			*n.of = n.otherwise
		}
	}
	if o.Width == 0 {
		o.Width = 0.005
	}
	if o.Limits.Min == 0 {
		o.Limits.Min = 100
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.clock == nil {
		o.clock, o.wait = time.Now, sleep
	}
	return o, o.validate()
}

// Validate finds all that is wrong, before anything is started.
func (o Options) Validate() error {
	_, err := o.withDefaults()
	return err
}

// validate does, when the defaults are in their places.
func (o *Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rfc2544: "+format, args...)) }
	for i, name := range o.Benchmarks {
		if !slices.Contains(Benchmarks, name) || slices.Contains(o.Benchmarks[:i], name) {
			wrong("benchmark %q: expected each of %s at most once", name, strings.Join(Benchmarks, ", "))
		}
	}
	share := func(what string, x, least, most float64) {
		if !(x >= least && x <= most) {
			wrong("%s of %g: expected %g to %g", what, x, least, most)
		}
	}
	for i, ratio := range o.LossRatios {
		share("a loss ratio", ratio, 0, 0.5)
		if slices.Contains(o.LossRatios[:i], ratio) {
			wrong("a loss ratio of %g twice", ratio)
		}
	}
	share("an exceed ratio", o.ExceedRatio, 0, 0.9)
	share("a width", o.Width, 1e-5, 0.2)
	for _, fraction := range o.Fractions {
		share("a fraction of the throughput", fraction, 0.001, 1)
	}
	if low, high := o.Limits.Min, o.Limits.Max; !(low >= 1 && (high == 0 || high > low)) || math.IsInf(high, 0) {
		wrong("rates of %g to %g frames/s: expected at least 1, and a highest rate above the least", low, high)
	}
	for _, d := range []struct {
		what               string
		given, least, most time.Duration
	}{{"trials", o.Trial, time.Millisecond, time.Hour}, {"first trials", o.Initial, time.Millisecond, o.Trial}, {"trials at a load, together,", o.Sum, o.Trial, 24 * time.Hour}} {
		if d.given < d.least || d.given > d.most {
			wrong("%s of %v: expected %v to %v", d.what, d.given, d.least, d.most)
		}
	}
	for _, n := range []struct {
		what  string
		given int
	}{{"searches", o.Repeat}, {"trials for latency", o.Latencies}, {"searches for bursts", o.Bursts}} {
		if n.given < 1 || n.given > 1000 {
			wrong("%d %s: expected 1 to 1000", n.given, n.what)
		}
	}
	if o.Limits.Min*o.Initial.Seconds() < 1 && len(errs) == 0 {
		wrong("trials of %v at %g frames/s have no frame: expected longer ones, or a higher least rate", o.Initial, o.Limits.Min)
	}
	return errors.Join(errs...)
}

// goals are what is searched for, the strictest first: its trials serve the others.
func (o *Options) goals() (list []Goal) {
	for _, ratio := range slices.Sorted(slices.Values(o.LossRatios)) {
		list = append(list, Goal{LossRatio: ratio, ExceedRatio: o.ExceedRatio, Width: o.Width, Final: o.Trial, Sum: o.Sum, Initial: o.Initial})
	}
	return list
}

// planned is about how long a benchmark takes, before any has been made.
func (o *Options) planned(bench string) time.Duration {
	const halvings = 10 // of a search that leaps from a good guess
	switch bench {
	case benchThroughput:
		return time.Duration(o.Repeat*len(o.LossRatios)*halvings) * o.Sum
	case benchLatency:
		return time.Duration(o.Latencies*len(o.Fractions)) * o.Trial
	case benchLossRate:
		return time.Duration(1/lossStep) * o.Trial
	case benchBursts:
		return time.Duration(o.Bursts*halvings) * longestBurst / 10
	default:
		return 2 * time.Duration(3) * o.Trial
	}
}
