package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/appliance"
	"sallyport/appliance/api"
	"sallyport/appliance/config"
)

// defaultConfig is the configuration that the systemd unit uses.
const defaultConfig = "/etc/sallyport/sallyport.yaml"

func addConfigFlag(command *cobra.Command) *string {
	return command.Flags().StringP("config", "c", defaultConfig, "configuration file")
}

// load reads a configuration; whatever is wrong with it is a bad configuration.
func load(path string, lab bool) (*appliance.Loaded, error) {
	loaded, err := appliance.Load(path, lab)
	if err != nil {
		return nil, badConfiguration{err}
	}
	return loaded, nil
}

// checkCommand is `sallyport check` and `sallyport policy check`, which are the same.
func checkCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration without running it",
		Long: `Check reads a configuration as run would and prints every mistake at once, one a
line: file, line, key, and what was expected. It changes nothing, needs no running
gateway and no DPDK port. It exits with 2 when there is a mistake.`,
		Example: `  sallyport check -c gw-a.yaml
  sallyport policy check -c gw-a.yaml --json`,
		Args: noMore,
	}
	path := addConfigFlag(check)
	lab := addLabFlag(check)
	addJSONFlag(check)
	check.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := load(*path, *lab)
		if err != nil {
			if wantsJSON(c) {
				return errors.Join(err, printJSON(c.OutOrStdout(), api.Change{Errors: mistakes(err)}))
			}
			return err
		}
		cfg := loaded.Config
		warnings := append(slices.Clone(cfg.Warnings), appliance.ExpiryWarnings(cfg.Auth.Certificates, time.Now())...)
		if wantsJSON(c) {
			return printJSON(c.OutOrStdout(), api.Change{Policy: cfg.SPD.Policy, Warnings: warnings})
		}
		return printChecked(c.OutOrStdout(), *path, cfg, warnings)
	}
	return check
}

func printChecked(out io.Writer, path string, cfg *config.Config, warnings []string) error {
	for _, warning := range warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	policy := "no active policy"
	if cfg.SPD.Policy != "" {
		policy = fmt.Sprintf("filters of policy %s with their mirrors: %d", cfg.SPD.Policy, len(cfg.SPD.Entries))
	}
	_, err := fmt.Fprintf(out, "%s: good; ports: %d, peers: %d, %s\n", path, len(cfg.Ports), len(cfg.Peers), policy)
	return err
}

// mistakes takes the joined errors of a configuration apart.
func mistakes(err error) []api.ConfigError {
	var list []api.ConfigError
	var one *config.Error
	switch joined := err.(type) {
	case interface{ Unwrap() []error }:
		for _, e := range joined.Unwrap() {
			list = append(list, mistakes(e)...)
		}
		return list
	case badConfiguration:
		return mistakes(joined.error)
	}
	if errors.As(err, &one) {
		return []api.ConfigError{{File: one.File, Line: one.Line, Key: one.Key, Message: one.Text}}
	}
	return []api.ConfigError{{Message: err.Error()}}
}
