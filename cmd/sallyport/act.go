package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/appliance/api"
)

// actCommands are those that change what the running gateway negotiates.
func actCommands() []*cobra.Command {
	commands := []*cobra.Command{
		action("up", "Bring up the tunnels of a peer, or of a rule", `Up negotiates now, whatever has failed before, and waits until packets can leave or the
negotiation has failed; then it shows why. What is up already stays as it is.`, at(api.PathUp)),
		action("down", "Delete the SAs of a peer, or of a rule, and start none until up", `Down deletes and waits until nothing is left. What is down stays so until up, or until
the gateway starts anew; what the peer begins is still answered.`, at(api.PathDown)),
		rekeyCommand(),
	}
	for _, c := range commands {
		addSocketFlag(c)
		addJSONFlag(c)
	}
	return commands
}

func rekeyCommand() *cobra.Command {
	reauth := false
	command := action("rekey", "Rekey the IKE SA of a peer, or the Child SA of a rule", `Rekey waits until new keys are in use. The IKE SA is that of a peer; a rule's name, or a
second argument, means its Child SA.

With --reauth both ends prove anew who they are: another IKE SA is negotiated beside
that of the peer, with certificates that are checked anew, and takes over with all its
Child SAs; no packet is lost. If that fails, the present one goes on.`, func() string {
		if reauth {
			return api.PathReauthenticate
		}
		return api.PathRekey
	})
	command.Flags().BoolVar(&reauth, "reauth", false, "authenticate anew; takes peers only")
	command.Example += "\n  sallyport rekey site-b --reauth"
	return command
}

// at is a path that no flag changes.
func at(path string) func() string { return func() string { return path } }

// defaultWait is enough for a peer that answers, and less than it takes to give up on one that does not.
const defaultWait = 30 * time.Second

// action is a command that gives an order by the path that its flags choose.
func action(name, short, long string, path func() string) *cobra.Command {
	command := &cobra.Command{
		Use:   name + " PEER|RULE [RULE]",
		Short: short,
		Long: long + `

A name is a peer's, or that of a rule which a peer's tunnel protects; with two, the
second is a rule of that peer. The exit code is 1 if something has failed or is not
done within --timeout; then it goes on by itself.`,
		Example: "  sallyport " + name + " site-b\n  sallyport " + name + " --all --timeout 2m",
	}
	var order api.Action
	flags := command.Flags()
	flags.BoolVar(&order.All, "all", false, "with every peer")
	timeout := flags.Duration("timeout", defaultWait, "how long to wait")
	noWait := flags.Bool("no-wait", false, "order it and do not wait")
	command.Args = func(c *cobra.Command, args []string) error {
		if order.All {
			return noMore(c, args)
		}
		return between(1, 2)(c, args)
	}
	command.RunE = func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 1:
			order.Name = args[0]
		case 2:
			order.Peer, order.Child = args[0], args[1]
		}
		if !*noWait {
			order.Wait = timeout.Seconds()
		}
		return act(c, path(), order)
	}
	return command
}

// act gives the order and says what came of it, with the screen that says why of each peer that something failed with.
func act(c *cobra.Command, path string, order api.Action) error {
	gateway, err := client(c)
	if err != nil {
		return err
	}
	outcomes, err := gateway.Act(c.Context(), path, order)
	if err != nil {
		return err
	}
	if err := print(c, outcomes, outcomeLines); err != nil {
		return err
	}
	var bad []string
	told := map[string]bool{}
	for _, o := range outcomes {
		if o.Good() {
			continue
		}
		bad = append(bad, fullName(o))
		if !told[o.Peer] && !wantsJSON(c) && o.Result != api.ResultNotUp && o.Result != api.ResultNoIKE {
			told[o.Peer] = true
			fmt.Fprintln(c.OutOrStdout())
			if err := printWhy(c, o.Peer); err != nil {
				return err
			}
		}
	}
	if len(bad) > 0 {
		return errors.New("not as ordered: " + strings.Join(bad, ", "))
	}
	return nil
}

func fullName(o api.Outcome) string { return strings.TrimSuffix(o.Peer+"/"+o.Child, "/") }

func outcomeLines(out io.Writer, outcomes []api.Outcome) error {
	for _, o := range outcomes {
		line := fullName(o) + ": "
		if o.Soft > 0 {
			line += counted(o.Soft, "soft SA") + " ended; "
		}
		line += o.Result
		if o.Result == api.ResultFailed {
			line += ": " + o.Why
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
