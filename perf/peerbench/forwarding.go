package peerbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// espTargets are how many times as many packets as a peer this gateway is to forward, by size.
var espTargets = map[int]float64{64: 1.6, 1400: 1.25}

// forwarder is a gateway of others that has a turn beside ours.
type forwarder struct {
	name   string
	figure string // what is measured, in the row's name
	label  string // in the plot, behind direction and size
	absent string
	note   string
	ours   func(row bench.Row) (mpps float64) // what stands beside its rate
	rate   func(ctx context.Context, cpus []int, direction bench.Direction, size int) (mpps float64, err error)
}

func (o *Options) forwarders() []forwarder {
	absent := func(program, how string) string {
		if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
			return how
		}
		return ""
	}
	return []forwarder{
		{name: "DPDK's ipsec-secgw", figure: "Mpps", ours: func(row bench.Row) float64 { return row.Mpps }, rate: o.secgw, absent: absent(o.Secgw, "there is no ipsec-secgw: scripts/secgw builds it from Debian's source of DPDK"),
			note: "each on one core with real-time priority, packets out of a file that never ends; the peer's better way of three: cpu-crypto, or lookaside with and without librte_ipsec"},
		{name: "VPP", figure: "Mpps without source and sink", label: ", VPP", ours: withoutSource, rate: o.vpp, absent: absent(o.VPP, "there is no VPP, of which Debian 12 has no package: VPP_SOURCE=FOLDER scripts/vpp builds it from its source"),
			note: "each on one core with real-time priority, without what it takes to receive packets from the source and to free them; the peer's best crypto engine of three, with an ipsec interface"},
	}
}

// withoutSource is the rate without what source and free take in the same windows. If others have taken the CPU away in these, that may be nearly all of it, or more: then
// nothing is left out. Of what is measured at rest more than half is left.
func withoutSource(row bench.Row) float64 {
	left := row.CyclesPerPacket - row.SourceCyclesPerPacket
	if left < row.CyclesPerPacket/4 {
		return row.Mpps
	}
	return float64(row.TSCHz) / left / 1e6
}

// forwardings are packets in a second of one core that receives, protects or opens, and sends, of one flow in one tunnel by AES-GCM-128.
func (o *Options) forwardings(cpus []int) (list []subject) {
	for _, size := range []int{64, 1400} {
		for _, direction := range []bench.Direction{bench.Outbound, bench.Inbound} {
			if o.Quick && (size != 64 || direction != bench.Outbound) {
				continue
			}
			for _, f := range o.forwarders() {
				i := &item{name: fmt.Sprintf("ESP %s, %d bytes, %s: %s", direction, size, f.figure, f.name), label: fmt.Sprintf("%s %d%s", direction, size, f.label), target: espTargets[size], absent: f.absent, note: f.note}
				list = append(list, subject{[]*item{i}, func(ctx context.Context) ([]turns, error) {
					row, err := o.bench(ctx, cpus, direction, size)
					if err != nil {
						return nil, err
					}
					t := turns{ours: f.ours(row)}
					if f.absent == "" {
						t.theirs, err = f.rate(ctx, cpus, direction, size)
					}
					return []turns{t}, err
				}})
			}
		}
	}
	return list
}

// cpuList is how taskset(1) writes them.
func cpuList(cpus []int) string {
	var words []string
	for _, cpu := range cpus {
		words = append(words, strconv.Itoa(cpu))
	}
	return strings.Join(words, ",")
}

// benchEnds is how long lab bench may take to end when it is interrupted: some windows, and what there is to clean up.
const benchEnds = 20 * time.Second

// bench has lab bench measure one row. It is a process of its own, with all CPUs: this one has been moved away from one.
func (o *Options) bench(ctx context.Context, cpus []int, direction bench.Direction, size int) (row bench.Row, err error) {
	l, err := lab.New()
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	in, err := l.Namespace("bench")
	if err != nil {
		return row, err
	}
	rows := filepath.Join(l.Dir, "rows.json")
	args := []string{"taskset", "--cpu-list", cpuList(cpus), o.Binary, "lab", "bench", "--table", "sizes", "--direction", string(direction), "--size", strconv.Itoa(size), "--flows", "1", "--json", rows}
	if o.Quick {
		args = append(args, "--quick")
	} else {
		args = append(args, "--windows", "7", "--window", "30ms")
	}
	process, err := in.Start(lab.Command{Name: "bench", Args: args})
	if err != nil {
		return row, err
	}
	if err := process.Wait(ctx); ctx.Err() != nil {
		_ = process.Stop(benchEnds) // in order, for it has reserved huge pages; that it was interrupted is no news
		return row, err
	} else if err != nil {
		return row, err
	}
	text, err := os.ReadFile(rows)
	if err != nil {
		return row, fmt.Errorf("peerbench: %w", err)
	}
	var list []bench.Row
	if err := json.Unmarshal(text, &list); err != nil {
		return row, fmt.Errorf("peerbench: rows of lab bench: %w", err)
	}
	if len(list) != 1 || list[0].Mpps <= 0 {
		return row, fmt.Errorf("peerbench: expected one row of lab bench, found %d", len(list))
	}
	o.measured = list[0].Machine
	return list[0], nil
}
