// Package bench measures the gateway's data plane: packets from a file that never ends (net_pcap with infinite_rx) through a
// tunnel into a port that swallows them (net_null), beside the floor, which is the same without a gateway.
//
// Machines drift by a factor of two within a minute, so gateway and floor take turns in short windows of one process, and
// the figure to look at is their ratio. options.go says what can be measured; load.go is what a row measures, network.go its
// addresses, traffic.go and sealer.go its packets; bed.go is the gateway around them and beds.go several in turns; floor.c and
// its neighbours are the loops of the floor, measure.go runs the windows and table.go and report.go show the result. There is a table each
// of sizes and flows (sizes.go), transforms and encapsulations (transforms.go), numbers of tunnels (tunnels.go), two workers
// (workers.go), policies of many filters (filters.go, with the policy and packets of site.go and the memory of memory.go), a
// soft SA (soft.go), the queues of a crypto device (offload.go) inline protocol of a NIC (inline.go)
// and cycles by stage (profile.go). What IKE costs is measured by packages ikebench and joined (ike.go).
package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/perf/report"
	"sallyport/pipeline"
	"sallyport/pmd/eal"
)

// Run measures and prints the tables. It starts DPDK, which a process can do once, and moves the process's other threads off
// the measured core. When ctx ends it stops within a window and gives back what it took.
func Run(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	suites, err := o.validate()
	if err != nil {
		return err
	}
	if err := o.checkFiles(); err != nil { // before minutes have passed
		return err
	}
	folder, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	cpus, err := o.cpus()
	if err != nil {
		return err
	}
	tables := o.tables(suites)
	memory := memoryMB(tables)
	pages, err := o.reserve(memory)
	if err != nil {
		return err
	}
	// The pages are free again only when the EAL has let go of them.
	defer func() { err = errors.Join(err, ReleaseHugePages(pages)) }()
	environment, err := eal.Start(eal.Config{HugePages: o.HugePages, MemoryMB: memory, LogLevel: "error"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	return o.run(ctx, tables, folder, cpus, environment.HugePages)
}

// table is a part of the report: what stands beside each other in it at one time, which says how much memory it takes, and
// how it is made.
type table struct {
	loads   [][]load
	filters []int // of its largest policies
	extra   int   // MiB that it takes apart from these
	run     func(*stand) ([]any, error)
}

// tables are those that are wanted, in their order.
func (o *Options) tables(suites []crypto.Suite) (list []table) {
	all := map[string]table{
		tableSizes:      o.sizesTable(suites),
		tableTransforms: o.transformsTable(),
		tableTunnels:    o.tunnelsTable(),
		tableWorkers:    o.workersTable(),
		tablePolicies:   o.policiesTable(),
		tableSoft:       o.softTable(),
		tableOffload:    o.offloadTable(),
		tableInline:     o.inlineTable(),
		tableProfile:    o.profileTable(),
		tableIKE:        o.ikeTable(),
	}
	for _, name := range Tables {
		if slices.Contains(o.Tables, name) {
			list = append(list, all[name])
		}
	}
	return list
}

// cpus are the measured one and, if there is another, that of a second worker.
func (o *Options) cpus() ([]int, error) {
	cpus, err := lastCores(math.MaxInt)
	if err != nil || o.Core == 0 {
		return cpus[:min(len(cpus), 2)], err
	}
	if !slices.Contains(cpus, o.Core) {
		return nil, fmt.Errorf("bench: CPU %d: want one of those allowed to this process, %v", o.Core, slices.Sorted(slices.Values(cpus)))
	}
	cpus = slices.DeleteFunc(cpus, func(cpu int) bool { return cpu == o.Core })
	return append([]int{o.Core}, cpus[:min(len(cpus), 1)]...), nil
}

// reserve sees to it that there are huge pages where they are wanted, and returns how many pages it reserved.
func (o *Options) reserve(memory int) (pages int, err error) {
	if o.HugePages == eal.HugePagesOff {
		return 0, nil
	}
	pages, why, err := ReserveHugePages(memory)
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(o.Out, why)
	return pages, nil
}

// stand is where all tables are measured.
type stand struct {
	ctx     context.Context
	folder  string
	cores   []*thread // for the workers; on a machine with one CPU there is one
	window  uint64    // cycles
	machine report.Machine
}

func (o *Options) run(ctx context.Context, tables []table, folder string, cpus []int, hugePages bool) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // which KeepOff lowers
	s := &stand{ctx: ctx, folder: folder, window: uint64(o.Window.Seconds() * float64(eal.TSCHz()))}
	// Where two workers would leave no CPU to the rest of the process, it shares the second one's.
	if shared, err := pipeline.KeepOff(cpus); err != nil {
		return err
	} else if shared {
		if _, err := pipeline.KeepOff(cpus[:1]); err != nil {
			return err
		}
	}
	for _, cpu := range cpus {
		core, err := newThread(cpu, !o.Quick)
		if err != nil {
			return err
		}
		defer core.stop()
		s.cores = append(s.cores, core)
	}
	var err error
	if s.machine, err = report.Describe(eal.Version(), cpus); err != nil {
		return err
	}
	s.machine.RealTime, s.machine.HugePages = s.cores[0].realTime, hugePages
	printHeading(o.Out, s.machine, o)
	began := time.Now()
	var all []any
	for _, t := range tables {
		rows, failed := t.run(s)
		all = append(all, rows...)
		if err = failed; err != nil {
			break
		}
	}
	if ctx.Err() != nil { // what else went wrong comes of that
		err = errInterrupted
	}
	return errors.Join(err, o.writeReport(s, began, all, err), writeJSON(o.JSON, all, o.Append))
}

var errInterrupted = errors.New("bench: interrupted")

// measure makes the beds of loads, which take turns, and the rows of a table from them.
func (s *stand) measure(table string, windows int, loads ...load) (rows []Row, rounds [][]round, err error) {
	if err := s.ctx.Err(); err != nil {
		return nil, nil, err
	}
	beds, err := newBeds(s.ctx, s.folder, loads...)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, beds.close()) }()
	rounds, err = beds.measure(s.ctx, s.cores, s.window, windows)
	if err != nil {
		return nil, nil, err
	}
	for i, b := range beds.list {
		rows = append(rows, b.row(table, rounds[i], s.machine))
	}
	return rows, rounds, nil
}

// memoryMB is what the table that needs most wants from DPDK.
func memoryMB(tables []table) int {
	const (
		mbufBytes    = 256 // header, its place in the pool
		memoBytes    = 32
		saBytes      = 8192 // with its keys and its part in the classifier
		filterBytes  = 8192 // of a mirrored filter in the classifier, and to spare
		planeMB      = 96   // rings, counters, and what a data plane keeps fragments in
		sessionBytes = 4096 // of an inline session
		nicMB        = 32   // its tables
		fixed        = 192  // crypto devices, and what does not fit in one piece
		megabyte     = 1 << 20
	)
	needed := 0
	for _, t := range tables {
		policies := 0
		if len(t.filters) > 0 {
			policies = 2 * slices.Max(t.filters) * filterBytes // tables of two policies
		}
		for _, loads := range t.loads {
			sum := policies
			for _, l := range loads {
				packets := l.packets() * (mbufBytes + pipeline.MbufPrivateSize + int(pipeline.DataRoom(l.mtu())))
				sum += planeMB*megabyte + packets + l.workers*l.flowMemos()*memoBytes + l.sas()*saBytes
				if l.nic != nil {
					sum += nicMB*megabyte + l.sas()*sessionBytes
				}
			}
			needed = max(needed, sum)
		}
		needed = max(needed, t.extra*megabyte)
	}
	return fixed + needed/megabyte
}
