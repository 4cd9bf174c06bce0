package traffic

/*
#include "traffic.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"sallyport/pmd/eal"
)

// TooMuch is a wish that this machine cannot meet.
type TooMuch struct {
	What         string // such as "packets/s"
	Wished, Most float64
	Why          string
}

func (e *TooMuch) Error() string {
	return fmt.Sprintf("%.0f %s wished, this machine can do at most %.0f: %s", e.Wished, e.What, e.Most, e.Why)
}

// A window has at least so many numbers, and at most as many as are good for 8 MB of a stream's bits, where it has few flows.
const (
	leastWindow = 64
	mostWindow  = 1 << 16
	windowBits  = 1 << 26
)

// window is how many numbers of a flow a receiver remembers.
func window(flows int) int {
	w := leastWindow
	for w < mostWindow && 2*w*flows <= windowBits {
		w *= 2
	}
	return w
}

// octetsOf is the memory that the tables of so many flows take.
func octetsOf(o Order, flows int) uint64 {
	each := uint64(C.sizeof_struct_traffic_flow + C.sizeof_struct_traffic_track + C.sizeof_uint64_t + window(flows)/8)
	return each*uint64(flows) + uint64(o.turns(flows))*C.sizeof_uint32_t + C.TRAFFIC_COUNTS*C.sizeof_uint64_t
}

// checkMemory refuses more flows than fit half of what the kernel can give.
func (c *Config) checkMemory(available uint64) error {
	flows := 0
	for i := range c.Streams {
		flows += c.Streams[i].Flows
	}
	// wanted is the memory of all streams with a share of their flows.
	wanted := func(share float64) (octets uint64) {
		for i := range c.Streams {
			octets += octetsOf(c.Streams[i].Order, int(math.Ceil(share*float64(c.Streams[i].Flows))))
		}
		return octets
	}
	if wanted(1) <= available/2 {
		return nil
	}
	share := 1.0
	for wanted(share) > available/2 && share*float64(flows) > 1 {
		share *= 0.95
	}
	return &TooMuch{"flows", float64(flows), math.Floor(share * float64(flows)),
		fmt.Sprintf("their tables take %d MB, and half of the %d MB that are free are for them", wanted(1)>>20, available>>20)}
}

// availableMemory is what the kernel thinks that processes can still have, in octets.
func availableMemory() (uint64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "MemAvailable:"); found {
			kilobytes, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no line MemAvailable")
}

// Rehearsals: enough packets that the clock is of no account, and the quickest of some counts, for others may have had the CPU meanwhile.
const (
	rehearsed  = 2048
	rehearsals = 3
)

// rehearse measures the cycles that it takes to build a packet of each stream, and to encrypt it.
func (t *Tester) rehearse() error {
	return <-onCore(t.sendCore(), func() {
		for _, s := range t.streams {
			s.cycles = math.Inf(1)
			for range rehearsals {
				if spent := C.traffic_rehearse(t.ports[s.from].sender, s.c, rehearsed); spent > 0 {
					s.cycles = min(s.cycles, float64(spent)/rehearsed)
				}
			}
		}
	})
}

// checkRates refuses rates that the sending core could not make if it had nothing else to do.
func (t *Tester) checkRates(load Load) error {
	busy, wished := 0.0, 0.0 // share of the core, packets a second
	for i, s := range t.streams {
		rate := load.of(&t.config.Streams[i], t.config.Streams).perSecond(t.config.Streams[i].Sizes)
		busy, wished = busy+rate*s.cycles/float64(eal.TSCHz()), wished+rate
	}
	if busy <= 1 {
		return nil
	}
	return &TooMuch{"packets/s", wished, math.Floor(wished / busy), "that is what it takes to build packets like these and to encrypt those of them that are"}
}

// checkNumbers refuses more packets than SAs without extended sequence numbers can send.
func (t *Tester) checkNumbers(load Load) error {
	if t.toGateway == nil {
		return nil
	}
	var packets float64
	for i := range t.streams {
		s := &t.config.Streams[i]
		if s.Direction == Inbound {
			packets += float64(load.limit(s, t.config.Streams))
			if t.untaught() {
				packets += float64(len(t.streams[i].pupils))
			}
		}
	}
	if most := float64(t.toGateway.left()) * float64(min(len(t.config.Tunnels), t.inboundFlows())); packets > most {
		return &TooMuch{"packets of ESP", packets, most, "an SA has 2^32 - 1 sequence numbers; take more tunnels, or a shorter time"}
	}
	return nil
}

// inboundFlows is the number of flows of the inbound stream that has the fewest.
func (t *Tester) inboundFlows() int {
	flows := []int{maxFlows}
	for i := range t.config.Streams {
		if s := &t.config.Streams[i]; s.Direction == Inbound {
			flows = append(flows, s.Flows)
		}
	}
	return slices.Min(flows)
}

// perSecond is the rate in packets a second, 0 for as fast as it goes.
func (r Rate) perSecond(sizes Sizes) float64 {
	if r.Bits > 0 {
		return r.Bits / 8 / sizes.mean()
	}
	return r.Packets
}
