package pipeline

/*
#include "fastpath.h"
#include "lab.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"sallyport/policy"
)

// RunFor is RunBurst over and over within one call of C, for the benchmark of perf/bench: until cycles of the time stamp
// counter have passed and the packets received are a multiple of pass, the number of packets in the endless file behind
// the worker's queue of the port. After each pass the replay windows of the worker's inbound SAs start anew, because the file
// brings the same sequence numbers again; within a pass they work as ever. It returns the packets received and the cycles
// spent on them, without those for the windows.
//
// The calling goroutine should be locked to a thread that is registered with the EAL and has a core of its own. Workers may
// run at the same time.
func (d *Dataplane) RunFor(worker int, cycles uint64, pass int) (packets, spent uint64, err error) {
	return d.runFor(worker, cycles, pass, 0)
}

// RunMissesFor is RunFor with every flow forgotten before each pass: in a file that holds one packet of each flow, all of
// them miss the flow cache.
func (d *Dataplane) RunMissesFor(worker int, cycles uint64, pass int) (packets, spent uint64, err error) {
	return d.runFor(worker, cycles, pass, 1)
}

func (d *Dataplane) runFor(worker int, cycles uint64, pass int, forget C.int) (packets, spent uint64, err error) {
	if err := d.enterBurst(worker); err != nil {
		return 0, 0, err
	}
	var received, took C.uint64_t
	rc := C.sp_lab_run(d.c, C.uint32_t(worker), C.uint64_t(pass), C.uint64_t(cycles), forget, &received, &took)
	d.mu.Lock()
	d.bursting[worker] = false
	d.mu.Unlock()
	if rc != 0 {
		return 0, 0, fmt.Errorf("pipeline: worker %d in a measurement of passes of %d packets: %w", worker, pass, errno(rc))
	}
	return uint64(received), uint64(took), nil
}

// LearnNeighbour is what an ARP request from a neighbour on the named port does at time now: packets to it need not wait.
// For links in a benchmark or test where nobody answers ARP.
func (d *Dataplane) LearnNeighbour(now time.Time, port string, address netip.Addr, mac net.HardwareAddr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return errClosed
	}
	i := slices.IndexFunc(d.cfg.Ports, func(p PortSpec) bool { return p.Name == port })
	if i < 0 || len(mac) != len(macAddress{}) || !unicastMAC(macAddress(mac)) {
		return fmt.Errorf("pipeline: neighbour %s with MAC address %s on port %q: want a port of the configuration and a unicast address", address, mac, port)
	}
	d.apply(d.slow.neighbours.asked(now, neighbourKey{Port: i, Address: address}, macAddress(mac)))
	return nil
}

// EndSessions does for sessions of ports what the slow path does at a time: it closes those whose SAs have ended and whose packets are sent.
func (d *Dataplane) EndSessions(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c != nil {
		d.reclaim()
		d.watchLeaving(now, ringTime)
	}
}

// advance makes the workers' clock go ahead of the time stamp counter by t: what ages in a worker ages at once.
func (d *Dataplane) advance(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	C.sp_lab_advance(d.c, cycles(t))
}

// operations is how many operations crypto devices were ever given.
func (d *Dataplane) operations() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(C.sp_lab_operations(d.c))
}

// matchFilters asks the published filter tables alone, in bursts as workers do: for each packet the index of its entry in
// the SPD, or -1. All arrive with the same role.
func (d *Dataplane) matchFilters(packets []policy.Packet, role uint8) []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []C.struct_sp_acl_key
	var keys6 []C.struct_sp_acl_key6
	for _, p := range packets {
		if p.Source.Is4() {
			keys = append(keys, C.struct_sp_acl_key{protocol: C.uint8_t(p.Protocol), role: C.uint8_t(role),
				source_be: wireAddress(p.Source)[0], destination_be: wireAddress(p.Destination)[0],
				source_port_be: wirePort(p.SourcePort), destination_port_be: wirePort(p.DestinationPort)})
		} else {
			keys6 = append(keys6, C.struct_sp_acl_key6{protocol: C.uint8_t(p.Protocol), role: C.uint8_t(role),
				source_be: wireAddress(p.Source), destination_be: wireAddress(p.Destination),
				source_port_be: wirePort(p.SourcePort), destination_port_be: wirePort(p.DestinationPort)})
		}
	}
	found, found6 := make([]C.uint32_t, len(keys)), make([]C.uint32_t, len(keys6))
	if len(keys) > 0 {
		C.sp_lab_match(d.c, &keys[0], &found[0], C.uint32_t(len(keys)))
	}
	if len(keys6) > 0 {
		C.sp_lab_match6(d.c, &keys6[0], &found6[0], C.uint32_t(len(keys6)))
	}
	entries := make([]int, len(packets))
	for i, p := range packets {
		list := &found6
		if p.Source.Is4() {
			list = &found
		}
		entries[i], *list = int((*list)[0])-1, (*list)[1:]
	}
	return entries
}

// takePunted is the IP packets that workers have handed over for good, instead of the slow path.
func (d *Dataplane) takePunted() (packets [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for worker := range d.cfg.Workers {
		n := d.takePunts(worker)
		for i := range n {
			packets = append(packets, slices.Clone(d.view(&d.slow.batch[i]).ip))
			d.free(d.slow.batch[i].mbuf)
		}
	}
	return packets
}

// filterTables is the number of parts of the published filter tables.
func (d *Dataplane) filterTables() (ip4, ip6 int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int(C.sp_lab_parts(d.c, C.SP_IPV4)), int(C.sp_lab_parts(d.c, C.SP_IPV6))
}

// outerFieldsC is what the fast path makes of outerFields.
func outerFieldsC(e *Encapsulation, inner []byte) outerFields {
	c := e.toC()
	f := C.sp_lab_outer_fields(&c, (*C.uint8_t)(unsafe.SliceData(inner)))
	return outerFields{class: uint8(f.tos), ttl: uint8(f.ttl), df: uint16(f.flags)}
}

// lowerMSS is what the fast path makes of a TCP header, in place.
func lowerMSS(tcp []byte, mss uint16) {
	C.sp_lab_mss_lower((*C.uint8_t)(unsafe.SliceData(tcp)), C.uint32_t(len(tcp)), C.uint16_t(mss))
}

// tagTaken marks a received frame as one whose tag the device has taken off.
func tagTaken(mbuf unsafe.Pointer, tag uint16) {
	C.sp_lab_strip((*C.struct_rte_mbuf)(mbuf), C.uint16_t(tag))
}

// giveUserdata makes room in packet buffers for what NICs say of packets that they have opened.
func giveUserdata() error {
	if rc := C.sp_lab_userdata(); rc != 0 {
		return fmt.Errorf("pipeline: room for userdata in packet buffers: %w", errno(rc))
	}
	return nil
}

// hasOpened counts so many packets as opened by the NIC of an inbound SA.
func (sa *inboundSA) hasOpened(packets uint64) {
	C.sp_lab_has_opened(sa.c, C.uint64_t(packets))
}

// opened marks a received frame as one that a NIC has opened, or failed to.
func opened(mbuf unsafe.Pointer, failed bool, userdata uint64) {
	C.sp_lab_opened((*C.struct_rte_mbuf)(mbuf), C.int(flag(failed)), C.uint64_t(userdata))
}

// descriptors has a port's driver say whether the next descriptor of a transmit queue is taken; -1: it does not tell.
func descriptors(device uint16, taken int) { C.sp_lab_descriptors(C.uint16_t(device), C.int(taken)) }

// descriptorsOf has a port's driver tell of a worker's transmit queue what stands in a ring.
func descriptorsOf(device uint16, worker int, ring unsafe.Pointer) {
	C.sp_lab_ring(C.uint16_t(device), C.uint16_t(worker), (*C.struct_rte_ring)(ring))
}

// burstLocked is a turn of a worker for who holds the lock of the data plane.
func (d *Dataplane) burstLocked(worker int) { C.sp_worker_once(d.c, C.uint32_t(worker)) }

// skip makes workers take so many numbers that no packet has.
func (sa *outboundSA) skip(numbers int) { C.sp_lab_skip(sa.c, C.uint64_t(numbers)) }

// hold keeps workers from taking numbers from `first` on, as long as nobody takes the SA's place; false when they may have.
func (sa *outboundSA) hold(first uint64) bool { return C.sp_lab_hold(sa.c, C.uint64_t(first)) != 0 }

// leftToNIC is how many bytes of link layer a frame has whose SA is the NIC's work, 0 for all other frames.
func leftToNIC(mbuf unsafe.Pointer) int { return int(C.sp_lab_left((*C.struct_rte_mbuf)(mbuf))) }

// wireAddress is an address in words as they stand in a packet.
func wireAddress(a netip.Addr) (words [4]C.uint32_t) {
	for b := a.AsSlice(); len(b) > 0; b = b[4:] {
		words[(a.BitLen()/8-len(b))/4] = C.uint32_t(binary.NativeEndian.Uint32(b))
	}
	return words
}

func wirePort(port uint16) C.uint16_t {
	return C.uint16_t(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port)))
}
