package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"sallyport/perf/report"
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

// FilterRow is what packets of 64 bytes cost with a policy of some size, through the whole gateway. Hits are of flows that meet
// the same few filters in every policy, because counting for thousands of filters is a cost of its own. Flood is one packet of
// each of many flows, half of them for a filter that may be any: all miss the flow cache, and for comparison all hit it. All
// policies take turns within a round, and the ratios are medians of those within a round.
type FilterRow struct {
	Case    string `json:"case"`
	Traffic string `json:"traffic"` // permit: forwarded in clear; outbound: into a tunnel
	Filters int    `json:"filters"`
	Size    int    `json:"size"`

	HitCycles         float64 `json:"hit_cycles_per_packet"`
	HitCyclesMin      float64 `json:"hit_cycles_per_packet_min"`
	HitCyclesMax      float64 `json:"hit_cycles_per_packet_max"`
	MissCycles        float64 `json:"miss_cycles_per_packet"` // of the flood
	MissCyclesMin     float64 `json:"miss_cycles_per_packet_min"`
	MissCyclesMax     float64 `json:"miss_cycles_per_packet_max"`
	FloodHitCycles    float64 `json:"flood_hit_cycles_per_packet"` // the same packets, known
	FloodHitCyclesMin float64 `json:"flood_hit_cycles_per_packet_min"`
	FloodHitCyclesMax float64 `json:"flood_hit_cycles_per_packet_max"`

	HitRatio    float64 `json:"hit_ratio"` // to the policy with the fewest filters
	HitTarget   float64 `json:"hit_ratio_target"`
	MissRatio   float64 `json:"miss_ratio"` // to the policy of 100 filters, or else of the fewest
	MissTarget  float64 `json:"miss_ratio_target"`
	FloodShare  float64 `json:"flood_share"` // rate of misses, to that of hits
	FloodTarget float64 `json:"flood_share_target"`

	Windows int            `json:"windows"`
	Packets uint64         `json:"packets"`
	TSCHz   uint64         `json:"tsc_hz"`
	Machine report.Machine `json:"machine"`

	rounds                          []filterRound // behind all that
	hitRatio, missRatio, floodShare []float64
}

// SwapRow is what putting a policy in force costs: compiling it, building its tables and publishing them, while those of
// another one are in force. Memory is the most that the process took more than before, DPDK's included.
type SwapRow struct {
	Case          string         `json:"case"`
	SwapFilters   int            `json:"swap_filters"`
	Seconds       float64        `json:"seconds"`
	SecondsMin    float64        `json:"seconds_min"`
	SecondsMax    float64        `json:"seconds_max"`
	SecondsTarget float64        `json:"seconds_target"`
	MemoryMB      float64        `json:"memory_mb"` // MiB
	MemoryTarget  float64        `json:"memory_mb_target"`
	TableMB       float64        `json:"table_mb"` // MiB of DPDK memory for the tables while they are in force
	Swaps         int            `json:"swaps"`
	Machine       report.Machine `json:"machine"`

	seconds []float64
}

// filterRound is the windows with one policy.
type filterRound struct{ hit, miss, floodHit measured }

// policiesTable has policies of many filters, with permitted and with protected traffic.
func (o *Options) policiesTable() table {
	t := table{loads: [][]load{{siteLoad(true, true)}}, filters: o.Filters}
	t.run = func(s *stand) (all []any, err error) {
		printFilterHeading(o.Out, o)
		for _, tunnel := range []bool{false, true} {
			rows, swap, err := o.measureFilters(s, tunnel)
			if err != nil {
				return nil, err
			}
			for _, row := range rows {
				printFilterRow(o.Out, &row)
			}
			printSwapRow(o.Out, &swap)
			all = append(append(all, anyRows(rows)...), swap)
		}
		return all, nil
	}
	return t
}

// measureFilters makes the rows of one kind of traffic.
func (o *Options) measureFilters(s *stand, tunnel bool) (rows []FilterRow, swap SwapRow, err error) {
	rounds := make([][]filterRound, o.Windows)
	for i := range rounds {
		rounds[i] = make([]filterRound, len(o.Filters))
	}
	for _, flood := range []bool{false, true} {
		if swap, err = o.measureSite(s, siteLoad(tunnel, flood), flood, rounds); err != nil {
			return nil, swap, err
		}
	}
	for i := range o.Filters {
		rows = append(rows, o.filterRow(siteLoad(tunnel, true).site.traffic(), rounds, i, s.machine))
	}
	return rows, swap, nil
}

// siteLoad is the traffic of a site. Its suite is the cheapest: what policy costs shows most.
func siteLoad(tunnel, flood bool) load {
	l := load{suite: cheapest, direction: Outbound, size: siteSize, flows: knownFlows, tunnels: 1, workers: 1}
	aimed := minFilters - 1
	if flood {
		l.flows, aimed = siteFlows, maxFilters
	}
	l.site = newSite(tunnel, l.flows, aimed)
	return l
}

// measureSite fills in what the rounds have of hits or of the flood; with the flood it measures swaps.
func (o *Options) measureSite(s *stand, l load, flood bool, rounds [][]filterRound) (swap SwapRow, err error) {
	beds, err := newBeds(s.ctx, s.folder, l)
	if err != nil {
		return swap, err
	}
	defer func() { err = errors.Join(err, beds.close()) }()
	b := beds.list[0]
	if err := b.measurePolicies(s, o.Filters, flood, rounds); err != nil || !flood {
		return swap, err
	}
	return b.measureSwap(o.Filters[0], slices.Max(o.Filters), s.machine)
}

// measurePolicies runs the windows of each round, for each size of the policy.
func (b *bed) measurePolicies(s *stand, sizes []int, flood bool, rounds [][]filterRound) error {
	defer quietCollector()()
	var sent uint64
	run := func(kind func(int, uint64, int) (uint64, uint64, error), cycles uint64) (measured, error) {
		packets, spent, err := kind(0, cycles, b.load.pass())
		sent += packets
		return measured{packets, float64(spent)}, err
	}
	windows := func(r *filterRound) (err error) {
		if _, err = run(b.plane.RunFor, 0); err != nil { // after which every flow is known
			return err
		}
		if !flood {
			r.hit, err = run(b.plane.RunFor, s.window)
			return err
		}
		if r.floodHit, err = run(b.plane.RunFor, s.window); err != nil {
			return err
		}
		r.miss, err = run(b.plane.RunMissesFor, s.window)
		return err
	}
	for round := range rounds {
		for i, n := range sizes {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			if _, err := b.applySite(b.load.site.set(n, b.load.suite.String())); err != nil {
				return err
			}
			if err := s.cores[0].do(func() error { return windows(&rounds[round][i]) }); err != nil {
				return err
			}
		}
		collectGarbage()
	}
	return b.check([]uint64{sent})
}

func (o *Options) filterRow(traffic string, rounds [][]filterRound, i int, machine report.Machine) FilterRow {
	type figure func([]filterRound) float64
	over := func(of figure) spread {
		values := make([]float64, len(rounds))
		for r := range rounds {
			values[r] = of(rounds[r])
		}
		return spreadOfValues(values)
	}
	hit := func(at int) figure { return func(r []filterRound) float64 { return r[at].hit.perPacket() } }
	miss := func(at int) figure { return func(r []filterRound) float64 { return r[at].miss.perPacket() } }
	floodHit := func(r []filterRound) float64 { return r[i].floodHit.perPacket() }
	ratio := func(a, b figure) spread {
		return over(func(r []filterRound) float64 { return a(r) / b(r) })
	}
	base := max(slices.Index(o.Filters, missBase), 0)
	hits, misses, floodHits := over(hit(i)), over(miss(i)), over(floodHit)
	hitRatio, missRatio, share := ratio(hit(i), hit(0)), ratio(miss(i), miss(base)), ratio(floodHit, miss(i))
	row := FilterRow{
		Case: fmt.Sprintf("%s with %d filters", traffic, o.Filters[i]), Traffic: traffic, Filters: o.Filters[i], Size: siteSize,
		HitCycles: hits.median, HitCyclesMin: hits.min, HitCyclesMax: hits.max,
		MissCycles: misses.median, MissCyclesMin: misses.min, MissCyclesMax: misses.max,
		FloodHitCycles: floodHits.median, FloodHitCyclesMin: floodHits.min, FloodHitCyclesMax: floodHits.max,
		HitRatio: hitRatio.median, HitTarget: hitTarget,
		MissRatio: missRatio.median, MissTarget: missTarget,
		FloodShare: share.median, FloodTarget: floodTarget,
		Windows: len(rounds), TSCHz: eal.TSCHz(), Machine: machine,
		hitRatio: hitRatio.values, missRatio: missRatio.values, floodShare: share.values,
	}
	for _, r := range rounds {
		row.rounds = append(row.rounds, r[i])
		row.Packets += r[i].hit.packets + r[i].miss.packets + r[i].floodHit.packets
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
func (b *bed) measureSwap(small, large int, machine report.Machine) (row SwapRow, err error) {
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
	row.Seconds, row.SecondsMin, row.SecondsMax, row.seconds = s.median, s.min, s.max, seconds
	return row, nil
}

const filterHeading = `
a policy of many filters, mirrored: pairs of hosts and of prefixes, any to a host's TCP port, a host to any, ranges of ports, and one for the rest.
hit: %d flows that meet the same filters in every policy; flood: %d packets, a flow each, half of them for any of %d filters, the rest for the last.
packets of %d bytes; one core, cycles per packet; %d rounds, in which all policies take turns; targets in brackets
                     hit                   to the fewest   flood, all miss       to %d        the same, all hit     share of the
traffic     filters  median (min-max)      filters [%.2f]  median (min-max)      filters [%.0f]  median (min-max)      hit rate [%.2f]
`

func printFilterHeading(w io.Writer, o *Options) {
	fmt.Fprintf(w, filterHeading, knownFlows, siteFlows, maxFilters, siteSize, o.Windows, missBase, hitTarget, missTarget, floodTarget)
}

func printFilterRow(w io.Writer, r *FilterRow) {
	cycles := func(median, low, high float64) string { return fmt.Sprintf("%.0f (%.0f-%.0f)", median, low, high) }
	fmt.Fprintf(w, "%-10s %8d  %-20s  %-14.3f  %-20s  %-11.2f  %-20s  %.2f\n", r.Traffic, r.Filters,
		cycles(r.HitCycles, r.HitCyclesMin, r.HitCyclesMax), r.HitRatio, cycles(r.MissCycles, r.MissCyclesMin, r.MissCyclesMax), r.MissRatio,
		cycles(r.FloodHitCycles, r.FloodHitCyclesMin, r.FloodHitCyclesMax), r.FloodShare)
}

func printSwapRow(w io.Writer, r *SwapRow) {
	fmt.Fprintf(w, "%s: %s (%s-%s) [%s] to compile, build and publish; %.0f MiB [%.0f] at most, %.1f MiB of them DPDK memory that stays\n", r.Case,
		duration(r.Seconds), duration(r.SecondsMin), duration(r.SecondsMax), duration(r.SecondsTarget), r.MemoryMB, r.MemoryTarget, r.TableMB)
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
