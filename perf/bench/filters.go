package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/crypto"
	"sallyport/pmd/eal"
)

// What a policy's size may cost (S-118). Nothing fails when it costs more: figures of a noisy machine are for people.
const (
	hitTarget   = 1.05 // cycles of a hit, to those with the fewest filters
	missTarget  = 3.0  // cycles of a miss, to those with 100 filters
	floodTarget = 0.40 // rate of a flood of one-packet flows, to that of the same packets when all hit
	swapSeconds = 2.0
	swapMB      = 256.0

	missBase = 100 // filters
	swaps    = 5
)

// FilterRow is what packets cost with a policy of some size, of 64 bytes and each of a flow of its own, through the whole
// gateway: when all of them hit the flow cache and when all of them miss it. All policies take turns within a round, and
// the ratios are medians of those within a round.
type FilterRow struct {
	Case    string `json:"case"`
	Traffic string `json:"traffic"` // permit: forwarded in clear; outbound: into a tunnel
	Filters int    `json:"filters"`
	Size    int    `json:"size"`
	Flows   int    `json:"flows"`

	HitCycles     float64 `json:"hit_cycles_per_packet"`
	HitCyclesMin  float64 `json:"hit_cycles_per_packet_min"`
	HitCyclesMax  float64 `json:"hit_cycles_per_packet_max"`
	MissCycles    float64 `json:"miss_cycles_per_packet"`
	MissCyclesMin float64 `json:"miss_cycles_per_packet_min"`
	MissCyclesMax float64 `json:"miss_cycles_per_packet_max"`

	HitRatio    float64 `json:"hit_ratio"` // to the policy with the fewest filters
	HitTarget   float64 `json:"hit_ratio_target"`
	MissRatio   float64 `json:"miss_ratio"` // to the policy of 100 filters, or else of the fewest
	MissTarget  float64 `json:"miss_ratio_target"`
	FloodShare  float64 `json:"flood_share"` // rate of misses, to that of hits
	FloodTarget float64 `json:"flood_share_target"`

	Windows int     `json:"windows"`
	Packets uint64  `json:"packets"`
	TSCHz   uint64  `json:"tsc_hz"`
	Machine Machine `json:"machine"`
}

// SwapRow is what putting a policy in force costs: compiling it, building its tables and publishing them, while those of
// another one are in force. Memory is the most that the process took more than before, DPDK's included.
type SwapRow struct {
	Case          string  `json:"case"`
	SwapFilters   int     `json:"swap_filters"`
	Seconds       float64 `json:"seconds"`
	SecondsMin    float64 `json:"seconds_min"`
	SecondsMax    float64 `json:"seconds_max"`
	SecondsTarget float64 `json:"seconds_target"`
	MemoryMB      float64 `json:"memory_mb"` // MiB
	MemoryTarget  float64 `json:"memory_mb_target"`
	TableMB       float64 `json:"table_mb"` // MiB of DPDK memory for the tables while they are in force
	Swaps         int     `json:"swaps"`
	Machine       Machine `json:"machine"`
}

// filterRound is a window of hits and one of misses with one policy.
type filterRound struct{ hit, miss measured }

// measureFilters makes the rows of one kind of traffic.
func (o *Options) measureFilters(ctx context.Context, tunnel bool, folder string, core *thread, window uint64, machine Machine) (rows []FilterRow, swap SwapRow, err error) {
	l, err := siteLoad(tunnel)
	if err != nil {
		return nil, swap, err
	}
	b, err := newBed(l, folder)
	if err != nil {
		return nil, swap, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	rounds, err := b.measurePolicies(ctx, o.Filters, core, window, o.Windows)
	if err != nil {
		return nil, swap, err
	}
	for i := range o.Filters {
		rows = append(rows, b.filterRow(o.Filters, rounds, i, machine))
	}
	swap, err = b.measureSwap(o.Filters[0], slices.Max(o.Filters), machine)
	return rows, swap, err
}

// siteLoad is the traffic of a site. Its suite is the cheapest: what policy costs shows most.
func siteLoad(tunnel bool) (load, error) {
	suite, err := crypto.ParseSuite("aes128gcm16")
	return load{suite: suite, direction: Outbound, size: siteSize, flows: siteFlows, tunnels: 1, site: newSite(tunnel)}, err
}

// measurePolicies runs the windows; a round has one filterRound for each size of the policy.
func (b *bed) measurePolicies(ctx context.Context, sizes []int, core *thread, window uint64, windows int) ([][]filterRound, error) {
	defer quietCollector()()
	var rounds [][]filterRound
	var sent uint64
	run := func(kind func(int, uint64, int) (uint64, uint64, error), cycles uint64) (m measured, err error) {
		m.packets, m.cycles, err = kind(0, cycles, b.load.pass())
		sent += m.packets
		return m, err
	}
	for range windows {
		var now []filterRound
		for _, n := range sizes {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if _, err := b.applySite(b.load.site.set(n, b.load.suite.String())); err != nil {
				return nil, err
			}
			var r filterRound
			err := core.do(func() (err error) {
				if _, err = run(b.plane.RunFor, 0); err != nil { // after which every flow is known
					return err
				}
				if r.hit, err = run(b.plane.RunFor, window); err != nil {
					return err
				}
				r.miss, err = run(b.plane.RunMissesFor, window)
				return err
			})
			if err != nil {
				return nil, err
			}
			now = append(now, r)
		}
		rounds = append(rounds, now)
		collectGarbage()
	}
	return rounds, b.check(sent)
}

func (b *bed) filterRow(sizes []int, rounds [][]filterRound, i int, machine Machine) FilterRow {
	figure := func(of func([]filterRound) float64) spread {
		values := make([]float64, len(rounds))
		for r := range rounds {
			values[r] = of(rounds[r])
		}
		return spreadOfValues(values)
	}
	hit := func(at int) func([]filterRound) float64 {
		return func(r []filterRound) float64 { return r[at].hit.perPacket() }
	}
	miss := func(at int) func([]filterRound) float64 {
		return func(r []filterRound) float64 { return r[at].miss.perPacket() }
	}
	ratio := func(a, b func([]filterRound) float64) float64 {
		return figure(func(r []filterRound) float64 { return a(r) / b(r) }).median
	}
	base := max(slices.Index(sizes, missBase), 0)
	hits, misses := figure(hit(i)), figure(miss(i))
	row := FilterRow{
		Case: fmt.Sprintf("%s with %d filters", b.load.site.traffic(), sizes[i]), Traffic: b.load.site.traffic(), Filters: sizes[i], Size: b.load.size, Flows: b.load.flows,
		HitCycles: hits.median, HitCyclesMin: hits.min, HitCyclesMax: hits.max,
		MissCycles: misses.median, MissCyclesMin: misses.min, MissCyclesMax: misses.max,
		HitRatio: ratio(hit(i), hit(0)), HitTarget: hitTarget,
		MissRatio: ratio(miss(i), miss(base)), MissTarget: missTarget,
		FloodShare: ratio(hit(i), miss(i)), FloodTarget: floodTarget,
		Windows: len(rounds), TSCHz: eal.TSCHz(), Machine: machine,
	}
	for _, r := range rounds {
		row.Packets += r[i].hit.packets + r[i].miss.packets
	}
	return row
}

func (s *site) traffic() string {
	if s.tunnel {
		return string(Outbound)
	}
	return "permit"
}

// measureSwap goes from a small policy to a large one a few times, with the garbage collector as a gateway has it.
func (b *bed) measureSwap(small, large int, machine Machine) (row SwapRow, err error) {
	var seconds []float64
	row = SwapRow{Case: fmt.Sprintf("swap to %s with %d filters", b.load.site.traffic(), large), SwapFilters: large,
		SecondsTarget: swapSeconds, MemoryTarget: swapMB, Swaps: swaps, Machine: machine}
	for range swaps {
		if _, err := b.applySite(b.load.site.set(small, b.load.suite.String())); err != nil {
			return row, err
		}
		set := b.load.site.set(large, b.load.suite.String())
		before, err := memoryNow()
		if err != nil {
			return row, err
		}
		took, err := b.applySite(set)
		if err != nil {
			return row, err
		}
		after, err := memoryPeak()
		if err != nil {
			return row, err
		}
		seconds = append(seconds, took.Seconds())
		row.TableMB = max(row.TableMB, float64(after.heap-before.heap)/(1<<20))
		row.MemoryMB = max(row.MemoryMB, after.since(before, machine.HugePages)/(1<<20))
	}
	s := spreadOfValues(seconds)
	row.Seconds, row.SecondsMin, row.SecondsMax = s.median, s.min, s.max
	return row, nil
}

const filterHeading = `
a policy of many filters, mirrored: pairs of hosts and of prefixes, any to a host's TCP port, a host to any, ranges of ports, and one for the rest;
%d packets of %d bytes, a flow each, half of them written for by a filter; one core, %d rounds; targets in brackets
                     hit: cycles per packet   to the fewest    miss: cycles per packet        to %d       flood: share of
traffic     filters  median (min-max)         filters [%.2f]   median (min-max)         filters [%.0f]   the hit rate [%.2f]
`

func printFilterHeading(w io.Writer, o *Options) {
	fmt.Fprintf(w, filterHeading, siteFlows, siteSize, o.Windows, missBase, hitTarget, missTarget, floodTarget)
}

func printFilterRow(w io.Writer, r *FilterRow) {
	fmt.Fprintf(w, "%-10s %8d  %-25s %-16.3f %-27s %-10.2f %.2f\n", r.Traffic, r.Filters,
		fmt.Sprintf("%.0f (%.0f-%.0f)", r.HitCycles, r.HitCyclesMin, r.HitCyclesMax), r.HitRatio,
		fmt.Sprintf("%.0f (%.0f-%.0f)", r.MissCycles, r.MissCyclesMin, r.MissCyclesMax), r.MissRatio, r.FloodShare)
}

func printSwapRow(w io.Writer, r *SwapRow) {
	fmt.Fprintf(w, "%s: %s (%s-%s) [%s] to compile, build and publish; %.0f MiB [%.0f] at most, %.1f MiB of them DPDK memory that stays\n", r.Case,
		duration(r.Seconds), duration(r.SecondsMin), duration(r.SecondsMax), duration(r.SecondsTarget), r.MemoryMB, r.MemoryTarget, r.TableMB)
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
