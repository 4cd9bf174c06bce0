package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
	"sallyport/appliance/config"
)

// socketEnv names the control socket where no flag does.
const socketEnv = "SALLYPORT_SOCKET"

// addSocketFlag gives command the flag that says which gateway to talk to.
func addSocketFlag(command *cobra.Command) {
	socket := os.Getenv(socketEnv)
	if socket == "" {
		socket = config.DefaultSocket
	}
	command.PersistentFlags().String("socket", socket, "control socket of the running gateway; also from $"+socketEnv)
}

func client(command *cobra.Command) (*api.Client, error) {
	socket, err := command.Flags().GetString("socket")
	if err != nil {
		return nil, err
	}
	gateway := api.NewClient(socket)
	gateway.Warn = func(text string) { fmt.Fprintln(command.ErrOrStderr(), "WARNING:", text) }
	return gateway, nil
}
