package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"sallyport/pipeline"
)

// Profiler takes what a worker's stages have counted since it was last asked, in programs whose fast path counts, and the TSC cycles of
// one look at the clock, which stages have been freed of.
type Profiler func(plane *pipeline.Dataplane, worker int) (stages []Stage, look float64)

// Stage is what a stage of the fast path took.
type Stage struct {
	Name   string  `json:"name"`
	Cycles float64 `json:"cycles_per_packet"` // without those of looks at the clock
	Looks  float64 `json:"looks_per_packet"`  // at the clock
}

// ProfileRow is a row with its cycles by stage, medians over the windows. The row's own cycles are those with all looks at the clock.
type ProfileRow struct {
	Row
	Stages []Stage `json:"stages"`
	Sum    float64 `json:"stages_cycles_per_packet"` // of all stages
	Looks  float64 `json:"looks_cycles_per_packet"`  // which the stages have been freed of
	Whole  float64 `json:"whole_ratio"`              // stages and looks of a window, to what was measured around them
}

func (o *Options) profileTable() table {
	var t table
	if o.Profile == nil {
		t.run = func(*stand) ([]any, error) {
			fmt.Fprintf(o.Out, "\ncycles by stage: not measured, this program counts none; that of make profile does\n")
			return nil, nil
		}
		return t
	}
	many := []struct{ flows, tunnels int }{{maxTunnels, 1}, {100000, 1000}, {maxTunnels, maxTunnels}}
	switch {
	case o.Tunnels > 1:
		many = []struct{ flows, tunnels int }{{slices.Max(o.Flows), o.Tunnels}}
	case o.Quick:
		many = []struct{ flows, tunnels int }{{100, 1}, {100, 100}}
	}
	for _, direction := range o.Directions {
		one := load{suite: cheapest, direction: direction, flows: 1, tunnels: 1, order: randomOrder(1), source: o.SourcePackets, workers: 1, viaDevice: true}
		var loads []load
		for _, size := range o.Sizes {
			one.size = size
			loads = append(loads, one)
		}
		if !slices.Contains(o.Sizes, tunnelsSize) {
			many = nil
		}
		for _, m := range many {
			l := one
			l.size, l.flows, l.tunnels, l.order = tunnelsSize, m.flows, m.tunnels, randomOrder(m.flows)
			loads = append(loads, l)
		}
		for _, l := range loads {
			t.loads = append(t.loads, []load{l})
		}
	}
	t.run = func(s *stand) (all []any, err error) {
		fmt.Fprintf(o.Out, "\ncycles per packet by stage, without those of the looks at the clock; AES-GCM-128, medians of %d windows of %s; the floor's crypto is cpu-crypto\n", o.Windows, o.Window)
		for direction := range slices.Chunk(t.loads, len(t.loads)/len(o.Directions)) {
			var rows []ProfileRow
			for _, loads := range direction {
				row, err := o.profile(s, loads[0])
				if err != nil {
					return nil, err
				}
				rows = append(rows, row)
			}
			printProfile(o.Out, rows)
			all = append(all, anyRows(rows)...)
		}
		return all, nil
	}
	return t
}

// profile measures one load. The gateway runs a window before each that counts: its tables are in the caches as in a gateway at work.
func (o *Options) profile(s *stand, l load) (row ProfileRow, err error) {
	beds, err := newBeds(s.ctx, s.folder, l)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, beds.close()) }()
	defer quietCollector()()
	b := beds.list[0]
	sent := make([]uint64, 1)
	var rounds []round
	var stages [][]Stage // by window
	var looks, whole []float64
	for range o.Windows {
		if err := s.ctx.Err(); err != nil {
			return row, err
		}
		if _, err := b.gatewayWindow(s.cores[:1], s.window, sent); err != nil {
			return row, err
		}
		o.Profile(b.plane, 0)
		r, err := b.round(s.cores[:1], s.window, sent)
		if err != nil {
			return row, err
		}
		counted, look := o.Profile(b.plane, 0)
		looked, sum := 0.0, 0.0
		for i := range counted {
			counted[i].Cycles /= float64(r.gateway.packets)
			counted[i].Looks /= float64(r.gateway.packets)
			looked += look * counted[i].Looks
			sum += counted[i].Cycles
		}
		rounds, stages = append(rounds, r), append(stages, counted)
		looks, whole = append(looks, looked), append(whole, (sum+looked)/r.gateway.perPacket())
	}
	row.Row = b.row(tableProfile, rounds, s.machine)
	for i, stage := range stages[0] {
		stage.Cycles = spreadOfValues(samples(stages, func(of []Stage) float64 { return of[i].Cycles })).median
		stage.Looks = spreadOfValues(samples(stages, func(of []Stage) float64 { return of[i].Looks })).median
		row.Stages = append(row.Stages, stage)
		row.Sum += stage.Cycles
	}
	row.Looks, row.Whole = spreadOfValues(looks).median, spreadOfValues(whole).median
	return row, b.check(sent)
}

// printProfile has a column for each row, all of one direction.
func printProfile(w io.Writer, rows []ProfileRow) {
	line := func(name string, cell func(*ProfileRow) string) {
		fmt.Fprintf(w, "%-22s", name)
		for i := range rows {
			fmt.Fprintf(w, "%9s", cell(&rows[i]))
		}
		fmt.Fprintln(w)
	}
	cycles := func(name string, of func(*ProfileRow) float64) {
		line(name, func(r *ProfileRow) string { return fmt.Sprintf("%.1f", of(r)) })
	}
	line("\n"+rows[0].Direction+", bytes", func(r *ProfileRow) string { return fmt.Sprint(r.Size) })
	line("flows", func(r *ProfileRow) string { return fmt.Sprint(r.Flows) })
	line("tunnels", func(r *ProfileRow) string { return fmt.Sprint(r.Tunnels) })
	for i, stage := range rows[0].Stages {
		if slices.ContainsFunc(rows, func(r ProfileRow) bool { return r.Stages[i].Looks > 0 }) {
			cycles(stage.Name, func(r *ProfileRow) float64 { return r.Stages[i].Cycles })
		}
	}
	cycles("all stages", func(r *ProfileRow) float64 { return r.Sum })
	cycles("looks, taken off", func(r *ProfileRow) float64 { return r.Looks })
	cycles("measured, with looks", func(r *ProfileRow) float64 { return r.CyclesPerPacket })
	cycles("floor: source", func(r *ProfileRow) float64 { return r.SourceCyclesPerPacket })
	cycles("floor: crypto", func(r *ProfileRow) float64 { return r.CryptoCyclesPerPacket })
}
