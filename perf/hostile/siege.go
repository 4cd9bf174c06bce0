package hostile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"sallyport/appliance/api"
	"sallyport/perf/lab"
)

// Times of an attack.
const (
	connectLimit    = 20 * time.Second // after which a peer is not waited for
	quickTime       = time.Second      // of an attack in small that peers meet, at least
	prepareLimit    = 2 * time.Minute  // for peers that connect before the attack, or during one in small
	connectionsFrom = 10               // the part of the messages, one in so many, that are sent before the first peer connects
)

// besiege attacks until all messages are sent and the peers that start meanwhile are connected.
func (b *bed) besiege(ctx context.Context, s Scenario, attack attack, messages int, quick bool, row *Row) error {
	before, err := b.settled(ctx)
	if err != nil {
		return err
	}
	used, err := b.process.Usage(b.cpus.worker)
	if err != nil {
		return err
	}
	tunnel, err := b.tunnel(ctx)
	if err != nil {
		return err
	}
	logged := logSize(b.process)
	row.MemoryBefore = used.Resident
	watch := watchMemory(b.process, b.cpus.worker)
	began := time.Now()
	arrivals, cancel := context.WithCancel(ctx)
	defer cancel()
	var connections chan []Connection
	limit := connectLimit
	if quick {
		limit = prepareLimit
	}
	var enough <-chan time.Time // messages for the peers to meet, in small
	for done := false; !done || row.Messages < messages; {
		if err := errors.Join(ctx.Err(), b.process.Alive()); err != nil {
			watch.end()
			return err
		}
		taken, err := attack(ctx, s.turn())
		if errors.Is(err, errDone) {
			messages, err = row.Messages, nil
			time.Sleep(idleTurn)
		}
		if err != nil {
			watch.end()
			return err
		}
		row.Messages += taken
		if connections == nil && row.Messages >= messages/connectionsFrom {
			connections = make(chan []Connection, 1)
			go func() { connections <- b.arrive(arrivals, s, limit) }()
			if quick {
				enough = time.After(quickTime)
			}
		}
		if row.Messages >= messages/2 {
			watch.half()
		}
		select {
		case row.Connections = <-connections:
			done = true
		case <-enough:
			done = true
		default:
		}
	}
	row.Seconds = time.Since(began).Seconds()
	row.Rate = float64(row.Messages) / row.Seconds
	if row.Connections == nil {
		row.Connections = <-connections
	}
	after, err := b.settled(ctx)
	row.MemoryHalf, row.MemoryMost = watch.end()
	if err != nil {
		return err
	}
	spent, err := b.process.Usage(b.cpus.worker)
	if err != nil {
		return err
	}
	row.MemoryAfter, row.LogOctets = spent.Resident, logSize(b.process)-logged
	left, err := b.tunnel(ctx)
	if err != nil {
		return err
	}
	row.SAs = len(tunnel)
	for _, sa := range tunnel {
		if slices.Contains(left, sa) {
			row.SAsLeft++
		}
	}
	counted := after.since(before)
	row.Received, row.Refused = int(counted.received), counted.refused
	row.SlowSeconds, row.WorkerSeconds = (spent.Others - used.Others).Seconds(), (spent.Worker - used.Worker).Seconds()
	if row.SlowSeconds > 0 {
		row.RefusedRate = counted.slow / row.SlowSeconds
	}
	return nil
}

// tunnel is the SAs of the loaded peer's tunnel, by direction and SPI. None of them is old enough to be rekeyed.
func (b *bed) tunnel(ctx context.Context) (list []string, err error) {
	var sas []api.SA
	if err := b.client.Get(ctx, api.PathSAs, nil, &sas); err != nil {
		return nil, fmt.Errorf("hostile: SAs of the gateway: %w", err)
	}
	for _, sa := range sas {
		if sa.Peer == members[0].name {
			list = append(list, sa.Direction+" "+sa.SPI)
		}
	}
	return list, nil
}

// between is the time between the starts of peers.
const between = 300 * time.Millisecond

// arrive has peers connect one after the other: those that have not been there before, and one that has.
func (b *bed) arrive(ctx context.Context, s Scenario, limit time.Duration) (list []Connection) {
	var each []*member
	for i := range members {
		if m := &members[i]; m.version == s.version && !m.is(loaded) && !m.is(attacker) {
			each = append(each, m)
		}
	}
	list = make([]Connection, len(each))
	var all sync.WaitGroup
	for i, m := range each {
		all.Go(func() {
			began := time.Now()
			err := b.connect(ctx, m, limit)
			list[i] = Connection{Peer: m.name, Connected: err == nil, Seconds: time.Since(began).Seconds(), Repeated: b.station.repeated(m)}
		})
		select {
		case <-time.After(between):
		case <-ctx.Done():
		}
	}
	all.Wait()
	return list
}

// memoryWatch follows how much memory a process has.
type memoryWatch struct {
	stop, done chan struct{}
	mu         sync.Mutex
	most       int
	first      int // most in the first half; 0: it is not over
}

func watchMemory(p *lab.Process, worker int) *memoryWatch {
	const interval = 50 * time.Millisecond
	w := &memoryWatch{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			if u, err := p.Usage(worker); err == nil {
				w.mu.Lock()
				w.most = max(w.most, u.Resident)
				w.mu.Unlock()
			}
			select {
			case <-w.stop:
				return
			case <-time.After(interval):
			}
		}
	}()
	return w
}

// half notes that the first half is over.
func (w *memoryWatch) half() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.first == 0 {
		w.first = w.most
	}
}

func (w *memoryWatch) end() (first, most int) {
	close(w.stop)
	<-w.done
	return w.first, w.most
}

func logSize(p *lab.Process) int {
	info, err := os.Stat(p.LogPath)
	if err != nil {
		return 0
	}
	return int(info.Size())
}
