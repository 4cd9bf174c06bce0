package hostile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/perf/lab"
	"sallyport/perf/report"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
)

// ErrMissed says that an attack did what it should not have.
var ErrMissed = errors.New("hostile: missed")

var errInterrupted = errors.New("hostile: interrupted")

// Run attacks and prints, and cleans up after itself, also when ctx ends.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := report.Writable(o.JSON, o.Report, o.HTML); err != nil {
		return err
	}
	if err := errors.Join(lab.WriteRows[Row](o.JSON, nil), o.begins(began)); err != nil { // before minutes have passed
		return err
	}
	if o.Target != nil {
		return o.attackTarget(ctx, began)
	}
	cpus, err := splitCPUs()
	if err != nil {
		return err
	}
	machine, err := report.Describe(eal.Version(), []int{cpus.worker, cpus.main})
	if err != nil {
		return err
	}
	o.printHeading(cpus)
	rows, err := o.attackOurs(ctx, cpus, machine)
	var list []report.Row
	for i := range rows {
		list = append(list, rows[i].report())
	}
	return errors.Join(err, lab.WriteRows(o.JSON, rows), o.writeReport(began, []int{cpus.worker, cpus.main}, list, err))
}

// attackOurs goes through the scenarios with gateways that are started for them.
func (o *Options) attackOurs(ctx context.Context, cpus cpus, machine report.Machine) (rows []Row, err error) {
	missed, judged := 0, 0
	for _, s := range scenarios {
		if !slices.Contains(o.Scenarios, s.Name) {
			continue
		}
		row, err := o.measure(ctx, s, cpus)
		if ctx.Err() != nil { // what else went wrong comes of that
			err = errInterrupted
		}
		if err != nil {
			return rows, err
		}
		row.Machine = machine
		o.printRow(&row)
		rows = append(rows, row)
		for _, v := range row.Verdicts {
			if judged++; !v.Met {
				missed++
			}
		}
	}
	if missed > 0 {
		return rows, fmt.Errorf("%w: %d of %d lines", ErrMissed, missed, judged)
	}
	return rows, nil
}

// attackTarget attacks a gateway that is there already, from this host.
func (o *Options) attackTarget(ctx context.Context, began time.Time) error {
	l, err := lab.New()
	if err != nil {
		return err
	}
	rows, err := o.runForeign(ctx, l, l.Here())
	if ctx.Err() != nil {
		err = errInterrupted
	}
	var list []report.Row
	for i := range rows {
		list = append(list, rows[i].report())
	}
	err = errors.Join(err, l.Close(), judgeForeign(rows))
	return errors.Join(err, lab.WriteRows(o.JSON, rows), o.writeReport(began, []int{0}, list, err))
}

func judgeForeign(rows []ForeignRow) error {
	missed, judged := 0, 0
	for _, r := range rows {
		for _, v := range r.Verdicts {
			if judged++; !v.Met {
				missed++
			}
		}
	}
	if missed > 0 {
		return fmt.Errorf("%w: %d of %d lines", ErrMissed, missed, judged)
	}
	return nil
}

// cpus say who runs where.
type cpus struct {
	all    []int // that there are for us
	worker int   // the last of them
	main   int   // the first, where a gateway has its slow path
}

// list is how taskset(1) writes all of them.
func (c cpus) list() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(c.all), " ", ","), "[]")
}

// splitCPUs gives the last CPU to the worker, and moves this process to the others.
var splitCPUs = sync.OnceValues(func() (c cpus, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return c, fmt.Errorf("hostile: reading the CPU affinity: %w", err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			c.all = append(c.all, cpu)
		}
	}
	c.main, c.worker = c.all[0], c.all[len(c.all)-1]
	_, err = pipeline.KeepOff([]int{c.worker})
	return c, err
})

// measure starts a gateway, attacks it and says what came of it.
func (o *Options) measure(ctx context.Context, s Scenario, cpus cpus) (row Row, err error) {
	fmt.Fprintf(o.Progress, "%s: %s\n", s.Name, s.Summary)
	b, err := newBed(ctx, o.Binary, s, cpus, o.Quick)
	if err != nil {
		return row, err
	}
	defer func() {
		if alive := b.process.Alive(); alive != nil {
			err = errors.Join(alive, err)
		}
		err = errors.Join(err, b.Close())
	}()
	row.Scenario = s.Name
	if err := b.prepare(ctx, s); err != nil {
		return row, err
	}
	attack, err := s.attack(ctx, b)
	if err != nil {
		return row, err
	}
	p := newPace()
	listening, stop := context.WithCancel(ctx)
	defer stop()
	go p.listen(listening, b)
	paced := func(ctx context.Context, messages int) (int, error) {
		p.wait(messages)
		return attack(ctx, messages)
	}
	if err := b.besiege(ctx, s, paced, s.messages(o), o.Quick, &row); err != nil {
		return row, err
	}
	if s.silent {
		if row.Soft, err = b.softSAs(ctx, paced, row.Refused); err != nil {
			return row, err
		}
	}
	if !o.Quick && !s.silent { // which fills the port that the tunnel's load comes by
		stop()
		p.keep(row.Rate)
		if row.ESP, err = b.throughput(ctx, func(ctx context.Context, _ int) (int, error) { return paced(ctx, s.turn()) }, o.Windows, o.Window, o.Load); err != nil {
			return row, err
		}
	}
	row.judge(o.Quick, s.firsts)
	return row, nil
}

// prepare connects the peer whose tunnel is measured, and has those connect and leave that are to return.
func (b *bed) prepare(ctx context.Context, s Scenario) error {
	for i := range members {
		m := &members[i]
		switch {
		case m.is(loaded):
			if err := b.connect(ctx, m, prepareLimit); err != nil {
				return err
			}
		case m.is(returning) && m.version == s.version:
			if err := b.connect(ctx, m, prepareLimit); err != nil {
				return err
			}
			if err := b.station.leave(ctx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bed) connect(ctx context.Context, m *member, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := b.station.connect(ctx, m); err != nil {
		return fmt.Errorf("hostile: %s connects: %w", m.name, err)
	}
	return nil
}
