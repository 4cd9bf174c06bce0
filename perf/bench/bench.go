// Package bench measures the gateway's data plane on one core: packets from a file that never ends (net_pcap with
// infinite_rx) through a tunnel into a port that swallows them (net_null), beside the floor, which is the same without
// a gateway.
//
// Machines drift by a factor of two within a minute, so gateway and floor take turns in short windows of one process, and
// the figure to look at is their ratio. options.go says what can be measured, traffic.go makes the packets, bed.go the gateway
// around them, floor.c the loops of the floor, measure.go runs the windows and table.go shows the result. filters.go measures
// what a policy of many filters costs, with the policy and packets of site.go and the memory of memory.go.
package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"

	"sallyport/pipeline"
	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
)

// Run measures and prints the table. It starts DPDK, which a process can do once, and moves the process's other threads off the
// measured core. When ctx ends it stops within a window and gives back what it took.
func Run(ctx context.Context, o Options) (err error) {
	o = o.withDefaults()
	loads, err := o.loads()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	core := o.Core
	if core == 0 {
		if core, err = lastCore(); err != nil {
			return err
		}
	}
	memory := memoryMB(loads, o.Filters)
	pages, err := o.reserve(memory)
	if err != nil {
		return err
	}
	// The pages are free again only when the EAL has let go of them.
	defer func() { err = errors.Join(err, releaseHugePages(pages)) }()
	environment, err := eal.Start(eal.Config{HugePages: o.HugePages, MemoryMB: memory, LogLevel: "error"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	return o.run(ctx, loads, folder, core, environment.HugePages)
}

// reserve sees to it that there are huge pages where they are wanted, and returns how many pages it reserved.
func (o *Options) reserve(memory int) (pages int, err error) {
	if o.HugePages == eal.HugePagesOff {
		return 0, nil
	}
	pages, why, err := reserveHugePages(memory)
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(o.Out, why)
	return pages, nil
}

func (o *Options) run(ctx context.Context, loads []load, folder string, cpu int, hugePages bool) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // which KeepOff lowers
	if _, err := pipeline.KeepOff([]int{cpu}); err != nil {
		return err
	}
	core, err := newThread(cpu, !o.Quick)
	if err != nil {
		return err
	}
	defer core.stop()
	machine, err := describeMachine(cpu, core.realTime, hugePages)
	if err != nil {
		return err
	}
	window := uint64(o.Window.Seconds() * float64(eal.TSCHz()))
	printHeading(o.Out, machine, o)
	var rows []Row
	for _, l := range loads {
		row, err := o.measureLoad(ctx, l, folder, core, window, machine)
		if err != nil {
			return err
		}
		printRow(o.Out, &row)
		rows = append(rows, row)
	}
	printFooter(o.Out, rows)
	all := make([]any, len(rows))
	for i := range rows {
		all[i] = rows[i]
	}
	policies, err := o.runFilters(ctx, folder, core, window, machine)
	if err != nil || o.JSON == "" {
		return err
	}
	return writeJSON(o.JSON, append(all, policies...))
}

// runFilters measures and prints policies of many filters.
func (o *Options) runFilters(ctx context.Context, folder string, core *thread, window uint64, machine Machine) (all []any, err error) {
	if slices.Contains(o.Filters, 0) {
		return nil, nil
	}
	printFilterHeading(o.Out, o)
	for _, tunnel := range []bool{false, true} {
		rows, swap, err := o.measureFilters(ctx, tunnel, folder, core, window, machine)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			printFilterRow(o.Out, &row)
			all = append(all, row)
		}
		printSwapRow(o.Out, &swap)
		all = append(all, swap)
	}
	return all, nil
}

func (o *Options) measureLoad(ctx context.Context, l load, folder string, core *thread, window uint64, machine Machine) (row Row, err error) {
	if err := ctx.Err(); err != nil {
		return row, err
	}
	b, err := newBed(l, folder)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	rounds, err := b.measure(ctx, core, window, o.Windows)
	if err != nil {
		return row, err
	}
	return b.row(rounds, machine), nil
}

// memoryMB is what the largest of the loads needs from DPDK.
func memoryMB(loads []load, filters []int) int {
	const (
		mbufBytes   = 256 // header, its place in the pool
		memoBytes   = 32
		filterBytes = 8192 // of a mirrored filter in the classifier, and to spare
		fixed       = 192  // crypto devices, counters, rings, and what does not fit in one piece
		megabyte    = 1 << 20
	)
	tables, needed := 0, 0
	if largest := slices.Max(filters); largest > 0 {
		loads = append(slices.Clip(loads), load{flows: siteFlows, tunnels: 1})
		tables = 2 * largest * filterBytes // tables of two policies
	}
	for _, l := range loads {
		packets := (l.pass() + sparePackets) * (mbufBytes + pipeline.MbufPrivateSize + int(ethdev.DataRoom(mtu)))
		memos := powerOfTwo(max(flowMemosToFlow*l.flows, leastFlowMemos)) * memoBytes
		needed = max(needed, packets+memos+l.tunnels*8192)
	}
	return fixed + (tables+needed)/megabyte
}
