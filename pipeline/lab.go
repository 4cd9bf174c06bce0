package pipeline

/*
#include "fastpath.h"
#include "lab.h"
*/
import "C"

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// RunFor is RunBurst over and over within one call of C, for the benchmark of perf/bench: until cycles of the time stamp
// counter have passed and the packets received are a multiple of pass, the number of packets in the endless file behind
// the port. After each pass the replay windows of all inbound SAs start anew, because the file brings the same sequence
// numbers again; within a pass they work as ever. It returns the packets received and the cycles spent.
//
// The calling goroutine should be locked to a thread that is registered with the EAL and has a core of its own.
func (d *Dataplane) RunFor(worker int, cycles uint64, pass int) (packets, spent uint64, err error) {
	if err := d.enterBurst(worker); err != nil {
		return 0, 0, err
	}
	var received, took C.uint64_t
	rc := C.sp_lab_run(d.c, C.uint32_t(worker), C.uint64_t(pass), C.uint64_t(cycles), &received, &took)
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
