package negotiate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const heading = `a gateway on CPU %d, configured as shipped but for its %d peers; these on %s, each with an address of its own and %s
negotiated: IKE by %s, ESP by %s; packets go by a link of the kernel (veth) and AF_PACKET
counting rule: on the gateway alone; a main mode (MM; IKEv2: IKE_SA_INIT and IKE_AUTH) makes 1 SA, a quick mode (QM; a Child SA) 2, one for each direction:
%s. Rates are of the time in which connections begin
at 0 ms as many at once as possible, at most %d%s; the same with %d at once, of which none has to be turned away, is what it could do
%s`

const targetHeading = `%s, a gateway that is there already, and its %d peers of %s behind %s on %s, each with an address of its own and %s
negotiated: IKE by %s, ESP by %s
counting rule: as the peers have it; a main mode (MM; IKEv2: IKE_SA_INIT and IKE_AUTH) makes 1 SA, a quick mode (QM; a Child SA) 2, one for each direction:
%s. Rates are of the time in which connections begin
at 0 ms as many at once as possible, at most %d; the same with %d at once is what 0 ms is compared with
%s`

const columns = `                               time between                                                                             set-up, ms              turned away,  CPU, %
ike  authentication  PFS       initiations   initiated completed  failed     MM/s     QM/s     SAs/s   median       99 %  repeated      gateway  gateway  peers
`

// What a gateway takes at a time by its defaults: half-open IKE SAs (ike.Limits), and messages of IKE that wait.
const (
	halfOpen = 1000
	queued   = 512
)

func (o *Options) printHeading(cpu, others int) {
	where := fmt.Sprintf("the other %d", others)
	if others == 0 {
		where = "the same (there is no other: rates are about half of what they could be)"
	}
	times := "one quick mode"
	if o.QuickModes > 1 {
		times = fmt.Sprintf("%d quick modes one after the other", o.QuickModes)
	}
	rule := fmt.Sprintf("%d SAs for each connection that is completed", 1+2*o.QuickModes)
	if slices.Contains(o.PFS, PFSMaster) {
		rule += fmt.Sprintf("; %d with master PFS, which has a main mode for each quick mode", 3*o.QuickModes)
	}
	why := ""
	if min(o.Outstanding, o.Peers) > halfOpen {
		why = fmt.Sprintf(", which is more than the gateway lets be half-open (%d) or wait for it (%d), so that it has to shed load", halfOpen, queued)
	}
	if o.Target != nil {
		site := o.Target.site()
		fmt.Fprintf(o.Out, targetHeading, site.gateway, o.crowd(), site.peers, o.Target.Source, o.Target.Interface, times, site.ike, site.esp, rule, o.Outstanding, unhurried, columns)
		return
	}
	fmt.Fprintf(o.Out, heading, cpu, o.crowd(), where, times, ikeProposal, childProposal, rule, o.Outstanding, why, unhurried, columns)
}

func (o *Options) printRow(r *Row) {
	interval := fmt.Sprintf("%d ms", r.Interval)
	if r.Reference {
		interval = fmt.Sprintf("%d at once", r.Outstanding)
	}
	turnedAway := counts{shed: r.Shed}.turnedAway()
	inside := [2]string{fmt.Sprintf("%.0f", turnedAway), fmt.Sprintf("%.0f", r.GatewayCPU)} // what only the gateway knows
	if r.Target != "" {
		inside[0] = "-"
		if r.GatewayCPU == 0 {
			inside[1] = "-"
		}
	}
	fmt.Fprintf(o.Out, "%-4s %-15s %-9s %-12s %10d %9d %7d %8.1f %8.1f %9.1f %8.1f %10.1f %9d %12s %8s %6.0f\n", r.Version, r.Authentication, r.PFS, interval,
		r.Initiated, r.Completed, r.Failed, r.MMRate, r.QMRate, r.SARate, r.SetUpMedian, r.SetUp99, r.Repeated, inside[0], inside[1], r.PeersCPU)
	if r.CutShort {
		fmt.Fprintf(o.Out, "     cut short after %.1f s: %d were under way\n", r.Seconds, r.Initiated-r.Completed-r.Failed)
	}
	for _, why := range slices.Sorted(maps.Keys(r.Failures)) {
		fmt.Fprintf(o.Out, "     %d failed: %s\n", r.Failures[why], why)
	}
	if r.Shed != nil && turnedAway > 0 {
		var parts []string
		for _, why := range slices.Sorted(maps.Keys(r.Shed)) {
			parts = append(parts, fmt.Sprintf("%s %.0f", why, r.Shed[why]))
		}
		fmt.Fprintf(o.Out, "     turned away: %s\n", strings.Join(parts, ", "))
	}
}

// teller tells how far a row is.
func (o *Options) teller(r *Row) func(*round, time.Time) {
	name := r.name()
	return func(r *round, now time.Time) {
		line := fmt.Sprintf("%s: %d of %d connections have begun, %d are complete", name, r.Initiated, r.callers, r.Completed)
		if left := r.left(now); left > 0 {
			line += fmt.Sprintf("; about %v left", left.Round(time.Second))
		}
		fmt.Fprintln(o.Progress, line)
	}
}

func (o *Options) printCost(c *Cost) {
	fmt.Fprintf(o.Out, "     with %s PFS %.0f quick modes/s at 0 ms, %.0f %% of the %.0f without\n", c.PFS, c.QMRate, 100*c.Share, c.Without)
}

func (o *Options) printVerdict(v *Verdict) {
	verdict, margin := "overload is shed", ""
	switch {
	case v.Undecided != "":
		verdict = "no verdict, " + v.Undecided
	case !v.Shed:
		verdict = "overload is not shed as it should be"
	}
	if v.Margin > 0 && v.Margin < 1 {
		margin = fmt.Sprintf(" +- %.0f", 100*v.Margin)
	}
	fmt.Fprintf(o.Out, "     at 0 ms %.0f SAs/s, %.0f%s %% of the best, %.0f [%.0f %%]: %s\n", v.Rate, 100*v.Share, margin, v.Best, 100*v.Target, verdict)
}
