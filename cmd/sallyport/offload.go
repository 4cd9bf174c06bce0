package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// withOffload has a view of SAs say where their work is done instead.
func withOffload(show *cobra.Command) *cobra.Command {
	show.Long += `

With --offload, where the work of each SA is done: by a port (inline), by a crypto
device (lookaside) or by the CPU, and why not where it would rather have been.`
	wanted := show.Flags().Bool("offload", false, "show where the work of each SA is done, and why not elsewhere")
	other, plans := show.RunE, view("", "", api.PathSAs, offloadTable).RunE
	show.RunE = func(c *cobra.Command, args []string) error {
		if *wanted {
			if c.Flags().Changed("why") {
				return errors.New("expected --offload or --why, found both: each is a view of its own")
			}
			return plans(c, args)
		}
		return other(c, args)
	}
	return show
}

// offloadTable has the plan of each SA, and below it each reason once, with the SAs that it is against.
func offloadTable(out io.Writer, sas []api.SA) error {
	t := newTable(out, "PEER", "CHILD", "DIR", "SPI", "SUITE", "PLAN", "DEVICE", "PACKETS", "INLINE")
	var reasons []string
	against := map[string][]string{}
	for _, s := range sas {
		plan := cmp.Or(s.Offload, &api.Offload{Device: s.Device})
		state := plan.Plan
		if plan.Stopped {
			state += ", stopped"
		}
		direction := strings.TrimSuffix(s.Direction, "bound")
		t.row(cmp.Or(s.Peer, s.Manual), s.Child, direction, s.SPI, s.Suite, state, plan.Device, number(s.Packets), number(plan.InlinePackets))
		for _, refused := range plan.Refused {
			reason := fmt.Sprintf("not %s on %s: %s", refused.Plan, refused.Device, refused.Reason)
			if !slices.Contains(reasons, reason) {
				reasons = append(reasons, reason)
			}
			against[reason] = append(against[reason], fmt.Sprintf("%s %s %s", s.Child, direction, s.SPI))
		}
	}
	if err := t.flush(); err != nil || len(reasons) == 0 {
		return err
	}
	for _, reason := range reasons {
		if _, err := fmt.Fprintf(out, "\n%s\n  %s\n", reason, listed(against[reason], len(sas))); err != nil {
			return err
		}
	}
	return nil
}

// listed names SAs, as many as an operator reads.
func listed(names []string, all int) string {
	const most = 3
	switch {
	case len(names) == all && all > most:
		return fmt.Sprintf("all %d", all)
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
