package bench

import (
	"fmt"
	"io"
)

// workersTarget is how much two workers on two cores should forward, to what one does.
const workersTarget = 1.8

// WorkersRow is two workers beside one: each has a core, a queue with a file and flows of its own, and in the same tunnel an SA
// of its own. One worker is measured in a data plane that has no other. The two take turns, and the ratios are medians of
// those within a round. Floor is what the same two cores do without a gateway, taken together, and so what the machine allows.
type WorkersRow struct {
	Row
	Speedup       float64 `json:"one_worker_rate_ratio"` // packets per second, to those of one worker
	SpeedupMin    float64 `json:"one_worker_rate_ratio_min"`
	SpeedupMax    float64 `json:"one_worker_rate_ratio_max"`
	SpeedupTarget float64 `json:"one_worker_rate_ratio_target"`
	FloorSpeedup  float64 `json:"floor_rate_ratio"`
	Siblings      bool    `json:"siblings"` // the two CPUs share a physical core: nothing runs twice as fast on both

	speedup []float64
}

func (o *Options) workersTable() table {
	const flows = 1000 // of each worker
	var t table
	for _, direction := range o.Directions {
		for _, size := range []int{64, largeSize} {
			one := load{suite: cheapest, direction: direction, size: size, flows: flows, tunnels: 1, order: randomOrder(flows), workers: 1}
			two := one
			two.workers = 2
			t.loads = append(t.loads, []load{one, two})
		}
	}
	t.run = func(s *stand) (all []any, err error) {
		if len(s.cores) < 2 {
			fmt.Fprintf(o.Out, "\ntwo workers: not measured, this process may use one CPU only\n")
			return nil, nil
		}
		siblings, err := s.machine.Siblings()
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(o.Out, workersHeading, s.machine.Core, s.machine.SecondCore, coreSharing(siblings), flows, workersTarget)
		for _, loads := range t.loads {
			rows, rounds, err := s.measure(tableWorkers, o.Windows, loads...)
			if err != nil {
				return nil, err
			}
			row := workersRow(rows[1], rounds[0], rounds[1], siblings)
			printWorkersRow(o.Out, &rows[0], &row)
			all = append(all, rows[0], row)
		}
		return all, nil
	}
	return t
}

func workersRow(row Row, one, two []round, siblings bool) WorkersRow {
	speedup, floor := ratios(one, two, round.perPacket), ratios(one, two, round.floor)
	return WorkersRow{Row: row, Speedup: speedup.median, SpeedupMin: speedup.min, SpeedupMax: speedup.max, SpeedupTarget: workersTarget,
		FloorSpeedup: floor.median, Siblings: siblings, speedup: speedup.values}
}

func coreSharing(siblings bool) string {
	if siblings {
		return "two threads of one physical core: expect far less than twice as much"
	}
	return "of different cores, as far as this system knows"
}

const workersHeading = `
two workers on CPUs %d and %d, %s; AES-GCM-128, one tunnel, an SA and %d flows for each worker
                   one worker      two workers      rate, to one worker [%.2f]   the floor's rate, two
direction    size  Mpps    Gbps    Mpps    Gbps     median (min-max)            cores to one
`

func printWorkersRow(w io.Writer, one *Row, two *WorkersRow) {
	fmt.Fprintf(w, "%-10s %6.0f  %-7.2f %-7.2f %-7.2f %-7.2f  %-26s  %.2f\n", two.Direction, two.Size, one.Mpps, one.Gbps, two.Mpps, two.Gbps,
		fmt.Sprintf("%.2f (%.2f-%.2f)", two.Speedup, two.SpeedupMin, two.SpeedupMax), two.FloorSpeedup)
}
