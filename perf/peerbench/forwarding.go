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

	"sallyport/perf/bench"
	"sallyport/perf/lab"
)

// espTargets are how many times as many packets as a peer this gateway is to forward, by size.
var espTargets = map[int]float64{64: 1.6, 1400: 1.25}

// forwardings are packets in a second of one core that receives, protects or opens, and sends, of one flow in one tunnel by AES-GCM-128.
func (o *Options) forwardings(cpus []int) (list []subject) {
	absent := ""
	if _, err := os.Stat(o.Secgw); errors.Is(err, fs.ErrNotExist) {
		absent = "there is no ipsec-secgw: scripts/secgw builds it from Debian's source of DPDK"
	}
	for _, size := range []int{64, 1400} {
		for _, direction := range []bench.Direction{bench.Outbound, bench.Inbound} {
			if o.Quick && (size != 64 || direction != bench.Outbound) {
				continue
			}
			i := &item{name: fmt.Sprintf("ESP %s, %d bytes, Mpps: DPDK's ipsec-secgw", direction, size), label: fmt.Sprintf("%s %d", direction, size), target: espTargets[size], absent: absent,
				note: "each on one core with real-time priority, packets out of a file that never ends; the peer's better way of three: cpu-crypto, or lookaside with and without librte_ipsec"}
			list = append(list, subject{[]*item{i}, func(ctx context.Context) ([]turns, error) {
				var t turns
				var err error
				if t.ours, err = o.bench(ctx, cpus, direction, size); err == nil && absent == "" {
					t.theirs, err = o.secgw(ctx, cpus, direction, size)
				}
				return []turns{t}, err
			}})
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

// bench has lab bench measure one row. It is a process of its own, with all CPUs: this one has been moved away from one.
func (o *Options) bench(ctx context.Context, cpus []int, direction bench.Direction, size int) (mpps float64, err error) {
	l, err := lab.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	in, err := l.Namespace("bench")
	if err != nil {
		return 0, err
	}
	rows := filepath.Join(l.Dir, "rows.json")
	args := []string{"taskset", "--cpu-list", cpuList(cpus), o.Binary, "lab", "bench", "--table", "sizes", "--direction", string(direction), "--size", strconv.Itoa(size), "--flows", "1", "--json", rows}
	if o.Quick {
		args = append(args, "--quick")
	} else {
		args = append(args, "--windows", "7", "--window", "30ms")
	}
	if _, err := in.Run(ctx, args...); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(rows)
	if err != nil {
		return 0, fmt.Errorf("peerbench: %w", err)
	}
	var list []bench.Row
	if err := json.Unmarshal(text, &list); err != nil {
		return 0, fmt.Errorf("peerbench: rows of lab bench: %w", err)
	}
	if len(list) != 1 || list[0].Mpps <= 0 {
		return 0, fmt.Errorf("peerbench: expected one row of lab bench, found %d", len(list))
	}
	o.measured = list[0].Machine
	return list[0].Mpps, nil
}
