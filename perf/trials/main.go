package trials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"sallyport/perf/report"
	"sallyport/perf/rfc2544"
	"sallyport/perf/traffic"
)

// Options are those of the command. Of the target's, sizes, rate, time and what it prints have no effect.
type Options struct {
	Target  traffic.Options
	Bench   rfc2544.Options
	Sizes   []string  // of frames, as traffic.ParseSizes has them; none: 64 to 1518 as in RFC 2544, section 9.1, those that fit, and imix if it does
	Tunnels []int     // so many of the target's; none: all
	Change  int       // tunnels that are changed under load, the last ones; 0: a tenth of them, and at least one
	JSON    string    // file for the report
	HTML    string    // file for its page
	Out     io.Writer // nil: standard output
}

var standardSizes = []string{"64", "128", "256", "512", "1024", "1280", "1518", "imix"}

// run is one of the command.
type run struct {
	Options
	target   traffic.Config
	sequence uint64 // that the SAs to the gateway have used
	replays  bool   // in a case nothing inbound arrived
}

// Main measures, prints and writes the report, of a run that was interrupted or failed too.
func Main(ctx context.Context, o Options) (err error) {
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if err := errors.Join(o.Bench.Validate(), o.validate()); err != nil {
		return err
	}
	if err := report.Writable(o.JSON, o.HTML); err != nil {
		return err
	}
	r := &run{Options: o}
	target := o.Target
	target.Sizes = "" // which of them fit is found below
	config, environment, err := traffic.Prepare(target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	r.target, r.sequence = config, o.Target.Sequence
	if err := r.checkChanges(); err != nil { // which would come out when all else has been measured
		return err
	}
	cases, err := r.cases()
	if err != nil {
		return err
	}
	machine, err := o.Target.Machine(environment)
	if err != nil {
		return err
	}
	into := report.New("rfc2544", o.Target.Command, machine, time.Now())
	err = rfc2544.Run(ctx, o.Bench, cases, r.open, into)
	err = errors.Join(err, into.WriteText(o.Out), into.WriteJSON(o.JSON), into.WriteHTML(o.HTML))
	if r.replays {
		fmt.Fprintf(o.Out, "inbound nothing arrived: %s\n", traffic.UsedNumbers)
	}
	if r.sequence > o.Target.Sequence {
		fmt.Fprintf(o.Out, "the next run by these SAs goes on with --sequence %d\n", r.sequence)
	}
	return err
}

// validate finds what the target's options and those of the benchmarks do not.
func (o *Options) validate() error {
	var errs []error
	if o.Change < 0 || o.Change > 0 && !o.reconf() {
		errs = append(errs, fmt.Errorf("trials: %d tunnels that change: expected 1 or more, and benchmark %s, which changes them", o.Change, rfc2544.Reconfiguration))
	}
	if len(o.Target.Clear) > 0 && len(o.Tunnels) > 0 {
		errs = append(errs, errors.New("trials: a number of tunnels: expected none for packets in clear"))
	}
	return errors.Join(errs...)
}

// reconf says whether tunnels are to change under load.
func (o *Options) reconf() bool { return slices.Contains(o.Bench.Benchmarks, rfc2544.Reconfiguration) }

// cases are all sizes over all numbers of tunnels.
func (r *run) cases() (list []rfc2544.Case, err error) {
	sizes, chosen := r.Sizes, len(r.Sizes) > 0
	if !chosen {
		sizes = standardSizes
	}
	tunnels := r.Tunnels
	if len(tunnels) == 0 || len(r.Target.Clear) > 0 {
		tunnels = []int{len(r.target.Tunnels)}
	}
	var errs []error
	for i, n := range tunnels {
		if n < 1 || n > len(r.target.Tunnels) || slices.Contains(tunnels[:i], n) {
			errs = append(errs, fmt.Errorf("trials: %d tunnels: expected 1 to %d, which the gateway's configuration has, each number once", n, len(r.target.Tunnels)))
			continue
		}
		for _, size := range sizes {
			octets, err := r.octets(size, n)
			switch {
			case err == nil && slices.ContainsFunc(list, func(c rfc2544.Case) bool { return c.Size == size && c.Tunnels == r.named(n) }):
				errs = append(errs, fmt.Errorf("trials: size %s: expected each once", size))
			case err == nil:
				list = append(list, rfc2544.Case{Size: size, Octets: octets, Tunnels: r.named(n)})
			case chosen:
				errs = append(errs, err)
			}
		}
	}
	if len(list) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("trials: expected frames of a usual size to fit the ports, found that none does"))
	}
	return list, errors.Join(errs...)
}

// named is the number of tunnels of a case: none in clear.
func (r *run) named(n int) int {
	if len(r.Target.Clear) > 0 {
		return 0
	}
	return n
}

// octets is the mean length of frames, of a size that the ports can carry.
func (r *run) octets(size string, tunnels int) (float64, error) {
	config, err := r.config(size, tunnels)
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return 0, fmt.Errorf("trials: size %s: %w", size, err)
	}
	sum := 0
	for _, octets := range config.Streams[0].Sizes {
		sum += octets
	}
	return float64(sum) / float64(len(config.Streams[0].Sizes)), nil
}

// config is what a tester of a case needs: at least a flow for each tunnel.
func (r *run) config(size string, tunnels int) (traffic.Config, error) {
	sizes, err := traffic.ParseSizes(size, r.target.Protected.MTU)
	c := r.target
	c.First(tunnels)
	c.Streams = slices.Clone(c.Streams)
	for i := range c.Tunnels {
		c.Tunnels[i].ToGateway.Sequence = r.sequence
	}
	for i := range c.Streams {
		c.Streams[i].Sizes, c.Streams[i].Flows, c.Streams[i].Tunnels = sizes, max(c.Streams[i].Flows, tunnels), tunnels
	}
	if r.reconf() {
		if most := len(r.target.Tunnels); r.Change > most {
			return c, fmt.Errorf("%d tunnels that change, expected at most the %d that there are", r.Change, most)
		}
		c.Streams = apart(c.Streams, tunnels, r.changing(tunnels))
	}
	return c, err
}

func (r *run) open(ctx context.Context, c rfc2544.Case) (rfc2544.Bed, error) {
	config, err := r.config(c.Size, cmp.Or(c.Tunnels, len(r.target.Tunnels)))
	if err != nil {
		return nil, err
	}
	config.Progress = func(p traffic.Progress) { // of trials the suite tells
		if p.Tunnels > 0 {
			r.Bench.Say(c.String() + ": " + p.String())
		}
	}
	tester, err := traffic.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	one := &oneOf{bed{tester: tester, directions: len(r.target.Streams), sequence: r.sequence}, r}
	if r.reconf() {
		return &changeable{one, tester, config.Streams, len(config.Tunnels)}, nil
	}
	return one, nil
}

// oneOf is the bed of a case: those after it go on with the numbers of its SAs.
type oneOf struct {
	bed
	run *run
}

func (b *oneOf) Close() error {
	b.run.sequence, b.run.replays = max(b.run.sequence, b.sequence), b.run.replays || b.replays()
	return b.bed.Close()
}
