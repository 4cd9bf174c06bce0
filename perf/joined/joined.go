// Package joined runs two gateways in one process, each with its data plane, workers and an IKE engine, and joins their unprotected ports
// in memory. It measures what IKE does over a data plane: how many SAs a second two cores make, and whether a rekey holds up traffic.
//
//	10.1.0.0/16 ── lan [a] wan 192.0.2.1 ── 192.0.2.2 wan [b] lan ── 10.2.0.0/16
//
// end.go is a gateway, link.go moves frames between them, and stands for the hosts; measure.go measures.
package joined

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"sallyport/crypto/cryptodev"
)

// gateways are two of them with a wire between.
type gateways struct {
	a, b    *end
	devices *cryptodev.Pool
	wire    link
	stop    context.CancelFunc
	running sync.WaitGroup
}

var (
	netA, netB = netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")
	wanA, wanB = netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("192.0.2.2/24")
)

// join starts two gateways with a number of peers to each other, told apart by their identities. cores has the CPUs of each one's workers; both may have
// the same.
func join(ctx context.Context, cores [2][]int, peers int) (g *gateways, err error) {
	g = &gateways{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.devices, err = cryptodev.Open(cryptodev.Options{QueuePairs: 2, Sessions: 8*peers + 2048, Socket: cryptodev.SocketAny}); err != nil {
		return g, fmt.Errorf("joined: %w", err)
	}
	for _, side := range []struct {
		at   **end
		make place
	}{{&g.a, place{"a", netA, wanA, wanB, 1, len(cores[0])}}, {&g.b, place{"b", netB, wanB, wanA, 2, len(cores[1])}}} {
		if *side.at, err = newEnd(side.make, peers, g.devices); err != nil {
			return g, err
		}
	}
	ctx, g.stop = context.WithCancel(ctx)
	g.wire.a, g.wire.b = g.a, g.b
	for i, e := range []*end{g.a, g.b} {
		if err := e.plane.Start(cores[i]); err != nil {
			return g, err
		}
		g.running.Go(func() { e.run(ctx) })
		g.running.Go(func() { _ = e.plane.Exceptions(ctx, e) }) // ends with ctx
	}
	g.running.Go(func() { g.wire.run(ctx) })
	return g, nil
}

// close ends all of it, what was begun in part too.
func (g *gateways) close() error {
	if g.stop != nil {
		g.stop()
	}
	g.running.Wait()
	var errs []error
	for _, e := range []*end{g.a, g.b} {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	if g.devices != nil {
		errs = append(errs, g.devices.Close())
	}
	return errors.Join(errs...)
}

// failure is what went wrong at either end.
func (g *gateways) failure() error {
	for _, e := range []*end{g.a, g.b} {
		if text := e.failed.Load(); text != nil {
			return fmt.Errorf("joined: gateway %s: %s", e.name, *text)
		}
	}
	return nil
}

// MemoryMB is what Run needs of the EAL's memory.
const MemoryMB = 512

// Run measures, prints and returns the rows. It needs the EAL to run and one or two CPUs. Quick proves that it works and measures nothing.
func Run(ctx context.Context, cpus []int, out io.Writer, quick bool) (rows []any, err error) {
	cores := [2][]int{cpus[:1], cpus[len(cpus)-1:]}
	for _, measure := range []func(context.Context, [2][]int, io.Writer, bool) (any, error){rates, rekeys} {
		row, err := measure(ctx, cores, out, quick)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}
