package main

import (
	"github.com/spf13/cobra"

	"sallyport/perf/lab"
)

// labCommand gathers what needs no gateway of the user's own.
func labCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "lab",
		Short: "Try and measure the gateway on this machine",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(demoCommand())
	return command
}

func demoCommand() *cobra.Command {
	demo := &cobra.Command{
		Use:   "demo",
		Short: "Two gateways in network namespaces, traffic, and what was on the wire",
		Long: `Demo builds two sites out of network namespaces, starts a gateway in each, sends
ping and iperf3 from one LAN to the other and captures between the gateways. It
fails if a packet between the LANs is seen in clear. It needs root.`,
		Args: cobra.NoArgs,
	}
	keep := demo.Flags().Bool("keep", false, "leave everything running and say how to look around")
	demo.RunE = func(c *cobra.Command, _ []string) error {
		return lab.RunDemo(c.Context(), lab.Options{Keep: *keep, Out: c.OutOrStdout()})
	}
	return demo
}
