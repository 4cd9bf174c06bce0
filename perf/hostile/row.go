package hostile

import (
	"time"

	"sallyport/perf/report"
)

// What is wanted of a gateway under attack.
const (
	connectWanted = 5 * time.Second // for a peer that starts meanwhile
	shareWanted   = 0.95            // of a tunnel's throughput without the attack
	refusedWanted = 100_000         // first messages for a second of CPU time
	memoryWanted  = 64 << 20        // octets above what the gateway had before
	flatWanted    = 16 << 20        // octets that the second half may add to the first
)

// Row is what came of a scenario.
type Row struct {
	Scenario string             `json:"scenario"`
	Messages int                `json:"messages"` // that the link took
	Seconds  float64            `json:"seconds"`
	Rate     float64            `json:"messages_per_second"`
	Received int                `json:"received"` // packets, by the port that was attacked
	Refused  map[string]float64 `json:"refused"`  // by the counter that rose

	MemoryBefore int `json:"memory_before_octets"`
	MemoryHalf   int `json:"memory_most_first_half_octets"`
	MemoryMost   int `json:"memory_most_octets"`
	MemoryAfter  int `json:"memory_after_octets"`
	LogOctets    int `json:"log_octets"` // that the gateway wrote meanwhile

	Connections []Connection `json:"connections"`

	SAs     int `json:"other_tunnel_sas"` // of a tunnel that was up before, at first
	SAsLeft int `json:"other_tunnel_sas_left"`

	SlowSeconds   float64 `json:"slow_path_cpu_seconds"`
	WorkerSeconds float64 `json:"worker_cpu_seconds"`
	RefusedRate   float64 `json:"refused_per_cpu_second"` // by the slow path

	Soft *SoftSAs    `json:"soft,omitempty"`
	ESP  *Throughput `json:"esp,omitempty"`

	Verdicts []Verdict `json:"verdicts"`

	Machine report.Machine `json:"machine"` // the worker's CPU counts as the one that is measured
}

// Connection is a peer that started during an attack.
type Connection struct {
	Peer      string  `json:"peer"`
	Connected bool    `json:"connected"`
	Seconds   float64 `json:"seconds"`
	Repeated  int     `json:"repeated"` // messages that it sent again
}

// SoftSAs is how many there are when all targets have been silent for long enough, and after more of them.
type SoftSAs struct {
	Limit   int `json:"limit"`
	Reached int `json:"reached"`
	Most    int `json:"most"`
}

// Throughput is what a tunnel carries that was up before, in windows without the attack and with it that take turns: medians.
type Throughput struct {
	Quiet    Window  `json:"quiet"`
	Attacked Window  `json:"attacked"`
	Share    float64 `json:"share"` // of what is carried without
}

// Window is a measurement of it.
type Window struct {
	Offered  float64 `json:"offered_packets_per_second"`
	Carried  float64 `json:"carried_share"` // of those offered
	Messages float64 `json:"messages_per_second"`
	Worker   float64 `json:"worker_cpu_share"` // of a CPU
}

// Verdict is a line of the report that is judged.
type Verdict struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Want  float64 `json:"wanted"`
	Unit  string  `json:"unit"`
	Met   bool    `json:"met"`

	Unjudged bool `json:"unjudged,omitempty"` // it depends on the speed of the machine, and counts as met
}

// judge compares with what is wanted.
func (r *Row) judge(quick, firsts bool) {
	slowest, connected := 0.0, true
	for _, c := range r.Connections {
		slowest, connected = max(slowest, c.Seconds), connected && c.Connected
	}
	const mib = 1 << 20
	grown, later := float64(r.MemoryMost-r.MemoryBefore)/mib, float64(r.MemoryMost-r.MemoryHalf)/mib
	r.Verdicts = []Verdict{
		{What: "memory is bounded: most above before", Value: grown, Want: memoryWanted / mib, Unit: "MiB", Met: grown <= memoryWanted/mib},
		{What: "memory is flat: what the second half added", Value: later, Want: flatWanted / mib, Unit: "MiB", Met: later <= flatWanted/mib},
		{What: "a peer that starts meanwhile is connected", Value: slowest, Want: connectWanted.Seconds(), Unit: "s", Met: connected && (quick || slowest <= connectWanted.Seconds())},
	}
	r.Verdicts = append(r.Verdicts, Verdict{What: "a tunnel that was up before has its SAs", Value: float64(r.SAsLeft), Want: float64(r.SAs), Unit: "SAs", Met: r.SAs > 0 && r.SAsLeft == r.SAs})
	if r.Soft != nil {
		r.Verdicts = append(r.Verdicts, Verdict{What: "soft SAs stop at their limit", Value: float64(r.Soft.Most), Want: float64(r.Soft.Limit), Unit: "soft SAs", Met: r.Soft.Reached == r.Soft.Limit && r.Soft.Most == r.Soft.Limit})
	}
	if quick {
		return
	}
	if r.ESP != nil {
		r.Verdicts = append(r.Verdicts,
			Verdict{What: "throughput of another tunnel, of that without the attack", Value: 100 * r.ESP.Share, Want: 100 * shareWanted, Unit: "%", Met: r.ESP.Share >= shareWanted})
	}
	if firsts {
		r.Verdicts = append(r.Verdicts,
			Verdict{What: "messages refused for a second of the slow path's CPU time", Value: r.RefusedRate, Want: refusedWanted, Unit: "/s", Met: r.RefusedRate >= refusedWanted})
	}
}
