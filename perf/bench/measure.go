package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"sallyport/perf/report"
	"sallyport/pmd/eal"
)

// round is one window of each kind, one right after the other: the machine is about the same for all three.
type round struct {
	gateway, source, crypto measured
}

func (r round) floor() float64     { return r.source.perPacket() + r.crypto.perPacket() }
func (r round) ratio() float64     { return r.gateway.perPacket() / r.floor() }
func (r round) perPacket() float64 { return r.gateway.perPacket() }

// own is the gateway's own share: what it does that the floor does not.
func (r round) own() float64 { return r.perPacket() - r.floor() }

// together runs f for each worker at the same time, on its data core, and adds up what they measured: the cycles are those in
// which all of them together did the packets.
func together(cores []*thread, f func(worker int) (measured, error)) (sum measured, err error) {
	each, results := make([]measured, len(cores)), make([]<-chan error, len(cores))
	for worker, core := range cores {
		results[worker] = core.start(func() (err error) {
			each[worker], err = f(worker)
			return err
		})
	}
	for _, result := range results {
		err = errors.Join(err, <-result)
	}
	rate := 0.0 // packets in a cycle
	for _, m := range each {
		sum.packets += m.packets
		rate += float64(m.packets) / m.cycles
	}
	sum.cycles = float64(sum.packets) / rate
	return sum, err
}

// gatewayWindow is one of the gateway. sent counts the packets of each worker.
func (b *bed) gatewayWindow(cores []*thread, cycles uint64, sent []uint64) (measured, error) {
	return together(cores, func(worker int) (measured, error) {
		packets, spent, err := b.plane.RunFor(worker, cycles, b.load.pass())
		sent[worker] += packets
		return measured{packets, float64(spent)}, err
	})
}

func (b *bed) round(cores []*thread, window uint64, sent []uint64) (r round, err error) {
	for range b.load.lead {
		if _, err := b.gatewayWindow(cores, window, sent); err != nil {
			return r, err
		}
	}
	before := b.nicWork()
	if r.gateway, err = b.gatewayWindow(cores, window, sent); err != nil {
		return r, err
	}
	between := b.nicWork()
	r.source, err = together(cores, func(worker int) (measured, error) { return source(b.source, worker, b.load.pass(), window) })
	if err != nil {
		return r, err
	}
	if b.card != nil { // the NIC does the crypto, and does it in the source's window too if that is its port
		r.crypto = between.since(before)
		r.source.cycles -= b.nicWork().since(between).cycles
		if r.crypto.packets != r.gateway.packets {
			return r, fmt.Errorf("bench: %s: the figures are void: the NIC took %d packets, expected all %d of the measurement", b.load, r.crypto.packets, r.gateway.packets)
		}
		return r, nil
	}
	r.crypto, err = together(cores, func(worker int) (measured, error) { return b.crypto[worker].run(window) })
	return r, err
}

// measure runs the windows of each bed, in turns, on as many of the data cores as it has workers. Before the first the
// gateways have seen every flow.
func (s *beds) measure(ctx context.Context, cores []*thread, window uint64, windows int) (rounds [][]round, err error) {
	defer quietCollector()()
	rounds = make([][]round, len(s.list))
	sent := make([][]uint64, len(s.list))
	for i, b := range s.list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sent[i] = make([]uint64, b.load.workers)
		if _, err := b.gatewayWindow(cores[:b.load.workers], 0, sent[i]); err != nil {
			return nil, err
		}
	}
	for range windows {
		for i, b := range s.list {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r, err := b.round(cores[:b.load.workers], window, sent[i])
			if err != nil {
				return nil, err
			}
			rounds[i] = append(rounds[i], r)
		}
	}
	for i, b := range s.list {
		err = errors.Join(err, b.check(sent[i]))
	}
	return rounds, err
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
	values           []float64 // in their order
	median, min, max float64
}

func spreadOf(rounds []round, figure func(round) float64) spread {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = figure(r)
	}
	return spreadOfValues(values)
}

// ratios is a figure of one bed to that of another, in the same rounds.
func ratios(of, to []round, figure func(round) float64) spread {
	values := make([]float64, len(of))
	for i := range of {
		values[i] = figure(of[i]) / figure(to[i])
	}
	return spreadOfValues(values)
}

func spreadOfValues(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{values: values, median: (sorted[(n-1)/2] + sorted[n/2]) / 2, min: sorted[0], max: sorted[n-1]}
}

// Row is a line of the table and an object of the JSON array. Figures without a suffix are medians over the windows, but
// for Ratio, which is that of the two medians; with _min and _max they are those of single windows.
//
// Cycles are of the time stamp counter, which runs at a constant rate whatever the core's clock does. Gbps counts the bits
// of inner packets. The floor is what no gateway can avoid: taking the packets from the source and freeing them, plus
// crypto alone over the same bytes.
type Row struct {
	Table         string  `json:"table"`
	Case          string  `json:"case"`
	Algorithm     string  `json:"algorithm"`
	Encapsulation string  `json:"encapsulation"`
	Direction     string  `json:"direction"`
	Size          float64 `json:"size"` // bytes of the inner packets, in the mean
	Flows         int     `json:"flows"`
	Tunnels       int     `json:"tunnels"`
	Workers       int     `json:"workers"`        // their packets are added up
	SourcePackets int     `json:"source_packets"` // in the file that each of them receives over and over

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
	FloorCrypto             string  `json:"floor_crypto"` // who does the floor's crypto

	Ratio       float64 `json:"ratio"`
	RatioMin    float64 `json:"ratio_min"`
	RatioMax    float64 `json:"ratio_max"`
	RatioTarget float64 `json:"ratio_target,omitempty"`

	Windows int            `json:"windows"`
	Packets uint64         `json:"packets"`  // through the gateway in all windows
	SABytes float64        `json:"sa_bytes"` // DPDK memory of an SA of this direction beside its crypto session
	TSCHz   uint64         `json:"tsc_hz"`   // cycles in a second
	Machine report.Machine `json:"machine"`

	rounds []round // behind all that
}

func (b *bed) row(table string, rounds []round, machine report.Machine) Row {
	hz := float64(eal.TSCHz())
	cycles := spreadOf(rounds, round.perPacket)
	floor := spreadOf(rounds, round.floor)
	ratio := spreadOf(rounds, round.ratio)
	mpps := func(cycles float64) float64 { return hz / cycles / 1e6 }
	gbps := func(cycles float64) float64 { return mpps(cycles) * b.load.meanSize() * 8 / 1e3 }
	row := Row{
		Table: table, Case: b.load.String(), Algorithm: b.load.suite.String(), Encapsulation: b.load.encapsulationText(),
		Direction: string(b.load.direction),
		Size:      b.load.meanSize(), Flows: b.load.flows * b.load.workers, Tunnels: b.load.tunnels, Workers: b.load.workers,
		SourcePackets: b.load.pass(),
		Mpps:          mpps(cycles.median), MppsMin: mpps(cycles.max), MppsMax: mpps(cycles.min),
		Gbps: gbps(cycles.median), GbpsMin: gbps(cycles.max), GbpsMax: gbps(cycles.min),
		CyclesPerPacket: cycles.median, CyclesPerPacketMin: cycles.min, CyclesPerPacketMax: cycles.max,
		FloorCyclesPerPacket: floor.median, FloorCyclesPerPacketMin: floor.min, FloorCyclesPerPacketMax: floor.max,
		SourceCyclesPerPacket: spreadOf(rounds, func(r round) float64 { return r.source.perPacket() }).median,
		CryptoCyclesPerPacket: spreadOf(rounds, func(r round) float64 { return r.crypto.perPacket() }).median,
		FloorCrypto:           b.cryptoName(),
		Ratio:                 cycles.median / floor.median, RatioMin: ratio.min, RatioMax: ratio.max, RatioTarget: b.load.target,
		Windows: len(rounds), SABytes: b.saSize, TSCHz: eal.TSCHz(), Machine: machine,
		rounds: rounds,
	}
	for _, r := range rounds {
		row.Packets += r.gateway.packets
	}
	return row
}
