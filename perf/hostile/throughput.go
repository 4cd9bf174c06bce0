package hostile

import (
	"context"
	"errors"
	"slices"
	"time"
)

// throughput measures what the tunnel carries of a load, in windows without the attack and with it that take turns.
func (b *bed) throughput(ctx context.Context, attack attack, windows int, length time.Duration, load int) (*Throughput, error) {
	var quiet, attacked []Window
	var shares []float64
	idle := func(context.Context, int) (int, error) { time.Sleep(idleTurn); return 0, nil }
	for range windows {
		rest, err := b.window(ctx, length, load, idle)
		if err != nil {
			return nil, err
		}
		siege, err := b.window(ctx, length, load, attack)
		if err != nil {
			return nil, err
		}
		if _, err := b.settled(ctx); err != nil {
			return nil, err
		}
		quiet, attacked, shares = append(quiet, rest), append(attacked, siege), append(shares, siege.Carried/max(rest.Carried, 1e-3))
	}
	return &Throughput{Quiet: medianWindow(quiet), Attacked: medianWindow(attacked), Share: median(shares)}, nil
}

const (
	idleTurn  = 200 * time.Microsecond // between looks at what is due
	drainTime = 20 * time.Millisecond  // for what is on its way at the end of a window
)

// window is one measurement, with an attack or without. The same thread sends both, the load by the clock.
func (b *bed) window(ctx context.Context, length time.Duration, load int, attack attack) (w Window, err error) {
	used, err := b.process.Usage(b.cpus.worker)
	if err != nil {
		return w, err
	}
	if _, err := b.esp.Count(); err != nil {
		return w, err
	}
	frame := b.tunnelFrame()
	next := func(f []byte) int { return copy(f, frame) }
	offered, messages, began := 0, 0, time.Now()
	for time.Since(began) < length {
		if err := ctx.Err(); err != nil {
			return w, err
		}
		n, err := attack(ctx, sample)
		if errors.Is(err, errDone) {
			time.Sleep(idleTurn)
		} else if err != nil {
			return w, err
		}
		messages += n
		due := int(time.Since(began).Seconds()*float64(load)) - offered
		if n, err = b.load.Send(due, next); err != nil {
			return w, err
		}
		offered += n
	}
	seconds := time.Since(began).Seconds()
	time.Sleep(drainTime)
	count, err := b.esp.Count()
	if err != nil {
		return w, err
	}
	spent, err := b.process.Usage(b.cpus.worker)
	return Window{Offered: float64(offered) / seconds, Carried: float64(count) / float64(max(offered, 1)), Messages: float64(messages) / seconds,
		Worker: (spent.Worker - used.Worker).Seconds() / time.Since(began).Seconds()}, err
}

func medianWindow(list []Window) (m Window) {
	of := func(value func(Window) float64) float64 {
		var values []float64
		for _, w := range list {
			values = append(values, value(w))
		}
		return median(values)
	}
	return Window{Offered: of(func(w Window) float64 { return w.Offered }), Carried: of(func(w Window) float64 { return w.Carried }),
		Messages: of(func(w Window) float64 { return w.Messages }), Worker: of(func(w Window) float64 { return w.Worker })}
}

func median(list []float64) float64 {
	slices.Sort(list)
	if len(list)%2 == 1 {
		return list[len(list)/2]
	}
	return (list[len(list)/2-1] + list[len(list)/2]) / 2
}
