package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// limitsCommand shows the limits of IKE.
func limitsCommand() *cobra.Command {
	command := view("limits", "Show the limits of IKE: what is in use, the most ever, and what was refused", api.PathIKELimits, limitTable)
	command.Long = `Limits shows each limit of ike.limits, what there is now of what it limits, the most
there was since the start, and how often it has refused something. Of a limit for
each peer, address, port or prefix the numbers are of the one that has the most;
below stand the peers from whom something was refused. docs/LIMITS.md says what each
limit means, and what to change.`
	command.Flags().String("peer", "", "show what this peer has of what is limited for each")
	return command
}

// cookieThreshold is a limit of two things: IKE SAs that are half open, and first messages in a second.
const cookieThreshold = "cookie_threshold"

// limitTable leaves out a version of IKE of which there is nothing to tell.
func limitTable(out io.Writer, limits []api.IKELimit) error {
	t := newTable(out, "LIMIT", "IKE", "PEER", "VALUE", "USED", "MOST", "REFUSED")
	for _, l := range limits {
		quiet := !slices.ContainsFunc(limits, func(other api.IKELimit) bool { return other.IKE == l.IKE && (other.Most > 0 || other.Refused > 0) })
		if quiet && l.IKE == 1 {
			continue
		}
		value, version := strconv.Itoa(l.Value), ""
		switch {
		case l.Value < 0:
			value = "always"
		case l.Limit == cookieThreshold:
			value = fmt.Sprintf("%d or %d/s", l.Value, l.Value)
		case l.PerSecond:
			value += "/s"
		}
		if l.IKE != 0 {
			version = fmt.Sprintf("v%d", l.IKE)
		}
		t.row(l.Limit, version, l.Peer, value, strconv.Itoa(l.Used), strconv.Itoa(l.Most), number(l.Refused))
	}
	return t.flush()
}
