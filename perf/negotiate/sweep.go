package negotiate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/ike"
	"sallyport/perf/ikebench"
	"sallyport/perf/lab"
	"sallyport/perf/report"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
)

// Row is one interval.
type Row struct {
	Table          string `json:"table"`
	Version        string `json:"ike"`
	Authentication string `json:"authentication"`
	PFS            string `json:"pfs"`
	QuickModes     int    `json:"quick_modes_per_connection"`
	Interval       int    `json:"interval_ms"`
	Outstanding    int    `json:"outstanding_most"`    // at 0 ms; otherwise 0, and as many as there are
	Run            int    `json:"run"`                 // of those that were asked for, from 1
	Target         string `json:"target,omitempty"`    // that is there already, of which nothing is known but what it answers
	Reference      bool   `json:"reference"`           // not of the sweep: what 0 ms is compared with
	CutShort       bool   `json:"cut_short,omitempty"` // interrupted: it has what there was by then

	Seconds   float64 `json:"seconds"` // of the window in which connections begin; rates are of it
	Initiated int     `json:"initiated"`
	Completed int     `json:"completed"` // in the end
	Failed    int     `json:"failed"`
	MMRate    float64 `json:"main_modes_per_second"`
	QMRate    float64 `json:"quick_modes_per_second"`
	SARate    float64 `json:"sas_per_second"` // a main mode makes 1, a quick mode 2

	SetUpMedian float64            `json:"set_up_ms_median"`
	SetUp99     float64            `json:"set_up_ms_99"`
	Repeated    int                `json:"repeated"` // messages that the peers sent again
	Shed        map[string]float64 `json:"shed"`     // datagrams that the gateway did not take, by its metrics
	Failures    map[string]int     `json:"failures"`
	GatewayCPU  float64            `json:"gateway_cpu_percent"`
	PeersCPU    float64            `json:"peers_cpu_percent"`

	GatewayMM int `json:"gateway_main_modes"` // that the gateway counts, in the end
	GatewayQM int `json:"gateway_quick_modes"`
	PeersMM   int `json:"peers_main_modes"` // and that the peers do
	PeersQM   int `json:"peers_quick_modes"`

	Machine report.Machine `json:"machine"` // the gateway's CPU counts as the one that is measured

	from    time.Time   // when the window began
	ends    []time.Time // of connections that were completed within it
	tunnels int         // that were there before
}

// Cost says what PFS costs at 0 ms: both kinds cost throughput (S-083).
type Cost struct {
	Table          string  `json:"table"`
	Version        string  `json:"ike"`
	Authentication string  `json:"authentication"`
	PFS            string  `json:"pfs"`
	QMRate         float64 `json:"quick_modes_per_second"`
	Without        float64 `json:"quick_modes_per_second_without_pfs"`
	Share          float64 `json:"share_of_that"`
}

// The tables that the rows name.
const (
	tableRows    = "negotiate"
	tableVerdict = "negotiate-verdict"
	tableCost    = "negotiate-pfs"
)

// Run measures and prints, and cleans up after itself, also when ctx ends.
func Run(ctx context.Context, o Options) error {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := report.Writable(o.JSON, o.Report, o.HTML); err != nil {
		return err
	}
	if err := errors.Join(lab.WriteRows[any](o.JSON, nil), o.begins()); err != nil { // before minutes have passed
		return err
	}
	cpus, err := splitCPUs()
	if err != nil {
		return err
	}
	machine, err := report.Describe(eal.Version(), []int{cpus.gateway})
	if err != nil {
		return err
	}
	all, err := o.all(ctx, cpus.gateway, cpus.others, machine)
	interrupted := ctx.Err() != nil
	if interrupted { // what else went wrong comes of that
		err = errInterrupted
	}
	return errors.Join(err, lab.WriteRows(o.JSON, all), o.writeReport(machine, began, all, err))
}

// all measures each series. A target that does not negotiate by one of them may do so by the next.
func (o *Options) all(ctx context.Context, cpu, others int, machine report.Machine) (all []any, err error) {
	list, err := o.series()
	if err != nil {
		return nil, err
	}
	var there *bed
	if o.Target != nil {
		if there, err = o.reach(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, there.close()) }()
	}
	o.printHeading(cpu, others)
	var blamed []error
	for i, s := range list {
		fmt.Fprintf(o.Progress, "%s %d of %d: IKE%s, %s, %s PFS; about %v each\n", o.subject(), i+1, len(list), s.version, s.auth, s.pfs, o.length())
		rows, err := o.measure(ctx, there, s, machine)
		all = append(all, rows...)
		switch {
		case err != nil && o.Target != nil && ctx.Err() == nil:
			fmt.Fprintf(o.Out, "%-4s %-15s %-9s %v\n", s.version, s.auth, s.pfs, err)
			blamed = append(blamed, err)
		case err != nil:
			return all, err
		}
		if c, ok := cost(all, s); ok {
			o.printCost(&c)
			all = append(all, c)
		}
	}
	return all, errors.Join(blamed...)
}

// subject is what is measured.
func (o *Options) subject() string {
	if o.Target != nil {
		return "series"
	}
	return "gateway"
}

// errInterrupted is for whoever ended it, and knows why.
var errInterrupted = errors.New("negotiate: interrupted")

// splitCPUs gives the last CPU to the gateway, moves this process to the others, for the peers, and says how many these are.
var splitCPUs = sync.OnceValues(func() (split struct{ gateway, others int }, err error) {
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return split, fmt.Errorf("negotiate: reading the CPU affinity: %w", err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			split.gateway = cpu
		}
	}
	split.others = allowed.Count() - 1
	_, err = pipeline.KeepOff([]int{split.gateway})
	return split, err
})

// series are the gateways to be measured, in their order.
func (o *Options) series() (list []series, err error) {
	versions := map[string]ike.Version{ike.V1.String(): ike.V1, ike.V2.String(): ike.V2}
	for _, version := range o.Versions {
		for _, auth := range o.Auth {
			for _, pfs := range o.PFS {
				s := series{version: versions[version], pfs: pfs, auth: auth, quickModes: o.QuickModes, peers: o.crowd(), site: ours, psk: rand.Text() + rand.Text()}
				authority := ikebench.NewAuthority
				if o.Target != nil {
					s.site, s.psk, authority = o.Target.site(), o.Target.psk, o.Target.authority
				}
				if kind, certified := keys[auth]; certified {
					if s.authority, err = authority(kind); err != nil {
						return nil, err
					}
				}
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// length is about how long a series takes, its gateway's start included.
func (o *Options) length() time.Duration {
	return (10*time.Second + time.Duration(len(o.rounds()))*o.Time).Round(time.Second)
}

// measure starts a gateway, unless one is there, and goes through the rounds with it.
func (o *Options) measure(ctx context.Context, there *bed, s series, machine report.Machine) (all []any, err error) {
	began, b := time.Now(), there
	if b == nil {
		if b, err = newBed(ctx, o.Binary, s, machine.Core); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.close()) }()
		fmt.Fprintf(o.Progress, "it is up after %.0f s\n", time.Since(began).Seconds())
	}
	c, err := newCallers(ctx, s, b.wire)
	if err != nil {
		return nil, err
	}
	if o.Target != nil {
		if err := c.begin(ctx, o); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.leave(ctx)) }()
	}
	var rows []Row
	for i, p := range o.rounds() {
		row, err := o.row(ctx, b, c, p)
		if row.Initiated > 0 {
			row.Run, row.Machine = 1+i/len(o.sweep()), machine
			o.printRow(&row)
			rows, all = append(rows, row), append(all, row)
		}
		if err != nil {
			return all, err
		}
	}
	if v, ok := verdict(rows); ok {
		o.printVerdict(&v)
		all = append(all, v)
	}
	return all, nil
}

// row measures one round.
func (o *Options) row(ctx context.Context, b *bed, c *callers, p plan) (Row, error) {
	s := c.series
	row := Row{Table: tableRows, Version: s.version.String(), Authentication: s.auth, PFS: s.pfs, QuickModes: s.quickModes, Interval: int(p.interval.Milliseconds()),
		Reference: p.reference}
	if p.interval == 0 {
		row.Outstanding = p.bound
	}
	before, err := b.count(ctx)
	if err != nil {
		return row, err
	}
	r := &round{plan: p, spent: b.spent, silence: silence}
	if o.Target != nil {
		r.silence, r.limit, row.Target = o.askLimit, max(p.length(), windowLimit), s.site.gateway.String()
	}
	row.tunnels = c.tunnels
	r.tell = o.teller(&row)
	if err := c.run(ctx, r); ctx.Err() != nil {
		r.end(time.Now())
		row.CutShort = true
		row.take(r)
		return row, err
	} else if err != nil {
		return row, errors.Join(err, b.alive())
	}
	c.tunnels += r.Completed
	if err := b.alive(); err != nil {
		return row, err
	}
	counted, err := b.countUntil(ctx, before, r)
	if err != nil {
		return row, err
	}
	row.take(r)
	row.Shed, row.GatewayMM, row.GatewayQM = counted.shed, int(counted.mainModes), int(counted.quickModes)
	if o.Target != nil && r.Completed == 0 {
		return row, c.blame(r)
	}
	return row, nil
}

// take takes what a round has counted.
func (row *Row) take(r *round) {
	row.Seconds, row.Initiated, row.Completed, row.Failed, row.Repeated, row.Failures = r.seconds(), r.Initiated, r.Completed, r.Failed, r.Repeated, r.failures
	row.SetUpMedian, row.SetUp99, row.PeersMM, row.PeersQM = r.setUp(0.5), r.setUp(0.99), r.allMainModes, r.allQuickModes
	row.from, row.ends = r.began, r.ends
	if row.Seconds > 0 {
		row.MMRate, row.QMRate = float64(r.mainModes)/row.Seconds, float64(r.quickModes)/row.Seconds
		row.SARate = row.MMRate + 2*row.QMRate
		row.GatewayCPU, row.PeersCPU = 100*r.gateway.Seconds()/row.Seconds, 100*r.own.Seconds()/row.Seconds
	}
}

// windowLimit is how long calls begin at a target at the most, unless more was asked for: one that is slow does not take hours.
const windowLimit = 2 * time.Minute

// length is how long the calls of a slow round take to begin.
func (p plan) length() time.Duration { return time.Duration(p.callers+1) * p.interval }

// cost compares the quick modes a second of a series with those of the like without PFS, at 0 ms, if both have been measured. SAs a second would not do: with master
// PFS each quick mode has a main mode, which counts too.
func cost(all []any, s series) (Cost, bool) {
	c := Cost{Table: tableCost, Version: s.version.String(), Authentication: s.auth, PFS: s.pfs}
	for _, row := range all {
		r, ok := row.(Row)
		if !ok || r.Interval > 0 || r.Reference || r.CutShort || r.Version != c.Version || r.Authentication != c.Authentication {
			continue
		}
		switch r.PFS {
		case PFSNone:
			c.Without = r.QMRate
		case s.pfs:
			c.QMRate = r.QMRate
		}
	}
	if s.pfs == PFSNone || c.QMRate == 0 || c.Without == 0 {
		return c, false
	}
	c.Share = c.QMRate / c.Without
	return c, true
}
