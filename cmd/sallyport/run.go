package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"sallyport/appliance"
	"sallyport/appliance/config"
)

// defaultConfig is the configuration that the systemd unit uses.
const defaultConfig = "/etc/sallyport/sallyport.yaml"

func addConfigFlag(command *cobra.Command) *string {
	return command.Flags().StringP("config", "c", defaultConfig, "configuration file")
}

func runCommand() *cobra.Command {
	run := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway until it is told to stop",
		Long: `Run starts DPDK, the ports, the data cores and IKE as the configuration says,
and carries traffic until SIGINT or SIGTERM. It then deletes its SAs, so that the
peers know, and ends.`,
		Args: cobra.NoArgs,
	}
	path := addConfigFlag(run)
	run.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path)
		if err != nil {
			return err
		}
		return appliance.Run(c.Context(), cfg, newLog(c.ErrOrStderr(), cfg.Log))
	}
	return run
}

// newLog writes to standard error, where systemd's journal and a terminal look.
func newLog(out io.Writer, wanted config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: wanted.Level}
	if wanted.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

func checkCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration without running it",
		Long: `Check reads a configuration as run would and prints every mistake at once, each
with its place and what was expected. It changes nothing and needs no DPDK port.`,
		Args: cobra.NoArgs,
	}
	path := addConfigFlag(check)
	check.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := config.Load(*path)
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		for _, warning := range cfg.Warnings {
			fmt.Fprintln(out, "warning:", warning)
		}
		_, err = fmt.Fprintf(out, "%s: good; ports: %d, peers: %d, filters of policy %s with their mirrors: %d\n",
			*path, len(cfg.Ports), len(cfg.Peers), cfg.SPD.Policy, len(cfg.SPD.Entries))
		return err
	}
	return check
}
