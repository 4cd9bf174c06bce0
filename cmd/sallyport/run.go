package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sallyport/appliance"
	"sallyport/appliance/config"
)

func addLabFlag(command *cobra.Command) *bool {
	return command.Flags().Bool("lab", false, "this is a lab: let SAs have keys of your own (sas), a sample policy be the active one, and workers share the main core; never in production")
}

func runCommand() *cobra.Command {
	run := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway until it is told to stop",
		Long: `Run starts DPDK, the ports, the data cores and IKE as the configuration says,
and carries traffic until SIGINT or SIGTERM. It then deletes its SAs, so that the
peers know, and ends. SIGHUP makes it read its configuration again.

A policy that is marked "sample: true" is for test and research: it runs with
--lab only.

With --keylog FILE, in a lab, FILE is Wireshark's ikev2_decryption_table,
FILE.ikev1 its ikev1_decryption_table and FILE.esp_sa its esp_sa: copied under
these names into a profile's directory, they open captures of IKE and of ESP.`,
		Example: `  sallyport run -c gw-a.yaml`,
		Args:    noMore,
	}
	path := addConfigFlag(run)
	lab := addLabFlag(run)
	keyLog := run.Flags().String("keylog", "", "with --lab: append all keys to this FILE, FILE.ikev1 and FILE.esp_sa, as tables that Wireshark reads")
	run.RunE = func(c *cobra.Command, _ []string) error {
		// From here on a SIGHUP waits its turn: one that came while the file is read would end the program.
		hangup := make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
		loaded, err := load(*path, *lab)
		if err != nil {
			return err
		}
		if *keyLog != "" && !*lab {
			return errors.New("--keylog gives all traffic away: expected --lab with it; never in production")
		}
		loaded.KeyLog = *keyLog
		collectSeldom()
		ctx, stop := untilSignal(c)
		defer stop()
		return appliance.Run(ctx, loaded, hangup, newLog(c.ErrOrStderr(), loaded.Config.Log))
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
