package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// actCommands are those that change what the running gateway negotiates.
func actCommands() []*cobra.Command {
	commands := []*cobra.Command{
		action("up PEER [CHILD]", "Start negotiating with a peer", api.PathUp),
		action("down PEER", "Delete the SAs with a peer and start none until up; the peer may start new ones", api.PathDown),
		action("rekey PEER [CHILD]", "Rekey the IKE SA with a peer, or one of its Child SAs", api.PathRekey),
	}
	for _, c := range commands {
		addSocketFlag(c)
	}
	return commands
}

func action(use, short, path string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  between(1, len(strings.Fields(use))-1),
		RunE: func(c *cobra.Command, args []string) error {
			gateway, err := client(c)
			if err != nil {
				return err
			}
			wanted := api.Action{Peer: args[0]}
			if len(args) == 2 {
				wanted.Child = args[1]
			}
			return gateway.Post(c.Context(), path, wanted, nil)
		},
	}
}

// between takes fewest to most arguments and otherwise shows how the command is used.
func between(fewest, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < fewest || len(args) > most {
			return fmt.Errorf("expected %s%s, found %d arguments", c.CommandPath(), strings.TrimPrefix(c.Use, c.Name()), len(args))
		}
		return nil
	}
}
