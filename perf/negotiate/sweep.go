package negotiate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
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
	Outstanding    int    `json:"outstanding_most"` // at 0 ms; otherwise 0, and as many as there are
	Reference      bool   `json:"reference"`        // not of the sweep: what 0 ms is compared with

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
}

// Verdict says of a series whether overload is shed (S-117).
type Verdict struct {
	Table          string  `json:"table"`
	Version        string  `json:"ike"`
	Authentication string  `json:"authentication"`
	PFS            string  `json:"pfs"`
	Rate           float64 `json:"sas_per_second"` // at 0 ms
	Best           float64 `json:"best_sas_per_second"`
	Share          float64 `json:"share_of_best"`
	Target         float64 `json:"share_of_best_target"`
	Shed           bool    `json:"overload_is_shed"`
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

// shedTarget is the share of its best rate that a gateway keeps when it is asked for more than it can do.
const shedTarget = 0.9

// Run measures and prints, and cleans up after itself, also when ctx ends.
func Run(ctx context.Context, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := lab.WriteRows[any](o.JSON, nil); err != nil { // before minutes have passed
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
	list, err := o.series()
	if err != nil {
		return err
	}
	o.printHeading(cpus.gateway, cpus.others)
	var all []any
	for i, s := range list {
		fmt.Fprintf(o.Progress, "gateway %d of %d: IKE%s, %s, %s PFS; about %v each\n", i+1, len(list), s.version, s.auth, s.pfs, o.length())
		rows, err := o.measure(ctx, s, machine)
		all = append(all, rows...)
		if ctx.Err() != nil { // what else went wrong comes of that
			err = errInterrupted
		}
		if err != nil {
			return errors.Join(err, lab.WriteRows(o.JSON, all))
		}
		if c, ok := cost(all, s); ok {
			o.printCost(&c)
			all = append(all, c)
		}
	}
	return lab.WriteRows(o.JSON, all)
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
				s := series{version: versions[version], pfs: pfs, auth: auth, quickModes: o.QuickModes, callers: o.crowd(), psk: rand.Text() + rand.Text()}
				if kind, certified := keys[auth]; certified {
					if s.authority, err = ikebench.NewAuthority(kind); err != nil {
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

// measure starts a gateway and goes through the rounds with it.
func (o *Options) measure(ctx context.Context, s series, machine report.Machine) (all []any, err error) {
	began := time.Now()
	b, err := newBed(ctx, o.Binary, s, machine.Core)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(o.Progress, "it is up after %.0f s\n", time.Since(began).Seconds())
	defer func() { err = errors.Join(err, b.Close()) }()
	c, err := newCallers(ctx, s, b.wire)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, p := range o.rounds() {
		row, err := b.row(ctx, s, c, p)
		if err != nil {
			return all, err
		}
		row.Machine = machine
		o.printRow(&row)
		rows, all = append(rows, row), append(all, row)
	}
	if v, ok := verdict(rows); ok {
		o.printVerdict(&v)
		all = append(all, v)
	}
	return all, nil
}

// row measures one round.
func (b *bed) row(ctx context.Context, s series, c *callers, p plan) (Row, error) {
	row := Row{Table: tableRows, Version: s.version.String(), Authentication: s.auth, PFS: s.pfs, QuickModes: s.quickModes, Interval: int(p.interval.Milliseconds()),
		Reference: p.reference}
	if p.interval == 0 {
		row.Outstanding = p.bound
	}
	before, err := b.count(ctx)
	if err != nil {
		return row, err
	}
	r := &round{plan: p, spent: b.spent}
	if err := c.run(ctx, r); err != nil {
		return row, errors.Join(err, b.process.Alive())
	}
	if err := b.process.Alive(); err != nil {
		return row, err
	}
	counted, err := b.countUntil(ctx, before, r)
	if err != nil {
		return row, err
	}
	row.Seconds, row.Initiated, row.Completed, row.Failed, row.Repeated, row.Failures = r.seconds(), r.Initiated, r.Completed, r.Failed, r.Repeated, r.failures
	row.MMRate, row.QMRate = float64(r.mainModes)/row.Seconds, float64(r.quickModes)/row.Seconds
	row.SARate = row.MMRate + 2*row.QMRate
	row.SetUpMedian, row.SetUp99, row.Shed = r.setUp(0.5), r.setUp(0.99), counted.shed
	row.GatewayMM, row.GatewayQM, row.PeersMM, row.PeersQM = int(counted.mainModes), int(counted.quickModes), r.allMainModes, r.allQuickModes
	row.GatewayCPU, row.PeersCPU = 100*r.gateway.Seconds()/row.Seconds, 100*r.own.Seconds()/row.Seconds
	return row, nil
}

// verdict compares 0 ms with the best of all.
func verdict(rows []Row) (Verdict, bool) {
	hurried := slices.IndexFunc(rows, func(r Row) bool { return r.Interval == 0 && !r.Reference })
	if hurried < 0 {
		return Verdict{}, false
	}
	r := rows[hurried]
	v := Verdict{Table: tableVerdict, Version: r.Version, Authentication: r.Authentication, PFS: r.PFS, Rate: r.SARate, Target: shedTarget}
	for _, row := range rows {
		v.Best = max(v.Best, row.SARate)
	}
	if v.Best > 0 {
		v.Share = v.Rate / v.Best
	}
	v.Shed = v.Share >= shedTarget
	return v, true
}

// cost compares the quick modes a second of a series with those of the like without PFS, at 0 ms, if both have been measured. SAs a second would not do: with master
// PFS each quick mode has a main mode, which counts too.
func cost(all []any, s series) (Cost, bool) {
	c := Cost{Table: tableCost, Version: s.version.String(), Authentication: s.auth, PFS: s.pfs}
	for _, row := range all {
		r, ok := row.(Row)
		if !ok || r.Interval > 0 || r.Reference || r.Version != c.Version || r.Authentication != c.Authentication {
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
