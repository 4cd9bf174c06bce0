package bench

import (
	"fmt"
	"io"

	"sallyport/crypto/cryptodev"
)

// lookasideTarget is what a packet of the largest size may cost by the queues of a crypto device, to one by cpu-crypto of the same device.
const lookasideTarget = 1.25

// OffloadRow is one flow by the queues of crypto_aesni_mb, a burst at a time, beside the same by cpu-crypto of such a device. The two take
// turns, and the ratio is the median of those within a round.
type OffloadRow struct {
	Row
	CPURatio       float64 `json:"cpu_crypto_ratio"`
	CPURatioMin    float64 `json:"cpu_crypto_ratio_min"`
	CPURatioMax    float64 `json:"cpu_crypto_ratio_max"`
	CPURatioTarget float64 `json:"cpu_crypto_ratio_target,omitempty"`

	cpuRatio []float64
}

func (o *Options) offloadTable() table {
	var t table
	for _, direction := range o.Directions {
		for _, size := range []int{64, largeSize} {
			cpu := load{suite: cheapest, direction: direction, size: size, flows: 1, tunnels: 1, source: smallSource, order: randomOrder(1), workers: 1, class: cryptodev.ClassCPU}
			lookaside := cpu
			lookaside.class = cryptodev.ClassSoftware
			t.loads = append(t.loads, []load{cpu, lookaside})
		}
	}
	t.run = func(s *stand) (all []any, err error) {
		fmt.Fprintf(o.Out, offloadHeading, burst, lookasideTarget)
		for _, loads := range t.loads {
			rows, rounds, err := s.measure(tableOffload, o.Windows, loads...)
			if err != nil {
				return nil, err
			}
			row := offloadRow(rows[1], rounds[0], rounds[1])
			printOffloadRow(o.Out, &rows[0], &row)
			all = append(all, rows[0], row)
		}
		return all, nil
	}
	return t
}

func offloadRow(row Row, cpu, lookaside []round) OffloadRow {
	ratio := ratios(lookaside, cpu, round.perPacket)
	r := OffloadRow{Row: row, CPURatio: ratio.median, CPURatioMin: ratio.min, CPURatioMax: ratio.max, cpuRatio: ratio.values}
	if row.Size == largeSize {
		r.CPURatioTarget = lookasideTarget
	}
	return r
}

const offloadHeading = `
lookaside: AES-GCM-128 by the queues of crypto_aesni_mb, bursts of %d, beside cpu-crypto of the same device; cycles per packet
                   cpu-crypto              lookaside               lookaside to cpu-crypto [1400 bytes: %.2f]
direction    size  median (min-max)        median (min-max)        median (min-max)
`

func printOffloadRow(w io.Writer, cpu *Row, lookaside *OffloadRow) {
	cycles := func(r *Row) string {
		return fmt.Sprintf("%.0f (%.0f-%.0f)", r.CyclesPerPacket, r.CyclesPerPacketMin, r.CyclesPerPacketMax)
	}
	fmt.Fprintf(w, "%-10s %6.0f  %-22s  %-22s  %.2f (%.2f-%.2f)\n", cpu.Direction, cpu.Size, cycles(cpu), cycles(&lookaside.Row),
		lookaside.CPURatio, lookaside.CPURatioMin, lookaside.CPURatioMax)
}
