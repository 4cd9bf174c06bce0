package bench

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"sallyport/crypto"
	"sallyport/crypto/cryptodev"
	"sallyport/offload"
	"sallyport/perf/report"
	"sallyport/pipeline"
)

const (
	// inlineTarget is the gateway's own share by inline protocol, to that by the CPU, at most.
	inlineTarget = 0.8
	// sessionsTarget is how many sessions a second are made and ended again, at least.
	sessionsTarget = 5000
)

// NIC does inline protocol for a port: a software one, in programs that have it (package softnic).
type NIC interface {
	// Work is the packets that it has encrypted and decrypted, and the TSC cycles that it took of the workers' time for that: a card takes none.
	Work() (packets, cycles uint64)
	Detach() error
}

// card is the NIC of a bed's wan port with the planner that makes its sessions. It implements pipeline.Inline: a data plane is made before its ports
// are, and the NIC after them.
type card struct {
	port    uint16
	nic     NIC
	planner *offload.Planner
	live    atomic.Int64 // sessions, which drivers are asked for beside all else
}

func (c *card) open(l load, devices *cryptodev.Pool) error {
	nic, err := l.nic(c.port, l.workers)
	if err != nil {
		return err
	}
	c.nic = nic
	c.planner, err = offload.New(offload.Config{
		Ports: []offload.Port{{Name: "wan", WAN: true, ID: c.port, Driver: "the software NIC", Socket: cryptodev.SocketAny}}, Crypto: devices, Sessions: l.sas(),
	})
	return err
}

func (c *card) close() error {
	var errs []error
	if c.planner != nil {
		errs = append(errs, c.planner.Stop())
	}
	if c.nic != nil {
		errs = append(errs, c.nic.Detach())
	}
	return errors.Join(errs...)
}

// Offers implements pipeline.Inline.
func (c *card) Offers(port uint16) bool { return port == c.port }

// Open implements pipeline.Inline. The NIC checks for no replay: the file brings the same numbers again, and nobody but the NIC can set its window back.
func (c *card) Open(port uint16, sa *pipeline.InlineSA) (pipeline.InlineSession, error) {
	wanted := *sa
	wanted.ReplayWindow = 0
	session, err := c.planner.Open(port, &wanted)
	if err == nil {
		c.live.Add(1)
	}
	return session, err
}

// Close implements pipeline.Inline.
func (c *card) Close(session pipeline.InlineSession) error {
	c.live.Add(-1)
	return c.planner.Close(session)
}

// Removed implements pipeline.Inline.
func (c *card) Removed(port uint16) bool { return c.planner.Removed(port) }

// Lose implements pipeline.Inline.
func (c *card) Lose(port uint16) { c.planner.Lose(port) }

// Probe implements pipeline.Inline.
func (c *card) Probe(port uint16) error { return c.planner.Probe(port) }

// InlineRow is one flow by inline protocol of a software NIC, beside the same by the CPU. Own is the gateway's own share: all that a packet costs but the floor, which is to take it
// from the source and the crypto alone. By inline protocol that is what the NIC takes of the worker's time, in the same windows: its callbacks as a whole, headers, numbers and lookups with
// the crypto, and the clock that they are measured by. The two take turns, and the ratio is the median of those within a round.
type InlineRow struct {
	Row
	Own            float64 `json:"own_cycles_per_packet"`
	OwnMin         float64 `json:"own_cycles_per_packet_min"`
	OwnMax         float64 `json:"own_cycles_per_packet_max"`
	CPU            float64 `json:"cpu_cycles_per_packet"`
	CPUOwn         float64 `json:"cpu_own_cycles_per_packet"`
	CPUOwnMin      float64 `json:"cpu_own_cycles_per_packet_min"`
	CPUOwnMax      float64 `json:"cpu_own_cycles_per_packet_max"`
	OwnRatio       float64 `json:"own_ratio"`
	OwnRatioMin    float64 `json:"own_ratio_min"`
	OwnRatioMax    float64 `json:"own_ratio_max"`
	OwnRatioTarget float64 `json:"own_ratio_target"`

	own, ownRatio []float64
}

// SessionsRow is how fast SAs with inline sessions come and go, one at a time, in the data plane: everything that is done for an SA is in it. Rate counts
// sessions that are made and ended.
type SessionsRow struct {
	Table      string         `json:"table"`
	Direction  string         `json:"direction"`
	Sessions   int            `json:"sessions"`
	Made       float64        `json:"made_per_second"`
	Ended      float64        `json:"ended_per_second"`
	Rate       float64        `json:"rate_per_second"`
	RateMin    float64        `json:"rate_per_second_min"`
	RateMax    float64        `json:"rate_per_second_max"`
	RateTarget float64        `json:"rate_per_second_target"`
	Repeated   int            `json:"repeated"`
	Machine    report.Machine `json:"machine"`

	made, ended, rate []float64
}

func (o *Options) inlineTable() table {
	var t table
	if o.NIC == nil {
		t.run = func(*stand) ([]any, error) {
			fmt.Fprintf(o.Out, "\ninline protocol: not measured, this program has no software NIC; that of make bench has\n")
			return nil, nil
		}
		return t
	}
	sessions := 10000
	if o.Quick {
		sessions = 100
	}
	var many []load
	for _, direction := range o.Directions {
		cpu := load{suite: cheapest, direction: direction, size: tunnelsSize, flows: 1, tunnels: 1, source: smallSource, order: randomOrder(1), workers: 1}
		inline := cpu
		inline.nic = o.NIC
		t.loads = append(t.loads, []load{cpu, inline})
		churn := inline
		churn.flows, churn.tunnels, churn.order = sessions, sessions, randomOrder(sessions)
		many = append(many, churn)
	}
	pairs := t.loads
	for _, churn := range many {
		t.loads = append(t.loads, []load{churn})
	}
	t.run = func(s *stand) (all []any, err error) {
		fmt.Fprintf(o.Out, inlineHeading, tunnelsSize, inlineTarget)
		for _, loads := range pairs {
			rows, rounds, err := s.measure(tableInline, o.Windows, loads...)
			if err != nil {
				return nil, err
			}
			row := inlineRow(rows, rounds)
			printInlineRow(o.Out, &rows[0], &row)
			all = append(all, row)
		}
		fmt.Fprintf(o.Out, sessionsHeading, sessionsTarget)
		for _, churn := range many {
			row, err := s.sessions(churn)
			if err != nil {
				return nil, err
			}
			printSessionsRow(o.Out, &row)
			all = append(all, row)
		}
		return all, nil
	}
	return t
}

func inlineRow(rows []Row, rounds [][]round) InlineRow {
	cpu, inline := spreadOf(rounds[0], round.own), spreadOf(rounds[1], round.own)
	ratio := ratios(rounds[1], rounds[0], round.own)
	return InlineRow{Row: rows[1], Own: inline.median, OwnMin: inline.min, OwnMax: inline.max,
		CPU: rows[0].CyclesPerPacket, CPUOwn: cpu.median, CPUOwnMin: cpu.min, CPUOwnMax: cpu.max,
		OwnRatio: ratio.median, OwnRatioMin: ratio.min, OwnRatioMax: ratio.max, OwnRatioTarget: inlineTarget, own: inline.values, ownRatio: ratio.values}
}

// sessions makes and ends the SAs of a load some times over.
func (s *stand) sessions(l load) (row SessionsRow, err error) {
	const repeated = 5
	beds, err := newBeds(s.ctx, s.folder, l)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, beds.close()) }()
	octets := make([]byte, l.suite.KeymatLen())
	if _, err := rand.Read(octets); err != nil {
		return row, err
	}
	keymat := crypto.NewSecret(octets)
	defer keymat.Wipe()
	b := beds.list[0]
	if err := b.remove(); err != nil { // what it began with
		return row, err
	}
	var made, ended, rate []float64
	for range repeated {
		if err := s.ctx.Err(); err != nil {
			return row, err
		}
		if l.direction == Inbound { // with the SAs their SPIs have gone
			if err := b.allocate(); err != nil {
				return row, err
			}
		}
		start := time.Now()
		if err := b.install(keymat); err != nil {
			return row, err
		}
		up := time.Now()
		if err := b.remove(); err != nil {
			return row, err
		}
		down := time.Now()
		n := float64(l.sas())
		made, ended, rate = append(made, n/up.Sub(start).Seconds()), append(ended, n/down.Sub(up).Seconds()), append(rate, n/down.Sub(start).Seconds())
	}
	of := spreadOfValues(rate)
	return SessionsRow{Table: tableInline, Direction: string(l.direction), Sessions: l.sas(), Made: spreadOfValues(made).median, Ended: spreadOfValues(ended).median,
		Rate: of.median, RateMin: of.min, RateMax: of.max, RateTarget: sessionsTarget, Repeated: repeated, Machine: s.machine,
		made: made, ended: ended, rate: rate}, nil
}

const inlineHeading = `
inline: AES-GCM-128 by inline protocol of a software NIC, packets of %d bytes, beside the CPU; cycles per packet. The gateway's own share is all but source
and crypto: by the CPU that of the floor, by the NIC its callbacks in the same windows, headers and lookups with it. What either does to caches is in the share
            CPU                                            inline                                         own share, inline to CPU
direction   total = source + crypto + own (min-max)        total = source +    NIC + own (min-max)        [%.2f]
`

func printInlineRow(w io.Writer, cpu *Row, inline *InlineRow) {
	line := func(r *Row, own, low, high float64) string {
		return fmt.Sprintf("%5.0f = %6.0f + %6.0f + %-22s", r.CyclesPerPacket, r.SourceCyclesPerPacket, r.CryptoCyclesPerPacket, fmt.Sprintf("%.0f (%.0f-%.0f)", own, low, high))
	}
	fmt.Fprintf(w, "%-10s  %s  %s  %.2f (%.2f-%.2f)\n", inline.Direction, line(cpu, inline.CPUOwn, inline.CPUOwnMin, inline.CPUOwnMax),
		line(&inline.Row, inline.Own, inline.OwnMin, inline.OwnMax), inline.OwnRatio, inline.OwnRatioMin, inline.OwnRatioMax)
}

const sessionsHeading = `
SAs with inline sessions, one after the other, a second
direction  sessions   made    ended   made and ended (min-max) [%d]
`

func printSessionsRow(w io.Writer, r *SessionsRow) {
	fmt.Fprintf(w, "%-10s %8d  %6.0f  %6.0f   %.0f (%.0f-%.0f)\n", r.Direction, r.Sessions, r.Made, r.Ended, r.Rate, r.RateMin, r.RateMax)
}
