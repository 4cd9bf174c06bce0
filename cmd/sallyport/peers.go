package main

import (
	"os"

	"github.com/spf13/cobra"

	"sallyport/perf/peerbench"
)

func peersCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "peers",
		Short: "Measure this gateway beside those of others, in turns, and print one table",
		Long: `Peers puts this gateway beside others on this machine: connections a second of both
versions of IKE beside strongSwan, and packets a second of one core beside DPDK's
ipsec-secgw and VPP. Each has a turn in each round, on the same core and by the same tools,
lab negotiate and lab bench, and the table has the ratio of each round in median and
spread. What is not to be had here is said in its row.

make bench-peers builds what it takes and runs it. It needs root, and some minutes.`,
		Example: `  sallyport lab peers
  sallyport lab peers --rounds 9 --json out.json --html out.html`,
		Args: noMore,
	}
	var o peerbench.Options
	flags := command.Flags()
	flags.IntVar(&o.Rounds, "rounds", 0, "in which each has a turn (default 5)")
	flags.IntVar(&o.Peers, "peers", 0, "that connect to a gateway in its turn (default 1000)")
	flags.StringVar(&o.Secgw, "secgw", "", "DPDK's ipsec-secgw (default where scripts/secgw builds it)")
	flags.StringVar(&o.VPP, "vpp", "", "the vpp program (default where scripts/vpp builds it)")
	flags.BoolVar(&o.Quick, "quick", false, "one round of a few rows, to see that it works")
	flags.StringVar(&o.JSON, "json", "", "also write the report to this file, for lab compare")
	flags.StringVar(&o.HTML, "html", "", "also write it as a page to this file")
	command.RunE = func(c *cobra.Command, _ []string) error {
		if err := moreThanNone(flags, "rounds", "peers"); err != nil {
			return err
		}
		o.Out, o.Progress, o.Command = c.OutOrStdout(), c.ErrOrStderr(), os.Args
		ctx, stop := untilHangup(c)
		defer stop()
		return peerbench.Run(ctx, o)
	}
	return command
}
