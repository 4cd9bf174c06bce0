package bench

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"

	"sallyport/pmd/eal"
)

// round is one window of each kind, one right after the other: the machine is about the same for all three.
type round struct {
	gateway, source, crypto measured
}

func (r round) floor() float64 { return r.source.perPacket() + r.crypto.perPacket() }
func (r round) ratio() float64 { return r.gateway.perPacket() / r.floor() }

// measure runs the windows of a row on the data core. Before the first the gateway has seen every flow.
func (b *bed) measure(ctx context.Context, core *thread, window uint64, windows int) ([]round, error) {
	defer quietCollector()()
	var rounds []round
	var sent uint64
	gateway := func(cycles uint64) (m measured, err error) {
		m.packets, m.cycles, err = b.plane.RunFor(0, cycles, b.load.pass())
		sent += m.packets
		return m, err
	}
	err := core.do(func() error {
		if _, err := gateway(0); err != nil {
			return err
		}
		for range windows {
			var r round
			var err error
			if err = ctx.Err(); err != nil {
				return err
			}
			if r.gateway, err = gateway(window); err != nil {
				return err
			}
			if r.source, err = source(b.source, b.load.pass(), window); err != nil {
				return err
			}
			r.crypto = b.crypto.run(window)
			rounds = append(rounds, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rounds, b.check(sent)
}

// quietCollector keeps Go's garbage collector from running until the returned function is called: it would take memory
// bandwidth from the data core.
func quietCollector() func() {
	runtime.GC()
	percent := debug.SetGCPercent(-1)
	return func() { debug.SetGCPercent(percent) }
}

// spread is a figure over all windows.
type spread struct {
	median, min, max float64
}

func spreadOf(rounds []round, figure func(round) float64) spread {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = figure(r)
	}
	return spreadOfValues(values)
}

func spreadOfValues(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{median: (values[(n-1)/2] + values[n/2]) / 2, min: values[0], max: values[n-1]}
}

// Row is a line of the table and an object of the JSON array. Figures without a suffix are medians over the windows, but
// for Ratio, which is that of the two medians; with _min and _max they are those of single windows.
//
// Cycles are of the time stamp counter, which runs at a constant rate whatever the core's clock does. Gbps counts the bits
// of inner packets. The floor is what no gateway can avoid: taking the packets from the source and freeing them, plus
// the crypto device alone over the same bytes.
type Row struct {
	Case      string `json:"case"`
	Algorithm string `json:"algorithm"`
	Direction string `json:"direction"`
	Size      int    `json:"size"` // bytes of the inner packet
	Flows     int    `json:"flows"`
	Tunnels   int    `json:"tunnels"`
	Workers   int    `json:"workers"`

	Mpps    float64 `json:"mpps"`
	MppsMin float64 `json:"mpps_min"`
	MppsMax float64 `json:"mpps_max"`
	Gbps    float64 `json:"gbps"`
	GbpsMin float64 `json:"gbps_min"`
	GbpsMax float64 `json:"gbps_max"`

	CyclesPerPacket    float64 `json:"cycles_per_packet"`
	CyclesPerPacketMin float64 `json:"cycles_per_packet_min"`
	CyclesPerPacketMax float64 `json:"cycles_per_packet_max"`

	FloorCyclesPerPacket    float64 `json:"floor_cycles_per_packet"`
	FloorCyclesPerPacketMin float64 `json:"floor_cycles_per_packet_min"`
	FloorCyclesPerPacketMax float64 `json:"floor_cycles_per_packet_max"`
	SourceCyclesPerPacket   float64 `json:"source_cycles_per_packet"` // the floor's parts
	CryptoCyclesPerPacket   float64 `json:"crypto_cycles_per_packet"`

	Ratio    float64 `json:"ratio"`
	RatioMin float64 `json:"ratio_min"`
	RatioMax float64 `json:"ratio_max"`

	Windows int     `json:"windows"`
	Packets uint64  `json:"packets"`  // through the gateway in all windows
	SABytes float64 `json:"sa_bytes"` // DPDK memory of an SA of this direction beside its crypto session
	TSCHz   uint64  `json:"tsc_hz"`   // cycles in a second
	Machine Machine `json:"machine"`
}

func (b *bed) row(rounds []round, machine Machine) Row {
	hz := float64(eal.TSCHz())
	cycles := spreadOf(rounds, func(r round) float64 { return r.gateway.perPacket() })
	floor := spreadOf(rounds, round.floor)
	ratio := spreadOf(rounds, round.ratio)
	mpps := func(cycles float64) float64 { return hz / cycles / 1e6 }
	gbps := func(cycles float64) float64 { return mpps(cycles) * float64(b.load.size) * 8 / 1e3 }
	row := Row{
		Case: b.load.String(), Algorithm: b.load.suite.String(), Direction: string(b.load.direction),
		Size: b.load.size, Flows: b.load.flows, Tunnels: b.load.tunnels, Workers: 1,
		Mpps: mpps(cycles.median), MppsMin: mpps(cycles.max), MppsMax: mpps(cycles.min),
		Gbps: gbps(cycles.median), GbpsMin: gbps(cycles.max), GbpsMax: gbps(cycles.min),
		CyclesPerPacket: cycles.median, CyclesPerPacketMin: cycles.min, CyclesPerPacketMax: cycles.max,
		FloorCyclesPerPacket: floor.median, FloorCyclesPerPacketMin: floor.min, FloorCyclesPerPacketMax: floor.max,
		SourceCyclesPerPacket: spreadOf(rounds, func(r round) float64 { return r.source.perPacket() }).median,
		CryptoCyclesPerPacket: spreadOf(rounds, func(r round) float64 { return r.crypto.perPacket() }).median,
		Ratio:                 cycles.median / floor.median, RatioMin: ratio.min, RatioMax: ratio.max,
		Windows: len(rounds), SABytes: b.saSize, TSCHz: eal.TSCHz(), Machine: machine,
	}
	for _, r := range rounds {
		row.Packets += r.gateway.packets
	}
	return row
}
