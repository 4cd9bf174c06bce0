package main

import (
	"errors"
	"fmt"
	"os"

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

With --target the floods of first messages go to a gateway that is there already, of
whatever make: on --interface, from this host, where somebody at --source asks it
before, meanwhile and afterwards. Each --peer is an address of a peer of its, in
whose name forged messages are; without one there are none. Attack your own.

With --quick what depends on the speed of the machine is not judged. --json, --report
and --html write what there is so far also when it is interrupted. It needs root.`,
		Example: `  sallyport lab hostile
  sallyport lab hostile init-forged main-forged --messages 10000000
  sallyport lab hostile --quick --json out.json
  sallyport lab hostile --target 192.0.2.1 --interface eth1 --source 192.0.2.9`,
	}
	var o hostile.Options
	var list bool
	var target hostile.Target
	var gateway, source, via string
	var peers []string
	flags := command.Flags()
	flags.BoolVar(&list, "list", false, "say which scenarios there are")
	flags.IntVar(&o.Messages, "messages", 0, "of each scenario at least: it goes on until the peers that start meanwhile are connected and the windows are over, but for a --target (default 1000000, with --quick 20000)")
	flags.IntVar(&o.Windows, "windows", 0, "pairs of windows in which the throughput of a tunnel is measured (default 12)")
	flags.DurationVar(&o.Window, "window", 0, "length of one (default 250ms)")
	flags.IntVar(&o.Load, "load", 0, "packets a second through that tunnel (default 20000)")
	flags.BoolVar(&o.Quick, "quick", false, "few messages, and no judgement of speed")
	flags.StringVar(&o.JSON, "json", "", "also write the rows to this file, as a JSON array")
	flags.StringVar(&o.Report, "report", "", "also write a report to this file, for lab compare")
	flags.StringVar(&o.HTML, "html", "", "also write the report as a page to this file")
	flags.StringVar(&gateway, "target", "", "attack this gateway, by its IPv4 address, and start none")
	flags.StringVar(&target.Interface, "interface", "", "that the target is reached by")
	flags.StringVar(&source, "source", "", "an address of that link that nobody has, who asks the target")
	flags.StringVar(&via, "via", "", "the router before the target, if it is not on that link")
	flags.StringArrayVar(&peers, "peer", nil, "a peer of the target's, in whose name messages are forged")
	command.RunE = func(c *cobra.Command, names []string) error {
		if list {
			for _, s := range hostile.Scenarios() {
				fmt.Fprintf(c.OutOrStdout(), "%-20s %s\n", s.Name, s.Summary)
			}
			return nil
		}
		if gateway == "" && (target.Interface != "" || source != "" || via != "" || len(peers) > 0) {
			return errors.New("--interface, --source, --via and --peer are of a target: say which by --target")
		}
		if err := moreThanNone(flags, "messages", "windows", "window", "load"); err != nil {
			return err
		}
		if flags.Changed("target") {
			for _, flag := range []string{"windows", "window", "load"} {
				if flags.Changed(flag) {
					return fmt.Errorf("--%s is of the tunnel of a gateway that is started here: leave it out, or --target", flag)
				}
			}
			if err := readTarget(&target, gateway, source, via, peers); err != nil {
				return err
			}
			o.Target = &target
		}
		o.Scenarios, o.Out, o.Progress, o.Command = names, c.OutOrStdout(), c.ErrOrStderr(), os.Args
		ctx, stop := untilHangup(c)
		defer stop()
		return hostile.Run(ctx, o)
	}
	return command
}

// readTarget reads the addresses of a target's flags.
func readTarget(t *hostile.Target, gateway, source, via string, peers []string) error {
	errs := []error{readAddresses(&t.Target, gateway, source, via)}
	for _, text := range peers {
		a, err := readAddress("peer", text, "that of a peer of the target's")
		t.Peers, errs = append(t.Peers, a), append(errs, err)
	}
	return errors.Join(errs...)
}
