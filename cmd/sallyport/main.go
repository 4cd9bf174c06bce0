// Command sallyport is an IPsec security gateway on DPDK, its operator's
// window and its performance lab. This package holds commands and flags,
// nothing else: the gateway is package appliance, the lab package perf.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

func main() {
	os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// untilSignal is for a command that has something to put in order when SIGINT or SIGTERM comes. The others end at once,
// whatever they wait for.
func untilSignal(c *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
}

// untilHangup is the same for one that somebody watches: a terminal that closes ends it too, unless nohup has it go on.
func untilHangup(c *cobra.Command) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return untilSignal(c)
	}
	return signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// What a command leaves behind for scripts.
const (
	exitGood   = 0
	exitFailed = 1
	exitBad    = 2 // the configuration is at fault, and what ran before still does
)

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var bad badConfiguration
	var refused *api.Refused
	switch {
	case err == nil:
		return exitGood
	case errors.As(err, &bad), errors.As(err, &refused):
		// Each line begins with the place of a mistake, as editors like it.
		fmt.Fprintln(errOut, err)
		return exitBad
	}
	fmt.Fprintln(errOut, "sallyport:", err)
	return exitFailed
}

// badConfiguration is an error of the file that a command was given, not of the command.
type badConfiguration struct{ error }

func (b badConfiguration) Unwrap() error { return b.error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "IPsec security gateway on DPDK",
		Long: `Sallyport carries site-to-site IPsec tunnels between DPDK ports: IKEv2 and
IKEv1, ESP and AH, filters by weight. Start it with "run", look at it with "show", change its policy
with "policy" and "config", and ask it why with "explain".

Exit codes: 0 good, 1 failed, 2 the configuration is bad and nothing has changed.`,
		SilenceUsage:  true,
		SilenceErrors: true, // execute prints the error once
	}
	root.AddCommand(runCommand(), checkCommand(), showCommand(), versionCommand(), labCommand(),
		policyCommand(), configCommand(), filtersCommand(), exemptCommand(), saCommand(), explainCommand(),
		addressCommand(), reloadCommand(), crlCommand(), importCommand(), doctorCommand(), ikeLogCommand(), offloadCommand())
	root.AddCommand(actCommands()...)
	return root
}

// group is a command that only holds others, with the flags that all of them take.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	parent := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  noMore,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	parent.AddCommand(commands...)
	return parent
}
