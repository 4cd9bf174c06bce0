package ethdev

/*
#include "port.h"
*/
import "C"

import (
	"errors"
	"strings"
)

// Stats are a port's counters since it was started or reset.
type Stats struct {
	RxPackets, RxBytes uint64
	TxPackets, TxBytes uint64
	RxMissed           uint64 // dropped because the Rx queues were full
	RxErrors           uint64 // erroneous frames
	RxNoBuffer         uint64 // dropped because the pool was empty
	TxErrors           uint64 // not sent
}

// Stats reads the counters.
func (p Port) Stats() (Stats, error) {
	var s C.struct_rte_eth_stats
	err := p.check("read the statistics", func() C.int { return C.rte_eth_stats_get(C.uint16_t(p), &s) })
	return Stats{
		RxPackets: uint64(s.ipackets), RxBytes: uint64(s.ibytes),
		TxPackets: uint64(s.opackets), TxBytes: uint64(s.obytes),
		RxMissed: uint64(s.imissed), RxErrors: uint64(s.ierrors), RxNoBuffer: uint64(s.rx_nombuf), TxErrors: uint64(s.oerrors),
	}, err
}

// ResetStats sets the counters to zero.
func (p Port) ResetStats() error {
	return p.check("reset the statistics", func() C.int { return C.rte_eth_stats_reset(C.uint16_t(p)) })
}

// ErrNoPauses says that a driver does not count what Pauses asks for.
var ErrNoPauses = errors.New("the driver counts no pause frames")

// Pauses is how often the other end of the link has asked the port to pause (IEEE 802.3 annex 31B), as far as the driver counts that: by one frame or several kinds of them.
func (p Port) Pauses() (n uint64, err error) {
	xstats, err := p.Xstats()
	if err != nil {
		return 0, err
	}
	counted := false
	for _, x := range xstats {
		if isPause(x.Name) {
			n += x.Value
			counted = true
		}
	}
	if !counted {
		return 0, ErrNoPauses
	}
	return n, nil
}

// isPause reports whether an extended counter is of pause frames received, which drivers name as they like.
func isPause(name string) bool {
	name = strings.ToLower(name)
	return strings.Contains(name, "rx") && (strings.Contains(name, "pause") || strings.Contains(name, "xoff"))
}

// Xstat is one of a driver's extended counters.
type Xstat struct {
	Name  string
	Value uint64
}

// Xstats reads the extended counters, in the driver's order.
func (p Port) Xstats() ([]Xstat, error) {
	var count C.int
	err := p.check("count the extended statistics", func() C.int {
		count = C.rte_eth_xstats_get_names(C.uint16_t(p), nil, 0)
		return count
	})
	if err != nil || count == 0 {
		return nil, err
	}
	names := make([]C.struct_rte_eth_xstat_name, count)
	values := make([]C.struct_rte_eth_xstat, count)
	err = p.check("read the extended statistics", func() C.int {
		if got := C.rte_eth_xstats_get_names(C.uint16_t(p), &names[0], C.uint(count)); got < 0 {
			return got
		}
		count = C.rte_eth_xstats_get(C.uint16_t(p), &values[0], C.uint(count))
		return count
	})
	if err != nil {
		return nil, err
	}
	stats := make([]Xstat, 0, count)
	for _, value := range values[:min(int(count), len(values))] {
		stats = append(stats, Xstat{Name: C.GoString(&names[value.id].name[0]), Value: uint64(value.value)})
	}
	return stats, nil
}
