// Command sallyport is an IPsec security gateway on DPDK, its operator's
// window and its performance lab. This package holds commands and flags,
// nothing else: the gateway is package appliance, the lab package perf.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sallyport:", err)
		stop()
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "IPsec security gateway on DPDK",
		Long: `Sallyport carries site-to-site IPsec tunnels between DPDK ports: IKEv2, ESP,
filters by weight. Start it with "run", look at it with "show".`,
		SilenceUsage:  true,
		SilenceErrors: true, // main prints the error once
	}
	root.AddCommand(runCommand(), checkCommand(), showCommand(), versionCommand(), labCommand())
	root.AddCommand(actCommands()...)
	return root
}
