package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"bytes"
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
	case o.Exponent != 0 && !(o.Kind == Zipf && o.Exponent > 1 && o.Exponent <= 10):
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

// site is the hosts of one side: all of a prefix but its first address, of IPv4 its last, and the gateway's own.
type site struct {
	prefix  netip.Prefix
	gateway netip.Addr
}

// usable counts a prefix's addresses but the first and, of IPv4, the last.
func usable(p netip.Prefix) int {
	bits := p.Addr().BitLen() - p.Bits()
	switch {
	case bits == 0:
		return 1
	case bits == 1:
		return 2
	case bits > 16:
		return hostsInPrefix
	}
	return 1<<bits - 2
}

func (s site) hosts() int {
	n := usable(s.prefix)
	if at := s.index(); at >= 0 && at < n {
		n--
	}
	return n
}

// index is the place of the gateway among the usable addresses, -1 if it has none.
func (s site) index() int {
	if !s.prefix.Contains(s.gateway) {
		return -1
	}
	first, gateway := addressAt(s.prefix, 0).As16(), s.gateway.As16()
	if !bytes.Equal(first[:12], gateway[:12]) {
		return -1
	}
	return int(binary.BigEndian.Uint32(gateway[12:])) - int(binary.BigEndian.Uint32(first[12:]))
}

// host is one of them.
func (s site) host(number int) netip.Addr {
	if at := s.index(); at >= 0 && number >= at {
		number++
	}
	return addressAt(s.prefix, number)
}

// addressAt is one of the usable addresses of a prefix.
func addressAt(p netip.Prefix, number int) netip.Addr {
	if p.Addr().BitLen()-p.Bits() > 1 {
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

// sites are the hosts of both sides of a tunnel.
func (c *Config) sites(t *Tunnel) (near, far site) {
	return site{t.Near, c.Protected.Gateway}, site{t.Far, c.Unprotected.Gateway}
}

// mostFlows is how many a stream can have: flow i takes its tunnel i modulo their number.
func (c *Config) mostFlows(s *Stream) int {
	most := maxFlows
	for i := range s.Tunnels {
		near, far := c.sites(&c.Tunnels[s.First+i])
		most = min(most, min(near.hosts()*far.hosts()*portsBetween, maxFlows)*s.Tunnels)
	}
	return most
}

// five is the 5-tuple of a flow, of which all are UDP.
type five struct {
	source, destination netip.Addr
	port                uint16 // source
}

// flows gives the flows of a stream by their numbers: hosts change before ports do.
func (c *Config) flows(s *Stream) func(i int) (tunnel int, f five) {
	type ends struct {
		near, far   site
		nears, fars int // hosts
	}
	all := make([]ends, s.Tunnels) // there are few of them, and many flows
	for i := range all {
		e := &all[i]
		e.near, e.far = c.sites(&c.Tunnels[s.First+i])
		e.nears, e.fars = e.near.hosts(), e.far.hosts()
	}
	return func(i int) (tunnel int, f five) {
		e, number := &all[i%s.Tunnels], i/s.Tunnels
		f = five{e.near.host(number % e.nears), e.far.host((number%e.nears + number/e.nears) % e.fars), uint16(firstSource + number/e.nears/e.fars%portsBetween)}
		if s.Direction == Inbound {
			f.source, f.destination = f.destination, f.source
		}
		return s.First + i%s.Tunnels, f
	}
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
