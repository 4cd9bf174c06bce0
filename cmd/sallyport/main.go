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
	"time"

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
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, ends...)
	ctx, cancel := context.WithCancel(c.Context())
	go func() {
		if untilAgain(ctx, signals, cancel, c.ErrOrStderr(), time.Now) {
			os.Exit(exitFailed)
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// impatience is how long after the first Ctrl-C another one counts: a key may bounce, and some send it to a process and its group.
const impatience = time.Second

// untilAgain ends a command's context by the first signal, and says whether another Ctrl-C wants it to end at once: a report that is written, and what there is to clean up, may take a while.
// It returns only then, or when the context ends by itself.
func untilAgain(ctx context.Context, signals <-chan os.Signal, cancel func(), say io.Writer, now func() time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-signals:
	}
	first := now()
	cancel()
	for s := range signals {
		if s == os.Interrupt && now().Sub(first) >= impatience {
			fmt.Fprintln(say, "sallyport: ended at once: what was measured may not be written, and what it made may be left: huge pages that it reserved stay, network namespaces (sp-PID-*) the next run of the lab takes away")
			return true
		}
	}
	return false
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
