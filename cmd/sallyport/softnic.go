//go:build softnic

package main

import (
	"sallyport/offload/softnic"
	// The lab's build: ports that SALLYPORT_SOFTNIC names have software NICs.
	_ "sallyport/offload/softnic/atstart"
	"sallyport/perf/bench"
)

// workingNIC is a software NIC as the benchmark sees it.
type workingNIC struct{ *softnic.NIC }

func (n workingNIC) Work() (packets, cycles uint64) {
	c := n.Counters()
	return c.TxSecured + c.RxSecured, c.Cycles
}

func init() {
	benchNIC = func(port uint16, queues int) (bench.NIC, error) {
		nic, err := softnic.Attach(port, queues, softnic.Options{InlineProtocol: true})
		return workingNIC{nic}, err
	}
}
