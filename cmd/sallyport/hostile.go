package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/perf/hostile"
)

func hostileCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "hostile [SCENARIO...]",
		Short: "Attack a gateway, and measure what that does to it and to others",
		Long: `Hostile starts a gateway as shipped in a network namespace, its worker on the last
CPU, and attacks it by a link of its own: floods of first messages from random
addresses and in the names of real peers, and what else peers and strangers may
think of. --list says which scenarios there are; without a name all of them run.

Each prints how many messages were sent and what refused them, how much memory the
gateway had, how long peers took that connected meanwhile, and how many messages
the slow path refuses for a second of its CPU time. A tunnel that was up before
carries a load, in windows without the attack and with it that take turns. What is
wanted stands beside each line that is judged, and the exit code is 1 when one is
missed. docs/HOSTILE.md explains the lines.

With --quick what depends on the speed of the machine is not judged. --json writes
what there is so far also when it is interrupted. It needs root.`,
		Example: `  sallyport lab hostile
  sallyport lab hostile init-forged main-forged --messages 10000000
  sallyport lab hostile --quick --json out.json`,
	}
	var o hostile.Options
	var list bool
	flags := command.Flags()
	flags.BoolVar(&list, "list", false, "say which scenarios there are")
	flags.IntVar(&o.Messages, "messages", 0, "of each scenario (default 1000000, with --quick 20000)")
	flags.IntVar(&o.Windows, "windows", 0, "pairs of windows in which the throughput of a tunnel is measured (default 12)")
	flags.DurationVar(&o.Window, "window", 0, "length of one (default 250ms)")
	flags.IntVar(&o.Load, "load", 0, "packets a second through that tunnel (default 20000)")
	flags.BoolVar(&o.Quick, "quick", false, "few messages, and no judgement of speed")
	flags.StringVar(&o.JSON, "json", "", "also write the rows to this file, as a JSON array")
	command.RunE = func(c *cobra.Command, names []string) error {
		if list {
			for _, s := range hostile.Scenarios() {
				fmt.Fprintf(c.OutOrStdout(), "%-16s %s\n", s.Name, s.Summary)
			}
			return nil
		}
		o.Scenarios, o.Out, o.Progress = names, c.OutOrStdout(), c.ErrOrStderr()
		ctx, stop := untilSignal(c)
		defer stop()
		return hostile.Run(ctx, o)
	}
	return command
}
