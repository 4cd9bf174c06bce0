package hostile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (o *Options) printHeading(c cpus) {
	fmt.Fprintf(o.Out, `a gateway as shipped, its worker on CPU %d, its slow path on CPU %d with what attacks it and with its peers; a link of the kernel (veth) and AF_PACKET
`, c.worker, c.main)
	if o.Quick {
		fmt.Fprintln(o.Out, "in small: speed is shown and not judged")
	}
}

func (o *Options) printRow(r *Row) {
	const mib = 1 << 20
	line := func(what, format string, args ...any) {
		fmt.Fprintf(o.Out, "  %-12s %s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(o.Out, "\n%s\n", r.Scenario)
	line("sent", "%d messages in %.1f s, %.0f/s; %d packets received by the port", r.Messages, r.Seconds, r.Rate, r.Received)
	var parts []string
	for _, counter := range slices.Sorted(maps.Keys(r.Refused)) {
		parts = append(parts, fmt.Sprintf("%s %.0f", counter, r.Refused[counter]))
	}
	line("refused", "%s", strings.Join(parts, ", "))
	line("memory", "%.1f MiB before, %.1f at most (%.1f in the first half), %.1f after; %d octets of log", float64(r.MemoryBefore)/mib, float64(r.MemoryMost)/mib, float64(r.MemoryHalf)/mib,
		float64(r.MemoryAfter)/mib, r.LogOctets)
	for _, c := range r.Connections {
		text := fmt.Sprintf("%s after %.2f s, %d messages repeated", c.Peer, c.Seconds, c.Repeated)
		if !c.Connected {
			text = fmt.Sprintf("%s not within %.0f s, %d messages repeated", c.Peer, c.Seconds, c.Repeated)
		}
		line("connected", "%s", text)
	}
	line("CPU", "slow path %.2f s, worker %.2f s: %.0f messages refused by the slow path for a second of its time", r.SlowSeconds, r.WorkerSeconds, r.RefusedRate)
	if r.Soft != nil {
		line("soft SAs", "%d when the peers had been silent for long enough, %d after more targets", r.Soft.Reached, r.Soft.Most)
	}
	if t := r.ESP; t != nil {
		line("tunnel", "carries %.2f %% of %.0f packets/s of %d octets without the attack, %.2f %% of %.0f with %.0f messages/s; the worker had %.0f and %.0f %% of its CPU",
			100*t.Quiet.Carried, t.Quiet.Offered, tunnelLength, 100*t.Attacked.Carried, t.Attacked.Offered, t.Attacked.Messages, 100*t.Quiet.Worker, 100*t.Attacked.Worker)
	}
	o.printVerdicts(r.Verdicts)
}

func (o *Options) printVerdicts(list []Verdict) {
	for _, v := range list {
		word := "met"
		switch {
		case !v.Met:
			word = "MISSED"
		case v.Unjudged:
			fmt.Fprintf(o.Out, "  %-12s %s: %.1f %s\n", "not judged", v.What, v.Value, v.Unit)
			continue
		}
		fmt.Fprintf(o.Out, "  %-12s %s: %.1f %s [%g]\n", word, v.What, v.Value, v.Unit, v.Want)
	}
}
