package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"unsafe"
)

// Order is how flows take turns.
type Order struct {
	Kind     OrderKind
	Exponent float64 // of zipf, above 1; 0 is 1.1
}

// OrderKind is a distribution of packets over flows.
type OrderKind string

const (
	RoundRobin OrderKind = ""       // one after the other
	Random     OrderKind = "random" // each as likely as any other
	Zipf       OrderKind = "zipf"   // the first most often
)

const defaultExponent = 1.1

func (o Order) validate() error {
	switch {
	case o.Kind != RoundRobin && o.Kind != Random && o.Kind != Zipf:
		return fmt.Errorf("order %q, expected %s or %s, or none: round robin", o.Kind, Random, Zipf)
	case o.Exponent != 0 && (o.Kind != Zipf || o.Exponent <= 1 || o.Exponent > 10):
		return fmt.Errorf("exponent %g, expected one above 1, at most 10, of %s", o.Exponent, Zipf)
	}
	return nil
}

// Turns of a random order until it comes again: several of each flow, where there is room.
const (
	leastTurns    = 1 << 16
	turnsToFlow   = 4
	mostTurns     = 1 << 24
	portsBetween  = 60000 // source ports of flows between two hosts
	hostsInPrefix = 1 << 16
)

// turns is the length of the order of so many flows.
func (o Order) turns(flows int) int {
	if o.Kind == RoundRobin {
		return flows
	}
	return min(max(turnsToFlow*flows, leastTurns), mostTurns)
}

// fill writes flows in the order of their turns; it is the same each time.
func (o Order) fill(turns []C.uint32_t, flows int) {
	source := rand.New(rand.NewPCG(69, 85))
	next := func(i int) int { return i }
	switch o.Kind {
	case Random:
		next = func(int) int { return source.IntN(flows) }
	case Zipf:
		exponent := o.Exponent
		if exponent == 0 {
			exponent = defaultExponent
		}
		zipf := rand.NewZipf(source, exponent, 1, uint64(flows-1))
		next = func(int) int { return int(zipf.Uint64()) }
	}
	for i := range turns {
		turns[i] = C.uint32_t(next(i))
	}
}

// extraTurns is how many lengths to pass over after a round of turns, so that in as many rounds as there are lengths each turn has had each of them.
func extraTurns(turns, lengths int) int {
	extra := 0
	for gcd(turns+extra, lengths) != 1 {
		extra++
	}
	return extra
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// hosts counts the addresses of a prefix that flows use: not its first, and of IPv4 not its last.
func hosts(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	switch {
	case bits == 0:
		return 1
	case bits >= 17:
		return hostsInPrefix
	case bits == 1:
		return 2
	}
	return 1<<bits - 2
}

// host is one of those addresses.
func host(p netip.Prefix, number int) netip.Addr {
	bits := p.Addr().BitLen() - p.Bits()
	if bits > 1 {
		number++
	}
	b := p.Masked().Addr().As16()
	low := b[12:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(number))
	if a := netip.AddrFrom16(b); p.Addr().Is4() {
		return a.Unmap()
	}
	return netip.AddrFrom16(b)
}

// pairs is how many flows a tunnel can have.
func (t *Tunnel) pairs() int { return min(hosts(t.Near)*hosts(t.Far)*portsBetween, maxFlows) }

// mostFlows is how many one stream can have: flow i takes tunnel i modulo their number.
func (c *Config) mostFlows() int {
	if len(c.Tunnels) == 0 {
		return maxFlows
	}
	most := maxFlows
	for i := range c.Tunnels {
		most = min(most, c.Tunnels[i].pairs()*len(c.Tunnels))
	}
	return most
}

// five is the 5-tuple of a flow, of which all are UDP.
type five struct {
	source, destination netip.Addr
	port                uint16 // source
}

// flow is number i of a direction: hosts change before ports do.
func (c *Config) flow(d Direction, i int) (tunnel int, f five) {
	tunnel = i % len(c.Tunnels)
	t, number := &c.Tunnels[tunnel], i/len(c.Tunnels)
	near, far := hosts(t.Near), hosts(t.Far)
	f = five{host(t.Near, number%near), host(t.Far, (number%near+number/near)%far), uint16(firstSource + number/near/far%portsBetween)}
	if d == Inbound {
		f.source, f.destination = f.destination, f.source
	}
	return tunnel, f
}

func (f five) write(to *C.struct_traffic_flow, tunnel int) {
	copyAddress(to.source[:], f.source)
	copyAddress(to.destination[:], f.destination)
	to.source_port_be, to.destination_port_be = C.uint16_t(bigEndian16(f.port)), C.uint16_t(bigEndian16(listenPort))
	to.tunnel = C.uint32_t(tunnel)
}

// copyAddress writes 4 or 16 octets.
func copyAddress(to []C.uint8_t, a netip.Addr) {
	copyOctets(to, a.AsSlice())
}

func copyOctets(to []C.uint8_t, octets []byte) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(to))), len(to)), octets)
}

func bigEndian16(v uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(v >> 8), byte(v)})
}

func bigEndian32(v uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, v))
}
