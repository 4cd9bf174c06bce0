package traffic

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/perf/report"
)

// printHeading says what is going to be sent.
func (o *Options) printHeading(c *Config) {
	for i, p := range c.ports() {
		fmt.Fprintf(o.Out, "%-12s %s, gateway %s\n", portName(i), p.Device, p.Gateway)
	}
	what := "in clear"
	if !c.Tunnels[0].clear() {
		what = c.Tunnels[0].Suite.String()
	}
	for _, s := range c.Streams {
		fmt.Fprintf(o.Out, "%-12s %s over %s (%s), frames of %s octets, %s, for %s\n", s.Name, counted(s.Flows, "flow"), counted(len(c.Tunnels), "tunnel"), what, o.Sizes, s.Rate, c.Duration)
	}
}

// counted is a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// String is the rate as it is printed.
func (r Rate) String() string {
	switch {
	case r.Bits > 0:
		return fmt.Sprintf("%.0f bit/s", r.Bits)
	case r.Packets > 0:
		return fmt.Sprintf("%.0f packets/s", r.Packets)
	}
	return "as fast as it goes"
}

const perMicrosecond = 1000 // ns

// print says what came of it.
func (o *Options) print(r *Result) {
	if n := r.Negotiation; n != nil {
		fmt.Fprintf(o.Out, "IKE          %d of %d tunnels are up after %.3gs\n", n.Up, n.Tunnels, n.Seconds)
	}
	w := tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\npackets\toffered\tsent\treceived\tlost\tloss %\treordered\tduplicates\tsent/s\treceived/s")
	for _, s := range r.Streams {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.4g\t%d\t%d\t%.0f\t%.0f\n", s.Name, s.Offered, s.Sent, s.Received, s.Lost, 100*s.LossRatio, s.Reordered, s.Duplicates, s.SentPackets, s.GotPackets)
	}
	fmt.Fprintln(w, "\nlatency, us\tminimum\tmedian\t99 %\t99.9 %\tmaximum")
	for _, s := range r.Streams {
		l := s.Latency
		fmt.Fprintf(w, "%s", s.Name)
		for _, ns := range []uint64{l.Min, l.Median, l.P99, l.P999, l.Max} {
			if s.Received == 0 {
				fmt.Fprint(w, "\t-")
				continue
			}
			fmt.Fprintf(w, "\t%.1f", float64(ns)/perMicrosecond)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // the error of a write would come again below
	for _, p := range r.Ports {
		if others := p.others(); others != "" {
			fmt.Fprintf(o.Out, "%s port, beside them: %s\n", p.Name, others)
		}
	}
	if r.Sequence > 0 {
		fmt.Fprintf(o.Out, "the next run by these SAs goes on with --sequence %d\n", r.Sequence)
	}
	for _, f := range r.Findings {
		fmt.Fprintln(o.Out, f)
	}
	if r.Interrupted {
		fmt.Fprintln(o.Out, "interrupted: this is a part of what was asked for")
	}
	fmt.Fprintf(o.Out, "verdict: %s\n", r.Verdict.text())
}

// others are the frames of a port that are no stream's, by the names of their counters.
func (p *PortResult) others() string {
	var parts []string
	for _, c := range p.counters() {
		if c.count > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", c.name, c.count))
		}
	}
	return strings.Join(parts, ", ")
}

type counter struct {
	name  string
	count uint64
}

// counters are named as in JSON.
func (p *PortResult) counters() []counter {
	return []counter{{"arp", p.ARP}, {"icmp", p.ICMP}, {"ike", p.IKE}, {"foreign", p.Foreign}, {"fragments", p.Fragments}, {"mangled", p.Mangled},
		{"reflected", p.Reflected}, {"cleartext", p.Cleartext}, {"other_address", p.OtherAddress}, {"other_tunnel", p.OtherTunnel}, {"stale", p.Stale},
		{"unknown_spi", p.UnknownSPI}, {"integrity", p.Integrity}, {"malformed", p.Malformed}, {"unread", p.Unread}, {"rivals", p.Rivals}, {"usurped", p.Usurped},
		{"rx_missed", p.Missed}, {"rx_errors", p.Errors}, {"rx_no_buffer", p.NoBuffer}, {"tx_errors", p.TxErrors}}
}

// report is the run for `lab compare` and for machines.
func (o *Options) report(r *Result, machine report.Machine, started time.Time) *report.Report {
	rep := report.New("traffic", o.Command, machine, started)
	rep.Ended, rep.Interrupted = time.Now(), r.Interrupted
	rep.Verdict = report.Verdict{Good: r.Verdict.Forwarded() && !r.Interrupted, Text: strings.Join(slices.Concat([]string{r.Verdict.text()}, r.Findings), "; ")}
	for _, s := range r.Streams {
		figure := func(name, unit string, better report.Better, value float64) report.Figure {
			return report.Figure{Name: name, Unit: unit, Better: better, Samples: []float64{value}}
		}
		row := report.Row{Name: fmt.Sprintf("%s, %s octets, %s", s.Name, o.Sizes, counted(s.Flows, "flow")), Detail: s}
		row.Figures = append(row.Figures, figure("sent", "packets/s", report.Neither, s.SentPackets), figure("received", "packets/s", report.Higher, s.GotPackets),
			figure("loss", "%", report.Lower, 100*s.LossRatio), figure("reordered", "packets", report.Lower, float64(s.Reordered)),
			figure("duplicates", "packets", report.Lower, float64(s.Duplicates)))
		for _, l := range []struct {
			name string
			ns   uint64
		}{{"minimum", s.Latency.Min}, {"median", s.Latency.Median}, {"99 %", s.Latency.P99}, {"99.9 %", s.Latency.P999}, {"maximum", s.Latency.Max}} {
			if s.Latency.Count > 0 {
				row.Figures = append(row.Figures, figure("latency, "+l.name, "us", report.Lower, float64(l.ns)/perMicrosecond))
			}
		}
		rep.Rows = append(rep.Rows, row)
	}
	for _, p := range r.Ports {
		rep.Rows = append(rep.Rows, report.Row{Name: p.Name + " port", Detail: p,
			Figures: []report.Figure{{Name: "frames", Unit: "frames", Samples: []float64{float64(p.Frames)}}}})
	}
	return rep
}
