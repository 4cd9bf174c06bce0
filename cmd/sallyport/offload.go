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
	"sallyport/pipeline"
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
		switch {
		case plan.Wanted == "":
		case plan.Plan == plan.Wanted || strings.HasPrefix(plan.Plan, plan.Wanted+"_"):
			state += ", moved"
		default:
			state += ", wanted " + plan.Wanted
		}
		if plan.Stays {
			state += ", stays"
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

// deviceTable has where the work of SAs can be done.
func deviceTable(out io.Writer, devices []api.OffloadDevice) error {
	t := newTable(out, "DEVICE", "KIND", "STATE", "SAS", "PLANS", "WHY")
	for _, d := range devices {
		t.row(d.Name, d.Kind, d.State, number(uint64(d.SAs)), strings.Join(d.Plans, ", "), d.Why)
	}
	return t.flush()
}

// offloadCommand moves SAs.
func offloadCommand() *cobra.Command {
	all := false
	move := &cobra.Command{
		Use:   "move SA|--all PLAN",
		Short: "Move the work of SAs to a port, a crypto device or the CPU, while packets flow",
		Long: `An SA is named as in "show sas --offload": by its SPI, which means one direction; or by its
rule or its peer, which mean both. PLAN is inline (whichever way the port has), inline_protocol,
inline_crypto, lookaside (whichever way the device has), lookaside_protocol, lookaside_crypto,
cpu, or auto: by the order of dataplane.offload again.

What is moved stays there over rekeys until it is moved again or the gateway starts anew; where
the next SA cannot be there, it goes by the order. Numbers and replay windows go on. An inbound
SA of inline_protocol or lookaside_protocol, or to one of them, is rekeyed instead, since nobody
can read or fill the window of a NIC or a crypto device. The exit code is 1 if an SA stays where it was.`,
		Example: "  sallyport offload move site-b cpu\n  sallyport offload move 0x0a0b0c0d lookaside\n  sallyport offload move --all auto",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if all == (len(args) == 0) {
				return pipeline.Places(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	move.Flags().BoolVar(&all, "all", false, "all SAs")
	move.Args = func(c *cobra.Command, args []string) error {
		wanted := 2
		if all {
			wanted = 1
		}
		if len(args) != wanted {
			return fmt.Errorf("expected %s SA PLAN, or --all PLAN, found %d arguments", c.CommandPath(), len(args))
		}
		if _, err := pipeline.ParsePlace(args[wanted-1]); err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		return nil
	}
	move.RunE = func(c *cobra.Command, args []string) error {
		order := api.MoveSAs{All: all, Plan: args[len(args)-1]}
		if !all {
			order.Name = args[0]
		}
		gateway, err := client(c)
		if err != nil {
			return err
		}
		moved, err := gateway.MoveSAs(c.Context(), order)
		if err != nil {
			return err
		}
		if err := print(c, moved, movedLines); err != nil {
			return err
		}
		if failed := len(slices.DeleteFunc(slices.Clone(moved), func(m api.MovedSA) bool { return m.Result != api.MoveFailed })); failed > 0 {
			return fmt.Errorf("%d of %d SAs stay where they were", failed, len(moved))
		}
		return nil
	}
	parent := group("offload", "Move the work of SAs between port, crypto device and CPU", `Where the work of each SA is done, and why not elsewhere, is in "show sas --offload"; ports and
crypto devices are in "show offload".`, move)
	addSocketFlag(parent)
	addJSONFlag(parent)
	return parent
}

func movedLines(out io.Writer, moved []api.MovedSA) error {
	if len(moved) == 0 {
		_, err := fmt.Fprintln(out, "there is no SA")
		return err
	}
	for _, m := range moved {
		line := fmt.Sprintf("%s %s %s: ", m.Child, strings.TrimSuffix(m.Direction, "bound"), m.SPI)
		switch m.Result {
		case api.MoveMoved:
			line += m.From + " to " + m.To
		case api.MoveStays:
			line += m.To + " " + cmp.Or(m.Why, "already")
		case api.MoveRekeyed:
			line += m.From + ", is rekeyed: " + m.Why
		default:
			line += "stays " + m.From + ": " + m.Why
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
