package traffic

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -O3 -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API
#cgo LDFLAGS: -lIPSec_MB
#include "traffic.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unsafe"

	"sallyport/pmd/eal"
	"sallyport/pmd/ethdev"
	"sallyport/pmd/mempool"
	"sallyport/pmd/ring"
)

// Tester holds two ports, the SAs and the tables of the streams, for as many trials as are wanted, one at a time. DPDK runs as long as it does.
type Tester struct {
	config                 Config
	control                *C.struct_traffic_control
	fill                   *C.struct_traffic_fill
	sinks                  *C.struct_traffic_sink
	pool                   *mempool.Mempool
	ports                  [2]*port
	streams                []*stream
	toGateway, fromGateway *sas        // nil in clear
	there                  []C.uint8_t // by tunnel, whether it is there; nil if none is negotiated
	ike                    *negotiator // nil if none is
	retired                []retired
	loops                  []*C.struct_traffic_loop
	number                 uint8     // of the trial
	taught                 time.Time // when the gateway has last had packets to all
	undo                   []func() error
}

// port is one of them as it runs.
type port struct {
	device          *ethdev.Device
	sender          *C.struct_traffic_sender
	receiver        *C.struct_traffic_receiver
	orders, reports *ring.Ring // frames to send, and those that were received
	vlan            uint16
	before          ethdev.Stats

	mu      sync.Mutex
	station station
}

// stream is one of them as it runs.
type stream struct {
	c        *C.struct_traffic_stream
	sink     *C.struct_traffic_sink
	from, to int
	flows    []C.struct_traffic_flow
	tracks   []C.struct_traffic_track
	bits     []C.uint64_t
	counts   []C.uint64_t
	next     []C.uint64_t
	cycles   float64 // to build a packet
	pupils   []C.uint32_t
	lesson   []C.uint32_t // the order in which they take turns
}

const (
	ordersSize    = 256
	reportsSize   = 1024
	buffers       = 1<<14 - 1
	rxDescriptors = 4096
	largeMTU      = 4096 // from which there are half as many buffers
	leastSpare    = 64   // SAs beside two of each tunnel
	flowsAtOnce   = 1 << 16
)

// Open opens the ports and makes what the streams need, and measures how fast this machine makes their packets. A wish that cannot be met is a *TooMuch.
func Open(ctx context.Context, config Config) (*Tester, error) {
	config.defaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	t := &Tester{config: config}
	if err := t.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("traffic: %w", err), t.Close())
	}
	return t, nil
}

// Close gives everything back. No trial runs.
func (t *Tester) Close() error {
	errs := []error{t.farewell()}
	for i := len(t.undo) - 1; i >= 0; i-- {
		errs = append(errs, t.undo[i]())
	}
	t.undo, t.ike = nil, nil
	return errors.Join(errs...)
}

func (t *Tester) onClose(f func() error) { t.undo = append(t.undo, f) }

func (t *Tester) open(ctx context.Context) error {
	available, err := availableMemory()
	if err != nil {
		return err
	}
	if err := t.config.checkMemory(available); err != nil {
		return err
	}
	if t.control, err = structure[C.struct_traffic_control](t); err != nil {
		return err
	}
	if t.fill, err = structure[C.struct_traffic_fill](t); err != nil {
		return err
	}
	C.traffic_fill_make(t.fill)
	sinks, err := table[C.struct_traffic_sink](t, maxStreams)
	if err != nil {
		return err
	}
	t.sinks = &sinks[0]
	for _, step := range []func() error{t.openPool, t.openSAs, t.openPorts, func() error { return t.openStreams(ctx) }, t.openLoops, t.openIKE} {
		if err := errors.Join(ctx.Err(), step()); err != nil {
			return err
		}
	}
	return nil
}

// structure is memory for one of C's.
func structure[T any](t *Tester) (*T, error) {
	list, err := table[T](t, 1)
	if err != nil {
		return nil, err
	}
	return &list[0], nil
}

// table is memory for n of C's, zeroed; it lasts until Close.
func table[T any](t *Tester, n int) ([]T, error) {
	var one T
	size := C.uint64_t(uintptr(n) * unsafe.Sizeof(one))
	memory := C.traffic_memory(size)
	if memory == nil {
		return nil, errNoMemory
	}
	t.onClose(func() error { C.traffic_memory_free(memory, size, 0); return nil })
	return unsafe.Slice((*T)(memory), n), nil
}

func (t *Tester) openPool() (err error) {
	mtu, n := max(t.config.Protected.MTU, t.config.Unprotected.MTU), uint32(buffers)
	if mtu > largeMTU {
		n /= 2
	}
	t.pool, err = mempool.CreateMbufPool(fmt.Sprintf("traffic%d", numbers.Add(1)), n, ethdev.DataRoom(mtu), mempool.OptCacheSize(mempool.MaxCacheSize/2))
	if err == nil {
		t.onClose(func() error { t.pool.Free(); return nil })
	}
	return err
}

func (t *Tester) openSAs() error {
	if t.config.Tunnels[0].clear() {
		return nil
	}
	if len(t.config.Peers) > 0 {
		var err error
		if t.there, err = table[C.uint8_t](t, len(t.config.Tunnels)); err != nil {
			return err
		}
	}
	most := t.config.mostSAs()
	devices, err := openDevices(most)
	if err != nil {
		return err
	}
	t.onClose(devices.Close)
	for _, direction := range []struct {
		to        **sas
		toGateway bool
	}{{&t.toGateway, true}, {&t.fromGateway, false}} {
		made, err := newSAs(len(t.config.Tunnels), most, direction.toGateway, devices)
		if err != nil {
			return err
		}
		*direction.to = made
		t.onClose(made.close)
	}
	for i := range t.config.Tunnels {
		tunnel := &t.config.Tunnels[i]
		if !tunnel.IKE.none() {
			continue
		}
		if err := errors.Join(t.toGateway.add(tunnel, i, tunnel.ToGateway), t.fromGateway.add(tunnel, i, tunnel.FromGateway)); err != nil {
			return fmt.Errorf("tunnel %s: %w", tunnel.Name, err)
		}
		t.toGateway.use(i, tunnel.ToGateway.SPI)
		if t.there != nil {
			t.there[i] = 1
		}
	}
	return nil
}

// mostSAs is how many there may be at once in each direction. While the keys of a tunnel change it has two.
func (c *Config) mostSAs() int {
	if len(c.Peers) == 0 {
		return len(c.Tunnels)
	}
	return 2*len(c.Tunnels) + leastSpare
}

func (t *Tester) openPorts() error {
	for i, config := range t.config.ports() {
		p := &port{}
		t.ports[i] = p
		for _, r := range []struct {
			ring **ring.Ring
			size uint32
		}{{&p.orders, ordersSize}, {&p.reports, reportsSize}} {
			made, err := ring.Create(fmt.Sprintf("traffic%d", numbers.Add(1)), r.size)
			if err != nil {
				return err
			}
			*r.ring = made
			t.onClose(func() error { made.Free(); return nil })
		}
		giveBack, err := claim(config.Device)
		if err != nil {
			return fmt.Errorf("%s port: %w", portName(i), err)
		}
		t.onClose(giveBack)
		if err := p.open(config, portName(i), t.pool); err != nil {
			return err
		}
		t.onClose(func() error { return p.close(config.Attached == nil) })
		p.vlan = config.VLAN
		p.station = station{mac: p.address(i), own: config.own(config.Gateway), gateway: config.Gateway, learned: config.MAC, plays: t.plays(i)}
		if err := t.openSides(i); err != nil {
			return err
		}
	}
	return nil
}

func (p *port) open(config *Port, name string, pool *mempool.Mempool) (err error) {
	c := ethdev.PortConfig{Name: name, Device: config.Device, MTU: config.MTU, Pool: pool, Promiscuous: true, RxDescriptors: rxDescriptors}
	if config.Attached != nil {
		p.device, err = ethdev.Setup(*config.Attached, c)
	} else {
		p.device, err = ethdev.Open(c)
	}
	return withAdvice(config.Device, err)
}

// withAdvice says of a client of memif that nobody listens: a driver's words are of its socket alone.
func withAdvice(device string, err error) error {
	if err == nil || !strings.HasPrefix(device, "net_memif") || !strings.Contains(err.Error(), "Failed to connect socket") {
		return err
	}
	return fmt.Errorf("%w: no server of memif is there: start the gateway first, in the same network namespace", err)
}

// close stops the port; what was attached by somebody else is left to them.
func (p *port) close(opened bool) error {
	if opened {
		return p.device.Close()
	}
	return p.device.Port.Stop()
}

// address is the port's MAC address. Rings have none, and memif another one each time, which a gateway that remembers the one before would have to learn anew: they get one.
func (p *port) address(index int) net.HardwareAddr {
	if slices.Max(p.device.MAC) != 0 && p.device.Driver != "net_memif" {
		return p.device.MAC
	}
	return net.HardwareAddr{0x02, 'S', 'p', 0, 0, byte(index + 1)}
}

// plays are the addresses that a port answers for: its own, and hosts that flows are of.
func (t *Tester) plays(index int) func(netip.Addr) bool {
	own := map[netip.Addr]bool{}
	for _, a := range t.config.ports()[index].Addresses {
		own[a] = true
	}
	var behind []netip.Prefix
	for i := range t.config.Tunnels {
		tunnel := &t.config.Tunnels[i]
		if index == protected {
			behind = append(behind, tunnel.Near)
			continue
		}
		behind = append(behind, tunnel.Far)
		if tunnel.Peer.IsValid() {
			own[tunnel.Peer] = true
		}
	}
	return func(a netip.Addr) bool {
		if own[a] {
			return true
		}
		for _, p := range behind {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
}

// openSides makes a port's sender and receiver.
func (t *Tester) openSides(index int) (err error) {
	p := t.ports[index]
	if p.sender, err = structure[C.struct_traffic_sender](t); err != nil {
		return err
	}
	if p.receiver, err = structure[C.struct_traffic_receiver](t); err != nil {
		return err
	}
	s, r := p.sender, p.receiver
	s.pool, s.orders, s.fill = (*C.struct_rte_mempool)(t.pool.Pointer()), (*C.struct_rte_ring)(p.orders.Pointer()), t.fill
	r.reports, r.fill, r.sinks = (*C.struct_rte_ring)(p.reports.Pointer()), t.fill, t.sinks
	s.port, r.port, r.index = C.uint16_t(p.device.Port), C.uint16_t(p.device.Port), C.uint16_t(index)
	s.vlan, r.vlan = C.uint16_t(p.vlan), C.uint16_t(p.vlan)
	r.listen_be = C.uint16_t(bigEndian16(listenPort))
	r.nanoseconds = C.uint64_t(1e9 * float64(1<<32) / float64(eal.TSCHz()))
	copyOctets(s.mac[:], p.station.mac)
	copyOctets(r.mac[:], p.station.mac)
	if index != unprotected || t.toGateway == nil {
		return nil
	}
	r.sas, r.own = t.fromGateway.table, t.toGateway.table
	for _, crypto := range []**C.struct_traffic_crypto{&s.crypto, &r.crypto} {
		c := C.traffic_crypto_create()
		if c == nil {
			return errors.New("libIPSec_MB cannot be used on this machine")
		}
		*crypto = c
		t.onClose(func() error { C.traffic_crypto_free(c); return nil })
	}
	return nil
}

func (t *Tester) openStreams(ctx context.Context) error {
	for i := range t.config.Streams {
		s, err := t.newStream(ctx, i)
		if err != nil {
			return err
		}
		t.streams = append(t.streams, s)
		sender := t.ports[s.from].sender
		sender.streams[sender.n_streams] = s.c
		sender.n_streams++
		for _, p := range t.ports {
			p.receiver.streams[i] = s.c
			p.receiver.n_streams++
		}
	}
	return nil
}

func (t *Tester) newStream(ctx context.Context, index int) (s *stream, err error) {
	config := &t.config.Streams[index]
	s = &stream{sink: &unsafe.Slice(t.sinks, maxStreams)[index]}
	s.from, s.to = config.Direction.ends()
	if s.c, err = structure[C.struct_traffic_stream](t); err != nil {
		return s, err
	}
	flows, err := table[C.struct_traffic_flow](t, config.Flows)
	if err != nil {
		return s, err
	}
	s.flows, s.pupils = flows, t.config.pupils(config)
	if s.lesson, err = table[C.uint32_t](t, lesson); err != nil {
		return s, err
	}
	of := t.config.flows(config)
	for i := range flows {
		if i%flowsAtOnce == 0 && ctx.Err() != nil {
			return s, ctx.Err()
		}
		tunnel, f := of(i)
		f.write(&flows[i], tunnel)
	}
	order, err := table[C.uint32_t](t, config.Order.turns(config.Flows))
	if err != nil {
		return s, err
	}
	config.Order.fill(order, config.Flows)
	lengths, err := table[C.uint16_t](t, len(config.Sizes))
	if err != nil {
		return s, err
	}
	for i, size := range config.Sizes {
		lengths[i] = C.uint16_t(size - around)
	}
	if err := s.openCounters(t, config.Flows); err != nil {
		return s, err
	}
	c := s.c
	c.flows, c.order, c.lengths, c.next = &flows[0], &order[0], &lengths[0], &s.next[0]
	c.n_flows, c.n_order, c.n_lengths = C.uint32_t(len(flows)), C.uint32_t(len(order)), C.uint32_t(len(lengths))
	c.extra = C.uint32_t(extraTurns(len(order), len(lengths)))
	c.number, c.ipv6, c.burst = C.uint8_t(index), flag(t.config.Tunnels[0].Near.Addr().Is6()), C.uint16_t(config.Burst)
	c.source_port, c.destination_port = C.uint16_t(s.from), C.uint16_t(s.to)
	if s.from == unprotected && t.toGateway != nil {
		c.sas = t.toGateway.table
	}
	if t.there != nil {
		c.open = &t.there[0]
	}
	return s, nil
}

func (s *stream) openCounters(t *Tester, flows int) (err error) {
	if s.tracks, err = table[C.struct_traffic_track](t, flows); err != nil {
		return err
	}
	if s.bits, err = table[C.uint64_t](t, flows*window(flows)/64); err != nil {
		return err
	}
	if s.counts, err = table[C.uint64_t](t, C.TRAFFIC_COUNTS); err != nil {
		return err
	}
	if s.next, err = table[C.uint64_t](t, flows); err != nil {
		return err
	}
	s.sink.tracks, s.sink.bits, s.sink.counts, s.sink.window = &s.tracks[0], &s.bits[0], &s.counts[0], C.uint64_t(window(flows))
	return nil
}

// openLoops gives all to one core, or the senders to one and the receivers to another.
func (t *Tester) openLoops() error {
	for range max(1, len(t.config.Cores)) {
		l, err := structure[C.struct_traffic_loop](t)
		if err != nil {
			return err
		}
		l.control, l.sleep = t.control, C.uint32_t(flag(t.config.Sleep))
		t.loops = append(t.loops, l)
	}
	sending, receiving := t.loops[0], t.loops[len(t.loops)-1]
	for i, p := range t.ports {
		sending.senders[i], receiving.receivers[i] = p.sender, p.receiver
		sending.n_senders++
		receiving.n_receivers++
	}
	return nil
}

func (t *Tester) sendCore() int { return t.core(0) }

// core is the CPU of a loop.
func (t *Tester) core(loop int) int {
	if loop < len(t.config.Cores) {
		return t.config.Cores[loop]
	}
	return anyCore
}
