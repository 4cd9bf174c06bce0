package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"math"
	"runtime"
)

// What tests need of C, which cgo does not let them call.

// recorded is the latency of these times, counted as a receiver does.
func recorded(nanoseconds []uint64) Latency {
	counts := make([]C.uint64_t, C.TRAFFIC_COUNTS)
	sink := C.struct_traffic_sink{shortest: math.MaxUint64}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&counts[0])
	sink.counts = &counts[0]
	for _, ns := range nanoseconds {
		C.traffic_record(&sink, C.uint64_t(ns))
	}
	return latencyOf(&sink)
}

// setNumber has a tunnel's SA go on from a sequence number.
func (t *Tester) setNumber(tunnel int, sequence uint64) {
	t.toGateway.list()[tunnel].sequence = C.uint64_t(sequence)
}

// turn is an element of an order.
type turn = C.uint32_t
