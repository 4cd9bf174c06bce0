package main

import (
	"encoding/json"
	"io"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sallyport/appliance/api"
)

// showCommand reads one view of the running gateway and prints it.
func showCommand() *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Show ports, SAs, certificates, filters, flows and counters of the running gateway",
		Args:  noMore,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	addSocketFlag(show)
	addJSONFlag(show)

	flows := view("flows", "Show remembered decisions of the flow caches", api.PathFlows, flowTable)
	flows.Flags().Int("limit", 1000, "flows to show at the most, over all workers")
	peers := withWhy(view("ike", "Show peers and their IKE SAs; with --why, why a tunnel is not up", api.PathIKE, ikeTable))
	peers.AddCommand(limitsCommand())
	show.AddCommand(
		view("ports", "Show ports: device, addresses, link", api.PathPorts, portTable),
		withOffload(withWhy(view("sas", "Show the SAD: each direction of each Child SA; with --why, why a tunnel has none", api.PathSAs, saTable))),
		peers,
		view("certificates", "Show our certificates and those of CAs, and when they end", api.PathCertificates, certificateTable),
		view("crl", "Show the CRLs that serve, and the servers that are left alone", api.PathCRL, crlTable),
		view("filters", "Show the compiled SPD in match order, with hits", api.PathFilters, filterTable),
		flows,
		view("counters", "Show the account of every packet by port", api.PathCounters, counterTable),
		view("drops", "Show drops by port and reason", api.PathDrops, dropTable),
		view("offload", "Show ports and crypto devices as places for the work of SAs, and which are lost", api.PathOffload, deviceTable),
		eventsCommand(),
	)
	return show
}

// view makes a command that gets path as T and prints it as a table or as JSON.
func view[T any](name, short, path string, table func(io.Writer, T) error) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noMore,
		RunE: func(c *cobra.Command, _ []string) error {
			gateway, err := client(c)
			if err != nil {
				return err
			}
			var answer T
			if err := gateway.Get(c.Context(), path, queryOf(c), &answer); err != nil {
				return err
			}
			return print(c, answer, table)
		},
	}
}

// queryOf is what a command's own flags ask the gateway for. An empty one asks for
// nothing, and one that is on or off concerns only what is shown of the answer.
func queryOf(c *cobra.Command) url.Values {
	query := url.Values{}
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if value := f.Value.String(); f.Value.Type() != "bool" && value != "" {
			query.Set(f.Name, value)
		}
	})
	return query
}

func addJSONFlag(command *cobra.Command) {
	command.PersistentFlags().Bool("json", false, "print JSON, for programs")
}

// wantsJSON reports whether a command was given --json.
func wantsJSON(c *cobra.Command) bool {
	asJSON, err := c.Flags().GetBool("json")
	return err == nil && asJSON
}

// print writes an answer as a table, or as JSON where that is wanted.
func print[T any](c *cobra.Command, answer T, table func(io.Writer, T) error) error {
	if wantsJSON(c) {
		return printJSON(c.OutOrStdout(), answer)
	}
	return table(c.OutOrStdout(), answer)
}

func printJSON(out io.Writer, v any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
