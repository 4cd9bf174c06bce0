package joined

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport/ike"
)

// The tables that the rows name.
const (
	tableRates  = "ike-over-data-plane"
	tableRekeys = "ike-rekey-under-traffic"
)

// RateRow is how many IKE SAs with one Child SA two gateways make, each with its worker, its slow path and its engine.
type RateRow struct {
	Table        string  `json:"table"`
	Negotiations int     `json:"negotiations"`
	AtOnce       int     `json:"at_once"`
	PerSecond    float64 `json:"ike_sas_per_second"`
	CPUs         int     `json:"cpus"` // of both gateways together, and of what joins them
}

func rates(ctx context.Context, cores [2][]int, out io.Writer, quick bool) (any, error) {
	row := RateRow{Table: tableRates, Negotiations: 4000, AtOnce: 256, CPUs: 1}
	if cores[0][0] != cores[1][0] {
		row.CPUs = 2
	}
	if quick {
		row.Negotiations = 40
	}
	g, err := join(ctx, cores, row.Negotiations)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for begun := 0; err == nil && g.b.up.Load() < int64(row.Negotiations); {
		for ; begun < row.Negotiations && int64(begun)-g.b.up.Load() < int64(row.AtOnce); begun++ {
			g.a.offer(ike.Initiate{Peer: tunnel(begun)})
		}
		err = g.wait(ctx, began)
	}
	took := time.Since(began)
	if closed := g.close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	row.PerSecond = float64(row.Negotiations) / took.Seconds()
	fmt.Fprintf(out, "\nover the data plane, two gateways on %d CPUs: %.0f IKE SAs with one Child SA a second, %d at once, by preshared key\n", row.CPUs, row.PerSecond, row.AtOnce)
	return row, nil
}

const (
	pause = time.Millisecond
	limit = 2 * time.Minute
)

// wait is a moment's pause, unless something has gone wrong.
func (g *gateways) wait(ctx context.Context, since time.Time) error {
	if err := g.failure(); err != nil {
		return err
	}
	if time.Since(since) > limit {
		return fmt.Errorf("joined: not done within %v", limit)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

// RekeyRow is what rekeys do to traffic through the tunnel: packets of a steady rate that did not arrive, and the longest pause between two.
type RekeyRow struct {
	Table          string  `json:"table"`
	PacketsPerSec  int     `json:"packets_per_second"`
	Seconds        float64 `json:"seconds"` // each with and without rekeys
	Rekeys         int64   `json:"rekeys"`
	Sent           uint64  `json:"packets_sent"`
	Lost           uint64  `json:"packets_lost"`
	Late           uint64  `json:"packets_late"`
	LongestMicros  float64 `json:"longest_pause_us"`
	BaselineMicros float64 `json:"longest_pause_without_rekeys_us"`
	BaselineLost   uint64  `json:"packets_lost_without_rekeys"`
}

// rekeys measures a second or two of quiet traffic, and as much with rekeys of the Child SA and of the IKE SA all the time.
func rekeys(ctx context.Context, cores [2][]int, out io.Writer, quick bool) (any, error) {
	row := RekeyRow{Table: tableRekeys, PacketsPerSec: 100_000, Seconds: 5}
	if quick {
		row.PacketsPerSec, row.Seconds = 2000, 0.3
	}
	g, err := join(ctx, cores, 1)
	if err != nil {
		return nil, err
	}
	var quiet, busy *load
	if err = g.establish(ctx); err == nil {
		if quiet, err = g.traffic(ctx, row, false); err == nil {
			before := g.a.rekeyed.Load()
			busy, err = g.traffic(ctx, row, true)
			row.Rekeys = g.a.rekeyed.Load() - before
		}
	}
	if closed := g.close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	row.Sent, row.Lost, row.Late = busy.offered(), busy.offered()-busy.arrived, busy.late
	row.LongestMicros, row.BaselineMicros = float64(busy.longest.Microseconds()), float64(quiet.longest.Microseconds())
	row.BaselineLost = quiet.offered() - quiet.arrived
	fmt.Fprintf(out, "rekeys under %d packets a second: %d rekeys in %.1f s, %d of %d packets lost, %d late; longest pause %.0f us, without rekeys %.0f us and %d lost\n",
		row.PacketsPerSec, row.Rekeys, row.Seconds, row.Lost, row.Sent, row.Late, row.LongestMicros, row.BaselineMicros, row.BaselineLost)
	return row, nil
}

func (g *gateways) establish(ctx context.Context) (err error) {
	g.a.offer(ike.Initiate{Peer: tunnelName})
	for began := time.Now(); err == nil && (g.a.up.Load() < 1 || g.b.up.Load() < 1); {
		err = g.wait(ctx, began)
	}
	return err
}

// rekeyEvery is how soon after a rekey the next one begins.
const rekeyEvery = 25 * time.Millisecond

// arrivalLimit is how long packets may be in the gateways when the last is sent. On a busy machine a worker may not run for seconds.
const arrivalLimit = 20 * time.Second

// traffic puts a load on the wire for a time, in which there is a packet and a rekey at least, and takes it off when all has arrived that will.
func (g *gateways) traffic(ctx context.Context, row RekeyRow, rekey bool) (*load, error) {
	l := &load{interval: time.Second / time.Duration(row.PacketsPerSec), length: 64, flows: 1, began: time.Now()}
	g.wire.load.Store(l)
	end := l.began.Add(time.Duration(row.Seconds * float64(time.Second)))
	last, whole, rekeyed := time.Now(), false, g.a.rekeyed.Load()
	for time.Now().Before(end) || l.sent.Load() == 0 || rekey && g.a.rekeyed.Load() == rekeyed {
		if err := g.wait(ctx, l.began); err != nil {
			return nil, err
		}
		if rekey && time.Since(last) > rekeyEvery {
			child := tunnelName
			if whole {
				child = "" // the IKE SA
			}
			last, whole = time.Now(), !whole
			g.a.offer(ike.Rekey{Peer: tunnelName, Child: child})
		}
	}
	g.wire.stopped.Store(true)
	for began := time.Now(); !l.complete.Load() && time.Since(began) < arrivalLimit; {
		if err := g.wait(ctx, began); err != nil {
			return nil, err
		}
	}
	g.wire.load.Store(nil)
	g.wire.stopped.Store(false)
	for began := time.Now(); g.wire.holds.Load() == l; {
		if err := g.wait(ctx, began); err != nil {
			return nil, err
		}
	}
	return l, nil
}
