package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// ikeLogCommand switches the IKE log of the running gateway.
func ikeLogCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "ikelog [on|off]",
		Short: "Show and switch the IKE log: a line for each message and payload",
		Long: `While it is on, the gateway writes each IKE message that it sends or takes, a line each,
and a line for each payload, to ike.log in its state folder. No key is in it. Each start
of the gateway begins a new file, when the log is switched on, and keeps the former as
ike.log.sav. Without an argument the command says whether the log is on.`,
		Example:   "  sallyport ikelog on\n  sallyport ikelog",
		ValidArgs: []string{"on", "off"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "on" && args[0] != "off" {
				return fmt.Errorf("expected on, off or nothing, found %q", strings.Join(args, " "))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			gateway, err := client(c)
			if err != nil {
				return err
			}
			var state api.IKELog
			if len(args) == 0 {
				err = gateway.Get(c.Context(), api.PathIKELog, nil, &state)
			} else {
				err = gateway.Post(c.Context(), api.PathIKELog, api.SwitchIKELog{On: args[0] == "on"}, &state)
			}
			if err != nil {
				return err
			}
			return print(c, state, ikeLogLine)
		},
	}
	addSocketFlag(command)
	addJSONFlag(command)
	return command
}

func ikeLogLine(out io.Writer, state api.IKELog) error {
	word := "off"
	if state.On {
		word = "on"
	}
	_, err := fmt.Fprintf(out, "%s, %d octets in %s\n", word, state.Octets, state.File)
	return err
}
