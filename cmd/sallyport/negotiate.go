package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/perf/negotiate"
)

func negotiateCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "negotiate",
		Short: "Measure how many SAs a second a gateway negotiates, and what overload does to it",
		Long: `Negotiate starts a gateway on the last CPU, in a network namespace, and lets
thousands of peers connect to it from the others, each once. It sweeps the time
between initiations and prints main modes, quick modes and SAs a second: a main
mode (IKEv2: IKE_SA_INIT and IKE_AUTH) makes 1 SA, a quick mode (a Child SA) 2.

At 0 ms as many connections are under way as --outstanding lets: by default more
than the gateway takes at once, so that it has to shed load. The same is measured
with few at once, and the rate at 0 ms should be at least 90 % of the best of all.

With --pfs session each quick mode after the first, by IKEv1 the first too, makes
a Diffie-Hellman exchange; with master there is a main mode with authentication
for each quick mode. Only the peers are set so: the gateway need not be. After
--pfs none the others say what they cost: quick modes a second at 0 ms, beside
those without.

Fewer --peers make a gateway that starts sooner, and a window that says less: with
fewer than twice --outstanding it is from the first connection to the last.
--json writes what there is so far also when it is interrupted.

It needs root, and takes about a minute.`,
		Example: `  sallyport lab negotiate
  sallyport lab negotiate --ike v2 --interval 50,0 --auth psk,certificate
  sallyport lab negotiate --ike v1 --interval 0 --pfs none,session,master`,
		Args: noMore,
	}
	var o negotiate.Options
	flags := command.Flags()
	flags.IntSliceVar(&o.Intervals, "interval", nil, "milliseconds between initiations (default 250,200,150,100,50,0)")
	flags.StringSliceVar(&o.Versions, "ike", nil, "versions of IKE: v1, v2 (default both)")
	flags.StringSliceVar(&o.Auth, "auth", nil, "psk, certificate (of ECDSA P-256), certificate-rsa (default psk)")
	flags.StringSliceVar(&o.PFS, "pfs", nil, "perfect forward secrecy of quick modes: none, session, master (default none)")
	flags.IntVar(&o.QuickModes, "quick-modes", 0, "of each connection, each in place of the one before (default 1, with --pfs session or master 4)")
	flags.DurationVar(&o.Time, "time", 0, "length of the measurement of each interval but 0 ms (default 4s)")
	flags.IntVar(&o.Peers, "peers", 0, "peers that connect at 0 ms (default 4000)")
	flags.IntVar(&o.Outstanding, "outstanding", 0, "at 0 ms, most connections under way at once (default 1500)")
	flags.StringVar(&o.JSON, "json", "", "also write the rows to this file, as a JSON array")
	command.RunE = func(c *cobra.Command, _ []string) error {
		for _, name := range []string{"quick-modes", "time", "peers", "outstanding"} {
			if f := flags.Lookup(name); f.Changed && strings.Trim(f.Value.String(), "0s") == "" { // which would be the default
				return fmt.Errorf("--%s %s: expected more than 0", name, f.Value)
			}
		}
		o.Out, o.Progress = c.OutOrStdout(), c.ErrOrStderr()
		ctx, stop := untilHangup(c)
		defer stop()
		return negotiate.Run(ctx, o)
	}
	return command
}
