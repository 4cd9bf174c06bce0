package main

import (
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// withWhy gives a view the flag --why, which shows one peer instead: why its tunnels are up or not.
func withWhy(show *cobra.Command) *cobra.Command {
	show.Long = show.Short + `.

With --why, one screen about one peer, or the peer of a rule: how far the last
negotiation came, what either end said side by side, the path to the peer, and what
to do.`
	show.Example = "  sallyport show " + show.Name() + " --why site-b"
	why := show.Flags().String("why", "", "say why the tunnels of this peer, or of this rule, are up or not")
	all := show.RunE
	show.RunE = func(c *cobra.Command, args []string) error {
		if *why == "" {
			return all(c, args)
		}
		return printWhy(c, *why)
	}
	return show
}

func printWhy(c *cobra.Command, name string) error {
	gateway, err := client(c)
	if err != nil {
		return err
	}
	var answer api.Why
	if err := gateway.Get(c.Context(), api.PathWhy, url.Values{"peer": {name}}, &answer); err != nil {
		return err
	}
	return print(c, answer, func(out io.Writer, w api.Why) error { return w.Screen(out) })
}
